"""What all tests share: the installed checkout, users, images and a registry, and the check that nothing is left behind.

Everything expensive is made once per run, in one directory that is in memory where that is possible, or once for all in the cache directory.
Several runs at once do not meet: each has a directory, a registry and a port of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import host, installation, rootfs, users
from tests.support import images as real_images
from tests.support.engine import Crate
from tests.support.leaks import Census, Watch
from tests.support.programs import Account, eventually
from tests.support.registry import Registry
from tests.support.runtime import Bundle, OciRuntime, new_bundle, remove
from tests.support.workspace import workspace

_CHECKED_FOR_LEAKS = ("integration", "conformance", "rootless", "interop", "inside")


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """The directory of this run."""
    with workspace(host.fast_directory()) as path:
        yield path


@pytest.fixture(scope="session")
def bin_directory(base: Path) -> Path:
    """`crate` and `crate-runc` of this checkout, as the wheel installs them."""
    return installation.install(base / "installation")


@pytest.fixture(scope="session")
def ourselves(base: Path, census: Census) -> Account:
    """Whoever runs the tests, with a home and a runtime directory of this run."""
    account = users.ourselves(base)
    census.temporaries.append(account.temporary)
    return account


@pytest.fixture(scope="session")
def rootless_user(base: Path, census: Census, bin_directory: Path, request: pytest.FixtureRequest) -> Account:
    """An ordinary user with subordinate ids."""
    account = users.ordinary(base) if host.IS_ROOT else users.checked(request.getfixturevalue("ourselves"))
    if defect := host.user_namespace_defect():
        pytest.skip(f"needs user namespaces of an ordinary user: {defect}")
    if host.IS_ROOT:
        census.temporaries.append(account.temporary)
    python = account.run([str(bin_directory / "python3"), "-c", ""])
    if python.status:  # a Python whose library lies below a home that only its owner can enter
        pytest.skip(f"needs a Python that every user can run: {python.err.strip()}")
    return account


@pytest.fixture(scope="session", params=["root", "rootless"])
def account(request: pytest.FixtureRequest) -> Account:
    """Both: root, where the tests are run by root, and an ordinary user."""
    if request.param == "root":
        host.need_root()
    account: Account = request.getfixturevalue("ourselves" if request.param == "root" else "rootless_user")
    return account


@pytest.fixture(scope="session")
def busybox_rootfs(base: Path) -> Path:
    """A busybox system that tests only read."""
    path = base / "busybox"
    path.mkdir()
    rootfs.fill(path)
    return path


@pytest.fixture(scope="session")
def registry(base: Path) -> Iterator[Registry]:
    """A registry of this run; tests push what they like, under names of their own."""
    running = Registry(host.program("docker-registry"), base / "registry")
    yield running
    running.stop()


class Images(SimpleNamespace):
    """References of images in the registry."""

    busybox: str
    """Three layers, an OCI manifest."""
    docker: str
    """The same in one layer, with Docker's manifest."""
    multi: str
    """An index: this platform's image is `busybox`, another's has nothing that runs."""


@pytest.fixture(scope="session")
def images(registry: Registry) -> Images:
    """Busybox in the forms that registries have."""
    *layers, whole = real_images.busybox_layers()
    oci = real_images.image(layers, real_images.BUSYBOX_CONFIG)
    registry.push("library/busybox", "latest", oci)
    docker = real_images.image([whole], real_images.BUSYBOX_CONFIG, docker=True)
    registry.push("library/busybox", "docker", docker)
    other = real_images.image(layers[-1:], {}, architecture="riscv64")
    registry.push("library/busybox", "multi", real_images.index([("riscv64", other), (real_images.ARCHITECTURE, oci)]))
    name = f"{registry.address}/library/busybox"
    return Images(busybox=f"{name}:latest", docker=f"{name}:docker", multi=f"{name}:multi")


@pytest.fixture(scope="session")
def nginx(registry: Registry) -> str:
    """The reference of a Debian with nginx, about 70 MB: apt, dpkg and su are in it too."""
    registry.push("library/nginx", "latest", real_images.image(real_images.debian_layers(), real_images.NGINX_CONFIG))
    return f"{registry.address}/library/nginx:latest"


@pytest.fixture(scope="session")
def stores(bin_directory: Path, base: Path, census: Census) -> Iterator[Callable[[Account], Crate]]:
    """One store per user: what is pulled stays for the tests that follow."""
    made: dict[int, Crate] = {}

    def store(account: Account) -> Crate:
        if account.uid not in made:
            directory = base / f"store-{account.uid}"
            made[account.uid] = crate = Crate(bin_directory / "crate", directory, account)
            crate("ps")
            census.watch.add(crate.root / "containers")
        return made[account.uid]

    yield store
    for crate in made.values():
        crate.destroy()


@pytest.fixture
def crate(account: Account, stores: Callable[[Account], Crate]) -> Iterator[Crate]:
    """crate as root and as an ordinary user, with no containers at first; those of the test are removed after it."""
    engine = stores(account)
    yield engine
    failed = engine.remove_containers()
    assert not failed, f"removing containers: {failed}"
    eventually(lambda: not engine.left_behind(), f"the store is empty again, but for {engine.left_behind()}")


@pytest.fixture(params=["crate-runc", "runc"])
def runtime_program(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The name and the program of each low-level runtime that conformance is tested of."""
    if request.param == "crate-runc":
        bin_directory: Path = request.getfixturevalue("bin_directory")
        return request.param, str(bin_directory / "crate-runc")
    return request.param, host.program(request.param)


@pytest.fixture
def runtime(runtime_program: tuple[str, str], ourselves: Account, base: Path, census: Census) -> Iterator[OciRuntime]:
    """A low-level runtime as root."""
    host.need_root()
    yield from _runtime(runtime_program, ourselves, base, census)


@pytest.fixture
def rootless_runtime(
    runtime_program: tuple[str, str], rootless_user: Account, base: Path, census: Census
) -> Iterator[OciRuntime]:
    """A low-level runtime as an ordinary user."""
    yield from _runtime(runtime_program, rootless_user, base, census)


def _runtime(program: tuple[str, str], account: Account, base: Path, census: Census) -> Iterator[OciRuntime]:
    directory = Path(tempfile.mkdtemp(prefix="r-", dir=base))
    os.chown(directory, account.uid, account.gid)
    directory.chmod(0o755)  # root of a user namespace is somebody else here
    runtime = OciRuntime(*program, account, directory)
    runtime.root.mkdir(mode=0o711)
    os.chown(runtime.root, account.uid, account.gid)
    census.watch.add(runtime.root)
    yield runtime
    runtime.clean()
    left = [path.name for path in runtime.root.iterdir()]
    remove(directory)
    assert not left, f"state of deleted containers: {left}"


@pytest.fixture
def bundle(runtime: OciRuntime) -> Bundle:
    """A bundle of busybox whose root file system the test may change."""
    return new_bundle(runtime.directory / "bundle", runtime.account)


@pytest.fixture
def rootless_bundle(rootless_runtime: OciRuntime) -> Bundle:
    return new_bundle(rootless_runtime.directory / "bundle", rootless_runtime.account)


# --- leaks


@pytest.fixture(scope="session")
def census(base: Path) -> Iterator[Census]:
    watch = Watch()
    yield Census(base, watch)
    watch.close()


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that left something behind. It is set up before and torn down after what a single test uses."""
    if not set(_CHECKED_FOR_LEAKS) & set(request.path.parts):
        yield
        return
    census: Census = request.getfixturevalue("census")
    before = census.take()
    yield
    left = census.settle(before)
    if left:
        census.end_processes(before)
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which tests did not run, by what they lacked."""
    lacking: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        lacking[reason] = lacking.get(reason, 0) + 1
    if lacking:
        terminalreporter.section("not run on this host")
        for reason, count in sorted(lacking.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{count:4} {reason}")
