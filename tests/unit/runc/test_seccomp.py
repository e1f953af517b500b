from __future__ import annotations

import ctypes.util
import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from crate_runc.errors import BundleError
from crate_runc.seccomp import cache, compiler, rules

needs_library = pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="libseccomp.so.2 is not installed")
_ALLOWED = {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"}


def _defects(seccomp: Any) -> list[str]:
    found: list[BundleError] = []
    rules.check(seccomp, "linux.seccomp", found.append)
    return [error.where for error in found]


def test_a_profile_as_engines_write_it_is_right() -> None:
    rule = {**_ALLOWED, "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}], "errnoRet": 38}
    seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [rule],
    }
    assert _defects(seccomp) == []


@pytest.mark.parametrize(
    ("seccomp", "where"),
    [
        ({}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOSUCH"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x"]}, "linux.seccomp.architectures[0]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}, "linux.seccomp.listenerPath"),
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


def _decide(program: bytes, number: int) -> int:
    """Run the filter, as the kernel does, for a call of this machine with no arguments. Only what libseccomp generates is known."""
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    native = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[os.uname().machine]
    call = struct.pack("=IIQ6Q", number, native, 0, *[0] * 6)
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
        else:
            holds = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}[code]
            at += if_true if holds else if_false


@needs_library
def test_calls_beyond_the_profile_do_not_exist_and_others_are_not_permitted() -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]}
    program = compiler.compile_profile(rules.parse(seccomp))
    openat2 = 437
    assert _decide(program, openat2) == 0x7FFF0000
    assert _decide(program, openat2 - 1) == 0x00050000 | errno.EPERM
    assert _decide(program, openat2 + 1) == 0x00050000 | errno.ENOSYS


@needs_library
def test_a_default_that_allows_answers_for_all() -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ERRNO"}]}
    program = compiler.compile_profile(rules.parse(seccomp))
    assert _decide(program, 437) == 0x00050000 | errno.EPERM
    assert _decide(program, 100_000) == 0x7FFF0000


@needs_library
def test_a_compiled_profile_is_kept_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    first = cache.load(seccomp, str(tmp_path / "state"))
    monkeypatch.setattr(compiler, "compile_profile", None)
    assert cache.load(seccomp, str(tmp_path / "state")) == first
    assert (tmp_path / "state.seccomp").stat().st_mode & 0o077 == 0


@needs_library
def test_a_damaged_file_in_the_cache_is_not_used(tmp_path: Path) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_ALLOWED]}
    first = cache.load(seccomp, str(tmp_path / "state"))
    (kept,) = (tmp_path / "state.seccomp").iterdir()
    kept.write_bytes(first[:-3])
    assert cache.load(seccomp, str(tmp_path / "state")) == first
