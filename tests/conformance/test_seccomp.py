"""linux.seccomp: what the kernel then answers to system calls that no library stands before."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_call
from tests.support.raw_call import MACHINE, number
from tests.support.runtime import Bundle, OciRuntime
from tests.support.seccomp_agent import CONTINUE, Agent

ANSWER = 77
KILLED = 128 + signal.SIGSYS
BEYOND = 600
"""The number of no system call."""
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
COMPATIBLE = {"x86_64": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "aarch64": ["SCMP_ARCH_ARM"]}[MACHINE]
only_x86 = pytest.mark.skipif(MACHINE != "x86_64", reason="needs an x86_64 processor, for its 32-bit interface")
_ORDINARY = """
access arch_prctl bind brk capget capset chdir clone clone3 close close_range connect dup dup2 dup3 epoll_create1
epoll_ctl epoll_pwait eventfd2 execve execveat exit exit_group faccessat faccessat2 fchdir fchmod fchown fcntl fstat
fstatfs futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom getresgid getresuid getrlimit gettid getuid ioctl kill lseek
lstat madvise memfd_create mkdirat mmap mprotect munmap nanosleep newfstatat open openat openat2 pidfd_open pipe2 poll
ppoll prctl pread64 prlimit64 read readlink readlinkat recvfrom recvmsg rseq rt_sigaction rt_sigprocmask rt_sigreturn
sched_getaffinity sched_yield seccomp select sendmsg sendto set_robust_list set_tid_address setgid setgroups setresgid
setresuid setsid setuid sigaltstack socket stat statfs statx tgkill umask uname unlink wait4 waitid write writev
"""


def rule(name: str, action: str, *conditions: tuple[int, str, int, int], **more: Any) -> dict[str, Any]:
    args = [{"index": i, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two} for i, op, value, two in conditions]
    return {"names": [name], "action": f"SCMP_ACT_{action}", **({"args": args} if args else {}), **more}


def allowing(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [NATIVE], "syscalls": list(rules), **more}


def denying(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is not ordinary is an error."""
    known = {"names": _ORDINARY.split(), "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "architectures": [NATIVE], "syscalls": [known, *rules], **more}


def outcomes(runtime: OciRuntime, bundle: Bundle, profile: dict[str, Any], *programs: bytes) -> list[int]:
    """The exit status of each program in a container with the profile, as a shell in it sees them."""
    bundle.linux["seccomp"] = profile
    paths = [raw_call.write(bundle.rootfs / f"call-{index}", program) for index, program in enumerate(programs)]
    return [int(word) for word in runtime.output(bundle.script("".join(f"{path}; echo $?;" for path in paths))).split()]


def calls(*names: str) -> list[bytes]:
    return [raw_call.program(number(name)) for name in names]


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("KILL", KILLED),
        ("KILL_THREAD", KILLED),
        ("KILL_PROCESS", KILLED),
        ("TRAP", KILLED),
        ("ERRNO", errno.EPERM),
        ("TRACE", errno.ENOSYS),  # there is no tracer
        ("LOG", 0),
    ],
)
def test_actions(runtime: OciRuntime, bundle: Bundle, action: str, expected: int, privileged: bool) -> None:
    """Also where the filter is installed while the process still has its privileges."""
    bundle.process["noNewPrivileges"] = not privileged
    found = outcomes(
        runtime, bundle, allowing(rule("sched_get_priority_max", action)), *calls("sched_get_priority_max", "sched_yield")
    )
    assert found == [expected, 0]


def test_error_numbers(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = denying(rule("acct", "ERRNO", errnoRet=ANSWER), rule("vhangup", "ALLOW"), defaultErrnoRet=errno.EXDEV)
    found = outcomes(runtime, bundle, profile, *calls("acct", "unshare", "sched_yield"))
    assert found == [ANSWER, errno.EXDEV, 0]


BIG = 1 << 40 | 5
OPERATORS = [
    ("NE", 5, 0, 6, 5),
    ("LT", 5, 0, 4, 5),
    ("LE", 5, 0, 5, 6),
    ("EQ", 5, 0, 5, BIG),
    ("GE", 5, 0, BIG, 4),
    ("GT", 5, 0, BIG, 5),
    ("MASKED_EQ", 0xF0, 0x30, 0x13F, 0x4F),
    ("EQ", BIG, 0, BIG, 5),
    ("LT", BIG, 0, 6, BIG + 1),
]


@pytest.mark.parametrize(("operator", "value", "two", "holds", "fails"), OPERATORS)
def test_operators(runtime: OciRuntime, bundle: Bundle, operator: str, value: int, two: int, holds: int, fails: int) -> None:
    """All 64 bits of an argument count."""
    if operator == "MASKED_EQ":
        holds = 0x3F
    profile = allowing(rule("sched_yield", "ERRNO", (1, operator, value, two), errnoRet=ANSWER))
    programs = [raw_call.program(number("sched_yield"), 0, argument) for argument in (holds, fails)]
    assert outcomes(runtime, bundle, profile, *programs) == [ANSWER, 0]


def test_conditions_on_several_arguments_must_all_hold(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = allowing(rule("sched_yield", "ERRNO", (0, "EQ", 1, 0), (5, "GT", 7, 0), errnoRet=ANSWER))
    programs = [
        raw_call.program(number("sched_yield"), *arguments) for arguments in ((1, 0, 0, 0, 0, 8), (1,), (0, 0, 0, 0, 0, 8))
    ]
    assert outcomes(runtime, bundle, profile, *programs) == [ANSWER, 0, 0]


def test_conditions_on_one_argument_are_alternatives(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = allowing(rule("sched_yield", "ERRNO", (0, "EQ", 1, 0), (0, "EQ", 2, 0), (1, "EQ", 9, 0), errnoRet=ANSWER))
    programs = [raw_call.program(number("sched_yield"), *arguments) for arguments in ((1, 0), (2, 0), (3, 9), (3, 0))]
    assert outcomes(runtime, bundle, profile, *programs) == [ANSWER, ANSWER, ANSWER, 0]


def test_names_that_nobody_knows_are_passed_over(runtime: OciRuntime, bundle: Bundle) -> None:
    """Engines' profiles name calls of other architectures and of kernels to come."""
    profile = allowing(
        {
            "names": ["no_such_call", "arm_sync_file_range", "sched_get_priority_max", "s390_pci_mmio_read"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ANSWER,
        }
    )
    assert outcomes(runtime, bundle, profile, *calls("sched_get_priority_max", "sched_yield")) == [ANSWER, 0]


# --- calls that are newer than the profile


@pytest.mark.parametrize("privileged", [False, True])
def test_calls_beyond_the_profile_do_not_exist(runtime: OciRuntime, bundle: Bundle, privileged: bool) -> None:
    """A C library tries the new call and falls back; "not permitted" would be the end."""
    bundle.process["noNewPrivileges"] = not privileged
    profile = denying(defaultErrnoRet=ANSWER)
    assert outcomes(runtime, bundle, profile, raw_call.program(BEYOND), *calls("acct", "vhangup")) == [
        errno.ENOSYS,
        ANSWER,
        ANSWER,
    ]


@pytest.mark.parametrize("default", ["KILL", "KILL_PROCESS", "TRAP"])
def test_calls_beyond_a_profile_that_kills_do_not_exist(runtime: OciRuntime, bundle: Bundle, default: str) -> None:
    profile = {**denying(), "defaultAction": f"SCMP_ACT_{default}"}
    assert outcomes(runtime, bundle, profile, raw_call.program(BEYOND), *calls("acct")) == [errno.ENOSYS, KILLED]


def test_a_profile_that_allows_is_not_added_to(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = allowing(rule("sched_get_priority_max", "ERRNO", errnoRet=ANSWER))
    assert (
        outcomes(runtime, bundle, profile, raw_call.program(BEYOND), *calls("acct"))[0] == errno.ENOSYS
    )  # the kernel's own answer
    profile = allowing(rule("sched_yield", "LOG"), rule("vhangup", "ERRNO", errnoRet=ANSWER))
    assert outcomes(runtime, bundle, profile, *calls("vhangup", "sched_yield")) == [ANSWER, 0]


# --- architectures


@only_x86
def test_a_rule_holds_for_each_architecture_that_is_named(runtime: OciRuntime, bundle: Bundle) -> None:
    priority_32 = raw_call.program_32(159)
    profile = allowing(rule("sched_get_priority_max", "ERRNO", errnoRet=ANSWER), architectures=[NATIVE, *COMPATIBLE])
    assert outcomes(runtime, bundle, profile, priority_32, *calls("sched_get_priority_max")) == [ANSWER, ANSWER]


@only_x86
def test_calls_beyond_the_profile_do_not_exist_on_any_architecture(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = denying(rule("acct", "ERRNO", errnoRet=ANSWER), architectures=[NATIVE, *COMPATIBLE])
    acct_32, beyond_32, x32 = raw_call.program_32(51), raw_call.program_32(BEYOND), raw_call.program(0x40000000 | BEYOND)
    assert outcomes(runtime, bundle, profile, acct_32, beyond_32, x32) == [ANSWER, errno.ENOSYS, errno.ENOSYS]


@only_x86
def test_an_architecture_that_is_not_named_is_killed(runtime: OciRuntime, bundle: Bundle) -> None:
    assert outcomes(runtime, bundle, allowing(rule("acct", "ERRNO")), raw_call.program_32(159)) == [KILLED]


def test_the_architecture_of_the_machine_need_not_be_named(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc":
        pytest.skip("this runc looks for the last call only on architectures that are named, as later ones do not")
    profile = denying(rule("acct", "ERRNO", errnoRet=ANSWER), architectures=COMPATIBLE)
    assert outcomes(runtime, bundle, profile, raw_call.program(BEYOND), *calls("acct")) == [errno.ENOSYS, ANSWER]


# --- flags, exec, users


@pytest.mark.parametrize("flag", ["TSYNC", "LOG", "SPEC_ALLOW"])
def test_flags(runtime: OciRuntime, bundle: Bundle, flag: str) -> None:
    if runtime.name == "runc":
        pytest.skip("this runc knows no flags, as later ones do")
    profile = allowing(rule("sched_get_priority_max", "ERRNO", errnoRet=ANSWER), flags=[f"SECCOMP_FILTER_FLAG_{flag}"])
    assert outcomes(runtime, bundle, profile, *calls("sched_get_priority_max")) == [ANSWER]


def test_flag_that_is_unknown(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing(flags=["SECCOMP_FILTER_FLAG_NOSUCH"])
    result = runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert "SECCOMP_FILTER_FLAG_NOSUCH" in result.err or runtime.name == "runc"


def test_exec_has_the_filter_of_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing(rule("sched_get_priority_max", "ERRNO", errnoRet=ANSWER))
    paths = [
        raw_call.write(bundle.rootfs / f"call-{name}", raw_call.program(number(name)))
        for name in ("sched_get_priority_max", "sched_yield")
    ]
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        assert [runtime.exec(identity, path, status=None).status for path in paths] == [ANSWER, 0]
        assert "Seccomp:\t2" in runtime.exec(identity, "cat", "/proc/self/status").out


def test_without_a_profile_there_is_no_filter(runtime: OciRuntime, bundle: Bundle) -> None:
    assert "Seccomp:\t0" in runtime.output(bundle.runs("cat", "/proc/self/status"))


def test_rootless(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    profile = denying(defaultErrnoRet=ANSWER)
    found = outcomes(rootless_runtime, rootless_bundle, profile, raw_call.program(BEYOND), *calls("acct", "sched_yield"))
    assert found == [errno.ENOSYS, ANSWER, 0]


def test_smallest_profile(runtime: OciRuntime, bundle: Bundle) -> None:
    """Nothing but execve comes between the filter and the program, which must not gain privileges."""
    if runtime.name == "runc":
        pytest.skip("runc makes more calls once its filter is installed")
    allowed = {"names": ["execve", "sched_yield", "exit_group"], "action": "SCMP_ACT_ALLOW"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": [NATIVE], "syscalls": [allowed]}
    path = raw_call.write(bundle.rootfs / "call", raw_call.program(number("sched_yield")))
    other = raw_call.write(bundle.rootfs / "other", raw_call.program(number("sched_get_priority_max")))
    assert runtime.run(bundle.runs(path)).status == 0
    assert runtime.run(bundle.runs(other), status=None).status == KILLED


# --- a listener that decides


@pytest.fixture
def agent(runtime: OciRuntime) -> Iterator[Agent]:
    listening = Agent(runtime.directory / "agent", ANSWER)
    yield listening
    listening.close()


def listened(agent: Agent | Path, *names: str, **more: Any) -> dict[str, Any]:
    path = agent.path if isinstance(agent, Agent) else agent
    rules = [rule(name, "NOTIFY") for name in names]
    return allowing(*rules, listenerPath=str(path), listenerMetadata="for the agent", **more)


@pytest.mark.parametrize("privileged", [False, True])
def test_listener_decides(runtime: OciRuntime, bundle: Bundle, agent: Agent, privileged: bool) -> None:
    bundle.process["noNewPrivileges"] = not privileged
    assert outcomes(runtime, bundle, listened(agent, "acct"), *calls("acct", "sched_yield")) == [ANSWER, 0]
    assert agent.calls == [number("acct")]


def test_listener_is_told_whose_filter_it_is(runtime: OciRuntime, bundle: Bundle, agent: Agent) -> None:
    bundle.linux["seccomp"] = listened(agent, "acct")
    bundle.config["annotations"] = {"org.example.key": "value"}
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        (state,) = agent.states
        pid = runtime.pid(identity)
    assert (state["fds"], state["pid"], state["metadata"]) == (["seccompFd"], pid, "for the agent")
    assert state["ociVersion"]
    inner = state["state"]
    assert (inner["id"], inner["status"], inner["pid"], inner["bundle"]) == (identity, "creating", pid, str(bundle.path))
    assert inner["annotations"]["org.example.key"] == "value"


@pytest.mark.parametrize("privileged", [False, True])
def test_listener_decides_for_exec(runtime: OciRuntime, bundle: Bundle, agent: Agent, privileged: bool) -> None:
    bundle.process["noNewPrivileges"] = not privileged
    bundle.linux["seccomp"] = listened(agent, "acct")
    path = raw_call.write(bundle.rootfs / "call", raw_call.program(number("acct")))
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        assert runtime.exec(identity, path, status=None).status == ANSWER
        pid = runtime.pid(identity)
    first, second = agent.states
    assert (second["state"]["id"], second["state"]["status"], second["state"]["pid"]) == (identity, "running", pid)
    assert second["pid"] not in (pid, first["pid"])


def test_listener_may_decide_on_what_the_runtime_itself_calls(runtime: OciRuntime, bundle: Bundle) -> None:
    """All but write: between the filter and the program the runtime reads, sends, receives and executes."""
    names = ("read", "execve", "sendmsg", "recvmsg", "recvfrom", "sendto", "close", "capset", "openat", "fcntl", "newfstatat")
    agent = Agent(runtime.directory / "agent", CONTINUE)
    try:
        assert outcomes(runtime, bundle, listened(agent, *names), *calls("sched_yield")) == [0]
    finally:
        agent.close()
    assert agent.calls


def test_listener_may_decide_on_killable_waits(runtime: OciRuntime, bundle: Bundle, agent: Agent) -> None:
    if runtime.name == "runc":
        pytest.skip("this runc does not know SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    profile = listened(agent, "acct", flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"])
    assert outcomes(runtime, bundle, profile, *calls("acct")) == [ANSWER]


def test_listener_that_does_not_listen(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = listened(runtime.directory / "nobody", "acct")
    result = runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    assert "no such file or directory" in result.err
    assert list(runtime.root.iterdir()) == []


@pytest.mark.parametrize(
    ("profile", "word"),
    [
        (allowing(rule("acct", "NOTIFY")), "listenerPath"),
        (allowing(rule("write", "NOTIFY"), listenerPath="/nowhere"), "write"),
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/nowhere"}, "SCMP_ACT_NOTIFY"),
    ],
)
def test_listener_that_cannot_be(runtime: OciRuntime, bundle: Bundle, profile: dict[str, Any], word: str) -> None:
    bundle.linux["seccomp"] = profile
    result = runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity(), timeout=20)
    assert word in result.err
    assert list(runtime.root.iterdir()) == []


def test_listener_path_is_ignored_where_nothing_is_for_it(runtime: OciRuntime, bundle: Bundle) -> None:
    profile = allowing(rule("sched_get_priority_max", "ERRNO", errnoRet=ANSWER), listenerPath="/nowhere")
    assert outcomes(runtime, bundle, profile, *calls("sched_get_priority_max")) == [ANSWER]


def test_rootless_listener(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    agent = Agent(rootless_runtime.directory / "agent", ANSWER)
    try:
        assert outcomes(rootless_runtime, rootless_bundle, listened(agent, "acct"), *calls("acct", "sched_yield")) == [ANSWER, 0]
    finally:
        agent.close()
