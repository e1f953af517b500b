"""What this host offers to tests: each probe is the thing itself, tried once. A test that lacks something is skipped with its name."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str, package: str | None = None) -> str:
    """The path of a program; the test is skipped when it is not installed."""
    found = shutil.which(name, path=_SYSTEM_PATH)
    if found is None:
        pytest.skip(f"needs {name} (Debian package {package or name})")
    return found


def has(name: str) -> bool:
    return shutil.which(name, path=_SYSTEM_PATH) is not None


def need_root() -> None:
    if not IS_ROOT:
        pytest.skip("needs root")


@functools.cache
def user_namespace_defect() -> str:
    """Why an ordinary user has no user namespaces here; empty when there are."""
    done = subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def cgroup_mode() -> str:
    """v1, hybrid or v2."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    at_top = [line for line in mounts if line.split()[4] == "/sys/fs/cgroup"]
    if any(" - cgroup2 " in line for line in at_top):
        return "v2"
    return "hybrid" if any(" - cgroup2 " in line for line in mounts) else "v1"


def cgroup_directory(controller: str) -> Path | None:
    """Where a v1 controller is mounted, writable by us; None when it is not."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup ") and controller in right.split()[2].split(","):
            return Path(left.split()[4])
    return None


def fast_directory() -> Path:
    """Where stores of tests are kept: in memory when that takes programs and the extended attributes that overlays need."""
    for candidate in ("/dev/shm", tempfile.gettempdir()):
        if _suits(candidate):
            return Path(candidate)
    return Path(tempfile.gettempdir())


def _suits(directory: str) -> bool:
    try:
        with tempfile.TemporaryDirectory(dir=directory) as probe:
            os.setxattr(probe, "user.crate.test", b"y")
            return not os.statvfs(probe).f_flag & os.ST_NOEXEC
    except OSError:
        return False


def capabilities(kind: str = "CapEff") -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1], 16)
    raise AssertionError(kind)


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
