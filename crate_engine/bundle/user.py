"""The user a process runs as: docker's `--user` grammar, and its meaning by a root's passwd(5) and group(5). Pure; reads no file.

A number is never looked up as a name, and a name never as a number: `4294967296` must not become whatever user has that name.
"""

from __future__ import annotations

from crate_engine.errors import UsageError

LARGEST_ID = 2**32 - 2
FILE_BYTES = 1 << 20
"""A passwd or group file beyond this is refused."""
ENTRIES = 64 << 10
_NAME_BYTES = 32
_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


class UserRequest:
    """`user` and `group` are an id, a name, or for the group None: the user's own."""

    __slots__ = ("group", "user")

    def __init__(self, user: int | str, group: int | str | None) -> None:
        self.user = user
        self.group = group


class Identity:
    """What a request means in one root. `groups` are the supplementary ids, the primary one first (CVE-2022-36109)."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def parse(text: str) -> UserRequest:
    """`user[:group]`, each a name or a decimal id; the empty text is root. Raises UsageError."""
    if not text:
        return UserRequest(0, None)
    user, colon, group = text.partition(":")
    return UserRequest(_part(user, text), _part(group, text) if colon else None)


def resolve(request: UserRequest, passwd: bytes, group: bytes) -> Identity:
    """Look the request up in the contents of the two files. Raises UsageError with docker's texts for an unknown name."""
    name, uid, gid, home = None, 0, 0, "/"
    found = False
    for fields in _entries(passwd, "passwd", 7):
        entry_uid, entry_gid = _number(fields[2]), _number(fields[3])
        if entry_uid is None or entry_gid is None:
            continue
        if (fields[0] == request.user.encode()) if isinstance(request.user, str) else (entry_uid == request.user):
            name, uid, gid, found = fields[0], entry_uid, entry_gid, True
            home = fields[5].decode("utf-8", "surrogateescape") or "/"
            break
    if isinstance(request.user, int):
        uid = request.user
    elif not found:
        raise UsageError(f"unable to find user {request.user}: no matching entries in passwd file")
    if request.group is not None:
        gid = request.group if isinstance(request.group, int) else _group_id(request.group, group)
        return Identity(uid, gid, (gid,), home)
    groups = [gid]
    if name is not None:
        groups += [extra for extra in _memberships(name, group) if extra != gid]
    return Identity(uid, gid, tuple(groups), home)


def _part(text: str, whole: str) -> int | str:
    if text and all(character in _DIGITS for character in text):
        if len(text) > 10 or int(text) > LARGEST_ID:
            raise UsageError(f"user {whole!r}: ids go from 0 to {LARGEST_ID}")
        return int(text)
    body = text[:-1] if text.endswith("$") else text
    named = body and body[0] in _LETTERS and len(text) <= _NAME_BYTES
    if not named or any(character not in _LETTERS and character not in _DIGITS and character not in ".-" for character in body):
        raise UsageError(f"user {whole[:80]!r}: must be user or user:group, each a name or a number")
    return text


def _group_id(name: str, group: bytes) -> int:
    for fields in _entries(group, "group", 3):
        number = _number(fields[2])
        if fields[0] == name.encode() and number is not None:
            return number
    raise UsageError(f"unable to find group {name}: no matching entries in group file")


def _memberships(name: bytes, group: bytes) -> list[int]:
    found = []
    for fields in _entries(group, "group", 4):
        number = _number(fields[2])
        if number is not None and name in fields[3].split(b",") and number not in found:
            found.append(number)
    return found


def _entries(content: bytes, what: str, fields: int) -> list[list[bytes]]:
    """Lines with at least this many fields; comments, damaged lines and NIS entries (`+`, `-`) count as absent."""
    if len(content) > FILE_BYTES:
        raise UsageError(f"read the image's {what} file: larger than {FILE_BYTES} bytes")
    lines = content.split(b"\n", ENTRIES)
    if len(lines) > ENTRIES:
        raise UsageError(f"read the image's {what} file: more than {ENTRIES} entries")
    split = [line.strip(b"\r").split(b":") for line in lines if line[:1] not in (b"", b"#", b"+", b"-")]
    return [parts for parts in split if len(parts) >= fields and parts[0] and b"\0" not in parts[0]]


def _number(text: bytes) -> int | None:
    if not text.isdigit() or len(text) > 10:
        return None
    value = int(text)
    return value if value <= LARGEST_ID else None
