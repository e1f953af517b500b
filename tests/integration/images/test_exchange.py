"""Images out of containers, archives and registries, as root and as an ordinary user: what commit keeps, what export writes, how push goes on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Images
from tests.support.engine import Crate
from tests.support.registry import Registry
from tests.support.terminal import Session

CHANGES = """
mkdir -p /new/deep && echo content >/new/deep/file && ln /new/deep/file /new/second && ln -s ../nowhere /new/link
chown 1000:50 /new/deep && chmod 2750 /new/deep && mkfifo /new/pipe
rm /etc/group && rm -r /home && mkdir /home && echo mine >/home/mine
rm -r /var && echo file >/var
"""


@pytest.fixture
def origin(crate: Crate, images: Images) -> Iterator[str]:
    crate("pull", "-q", images.busybox)
    crate("run", "--name", "origin", "-u", "0", images.busybox, "sh", "-c", f"mkdir -p /home/theirs /var/x; {CHANGES}")
    yield "origin"
    crate("rm", "-f", "origin", status=None)


@pytest.fixture
def committed(crate: Crate, origin: str) -> Iterator[str]:
    crate("commit", "-m", "why", "-a", "who", "-c", 'LABEL a="b c"', "-c", "CMD cat /home/mine", origin, "example.test/c:1")
    yield "example.test/c:1"
    crate("rmi", "-f", "example.test/c:1", status=None)


def last_layer(crate: Crate, name: str) -> dict[str, tarfile.TarInfo]:
    with crate.popen("save", name, stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        with tarfile.open(fileobj=io.BytesIO(saving.stdout.read())) as archive:
            (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
            layer = archive.extractfile(entry["Layers"][-1])
            assert layer is not None
            with tarfile.open(fileobj=io.BytesIO(layer.read())) as content:
                return {member.name: member for member in content.getmembers()}


def test_commit_keeps_what_was_changed_and_nothing_else(crate: Crate, committed: str) -> None:
    members = last_layer(crate, committed)
    assert {"new/deep/file", "new/second", "new/link", "new/pipe", "home/mine", "var", "etc/.wh.group"} <= members.keys()
    assert "home/.wh..wh..opq" in members or ".wh.home" in members or "home/.wh.theirs" in members
    assert not {name for name in members if name.startswith(("proc", "sys", "dev", "etc/hosts", "etc/resolv", "bin"))}
    deep = members["new/deep"]
    assert (deep.uid, deep.gid, deep.mode) == (1000, 50, 0o2750)
    assert members["new/second"].linkname == "new/deep/file" or members["new/deep/file"].linkname == "new/second"


def test_a_committed_image_runs_with_the_changes(crate: Crate, committed: str) -> None:
    assert crate.out("run", "--rm", committed) == "mine"
    script = "stat -c '%u %g %a' /new/deep; cat /new/second /var; ls /home; ls /etc/group 2>/dev/null || ls /new/pipe"
    said = crate.out("run", "--rm", committed, "sh", "-c", script)
    assert said.splitlines() == ["1000 50 2750", "content", "file", "mine", "/new/pipe"]


def test_commit_says_who_and_why(crate: Crate, committed: str) -> None:
    document = crate.inspect(committed)
    assert (document["Author"], document["Comment"], document["Config"]["Labels"]) == ("who", "why", {"a": "b c"})


def test_the_same_changes_make_the_same_layer(crate: Crate, origin: str) -> None:
    for name in ("example.test/same:1", "example.test/same:2"):
        crate("commit", origin, name)
    layers = [crate.inspect(name)["RootFS"]["Layers"] for name in ("example.test/same:1", "example.test/same:2")]
    crate("rmi", "-f", "example.test/same:1", "example.test/same:2")
    assert layers[0] == layers[1]


def test_a_running_container_goes_on_after_its_commit(crate: Crate, images: Images) -> None:
    crate("pull", "-q", images.busybox)
    crate("run", "-d", "--name", "going", images.busybox, "sh", "-c", "echo before >/made; sleep 1000")
    crate("commit", "going", "example.test/going:1")
    assert crate.out("exec", "going", "cat", "/made") == "before"
    assert crate.out("run", "--rm", "example.test/going:1", "cat", "/made") == "before"
    crate("rm", "-f", "going")
    crate("rmi", "example.test/going:1")


@pytest.mark.parametrize("words", [("-c", "RUN x"), ("-c", "ENV")])
def test_a_commit_that_cannot_be_changes_nothing(crate: Crate, origin: str, words: tuple[str, ...]) -> None:
    before = crate.out("images", "-aq")
    crate("commit", *words, origin, "example.test/never:1", status=1)
    crate("commit", origin, "Not/A:name:1", status=1)
    assert crate.out("images", "-aq") == before
    assert os.listdir(crate.root / "ingest") == []


def test_export_and_import_give_the_same_files(crate: Crate, origin: str) -> None:
    archive = _exported(crate, origin)
    with crate.popen(
        "import", "-c", "CMD cat /home/mine", "-", "example.test/flat:1", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.communicate(archive, timeout=60)
    assert process.returncode == 0
    assert crate.out("run", "--rm", "example.test/flat:1") == "mine"
    crate("create", "--name", "flat", "example.test/flat:1")
    assert _listed(_exported(crate, "flat")) == _listed(archive)
    crate("rm", "flat")
    crate("rmi", "example.test/flat:1")


def _exported(crate: Crate, name: str) -> bytes:
    with crate.popen("export", name, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        content = process.stdout.read()
    assert process.returncode == 0
    return content


def _listed(archive: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [
            (one.name, one.type, one.mode, one.uid, one.gid, one.size, one.linkname)
            for one in opened.getmembers()
            if one.name != "."
        ]


def test_what_is_no_archive_is_not_imported(crate: Crate, tmp_path: Path) -> None:
    before = crate.out("images", "-aq")
    for content in (b"", b"no archive", b"\x1f\x8b no gzip"):
        with crate.popen("import", "-", "example.test/never:1", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.communicate(content, timeout=60)
        assert process.returncode == 1
    assert crate.out("images", "-aq") == before


def test_an_archive_is_not_written_to_a_terminal(crate: Crate, images: Images) -> None:
    crate("pull", "-q", images.busybox)
    with Session(crate.account, crate.command("save", images.busybox)) as session:
        session.expect("not written to a terminal", timeout=20)
        assert session.wait() == 1


def test_a_failed_save_leaves_the_file_that_was_there(crate: Crate, images: Images) -> None:
    crate("pull", "-q", images.busybox)
    path = crate.directory / "saved.tar"
    path.write_text("before")
    os.chown(path, crate.account.uid, crate.account.gid)
    crate("save", "-o", str(path), images.busybox, "example.test/missing:1", status=1)
    assert path.read_text() == "before"
    assert [entry.name for entry in crate.directory.iterdir() if entry.name.endswith(".tmp")] == []
    path.unlink()


def test_a_push_keeps_the_digest_of_an_image_that_came_with_dockers_manifest(
    crate: Crate, images: Images, registry: Registry
) -> None:
    crate("pull", "-q", images.docker)
    came = crate.out("image", "inspect", "-f", '{{join .RepoDigests " "}}', images.docker).rpartition("@")[2]
    name = f"{registry.address}/kept-{crate.account.uid}"
    crate("tag", images.docker, f"{name}:1")
    written = crate.directory / "digest"
    for options, same in (([], True), (["--compression-format", "gzip"], True), (["--compression-format", "zstd"], False)):
        crate("push", *options, "--digestfile", str(written), images.docker, f"{name}:1")
        assert (written.read_text() == came) is same, options
    assert came.removeprefix("sha256:")[:8] not in crate.out("system", "check", "--full"), "an image needs it"
    crate("push", "-q", images.docker, f"{name}:2")
    crate("rmi", f"{name}:1")
    crate("pull", "-q", f"{name}:2")
    crate("rmi", f"{name}:2")
    blob = crate.root / "oci/blobs/sha256" / came.removeprefix("sha256:")
    assert blob.exists(), "another name needs it"
    crate("push", "-q", "--digestfile", str(written), images.docker, f"{name}:3")
    assert written.read_text() == came
    blob.unlink()
    crate("push", "-q", "--digestfile", str(written), images.docker, f"{name}:3")
    assert written.read_text() != came, "OCI's form has to do"


def test_push_sends_what_is_missing_in_chunks(crate: Crate, registry: Registry) -> None:
    """Two chunks and a bit, of what cannot be compressed: the registry puts them together and checks the digest."""
    content = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range((33 << 20) // 32))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as made:
        member = tarfile.TarInfo("large")
        member.size = len(content)
        made.addfile(member, io.BytesIO(content))
    name = f"{registry.address}/chunks-{crate.account.uid}:1"
    with crate.popen("import", "-", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.communicate(archive.getvalue(), timeout=120)
    first = crate.out("push", name)
    assert ": Pushed" in first
    assert ": Layer already exists" in crate.out("push", name)
    other = name.replace("chunks", "mounted")
    crate("tag", name, other)
    assert "Mounted from" in crate.out("push", other)
    crate("rmi", name, other)
    crate("pull", "-q", name)
    digest = crate.directory / "digest"
    crate("push", "--digestfile", str(digest), name)
    assert digest.read_text() in first
    crate("rmi", name)
    digest.unlink()


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_another_compression_keeps_the_id(crate: Crate, images: Images, registry: Registry, kind: str) -> None:
    crate("pull", "-q", images.busybox)
    before = crate.inspect(images.busybox)["Id"]
    name = f"{registry.address}/compressed-{crate.account.uid}:{kind}"
    crate("push", "--compression-format", kind, "--compression-level", "1", "--force-compression", images.busybox, name)
    crate("pull", "-q", name)
    assert crate.inspect(name)["Id"] == before
    assert crate.out("run", "--rm", name, "echo", "works") == "works"
    crate("rmi", name)
