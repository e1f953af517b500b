"""Starting a container's monitor: what it is told, and what another command finds of a monitor that was killed.

The caller holds the container's lock. The monitor does the rest in its own process.
"""

from __future__ import annotations

import os
import signal

from crate_engine.attach import Attachment, window
from crate_engine.container import plan_of
from crate_engine.errors import ContainerRunning, NetworkError
from crate_engine.monitor import launch
from crate_engine.network import files, pasta, plan, ports
from crate_engine.runtime.client import find as find_runtime
from crate_engine.runtime.client import run_quietly
from crate_engine.store import durable
from crate_engine.store.containers import Condition, ContainerStore, Record, is_same
from crate_engine.system import userns
from crate_engine.waiting import wait_for_monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_engine.network.plan import NetworkPlan
    from crate_engine.store.paths import Store


def start(store: Store, record: Record, *, attach: bool, dns: tuple[str, ...], warn: Callable[[str], None]) -> Attachment:
    """Returns when the container's process runs; the caller closes the attachment, which carries its output if `attach`.

    Raises ContainerRunning, PortInUse, RuntimeFailed and other CrateErrors; then nothing runs.
    """
    containers = ContainerStore(store)
    condition = containers.condition(record.id)
    if condition.status in ("running", "starting"):
        raise ContainerRunning(f"start container {record.name}: it is {condition.status} already")
    if condition.monitor:
        wait_for_monitor(store, record)
        condition = containers.condition(record.id)
    if condition.stale:
        clean_up(store, record, condition)
    instructions = _instructions(store, record, attach=attach, dns=dns, warn=warn)
    monitor = launch.take(launch.CONTAINER)
    monitor.instruct(instructions)
    attachment = Attachment(monitor.connection)
    try:
        attachment.wait_started()
    except BaseException:
        attachment.close()
        launch.collect()
        raise
    return attachment


def clean_up(store: Store, record: Record, condition: Condition) -> None:
    """What a killed monitor left, once its container has ended: pasta, the runtime's state, the running state."""
    if is_same({"pid": condition.pasta[0], "start_time": condition.pasta[1]}):
        kill(condition.pasta[0], condition.pasta[1], signal.SIGKILL)
    runtime = find_runtime(record.runtime, store.runtime_root)
    arguments = runtime.delete(record.id, force=True)
    userns.run(userns.choose(), run_quietly, runtime, arguments)
    containers = ContainerStore(store)
    durable.remove_tree(containers.run_directory(record.id))


def kill(pid: int, start_time: int, number: int) -> bool:
    """Signal exactly the process that was recorded; False when it has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_same({"pid": pid, "start_time": start_time}):
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def _instructions(
    store: Store, record: Record, *, attach: bool, dns: tuple[str, ...], warn: Callable[[str], None]
) -> dict[str, object]:
    """Plain values for marshal; monitor/session.py reads them."""
    containers = ContainerStore(store)
    directory, run = containers.directory(record.id), containers.run_directory(record.id)
    durable.remove_tree(run)
    os.mkdir(run, 0o700)
    config = record.config
    network = ports.settle(plan_of(record))
    arguments = None
    if network.mode == "private":
        paths = {"netns": f"{directory}/netns", "pid_file": f"{run}/pasta.pid"}
        try:
            arguments = plan.pasta_arguments(pasta.find(), network, **paths, as_root=os.geteuid() == 0)
        except NetworkError as error:
            _without_pasta(record, network, error, warn)
    if attach and record.options.tty and (size := window(1)):
        config = config | {"process": config["process"] | {"consoleSize": {"height": size[0], "width": size[1]}}}
    _write_network_files(directory, record, network.mode, dns)
    return {
        "id": record.id,
        "container": directory,
        "run": run,
        "trash": store.trash,
        "name_link": containers.name_link(record.name),
        "runtime": find_runtime(record.runtime, store.runtime_root).to_record(),
        "snapshot": record.snapshot,
        "user": record.user,
        "config": config,
        "mount_points": [entry["destination"] for entry in config["mounts"] if entry["source"].startswith(f"{directory}/")],
        "own_network": network.mode != "host",
        "pasta": arguments,
        "ports": [(port.container_port, port.host_port, port.protocol, port.host_ip) for port in network.ports],
        "terminal": record.options.tty,
        "interactive": record.options.interactive,
        "attach": attach,
        "remove": record.options.remove,
    }


def _without_pasta(record: Record, network: NetworkPlan, error: NetworkError, warn: Callable[[str], None]) -> None:
    """A published port that nobody listens on would be a lie; a container without connections is at least what it says."""
    if network.ports:
        raise NetworkError(f"publish ports of {record.name}: {error}", hint=error.hint) from error
    warn(f"container {record.name} has no network: {error} ({error.hint})")


def _write_network_files(directory: str, record: Record, mode: str, dns: tuple[str, ...]) -> None:
    address = files.outgoing_address() if mode != "none" else None
    texts = {
        "hosts": files.hosts(record.hostname, address),
        "resolv.conf": files.resolv_conf(files.host_resolv_conf(), mode, dns),
        "hostname": f"{record.hostname}\n",
    }
    for name, text in texts.items():
        fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(fd, 0o644)
            durable.write_all(fd, text.encode("utf-8", "replace"))
        finally:
            os.close(fd)
