"""Names, moves of tags, removal and pruning, on a store whose layers are not unpacked."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from crate_engine.errors import ImageInUse, ImageNotFound, StoreError
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference
from crate_engine.store import leases
from crate_engine.store.images import ImageStore
from crate_engine.store.locks import lock
from crate_engine.store.paths import Store
from crate_engine.validate import validate

INDEX = Digest.of(b"an index that was not kept")


class Shelf:
    """A store and images made by hand, each with a layer of its own and one that all share."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.images = ImageStore(store)

    def add(
        self, name: str | None, content: str = "one", *, resolved: Digest | None = None, media_type: str = media_types.OCI_LAYER
    ) -> str:
        """The id of the image."""
        layers = [b"shared layer", f"layer of {content}".encode()]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-01-02T03:04:05Z",
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_MANIFEST,
                "config": Descriptor(media_types.OCI_CONFIG, Digest.of(config), len(config)).to_object(),
                "layers": [Descriptor(media_type, Digest.of(layer), len(layer)).to_object() for layer in layers],
            }
        ).encode()
        for blob in (*layers, config, manifest):
            self.images.blobs.add(blob, Digest.of(blob))
        for layer in layers:
            directory = Path(self.store.layers) / "sha256" / Digest.of(layer).hex
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "layer.json").write_text('{"size":100}')
        descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(manifest), len(manifest))
        reference = Reference.parse(name) if name else None
        return self.images.put(reference, descriptor, resolved=resolved, size=200).id

    def names(self) -> dict[str, list[str]]:
        return {image.id: [name.familiar for name in image.names] for image in self.images.all()}

    def index(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(Path(self.store.oci, "index.json").read_bytes())
        return document

    def blobs(self) -> int:
        return len(self.images.blobs.all())

    def layers(self) -> int:
        return len(os.listdir(f"{self.store.layers}/sha256"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store.open(str(tmp_path / "root"), str(tmp_path / "run")))


def test_an_empty_store_has_no_images(shelf: Shelf) -> None:
    assert shelf.images.all() == []
    with pytest.raises(ImageNotFound, match="nginx") as failure:
        shelf.images.find("nginx")
    assert "crate pull nginx" in str(failure.value.hint)


def test_an_image_is_found_by_every_form_of_its_name_and_id(shelf: Shelf) -> None:
    image_id = shelf.add("nginx:1.25", resolved=INDEX)
    shelf.add("other", "two")
    manifest = shelf.images.find("nginx:1.25").descriptor.digest
    for text in (
        *(
            "nginx:1.25",
            "library/nginx:1.25",
            "docker.io/nginx:1.25",
            "docker.io/library/nginx:1.25",
            "index.docker.io/nginx:1.25",
        ),
        *(
            f"nginx@{INDEX}",
            f"nginx@{manifest}",
            f"nginx:whatever@{INDEX}",
            image_id,
            image_id[:12],
            image_id[:3],
            f"sha256:{image_id}",
            f"sha256:{image_id[:2]}",
        ),
    ):
        assert shelf.images.find(text).id == image_id, text
    for text in (
        "nginx",
        "nginx:1.2",
        "nginx:latest",
        f"other@{INDEX}",
        f"nginx@{Digest.of(b'x')}",
        "quay.io/library/nginx:1.25",
        image_id[:2],
        image_id + "0",
        "",
        "A b",
    ):
        with pytest.raises(ImageNotFound):
            shelf.images.find(text)


def test_values_of_an_image(shelf: Shelf) -> None:
    image_id = shelf.add("nginx", resolved=INDEX)
    image = shelf.images.find("nginx")
    assert (image.id, image.size, image.created) == (image_id, 200, "2024-01-02T03:04:05Z")
    assert [str(name) for name in image.names] == ["docker.io/library/nginx:latest"]
    assert [name.familiar for name in image.repo_digests] == [f"nginx@{INDEX}"]
    assert len(image.manifest.layers) == len(image.config.diff_ids) == 2


def test_what_is_on_disk_is_a_valid_layout(shelf: Shelf) -> None:
    shelf.add("nginx", resolved=INDEX)
    shelf.add("nginx", "two")
    assert validate(shelf.index(), "image/index") == []
    assert validate(json.loads(Path(shelf.store.oci, "oci-layout").read_bytes()), "image/layout") == []
    for path in Path(shelf.store.oci).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_moved_tag_leaves_the_old_image_without_a_name_and_removable_by_id(shelf: Shelf) -> None:
    old, new = shelf.add("nginx", "old"), shelf.add("nginx", "new")
    assert shelf.names() == {old: [], new: ["nginx:latest"]}
    assert (
        "annotations" not in shelf.index()["manifests"][0]
        or "org.opencontainers.image.ref.name" not in shelf.index()["manifests"][0]["annotations"]
    )
    assert shelf.images.remove(old[:12])[0] == f"Deleted: sha256:{old}"
    assert shelf.names() == {new: ["nginx:latest"]}
    assert (shelf.blobs(), shelf.layers()) == (4, 2)


def test_a_moved_tag_of_an_image_with_another_name_leaves_nothing_behind(shelf: Shelf) -> None:
    old = shelf.add("nginx", "old")
    shelf.add("mine", "old")
    new = shelf.add("nginx", "new")
    assert shelf.names() == {old: ["mine:latest"], new: ["nginx:latest"]}
    assert len(shelf.index()["manifests"]) == 2


def test_a_nameless_image_that_gets_a_name_is_listed_once(shelf: Shelf) -> None:
    old = shelf.add("nginx", "old")
    new = shelf.add("nginx", "new")
    shelf.add("again", "old")
    assert shelf.names() == {old: ["again:latest"], new: ["nginx:latest"]}


def test_the_same_pull_twice_changes_nothing(shelf: Shelf) -> None:
    shelf.add("nginx", resolved=INDEX)
    before = shelf.index()
    shelf.add("nginx", resolved=INDEX)
    assert shelf.index() == before


def test_removing_one_of_two_names_only_untags(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    shelf.add("mine:v1")
    assert shelf.images.remove("nginx") == ["Untagged: nginx:latest"]
    assert shelf.names() == {image_id: ["mine:v1"]}
    assert shelf.blobs() == 4


def test_one_of_two_manifests_of_an_image_goes_without_the_image(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    assert shelf.add("other", media_type=media_types.OCI_LAYER + "+gzip") == image_id
    assert shelf.names() == {image_id: ["nginx:latest", "other:latest"]}
    assert shelf.blobs() == 5
    assert shelf.images.remove("other", in_use={image_id: "container 0123456789ab"}) == ["Untagged: other:latest"]
    assert (shelf.names(), shelf.blobs()) == ({image_id: ["nginx:latest"]}, 4)


def test_removing_the_last_name_prunes_what_nobody_needs(shelf: Shelf) -> None:
    one, two = shelf.add("one", "one", resolved=INDEX), shelf.add("two", "two")
    lines = shelf.images.remove("one")
    assert lines == [
        "Untagged: one:latest",
        f"Untagged: one@{INDEX}",
        f"Deleted: sha256:{one}",
        f"Deleted: {Digest.of(b'layer of one')}",
    ]
    assert (shelf.blobs(), shelf.layers(), os.listdir(shelf.store.trash)) == (4, 2, [])
    assert shelf.images.find("two").id == two
    shelf.images.remove("two")
    assert (shelf.blobs(), shelf.layers(), shelf.names()) == (0, 0, {})


def test_removal_by_id_of_an_image_with_several_names_needs_force(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    shelf.add("mine")
    with pytest.raises(ImageInUse, match=r"must be forced.*multiple repositories: nginx:latest, mine:latest"):
        shelf.images.remove(image_id)
    lines = shelf.images.remove(image_id, force=True)
    assert lines[:2] == ["Untagged: nginx:latest", "Untagged: mine:latest"]
    assert shelf.names() == {}


def test_an_image_in_use_is_kept_and_loses_its_name_only_by_force(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    before = shelf.index()
    used = {image_id: "container 0123456789ab"}
    for in_use in (used, lambda: used):
        with pytest.raises(ImageInUse, match=r"must force.*container 0123456789ab is using its referenced image"):
            shelf.images.remove("nginx", in_use=in_use)
    assert shelf.index() == before
    lines = shelf.images.remove("nginx", force=True, in_use={image_id: "container 0123456789ab"})
    assert not any(line.startswith("Deleted") for line in lines)
    assert shelf.names() == {image_id: []}
    assert (shelf.blobs(), shelf.layers()) == (4, 2)
    with pytest.raises(ImageInUse):  # there is no name left to take away
        shelf.images.remove(image_id, force=True, in_use={image_id: "container 0123456789ab"})
    shelf.images.remove(image_id)
    assert shelf.names() == {}


def test_what_a_running_pull_needs_is_not_pruned_and_what_a_dead_one_needed_is(shelf: Shelf) -> None:
    shelf.add("one", "one")
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with lock(shelf.store, "image"):
                lease = leases.protect(shelf.store, [Digest.of(b"layer of one")])
                lease.__enter__()
            os.write(send, b"x")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(receive, 1) == b"x"
    shelf.images.remove("one")
    assert [str(digest) for digest in shelf.images.blobs.all()] == [str(Digest.of(b"layer of one"))]
    assert shelf.layers() == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(receive)
    os.close(send)
    with lock(shelf.store, "image"):
        shelf.images.prune()
    assert (shelf.blobs(), shelf.layers(), os.listdir(shelf.store.ingest)) == (0, 0, [])


def test_a_damaged_image_is_reported_by_name_hidden_from_lists_and_removable(shelf: Shelf) -> None:
    shelf.add("bad", "bad")
    good = shelf.add("good", "good")
    path = Path(shelf.images.blobs.path(shelf.images.find("bad").manifest.config.digest))
    path.write_bytes(b"x" * path.stat().st_size)
    assert list(shelf.names()) == [good]
    with pytest.raises(StoreError, match="its content was changed"):
        shelf.images.find("bad")
    assert shelf.images.remove("bad")[0] == "Untagged: bad:latest"
    assert (shelf.blobs(), shelf.layers()) == (4, 2)


def test_nothing_is_pruned_while_another_image_is_damaged(shelf: Shelf) -> None:
    shelf.add("bad", "bad")
    shelf.add("good", "good")
    os.unlink(shelf.images.blobs.path(shelf.images.find("bad").descriptor.digest))
    shelf.images.remove("good")
    assert shelf.layers() == 3
    shelf.images.remove("bad")
    assert (shelf.blobs(), shelf.layers()) == (0, 0)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"schemaVersion":2,"manifests":[{}]}', b'{"schemaVersion":2,"manifests":[],"layers":[]}']
)
def test_a_damaged_index_is_an_error_that_names_it(shelf: Shelf, content: bytes) -> None:
    Path(shelf.store.oci, "index.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"index\.json"):
        shelf.images.all()


def test_names_written_by_another_program_do_no_harm(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    document = shelf.index()
    document["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "latest thing"
    Path(shelf.store.oci, "index.json").write_text(json.dumps(document))
    assert shelf.names() == {image_id: []}
