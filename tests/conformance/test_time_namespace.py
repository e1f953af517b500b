"""The time namespace and linux.timeOffsets."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

pytestmark = pytest.mark.skipif(not Path("/proc/self/timens_offsets").exists(), reason="needs a kernel with time namespaces")
OFFSETS = {"monotonic": {"secs": 7881, "nanosecs": 2718281}, "boottime": {"secs": 1337, "nanosecs": 3141519}}
SLEEP = ("/bin/sleep", "1000")


def offsets(text: str) -> dict[str, tuple[int, int]]:
    return {line.split()[0]: (int(line.split()[1]), int(line.split()[2])) for line in text.splitlines()}


def with_offsets(bundle: Bundle, values: dict[str, Any] | None = None) -> Bundle:
    bundle.namespace("time").linux["timeOffsets"] = OFFSETS if values is None else values
    return bundle


def is_set(text: str) -> bool:
    return offsets(text) == {"monotonic": (7881, 2718281), "boottime": (1337, 3141519)}


@pytest.fixture(autouse=True)
def _with_time(runtime: OciRuntime) -> None:
    runtime.needs_spec(1)


@contextmanager
def holder() -> Iterator[int]:
    """A process in a time namespace of its own."""
    process = subprocess.Popen(["unshare", "--time", "--boottime", "5000000", "--fork", "--kill-child", "sleep", "1000"])
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        eventually(lambda: bool(children.read_text().split()), "unshare has started the program")
        pid = int(children.read_text().split()[0])
        eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the program runs")
        yield pid
    finally:
        process.kill()
        process.wait()


def test_offsets_are_those_of_the_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    assert is_set(runtime.output(with_offsets(bundle).runs("cat", "/proc/self/timens_offsets")))


def test_the_clocks_inside_show_them(runtime: OciRuntime, bundle: Bundle) -> None:
    with_offsets(bundle, {"boottime": {"secs": 10_000_000}})
    inside = float(runtime.output(bundle.runs("cat", "/proc/uptime")).split()[0])
    assert 10_000_000 <= inside - float(Path("/proc/uptime").read_text().split()[0]) + 60 < 10_000_120


def test_the_hosts_clock_does_not_change(runtime: OciRuntime, bundle: Bundle) -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    runtime.run(with_offsets(bundle, {"boottime": {"secs": 10_000_000}}).runs("true"))
    assert time.clock_gettime(time.CLOCK_BOOTTIME) < before + 1_000_000


def test_without_offsets_they_are_zero(runtime: OciRuntime, bundle: Bundle) -> None:
    text = runtime.output(bundle.namespace("time").script("cat /proc/self/timens_offsets; readlink /proc/self/ns/time"))
    assert offsets("\n".join(text.splitlines()[:2])) == {"monotonic": (0, 0), "boottime": (0, 0)}
    assert text.splitlines()[2] != str(Path("/proc/self/ns/time").readlink())


def test_a_clock_can_go_behind_the_hosts(runtime: OciRuntime, bundle: Bundle) -> None:
    with_offsets(bundle, {"boottime": {"secs": -1}})
    assert offsets(runtime.output(bundle.runs("cat", "/proc/self/timens_offsets")))["boottime"] == (-1, 0)


def test_exec_enters_it(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(with_offsets(bundle).runs(*SLEEP)) as identity:
        assert is_set(runtime.exec(identity, "cat", "/proc/self/timens_offsets").out)


def test_in_a_user_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    mappings = [{"containerID": 0, "hostID": 0, "size": 65536}]
    with_offsets(bundle.namespace("user")).linux.update(uidMappings=mappings, gidMappings=mappings)
    assert is_set(runtime.output(bundle.runs("cat", "/proc/self/timens_offsets")))


def test_in_the_hosts_pid_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    with_offsets(bundle.without_namespace("pid"))
    assert is_set(runtime.output(bundle.runs("cat", "/proc/self/timens_offsets")))


def test_joined_by_path(runtime: OciRuntime, bundle: Bundle) -> None:
    with holder() as pid:
        bundle.namespace("time", f"/proc/{pid}/ns/time")
        with runtime.running(bundle.runs(*SLEEP)) as identity:
            assert offsets(runtime.exec(identity, "cat", "/proc/self/timens_offsets").out)["boottime"] == (5_000_000, 0)


@pytest.mark.parametrize("kind", ["uts", "net"])
def test_a_path_to_another_kind_is_an_error(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    bundle.namespace("time", f"/proc/self/ns/{kind}")
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())


@pytest.mark.parametrize(
    "values", [{"monotonic": {"secs": -(1 << 40)}}, {"boottime": {"secs": 1 << 62}}, {"monotonic": {"nanosecs": 10**9}}]
)
def test_offsets_that_cannot_be(runtime: OciRuntime, bundle: Bundle, values: dict[str, Any]) -> None:
    runtime.fails("run", "--bundle", str(with_offsets(bundle, values).runs("true").write()), runtime.identity())


def test_offsets_without_the_namespace_are_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["timeOffsets"] = OFFSETS
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())


def test_offsets_for_a_namespace_that_is_joined_are_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("time", "/proc/self/ns/time").linux["timeOffsets"] = OFFSETS
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())
