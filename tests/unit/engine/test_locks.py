"""flock locks: exclusion between processes, release by death, order."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from crate_engine.store.locks import lock
from crate_engine.store.paths import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "root"), str(tmp_path / "run"))


def _child_that_holds(store: Store, name: str, shared: bool) -> int:
    """A process that holds the lock until it is killed; it holds it when this returns."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        with lock(store, name, shared):
            os.write(send, b"x")
            signal.pause()
        os._exit(0)
    os.close(send)
    assert os.read(receive, 1) == b"x"
    os.close(receive)
    return child


def _acquired(store: Store, name: str, shared: bool) -> bool:
    """Whether another process gets the lock within a moment."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with lock(store, name, shared):
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("first", "second", "both"), [(False, False, False), (False, True, False), (True, True, True)])
def test_exclusive_excludes_and_shared_shares_until_the_holder_dies(store: Store, first: bool, second: bool, both: bool) -> None:
    holder = _child_that_holds(store, "container-a", first)
    try:
        assert _acquired(store, "container-a", second) is both
        assert _acquired(store, "container-b", second)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    assert _acquired(store, "container-a", False)


def test_the_wrong_order_is_noticed(store: Store) -> None:
    mistake = pytest.raises(AssertionError, match="image taken while container is held")
    with lock(store, "image"), lock(store, "container-a"), mistake, lock(store, "image"):
        pass
    with lock(store, "store"):
        pass


@pytest.mark.parametrize("name", ["", "other", "container-../x", "Store"])
def test_an_unknown_kind_is_a_mistake_in_the_program(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="unknown kind"), lock(store, name):
        pass
