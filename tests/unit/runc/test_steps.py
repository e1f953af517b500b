"""Steps that need no root: hooks, sysctl names, rlimits, devices, terminals, copying."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from crate_runc.errors import StepError
from crate_runc.kernel import copy_tree, interface, terminal
from crate_runc.process import channel
from crate_runc.steps import devices, hooks, rlimits, sysctl
from crate_runc.steps.step import ChildContext


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
    ],
)
def test_a_sysctl_key_becomes_a_file(key: str, file: str) -> None:
    assert sysctl.file_of(key) == file


def _hook(script: str, **entry: object) -> dict[str, object]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **entry}


def test_a_hook_reads_the_state_and_has_only_its_own_environment(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    hooks.run("poststart", _hook(f"cat > {seen}; env | grep -v ^PWD= >> {seen}", env=["A=b"]), {"id": "c", "pid": 5})
    assert seen.read_text() == '{"id":"c","pid":5}A=b\n'


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 4", "error running poststart hook /bin/sh: exit status 4"),
        ("echo why >&2; exit 1", "error running poststart hook /bin/sh: exit status 1, output: why"),
        ("kill -9 $$", "error running poststart hook /bin/sh: signal 9"),
    ],
)
def test_a_hook_that_fails_says_how(script: str, text: str) -> None:
    with pytest.raises(StepError) as caught:
        hooks.run("poststart", _hook(script), {})
    assert str(caught.value) == text


def test_a_hook_that_is_late_is_an_error() -> None:
    with pytest.raises(StepError, match="not done after 1 s"):
        hooks.run("prestart", _hook("sleep 1000", timeout=1), {})


def test_a_missing_hook_is_an_error() -> None:
    with pytest.raises(StepError, match="/nonexistent: no such file or directory"):
        hooks.run("prestart", {"path": "/nonexistent"}, {})


def test_a_limit_above_the_hard_one_names_its_number() -> None:
    step = rlimits.SetRlimits([("RLIMIT_NOFILE", 2, 1)])
    with pytest.raises(StepError, match="error setting rlimit type 7: "):
        step.apply(ChildContext({}, "/bundle", "/bundle/rootfs", channel.pair()[0], {}))


def test_a_device_of_config_replaces_the_default_one() -> None:
    config = {"linux": {"devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20600, "uid": 5}]}}
    texts = [step.describe() for step in devices.plan(config, bind=False)]
    assert texts[0] == "make device /dev/null c 1:3 0600 5:0"
    assert sum("/dev/null" in text for text in texts) == 1


def test_a_terminals_slave_is_opened_through_its_master() -> None:
    master, named = pty.openpty()
    terminal.check_master(master)
    slave = terminal.open_slave(master)
    assert os.ttyname(slave) == os.ttyname(named)
    assert terminal.is_slave(slave)
    for fd in (master, named, slave):
        os.close(fd)


def test_what_is_no_master_is_refused() -> None:
    with open("/dev/null") as file, pytest.raises(OSError):
        terminal.check_master(file.fileno())


def test_raw_mode_is_undone() -> None:
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    saved = terminal.make_raw(slave)
    assert not termios.tcgetattr(slave)[3] & termios.ECHO
    terminal.restore(slave, saved)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_tree_is_copied_with_modes_and_links(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    (source / "d/file").write_text("text")
    (source / "d/file").chmod(0o640)
    (source / "d").chmod(0o750)
    (source / "link").symlink_to("/nonexistent")
    fds = [os.open(directory, os.O_RDONLY) for directory in (source, target)]
    copy_tree.copy_tree(fds[0], fds[1])
    for fd in fds:
        os.close(fd)
    assert (target / "d/file").read_text() == "text"
    assert [(target / name).stat().st_mode & 0o777 for name in ("d", "d/file")] == [0o750, 0o640]
    assert os.readlink(target / "link") == "/nonexistent"


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError):
        interface.bring_up("nosuchinterface")
