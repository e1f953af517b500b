"""What a registry's answers mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from crate_engine.errors import AuthenticationRequired, CrateError, ImageNotFound, RateLimited, RegistryError
from crate_engine.registry import refusals
from crate_engine.registry.transport import Response


def response(status: int, body: bytes = b"", **headers: str) -> Response:
    parts = [body, b""]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, "https://r.example/v2/", lambda count: parts.pop(0), lambda: None)


def refusal(status: int, body: bytes = b"", *, logged_in: bool = False, **headers: str) -> CrateError:
    return refusals.refusal(response(status, body, **headers), "pull app:1", "r.example", logged_in=logged_in)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationRequired),
        (403, AuthenticationRequired),
        (404, ImageNotFound),
        (418, RegistryError),
        (429, RateLimited),
        (500, RegistryError),
        (503, RegistryError),
    ],
)
def test_every_error_names_who_answered_and_what_for(status: int, kind: type[CrateError]) -> None:
    error = refusal(status, json.dumps({"errors": [{"code": "X", "message": "their words"}]}).encode())
    assert type(error) is kind
    assert str(error).startswith("pull app:1: r.example ")
    assert str(error).endswith(": their words")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"errors":[]}', b'{"errors":[{}]}', b'{"errors":{"a":1}}', b"[" * 100_000, b"\xff"]
)
def test_without_a_message_nothing_is_made_up(body: bytes) -> None:
    assert str(refusal(500, body)) == "pull app:1: r.example answered with status 500"


def test_a_message_is_one_printable_line_of_some_length() -> None:
    text = str(refusal(500, json.dumps({"errors": [{"message": "a\n\x1b[2J" + "x" * 1000}]}).encode()))
    assert text.isprintable()
    assert len(text) < 400


def test_denied_access_leads_to_a_login_and_with_one_to_the_name() -> None:
    assert refusal(403).hint == "check the name, or log in: crate login r.example"
    assert "log in as another user" in str(refusal(403, logged_in=True).hint)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, ""),
        ({"ratelimit_limit": "100;w=21600", "ratelimit_remaining": "0;w=21600"}, " (0 of 100 requests remain in 6 hours)"),
        ({"ratelimit_limit": "100;w=21600"}, " (0 of 100 requests remain in 6 hours)"),
        ({"ratelimit_limit": "200", "ratelimit_remaining": "7"}, " (7 of 200 requests remain)"),
        ({"ratelimit_remaining": "7"}, " (7 requests remain)"),
        ({"ratelimit_limit": "many;w=\x1b[2J"}, ""),
        ({"ratelimit_limit": "9" * 40}, ""),
    ],
)
def test_a_rate_limit_tells_what_remains(headers: dict[str, Any], told: str) -> None:
    assert str(refusal(429, **headers)) == f"pull app:1: r.example refuses more requests for now{told}"


def test_a_rate_limit_tells_how_long_to_wait_and_that_a_login_may_help() -> None:
    assert refusal(429, retry_after="7200").hint == "wait 2 hours, or log in, which may allow more: crate login r.example"
    assert refusal(429, logged_in=True).hint == "wait and try again"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 5 ", 5.0),
        ("9" * 50, 999_999_999.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("５", None),
        ("inf", None),
        ("Wed, 99 Jan 2026 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert refusals.retry_after(response(429, retry_after=text)) == seconds


def test_retry_after_as_a_date_is_a_while_from_now() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    seconds = refusals.retry_after(response(503, retry_after=then))
    assert seconds is not None
    assert 0 < seconds <= 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (3600, "1 hour"), (21600, "6 hours"), (172800, "2 days")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert refusals.duration(seconds) == text
