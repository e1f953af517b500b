"""process.apparmorProfile on a kernel with AppArmor: the program runs under the profile, and so does what exec adds."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

_DIRECTORY = Path("/sys/kernel/security/apparmor")
SLEEP = ("/bin/sleep", "1000")
LABELLED, OTHER, CONFINED = "crate-test-labelled", "crate-test-other", "crate-test-confined"

pytestmark = [
    pytest.mark.skipif(not host.IS_ROOT, reason="needs root"),
    pytest.mark.skipif(not (_DIRECTORY / ".replace").exists(), reason="needs a kernel with AppArmor, and securityfs"),
]


def packed(name: str) -> bytes:
    """A profile that forbids nothing (mode "unconfined"), in the kernel's binary form (version 5: struct, then typed values)."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    def number(value: int) -> bytes:
        return b"\2" + struct.pack("<I", value)

    def named(name: str) -> bytes:
        return b"\4" + text(name)

    flags = named("flags") + b"\7" + number(0) + number(3) + number(0) + b"\x08"
    capabilities = b"".join(number(0) for _ in range(4))
    return named("version") + number(5) + named("profile") + b"\7" + b"\5" + text(name) + flags + capabilities + b"\x08"


@pytest.fixture(scope="module", autouse=True)
def _profiles() -> Iterator[None]:
    names = [LABELLED, OTHER]
    for name in names:
        (_DIRECTORY / ".replace").write_bytes(packed(name))
    yield
    for name in names:
        (_DIRECTORY / ".remove").write_bytes(name.encode())


@pytest.fixture
def confined() -> Iterator[str]:
    """A profile that does forbid something."""
    parser = host.program("apparmor_parser", "apparmor")
    source = f"profile {CONFINED} flags=(attach_disconnected) {{ file, signal, capability, deny /etc/passwd r, }}"
    subprocess.run([parser, "--replace", "--skip-cache"], input=source, text=True, check=True)
    yield CONFINED
    subprocess.run([parser, "--remove"], input=source, text=True, check=True)


def label(pid: int | str) -> str:
    return Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0\n").split(" ")[0]


def test_the_program_runs_under_the_profile(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = LABELLED
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert label(runtime.pid(identity)) == LABELLED


def test_without_a_profile_it_runs_under_none(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert label(runtime.pid(identity)) == "unconfined"


def test_as_an_ordinary_user_without_capabilities_and_with_a_filter(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process.update(apparmorProfile=LABELLED, user={"uid": 1000, "gid": 1000}, capabilities={}, noNewPrivileges=True)
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert label(runtime.pid(identity)) == LABELLED


def test_in_a_user_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    mappings = [{"containerID": 0, "hostID": 0, "size": 65536}]
    bundle.process["apparmorProfile"] = LABELLED
    bundle.namespace("user").linux.update(uidMappings=mappings, gidMappings=mappings)
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert label(runtime.pid(identity)) == LABELLED


def test_exec_runs_under_the_containers_profile(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = LABELLED
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert runtime.exec(identity, "cat", "/proc/self/attr/current").out.split(" ")[0] == LABELLED


def test_exec_runs_under_its_own_profile(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = LABELLED
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        shown = runtime.exec(identity, "cat", "/proc/self/attr/current", flags=("--apparmor", OTHER)).out
        assert shown.split(" ")[0] == OTHER


def test_a_profile_that_is_not_loaded_is_an_error_of_create(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "crate-test-missing"
    result = runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    assert "no such file or directory" in result.err.lower()


def test_a_profile_of_exec_that_is_not_loaded_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        result = runtime.exec(identity, "true", flags=("--apparmor", "crate-test-missing"), status=None)
        assert result.status != 0


def test_what_the_profile_forbids_is_forbidden(runtime: OciRuntime, bundle: Bundle, confined: str) -> None:
    bundle.process["apparmorProfile"] = confined
    text = runtime.output(bundle.script("cat /etc/group >/dev/null && echo group; cat /etc/passwd 2>/dev/null || echo denied"))
    assert text == "group\ndenied\n"


def test_a_container_cannot_put_another_file_in_the_place_of_its_label(
    runtime: OciRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    """CVE-2019-16884, CVE-2025-52881: a mount of the image's on /proc/self/attr. Refused, or without effect."""
    fake = tmp_path / "fake"
    fake.write_text("")
    bundle.process["apparmorProfile"] = LABELLED
    bundle.mount("/proc/self/attr/exec", type="bind", source=str(fake), options=["bind"])
    identity = runtime.identity()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ("run", "--detach", "--bundle", str(bundle.runs(*SLEEP).write()), identity)
    refused = runtime.call(*words, status=None, **quiet).status != 0
    assert refused or label(runtime.pid(identity)) == LABELLED
    assert fake.read_text() == ""
