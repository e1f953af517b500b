from __future__ import annotations

import calendar
import time

import pytest

from crate_engine.cli import render

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * MINUTE + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (1.4 * HOUR, "About an hour"),
        (1.5 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_ages_are_in_dockers_words(seconds: float, text: str) -> None:
    assert render.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (4854, "4.85kB"),
        (12_345_678, "12.3MB"),
        (187_400_000, "187MB"),
        (999_499_999, "999MB"),
        (999_500_000, "1GB"),
        (1_230_000_000, "1.23GB"),
        (5 * 10**21, "5e+03EB"),
    ],
)
def test_sizes_have_three_digits_and_decimal_units(count: int, text: str) -> None:
    assert render.size(count) == text


def test_columns_are_three_spaces_apart_and_ten_wide_and_the_last_is_not_filled() -> None:
    text = render.table(
        ("CONTAINER ID", "IMAGE", "NAMES"), [("0123456789ab", "nginx", "web"), ("0123456789ab", "registry.example/a/b", "x")]
    )
    assert text.splitlines() == [
        "CONTAINER ID   IMAGE                  NAMES",
        "0123456789ab   nginx                  web",
        "0123456789ab   registry.example/a/b   x",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert render.table(("CONTAINER ID", "IMAGE", "PORTS", "NAMES"), []) == "CONTAINER ID   IMAGE     PORTS     NAMES\n"


# what a terminal would obey: title and clipboard (OSC 0, 52), a cursor report that types back, a bell, an 8-bit CSI, reordering, raw bytes
HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b[6n",
    "\x9b31m",
    "a\nb\rc\td",
    "\x7f\b",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\udc9b\udcff\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_reaches_the_terminal_that_it_would_obey(text: str) -> None:
    shown = render.display(text)
    assert shown.encode("utf-8").isascii()
    assert all(" " <= character <= "~" for character in shown)
    assert shown == render.display(shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_and_commands_show_hostile_text_as_escapes(text: str) -> None:
    shown = render.table(("A",), [(text,)]) + render.quoted_command((text, text))
    assert all(" " <= character <= "~" or character in "…\n" for character in shown)
    assert shown.count("\n") == 2


def test_display_names_the_byte_and_keeps_what_is_harmless() -> None:
    assert render.display("\x1b[m\x9b\u202e\udcff") == "\\x1b[m\\x9b\\u202e\\xff"
    assert render.display("naïve 日本 …") == "naïve 日本 …"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_stays_the_same_document_without_controls(text: str) -> None:
    import json

    shown = render.json_safe(json.dumps({"label": text}, indent=4, ensure_ascii=False))
    assert all(" " <= character <= "~" or character == "\n" for character in shown)
    assert json.loads(shown) == {"label": text}


@pytest.mark.parametrize(
    ("words", "whole", "text"),
    [
        (("/docker-entrypoint.sh", "nginx", "-g"), False, '"/docker-entrypoint.…"'),
        (("/docker-entrypoint.sh", "nginx"), True, '"/docker-entrypoint.sh nginx"'),
        (("sh",), False, '"sh"'),
        (("sh", "-c", 'echo "\\"'), True, r'"sh -c echo \"\\\""'),
        ((), False, '""'),
    ],
)
def test_commands_are_quoted_and_cut_at_twenty(words: tuple[str, ...], whole: bool, text: str) -> None:
    assert render.quoted_command(words, whole=whole) == text


@pytest.mark.parametrize(
    ("state", "code", "text"),
    [
        ("running", None, "Up 3 minutes"),
        ("stopping", None, "Up 3 minutes"),
        ("exited", 137, "Exited (137) 3 minutes ago"),
        ("exited", None, "Exited (?) 3 minutes ago"),
        ("created", None, "Created"),
    ],
)
def test_status_is_in_dockers_words(state: str, code: int | None, text: str) -> None:
    assert render.status(state, exit_code=code, since=181) == text


def test_short_ids_are_twelve_digits_of_ids_and_digests() -> None:
    assert render.short_id("0123456789abcdef" * 4) == render.short_id("sha256:" + "0123456789abcdef" * 4) == "0123456789ab"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", (1970, 1, 1, 0, 0, 0)),
        ("2024-02-29T23:59:59Z", (2024, 2, 29, 23, 59, 59)),
        ("2026-03-01T00:00:00+02:00", (2026, 2, 28, 22, 0, 0)),
        ("1999-12-31T18:30:00-05:30", (2000, 1, 1, 0, 0, 0)),
        ("0001-01-01T00:00:00Z", (1, 1, 1, 0, 0, 0)),
    ],
)
def test_rfc_3339_times_are_read(text: str, moment: tuple[int, ...]) -> None:
    assert render.epoch(text) == calendar.timegm(moment) if moment[0] > 1 else render.epoch(text) < 0


def test_every_day_of_a_calendar_cycle_is_the_right_one() -> None:
    for day in range(0, 400 * 366, 13):
        text = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(day * DAY))
        assert render.epoch(text) == day * DAY


def test_fractions_of_a_second_are_kept() -> None:
    assert render.epoch("1970-01-01T00:00:01.250000000Z") == 1.25
