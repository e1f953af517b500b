"""Tar archives read as actions: formats, whiteouts, and everything malformed."""

from __future__ import annotations

import io
import random
import tarfile
from typing import Any

import pytest

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers import entries
from crate_engine.layers.entries import Action, Entry
from tests.support.tars import END, extended, header, octal, pax, record


class Stream:
    """Bytes in memory as the parser wants them."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def take(self, count: int) -> bytes:
        assert 0 <= count <= 2 * limits.HEADER_BYTES
        return self._file.read(count)


def read(content: bytes) -> list[Entry]:
    stream = Stream(content)
    found = []
    for entry in entries.read(stream):
        stream.take(entry.size + entries.padding(entry.size))
        found.append(entry)
    return found


def one(content: bytes) -> Entry:
    (entry,) = read(content + END)
    return entry


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
def test_archives_of_every_usual_format_are_read(format: int) -> None:
    buffer = io.BytesIO()
    long_name = "directory/" * 12 + "name" if format == tarfile.USTAR_FORMAT else "directory/" * 30 + "n" * 200
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for kind, name, link in (
            (tarfile.DIRTYPE, "./etc", ""),
            (tarfile.REGTYPE, long_name, ""),
            (tarfile.SYMTYPE, "link", "../" * 20 + "target"),
            (tarfile.LNKTYPE, "hard", "./etc/../" + "x" * 90),
            (tarfile.FIFOTYPE, "fifo", ""),
            (tarfile.CHRTYPE, "null", ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode, member.uid, member.gid, member.mtime = (
                kind,
                link,
                0o4755,
                1000,
                2000,
                1234567890,
            )
            member.devmajor, member.devminor = (1, 3) if kind == tarfile.CHRTYPE else (0, 0)
            content = b"12345" if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    directory, file, symlink, hard, fifo, device = read(buffer.getvalue())
    assert [entry.action for entry in (directory, file, symlink, hard, fifo, device)] == [
        *(Action.DIRECTORY, Action.FILE, Action.SYMLINK, Action.HARD_LINK, Action.FIFO, Action.CHARACTER_DEVICE)
    ]
    assert directory.path == b"etc"
    assert (file.path, file.size, file.mode, file.uid, file.gid, file.mtime_ns) == (
        long_name.encode(),
        5,
        0o4755,
        1000,
        2000,
        1234567890 * 10**9,
    )
    assert symlink.link == b"../" * 20 + b"target"
    assert hard.link == b"x" * 90
    assert device.device == (1, 3)


def test_pax_records_win_over_the_header() -> None:
    entry = one(
        pax(path=b"long/\xc3\xa4\xff", uid=b"70000", gid=b"4000000000", mtime=b"-1.5", SCHILY__xattr__user__a=b"v\0\n", size=b"3")
        + header()
        + b"abc".ljust(512, b"\0")
    )
    assert (entry.path, entry.uid, entry.gid, entry.mtime_ns, entry.size) == (
        b"long/\xc3\xa4\xff",
        70000,
        4000000000,
        -1_500_000_000,
        3,
    )
    assert entry.xattrs == {"user.a": b"v\0\n"}


def test_a_global_header_is_passed_over_and_extensions_add_up() -> None:
    long = b"d/" * 200 + b"n"
    content = (
        extended(b"g", record("comment", b"x"))
        + extended(b"L", long + b"\0")
        + extended(b"K", b"t" * 300 + b"\0")
        + header(kind=b"2")
    )
    entry = one(content)
    assert (entry.path, entry.link) == (long, b"t" * 300)
    first, second = read(pax(uid=b"5") + header(b"a") + header(b"b") + END)
    assert (first.uid, second.uid) == (5, 0)


def test_numbers_in_base_256_are_read() -> None:
    entry = one(header(uid=b"\x80" + (70000).to_bytes(7, "big"), mtime=b"\xff" * 12))
    assert (entry.uid, entry.mtime_ns) == (70000, -(10**9))


@pytest.mark.parametrize("field", [b"     17 ", b"0000017\0", b"17\0 junk", b"0000017 "])
def test_octal_numbers_come_in_several_spellings(field: bytes) -> None:
    assert one(header(uid=field)).uid == 15


def test_old_archives_mark_directories_with_a_slash() -> None:
    assert one(header(b"d/", b"\0", magic=b"")).action is Action.DIRECTORY


def test_a_slash_makes_a_directory_of_the_oldest_type_alone() -> None:
    assert one(header(b"d/", b"0")).action is Action.FILE


def test_schillings_tar_has_times_behind_a_shorter_prefix() -> None:
    times = b"/".ljust(131, b"p") + octal(5) + octal(6)
    block = header(b"n", prefix=times, pad=b"\0" * 8 + b"tar\0")
    assert one(block).path == b"p" * 130 + b"/n"
    assert one(header(b"n", prefix=b"q" * 155)).path == b"q" * 155 + b"/n"


@pytest.mark.parametrize("magic", [b"ustar\x0000", b"ustar\0  ", b"ustar\0\0\0"])
def test_the_prefix_is_read_whatever_the_version_of_the_format(magic: bytes) -> None:
    assert one(header(b"n", prefix=b"p", magic=magic)).path == b"p/n"


@pytest.mark.parametrize("magic", [b"ustar  \0", b""])
def test_formats_without_a_prefix_have_other_things_there(magic: bytes) -> None:
    assert one(header(b"n", prefix=b"p", magic=magic)).path == b"n"


def test_a_record_without_a_value_leaves_what_the_header_says() -> None:
    entry = one(pax(path=b"", uid=b"", mtime=b"", size=b"", SCHILY__xattr__user__a=b"") + header(b"n", uid=octal(7, 8)))
    assert (entry.path, entry.uid, entry.xattrs) == (b"n", 7, {})


def test_names_are_bytes_whatever_character_set_a_record_claims() -> None:
    for charset in (b"BINARY", b"ISO-IR 10646 2000 UTF-8"):
        assert one(pax(hdrcharset=charset, path=b"\xff\xc3\xa4") + header()).path == b"\xff\xc3\xa4"


def test_long_names_of_gnu_tar_win_over_records() -> None:
    for parts in ([pax(path=b"pax"), extended(b"L", b"gnu\0")], [extended(b"L", b"gnu\0"), pax(path=b"pax")]):
        assert one(b"".join(parts) + header()).path == b"gnu"


def test_a_second_extended_header_takes_the_place_of_the_first() -> None:
    entry = one(pax(path=b"first", uid=b"5") + pax(path=b"second") + header())
    assert (entry.path, entry.uid) == (b"second", 0)


def test_what_a_global_header_says_is_not_applied() -> None:
    first, second = read(extended(b"g", record("uid", b"5") + record("path", b"evil")) + header(b"a") + header(b"b") + END)
    assert [(entry.path, entry.uid) for entry in (first, second)] == [(b"a", 0), (b"b", 0)]


def test_the_number_of_extended_headers_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_ENTRIES", 2)
    assert len(read(extended(b"g", record("a", b"b")) * 7 + header() + END)) == 1
    with pytest.raises(LayerError, match="more than 8 headers"):
        read(extended(b"g", record("a", b"b")) * 9 + header() + END)


def nested(depth: int) -> bytes:
    return b"/".join([b"d"] * depth)


LIMITS = {
    "name": (lambda size: pax(path=b"n" * size) + header(), limits.NAME_BYTES),
    "path": (lambda size: pax(path=(b"n" * 200 + b"/") * 20 + b"m" * (size - 20 * 201)) + header(), limits.PATH_BYTES),
    "depth": (lambda depth: pax(path=nested(depth)) + header(), limits.LAYER_DEPTH),
    "link": (lambda size: pax(linkpath=b"t" * size) + header(kind=b"2"), limits.PATH_BYTES),
    "attributes": (lambda size: pax(SCHILY__xattr__user__a=b"v" * (size - len("user.a"))) + header(), limits.XATTR_BYTES),
}  # fmt: skip


@pytest.mark.parametrize(("make", "limit"), LIMITS.values(), ids=LIMITS.keys())
def test_what_is_at_its_limit_is_read_and_one_more_is_not(make: Any, limit: int) -> None:
    assert len(read(make(limit) + END)) == 1
    with pytest.raises(LayerError):
        read(make(limit + 1) + END)


def test_an_extended_header_at_its_limit_is_read_and_one_byte_more_is_not() -> None:
    whole = record("comment", b"c" * (limits.HEADER_BYTES - len("1048576 comment=\n")))
    assert len(whole) == limits.HEADER_BYTES
    assert len(read(extended(b"g", whole) + header() + END)) == 1
    with pytest.raises(LayerError, match="extended header"):
        read(extended(b"g", whole + b"x") + header() + END)


def test_content_that_a_header_claims_for_a_link_is_not_there() -> None:
    first, second = read(header(b"l", b"1", link=b"x", size=b"%011o\0" % 4096) + header(b"next") + END)
    assert (first.size, second.path) == (0, b"next")


@pytest.mark.parametrize("checksum", ["signed", "unsigned"])
def test_checksums_of_signed_characters_are_right_too(checksum: str) -> None:
    block = header(b"\xff\xfe", checksum=b" " * 8)
    total = sum(block) - (512 if checksum == "signed" else 0)
    assert one(block[:148] + b"%06o\0 " % total + block[156:]).path == b"\xff\xfe"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a", b"a"), (b"./a", b"a"), (b"/a", b"a"), (b"//a///b/", b"a/b"), (b"../a", b"a"), (b"a/../../b", b"b"), (b"a/./b", b"a/b"),
        (b"../../../../etc/shadow", b"etc/shadow"), (b"a\nb", b"a\nb"), (b"\xff", b"\xff"), (b"...", b"..."), (b"a/..b", b"a/..b"), (b" ", b" "),
    ],
)  # fmt: skip
def test_names_mean_something_inside_the_root(name: bytes, path: bytes) -> None:
    assert one(header(name)).path == path


@pytest.mark.parametrize("name", [b".", b"./", b"/", b"././.", b"a/..", b""])
def test_the_root_may_only_be_a_directory(name: bytes) -> None:
    assert one(header(name, b"5")).path == b""
    for kind in b"12346" if name.endswith(b"/") else b"012346":
        with pytest.raises(LayerError, match="root"):
            one(pax(path=name or b".") + header(b"x", bytes([kind]), link=b"y"))


@pytest.mark.parametrize(
    ("name", "action", "path"),
    [
        (b"d/.wh.f", Action.WHITEOUT, b"d/f"), (b".wh.f", Action.WHITEOUT, b"f"),
        (b"d/.wh..wh..opq", Action.OPAQUE, b"d"), (b".wh..wh..opq", Action.OPAQUE, b""),
        (b"d/.wh..wh.plnk", Action.NOTHING, b"d/.wh..wh.plnk"), (b"d/.wh....", Action.WHITEOUT, b"d/..."), (b"d/x.wh.f", Action.FILE, b"d/x.wh.f"),
    ],
)  # fmt: skip
def test_whiteouts_are_recognised_by_their_names(name: bytes, action: Action, path: bytes) -> None:
    entry = one(header(name))
    assert (entry.action, entry.path) == (action, path)


def test_a_whiteout_with_content_does_not_shift_what_follows() -> None:
    first, second = read(header(b".wh.a", size=b"%011o\0" % 3) + b"abc".ljust(512, b"\0") + header(b"b") + END)
    assert (first.action, first.size, second.path) == (Action.WHITEOUT, 3, b"b")


MALFORMED = {
    "truncated header": header()[:300],
    "truncated second header": header() + header()[:511],
    "wrong checksum": header(checksum=b"0000001\0"),
    "no checksum": header(checksum=b""),
    "wrong checksum of an extended header": header(b"x", b"x", checksum=b"0000001\0", size=octal(0)) + header(),
    "letters in a number": header(uid=b"abc"),
    "digits of another script": header(uid="٣".encode()),
    "octal with an 8": header(mode=b"0000008\0"),
    "negative size": header(size=b"\xff" * 12),
    "huge size": header(size=b"\x80" + b"\xff" * 11),
    "negative uid": header(uid=b"\xff" * 8),
    "uid that means none": header(uid=b"\x80\0\0\0\xff\xff\xff\xff"),
    "unknown type": header(kind=b"Z"),
    "sparse of GNU": header(kind=b"S"),
    "sparse of pax": pax(GNU__sparse__major=b"1") + header(),
    "symlink to nothing": header(kind=b"2"),
    "symlink too long": extended(b"K", b"x" * 5000) + header(kind=b"2"),
    "hard link to the root": header(kind=b"1", link=b"/"),
    "hard link out": header(kind=b"1", link=b".."),
    "NUL in a pax name": pax(path=b"a\0b") + header(),
    "name too long": pax(path=b"n" * 256) + header(),
    "path too long": pax(path=b"d/" * 2500) + header(),
    "too deep": pax(path=b"d/" * 1025) + header(),
    "whiteout of nothing": header(b".wh."),
    "whiteout of .": header(b"a/.wh.."),
    "whiteout of ..": header(b"a/.wh..."),
    "inside a whiteout": header(b".wh.foo/bar"),
    "lone zero block": bytes(512) + header(),
    "ends after an extension": pax(uid=b"1"),
    "extension cut short": header(b"x", b"x", size=b"%011o\0" % 2000) + bytes(512),
    "extension too large": header(b"x", b"x", size=b"%011o\0" % (limits.HEADER_BYTES + 1)),
    "negative extension": header(b"x", b"x", size=b"\xff" * 12),
    "pax length zero": extended(b"x", b"0 a=b\n") + header(),
    "pax length too long": extended(b"x", b"99 a=b\n") + header(),
    "pax length too short": extended(b"x", b"3 a=b\n") + header(),
    "pax length missing": extended(b"x", b"a=b\n") + header(),
    "pax length signed": extended(b"x", b"+6 a=b\n") + header(),
    "pax without equals": extended(b"x", b"5 ab\n") + header(),
    "pax without key": extended(b"x", b"5 =b\n") + header(),
    "pax uid negative": pax(uid=b"-1") + header(),
    "pax size negative": pax(size=b"-1") + header(),
    "pax size with sign": pax(size=b"+1") + header(),
    "pax size huge": pax(size=b"9" * 30) + header(),
    "pax mtime word": pax(mtime=b"now") + header(),
    "pax mtime exponent": pax(mtime=b"1e9") + header(),
    "too many attributes": pax(**{f"SCHILY__xattr__user__{n}": b"x" * 30_000 for n in range(3)}) + header(),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_archives_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(LayerError) as failure:
        read(content + (END if len(content) % 512 == 0 and not content.endswith(b"pad") else b""))
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 400


def test_an_archive_may_end_without_its_mark_at_a_block() -> None:
    assert len(read(header())) == len(read(header() + bytes(512))) == 1
    assert read(b"") == []


def test_the_number_of_entries_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_ENTRIES", 3)
    assert len(read(header() * 3 + END)) == 3
    with pytest.raises(LayerError, match="more than 3 entries"):
        read(header() * 4 + END)


def test_names_in_messages_cannot_write_to_a_terminal() -> None:
    assert entries.show(b"a\x1b]0;x\x07\xff\xe2\x80\xae") == "/a\\x1b]0;x\\x07\\xff\\u202e"
    assert len(entries.show(b"x" * 5000)) < 210


def test_random_damage_raises_nothing_but_layer_errors() -> None:
    generator = random.Random(3)
    seeds = [
        header(b"a/b"),
        pax(path=b"p", mtime=b"1.5") + header(),
        extended(b"L", b"n\0") + header(kind=b"2", link=b"t"),
        *MALFORMED.values(),
    ]
    for _ in range(20_000):
        content = bytearray(b"".join(generator.choices(seeds, k=generator.randrange(1, 4))) + END)
        for _ in range(generator.randrange(0, 6)):
            content[generator.randrange(len(content))] = generator.choice(b"\0 019=ax5\n\xff\x80")
        if generator.random() < 0.2:
            del content[generator.randrange(len(content)) :]
        stream = Stream(bytes(content))
        try:
            for entry in entries.read(stream):
                assert b".." not in entry.path.split(b"/")
                assert not entry.path.startswith(b"/")
                stream._file.seek(min(entry.size + entries.padding(entry.size), 1 << 20), io.SEEK_CUR)
        except LayerError:
            continue
