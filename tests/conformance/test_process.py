"""process: arguments, environment, user, limits, capabilities, what is reset on the way from the caller to the program."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crate_engine.embedded import amd64, arm64
from crate_engine.embedded.program import executable
from tests.support import host, images
from tests.support.runtime import Bundle, OciRuntime

CHOWN, KILL, SETUID, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE = 0, 5, 7, 10, 18, 29


def bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


def status_of(text: str) -> dict[str, str]:
    """/proc/self/status as names and values."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def sets(runtime: OciRuntime, bundle: Bundle) -> dict[str, int]:
    status = status_of(runtime.output(bundle.runs("cat", "/proc/self/status")))
    return {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


def test_arguments_are_passed_as_they_are(runtime: OciRuntime, bundle: Bundle) -> None:
    words = ["a b", "$HOME", "", "é\n", "--flag", "*"]
    assert runtime.output(bundle.runs("printf", "[%s]", *words)) == "".join(f"[{word}]" for word in words)


def test_environment_is_the_bundles_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin", "A=1", "EMPTY=", "SPACES= x y ", "HOME=/elsewhere"]
    result = runtime.call("run", "--bundle", str(bundle.runs("env").write()), runtime.identity(), env={"SECRET": "of the caller"})
    assert set(result.out.splitlines()) == {"PATH=/bin", "A=1", "EMPTY=", "SPACES= x y ", "HOME=/elsewhere"}


def test_home_comes_from_the_containers_passwd(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert "HOME=/home/alice" in runtime.output(bundle.runs("env")).splitlines()


def test_program_is_looked_up_in_the_path_of_the_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/own").write_text("#!/bin/sh\necho found\n")
    (bundle.rootfs / "opt/own").chmod(0o755)
    bundle.process["env"] = ["PATH=/opt"]
    assert runtime.output(bundle.runs("own")) == "found\n"


def test_program_relative_to_the_working_directory(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/bin"
    assert runtime.output(bundle.runs("./echo", "near")) == "near\n"


def test_working_directory(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/usr/bin"
    assert runtime.output(bundle.runs("pwd")) == "/usr/bin\n"


def test_working_directory_is_made(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.process["cwd"] = "/made/for/it"
    assert runtime.output(bundle.runs("pwd")) == "/made/for/it\n"


def test_working_directory_must_be_absolute(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "relative"
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())


def test_working_directory_that_only_the_user_may_enter(runtime: OciRuntime, bundle: Bundle) -> None:
    own = bundle.rootfs / "home/alice"
    os.chown(own, 1000, 1000)
    own.chmod(0o700)
    bundle.process.update(cwd="/home/alice", user={"uid": 1000, "gid": 1000}, capabilities={})
    assert runtime.output(bundle.runs("pwd")) == "/home/alice\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"uid": 0, "gid": 0}, ("0", "0", {"0"})),
        ({"uid": 1000, "gid": 1001}, ("1000", "1001", {"1001"})),
        ({"uid": 1000, "gid": 1000, "additionalGids": [5, 50]}, ("1000", "1000", {"5", "50", "1000"})),
        ({"uid": 0, "gid": 0, "additionalGids": [7]}, ("0", "0", {"0", "7"})),
    ],
)
def test_user_and_groups(runtime: OciRuntime, bundle: Bundle, user: dict[str, Any], expected: tuple[str, str, set[str]]) -> None:
    bundle.process["user"] = user
    uid, gid, groups = runtime.output(bundle.script("id -u; id -g; id -G")).splitlines()
    assert (uid, gid, set(groups.split())) == expected


def test_groups_of_the_caller_are_dropped(runtime: OciRuntime, bundle: Bundle) -> None:
    """Looks alike, but is not: the caller's groups against those that the bundle names."""
    command = runtime.command("run", "--bundle", str(bundle.runs("id", "-G").write()), runtime.identity())
    result = runtime.account.run(["setpriv", "--groups", "4,20,24", *command], status=0)
    assert result.out == "0\n"


def test_negative_permission_of_a_group_holds(runtime: OciRuntime, bundle: Bundle) -> None:
    file = bundle.rootfs / "not-for-staff"
    file.write_text("x")
    os.chown(file, 0, 50)
    file.chmod(0o604)
    bundle.process.update(user={"uid": 1000, "gid": 1000, "additionalGids": [50]}, capabilities={})
    assert "Permission denied" in runtime.run(bundle.runs("cat", "/not-for-staff"), status=1).err
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert runtime.output(bundle.runs("cat", "/not-for-staff")) == "x"


def test_umask(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["user"]["umask"] = 0o027
    assert runtime.output(bundle.script("umask")) == "0027\n"


def test_umask_is_022_whatever_the_callers(runtime: OciRuntime, bundle: Bundle) -> None:
    assert runtime.output(bundle.script("umask"), umask=0o077) == "0022\n"


def test_limits_are_set(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
    ]
    out = runtime.output(bundle.script("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc"))
    assert out.split() == ["100", "200", "0", "8"]


def test_limits_that_are_not_named_stay(runtime: OciRuntime, bundle: Bundle) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, hard))

    assert runtime.output(bundle.script("ulimit -Ss"), preexec_fn=lower) == "4096\n"


@pytest.mark.parametrize(
    "limits",
    [
        [{"type": "RLIMIT_UNHEARD_OF", "soft": 1, "hard": 1}],
        [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}, {"type": "RLIMIT_NOFILE", "soft": 2, "hard": 2}],
    ],
)
def test_limits_that_make_no_sense(runtime: OciRuntime, bundle: Bundle, limits: list[dict[str, Any]]) -> None:
    if runtime.name == "runc" and len(limits) == 2:
        pytest.skip("a runtime that refuses duplicates: this runc applies the last")
    bundle.process["rlimits"] = limits
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())


NAMES = {CHOWN: "CAP_CHOWN", KILL: "CAP_KILL", SETUID: "CAP_SETUID", NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE"}
ALL = bits(CHOWN, KILL, SETUID)
LISTED = [NAMES[number] for number in (CHOWN, KILL, SETUID)]


@pytest.mark.parametrize(
    ("uid", "named", "inheritable", "permitted", "effective", "bounding", "ambient"),
    [
        # nothing is granted that is not named, to root neither
        (0, {}, 0, 0, 0, 0, 0),
        # capabilities(7): a program of root gets what is bounding, but not with no_new_privs
        (0, {"bounding": LISTED}, 0, 0, 0, ALL, 0),
        (0, {"bounding": LISTED, "permitted": LISTED, "effective": LISTED}, 0, ALL, ALL, ALL, 0),
        (1000, {"bounding": LISTED, "permitted": LISTED, "effective": LISTED}, 0, 0, 0, ALL, 0),
        (1000, {"bounding": LISTED}, 0, 0, 0, ALL, 0),
        (
            1000,
            {"bounding": LISTED, "permitted": LISTED, "effective": LISTED, "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
            bits(KILL),
            bits(KILL),
            bits(KILL),
            ALL,
            bits(KILL),
        ),
        (
            0,
            dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), LISTED),
            ALL,
            ALL,
            ALL,
            ALL,
            ALL,
        ),
        # ambient without inheritable cannot be had
        (1000, {"bounding": LISTED, "permitted": LISTED, "effective": LISTED, "ambient": LISTED}, 0, 0, 0, ALL, 0),
        (
            1000,
            {"bounding": LISTED, "permitted": LISTED, "effective": LISTED, "inheritable": LISTED},
            ALL,
            0,
            0,
            ALL,
            0,
        ),
    ],
)
def test_capabilities_bit_for_bit(
    runtime: OciRuntime,
    bundle: Bundle,
    uid: int,
    named: dict[str, list[str]],
    inheritable: int,
    permitted: int,
    effective: int,
    bounding: int,
    ambient: int,
) -> None:
    bundle.process.update(capabilities=named, user={"uid": uid, "gid": uid})
    expected = {"CapInh": inheritable, "CapPrm": permitted, "CapEff": effective, "CapBnd": bounding, "CapAmb": ambient}
    assert sets(runtime, bundle) == expected


def test_exec_joins_the_containers_session_keyring(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        runtime.exec(identity, "sleep", "1000", flags=("--detach",), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert Path("/proc/keys").read_text().count(f"_ses.{identity}:") == 1


def test_capability_that_no_kernel_knows_is_ignored_with_a_warning(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {kind: ["CAP_KILL", "CAP_WHATEVER"] for kind in ("bounding", "effective", "permitted")}
    result = runtime.run(bundle.runs("cat", "/proc/self/status"))
    assert int(status_of(result.out)["CapEff"], 16) == bits(KILL)
    assert "ignoring unknown or unavailable capabilities: [CAP_WHATEVER]" in result.err


def test_capability_that_is_effective_must_be_permitted(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": []}
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())


def test_all_capabilities_the_caller_has(runtime: OciRuntime, bundle: Bundle) -> None:
    everything = host.capabilities("CapPrm")
    names = [f"CAP_{name}" for number, name in enumerate(CAPABILITIES.split()) if everything >> number & 1]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), names)
    assert sets(runtime, bundle) == {"CapInh": 0, "CapPrm": everything, "CapEff": everything, "CapBnd": everything, "CapAmb": 0}


CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN
NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""


def test_exec_gets_the_capabilities_of_the_bundle_and_no_inheritable_ones(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), LISTED)
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        status = status_of(runtime.exec(identity, "cat", "/proc/self/status").out)
        more = status_of(runtime.exec(identity, "cat", "/proc/self/status", flags=("--cap", "CAP_SYS_CHROOT")).out)
        other = status_of(runtime.exec(identity, "cat", "/proc/self/status", flags=("--user", "1000:1000")).out)
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0, ALL, ALL, ALL, 0]
    assert int(more["CapEff"], 16) == ALL | bits(SYS_CHROOT)
    assert int(other["CapEff"], 16) == int(other["CapPrm"], 16) == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(runtime: OciRuntime, bundle: Bundle, wanted: bool) -> None:
    bundle.process["noNewPrivileges"] = wanted
    assert status_of(runtime.output(bundle.runs("cat", "/proc/self/status")))["NoNewPrivs"] == str(int(wanted))


def test_set_uid_programs_work_only_with_new_privileges(runtime: OciRuntime, bundle: Bundle) -> None:
    """The attack and its look-alike: the same program gives root where that is allowed."""
    machine = {"amd64": amd64, "arm64": arm64}.get(images.ARCHITECTURE)
    if machine is None:
        pytest.skip("needs amd64 or arm64, which crate's own static program is for")
    program = bundle.rootfs / "bin/tell"
    program.write_bytes(executable(machine))
    program.chmod(0o4755)
    bundle.process.update(user={"uid": 1000, "gid": 1000}, capabilities={"bounding": ["CAP_SETUID"]})
    bundle.runs("/bin/tell").process["noNewPrivileges"] = False
    assert re.search(r"capabilities +1 of", runtime.output(bundle))
    bundle.process["noNewPrivileges"] = True
    assert re.search(r"capabilities +(0|none)", runtime.output(bundle))


def test_oom_score_adjustment(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.process["oomScoreAdj"] = 321
    assert runtime.output(bundle.runs("cat", "/proc/self/oom_score_adj")) == "321\n"


def test_signals_are_as_a_login_has_them(runtime: OciRuntime, bundle: Bundle) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; a caller may block or ignore more."""
    if runtime.name == "runc":
        pytest.skip("a runtime that resets signals: runc passes on what its caller ignores")
    command = runtime.command("run", "--bundle", str(bundle.runs("cat", "/proc/self/status").write()), runtime.identity())
    result = runtime.account.run(["sh", "-c", 'trap "" USR1 HUP PIPE; exec "$@"', "sh", *command], status=0)
    status = status_of(result.out)
    assert [int(status[name], 16) for name in ("SigBlk", "SigIgn")] == [0, 0]


def test_parent_death_and_session(runtime: OciRuntime, bundle: Bundle) -> None:
    """The program leads a session of its own: it cannot reach the caller's terminal."""
    fields = runtime.output(bundle.runs("cat", "/proc/self/stat")).rpartition(")")[2].split()
    process_group, session, terminal = fields[2:5]
    assert (process_group, session, terminal) == ("1", "1", "0")
