"""Bars, as a terminal shows them: what is written is read by a small terminal of our own, which wraps, moves and erases."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from crate_engine.cli import bars, progress

DIGESTS = [f"sha256:{number:02x}" + "0" * 62 for number in range(40)]


class Screen(io.StringIO):
    """A terminal of some width and height; `lines` is what it shows, with what has scrolled up."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]
        self.row = 0
        self.column = 0
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", text, re.DOTALL):
            self._take(piece)
        return len(text)

    def _take(self, piece: str) -> None:
        if piece == "\n":
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        elif piece == "\r":
            self.column = 0
        elif piece.startswith("\x1b["):
            number = int(piece[2:-1] or 1) if piece[2:-1].isdigit() or piece[2:-1] == "" else 0
            if piece.endswith("A"):
                self.row -= number
                assert self.row >= len(self.lines) - self.rows, "the cursor cannot go up into what has scrolled away"
            elif piece.endswith("K"):
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif piece.endswith("J"):
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
            else:
                assert piece.endswith("m"), piece
        else:
            assert self.column < self.columns, "a line is too long for the terminal"
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + piece + line[self.column + 1 :]
            self.column += 1

    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Time goes on by half a second whenever it is asked for."""
    now = [100.0]

    def tick() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr("time.monotonic", tick)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    yield now


def watched(screen: Screen, monkeypatch: pytest.MonkeyPatch, words: progress.Words = progress.PULLING) -> progress.Lines:
    monkeypatch.setattr(bars.Bars, "_size", lambda self: (screen.columns, screen.rows))
    return progress.follow(screen, words=words)


def test_a_layer_shows_bytes_and_rate_then_what_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(100, 24)
    with watched(screen, monkeypatch) as shown:
        shown.resolved("docker.io/library/nginx:latest", DIGESTS[0])
        shown.layer_started(DIGESTS[0], 80_000_000)
        shown.unpacking(DIGESTS[0])  # it begins with the first bytes
        for _piece in range(4):
            shown.advanced(DIGESTS[0], 10_000_000)
        assert screen.shown()[0] == "latest: Pulling from library/nginx"
        assert re.fullmatch(r"000000000000: Downloading  \[=+> +\] 40MB/80MB +[0-9.]+MB/s", screen.shown()[1])
        shown.advanced(DIGESTS[0], 40_000_000)
        assert screen.shown()[1] == "000000000000: Unpacking"
        shown.layer_done(DIGESTS[0], False)
        shown.layer_done(DIGESTS[1], True)
    assert screen.shown() == [
        "latest: Pulling from library/nginx",
        "000000000000: Pull complete",
        "010000000000: Already exists",
        "",
    ]


@pytest.mark.parametrize("columns", [2, 5, 14, 20, 30, 40, 50, 60, 70, 80, 200])
def test_lines_fit_into_every_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(columns, 24)
    with watched(screen, monkeypatch) as shown:
        for digest in DIGESTS[:3]:
            shown.layer_started(digest, 800_000_000)
        for _piece in range(10):
            for digest in DIGESTS[:3]:
                shown.advanced(digest, 80_000_000)
    assert len(screen.shown()) == 4
    assert all(len(line) < columns or not line for line in screen.shown())


def test_a_narrow_terminal_is_told_what_matters_most(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for columns in (80, 60, 41, 32, 20):
        screen = Screen(columns, 24)
        with watched(screen, monkeypatch) as shown:
            shown.layer_started(DIGESTS[0], 100_000_000)
            shown.advanced(DIGESTS[0], 50_000_000)
            found.append(screen.shown()[0])
    assert re.search(r"\[=+> +\] 50MB/100MB +[0-9]+MB/s$", found[0])
    assert re.search(r"Downloading 50MB/100MB [0-9]+MB/s$", found[1])
    assert found[2].endswith("Downloading 50MB/100MB")
    assert found[3].endswith("Downloading 50%")
    assert found[4] == "000000000000: Downl"


def test_more_layers_than_lines_show_those_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80, 6)
    with watched(screen, monkeypatch) as shown:
        for digest in DIGESTS[20:22]:
            shown.layer_started(digest, 1000)
        for digest in DIGESTS[:20]:
            shown.layer_done(digest, True)
        assert [line[:25] for line in screen.shown()[:2]] == ["140000000000: Downloading", "150000000000: Downloading"]
        assert screen.shown()[4] == "20 of 22 layers done"


def test_what_is_printed_below_finished_bars_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80, 24)
    with watched(screen, monkeypatch, progress.LOADING) as shown:
        for digest in DIGESTS[:2]:
            shown.layer_started(digest, 10)
            shown.layer_done(digest, False)
            screen.write(f"Loaded image: {digest[7:9]}\n")
    assert screen.shown() == ["000000000000: Loaded", "Loaded image: 00", "010000000000: Loaded", "Loaded image: 01", ""]


def test_a_terminal_that_became_narrower_is_drawn_over_where_its_lines_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(100, 24)
    with watched(screen, monkeypatch) as shown:
        shown.layer_started(DIGESTS[0], 1000)
        shown.advanced(DIGESTS[0], 500)
        wide = len(screen.shown()[0])
        screen.columns = 40
        shown.advanced(DIGESTS[0], 100)
    ups = re.findall(r"\x1b\[(\d+)A", "".join(screen.writes))
    assert str(-(-wide // 40)) in ups


def test_a_failure_leaves_whole_lines_and_a_cursor_below_them(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80, 24)
    with pytest.raises(RuntimeError), watched(screen, monkeypatch) as shown:
        shown.layer_started(DIGESTS[0], 1000)
        shown.advanced(DIGESTS[0], 100)
        raise RuntimeError
    assert screen.shown() == ["000000000000: Stopped", ""]
    assert (screen.row, screen.column) == (1, 0)
    assert "\x1b[?" not in "".join(screen.writes), "no mode of the terminal is changed"


@pytest.mark.parametrize(("value", "coloured"), [("", True), ("1", False)])
def test_colours_are_left_out_where_they_are_not_wanted(value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    screen = Screen(100, 24)
    with watched(screen, monkeypatch) as shown:
        shown.layer_started(DIGESTS[0], 1000)
        shown.advanced(DIGESTS[0], 900)
        shown.layer_done(DIGESTS[0], False)
    assert (re.search(r"\x1b\[[0-9]+m", "".join(screen.writes)) is not None) == coloured


def test_bytes_are_drawn_at_most_every_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(100, 24)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with watched(screen, monkeypatch) as shown:
        shown.layer_started(DIGESTS[0], 1_000_000)
        drawn = len(screen.writes)
        for _piece in range(1000):
            now[0] += 0.001
            shown.advanced(DIGESTS[0], 1000)
        assert len(screen.writes) - drawn <= 10
    assert all(text.count("\x1b[J") <= 1 for text in screen.writes), "a frame is one write"


def test_what_does_not_tell_its_size_has_bytes_and_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(100, 24)
    monkeypatch.setattr(bars, "REDRAW_AFTER", 0)
    with watched(screen, monkeypatch, progress.IMPORTING) as shown:
        shown.layer_started("archive", 0)
        shown.advanced("archive", 2_000_000)
        assert re.fullmatch(r"archive: Importing +2(\.0+)?MB", screen.shown()[0])
        shown.unpacking("archive")
        assert screen.shown()[0] == "archive: Unpacking"
        shown.layer_done("archive", False)
    assert screen.shown()[0] == "archive: Imported"


def test_a_terminal_that_goes_away_does_not_stop_the_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80, 24)

    def gone(_text: str) -> int:
        raise OSError(5, "Input/output error")

    with watched(screen, monkeypatch) as shown:
        shown.layer_started(DIGESTS[0], 10)
        monkeypatch.setattr(screen, "write", gone)
        shown.advanced(DIGESTS[0], 10)
        shown.layer_done(DIGESTS[0], False)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            progress.PUSHING,
            ["The push refers to repository [docker.io/library/a]", "000000000000: Preparing", "000000000000: Pushed"],
        ),
        (progress.LOADING, ["000000000000: Loading layer", "000000000000: Loaded"]),
        (progress.SAVING, ["000000000000: Copying blob", "000000000000: Saved"]),
        (progress.IMPORTING, ["000000000000: Imported"]),
    ],
)
def test_other_transfers_have_words_of_their_own(words: progress.Words, lines: list[str]) -> None:
    stream = io.StringIO()
    with progress.follow(stream, words=words) as shown:
        shown.resolved("docker.io/library/a:1", DIGESTS[0])
        shown.layer_started(DIGESTS[0], 10)
        shown.advanced(DIGESTS[0], 10)
        shown.layer_done(DIGESTS[0], False)
    assert stream.getvalue().splitlines() == lines
