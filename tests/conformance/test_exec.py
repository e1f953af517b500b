"""exec: a second process in a running container, by arguments and by a process document."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

ENVIRONMENT = ["PATH=/bin", "FROM_BUNDLE=yes"]


@pytest.fixture
def identity(runtime: OciRuntime, bundle: Bundle) -> Iterator[str]:
    bundle.config["root"]["readonly"] = False
    bundle.process["env"] = ENVIRONMENT
    with runtime.running(bundle.runs("sleep", "1000")) as made:
        yield made


def document(runtime: OciRuntime, **process: Any) -> str:
    path = runtime.directory / "process.json"
    path.write_text(json.dumps({"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **process}))
    return str(path)


def test_output_and_status(runtime: OciRuntime, identity: str) -> None:
    result = runtime.exec(identity, "sh", "-c", "cat; echo problem >&2; exit 9", status=9, input="in")
    assert (result.out, result.err) == ("in", "problem\n")


def test_status_after_a_signal(runtime: OciRuntime, identity: str) -> None:
    runtime.exec(identity, "sh", "-c", "kill -TERM $$", status=143)


def test_runs_in_the_namespaces_of_the_container(runtime: OciRuntime, identity: str) -> None:
    kinds = ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup")
    out = runtime.exec(identity, "sh", "-c", "for n in $0; do readlink /proc/self/ns/$n; done", " ".join(kinds)).out
    init = runtime.pid(identity)
    assert out.split() == [os.readlink(f"/proc/{init}/ns/{kind}") for kind in kinds]
    assert "inside" in runtime.exec(identity, "hostname").out


def test_is_in_the_cgroup_of_the_container(runtime: OciRuntime, identity: str) -> None:
    paths = Path(f"/proc/{runtime.pid(identity)}/cgroup").read_text()
    # seen from outside: a cgroup namespace would hide it
    file = runtime.directory / "pid"
    command = runtime.command("exec", "--pid-file", str(file), identity, "sleep", "1000")
    process = runtime.account.popen(command, stdin=subprocess.DEVNULL)
    pid = int(eventually(lambda: file.read_text() if file.exists() else "", "it runs"))
    assert Path(f"/proc/{pid}/cgroup").read_text() == paths
    os.kill(pid, signal.SIGKILL)
    assert process.wait(10) == 137


def test_environment_of_the_bundle_and_of_flags(runtime: OciRuntime, identity: str) -> None:
    out = runtime.exec(identity, "env", flags=("--env", "MORE=1", "--env", "FROM_BUNDLE=changed")).out.splitlines()
    assert {"MORE=1", "PATH=/bin"} <= set(out)
    assert "FROM_BUNDLE=changed" in out


def test_user_directory_and_groups_of_flags(runtime: OciRuntime, identity: str) -> None:
    flags = ("--user", "1000:1001", "--cwd", "/usr", "--additional-gids", "50", "--additional-gids", "5")
    out = runtime.exec(identity, "sh", "-c", "id -u; id -g; id -G; pwd", flags=flags).out.splitlines()
    assert out[:2] == ["1000", "1001"]
    assert {"50", "5", "1001"} == set(out[2].split())
    assert out[3] == "/usr"


def test_process_document(runtime: OciRuntime, identity: str) -> None:
    path = document(
        runtime,
        args=["sh", "-c", "id -u; id -G; pwd; env; umask; ulimit -n; grep -E 'NoNew|CapEff' /proc/self/status"],
        env=["PATH=/bin", "OWN=1"],
        user={"uid": 1000, "gid": 1000, "additionalGids": [50], "umask": 0o77},
        cwd="/tmp",
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
        noNewPrivileges=True,
    )
    out = runtime.call("exec", "--process", path, identity).out
    lines = out.splitlines()
    assert lines[0] == "1000"
    assert set(lines[1].split()) == {"1000", "50"}
    assert lines[2] == "/tmp"
    assert "OWN=1" in lines
    assert not any(line.startswith("FROM_BUNDLE") for line in lines)
    assert lines[-3] == "64"
    assert runtime.name == "runc" or lines[-4] == "0077"  # this runc does not look at the umask
    assert dict(line.split(":\t") for line in lines[-2:]) == {"CapEff": "0000000000000000", "NoNewPrivs": "1"}


def test_detached_with_a_pid_file(runtime: OciRuntime, identity: str) -> None:
    file = runtime.directory / "exec.pid"
    path = document(runtime, args=["sleep", "1000"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    runtime.call("exec", "--process", path, "--detach", "--pid-file", str(file), identity, **quiet)
    pid = int(file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_text() == "sleep\x001000\x00"
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{runtime.pid(identity)}/ns/pid")


def test_program_that_is_missing(runtime: OciRuntime, identity: str) -> None:
    result = runtime.fails("exec", identity, "nosuchprogram")
    assert result.status == 255
    assert "executable file not found in $PATH" in result.err
    assert "no such file or directory" in runtime.fails("exec", identity, "/bin/nosuch").err
    assert "permission denied" in runtime.fails("exec", identity, "/etc/passwd").err
    assert runtime.status(identity) == "running"


def test_in_a_stopped_container(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("true"))
    runtime.wait_stopped(identity)
    result = runtime.fails("exec", identity, "true")
    assert result.status == 255
    assert "cannot exec" in result.err


def test_in_a_created_container(runtime: OciRuntime, bundle: Bundle) -> None:
    """The container's program has not run yet, but its namespaces are there."""
    identity = runtime.create(bundle.runs("sleep", "1000"))
    assert runtime.exec(identity, "hostname").out == "inside\n"


def test_many_at_once(runtime: OciRuntime, identity: str) -> None:
    command = runtime.command("exec", identity, "sh", "-c", "echo $0")
    running = [
        runtime.account.popen([*command, str(number)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for number in range(6)
    ]
    assert [process.communicate(timeout=30)[0] for process in running] == [f"{number}\n".encode() for number in range(6)]


def test_in_a_user_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        out = runtime.exec(identity, "sh", "-c", "id -u; id -g; cat /proc/self/uid_map", flags=("--user", "1000:1000")).out
    assert out.split() == ["1000", "1000", "0", "100000", "65536"]


def test_descriptors_of_the_caller_stay_outside(runtime: OciRuntime, identity: str) -> None:
    command = runtime.command("exec", identity, "ls", "/proc/self/fd")
    result = runtime.account.run(["sh", "-c", 'exec "$@" 7</ 8</etc/passwd', "sh", *command], status=0)
    assert result.out.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def _cgroup_directories(pid: int) -> list[Path]:
    """Of each hierarchy that is mounted, the directory in which the process is."""
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line]
    found = set()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for left, right in mounts:
            kind, _, options = right.split(maxsplit=2)
            named = set(controllers.split(",")) <= set(options.split(",")) if controllers else kind == "cgroup2"
            if named and (kind == "cgroup2") == (not controllers):
                found.add(Path(left.split()[4] + path))
    return sorted(found)


@pytest.fixture
def sub_cgroups(runtime: OciRuntime, identity: str) -> Iterator[list[Path]]:
    """`inner`, in each cgroup of the container."""
    directories = [directory / "inner" for directory in _cgroup_directories(runtime.pid(identity))]
    for directory in directories:
        directory.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (directory / file).exists() and directory.parent.name and not (directory / "cgroup.controllers").exists():
                (directory / file).write_text((directory.parent / file).read_text())
    yield directories
    for directory in directories:
        eventually(lambda one=directory: not (one / "cgroup.procs").read_text(), "nobody is left in it")  # type: ignore[misc]
        directory.rmdir()


def test_in_a_cgroup_below_the_containers(runtime: OciRuntime, identity: str, sub_cgroups: list[Path]) -> None:
    file = runtime.directory / "inner.pid"
    flags = ("--detach", "--pid-file", str(file), "--cgroup", "inner")
    runtime.exec(identity, "sleep", "1000", flags=flags, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = int(file.read_text())
    assert _cgroup_directories(pid) == sub_cgroups
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["../x"], "is not a sub cgroup path"),
        (["nosuch:x"], "unknown controller nosuch"),
        (["x", "y"], "missing <controller>: prefix"),
        (["a:b:c"], "invalid --cgroup argument: a:b:c"),
        (["missing"], "no such file or directory"),
    ],
)
def test_a_cgroup_that_cannot_be_joined(runtime: OciRuntime, identity: str, values: list[str], text: str) -> None:
    flags = [word for value in values for word in ("--cgroup", value)]
    result = runtime.fails("exec", *flags, identity, "true")
    assert text in result.err
    assert runtime.status(identity) == "running"


def test_in_a_paused_container_it_waits_where_that_is_asked_for(runtime: OciRuntime, identity: str) -> None:
    if runtime.name == "crun":
        pytest.skip("crun has no --ignore-paused")
    runtime.call("pause", identity)
    assert "cannot exec in a paused container (use --ignore-paused to override)" in runtime.fails("exec", identity, "true").err
    command = runtime.command("exec", "--ignore-paused", identity, "echo", "later")
    with runtime.account.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        runtime.call("resume", identity)
        assert process.communicate(timeout=30)[0] == b"later\n"


def test_limits_and_score_in_a_user_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    limits = [{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 70}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj"
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        path = document(runtime, args=["sh", "-c", script], rlimits=limits, oomScoreAdj=555)
        *found, score = runtime.call("exec", "--process", path, identity).out.split()
    assert found == ["60", "70", "0"]
    assert runtime.name == "runc" or score == "555"  # this runc does not look at it


def test_home_is_that_of_the_containers_user(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        passwd = (bundle.rootfs / "etc/passwd").read_text()
        homes = {line.split(":")[2]: line.split(":")[5] for line in passwd.splitlines()}
        for uid in ("0", "54321"):
            out = runtime.exec(identity, "sh", "-c", "echo $HOME", flags=("--user", uid)).out
            assert out == f"{homes.get(uid, '/')}\n"


def test_every_signal_has_its_default_and_nothing_is_blocked(runtime: OciRuntime, identity: str) -> None:
    """Whatever the caller ignores or blocks."""
    command = runtime.command("exec", identity, "grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.pthread_sigmask(0, [signal.SIGUSR1])"
    caller = [sys.executable, "-c", f"{script}; os.execv(sys.argv[1], sys.argv[1:])", *command]
    out = runtime.account.run(caller, status=0).out
    values = dict(line.split(":\t") for line in out.splitlines())
    assert runtime.name == "runc" or values == dict.fromkeys(("SigBlk", "SigIgn", "SigCgt"), "0" * 16)
    assert values.keys() == {"SigBlk", "SigIgn", "SigCgt"}


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_what_the_caller_has_closed_is_the_null_device(runtime: OciRuntime, bundle: Bundle, verb: str) -> None:
    """And never a descriptor of the runtime's own that happened to get the number."""
    script = 'found=$(for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done; ls /proc/self/fd); echo "$found" > /out'
    bundle.config["root"]["readonly"] = False
    with runtime.running(bundle.runs("sleep", "1000")) as container:
        if verb == "exec":
            command = runtime.command("exec", container, "sh", "-c", script)
        else:
            path = str(bundle.script(script).write())
            command = runtime.command("run", "--bundle", path, runtime.identity("closed"))
        runtime.account.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], status=0)
        *files, zero, one, two, directory = (bundle.rootfs / "out").read_text().split()
    assert (zero, one, two, directory) == ("0", "1", "2", "3")  # the last is the directory that ls reads
    assert len(files) == 3
    assert set(files) == {"/dev/null"} or (runtime.name == "runc" and all(file.startswith("pipe:") for file in files))


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_null_device_is_the_containers_own(runtime: OciRuntime, bundle: Bundle, verb: str) -> None:
    """A file of a mount of the host's leads a process with CAP_DAC_READ_SEARCH to all that is there."""
    if runtime.name == "runc" and verb == "exec":
        pytest.skip("runc leaves the host's")
    bundle.config["root"]["readonly"] = False
    own = "{ grep mnt_id /proc/$$/fdinfo/0 | grep -o '[0-9]*$'; grep ' /dev ' /proc/self/mountinfo; } > /out"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if verb == "run":
        runtime.call(
            "run", "--detach", "--bundle", str(bundle.script(f"{own}; sleep 1000").write()), runtime.identity("n"), **quiet
        )
    else:
        with runtime.running(bundle.runs("sleep", "1000")) as container:
            runtime.call("exec", container, "sh", "-c", own, **quiet)
    file = bundle.rootfs / "out"
    eventually(lambda: file.exists() and file.read_text().count("\n") == 2, "it has looked")
    mount, line = file.read_text().splitlines()
    assert line.split()[0] == mount
