"""Published attacks on runtimes, each beside something that looks alike and has to work.

Every test keeps a tree of canaries outside of the container, which must be the same afterwards: content, owners, modes and links.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.test_process import CAPABILITIES
from tests.support import host
from tests.support.programs import Result
from tests.support.runtime import Bundle, OciRuntime, fingerprint

SLEEP = ("/bin/sleep", "1000")


@pytest.fixture
def canary(runtime: OciRuntime) -> Iterator[Path]:
    path = runtime.directory / "canary"
    for name in ("dir/below", "level1/level2"):
        (path / name).mkdir(parents=True)
    for name in ("file", "ptmx", "null", "dir/file", "stdin", "fd"):
        (path / name).write_text(f"canary {name}\n")
    before, mounts = fingerprint(path), Path("/proc/self/mountinfo").read_text()
    yield path
    assert fingerprint(path) == before
    assert str(path) not in Path("/proc/self/mountinfo").read_text().replace(mounts, "")


def all_capabilities(bundle: Bundle) -> None:
    everything = host.capabilities("CapPrm")
    names = [f"CAP_{name}" for number, name in enumerate(CAPABILITIES.split()) if everything >> number & 1]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), names)
    bundle.process["noNewPrivileges"] = False


# --- the runtime's own executable (CVE-2019-5736)


def interpreter() -> Path:
    return Path(os.path.realpath(sys.executable))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


OPENED = (
    "case $(readlink /proc/self/fd/9) in /memfd:*) echo x 2>/dev/null >> /proc/self/fd/9 && echo WRITABLE && break;; "
    "*) echo WRITABLE; break;; esac"
)
TRY_TO_WRITE = (
    f"try() {{ i=0; while [ $i -lt $1 ]; do if true >> /proc/self/fd/9 2>/dev/null; then {OPENED}; fi; i=$((i+1)); done; }}"
)
"""Opens what descriptor 9 is of for writing, and writes nothing: the host's file is safe even if the attack succeeds. A sealed file in memory can
be opened, too, but not written to."""


def own_executable(bundle: Bundle) -> None:
    """An image whose shell is the runtime's executable, with a loader of its own: the loader is the attacker's program."""
    all_capabilities(bundle)
    (bundle.rootfs / "bin/sh").unlink()
    (bundle.rootfs / "bin/sh").symlink_to("/proc/self/exe")
    for loader in ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"):
        (bundle.rootfs / loader).parent.mkdir(exist_ok=True)
        (bundle.rootfs / loader).write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
        (bundle.rootfs / loader).chmod(0o755)


ATTACK = f"""/bin/busybox sh -c '{TRY_TO_WRITE}; sleep 0.5; try 50' 9</proc/self/exe & exec /bin/busybox sleep 1"""
"""The writer is another program by then, and the shell as well: a file that runs is busy."""


def test_own_executable_as_the_program_cannot_be_written(runtime: OciRuntime, bundle: Bundle) -> None:
    before = digest(interpreter())
    own_executable(bundle)
    result = runtime.run(bundle.runs("/bin/sh", "-c", ATTACK), status=None)
    assert "WRITABLE" not in result.out
    assert digest(interpreter()) == before


def test_own_executable_as_an_interpreter_of_a_script_cannot_be_written(runtime: OciRuntime, bundle: Bundle) -> None:
    before = digest(interpreter())
    own_executable(bundle)
    script = bundle.rootfs / "bin/script"
    script.write_text("#!/proc/self/exe\n" + ATTACK)
    script.chmod(0o755)
    assert "WRITABLE" not in runtime.run(bundle.runs("/bin/script"), status=None).out
    with runtime.running(bundle.runs("/bin/busybox", "sleep", "1000")) as identity:
        assert "WRITABLE" not in runtime.exec(identity, "/bin/script", status=None).out
    assert digest(interpreter()) == before


def test_executable_of_a_process_that_joins_cannot_be_written(runtime: OciRuntime, bundle: Bundle) -> None:
    """A process with all capabilities waits for the runtime's own to come into its pid namespace."""
    before = digest(interpreter())
    all_capabilities(bundle)
    bundle.config["root"]["readonly"] = False
    watch = (
        f"{TRY_TO_WRITE}; while :; do for p in /proc/[0-9]*; do {{ case $(readlink $p/exe) in /bin/busybox|'') ;; "
        "*) echo seen >> /seen; try 200 >> /seen ;; esac; } 9<$p/exe; done; done 2>/dev/null"
    )
    with runtime.running(bundle.script(watch)) as identity:
        for _ in range(15):
            runtime.exec(identity, "true")
        seen = bundle.rootfs / "seen"
        assert "WRITABLE" not in (seen.read_text() if seen.exists() else "")
    assert digest(interpreter()) == before


def test_file_of_the_container_is_writable_that_way(runtime: OciRuntime, bundle: Bundle) -> None:
    """The look-alike: what the attack tries does work on a file that is the container's own."""
    bundle.config["root"]["readonly"] = False
    assert "WRITABLE" in runtime.output(bundle.script(f"{TRY_TO_WRITE}; echo x > /own; try 1 9</own"))


# --- code of the image that the runtime could load (CVE-2019-14271)

MARK = "open('/marker', 'a').write(__name__ + '\\n')\n"


def test_no_module_of_the_image_is_loaded(runtime: OciRuntime, bundle: Bundle) -> None:
    """The image has a module of every name of the standard library wherever the host's Python looks for one."""
    bundle.config["root"]["readonly"] = False
    directories = {sysconfig.get_path("stdlib"), *(path for path in sys.path if path.startswith("/")), "/"}
    directories |= {str(path) for path in Path(runtime.program).parents[1].glob("lib/*/site-packages")}
    for directory in directories:
        inside = bundle.rootfs / directory.lstrip("/")
        for package in ("encodings", "crate_runc", "crate_runc/steps", "crate_runc/kernel", "crate_runc/process"):
            (inside / package).mkdir(parents=True, exist_ok=True)
            (inside / package / "__init__.py").write_text(MARK)
        for name in (*sys.stdlib_module_names, "sitecustomize", "encodings/idna", "encodings/latin_1", "crate_runc/errors"):
            (inside / f"{name}.py").write_text(MARK)
    for name in ("newuidmap", "newgidmap", "python3", "mount", "nsenter"):
        (bundle.rootfs / "usr/bin" / name).write_text("#!/bin/sh\necho tool >> /marker\n")
        (bundle.rootfs / "usr/bin" / name).chmod(0o755)
    bundle.process["env"] += ["PYTHONPATH=/", "PYTHONSTARTUP=/os.py", "PYTHONHOME=/"]
    runtime.run(bundle.runs("true"))
    runtime.run(bundle.runs("nosuch"), status=None)  # an error after the switch of the root
    bundle.process["cwd"] = "/etc/passwd"
    runtime.run(bundle.runs("true"), status=None)
    bundle.process["cwd"] = "/"
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.exec(identity, "true")
        runtime.exec(identity, "nosuch", status=None)
    marker = bundle.rootfs / "marker"
    assert not marker.exists(), marker.read_text()


# --- paths of the image that lead out (CVE-2019-19921, CVE-2019-18837, CVE-2026-41579 and their kin)


def attempt(runtime: OciRuntime, bundle: Bundle) -> Result:
    """The container starts or is refused with a clear word; what it could read of masked paths comes back."""
    script = "head -c 20 /proc/kcore; cat /proc/keys; ls -A /sys/firmware; stat -f -c %T /proc; echo x > /proc/sysrq-trigger; echo done"
    result = runtime.run(bundle.script(script), status=None)
    assert result.status == 0 or result.err, result
    return result


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("proc", "/canary/level1"),
        ("proc", "proc"),
        ("proc", "/nowhere"),
        ("sys", "proc"),
        ("sys", "/canary"),
        ("proc", "../../canary"),
    ],
)
def test_proc_and_sys_that_are_links(runtime: OciRuntime, bundle: Bundle, canary: Path, name: str, target: str) -> None:
    (bundle.rootfs / "canary/level1").mkdir(parents=True)
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to(target.replace("../../canary", f"../../../../../..{canary}"))
    result = attempt(runtime, bundle)
    if result.status == 0:
        assert result.out.split() == ["proc", "done"]


def test_masked_paths_of_a_proper_image_read_empty(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """The look-alike of the above."""
    assert canary.exists()
    assert attempt(runtime, bundle).out.split() == ["proc", "done"]


DESTINATIONS = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/mnt/deep")


@pytest.mark.parametrize("kind", ["absolute", "climbing", "through proc", "loop", "fifo", "file"])
@pytest.mark.parametrize("destination", ["/proc", "/dev", "/sys", "/mnt"])
def test_mount_destination_that_leads_out(runtime: OciRuntime, bundle: Bundle, canary: Path, destination: str, kind: str) -> None:
    source = runtime.directory / "source"
    source.mkdir()
    bundle.mount("/mnt/deep", type="bind", source=str(source), options=["bind"])
    bundle.mount("/mnt/made", type="tmpfs", source="tmpfs")
    place = bundle.rootfs / destination.lstrip("/")
    if place.exists():
        place.rmdir()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "file":
        place.write_text("")
    else:
        climbing = "../" * 40 + str(canary).lstrip("/")
        targets = {"absolute": str(canary), "climbing": climbing, "through proc": f"/proc/1/root{canary}", "loop": place.name}
        place.symlink_to(targets[kind])
    result = runtime.run(bundle.script("echo inside"), status=None, timeout=20)
    assert result.out == "inside\n" if result.status == 0 else result.err


def test_mount_destination_through_a_link_stays_inside(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """The look-alike: images have links such as /var/run, and a mount below one works, inside."""
    (bundle.rootfs / "var/run").symlink_to("/run")
    (bundle.rootfs / "out").symlink_to("../../../../over/there")
    bundle.mount("/var/run/made", type="tmpfs", source="tmpfs", options=["size=4k"])
    bundle.mount("/out/made", type="tmpfs", source="tmpfs", options=["size=8k"])
    out = runtime.output(bundle.script("grep -E 'size=[48]k' /proc/mounts | cut -d' ' -f2"))
    assert out.split() == ["/run/made", "/over/there/made"]
    assert (bundle.rootfs / "over/there/made").is_dir()
    assert canary.exists()


@pytest.mark.parametrize("with_tmpfs", [True, False])
@pytest.mark.parametrize("target", ["{canary}", "../../../../../..{canary}"])
def test_dev_that_is_a_link(runtime: OciRuntime, bundle: Bundle, canary: Path, target: str, with_tmpfs: bool) -> None:
    """Device nodes and links are made in it: on the host's canary ptmx would be replaced and stdin, fd linked."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(target.format(canary=canary))
    if not with_tmpfs:
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    result = runtime.run(bundle.script("ls -l /dev/null"), status=None)
    assert result.status == 0 or result.err


def test_files_in_dev_that_are_links(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    outside = "../../../../../.." + str(canary)
    for name in ("null", "ptmx", "stdin", "fd"):
        (bundle.rootfs / "dev" / name).symlink_to(f"{outside}/{name}")
    runtime.run(bundle.script("echo lost > /dev/null"), status=None)


def test_mask_does_not_come_from_the_image(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """Where the null device of the image is a link, binding it over a masked file shows the link's target (CVE-2025-31133)."""
    assert canary.exists()
    if runtime.name == "runc":
        pytest.skip("a runtime that masks with a null device of the host: this runc takes the image's")
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    (bundle.rootfs / "dev/null").symlink_to("/etc/passwd")
    bundle.linux["maskedPaths"] = ["/etc/group"]
    result = runtime.run(bundle.script("cat /etc/group; echo more >> /etc/group"), status=None)
    assert "alice" not in result.out
    assert "more" not in (bundle.rootfs / "etc/passwd").read_text()


# --- descriptors and directories of the host (CVE-2024-21626)


def with_open_directories(command: list[str]) -> list[str]:
    """The caller has descriptors 3 to 9 open on directories of the host, not close-on-exec."""
    opened = " ".join(f"{number}</" for number in range(3, 10))
    return ["sh", "-c", f'exec "$@" {opened}', "sh", *command]


@pytest.mark.parametrize(
    "directory",
    [*(f"/proc/self/fd/{number}" for number in range(3, 12)), "/proc/self/cwd", "/proc/1/root", "/proc/1/cwd/../../.."],
)
def test_working_directory_outside(runtime: OciRuntime, bundle: Bundle, directory: str) -> None:
    bundle.process["cwd"] = directory
    bundle.script("pwd -P; ls -a .")
    identity = runtime.identity()
    command = runtime.command("run", "--bundle", str(bundle.write()), identity)
    result = runtime.account.run(with_open_directories(command))
    assert result.status != 0 or "bin" in result.out
    # names that the host's root has, and the container's not
    assert not {"boot", "lib64", "srv", "opt"} & set(result.out.split())


@pytest.mark.parametrize("directory", ["/proc/self/fd/7", "/proc/self/fd/8", "/proc/self/cwd"])
def test_working_directory_outside_for_exec(runtime: OciRuntime, bundle: Bundle, directory: str) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        command = runtime.command("exec", "--cwd", directory, identity, "ls", "-a", ".")
        result = runtime.account.run(with_open_directories(command))
    assert not {"boot", "lib64", "srv", "opt"} & set(result.out.split())


def test_working_directory_through_a_link_of_the_image(runtime: OciRuntime, bundle: Bundle) -> None:
    """The look-alike: a link inside is followed."""
    (bundle.rootfs / "work").symlink_to("/usr/bin")
    bundle.process["cwd"] = "/work"
    assert runtime.output(bundle.script("pwd -P")) == "/usr/bin\n"


def test_process_has_its_three_descriptors_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    command = runtime.command(
        "run", "--bundle", str(bundle.script("ls /proc/1/fd; ls /proc/self/fd").write()), runtime.identity()
    )
    result = runtime.account.run(with_open_directories(command), status=0)
    assert set(result.out.split()) == {"0", "1", "2", "3"}  # 3 is the directory that ls reads


def test_created_process_has_no_descriptor_of_a_directory_of_the_host(runtime: OciRuntime, bundle: Bundle) -> None:
    """While it waits for start, others in its pid namespace can look at it."""
    command = runtime.command("create", "--bundle", str(bundle.runs(*SLEEP).write()), identity := runtime.identity())
    runtime.account.run(with_open_directories(command), status=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = runtime.pid(identity)
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        assert not (target.startswith("/") and os.path.isdir(target) and not target.startswith(str(runtime.root))), target


def test_hooks_get_no_descriptor_of_ours(runtime: OciRuntime, bundle: Bundle) -> None:
    record = runtime.directory / "descriptors"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"cat > /dev/null; ls /proc/self/fd >> {record}"],
        "env": ["PATH=/usr/bin:/bin"],
    }
    bundle.config["hooks"] = {kind: [hook] for kind in ("prestart", "createRuntime", "poststop")}
    command = runtime.command("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    runtime.account.run(with_open_directories(command), status=0)
    allowed = (
        {"0", "1", "2", "3"} if runtime.name != "runc" else {str(number) for number in range(10)}
    )  # runc passes on what it got
    assert set(record.read_text().split()) <= allowed


def test_state_of_the_caller_is_reset(runtime: OciRuntime, bundle: Bundle) -> None:
    """Odd values of the caller against what a program may expect."""
    script = "cat /proc/self/status | grep -E '^(SigBlk|Seccomp|NoNewPrivs)'; umask; pwd; cut -d' ' -f5,6 /proc/self/stat"
    bundle.process["noNewPrivileges"] = False
    command = runtime.command("run", "--bundle", str(bundle.script(script).write()), runtime.identity())
    odd = ["sh", "-c", 'umask 077; cd /tmp; exec "$@"', "sh", *command]
    lines = runtime.account.run(odd, status=0).out.splitlines()
    assert dict(line.split(":\t") for line in lines[:3] if ":" in line).items() >= {("SigBlk", "0" * 16), ("Seccomp", "0")}
    assert "0022" in lines
    assert "/" in lines


def test_cgroup_path_that_climbs(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "/ct-climb/../../../../ct-outside"
    result = runtime.run(bundle.runs("true"), status=None)
    assert result.status == 0 or result.err
    assert not Path("/sys/fs/ct-outside").exists()
    for path in Path("/sys/fs/cgroup").glob("*/ct-climb"):
        path.rmdir()


def test_file_mounted_over_a_dangling_link_is_where_it_points_inside(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """The look-alike: Ubuntu's /etc/resolv.conf points to a file that only a running system has."""
    source = runtime.directory / "resolv.conf"
    source.write_text("nameserver 192.0.2.1\n")
    (bundle.rootfs / "etc/resolv.conf").unlink(missing_ok=True)
    (bundle.rootfs / "etc/resolv.conf").symlink_to("../run/resolve/stub.conf")
    bundle.mount("/etc/resolv.conf", type="bind", source=str(source), options=["bind", "ro"])
    assert runtime.output(bundle.runs("cat", "/run/resolve/stub.conf")) == "nameserver 192.0.2.1\n"
    assert canary.exists()
