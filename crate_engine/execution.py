"""`exec`: a second program in a running container, through a monitor of its own that joins the container's user namespace."""

from __future__ import annotations

from crate_engine.attach import Attachment, window
from crate_engine.bundle import spec, user
from crate_engine.errors import UsageError
from crate_engine.monitor import launch
from crate_engine.runtime.client import find as find_runtime
from crate_engine.store.containers import Condition, ContainerStore, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crate_engine.options import ExecOptions
    from crate_engine.store.paths import Store


def execute(store: Store, record: Record, condition: Condition, options: ExecOptions, *, caller: Mapping[str, str]) -> int:
    """Raises RuntimeFailed with 126 or 127 where the program cannot be run or found."""
    if not options.command or not options.command[0]:
        raise UsageError(f"exec in container {record.name}: no command specified")
    wanted = record.user if options.user is None else options.user
    user.parse(wanted)
    process = dict(record.config["process"])
    base = [entry for entry in process["env"] if not entry.startswith("TERM=")] + (["TERM=xterm"] if options.tty else [])
    process |= {
        "terminal": options.tty,
        "args": list(options.command),
        "env": spec.environment((), options.environment, base, caller),
        "cwd": options.workdir or process["cwd"],
    }
    if options.tty and not options.detach and (size := window(1)):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    if not process["cwd"].startswith("/"):
        raise UsageError(f"working directory {process['cwd']}: must be an absolute path in the container")
    monitor = launch.take(launch.EXEC)
    monitor.instruct(
        {
            "id": record.id,
            "run": ContainerStore(store).run_directory(record.id),
            "runtime": find_runtime(record.runtime, store.runtime_root).to_record(),
            "init": (condition.pid, condition.start_time),
            "user": wanted,
            "process": process,
            "terminal": options.tty,
            "interactive": options.interactive,
            "attach": not options.detach,
        }
    )
    attachment = Attachment(monitor.connection)
    try:
        attachment.wait_started()
        if options.detach:
            return 0
        return attachment.join(terminal=options.tty, interactive=options.interactive)
    finally:
        attachment.close()
