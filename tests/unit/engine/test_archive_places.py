"""Names of images in files."""

from __future__ import annotations

import pytest

from crate_engine.archive.places import Place, parse, plain
from crate_engine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("oci:dir", Place("oci", "dir", None)),
        ("oci:/a/b:latest", Place("oci", "/a/b", "latest")),
        ("oci:dir:host:5000/name:tag", Place("oci", "dir", "host:5000/name:tag")),
        ("oci-archive:x.tar:", Place("oci-archive", "x.tar", None)),
        ("docker-archive:x.tar:a/b:1", Place("docker-archive", "x.tar", "a/b:1")),
        ("docker://alpine", None),
        ("alpine", None),
        ("alpine:3", None),
        ("localhost:5000/a", None),
        ("dir:1", None),
        ("oci/name:1", None),
    ],
)
def test_a_place_is_told_from_a_name(text: str, place: Place | None) -> None:
    assert parse(text) == place


@pytest.mark.parametrize("text", ["oci:", "oci::tag", "dir:/x", "containers-storage:a/b", "docker-daemon:a/b:1"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_registry_may_be_named_as_one() -> None:
    assert plain("docker://a/b:1") == plain("a/b:1") == "a/b:1"
