"""Images in files and registries, exchanged with skopeo, umoci, podman, buildah, docker and ctr: what we write they read, and what they write we read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Images
from tests.support import host
from tests.support.daemons import Containerd, Docker
from tests.support.engine import Crate
from tests.support.programs import Account
from tests.support.registry import Registry

FORMATS = ("docker-archive", "oci-archive", "oci-dir")
PROGRAM = ("sh", "-c", "echo $GREETING; cat /made")


@pytest.fixture
def place(crate: Crate, tmp_path: Path) -> Path:
    """A directory of the test that the user of the store may write to."""
    os.chmod(tmp_path, 0o777)
    path = tmp_path / "exchange"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    for parent in list(path.parents)[:-2]:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o755)
    return path


@pytest.fixture
def made(crate: Crate, images: Images) -> Iterator[str]:
    """An image that a container was committed to: three layers of the base and one with a file and a whiteout."""
    crate("pull", "-q", images.busybox)
    crate("run", "--name", "origin", images.busybox, "sh", "-c", "echo hello >/made; rm /etc/group; ln /made /again")
    crate("commit", "-c", "ENV GREETING=welcome", "origin", "example.test/made:1")
    crate("rm", "origin")
    yield "example.test/made:1"
    crate("rmi", "-f", "example.test/made:1", status=None)


def skopeo(*words: str, status: int = 0) -> str:
    done = subprocess.run([host.program("skopeo"), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout


def config_of(crate: Crate, name: str) -> str:
    return crate.out("image", "inspect", "--format", "{{.Id}}", name)


def manifest_of(crate: Crate, name: str) -> str:
    return crate.out("image", "inspect", "--format", "{{.Descriptor.digest}}", name)


def save(crate: Crate, place: Path, kind: str, *names: str) -> Path:
    path = place / f"saved.{kind}"
    crate("save", "--format", kind, "-o", str(path), *names)
    return path


def transport(kind: str) -> str:
    return {"oci-dir": "oci"}.get(kind, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_skopeo_reads_what_we_save(crate: Crate, made: str, place: Path, kind: str) -> None:
    path = save(crate, place, kind, made)
    reference = f"{transport(kind)}:{path}"
    assert "sha256:" + hashlib.sha256(skopeo("inspect", "--config", "--raw", reference).encode()).hexdigest() == config_of(
        crate, made
    )
    if kind != "docker-archive":  # of those skopeo makes a manifest of its own
        assert "sha256:" + hashlib.sha256(skopeo("inspect", "--raw", reference).encode()).hexdigest() == manifest_of(crate, made)
    skopeo("copy", "--quiet", reference, f"dir:{place}/copied")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
def test_we_load_what_skopeo_writes(crate: Crate, made: str, place: Path, kind: str) -> None:
    ours = save(crate, place, "oci-dir", made)
    theirs = place / f"theirs.{kind}"
    skopeo("copy", "--quiet", f"oci:{ours}", f"{kind}:{theirs}:example.test/theirs:2")
    subprocess.run(["chmod", "-R", "a+rX", str(theirs)], check=True)
    assert crate.out("load", "-i", str(theirs)) == "Loaded image: example.test/theirs:2"
    assert config_of(crate, "example.test/theirs:2") == config_of(crate, made)
    assert crate.out("run", "--rm", "example.test/theirs:2", *PROGRAM) == "welcome\nhello"
    crate("rmi", "example.test/theirs:2")


def test_umoci_unpacks_what_we_save(crate: Crate, made: str, place: Path) -> None:
    path = save(crate, place, "oci-dir", made)
    words = ["unpack", "--rootless"] if os.geteuid() else ["unpack"]
    subprocess.run([host.program("umoci"), *words, "--image", f"{path}:1", str(place / "bundle")], check=True)
    root = place / "bundle/rootfs"
    assert (root / "made").read_text() == "hello\n"
    assert (root / "made").stat().st_ino == (root / "again").stat().st_ino
    assert not (root / "etc/group").exists()
    assert (root / "etc/passwd").exists()


def test_we_load_what_umoci_changed(crate: Crate, made: str, place: Path) -> None:
    path = save(crate, place, "oci-dir", made)
    words = [host.program("umoci"), "config", "--image", f"{path}:1", "--config.env", "GREETING=changed", "--tag", "two"]
    subprocess.run(words, check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    pulled = crate.out("pull", "-q", f"oci:{path}:two")
    assert crate.out("run", "--rm", pulled, *PROGRAM) == "changed\nhello"
    crate("rmi", "-f", pulled)


def test_the_store_is_a_layout_for_skopeo_and_umoci(crate: Crate, made: str) -> None:
    layout = crate.root / "oci"
    assert json.loads(skopeo("inspect", "--config", f"oci:{layout}:{made}"))["config"]["Env"][-1] == "GREETING=welcome"
    listed = subprocess.run([host.program("umoci"), "ls", "--layout", str(layout)], capture_output=True, text=True, check=True)
    assert made in listed.stdout.split()


@pytest.mark.parametrize("kind", FORMATS)
def test_save_and_load_keep_the_manifest_and_the_names(crate: Crate, made: str, place: Path, kind: str) -> None:
    crate("tag", made, "example.test/other:1")
    before = manifest_of(crate, made)
    path = save(crate, place, kind, made, "example.test/other:1")
    crate("rmi", made, "example.test/other:1")
    assert sorted(crate.out("load", "-i", str(path)).splitlines()) == [
        "Loaded image: example.test/made:1",
        "Loaded image: example.test/other:1",
    ]
    assert manifest_of(crate, made) == manifest_of(crate, "example.test/other:1") == before
    crate("rmi", "example.test/other:1")


def test_several_images_go_through_a_pipe(crate: Crate, made: str, images: Images) -> None:
    crate("pull", "-q", images.docker)
    with crate.popen("save", made, images.docker, stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        archive = saving.stdout.read()
    assert saving.returncode == 0
    crate("rmi", made, images.docker)
    with crate.popen("load", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as loading:
        out, _ = loading.communicate(archive, timeout=60)
    assert out.decode().splitlines() == [f"Loaded image: {made}", f"Loaded image: {images.docker}"]
    assert crate.out("run", "--rm", made, *PROGRAM) == "welcome\nhello"


def test_push_and_pull_keep_the_digest(crate: Crate, made: str, registry: Registry) -> None:
    name = f"{registry.address}/{'user' if crate.rootless else 'root'}/made:1"
    crate("push", made, name)
    before = manifest_of(crate, made)
    assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))["Digest"] == before
    crate("rmi", made)
    crate("pull", "-q", name)
    assert manifest_of(crate, name) == before
    assert crate.out("run", "--rm", name, *PROGRAM) == "welcome\nhello"
    crate("rmi", name)


def test_podman_and_we_load_each_other(crate: Crate, made: str, place: Path, podman: Callable[..., str]) -> None:
    for kind in ("docker-archive", "oci-archive"):
        path = save(crate, place, kind, made)
        assert made in podman("load", "-i", str(path)), kind
        identity = podman("image", "inspect", "--format", "{{.Id}}", made).strip()
        assert f"sha256:{identity}" == config_of(crate, made), kind
        theirs = place / f"podman.{kind}"
        podman("tag", made, f"example.test/{kind}:3")
        podman("save", "--quiet", "--format", kind, "-o", str(theirs), f"example.test/{kind}:3")
        assert crate.out("load", "-i", str(theirs)) == f"Loaded image: example.test/{kind}:3"
        assert crate.out("run", "--rm", f"example.test/{kind}:3", *PROGRAM) == "welcome\nhello"
        crate("rmi", f"example.test/{kind}:3")
        podman("rmi", "-f", made, f"example.test/{kind}:3")


@pytest.fixture(scope="module")
def podman(account: Account, base: Path) -> Callable[..., str]:
    """On a store of its own, whose path has to be short. Its process that holds the user namespace stays for the module."""
    directory = base / f"px-{account.uid}"
    directory.mkdir()
    os.chown(directory, account.uid, account.gid)
    places = ["--root", str(directory / "s"), "--runroot", str(directory / "r"), "--tmpdir", str(directory / "t")]
    modes = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "vfs"]
    program = [host.program("podman"), *places, *modes]

    def run(*words: str) -> str:
        return account.run([*program, *words], status=0, timeout=180).out

    run("info")
    return run


def test_buildah_takes_what_we_save(crate: Crate, made: str, place: Path) -> None:
    if crate.rootless:
        pytest.skip("buildah as an ordinary user mounts nothing outside buildah unshare")
    path = save(crate, place, "oci-archive", made)
    program = [host.program("buildah"), "--root", str(place / "b"), "--runroot", str(place / "r"), "--storage-driver", "vfs"]
    name = crate.account.run([*program, "from", f"oci-archive:{path}"], timeout=120).out.strip()
    mounted = Path(crate.account.run([*program, "mount", name]).out.strip())
    assert (mounted / "made").read_text() == "hello\n"
    crate.account.run([*program, "umount", name])
    crate.account.run([*program, "rm", name])


@pytest.mark.parametrize("account", ["root"], indirect=True)
def test_docker_and_we_load_each_other(crate: Crate, made: str, place: Path, docker: Docker) -> None:
    path = save(crate, place, "docker-archive", made)
    assert f"Loaded image: {made}" in docker("load", "--input", str(path)).out
    assert docker("image", "inspect", "--format", "{{.Id}}", made).out.strip() == config_of(crate, made)
    docker("tag", made, "example.test/docker:4")
    theirs = place / "docker.tar"
    docker("save", "--output", str(theirs), "example.test/docker:4")
    assert crate.out("load", "-i", str(theirs)) == "Loaded image: example.test/docker:4"
    assert config_of(crate, "example.test/docker:4") == config_of(crate, made)
    assert crate.out("run", "--rm", "example.test/docker:4", *PROGRAM) == "welcome\nhello"
    crate("rmi", "example.test/docker:4")
    docker("rmi", "-f", made, "example.test/docker:4")


@pytest.mark.parametrize("account", ["root"], indirect=True)
def test_docker_imports_what_we_export(crate: Crate, made: str, place: Path, docker: Docker) -> None:
    crate("create", "--name", "exported", made)
    path = place / "export.tar"
    crate("export", "-o", str(path), "exported")
    docker("import", str(path), "example.test/flat:1")
    theirs = place / "flat.tar"
    docker("save", "--output", str(theirs), "example.test/flat:1")
    crate("load", "-i", str(theirs))
    assert crate.out("run", "--rm", "example.test/flat:1", "/bin/cat", "/made") == "hello"
    crate("rmi", "example.test/flat:1")
    docker("rmi", "-f", "example.test/flat:1")


@pytest.mark.parametrize("account", ["root"], indirect=True)
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_ctr_and_we_load_each_other(crate: Crate, made: str, place: Path, containerd: Containerd, kind: str) -> None:
    path = save(crate, place, kind, made)
    assert made in containerd.ctr("images", "import", "--snapshotter", "native", str(path)).out
    theirs = place / "ctr.tar"
    containerd.ctr("images", "tag", "--force", made, "example.test/ctr:5")
    containerd.ctr("images", "export", str(theirs), "example.test/ctr:5")
    assert crate.out("load", "-i", str(theirs)) == "Loaded image: example.test/ctr:5"
    assert manifest_of(crate, "example.test/ctr:5") == manifest_of(crate, made)
    crate("rmi", "example.test/ctr:5")
    containerd.ctr("images", "rm", made, "example.test/ctr:5")


def test_tar_reads_what_we_export(crate: Crate, made: str, place: Path) -> None:
    crate("create", "--name", "exported", made)
    path = place / "export.tar"
    crate("export", "-o", str(path), "exported")
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert (members["again"].isreg(), members["made"].islnk(), members["made"].linkname) == (True, True, "again")
    assert "etc/group" not in members
    assert {member.uid for member in members.values()} == {0}
    assert all(members[f"bin/{name}"].issym() for name in ("sh", "ls"))
