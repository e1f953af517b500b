"""Image names are accepted and refused as skopeo does, but for the differences that the table names."""

from __future__ import annotations

import subprocess

from tests.support import broken_images, host

_ACCEPTED = ("no such file", "Cannot connect", "both a tag and digest", "must not contain digest", "neither a tag nor")
_REFUSED = ("invalid reference format", "parsing reference", "repository name", "digest", "cannot specify")


def _skopeo(program: str, text: str) -> str | None:
    """Reads no archive and asks no daemon: there are none. None: the text cannot be asked about in this way."""
    if "\0" in text or "\ud800" in text or "\udcff" in text:
        return None
    with_digest = "@" in text and ":" in text.rpartition("@")[2]
    source = f"docker-daemon:{text}" if with_digest else f"docker-archive:/nonexistent.tar:{text}"
    result = subprocess.run(
        [program, "inspect", source],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nonexistent"},
    )
    if any(word in result.stderr for word in _ACCEPTED):
        return "accepts"
    return "refuses" if any(word in result.stderr for word in _REFUSED) else None


def test_skopeo_decides_alike() -> None:
    program = host.program("skopeo")
    different = []
    asked = 0
    for entry in broken_images.load("references"):
        text = broken_images.written(entry["text"])
        said = _skopeo(program, text)
        expected = entry.get("skopeo") or ("accepts" if "full" in entry else "refuses")
        asked += said is not None
        if said not in (None, expected):
            different.append(f"{text[:100]!r}: skopeo {said}")
    assert not different, "\n".join(different)
    assert asked > 390
