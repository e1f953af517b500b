from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import tty

import pytest

from crate_engine.cli import bars, progress

DIGESTS = [f"sha256:{letter * 64}" for letter in "abc"]


def play(shown: progress.Lines) -> None:
    """What a pull of three layers tells, one of which is there already, from two threads."""
    shown.resolved("docker.io/library/nginx:latest", "sha256:" + "f" * 64)
    shown.layer_done(DIGESTS[2], True)

    def fetch(digest: str) -> None:
        shown.layer_started(digest, 2_000_000)
        shown.unpacking(digest)
        for _chunk in range(20):
            shown.advanced(digest, 100_000)
        shown.layer_done(digest, False)

    threads = [threading.Thread(target=fetch, args=(digest,)) for digest in DIGESTS[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_events_are_lines_where_nobody_watches() -> None:
    stream = io.StringIO()
    with progress.follow(stream) as shown:
        play(shown)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["latest: Pulling from library/nginx", "cccccccccccc: Already exists"]
    for short in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        assert [line for line in lines if line.startswith(short)] == [
            f"{short}: Pulling fs layer",
            f"{short}: Download complete",
            f"{short}: Pull complete",
        ]


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("docker.io/library/nginx:1.25", "1.25: Pulling from library/nginx"),
        ("registry.example:5000/a/b:x", "x: Pulling from registry.example:5000/a/b"),
        (f"registry.example:5000/a/b@{DIGESTS[0]}", f"Pulling from registry.example:5000/a/b@{DIGESTS[0]}"),
        (f"docker.io/library/nginx:1@{DIGESTS[0]}", "1: Pulling from library/nginx"),
    ],
)
def test_the_first_line_names_tag_and_repository(reference: str, line: str) -> None:
    stream = io.StringIO()
    with progress.follow(stream) as shown:
        shown.resolved(reference, DIGESTS[0])
    assert stream.getvalue() == line + "\n"


def test_quiet_says_nothing_but_knows_the_digest() -> None:
    with progress.follow(io.StringIO(), quiet=True) as shown:
        play(shown)
    assert shown.digest == "sha256:" + "f" * 64


def test_a_terminal_shows_a_bar_for_each_layer_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(bars, "REDRAW_AFTER", 0)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(theirs)
    received = bytearray()
    reader = threading.Thread(target=_read_all, args=(ours, received))
    reader.start()
    with open(theirs, "w", encoding="utf-8") as stream:
        shown = progress.follow(stream)
        threads = threading.active_count()
        with shown:
            play(shown)
            assert threading.active_count() == threads, "a pull forks: drawing must not need a thread"
        assert termios.tcgetattr(theirs) == before
    reader.join()
    os.close(ours)
    text = received.decode()
    assert "Downloading" in text
    assert re.search(r"\[.*=.*\].* 1.9MB/2MB", text)
    assert text.count("cccccccccccc: Already exists") == 1, "what is done is not drawn again"
    assert "aaaaaaaaaaaa: Pull complete" in text and "bbbbbbbbbbbb: Pull complete" in text
    assert "\x1b[?" not in text, "no mode of the terminal is changed"


def _read_all(fd: int, received: bytearray) -> None:
    while True:
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # EIO: the other end is closed
            return
        if not chunk:
            return
        received += chunk
