"""The daemons that start crate-runc, one of each per run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support import images as real_images
from tests.support.daemons import Containerd, Docker, Enclosure
from tests.support.leaks import Census
from tests.support.programs import Account

IMAGE = "localhost/busybox:1"


@pytest.fixture(scope="session")
def enclosure(ourselves: Account, bin_directory: Path) -> Iterator[Enclosure]:
    host.need_root()
    for name, package in (("containerd", None), ("ip", "iproute2"), ("nsenter", "util-linux")):
        host.program(name, package)
    made = Enclosure(ourselves)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def archive(base: Path) -> Path:
    """Busybox, and a pause image for pods, as `docker save` packs them."""
    *_, whole = real_images.busybox_layers()
    busybox = real_images.image([whole], real_images.BUSYBOX_CONFIG, docker=True)
    pause = real_images.image([whole], {**real_images.BUSYBOX_CONFIG, "Cmd": ["sleep", "100000"]}, docker=True)
    return real_images.write_docker_archive(base / "callers.tar", {IMAGE: busybox, "localhost/pause:1": pause})


@pytest.fixture(scope="session")
def containerd(enclosure: Enclosure, archive: Path, base: Path, bin_directory: Path, census: Census) -> Containerd:
    made = Containerd(enclosure, bin_directory / "crate-runc", base / "containerd")
    for namespace in ("default", "k8s.io"):
        made.ctr("images", "import", "--snapshotter", "native", str(archive), namespace=namespace)
        census.watch.add(made.state / "io.containerd.runtime.v2.task" / namespace)
    return made


@pytest.fixture(scope="session")
def docker(containerd: Containerd, archive: Path, base: Path, census: Census) -> Docker:
    host.program("docker", "docker.io")
    made = Docker(containerd, base / "docker")
    made("load", "--input", str(archive))
    census.watch.add(containerd.state / "io.containerd.runtime.v2.task/moby")
    return made
