"""An image's config and a caller's options become config.json (image-spec conversion.md, runtime-spec config.md). Pure.

Left open for the monitor, which sees the root: `process.user`, HOME, and a path of the network namespace. Labels of the image become
annotations under their own names and are read by nothing here.
"""

from __future__ import annotations

from crate_engine.bundle import defaults, user
from crate_engine.bundle.volumes import Volume
from crate_engine.bundle.volumes import parse as parse_volume
from crate_engine.errors import UsageError
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from crate_engine.oci.image_config import ImageConfig
    from crate_engine.options import RunOptions

_SINGLE = "single"
_NETWORK_FILES = (("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"))
_LONGEST_ARGUMENT = 128 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a container will run: its id and directory, `mode` of the user namespace, and the network's mode."""

    id: str
    directory: str
    mode: str
    network: str
    hostname: str


def make(image: ImageConfig, options: RunOptions, place: Place, caller: Mapping[str, str]) -> dict[str, Any]:
    """The whole config.json but for what the module's docstring names. `caller` is the environment that a bare `-e NAME` takes from.

    Raises UsageError for options that cannot be.
    """
    config: dict[str, Any] = {
        "ociVersion": defaults.OCI_VERSION,
        "process": _process(image, options, place, caller),
        "root": {"path": "rootfs", "readonly": False},
        "hostname": place.hostname,
        "mounts": _mounts(options, place),
        "linux": _linux(place),
    }
    if image.labels:
        config["annotations"] = dict(image.labels)
    return config


def command(image: ImageConfig, options: RunOptions) -> tuple[str, ...]:
    """ENTRYPOINT and CMD as docker joins them: a new entrypoint drops the image's command, an empty one leaves none."""
    if options.entrypoint is not None:
        arguments = ((options.entrypoint,) if options.entrypoint else ()) + options.command
    else:
        arguments = (image.entrypoint or ()) + (options.command or image.cmd or ())
    if not arguments or not arguments[0]:
        raise UsageError(f"image {options.image}: no command specified", hint="give one after the image's name")
    _check_texts("command", arguments)
    return arguments


def user_text(image: ImageConfig, options: RunOptions) -> str:
    """Checked for its grammar; what it means, only the root's files tell."""
    text = image.user if options.user is None else options.user
    user.parse(text)
    return text


def environment(image_env: Iterable[str], wanted: Iterable[str], base: Iterable[str], caller: Mapping[str, str]) -> list[str]:
    """Later entries replace earlier ones of the same name; a bare NAME takes the caller's value, or nothing where it has none."""
    values: dict[str, str] = {}
    for entry in (*base, *image_env):
        name, _, value = entry.partition("=")
        values[name] = value
    for entry in wanted:
        name, equals, value = entry.partition("=")
        if not name:
            raise UsageError(f"environment {entry[:80]!r}: must be NAME=VALUE or NAME")
        if equals:
            values[name] = value
        elif name in caller:
            values[name] = caller[name]
    entries = [f"{name}={value}" for name, value in values.items() if name]
    _check_texts("environment", entries)
    return entries


def working_directory(image: ImageConfig, options: RunOptions) -> str:
    path = options.workdir or image.working_dir or "/"
    if not path.startswith("/") or "\0" in path:
        raise UsageError(f"working directory {path}: must be an absolute path in the container")
    if ".." in path.split("/"):
        raise UsageError(f"working directory {path}: must not contain ..")
    return path


def volumes(options: RunOptions) -> list[Volume]:
    found = [parse_volume(text) for text in options.volumes]
    destinations = [volume.destination for volume in found]
    for destination in destinations:
        if destinations.count(destination) > 1:
            raise UsageError(f"volume {destination}: given twice")
    return found


def _process(image: ImageConfig, options: RunOptions, place: Place, caller: Mapping[str, str]) -> dict[str, Any]:
    base = [defaults.PATH, f"HOSTNAME={place.hostname}", *(["TERM=xterm"] if options.tty else []), "container=crate"]
    capabilities = list(defaults.CAPABILITIES)
    return {
        "terminal": options.tty,
        "args": list(command(image, options)),
        "env": environment(image.env, options.environment, base, caller),
        "cwd": working_directory(image, options),
        "capabilities": {"bounding": capabilities, "effective": list(capabilities), "permitted": list(capabilities)},
        "noNewPrivileges": False,
    }


def _mounts(options: RunOptions, place: Place) -> list[dict[str, Any]]:
    rootless = place.mode != "root"
    mounts = defaults.mounts(
        terminal_group=place.mode != _SINGLE,
        own_network=not rootless or place.network != "host",
    )
    wanted = volumes(options)
    taken = {volume.destination for volume in wanted}
    for name, destination in _NETWORK_FILES:
        if destination not in taken:
            source = f"{place.directory}/{name}"
            mounts.append({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "rw"]})
    # A parent before what is mounted below it, whatever the order of the flags.
    mounts += sorted((volume.to_mount() for volume in wanted), key=lambda mount: str(mount["destination"]).count("/"))
    return mounts


def _linux(place: Place) -> dict[str, Any]:
    kinds = ["pid", "ipc", "uts", "mount", "cgroup"]
    namespaces: list[dict[str, str]] = [{"type": kind} for kind in kinds]
    if place.network != "host":
        # Made by the monitor, also without connections: not every low-level runtime sets the loopback of a new one up.
        namespaces.append({"type": "network", "path": f"{place.directory}/netns"})
    linux: dict[str, Any] = {
        "namespaces": namespaces,
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READ_ONLY_PATHS),
    }
    if place.network != "host":
        linux["sysctl"] = dict(defaults.NETWORK_SYSCTLS)
    if place.mode == "root":
        linux["cgroupsPath"] = f"/crate-{place.id}"
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": defaults.PIDS_LIMIT}}
    return linux


def _check_texts(what: str, texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise UsageError(f"{what} {text[:80]!r}: contains a NUL character")
        if len(text.encode(errors="surrogateescape")) >= _LONGEST_ARGUMENT:
            raise UsageError(f"{what} {text[:40]!r}…: longer than the {_LONGEST_ARGUMENT} bytes that the kernel takes")
