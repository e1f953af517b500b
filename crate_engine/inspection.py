"""What `inspect` shows of a container, in docker's names and shape (the Docker Engine API's ContainerInspect); only what is true here."""

from __future__ import annotations

from crate_engine.bundle.spec import volumes
from crate_engine.container import timestamp
from crate_engine.store.containers import Condition, ContainerStore, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NEVER = "0001-01-01T00:00:00Z"
_UNKNOWN_EXIT = 255


def document(containers: ContainerStore, record: Record, condition: Condition) -> dict[str, Any]:
    directory = containers.directory(record.id)
    arguments = list(record.command)
    return {
        "Id": record.id,
        "Created": timestamp(record.created),
        "Path": arguments[0],
        "Args": arguments[1:],
        "State": _state(condition),
        "Image": f"sha256:{record.image_id}",
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": f"{directory}/container.log",
        "Name": f"/{record.name}",
        "Driver": record.snapshot["kind"],
        "Platform": "linux",
        "OCIRuntime": record.runtime,
        "OCIConfigPath": f"{directory}/config.json",
        "Mounts": _mounts(record),
        "Config": _config(record),
        "HostConfig": _host_config(record),
        "NetworkSettings": _network(record, condition),
    }


def _state(condition: Condition) -> dict[str, Any]:
    lost = condition.status == "exited" and condition.exit_code is None
    return {
        "Status": condition.status,
        "Running": condition.status == "running",
        "Paused": False,
        "Restarting": False,
        "Dead": False,
        "Pid": condition.pid,
        "ExitCode": _UNKNOWN_EXIT if lost else condition.exit_code or 0,
        "Error": "the container's monitor was killed, its exit status is lost" if lost else condition.error,
        "StartedAt": timestamp(condition.started) or _NEVER,
        "FinishedAt": (timestamp(condition.finished) if condition.status != "running" else "") or _NEVER,
    }


def _config(record: Record) -> dict[str, Any]:
    process = record.config["process"]
    options = record.options
    return {
        "Hostname": record.hostname,
        "User": record.user,
        "AttachStdin": options.interactive,
        "OpenStdin": options.interactive,
        "Tty": options.tty,
        "Env": list(process["env"]),
        "Cmd": list(options.command),
        "Entrypoint": [options.entrypoint] if options.entrypoint else None,
        "Image": record.image,
        "WorkingDir": process["cwd"],
        "Labels": dict(record.config.get("annotations", {})),
        "StopSignal": record.stop_signal,
    }


def _host_config(record: Record) -> dict[str, Any]:
    return {
        "Binds": list(record.options.volumes),
        "NetworkMode": record.network,
        "PortBindings": _bindings([(target, source, kind, ip) for target, source, kind, ip in record.ports]),
        "AutoRemove": record.options.remove,
        "Privileged": False,
        "ReadonlyRootfs": False,
        "Runtime": record.runtime,
        "MaskedPaths": list(record.config["linux"]["maskedPaths"]),
        "ReadonlyPaths": list(record.config["linux"]["readonlyPaths"]),
    }


def _network(record: Record, condition: Condition) -> dict[str, Any]:
    live = [(port.container_port, port.host_port, port.protocol, port.host_ip or "0.0.0.0") for port in condition.ports]
    return {"Networks": {record.network: {}}, "Ports": _bindings(live if condition.status == "running" else [])}


def _bindings(ports: list[tuple[int, int, str, str]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for target, source, protocol, address in ports:
        found.setdefault(f"{target}/{protocol}", []).append({"HostIp": address, "HostPort": str(source or "")})
    return found


def _mounts(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "Type": "bind",
            "Source": volume.source,
            "Destination": volume.destination,
            "Mode": "ro" if volume.read_only else "",
            "RW": not volume.read_only,
            "Propagation": volume.propagation,
        }
        for volume in volumes(record.options)
    ]
