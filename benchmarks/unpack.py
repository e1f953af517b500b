"""Layers unpacked from files, without a registry and without a store: by us, verified, and by GNU tar, which checks nothing.

The layer is the one of the pull; and the same again as eight layers, which use more than one core. tar is given them one after the other.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Contender, Failed, Row
from benchmarks.place import Place, remove_tree
from benchmarks.pull import debian_layer

SECTION = "unpack"
_PROGRAM = Path(__file__).with_name("unpack_layer.py")
_LAYERS = 8


def rows(place: Place) -> list[Row]:
    """Raises Failed."""
    whole = debian_layer(place)
    single = _write(place, "whole", [whole])
    several = _write(place, "part", _split(whole))
    members = sum(1 for _ in tarfile.open(fileobj=io.BytesIO(whole)))
    what = f"{len(whole) / 1e6:.0f} MB packed, {members} entries"
    return [
        Row(SECTION, f"one layer ({what})", _contenders(place, single, with_zlib=True), share=0.5),
        Row(SECTION, f"the same in {_LAYERS} layers", _contenders(place, several, with_zlib=False), share=0.5),
    ]


def lines(place: Place) -> list[str]:
    """What the parts of unpacking take alone: the limit that no overlapping beats is the costliest of them."""
    path, _ = _write(place, "whole", [debian_layer(place)])[0]
    target = place.directory / "parts"
    try:
        said = place.runner.call(python(place), str(_PROGRAM), "--parts", str(target), path, "sha256:" + "0" * 64)
    finally:
        remove_tree(target)
    parts: dict[str, float] = json.loads(said)
    return [
        "milliseconds of each part of unpacking the one layer, alone:",
        *(f"  {took:6.0f}  {name}" for name, took in parts.items()),
    ]


def _contenders(place: Place, layers: list[tuple[str, str]], *, with_zlib: bool) -> list[Contender]:
    words = [word for layer in layers for word in layer]

    def ours(*flags: str) -> Callable[[str], list[list[str]]]:
        return lambda turn: [[python(place), str(_PROGRAM), *flags, f"{place.directory}/{turn}", *words]]

    def clean(turn: str) -> None:
        remove_tree(place.directory / turn)

    found = [Contender("crate", ours(), after=clean)]
    if with_zlib:
        found.append(Contender("crate without isal", ours("--zlib"), after=clean))
    if tar := place.peer("tar"):
        # An ordinary user cannot make devices, and crate leaves them out.
        flags = ["--exclude=./dev"] if place.rootless else ["--same-owner", "--same-permissions"]
        found.append(
            Contender(
                "GNU tar",
                lambda turn: [[tar, "-xzf", path, *flags, "-C", f"{place.directory}/{turn}"] for path, _ in layers],
                before=lambda turn: (place.directory / turn).mkdir(),
                after=clean,
            )
        )
    return found


def python(place: Place) -> str:
    return str(place.bin / "python3")


def _write(place: Place, name: str, layers: list[bytes]) -> list[tuple[str, str]]:
    """Paths and diff ids."""
    written = []
    for number, layer in enumerate(layers):
        path = place.directory / f"{name}-{number}.tar.gz"
        path.write_bytes(layer)
        written.append((str(path), f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}"))
    return written


@functools.cache
def _split(layer: bytes) -> list[bytes]:
    """Runs of entries of about the same size together. Hard links are left out: their targets may be in another part."""
    buffers = [io.BytesIO() for _ in range(_LAYERS)]
    archives = [tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) for buffer in buffers]
    plain = gzip.decompress(layer)
    with tarfile.open(fileobj=io.BytesIO(plain)) as source:
        for member in source:
            if not member.islnk():
                part = min(member.offset * _LAYERS // len(plain), _LAYERS - 1)
                archives[part].addfile(member, source.extractfile(member) if member.isreg() else None)
    for archive in archives:
        archive.close()
    if not all(buffer.tell() for buffer in buffers):
        raise Failed("the layer is too small to be split")
    return [gzip.compress(buffer.getvalue(), 6, mtime=0) for buffer in buffers]
