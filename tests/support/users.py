"""The ordinary user of the rootless tests: with subordinate ids, a home and a runtime directory, as a login has them."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account

NAME = "crate-test"
_RANGE = 65536
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x20000, 0x1000, 0x4000, 0x80000, 2


def ourselves(base: Path) -> Account:
    entry = pwd.getpwuid(os.geteuid())
    return _account(entry, tuple(os.getgroups()), base / f"user-{entry.pw_uid}")


def ordinary(base: Path) -> Account:
    """The user `crate-test`, made when it does not exist. Only root can."""
    entry = _existing() or _made()
    _open_devices(base)
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return checked(_account(entry, groups, base / f"user-{entry.pw_uid}"))


def checked(account: Account) -> Account:
    """The same; the test is skipped when it has no subordinate ids."""
    for program in ("newuidmap", "newgidmap"):
        host.program(program, "uidmap")
    for file in ("/etc/subuid", "/etc/subgid"):
        if not _has_range(file, account):
            pytest.skip(f"needs {_RANGE} subordinate ids of {account.name} in {file}")
    return account


def _existing() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        return None


def _made() -> pwd.struct_passwd:
    """useradd gives a new user subordinate ids by itself. Another test run may be making the same user: useradd locks."""
    useradd = host.program("useradd", "passwd")
    done = subprocess.run([useradd, "--create-home", "--shell", "/bin/sh", NAME], capture_output=True, text=True)
    entry = _existing()
    if entry is None:
        pytest.skip(f"needs a user that useradd can make: {done.stderr.strip()}")
    return entry


def _open_devices(base: Path) -> None:
    """Every distribution lets all users open these, which pasta and fuse-overlayfs need; a machine that runs these tests may not.

    Then the tests go on in a mount namespace of their own, where nodes that all may open lie on top. Mounts of the host still come in.
    """
    closed = [
        path for path in (Path("/dev/net/tun"), Path("/dev/fuse")) if path.exists() and path.stat().st_mode & 0o006 != 0o006
    ]
    libc, devices = host.libc(), base / "devices"
    if not closed or libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_SLAVE | _MS_REC, None):
        return
    devices.mkdir()
    libc.mount(b"tmpfs", os.fsencode(devices), b"tmpfs", 0, b"mode=755")  # the directory above may be mounted nodev
    for path in closed:
        node = devices / path.name
        try:
            os.mknod(node, 0o666 | stat.S_IFCHR, path.stat().st_rdev)
            node.chmod(0o666)
        except OSError:  # the tests that need it will say what they lack
            continue
        libc.mount(os.fsencode(node), os.fsencode(path), None, _MS_BIND, None)
    libc.umount2(os.fsencode(devices), _MNT_DETACH)  # what is bound stays
    devices.rmdir()


def _has_range(file: str, account: Account) -> bool:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return False
    fields = [line.split(":") for line in lines if line.count(":") == 2]
    return any(owner in (account.name, str(account.uid)) and int(count) >= _RANGE for owner, _, count in fields)


def _account(entry: pwd.struct_passwd, groups: tuple[int, ...], directory: Path) -> Account:
    home, runtime_dir, temporary = directory / "home", directory / "run", directory / "tmp"
    for path in (directory, home, runtime_dir, temporary):
        path.mkdir(mode=0o700)
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, home, runtime_dir, temporary)
