"""process.apparmorProfile and selinuxLabel: what the program runs as (proc(5) /proc/PID/attr, apparmor(7)); and the label of the session keyring.

Both hold from the next execve on, so they are said by the process that executes the program, after its own last execve: in the stub. Whether
the host has the module, and the module the profile or label, is found out before. mountLabel is steps/mounts's.
"""

from __future__ import annotations

import errno
import os
import struct

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

_HOW = struct.pack("=3Q", os.O_WRONLY | os.O_CLOEXEC, 0, procfs.RESOLVE)


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
    return [OpenProcfs(), *([TestProfile(profile)] if profile else [])]


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


class OpenProcfs(ChildStep):
    """It goes along into the stub, which closes it."""

    __slots__ = ()

    def describe(self) -> str:
        return "open a procfs of this process's own, for its label"

    def apply(self, child: ChildContext) -> None:
        child.procfs = procfs.open_root()


class TestProfile(ChildStep):
    """Nothing changes by this, but it fails as the change would: in create, and not when the program starts."""

    __slots__ = ("profile",)

    def __init__(self, profile: str) -> None:
        self.profile = profile

    def describe(self) -> str:
        return f"test whether the AppArmor profile {self.profile} is loaded"

    def apply(self, child: ChildContext) -> None:
        text = f"permprofile {self.profile}".encode()
        for path in security_modules.APPARMOR_CURRENT:
            try:
                procfs.write(child.procfs, path, text)
                return
            except OSError as error:
                if error.errno == errno.ENOENT and error.filename and path != security_modules.APPARMOR_CURRENT[-1]:
                    continue  # the file is not there; a write says ENOENT of the profile
                raise _profile_error(self.profile, error.errno or 0) from None


class _SetAttribute(LaunchStep):
    """Write one text to the first of these files of /proc that is there."""

    __slots__ = ("name", "on_host")
    paths: tuple[str, ...] = ()

    def __init__(self, name: str, *, on_host: bool) -> None:
        self.name = name
        self.on_host = on_host

    def text(self) -> bytes:
        raise NotImplementedError

    def calls(self, launch: LaunchContext) -> list[Item]:
        fd, opened, text = Buffer(), Label(), self.text()
        items: list[Item] = []
        for path in self.paths:
            forgiven = (errno.ENOENT,) if path != self.paths[-1] else ()
            items.append(self._open(launch, path, fd, forgiven, opened))
        items += [opened, Call("write", Value(fd), text, len(text), expected=len(text)), Call("close", Value(fd))]
        return items

    def _open(self, launch: LaunchContext, path: str, fd: Buffer, forgiven: tuple[int, ...], opened: Label) -> Call:
        if self.on_host:
            flags = os.O_WRONLY | os.O_CLOEXEC
            return Call("openat", AT_FDCWD, f"/proc/{path}\0".encode(), flags, 0, forgive=forgiven, store=fd, then=opened)
        name = f"{path}\0".encode()
        return Call("openat2", launch.procfs, name, _HOW, len(_HOW), forgive=forgiven, store=fd, then=opened)


class BecomeProfile(_SetAttribute):
    __slots__ = ()
    paths = security_modules.APPARMOR_EXEC

    def describe(self) -> str:
        return f"execute the program under the AppArmor profile {self.name}"

    def text(self) -> bytes:
        return f"exec {self.name}".encode()

    def failure(self, error: CallError) -> StepError:
        return _profile_error(self.name, error.errno)


class BecomeContext(_SetAttribute):
    __slots__ = ()
    paths = (security_modules.SELINUX_EXEC,)

    def describe(self) -> str:
        return f"execute the program with the SELinux label {self.name}"

    def text(self) -> bytes:
        return self.name.encode()

    def failure(self, error: CallError) -> StepError:
        words = os.strerror(error.errno).lower()
        return StepError(
            "SELinux", error.errno, f"can't set process label {self.name}: write /proc/thread-self/attr/exec: {words}"
        )


class LabelKeys(_SetAttribute):
    """The keyrings that this process makes from now on."""

    __slots__ = ()
    paths = (security_modules.SELINUX_KEY,)

    def __init__(self, name: str) -> None:
        super().__init__(name, on_host=True)

    def describe(self) -> str:
        return f"make keyrings with the SELinux label {self.name}"

    def text(self) -> bytes:
        return self.name.encode()


def _profile_error(profile: str, number: int) -> StepError:
    words = os.strerror(number).lower() if number < 4000 else "not written as a whole"
    hint = "; no such profile is loaded" if number == errno.ENOENT else ""
    text = f"unable to apply apparmor profile {profile}: write /proc/thread-self/attr/apparmor/exec: {words}{hint}"
    return StepError("AppArmor", number, text)
