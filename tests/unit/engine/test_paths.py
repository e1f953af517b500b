"""Roots of the store: defaults, ownership, modes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crate_engine.errors import StoreError
from crate_engine.store import paths
from crate_engine.store.paths import Store

ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: the defaults of root are fixed paths")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("home", "runtime", "tmp"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def test_directories_are_made_on_first_need_and_closed_to_others(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = Store.open(str(tmp_path / "a/b/root"), str(tmp_path / "run"))
        assert os.listdir(store.root) == []
        made = [
            *(store.oci, store.layers, store.containers, store.names, store.locks, store.ingest, store.trash),
            *(store.run_containers, store.runtime_root, store.root, store.runroot, str(tmp_path / "a")),
        ]
    finally:
        os.umask(old)
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in made} == {0o700}


def test_roots_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("data", "run")
    assert (store.root, store.runroot) == (str(tmp_path / "data"), str(tmp_path / "run"))


def test_root_uses_the_system_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert paths._default_root() == "/var/lib/crate"
    assert paths._default_runroot() == "/run/crate"


def test_a_user_gets_the_xdg_directories(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(home).st_uid or 12345)
    monkeypatch.setattr(paths, "_check_owned", lambda path, hint: None)
    assert paths._default_root() == f"{home}/home/.local/share/crate"
    assert paths._default_runroot() == f"{home}/runtime/crate"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert paths._default_root() == f"{home}/home/.local/share/crate"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert paths._default_root() == "/data/crate"


def test_without_a_runtime_directory_the_temporary_folder_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for value in ("", "relative", str(home / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert paths._default_runroot() == f"{home}/tmp/crate-12345"


@ordinary_user
def test_the_default_store_opens(home: Path) -> None:
    assert Store.open(None, None).root == f"{home}/home/.local/share/crate"


def test_a_runtime_directory_of_someone_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StoreError, match="belongs to user") as failure:
        paths._default_runroot()
    assert "XDG_RUNTIME_DIR" in str(failure.value.hint)


@pytest.mark.parametrize("kind", ["symlink", "file", "group-writable", "world-writable", "sticky"])
def test_an_unsafe_root_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    if kind == "symlink":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        root.symlink_to("elsewhere")
    elif kind == "file":
        root.write_text("")
    else:
        root.mkdir()
        root.chmod({"group-writable": 0o770, "world-writable": 0o707, "sticky": 0o1777}[kind])
    for arguments in ((str(root), str(tmp_path / "other")), (str(tmp_path / "other"), str(root))):
        with pytest.raises(StoreError, match="root"):
            Store.open(*arguments)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to someone else")
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o700)
    os.chown(tmp_path / "root", 12345, 12345)
    with pytest.raises(StoreError, match="belongs to user 12345"):
        Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
