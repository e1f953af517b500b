"""The list of images from index.json, and what is made of an image: its history and its tree. On a store whose layers are not unpacked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crate_engine import image_history, image_tree
from crate_engine.errors import ImageNotFound, StoreError
from crate_engine.reference import Reference
from crate_engine.store import index, listing
from crate_engine.store.paths import Store
from tests.unit.engine.test_images import INDEX, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store.open(str(tmp_path / "root"), str(tmp_path / "run")))


def names(shelf: Shelf) -> dict[str, list[str]]:
    return {image.id: [name.familiar for name in image.names] for image in listing.of(shelf.images)}


def change_index(shelf: Shelf, **annotations: str | None) -> None:
    """Of every entry; None takes one away."""
    document = shelf.index()
    for entry in document["manifests"]:
        for name, value in annotations.items():
            entry["annotations"].pop(getattr(index, name), None)
            if value is not None:
                entry["annotations"][getattr(index, name)] = value
    Path(shelf.store.oci, "index.json").write_text(json.dumps(document))


def test_a_list_says_what_the_images_say(shelf: Shelf) -> None:
    shelf.add("nginx:1", "one", resolved=INDEX)
    shelf.add("nginx:2", "one")
    shelf.add("other", "two")
    shelf.images.untag("other")
    full = {image.id: image for image in shelf.images.all()}
    for listed in listing.of(shelf.images):
        image = full[listed.id]
        assert (listed.names, listed.repo_digests) == (image.names, image.repo_digests)
        assert (listed.created, listed.size, listed.digest) == (image.created, image.size, image.descriptor.digest)


def test_a_list_reads_index_json_alone(shelf: Shelf) -> None:
    shelf.add("nginx")
    for digest in shelf.images.blobs.all():
        shelf.images.blobs.remove(digest)
    assert list(names(shelf).values()) == [["nginx:latest"]]


@pytest.mark.parametrize(
    "annotations",
    [{"CREATED": None}, {"IDENTITY": None}, {"UNPACKED_SIZE": None}, {"IDENTITY": "rubbish"}, {"UNPACKED_SIZE": "-1"}],
)
def test_an_entry_without_annotations_is_read(shelf: Shelf, annotations: dict[str, str | None]) -> None:
    image_id = shelf.add("nginx")
    change_index(shelf, **annotations)
    (listed,) = listing.of(shelf.images)
    assert (listed.id, listed.created) == (image_id, "2024-01-02T03:04:05Z")


def test_what_cannot_be_read_is_left_out(shelf: Shelf) -> None:
    shelf.add("nginx")
    kept = shelf.add("good", "two")
    document = shelf.index()
    document["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "docker.io/library/nginx:latest"}
    Path(shelf.store.oci, "index.json").write_text(json.dumps(document))
    shelf.images.blobs.remove(shelf.images.find("nginx").descriptor.digest)
    assert names(shelf) == {kept: ["good:latest"]}
    change_index(shelf, RESOLVED="no digest")
    assert [image.repo_digests for image in listing.of(shelf.images)] == [()]


def test_a_damaged_index_is_an_error(shelf: Shelf) -> None:
    shelf.add("nginx")
    Path(shelf.store.oci, "index.json").write_text("{")
    with pytest.raises(StoreError, match=r"index\.json"):
        listing.of(shelf.images)


# Names


def test_a_tag_is_one_more_name(shelf: Shelf) -> None:
    image_id = shelf.add("nginx", resolved=INDEX)
    shelf.images.tag("nginx", Reference.parse("mine:1"))
    shelf.images.tag(image_id[:12], Reference.parse("quay.io/a/b"))
    shelf.images.tag("mine:1", Reference.parse("mine:1"))
    assert names(shelf) == {image_id: ["nginx:latest", "mine:1", "quay.io/a/b:latest"]}
    assert shelf.images.find(f"mine@{INDEX}").id == image_id


def test_a_tag_leaves_the_image_that_had_it(shelf: Shelf) -> None:
    first, second = shelf.add("one", "one"), shelf.add("two", "two")
    shelf.images.tag("two", Reference.parse("one"))
    assert names(shelf) == {first: [], second: ["two:latest", "one:latest"]}
    shelf.images.tag(first, Reference.parse("again"))
    assert names(shelf)[first] == ["again:latest"]
    assert len(shelf.index()["manifests"]) == 3


def test_a_tag_of_what_is_not_there_changes_nothing(shelf: Shelf) -> None:
    shelf.add("nginx")
    before = shelf.index()
    with pytest.raises(ImageNotFound):
        shelf.images.tag("nope", Reference.parse("mine:1"))
    with pytest.raises(ImageNotFound, match="tag not known"):
        shelf.images.untag("nginx", [Reference.parse("nginx"), Reference.parse("nope")])
    assert shelf.index() == before


def test_names_are_taken_one_by_one_or_all_and_the_image_stays(shelf: Shelf) -> None:
    image_id = shelf.add("nginx")
    for name in ("a:1", "b:1"):
        shelf.images.tag("nginx", Reference.parse(name))
    assert [name.familiar for name in shelf.images.untag("nginx", [Reference.parse("a:1")])] == ["a:1"]
    assert names(shelf) == {image_id: ["nginx:latest", "b:1"]}
    assert [name.familiar for name in shelf.images.untag(image_id)] == ["nginx:latest", "b:1"]
    assert names(shelf) == {image_id: []}
    assert len(shelf.index()["manifests"]) == 1 and shelf.blobs() == 4
    assert shelf.images.untag(image_id) == []


# Steps and layers


def test_history_gives_layers_to_the_steps_that_made_some(shelf: Shelf) -> None:
    shelf.add("nginx")
    image = shelf.images.find("nginx")
    assert [step.size for step in image_history.of(shelf.store, image)] == [100, 100], "layers that no step claims"


def test_the_tree_names_who_shares_a_layer_and_what_is_an_images_own(shelf: Shelf) -> None:
    shelf.add("one", "one")
    shelf.add("two", "two")
    tree = image_tree.of(shelf.store, shelf.images.find("one"), shelf.images.all())
    assert (tree.size, tree.own_size, tree.required_by) == (200, 100, ())
    assert [layer.shared_with for layer in tree.layers] == [("two:latest",), ()]
    assert [layer.top_of for layer in tree.layers] == [(), ("one:latest",)]
