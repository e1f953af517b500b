"""buildah with crate-runc as its runtime: `buildah run`, and the RUN lines of a Containerfile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host, rootfs
from tests.support.programs import Account, Result


class Buildah:
    """buildah on a store of its own; what runs has no network."""

    def __init__(self, account: Account, runtime: Path, directory: Path) -> None:
        self.account = account
        self._runtime = runtime
        self.context = directory / "context"
        (self.context / "system").mkdir(parents=True)
        rootfs.fill(self.context / "system")
        rootfs.give_to(directory, account.uid, account.gid)
        places = ["--root", str(directory / "store"), "--runroot", str(directory / "run"), "--storage-driver", "vfs"]
        self._program = [host.program("buildah"), *places]

    def __call__(self, *words: str, status: int | None = 0) -> Result:
        return self.account.run([*self._program, *words], status=status, cwd=self.context)

    def isolation(self) -> list[str]:
        kind = "rootless" if self.account.rootless else "oci"
        return ["--runtime", str(self._runtime), "--isolation", kind, "--network", "none"]

    def run(self, container: str, *words: str, flags: tuple[str, ...] = (), status: int | None = 0) -> Result:
        return self("run", *self.isolation(), *flags, container, "--", *words, status=status)


@pytest.fixture(scope="module")
def buildah(account: Account, bin_directory: Path, base: Path) -> Buildah:
    return Buildah(account, bin_directory / "crate-runc", base / f"buildah-{account.uid}")


@pytest.fixture
def container(buildah: Buildah) -> Iterator[str]:
    name = buildah("from", "scratch").out.strip()
    buildah("copy", name, str(buildah.context / "system"), "/")
    yield name
    buildah("rm", name)


def test_run_gives_streams_and_status(buildah: Buildah, container: str) -> None:
    result = buildah.run(container, "sh", "-c", "id -u; echo aside >&2")
    assert (result.out, result.err) == ("0\n", "aside\n")
    failed = buildah.run(container, "sh", "-c", "exit 3", status=3)
    assert "exit status 3" in failed.err


def test_what_a_program_writes_stays_in_the_container(buildah: Buildah, container: str) -> None:
    buildah.run(container, "sh", "-c", "echo kept >/made")
    assert buildah.run(container, "cat", "/made").out == "kept\n"


def test_a_missing_program_is_told(buildah: Buildah, container: str) -> None:
    result = buildah.run(container, "nosuchprogram", status=None)
    assert result.status != 0
    assert "executable file not found in $PATH" in result.err


def test_volumes_users_and_directories(buildah: Buildah, container: str) -> None:
    buildah("config", "--user", "1000:50", "--workingdir", "/tmp", "--env", "A=b", container)
    flags = ("--volume", f"{buildah.context}:/context:ro")
    out = buildah.run(
        container, "sh", "-c", "id -u; pwd; echo $A; ls /context; touch /context/x 2>/dev/null || echo fixed", flags=flags
    ).out
    assert out == "1000\n/tmp\nb\nsystem\nfixed\n"


def test_containerfile(buildah: Buildah) -> None:
    """Each RUN is a container of its own; the next sees what it made."""
    lines = [
        "FROM scratch",
        "COPY system /",
        "RUN echo one >/result",
        "USER 1000:50",
        'RUN ["sh", "-c", "id -u >>/tmp/result"]',
        "WORKDIR /var",
    ]
    (buildah.context / "Containerfile").write_text("\n".join(lines) + "\n")
    try:
        buildah("build", *buildah.isolation(), "--layers=false", "--tag", "made", "--file", "Containerfile", ".")
        name = buildah("from", "localhost/made").out.strip()
        assert buildah.run(name, "sh", "-c", "pwd; cat /result /tmp/result").out == "/var\none\n1000\n"
        buildah("rm", name)
    finally:
        (buildah.context / "Containerfile").unlink()
        buildah("rmi", "--all", "--force", status=None)


def test_a_failing_run_line_fails_the_build(buildah: Buildah) -> None:
    (buildah.context / "Containerfile").write_text("FROM scratch\nCOPY system /\nRUN exit 7\n")
    try:
        result = buildah("build", *buildah.isolation(), "--layers=false", "--file", "Containerfile", ".", status=7)
        assert "exit status 7" in result.err
    finally:
        (buildah.context / "Containerfile").unlink()
