"""Digests: one grammar, and nothing that could be part of a path or address."""

from __future__ import annotations

import pytest

from crate_engine.errors import ImageError
from crate_engine.oci.digest import Digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_both_algorithms_are_read_and_written(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "sha256:",
            HEX,
            f"sha256:{HEX[:63]}",
            f"sha256:{HEX}0",
            f"sha512:{HEX}",
            f"sha256:{HEX.upper()}",
            f"SHA256:{HEX}",
            f"sha256-{HEX}",
        ),
        *(
            f"md5:{HEX[:32]}",
            "sha256:../../x",
            f"sha256:{HEX}\n",
            f" sha256:{HEX}",
            f"sha256:{HEX}?",
            f"sha256:{HEX}#",
            f"sha256:{HEX}@x",
        ),
        *(f"sha256:{HEX[:63]}/", f"sha256:{HEX[:63]}٣", f"sha256:sha256:{HEX}", f"blake3:{HEX}"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ImageError, match=r"layers\[2\]"):
        Digest.parse(text, "layers[2]")


@pytest.mark.parametrize("value", [None, 1, b"sha256:", ["sha256"], {}])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ImageError):
        Digest.parse(value)


def test_content_is_compared_by_the_digests_own_algorithm() -> None:
    assert str(Digest.of(b"")) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Digest.of(b"x").matches(b"x")
    assert not Digest.of(b"x").matches(b"y")
