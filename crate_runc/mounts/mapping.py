"""The id mapping of an idmapped mount: from its uidMappings and gidMappings, from the text of its option, or the container's own.

runtime-spec, config.md "Mounts"; crun(1) `idmap=uids=0-1000-1#1-2000-10;gids=@0-0-1`: id on disk, id that is seen, count, and `@` for an id
that is the container's. Pure; nothing here asks the kernel.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mappings = list[dict[str, int]]

_LARGEST = (1 << 32) - 1
_SIDES = (("uids", "uidMappings"), ("gids", "gidMappings"))


def of_entry(entry: dict[str, Any], text: str, linux: dict[str, Any]) -> tuple[Mappings, Mappings] | None:
    """(users, groups) of a mount; None where it takes over those of the container's user namespace, which is joined by its path. Raises
    ValueError for a text that does not say a mapping."""
    if entry.get("uidMappings") or entry.get("gidMappings"):
        return entry.get("uidMappings", []), entry.get("gidMappings", [])
    own: tuple[Mappings, Mappings] = linux.get("uidMappings", []), linux.get("gidMappings", [])
    if text:
        return parse(text, *own)
    return own if own[0] and own[1] else None


def parse(text: str, users: Mappings, groups: Mappings) -> tuple[Mappings, Mappings]:
    """What follows `idmap=`; `users` and `groups` are the container's, for what is relative to them. A side that is not named is the
    container's own."""
    found = {"uids": users, "gids": groups}
    for part in text.split(";"):
        side, equals, ranges = part.partition("=")
        if side not in found or not equals:
            raise ValueError(f"{part!r} is neither uids= nor gids=")
        own = users if side == "uids" else groups
        found[side] = [_range(one, own) for one in ranges.split("#")]
    for side, _ in _SIDES:
        if not found[side]:
            raise ValueError(f"{side} are not mapped")
    return found["uids"], found["gids"]


def _range(text: str, own: Mappings) -> dict[str, int]:
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() and len(number) < 11 for number in numbers):
        raise ValueError(f"{text!r} is not three numbers like 0-1000-1")
    disk, seen, count = (int(number) for number in numbers)
    if text.startswith("@"):
        seen = _on_host(seen, count, own)
    if not count or disk + count > _LARGEST or seen + count > _LARGEST:
        raise ValueError(f"{text!r} maps no ids, or some beyond 4294967294")
    return {"containerID": disk, "hostID": seen, "size": count}


def _on_host(first: int, count: int, own: Mappings) -> int:
    for mapping in own:
        start = first - mapping["containerID"]
        if start >= 0 and start + count <= mapping["size"]:
            return start + mapping["hostID"]
    raise ValueError(f"the ids {first} to {first + count - 1} are not in one range of the container's user namespace")
