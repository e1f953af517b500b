from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crate_engine.errors import AmbiguousName, ContainerNotFound, NameInUse, StoreError, UsageError
from crate_engine.monitor import records
from crate_engine.options import RunOptions
from crate_engine.store.containers import ContainerStore, Record, is_name
from crate_engine.store.paths import Store
from crate_engine.system import process
from crate_engine.validate import validate


@pytest.fixture
def containers(tmp_path: Path) -> ContainerStore:
    return ContainerStore(Store.open(str(tmp_path / "data"), str(tmp_path / "run")))


def record(identity: str, name: str) -> Record:
    return Record(
        id=identity,
        name=name,
        created=1,
        image="example",
        image_id="0" * 64,
        options=RunOptions(image="example", command=("a",), ports=("80",)),
        runtime="crate-runc",
        snapshot={"kind": "overlay", "lower": ["/l"]},
        network="private",
        ports=((80, 0, "tcp", ""),),
        command=("a",),
        hostname="h",
        user="",
        stop_signal="SIGTERM",
        config={"ociVersion": "1.0.2", "process": {}, "root": {}, "mounts": [], "linux": {}},
    )


def add(containers: ContainerStore, name: str | None = None) -> Record:
    with containers.new(name) as (identity, taken):
        made = record(identity, taken)
        containers.write(made, durably=False)
    return made


def test_a_record_comes_back_and_matches_its_schema(containers: ContainerStore) -> None:
    made = add(containers, "one")
    assert containers.find("one") == containers.find(made.id) == containers.find(made.id[:4]) == made
    assert validate(json.loads(made.to_text()), "crate/container") == []
    assert containers.all() == [made]
    assert containers.condition(made.id).status == "created"


def test_names_are_exclusive(containers: ContainerStore) -> None:
    made = add(containers, "one")
    with pytest.raises(NameInUse):
        add(containers, "one")
    assert containers.all() == [made]
    containers.take_out(made)
    add(containers, "one")


def test_generated_names_are_names(containers: ContainerStore) -> None:
    assert all(is_name(add(containers).name) for _ in range(5))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "-rf", "_a", "a" * 129, "％", "a b", "a\0"])
def test_names_that_cannot_be_are_refused(containers: ContainerStore, name: str) -> None:
    with pytest.raises(UsageError):
        add(containers, name)
    assert containers.all() == []
    with pytest.raises(ContainerNotFound):
        containers.find(name)


def test_a_shared_beginning_is_ambiguous(containers: ContainerStore) -> None:
    made = [add(containers) for _ in range(17)]
    firsts = [one.id[0] for one in made]
    shared = next(letter for letter in firsts if firsts.count(letter) > 1)
    with pytest.raises(AmbiguousName):
        containers.find(shared)


def test_an_interrupted_creation_is_swept_and_its_name_free(containers: ContainerStore, tmp_path: Path) -> None:
    identity = "e" * 64
    os.mkdir(containers.directory(identity))
    os.symlink(identity, containers.name_link("one"))
    with pytest.raises(ContainerNotFound):
        containers.find("one")
    add(containers, "one")
    assert not os.path.exists(containers.directory(identity))
    os.mkdir(containers.directory(identity))
    containers.all()
    assert not os.path.exists(containers.directory(identity))


def test_a_creation_under_way_is_left_alone(containers: ContainerStore) -> None:
    with containers.new("one") as (identity, name):
        assert containers.all() == []
        with pytest.raises(NameInUse):
            add(containers, "one")
        containers.write(record(identity, name), durably=False)
    assert len(containers.all()) == 1


def test_a_creation_that_fails_leaves_nothing(containers: ContainerStore) -> None:
    with pytest.raises(KeyError), containers.new("one") as (identity, _):
        raise KeyError
    assert not os.path.exists(containers.directory(identity))
    assert not os.path.lexists(containers.name_link("one"))


def test_a_damaged_record_is_named_and_hides_no_other(containers: ContainerStore) -> None:
    made, damaged = add(containers, "good"), add(containers, "bad")
    for text in ("", "{", "[]", "{}", made.to_text().replace('"version":1', '"version":99')):
        Path(containers.directory(damaged.id), "container.json").write_text(text)
        assert containers.all() == [made]
        with pytest.raises(StoreError, match=r"container\.json"):
            containers.find("bad")


def test_conditions_follow_the_monitors_files(containers: ContainerStore) -> None:
    made = add(containers)
    run, home = containers.run_directory(made.id), containers.directory(made.id)
    os.mkdir(run)
    records.write_state(run, "starting")
    assert containers.condition(made.id).status == "starting"
    records.write_start(home, 5)
    records.write_state(run, "running", init=records.identity(os.getppid()), ports=[(80, 8080, "tcp", "")], started=5)
    running = containers.condition(made.id)
    assert (running.status, running.pid, running.started, running.stale) == ("running", os.getppid(), 5, False)
    assert running.ports[0].host_port == 8080
    records.write_state(run, "running", init={"pid": os.getppid(), "start_time": 1}, started=5)
    assert containers.condition(made.id).status == "stopping"
    records.write_exit(home, records.exit_record(3, 5))
    os.unlink(f"{run}/state.json")
    ended = containers.condition(made.id)
    assert (ended.status, ended.exit_code, ended.stale) == ("exited", 3, False)
    assert validate(json.loads(Path(home, "exit.json").read_text()), "crate/exit") == []


def test_without_monitor_and_process_the_exit_code_is_unknown(containers: ContainerStore) -> None:
    made = add(containers)
    run, home = containers.run_directory(made.id), containers.directory(made.id)
    os.mkdir(run)
    records.write_start(home, 5)
    gone = {"pid": os.getpid(), "start_time": 1}
    state: dict[str, Any] = {
        "boot_id": process.boot_id(),
        "status": "running",
        "monitor": gone,
        "init": gone,
        "pasta": None,
        "ports": [],
        "started": 5,
    }
    for boot in (process.boot_id(), "another"):
        Path(run, "state.json").write_text(json.dumps(state | {"boot_id": boot}))
        condition = containers.condition(made.id)
        assert (condition.status, condition.exit_code, condition.stale, condition.pid) == ("exited", None, True, 0)


def test_a_lock_on_a_removed_container_finds_it_gone(containers: ContainerStore) -> None:
    made = add(containers, "one")
    with containers.lock(made.id):
        containers.take_out(made)
    with pytest.raises(ContainerNotFound), containers.lock(made.id):
        pass
    with pytest.raises(ContainerNotFound):
        containers.take_out(replace(made))
