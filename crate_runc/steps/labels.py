"""process.apparmorProfile and selinuxLabel: what the program runs as (proc(5) /proc/PID/attr, apparmor(7)); and the label of the session keyring.

Both hold from the next execve on, so they are said by the process that executes the program, after its own last execve: in the stub. Whether
the host has the module, and the module the profile or label, is found out before. mountLabel is steps/mounts's.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import BundleError, StepError
from crate_runc.kernel import procfs, security_modules
from crate_runc.kernel.calls import Buffer, Call, Label, Value
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.kernel.calls import CallError, Item
    from crate_runc.steps.step import ChildContext, LaunchContext

_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def is_wanted(process: dict[str, Any]) -> bool:
    return bool(process.get("apparmorProfile") or process.get("selinuxLabel"))


def check(process: dict[str, Any]) -> None:
    """In the parent, before anything is made. Raises BundleError where the host cannot apply what is asked."""
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile and not security_modules.has_apparmor():
        what = "apparmor: config provided but apparmor not supported: this host's kernel has it off"
        raise BundleError("process.apparmorProfile", what)
    if not label:
        return
    if not security_modules.has_selinux():
        what = "selinux label is specified in config, but selinux is disabled or not supported"
        raise BundleError("process.selinuxLabel", what)
    try:
        security_modules.check_context(label)
    except OSError as error:
        what = f"{label}: {(error.strerror or '').lower()}: not a label of the loaded policy"
        raise BundleError("process.selinuxLabel", what) from None


def plan_setup(process: dict[str, Any]) -> list[ChildStep]:
    """While the host's procfs is there."""
    if not is_wanted(process):
        return []
    profile = process.get("apparmorProfile")
    return [OpenAttributes(), *([TestProfile(profile)] if profile else [])]


def plan_launch(process: dict[str, Any], *, on_host: bool = False) -> list[ChildStep]:
    """In the process that executes the program, and nothing else before that. on_host: it is not yet in the container, and /proc is the host's."""
    steps: list[ChildStep] = []
    if process.get("apparmorProfile"):
        steps.append(BecomeProfile(process["apparmorProfile"], on_host=on_host))
    if process.get("selinuxLabel"):
        steps.append(BecomeContext(process["selinuxLabel"], on_host=on_host))
    return steps


def plan_keyring(process: dict[str, Any]) -> list[ChildStep]:
    """Before the session keyring is made."""
    return [LabelKeys(process["selinuxLabel"])] if process.get("selinuxLabel") else []


class OpenAttributes(ChildStep):
    """Found in a procfs that nobody can have mounted anything on; the stub, which is the same task, finds its own files in it."""

    __slots__ = ()

    def describe(self) -> str:
        return "open /proc/thread-self/attr, for the program's label"

    def apply(self, child: ChildContext) -> None:
        root = procfs.open_root()
        try:
            child.procfs = procfs.open_file(root, security_modules.ATTRIBUTES, os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(root)


class TestProfile(ChildStep):
    """Nothing changes by this, but it fails as the change would: in create, and not when the program starts."""

    __slots__ = ("profile",)

    def __init__(self, profile: str) -> None:
        self.profile = profile

    def describe(self) -> str:
        return f"test whether the AppArmor profile {self.profile} is loaded"

    def apply(self, child: ChildContext) -> None:
        try:
            fd = _open_first(child.procfs, security_modules.APPARMOR_CURRENT)
            try:
                os.write(fd, f"permprofile {self.profile}".encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise _profile_error(self.profile, error.errno or 0) from None


def _open_first(directory: int, names: tuple[str, ...]) -> int:
    for name in names[:-1]:
        try:
            return os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            continue
    return os.open(names[-1], os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)


class _SetAttribute(LaunchStep):
    """Write one text to the first of these files that is there. on_host: /proc is the host's, and not the directory that was opened is used."""

    __slots__ = ("name", "on_host")
    files: tuple[str, ...] = ()

    def __init__(self, name: str, *, on_host: bool) -> None:
        self.name = name
        self.on_host = on_host

    def text(self) -> bytes:
        return self.name.encode()

    def calls(self, launch: LaunchContext) -> list[Item]:
        """By openat(2), which every filter of system calls allows that a program can start with."""
        fd, opened, text = Buffer(), Label(), self.text()
        directory, prefix = (AT_FDCWD, f"/proc/{security_modules.ATTRIBUTES}/") if self.on_host else (launch.procfs, "")
        items: list[Item] = []
        for file in self.files:
            forgiven = (errno.ENOENT,) if file != self.files[-1] else ()
            name = f"{prefix}{file}\0".encode()
            items.append(Call("openat", directory, name, _FLAGS, 0, forgive=forgiven, store=fd, then=opened))
        return [*items, opened, Call("write", Value(fd), text, len(text), expected=len(text)), Call("close", Value(fd))]


class BecomeProfile(_SetAttribute):
    __slots__ = ()
    files = security_modules.APPARMOR_EXEC

    def describe(self) -> str:
        return f"execute the program under the AppArmor profile {self.name}"

    def text(self) -> bytes:
        return f"exec {self.name}".encode()

    def failure(self, error: CallError) -> StepError:
        return _profile_error(self.name, error.errno)


class BecomeContext(_SetAttribute):
    __slots__ = ()
    files = (security_modules.SELINUX_EXEC,)

    def describe(self) -> str:
        return f"execute the program with the SELinux label {self.name}"

    def failure(self, error: CallError) -> StepError:
        words = os.strerror(error.errno).lower()
        return StepError(
            "SELinux", error.errno, f"can't set process label {self.name}: write /proc/thread-self/attr/exec: {words}"
        )


class LabelKeys(_SetAttribute):
    """The keyrings that this process makes from now on."""

    __slots__ = ()
    files = (security_modules.SELINUX_KEY,)

    def __init__(self, name: str) -> None:
        super().__init__(name, on_host=True)

    def describe(self) -> str:
        return f"make keyrings with the SELinux label {self.name}"


def _profile_error(profile: str, number: int) -> StepError:
    words = os.strerror(number).lower() if number < 4000 else "not written as a whole"
    hint = "; no such profile is loaded" if number == errno.ENOENT else ""
    text = f"unable to apply apparmor profile {profile}: write /proc/thread-self/attr/apparmor/exec: {words}{hint}"
    return StepError("AppArmor", number, text)
