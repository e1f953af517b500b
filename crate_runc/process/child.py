"""The child's side: wait for what to do, walk its lists of steps, become the container's program: through the sealed stub, or as a sealed interpreter.

It is alone until the parent speaks, and ends as soon as the parent's end of the channel is closed before the container is created. Nothing is
printed and nothing is imported after the root switch; a failure is a record on the channel, or one line on stderr once there is no parent.
"""

from __future__ import annotations

import gc
import marshal
import os

from crate_runc import plan
from crate_runc.errors import RuncError, StepError
from crate_runc.host import HostFacts
from crate_runc.kernel import namespaces, perform, prctl
from crate_runc.process import stub
from crate_runc.steps.namespaces import Unshare, become_root
from crate_runc.steps.step import ChildContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from crate_runc.cgroup.entrance import Entrance
    from crate_runc.plan import ChildLists
    from crate_runc.process.channel import Channel
    from crate_runc.steps.step import ChildStep, Config


_LOADED = (perform, stub)
"""The steps that are walked have been loaded with the plan; this is what they load themselves, which they cannot any more after the root switch."""


class _Bundle:
    """config.Bundle, without its module, which would bring all the rules of config.json along."""

    __slots__ = ("config", "path", "rootfs")

    def __init__(self, path: str, config: Config, rootfs: str) -> None:
        self.path = path
        self.config = config
        self.rootfs = rootfs


def become(child: ChildContext, lists: ChildLists, entrance: Entrance | None, *, is_init: bool, entered: bool) -> NoReturn:
    """In a forked child, which inherits its lists. Never returns: execve or _exit. is_init: it was started in the new pid namespace; entered: in the
    user namespace."""
    try:
        if entrance:
            entrance.walk_through()
        os.umask(0)  # modes in config.json are meant as they are
        _create(child, lists, entered=entered, is_init=is_init)
    except BaseException as error:
        _report(child.channel, child, error)
    os._exit(1)


def run(channel: Channel, *, through_stub: bool, is_init: bool) -> NoReturn:
    """In a fresh interpreter, which is told everything. Never returns. through_stub: this process runs from the host's own Python, see stub.py."""
    gc.disable()
    os.umask(0)
    child = None
    try:
        message, fds = channel.receive()
        inputs = marshal.loads(message)
        options = plan.Options(**inputs["options"])
        facts = HostFacts(**inputs["facts"])
        bundle: Any = _Bundle(inputs["bundle"], inputs["config"], inputs["rootfs"])
        child = ChildContext(bundle.config, bundle.path, bundle.rootfs, channel, inputs["hook_state"])
        needs = plan.needs(bundle.config, options, create=True)
        child.fds = dict(zip(needs + plan.sources(bundle.config, facts), fds, strict=False))
        child.through_stub = through_stub
        child.seccomp = inputs["seccomp"]
        child.parent_attaches = inputs["attaches"]
        _create(child, plan.of_child(bundle, facts, options), entered=inputs["entered"], is_init=is_init)
    except EOFError:
        os._exit(1)
    except BaseException as error:
        _report(channel, child, error)
    os._exit(1)


def _create(child: ChildContext, lists: ChildLists, *, entered: bool, is_init: bool) -> None:
    """entered: the user namespace was made, or joined, before this process started."""
    begin, setup, enter, launch = lists
    has_user_namespace = any(_concerns_user(step) for step in begin)
    if not is_init:
        walk([step for step in begin if not (entered and _concerns_user(step))], child)
        child.channel.send(b"waiting")
    else:
        walk(plan.begin_of_init(begin), child)
    if has_user_namespace or not is_init:
        child.expect(b"prepared")
    if has_user_namespace:
        become_root()
    prctl.set_dumpable(False)
    if not is_init:
        _fork_init(child)
    walk(setup, child)
    _hand_over(child)
    walk(enter, child)
    walk(launch, child)


def _hand_over(child: ChildContext) -> None:
    """The parent knows from `attach` whether it has anything to do now; it says so in the inputs."""
    if child.parent_attaches:
        child.channel.send(b"mounted")
        child.expect(b"attached")


def walk(steps: list[ChildStep], child: ChildContext) -> None:
    for step in steps:
        try:
            step.apply(child)
        except OSError as error:
            where = f" {error.filename}" if error.filename and not str(error.filename).startswith("/proc/self/fd/") else ""
            raise StepError(
                step.describe(), error.errno or 0, f"{step.describe()}:{where} {(error.strerror or '').lower()}"
            ) from None


def _concerns_user(step: ChildStep) -> bool:
    return getattr(step, "kind", "") == "user" or (isinstance(step, Unshare) and step.kinds == ["user"])


def _fork_init(child: ChildContext) -> None:
    """Only a new process is in the pid namespace; the parent, whose child it is, learns its pid from here. This one ends, so none that
    stands in the host's tree remains."""
    pid = namespaces.fork_sister()
    if pid:
        child.channel.send(b"init\0%d" % pid)
        os._exit(0)
    child.expect(b"adopted")  # until then the channel belongs to the other


def _report(channel: Channel, child: ChildContext | None, error: BaseException) -> None:
    if isinstance(error, StepError):
        step, number, text = error.step, error.errno, str(error)
    elif isinstance(error, OSError):
        step, number, text = "child", error.errno or 0, (error.strerror or "").lower()
    elif isinstance(error, RuncError):
        step, number, text = "child", 0, str(error)
    else:
        step, number, text = "child", 0, f"internal error: {type(error).__name__}: {error}"
    record = b"\0".join((b"error", step.encode("utf-8", "replace"), b"%d" % number, text.encode("utf-8", "replace")))
    try:
        if child is not None and child.created:
            os.write(2, text.encode("utf-8", "replace") + b"\n")
        else:
            channel.send(record)
    except OSError:
        pass
