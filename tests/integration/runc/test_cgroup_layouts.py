"""mounts[] of type cgroup on hosts that differ from this one: a mount namespace shows the runtime only the hierarchies that such a host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

LAYOUTS = {
    "as it is": "true",
    "v2": "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    "v1": "umount /sys/fs/cgroup/unified",
    "some of v1": "umount /sys/fs/cgroup/unified; umount /sys/fs/cgroup/freezer",
}


@pytest.fixture(params=["crate-runc"])
def runtime_program(request: pytest.FixtureRequest, bin_directory: Path) -> tuple[str, str]:
    return request.param, str(bin_directory / request.param)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, runtime: OciRuntime, monkeypatch: pytest.MonkeyPatch) -> str:
    """The runtime is started in a mount namespace of that layout."""
    if request.param != "as it is" and host.cgroup_mode() != "hybrid":
        pytest.skip("needs a host with all cgroup hierarchies (hybrid)")
    script = f'set -e; mount --make-rprivate /; {LAYOUTS[request.param]}; exec "$@"'
    plain = runtime.command
    monkeypatch.setattr(runtime, "command", lambda *words: ["unshare", "--mount", "sh", "-c", script, "sh", *plain(*words)])
    return str(request.param)


def with_cgroup_mount(bundle: Bundle, options: list[str], *, namespace: bool) -> Bundle:
    del bundle.linux["resources"]
    if namespace:
        bundle.namespace("cgroup")
    return bundle.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["nosuid", "noexec", "nodev", *options])


OWN = """
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -f $d/cgroup.procs ] && grep -qx $$ $d/cgroup.procs && echo own; done
grep -E ' /sys/fs/cgroup(/| )' /proc/self/mounts | cut -d' ' -f3 | sort -u
mkdir /sys/fs/cgroup/x /sys/fs/cgroup/pids/x 2>/dev/null && echo made
ls /sys/fs/cgroup; true
"""


@pytest.mark.parametrize("namespace", [False, True], ids=["host's namespace", "own namespace"])
def test_container_sees_its_own_cgroup_and_cannot_write_to_it(
    runtime: OciRuntime, bundle: Bundle, layout: str, namespace: bool
) -> None:
    words = runtime.output(with_cgroup_mount(bundle, ["ro"], namespace=namespace).script(OWN)).split()
    several = layout in ("v1", "some of v1") or (layout == "as it is" and host.cgroup_mode() != "v2")
    assert ("tmpfs" in words) is several
    assert ("cgroup2" in words) is not several
    assert words.count("own") >= 1
    assert "made" not in words
    assert "unified" not in words
    assert ("freezer" in words) is (several and layout != "some of v1")


@pytest.mark.parametrize("namespace", [False, True], ids=["host's namespace", "own namespace"])
def test_container_that_may_write_makes_cgroups_below_its_own(
    runtime: OciRuntime, bundle: Bundle, layout: str, namespace: bool
) -> None:
    script = "d=/sys/fs/cgroup; [ -d $d/pids ] && d=$d/pids; mkdir $d/below && echo $$ > $d/below/cgroup.procs && cat /proc/self/cgroup"
    lines = runtime.output(with_cgroup_mount(bundle, ["rw"], namespace=namespace).script(script)).splitlines()
    path = next(line for line in lines if line.endswith("/below")).split(":")[2]
    assert (path == "/below") is namespace
