"""linux.cgroupsPath as a systemd unit: `slice:prefix:name` → the scope `prefix-name.scope` in that slice (systemd.unit(5), systemd.slice(5)). Pure.

The form and the defaults are runc's. A container is always a scope: a slice holds no processes.
"""

from __future__ import annotations

from crate_runc.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WHERE = "linux.cgroupsPath"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")
_LONGEST = 255
_PREFIX = "crate-runc"


def unit_of(config: dict[str, Any], container_id: str, *, user: bool) -> tuple[str, str]:
    """(slice, scope). `user`: of a user's own systemd, where the default slice is another. Raises BundleError."""
    path = config.get("linux", {}).get("cgroupsPath", "")
    parts = path.split(":") if path else ["", _PREFIX, container_id.replace("+", r"\x2b")]  # as systemd-escape(1) writes it
    if len(parts) != 3:
        raise BundleError(
            _WHERE, f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{path}" instead'
        )
    slice, prefix, name = parts
    slice = slice or ("user.slice" if user else "system.slice")
    expand(slice)
    scope = f"{prefix}-{name}.scope"
    if not name or set(scope) - _LETTERS or len(scope) > _LONGEST:
        raise BundleError(_WHERE, f'"{scope}" is no name of a systemd unit (letters, digits and :-_.\\@, at most {_LONGEST})')
    return slice, scope


def expand(slice: str) -> str:
    """Where a slice's cgroup is below that of systemd: `a-b.slice` → `/a.slice/a-b.slice`; `-.slice` is the root, "". Raises BundleError."""
    stem = slice.removesuffix(".slice")
    if stem == "-" and slice != stem:
        return ""
    words = stem.split("-")
    if stem == slice or "" in words or set(slice) - _LETTERS or len(slice) > _LONGEST:
        raise BundleError(_WHERE, f"invalid slice name: {slice}")
    return "".join(f"/{'-'.join(words[:end])}.slice" for end in range(1, len(words) + 1))
