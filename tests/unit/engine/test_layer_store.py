"""Layers in the store: found where they are complete and their owners still mean the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_engine.errors import StoreError
from crate_engine.layers.store import LayerStore, remove_trash
from crate_engine.oci.digest import Digest
from crate_engine.store.paths import Store
from crate_engine.system.userns import UserNamespace

DIFF_ID = Digest.of(b"layer")
MAP = ((0, 1000, 1), (1, 100_000, 65_536))
OTHER = ((0, 1000, 1), (1, 200_000, 65_536))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "root"), str(tmp_path / "run"))


def ids(uid_map: tuple[tuple[int, int, int], ...] = MAP, gid_map: tuple[tuple[int, int, int], ...] = MAP) -> UserNamespace:
    return UserNamespace("range", uid_map, gid_map)


def unpacked(store: Store, namespace: UserNamespace, *, content: str = "x") -> None:
    layers = LayerStore(store, namespace)
    directory = layers.ingest_directory(DIFF_ID)
    os.makedirs(f"{directory}/fs")
    Path(directory, "fs/file").write_text(content)
    layers.commit(DIFF_ID, directory, size=1, entries=1)


def test_a_layer_is_there_once_it_is_committed(store: Store) -> None:
    assert not LayerStore(store, ids()).has(DIFF_ID)
    unpacked(store, ids())
    assert LayerStore(store, ids()).has(DIFF_ID)
    assert LayerStore(store).has(DIFF_ID)
    assert LayerStore(store, ids()).size(DIFF_ID) == 1


@pytest.mark.parametrize(
    "changed",
    [
        ids(OTHER, OTHER),
        ids(MAP, OTHER),
        ids(OTHER, MAP),
        ids(((0, 1000, 1), (1, 100_000, 1000)), MAP),
        ids(((0, 1000, 1),), ((0, 1000, 1),)),
        ids(((0, 1000, 1), (1, 50_000, 10), (11, 100_000, 65_536)), MAP),
    ],
    ids=["other", "groups", "users", "fewer", "none", "one before"],
)
def test_a_layer_of_other_ids_is_not_there(store: Store, changed: UserNamespace) -> None:
    unpacked(store, ids())
    assert not LayerStore(store, changed).has(DIFF_ID)
    assert LayerStore(store, changed).missing([DIFF_ID]) == [DIFF_ID]


@pytest.mark.parametrize(
    "grown", [((0, 1000, 1), (1, 100_000, 131_072)), (*MAP, (65_537, 400_000, 65_536))], ids=["longer", "more"]
)
def test_ids_that_were_added_behind_change_nothing(store: Store, grown: tuple[tuple[int, int, int], ...]) -> None:
    unpacked(store, ids())
    assert LayerStore(store, ids(grown, grown)).has(DIFF_ID)


def test_a_layer_that_is_unpacked_again_takes_the_place_of_the_old(store: Store) -> None:
    unpacked(store, ids(), content="old")
    unpacked(store, ids(OTHER, OTHER), content="new")
    assert not LayerStore(store, ids()).has(DIFF_ID)
    assert LayerStore(store, ids(OTHER, OTHER)).has(DIFF_ID)
    assert Path(store.layers, "sha256", DIFF_ID.hex, "fs/file").read_text() == "new"
    assert len(os.listdir(store.trash)) == 1


def test_root_and_one_id_have_no_map_to_compare(store: Store) -> None:
    unpacked(store, UserNamespace("root"))
    assert LayerStore(store, UserNamespace("root")).has(DIFF_ID)
    single = UserNamespace("single", ((0, 1000, 1),), ((0, 1000, 1),))
    assert not LayerStore(store, single).has(DIFF_ID)
    unpacked(store, single)
    assert LayerStore(store, single).has(DIFF_ID)


def test_trash_that_cannot_be_read_is_an_error_of_the_store(tmp_path: Path) -> None:
    """Which workers ignore: any other exception would end them, and the pull with them."""
    with pytest.raises(StoreError, match=r"empty .*/missing: No such file"):
        remove_trash(str(tmp_path / "missing"))
