"""Platforms: spelling, defaults, and the choice of the nearest one."""

from __future__ import annotations

import pytest

from crate_engine.errors import UsageError
from crate_engine.oci.platform import Platform, nearest, unknown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("LINUX/ARM64", "linux/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("linux", str(Platform.host())),
    ],
)
def test_platforms_are_read_in_every_usual_spelling(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/ämd64", "linux/a\n"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="linux/arm64"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("riscv64", "linux/riscv64"),
        ("new", "linux/new"),
    ],
)
def test_machines_have_platforms(machine: str, platform: str) -> None:
    assert str(Platform.of_machine(machine)) == platform


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm/v7", ["linux/arm", "linux/arm/v5"], 0),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm64", ["linux/arm/v8", "windows/arm64"], None),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", [], None),
        ("linux/riscv64", ["linux/riscv64/strange"], None),
    ],
)
def test_the_nearest_that_runs_is_chosen(wanted: str, offered: list[str], chosen: int | None) -> None:
    assert (
        nearest(
            Platform.parse(wanted),
            [
                Platform.from_object(dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False)), "x")
                for text in offered
            ],
        )
        == chosen
    )


def test_entries_without_a_platform_are_passed_over() -> None:
    assert nearest(Platform("linux", "amd64"), [None, Platform("linux", "amd64")]) == 1


def test_attestations_have_the_unknown_platform() -> None:
    assert unknown(Platform("unknown", "unknown"))
    assert not unknown(None)
    assert not unknown(Platform("linux", "unknown"))
