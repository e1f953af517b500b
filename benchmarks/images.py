"""A list of five images beside one of five hundred: what is more is the images' own time, what both take is start-up.

The images have no layers to speak of: a list looks at none. crate's alone: filling a peer's store takes minutes.
"""

from __future__ import annotations

from benchmarks.measure import Contender, Row
from benchmarks.place import Place
from benchmarks.unpack import python

SECTION = "images"
FEW, MANY = 5, 500
_FILL = """
import json, sys
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.manifest import Manifest
from crate_engine.reference import Reference
from crate_engine.store.images import ImageStore
from crate_engine.store.paths import Store
images = ImageStore(Store.open(sys.argv[1], sys.argv[2]))
for number in range(int(sys.argv[3])):
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": f"2024-01-{number % 28 + 1:02}T03:04:05Z",
                         "config": {"Cmd": [str(number)]}, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = Manifest(media_types.OCI_MANIFEST, Descriptor(media_types.OCI_CONFIG, Digest.of(config), len(config)), ()).to_oci()
    for blob in (config, manifest):
        images.blobs.add(blob, Digest.of(blob))
    descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(manifest), len(manifest))
    images.put(Reference.parse(f"registry.example.com/team/app{number}:v1"), descriptor, size=number * 1000)
"""


def rows(place: Place) -> list[Row]:
    """Raises Failed."""
    few, many = (_filled(place, count) for count in (FEW, MANY))
    bare = Contender(f"crate images, of {FEW}", lambda name: [[*few, "images"]])
    return [
        Row(SECTION, "a list of the images", [Contender(f"crate images, of {MANY}", lambda name: [[*many, "images"]]), bare]),
        Row(
            SECTION,
            "the same as JSON",
            [
                Contender(f"crate images --format json, of {MANY}", lambda name: [[*many, "images", "--format", "json"]]),
                Contender(f"crate images --format json, of {FEW}", lambda name: [[*few, "images", "--format", "json"]]),
            ],
        ),
    ]


def _filled(place: Place, count: int) -> list[str]:
    """crate on a store with so many images."""
    root, run = f"{place.directory}/images-{count}", f"{place.directory}/run/images-{count}"
    place.runner.call(python(place), "-c", _FILL, root, run, str(count))
    return [str(place.bin / "crate"), "--root", root, "--runroot", run]
