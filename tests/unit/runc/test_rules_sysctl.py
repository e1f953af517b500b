"""linux.sysctl: what the container's namespaces hold is taken, everything else is refused before anything is written (CVE-2022-0811)."""

from __future__ import annotations

import pytest

from crate_runc.errors import BundleError
from crate_runc.rules import sysctl as sysctl_rules

ALL = dict.fromkeys(("ipc", "network", "uts", "user", "mount", "pid", "time", "cgroup"), "")


def defects(name: str, value: str = "1", namespaces: dict[str, str | None] | None = None) -> list[str]:
    found: list[BundleError] = []
    sysctl_rules.check({name: value}, {**ALL} if namespaces is None else namespaces, found.append)
    return [str(error) for error in found]


NAMESPACED = {
    "net.ipv4.ip_forward": "network",
    "net/ipv4/conf/eth0.100/forwarding": "network",
    "net.ipv4.conf.eth0/100.forwarding": "network",
    "net.core.somaxconn": "network",
    "kernel.sem": "ipc",
    "kernel.shmmax": "ipc",
    "kernel/shm_rmid_forced": "ipc",
    "kernel.msgmni": "ipc",
    "fs.mqueue.msg_max": "ipc",
    "fs/mqueue/queues_max": "ipc",
    "kernel.domainname": "uts",
    "user.max_user_namespaces": "user",
}


@pytest.mark.parametrize(("name", "kind"), NAMESPACED.items())
def test_a_parameter_of_a_namespace_needs_that_namespace(name: str, kind: str) -> None:
    assert defects(name) == []
    assert defects(name, namespaces={other: "" for other in ALL if other != kind}) != []


HOSTILE = [
    "kernel.core_pattern",
    "kernel/core_pattern",
    "kernel.modprobe",
    "kernel.hotplug",
    "kernel.randomize_va_space",
    "kernel.panic",
    "kernel.yama.ptrace_scope",
    "kernel.unprivileged_userns_clone",
    "kernel.kptr_restrict",
    "kernel.shmmax.x",
    "kernel.semaphore",
    "kernel.hostname",
    "vm.overcommit_memory",
    "vm.drop_caches",
    "fs.file-max",
    "fs.suid_dumpable",
    "fs.mqueuex.msg_max",
    "fs.binfmt_misc.register",
    "dev.cdrom.autoclose",
    "debug.exception-trace",
    "abi.vsyscall32",
    "net",
    "net.",
    "net/",
    ".net.ipv4.ip_forward",
    "/net/ipv4/ip_forward",
    "net..ipv4.ip_forward",
    "net//ipv4/ip_forward",
    "net/../kernel/core_pattern",
    "net/./ipv4/ip_forward",
    "net/ipv4/../../kernel/core_pattern",
    "net.ipv4.../../kernel/core_pattern",
    "../../etc/passwd",
    "net/ipv4/ip_forward/..",
    "net.ipv4.ip_forward+kernel.core_pattern=x",
    "net.ipv4.ip_forward=1",
    "net.ipv4.ip_forward\n",
    "net.ipv4.ip_forward\0",
    "net.ipv4.ip forward",
    " net.ipv4.ip_forward",
    "net.ipv4.ip_forward;kernel.panic",
    "net.ipv4.ip_forward\\x",
    "ｎet.ipv4.ip_forward",
    "NET.ipv4.ip_forward",
    "kernel",
    "user",
    "",
    "users.max_user_namespaces",
    "netx.ipv4.ip_forward",
    "sunrpc.tcp_slot_table_entries",
    "kernel.shmmax/../core_pattern",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("namespaces", [ALL, {}], ids=["all", "none"])
def test_no_other_parameter_is_taken(name: str, namespaces: dict[str, str | None]) -> None:
    assert defects(name, namespaces=namespaces)


@pytest.mark.parametrize("value", ["1\n2", "a\0b", "\n"])
def test_a_value_is_one_line(value: str) -> None:
    assert "must be one line" in defects("net.ipv4.ip_forward", value)[0]


def test_a_value_of_several_numbers_is_fine() -> None:
    assert defects("kernel.sem", "250 32000 100 128") == []
    assert defects("net.ipv4.ping_group_range", "0\t2147483647") == []
