"""An ordinary user in a session of systemd: what is delegated to the user can be limited, without root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account, Result
from tests.support.runtime import Bundle, OciRuntime

_READ = "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max; for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all"


@pytest.fixture
def session(rootless_user: Account) -> dict[str, str]:
    """What reaches the user's systemd."""
    if host.IS_ROOT:
        pytest.skip("needs an ordinary user's session")
    directory = f"/run/user/{os.geteuid()}"
    if not Path(directory, "systemd").exists():
        pytest.skip("needs a systemd of the user (a login session, or lingering)")
    return {"XDG_RUNTIME_DIR": directory}


def in_a_scope(runtime: OciRuntime, session: dict[str, str], *command: str) -> Result:
    """Run a command in a cgroup that systemd delegates to the user."""
    scope = [host.program("systemd-run"), "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes", "--"]
    return runtime.account.run([*scope, *command], env=session, cwd=runtime.directory)


def limited(bundle: Bundle) -> Bundle:
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["nosuid", "noexec", "nodev", "relatime", "ro"])
    return bundle.script(_READ)


def check_limited(result: Result) -> None:
    assert result.out.splitlines() == ["0::/", "5"], result
    assert "can't fork" in result.err, result


def test_a_limit_holds_beside_a_delegated_scope(
    rootless_runtime: OciRuntime, rootless_bundle: Bundle, session: dict[str, str]
) -> None:
    """Without a path the container's cgroup is beside that of the runtime."""
    if rootless_runtime.name == "crun":
        pytest.skip("crun leaves out limits for an ordinary user who names no path")
    limited(rootless_bundle)
    run = rootless_runtime.command("run", "--bundle", str(rootless_bundle.write()), rootless_runtime.identity())
    check_limited(in_a_scope(rootless_runtime, session, *run))


def test_a_limit_holds_within_a_delegated_scope(
    rootless_runtime: OciRuntime, rootless_bundle: Bundle, session: dict[str, str]
) -> None:
    """An engine makes room: its own processes go to a leaf, so that the scope can hand controllers down."""
    limited(rootless_bundle).linux["cgroupsPath"] = "@scope@/payload"
    config = rootless_bundle.write() / "config.json"
    script = f"""
        scope=$(sed s/^0:://  /proc/self/cgroup)
        mkdir /sys/fs/cgroup$scope/engine && echo $$ > /sys/fs/cgroup$scope/engine/cgroup.procs || exit 90
        sed -i "s,@scope@,$scope," {config} && exec "$@"
    """
    run = rootless_runtime.command("run", "--bundle", str(rootless_bundle.path), rootless_runtime.identity())
    check_limited(in_a_scope(rootless_runtime, session, "/bin/sh", "-c", script, "sh", *run))


def test_a_limit_that_was_not_delegated_is_refused_in_words(
    rootless_runtime: OciRuntime, rootless_bundle: Bundle, session: dict[str, str]
) -> None:
    """Never ignored: the container does not start."""
    limited(rootless_bundle).linux["cgroupsPath"] = "/not-ours"
    result = rootless_runtime.run(rootless_bundle, status=None)
    assert result.status != 0
    assert "not-ours" in result.err or "rootless" in result.err, result
    assert result.out == ""


def beside_us(name: str) -> Path:
    """Where a cgroup that nobody names would be."""
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    return Path("/sys/fs/cgroup", own).parent / name


@pytest.fixture
def undelegated(session: dict[str, str]) -> None:
    if os.access(beside_us("x").parent, os.W_OK):
        pytest.skip("needs a session whose cgroup is root's, as of a login")


def test_without_delegation_a_container_without_limits_runs(
    undelegated: None, rootless_runtime: OciRuntime, rootless_bundle: Bundle
) -> None:
    assert rootless_runtime.output(rootless_bundle.script("echo runs")) == "runs\n"


@pytest.mark.parametrize("runtime_program", ["crate-runc"], indirect=True)
def test_without_delegation_a_limit_is_refused_with_the_controller_and_the_way_to_get_it(
    undelegated: None, rootless_runtime: OciRuntime, rootless_bundle: Bundle
) -> None:
    result = rootless_runtime.run(limited(rootless_bundle), status=1)
    assert "linux.resources.pids.limit: limit pids: the container has no pids cgroup: this user may not make one" in result.err
    assert "systemd-run --user --scope -p Delegate=yes" in result.err


@pytest.mark.parametrize("runtime_program", ["crate-runc"], indirect=True)
def test_a_cgroup_of_that_name_that_is_there_and_roots_is_left_alone(
    undelegated: None, rootless_runtime: OciRuntime, rootless_bundle: Bundle
) -> None:
    root = ["sudo", "--non-interactive"]
    if rootless_runtime.account.run([host.program("sudo"), "--non-interactive", "true"]).status:
        pytest.skip("needs sudo without a password")
    identity = rootless_runtime.identity()
    directory = beside_us(identity)
    rootless_runtime.account.run([*root, "mkdir", str(directory)], status=0)
    try:
        run = ("run", "--bundle", str(rootless_bundle.script("echo runs").write()), identity)
        assert rootless_runtime.call(*run).out == "runs\n"
        assert directory.exists()
    finally:
        rootless_runtime.account.run([*root, "rmdir", str(directory)], status=0)
