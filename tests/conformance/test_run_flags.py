"""Flags of create and run that change how a container is made: another configuration, no pivot_root, no subreaper."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def other_configuration(runtime: OciRuntime, bundle: Bundle) -> Path:
    """A file elsewhere; the bundle's own says something else."""
    if runtime.name == "runc":
        pytest.skip("a flag of crun, not of runc")
    bundle.runs("/bin/echo", "other").write()
    other = runtime.directory / "other.json"
    (bundle.path / "config.json").rename(other)
    bundle.runs("/bin/echo", "own").write()
    return other


@pytest.mark.parametrize("flag", ["--config", "-f"])
def test_run_takes_another_configuration(runtime: OciRuntime, bundle: Bundle, other_configuration: Path, flag: str) -> None:
    words = ["run", flag, str(other_configuration), "--bundle", str(bundle.path), runtime.identity()]
    assert runtime.call(*words).out == "other\n"


def test_the_path_of_another_configuration_starts_at_the_callers_directory(
    runtime: OciRuntime, bundle: Bundle, other_configuration: Path
) -> None:
    words = ["run", "--config", other_configuration.name, "--bundle", str(bundle.path), runtime.identity()]
    assert runtime.call(*words, cwd=other_configuration.parent).out == "other\n"


def test_another_configuration_that_is_missing_is_named(runtime: OciRuntime, bundle: Bundle, other_configuration: Path) -> None:
    words = ["create", "--config", "/nonexistent.json", "--bundle", str(bundle.path), runtime.identity()]
    assert "/nonexistent.json" in runtime.fails(*words).err


def test_without_pivot_root_the_container_sees_its_own_root(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.script("ls -d /etc/passwd /work /usr/bin/python3 2>/dev/null; cat /proc/self/mounts | wc -l; cd ../../..; pwd")
    plain = runtime.output(bundle)
    flagged = runtime.run(bundle, "--no-pivot").out
    assert plain.splitlines()[0] == flagged.splitlines()[0] == "/etc/passwd"
    assert flagged.splitlines()[-1] == "/"


def test_exec_enters_a_container_without_pivot_root(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs("/bin/sleep", "1000"), "--no-pivot") as identity:
        assert runtime.exec(identity, "/bin/hostname").out == "inside\n"
        assert "passwd" in runtime.exec(identity, "/bin/ls", "/etc").out


@pytest.mark.parametrize("flags", [(), ("--no-subreaper",)])
def test_run_collects_orphans_unless_it_is_told_not_to(runtime: OciRuntime, bundle: Bundle, flags: tuple[str, ...]) -> None:
    bundle.without_namespace("pid").script("(sleep 1000 &); sleep 1000")
    identity = runtime.identity()
    command = runtime.command("run", *flags, "--bundle", str(bundle.write()), identity)
    waiting = runtime.account.popen(command, **QUIET)  # type: ignore[arg-type]
    eventually(lambda: runtime.call("state", identity, status=None).status == 0, "it is there")
    eventually(lambda: len(orphans_of(runtime, identity)) == 1, "its parent has ended")
    (orphan,) = orphans_of(runtime, identity)
    assert (parent_of(orphan) == waiting.pid) is (not flags)
    runtime.call("delete", "--force", identity)
    waiting.wait(20)


def orphans_of(runtime: OciRuntime, identity: str) -> list[int]:
    """Processes whose parent is outside the container, but for the first."""
    found: list[int] = json.loads(runtime.call("ps", "--format", "json", identity).out)
    return [pid for pid in found if pid != runtime.pid(identity) and parent_of(pid) not in found]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
