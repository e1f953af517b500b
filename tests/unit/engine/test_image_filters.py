"""`--filter`: which images and which of their names are meant."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from crate_engine.cli.image_filters import ImageFilter, moment
from crate_engine.errors import UsageError
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


@dataclass(frozen=True)
class Image:
    id: str
    names: tuple[Reference, ...] = ()
    repo_digests: tuple[Reference, ...] = ()
    created: str = ""


def named(*names: str, created: str = "2023-11-14T00:00:00Z") -> Image:
    return Image("".join(names), tuple(map(Reference.parse, names)), created=created)


IMAGES = {
    "nginx": named("nginx:1.25", "nginx:latest", created="2023-01-01T00:00:00Z"),
    "team": named("quay.io/team/app:v1", created="2023-06-01T00:00:00Z"),
    "dangling": Image("d", repo_digests=(Reference.parse(f"old@{Digest.of(b'x')}"),), created="2023-11-14T22:00:00Z"),
    "undated": Image("u", (Reference.parse("undated:1"),)),
}
LABELS = {"nginx": {"a": "1", "b": ""}, "team": {"a": "2"}}


def chosen(*texts: str) -> list[str]:
    made = ImageFilter(
        texts,
        now=NOW,
        created=lambda name: IMAGES[name].created,
        labels=lambda image: next(LABELS.get(key, {}) for key, one in IMAGES.items() if one is image),
    )
    return [key for key, image in IMAGES.items() if made(image)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), ["nginx", "team", "dangling", "undated"]),
        (("dangling=true",), ["dangling"]),
        (("dangling=false",), ["nginx", "team", "undated"]),
        (("dangling=1",), ["dangling"]),
        (("reference=nginx",), ["nginx"]),
        (("reference=nginx:1.*",), ["nginx"]),
        (("reference=*",), ["nginx", "dangling", "undated"]),
        (("reference=*/*/*",), ["nginx", "team", "dangling", "undated"]),
        (("reference=quay.io/*/app",), ["team"]),
        (("reference=quay.io/*",), []),
        (("reference=ngin?:latest",), ["nginx"]),
        (("reference=[m-o]ginx",), ["nginx"]),
        (("reference=[^m-o]ginx",), []),
        (("reference=docker.io/library/nginx:1.25",), ["nginx"]),
        (("reference=nginx", "reference=quay.io/team/app"), ["nginx", "team"]),
        (("label=a",), ["nginx", "team"]),
        (("label=a=2",), ["team"]),
        (("label=a", "label=b"), ["nginx"]),
        (("label=b=",), ["nginx"]),
        (("label!=a",), ["dangling", "undated"]),
        (("label=a", "reference=nginx"), ["nginx"]),
        (("before=team",), ["nginx", "undated"]),
        (("since=team",), ["dangling"]),
        (("after=nginx", "before=dangling"), ["team"]),
        (("until=24h",), ["nginx", "team", "undated"]),
        (("until=10m",), ["nginx", "team", "dangling", "undated"]),
        (("until=1h30m",), ["nginx", "team", "undated"]),
        (("until=2023-03-01T00:00:00Z",), ["nginx", "undated"]),
        (("until=2023-03-01T00:00:00+02:00",), ["nginx", "undated"]),
        (("until=1685577600",), ["nginx", "undated"]),
        (("until=1685577601",), ["nginx", "team", "undated"]),
    ],
)
def test_images(texts: tuple[str, ...], expected: list[str]) -> None:
    assert chosen(*texts) == expected


@pytest.mark.parametrize(("zone", "expected"), [("UTC", ["nginx"]), ("XXX-5", [])])
def test_a_time_without_a_zone_is_local(zone: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hours east, four in the morning is before midnight in UTC, when the image was made."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        found = chosen("until=2023-01-01T04:00", "label=b")
    time.tzset()
    assert found == expected


def test_only_the_names_that_a_pattern_means_are_shown() -> None:
    made = ImageFilter(["reference=nginx:1*"], now=NOW, created=str, labels=lambda image: {})
    assert [str(name.tag) for name in IMAGES["nginx"].names if made.shows(name)] == ["1.25"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nope=1", 'invalid filter "nope"'),
        ("dangling", 'invalid filter "dangling": it needs a value'),
        ("dangling=maybe", "must be true or false"),
        ("until=soon", "is no time and no duration"),
        ("until=2023-13-45", "is no time and no duration"),
        ("reference=[a", "[ without ]"),
        ("reference=[z-a]", "reference=[z-a]"),
    ],
)
def test_what_is_no_filter_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as failure:
        chosen(text)
    assert problem in str(failure.value)


@pytest.mark.parametrize("text", ["", "yesterday", "2023-01-01"])
def test_what_is_no_time_counts_as_unknown(text: str) -> None:
    assert moment(text) == 0
