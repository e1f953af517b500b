from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crate_engine.logs import read
from crate_engine.monitor.log import LONGEST, LogWriter


def entries(path: Path) -> list[tuple[str, bytes]]:
    return [(line.stream, line.data) for line in read(str(path), tail=None, follow=None)]


def test_lines_are_put_together_and_streams_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    log = LogWriter(str(path))
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"error")
    log.write("stdout", b"o\n\n")
    assert entries(path) == [("stdout", b"one\n"), ("stdout", b"two\n"), ("stdout", b"\n")]
    log.close()
    assert entries(path)[-1] == ("stderr", b"error")
    for line in path.read_text().splitlines():
        assert set(json.loads(line)) == {"log", "stream", "time"}


def test_every_byte_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    content = bytes(range(256)) * 300 + "é😀\u2028".encode() + b"\xed\xa0\x80"
    log = LogWriter(str(path))
    for start in range(0, len(content), 777):
        log.write("stdout", content[start : start + 777])
    log.close()
    assert b"".join(data for _, data in entries(path)) == content


def test_a_long_line_is_cut_and_never_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    log = LogWriter(str(path))
    for _ in range(20):
        log.write("stdout", b"x" * LONGEST)
    log.write("stdout", b"end\n")
    log.close()
    found = [data for _, data in entries(path)]
    assert max(map(len, found)) == LONGEST
    assert b"".join(found) == b"x" * LONGEST * 20 + b"end\n"
    assert sum(data.endswith(b"\n") for data in found) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 100, 4000])
def test_the_tail_is_the_last_entries(tmp_path: Path, count: int) -> None:
    path = tmp_path / "container.log"
    log = LogWriter(str(path))
    log.write("stdout", b"".join(b"%d\n" % number for number in range(3000)))
    log.close()
    expected = [b"%d\n" % number for number in range(3000)][-count:] if count else []
    assert [line.data for line in read(str(path), tail=count, follow=None)] == expected


def test_a_link_in_place_of_the_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    os.symlink(tmp_path / "target", tmp_path / "container.log")
    with pytest.raises(OSError, match="container"):
        LogWriter(str(tmp_path / "container.log"))


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    good = '{"log":"a\\n","stream":"stdout","time":"t"}\n'
    path.write_text(good + "{\n[]\n\n" + good + '{"log":"unfini')
    assert [line.data for line in read(str(path), tail=None, follow=None)] == [b"a\n", b"a\n"]
