from __future__ import annotations

import ctypes.util
import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from crate_runc.errors import BundleError, RuncError
from crate_runc.seccomp import cache, compiler, flags, listener, rules, without_keys

needs_library = pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="libseccomp.so.2 is not installed")
_NOTIFIED = {"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}
_ALLOWED = {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"}


def _defects(seccomp: Any) -> list[str]:
    found: list[BundleError] = []
    rules.check(seccomp, "linux.seccomp", found.append)
    return [error.where for error in found]


def test_a_profile_as_engines_write_it_is_right() -> None:
    rule = {**_ALLOWED, "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}
    seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [rule, {"names": ["acct"], "action": "SCMP_ACT_TRACE", "errnoRet": 7}, _NOTIFIED],
        "listenerPath": "/run/agent",
        "listenerMetadata": "text",
    }
    assert _defects(seccomp) == []


@pytest.mark.parametrize(
    ("seccomp", "where"),
    [
        ({}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOSUCH"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x"]}, "linux.seccomp.architectures[0]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": 1}, "linux.seccomp.listenerPath"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [_NOTIFIED]}, "linux.seccomp.listenerPath"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}, "linux.seccomp.listenerMetadata"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "linux.seccomp.defaultErrnoRet"),
        ({"defaultAction": "SCMP_ACT_KILL", "syscalls": [{**_ALLOWED, "errnoRet": 1}]}, "linux.seccomp.syscalls[0].errnoRet"),
        ({"defaultAction": "SCMP_ACT_KILL", "syscalls": [{**_ALLOWED, "names": []}]}, "linux.seccomp.syscalls[0].names"),
        (
            {"defaultAction": "SCMP_ACT_KILL", "syscalls": [{**_NOTIFIED, "names": ["read", "write"]}], "listenerPath": "/x"},
            "linux.seccomp.syscalls[0].names",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}, "linux.seccomp.flags[0]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}, "linux.seccomp.syscalls[0].action"),
    ],
)
def test_what_cannot_be_applied_is_named(seccomp: Any, where: str) -> None:
    assert _defects(seccomp) == [where]


def test_an_error_action_carries_its_number() -> None:
    profile = rules.parse(
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}
    )
    assert (profile.action & 0xFFFF, profile.rules[0][1] & 0xFFFF) == (errno.EPERM, 38)


def test_a_rule_that_says_what_is_the_default_anyway_is_left_out() -> None:
    assert rules.parse({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [_ALLOWED]}).rules == []


def test_conditions_on_one_argument_are_alternatives_and_on_several_all_hold() -> None:
    def parsed(*indexes: int) -> list[list[tuple[int, int, int, int]]]:
        args = [{"index": index, "value": 5, "op": "SCMP_CMP_EQ"} for index in indexes]
        return rules.parse({"defaultAction": "SCMP_ACT_KILL", "syscalls": [{**_ALLOWED, "args": args}]}).rules[0][2]

    assert parsed(0, 1) == [[(0, 4, 5, 0), (1, 4, 5, 0)]]
    assert parsed(0, 0) == [[(0, 4, 5, 0)], [(0, 4, 5, 0)]]


_NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[os.uname().machine]


def _decide(program: bytes, number: int, architecture: int = _NATIVE) -> int:
    """Run the filter, as the kernel does, for a call with no arguments. Only what libseccomp generates is known."""
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    call = struct.pack("=IIQ6Q", number, architecture, 0, *[0] * 6)
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = instructions[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", call, constant)[0]
        elif code == 0x06:
            return int(constant)
        elif code == 0x05:
            at += constant
        elif code == 0x54:
            accumulator &= constant
        else:
            holds = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}[code]
            at += if_true if holds else if_false


@needs_library
def test_calls_beyond_the_profile_do_not_exist_and_others_are_not_permitted() -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]}
    program = compiler.compile_profile(rules.parse(seccomp))[0]
    openat2 = 437
    assert _decide(program, openat2) == 0x7FFF0000
    assert _decide(program, openat2 - 1) == 0x00050000 | errno.EPERM
    assert _decide(program, openat2 + 1) == 0x00050000 | errno.ENOSYS


@needs_library
def test_a_default_that_allows_answers_for_all() -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ERRNO"}]}
    program = compiler.compile_profile(rules.parse(seccomp))[0]
    assert _decide(program, 437) == 0x00050000 | errno.EPERM
    assert _decide(program, 100_000) == 0x7FFF0000


@needs_library
def test_a_compiled_profile_is_kept_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    first = cache.load(seccomp, str(tmp_path / "state"))
    monkeypatch.setattr(compiler, "compile_profile", None)
    assert cache.load(seccomp, str(tmp_path / "state")) == first
    assert (tmp_path / "state.seccomp").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["writable", "link", "file"])
def test_a_cache_that_others_can_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(compiler, "compile_profile", lambda _: (b"12345678", ""))
    place, other = tmp_path / "state.seccomp", tmp_path / "other"
    other.mkdir()
    if kind == "writable":
        place.mkdir()
        place.chmod(0o777)
    elif kind == "link":
        place.symlink_to(other)
    else:
        place.write_text("")
    assert cache.load({"defaultAction": "SCMP_ACT_ERRNO"}, str(tmp_path / "state")) == b"12345678"
    assert not list(other.iterdir())
    assert kind == "file" or not list(place.iterdir())


@needs_library
def test_a_damaged_file_in_the_cache_is_not_used(tmp_path: Path) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    first = cache.load(seccomp, str(tmp_path / "state"))
    (kept,) = (tmp_path / "state.seccomp").iterdir()
    kept.write_bytes(first[:-3])
    assert cache.load(seccomp, str(tmp_path / "state")) == first


@needs_library
@pytest.mark.parametrize("default", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_calls_beyond_a_profile_that_kills_do_not_exist(default: str) -> None:
    program, _ = compiler.compile_profile(rules.parse({"defaultAction": default, "syscalls": [_ALLOWED]}))
    assert _decide(program, 100_000) == 0x00050000 | errno.ENOSYS


@needs_library
@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_default_that_does_not_deny_answers_for_all(default: str) -> None:
    program, _ = compiler.compile_profile(
        rules.parse({"defaultAction": default, "syscalls": [{**_ALLOWED, "action": "SCMP_ACT_KILL"}]})
    )
    assert _decide(program, 100_000) == rules.ACTIONS[default][0] | (errno.EPERM if default == "SCMP_ACT_TRACE" else 0)


@needs_library
@pytest.mark.parametrize(("name", "last"), [("SCMP_ARCH_X86", 437), ("SCMP_ARCH_ARM", 437), ("SCMP_ARCH_RISCV64", 437)])
def test_calls_beyond_the_profile_do_not_exist_on_other_architectures(name: str, last: int) -> None:
    seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [name],
        "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}],
    }
    program, _ = compiler.compile_profile(rules.parse(seccomp))
    architecture = rules.ARCHITECTURES[name]
    assert _decide(program, last, architecture) == 0x7FFF0000
    assert _decide(program, last + 1, architecture) == 0x00050000 | errno.ENOSYS
    assert _decide(program, last - 1, architecture) == 0x00050000 | errno.EPERM


@needs_library
def test_two_actions_for_one_call_are_an_error() -> None:
    args = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    entries = [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args},
        {"names": ["read"], "action": "SCMP_ACT_LOG", "args": args},
    ]
    with pytest.raises(RuncError, match="read has two actions"):
        compiler.compile_profile(rules.parse({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries}))
    entries[1]["action"] = "SCMP_ACT_ALLOW"  # said twice is no contradiction
    compiler.compile_profile(rules.parse({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries}))


@needs_library
def test_an_architecture_that_the_library_does_not_know_is_named() -> None:
    profile = rules.parse({"defaultAction": "SCMP_ACT_ALLOW"})
    profile.architectures = [0x12345678]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rules.ARCHITECTURES, "SCMP_ARCH_NOSUCH", 0x12345678)
        with pytest.raises(RuncError, match="add SCMP_ARCH_NOSUCH"):
            compiler.compile_profile(profile)


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_LIBRARY", "libnosuch.so.2")
    with pytest.raises(RuncError, match=r"libnosuch.so.2 is not installed; its package is libseccomp2 \(Debian"):
        compiler.compile_profile(rules.parse({"defaultAction": "SCMP_ACT_ALLOW"}))


@needs_library
def test_another_library_compiles_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer one knows more system calls."""
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    cache.load(seccomp, str(tmp_path / "state"))
    (kept,) = (tmp_path / "state.seccomp").iterdir()
    kept.write_bytes(kept.read_bytes().replace(b"libseccomp.so", b"libseccomq.so"))
    monkeypatch.setattr(compiler, "compile_profile", lambda _: (b"12345678", "/nowhere"))
    assert cache.load(seccomp, str(tmp_path / "state")) == b"12345678"


@needs_library
def test_what_does_not_change_the_program_does_not_compile_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    first = cache.load(seccomp, str(tmp_path / "state"))
    monkeypatch.setattr(compiler, "compile_profile", None)
    more = {"flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/x", "listenerMetadata": "of this container"}
    assert cache.load(seccomp | more, str(tmp_path / "state")) == first
    with pytest.raises(TypeError):
        cache.load({**seccomp, "defaultErrnoRet": 38}, str(tmp_path / "state"))


def test_the_cache_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "compile_profile", lambda _: (b"12345678", ""))
    monkeypatch.setattr(cache, "_MOST_FILES", 3)
    for number in range(9):
        cache.load({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number}, str(tmp_path / "state"))
        assert 1 <= len(list((tmp_path / "state.seccomp").iterdir())) <= 3


@pytest.mark.parametrize(
    ("names", "notified", "expected"),
    [
        (None, False, 4),
        ([], False, 0),
        (["TSYNC", "LOG"], False, 2),
        (["SPEC_ALLOW", "SPEC_ALLOW"], False, 4),
        (["WAIT_KILLABLE_RECV"], False, 0),
        (["WAIT_KILLABLE_RECV", "TSYNC"], True, 32 | 8),
        (None, True, 4 | 8),
    ],
)
def test_flags_for_the_kernel(names: list[str] | None, notified: bool, expected: int) -> None:
    """No flags at all: as runc."""
    seccomp: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [_NOTIFIED] if notified else []}
    if names is not None:
        seccomp["flags"] = [f"SECCOMP_FILTER_FLAG_{name}" for name in names]
    assert flags.bits(seccomp) == expected


def test_process_state_for_the_listener() -> None:
    state = {"ociVersion": "1.3.0", "id": "c", "status": "running", "pid": 1, "bundle": "/b"}
    expected = {"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 7, "state": state}
    assert listener.process_state({}, 7, state) == expected
    assert listener.process_state({"listenerMetadata": "m"}, 7, state) == {**expected, "metadata": "m"}


@pytest.mark.parametrize(
    ("machine", "architecture", "numbers"),
    [
        ("x86_64", 0xC000003E, (248, 249, 250, 0x40000000 | 250)),
        ("x86_64", 0x40000003, (286, 287, 288)),
        ("aarch64", 0xC00000B7, (217, 218, 219)),
        ("aarch64", 0x40000028, (309, 310, 311)),
        ("x86_64", 0x12345678, (1,)),
    ],
)
def test_keys_are_out_of_reach_on_every_architecture(machine: str, architecture: int, numbers: tuple[int, ...]) -> None:
    program = without_keys.program(machine)
    assert {_decide(program, number, architecture) for number in numbers} == {0x00050000 | errno.EPERM}
    if len(numbers) > 1:
        assert {_decide(program, number, architecture) for number in (0, min(numbers) - 1, 400)} == {0x7FFF0000}
