from __future__ import annotations

import pytest

from crate_engine.bundle import user
from crate_engine.errors import UsageError

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment:x:1:1::/:/
+nis
short:x:5
bob:x:1000:1001:Bob:/home/bob:/bin/sh
4294967296:x:0:0::/:/bin/sh
1000x:x:0:0::/:/bin/sh
bad:x:-1:0::/:/bin/sh
"""
GROUP = b"root:x:0:\nstaff:x:50:alice,bob\nbob:x:1001:bob\nother:x:60:bobby\nwide:x:70:bob"


def resolved(text: str, passwd: bytes = PASSWD, group: bytes = GROUP) -> tuple[int, int, tuple[int, ...], str]:
    identity = user.resolve(user.parse(text), passwd, group)
    return identity.uid, identity.gid, identity.groups, identity.home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (0,), "/root")),
        ("0", (0, 0, (0,), "/root")),
        ("00", (0, 0, (0,), "/root")),
        ("root", (0, 0, (0,), "/root")),
        ("bob", (1000, 1001, (1001, 50, 70), "/home/bob")),
        ("1000", (1000, 1001, (1001, 50, 70), "/home/bob")),
        ("bob:staff", (1000, 50, (50,), "/home/bob")),
        ("bob:5", (1000, 5, (5,), "/home/bob")),
        ("1:1", (1, 1, (1,), "/")),
        ("7", (7, 0, (0,), "/")),
        ("4294967294", (4294967294, 0, (0,), "/")),
        ("2147483648:2147483648", (2147483648, 2147483648, (2147483648,), "/")),
    ],
)
def test_requests_mean_what_the_files_say(text: str, expected: tuple[int, int, tuple[int, ...], str]) -> None:
    assert resolved(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        ":", "1:", ":1", "1:1:1", "4294967295", "4294967296", "99999999999", "-1", "+0", "-0", "１", "²", " 1", "1 ", "1_0", "root\n", "0x0",
        "1e3", "\0", "root\0", "a b", "a/b", "$", "x" * 33, "1" * 1_000_000, "bob:", "1000x", "é",
    ],
)  # fmt: skip
def test_everything_else_is_refused_before_any_file_is_read(text: str) -> None:
    with pytest.raises(UsageError):
        user.parse(text)


@pytest.mark.parametrize(
    ("text", "what"), [("nobody", "user nobody"), ("bad", "user bad"), ("short", "user short"), ("bob:none", "group none")]
)
def test_names_that_are_not_there_are_an_error_not_root(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"unable to find {what}: no matching entries"):
        resolved(text)


def test_missing_and_damaged_files_leave_numbers_as_they_are() -> None:
    assert resolved("5:6", b"", b"") == (5, 6, (6,), "/")
    assert resolved("1000", b"\0\xff\nbob\n:::::::\n", b"\xff") == (1000, 0, (0,), "/")
    assert resolved("bob", b"bob:x:9:9::/h:/s\r\nbob:x:0:0::/:/s", b"") == (9, 9, (9,), "/h")


def test_files_have_limits() -> None:
    assert resolved("0", b"#" * user.FILE_BYTES)[0] == 0
    with pytest.raises(UsageError, match="larger than"):
        resolved("0", b"#" * (user.FILE_BYTES + 1))
    with pytest.raises(UsageError, match="entries"):
        resolved("0", b"\n" * (user.ENTRIES + 1))
