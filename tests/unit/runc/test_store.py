"""The state root: ids, locks, atomic records, leftovers of killed commands, and who may own it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crate_runc.errors import StateError
from crate_runc.state import store as state_store
from crate_runc.state.record import ContainerState
from crate_runc.state.store import StateStore, default_root


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(str(tmp_path / "root"))


def state_of(container_id: str, **changes: Any) -> ContainerState:
    values: dict[str, Any] = {
        "id": container_id,
        "bundle": "/b",
        "rootfs": "/b/r",
        "config": {},
        "owner": os.geteuid(),
        "created": "now",
    }
    return ContainerState(**{**values, **changes})


def living(container_id: str, phase: str) -> ContainerState:
    """A record whose process is this one."""
    own = state_store.start_time(os.getpid())
    assert own is not None
    return state_of(container_id, phase=phase, pid=os.getpid(), start_time=own, boot_id=state_store.boot_id())


@pytest.mark.parametrize("container_id", ["a", "A-Za_z0.9+", ".hidden", "x" * 255])
def test_good_ids(store: StateStore, container_id: str) -> None:
    with store.create(container_id) as entry:
        assert os.path.isdir(entry.directory)


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", "a b", "ä", "a\n", "a\0", "x" * 256, "~a", "../x"])
def test_bad_ids(store: StateStore, container_id: str) -> None:
    for call in (store.create, store.open):
        with pytest.raises(StateError, match=r"^invalid container ID format$"):
            call(container_id)


def test_a_record_comes_back(store: StateStore) -> None:
    with store.create("c") as entry:
        entry.save(state_of("c", pid=7))
    with store.open("c") as entry:
        assert entry.load().pid == 7
    assert os.listdir(entry.directory) == ["state.json"]
    assert os.stat(store.root).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(entry.directory, "state.json")).st_mode & 0o777 == 0o600


def test_an_id_is_given_once(store: StateStore) -> None:
    with store.create("c") as entry:
        entry.save(state_of("c"))
    with pytest.raises(StateError, match=r"^container with given ID already exists$"):
        store.create("c")


def test_an_id_is_taken_while_its_creator_has_written_nothing_yet(store: StateStore) -> None:
    with store.create("c"), pytest.raises(StateError, match="already exists"):
        store.create("c")


def test_what_a_killed_creator_left_is_taken_over(store: StateStore) -> None:
    with store.create("c") as entry:
        Path(entry.directory, "start").touch()
    with store.create("c") as entry:
        assert os.listdir(entry.directory) == []


def test_a_missing_container_is_told_in_the_words_that_callers_match(store: StateStore) -> None:
    for _ in range(2):
        with pytest.raises(StateError, match=r"^container does not exist$"):
            store.open("c")
        store.create("other").close()


def test_a_container_without_a_record_does_not_exist(store: StateStore) -> None:
    store.create("c").close()
    with store.open("c") as entry, pytest.raises(StateError, match=r"^container does not exist$"):
        entry.load()


def test_a_damaged_record_names_its_file(store: StateStore) -> None:
    with store.create("c") as entry:
        Path(entry.directory, "state.json").write_text("{")
        with pytest.raises(StateError, match=r"c/state.json: not JSON"):
            entry.load()


def test_open_waits_for_the_lock_and_readers_do_not(store: StateStore) -> None:
    entry = store.create("c")
    entry.save(state_of("c"))
    with store.open("c", lock=False) as reader:
        assert reader.load().id == "c"
    order: list[str] = []

    def second() -> None:
        with store.open("c"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.05)
    order.append("first")
    entry.close()
    thread.join(5)
    assert order == ["first", "second"]


def test_who_waited_for_a_removed_container_is_told_that_it_is_gone(store: StateStore) -> None:
    entry = store.create("c")
    entry.save(state_of("c"))
    errors: list[str] = []

    def second() -> None:
        try:
            store.open("c")
        except StateError as error:
            errors.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.05)
    entry.remove()
    entry.close()
    thread.join(5)
    assert errors == ["container does not exist"]


def test_close_unlocks_although_a_child_has_the_descriptor(store: StateStore) -> None:
    entry = store.create("c")
    entry.save(state_of("c"))
    copy = os.dup(entry._fd)
    entry.close()
    entry.close()
    try:
        fd = os.open(os.path.join(store.root, "c"), os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    finally:
        os.close(copy)


def test_remove_takes_everything(store: StateStore) -> None:
    with store.create("c") as entry:
        entry.save(state_of("c"))
        os.mkfifo(os.path.join(entry.directory, "start"))
        entry.remove()
    assert store.list() == []
    assert os.listdir(store.root) == []


def test_list_is_sorted_and_passes_over_what_is_no_container(store: StateStore) -> None:
    assert store.list() == []
    for container_id in ("b", "a", "empty"):
        with store.create(container_id) as entry:
            if container_id != "empty":
                entry.save(state_of(container_id))
    Path(store.root, "file").touch()
    Path(store.root, "~tmp").mkdir()
    assert store.list() == ["a", "b", "empty"]
    assert [state.id for _, state in store.entries()] == ["a", "b"]


def test_status_of_a_living_process_is_its_phase(store: StateStore) -> None:
    with store.create("c") as entry:
        assert entry.status(living("c", "running")) == "running"


@pytest.mark.parametrize("phase", ["created", "running"])
def test_what_stands_still_is_paused(store: StateStore, tmp_path: Path, phase: str) -> None:
    freezer = tmp_path / "freezer.state"
    freezer.write_text("FROZEN\n")
    state = living("c", phase)
    state.cgroup_paths = {"freezer": str(tmp_path)}
    with store.create("c") as entry:
        assert entry.status(state) == "paused"
        freezer.write_text("THAWED\n")
        assert entry.status(state) == phase
        freezer.write_text("FROZEN\n")
        state.start_time += 1
        assert entry.status(state) == "stopped"


@pytest.mark.parametrize(("field", "value"), [("start_time", 1), ("boot_id", "another"), ("pid", 2**22 - 1)])
def test_a_number_that_is_now_another_process_is_a_stopped_container(store: StateStore, field: str, value: Any) -> None:
    state = living("c", "running")
    setattr(state, field, value)
    with store.create("c") as entry:
        assert entry.status(state) == "stopped"


def test_a_zombie_is_a_stopped_container(store: StateStore) -> None:
    process = subprocess.Popen(["true"])
    started = state_store.start_time(process.pid) or 0
    deadline = time.monotonic() + 5
    while state_store.start_time(process.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    state = state_of("c", phase="running", pid=process.pid, start_time=started, boot_id=state_store.boot_id())
    with store.create("c") as entry:
        assert entry.status(state) == "stopped"
    process.wait()


def test_creating_lasts_as_long_as_the_lock_of_its_creator(store: StateStore) -> None:
    creator = store.create("c")
    creator.save(state_of("c"))
    with store.open("c", lock=False) as reader:
        state = reader.load()
        assert creator.status(state) == "creating"
        assert reader.status(state) == "creating"
        creator.close()
        assert reader.status(state) == "stopped"


def test_a_name_with_brackets_and_spaces_does_not_confuse_the_start_time(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "30"]) as process:
        time.sleep(0.05)
        assert state_store.start_time(process.pid) is not None
        process.kill()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_root_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(StateError, match="others may write to it; run: chmod go-w"):
        StateStore(str(root)).create("c")
    with pytest.raises(StateError, match="others may write"):
        StateStore(str(root)).list()


def test_a_root_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(StateError, match="not a directory"):
        StateStore(str(tmp_path / "link")).create("c")


def test_a_root_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    (tmp_path / "root").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(StateError, match=f"belongs to uid {uid}, not to uid {uid + 1}"):
        StateStore(str(tmp_path / "root")).open("c")


def test_the_file_system_root_is_refused() -> None:
    with pytest.raises(StateError, match="/ cannot be used"):
        StateStore("//")


def test_default_roots() -> None:
    assert default_root(1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}) == "/run/user/1000/crate-runc"
    for value in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "relative"}):
        with pytest.raises(StateError, match="XDG_RUNTIME_DIR"):
            default_root(1000, value)


@pytest.mark.parametrize(("nested", "root"), [(False, "/run/crate-runc"), (True, "/run/user/5/crate-runc")])
def test_default_root_of_root(monkeypatch: pytest.MonkeyPatch, nested: bool, root: str) -> None:
    monkeypatch.setattr(state_store, "_in_user_namespace", lambda: nested)
    assert default_root(0, {"XDG_RUNTIME_DIR": "/run/user/5"}) == root
    assert default_root(0, {}) == "/run/crate-runc"


def test_remove_takes_the_notify_socket_and_empty_mount_points(store: StateStore) -> None:
    with store.create("c") as entry:
        entry.save(state_of("c"))
        Path(entry.directory, "notify").mkdir()
        Path(entry.directory, "notify/notify.sock").touch()
        Path(entry.directory, "criu-root").mkdir()
        entry.remove()
    assert os.listdir(store.root) == []


def test_remove_never_empties_what_could_be_mounted(store: StateStore) -> None:
    with store.create("c") as entry:
        kept = Path(entry.directory, "criu-root/etc")
        kept.mkdir(parents=True)
        with pytest.raises(OSError, match="not empty"):
            entry.remove()
        assert kept.is_dir()
