"""`spec`: what it writes is a bundle that this runtime takes, and it never overwrites."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crate_runc import check, cli, config, spec


@pytest.mark.parametrize("rootless", [False, True])
def test_what_it_writes_has_no_defect(rootless: bool, tmp_path: Path) -> None:
    spec.write(str(tmp_path), rootless=rootless)
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text) == spec.make(rootless=rootless, uid=os.geteuid(), gid=os.getegid())
    assert '\n\t"process": {\n\t\t"terminal": true,\n' in text
    assert check.document(json.loads(text)) == []
    config.load(str(tmp_path))


def test_it_writes_into_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["spec"]) == 0
    assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize("link", [False, True])
def test_it_overwrites_nothing(link: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "other"
    target.write_text("mine")
    if link:
        (tmp_path / "config.json").symlink_to(target)
    else:
        target.rename(tmp_path / "config.json")
    assert cli.main(["spec", "-b", str(tmp_path)]) == 1
    assert "the file exists; remove it first" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_directory_that_is_missing_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["spec", "-b", str(tmp_path / "no")]) == 1
    assert f"write {tmp_path}/no/config.json: no such file or directory" in capfd.readouterr().err


def test_rootless_differs_where_an_ordinary_user_must() -> None:
    root, user = spec.make(rootless=False, uid=1, gid=2), spec.make(rootless=True, uid=1, gid=2)
    kinds = [[entry["type"] for entry in document["linux"]["namespaces"]] for document in (root, user)]
    assert kinds == [["pid", "network", "ipc", "uts", "mount"], ["pid", "ipc", "uts", "mount", "user"]]
    assert "resources" not in user["linux"]
    assert user["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 2, "size": 1}]
    assert [entry["destination"] for entry in root["mounts"]] == [entry["destination"] for entry in user["mounts"]]
