"""What `inspect` shows of an image, in docker's names and shape (the Docker Engine API's ImageInspect); only what is true here.

What the configuration says beside what the engine understands (health checks, triggers) is shown as it is.
"""

from __future__ import annotations

from crate_engine.layers.store import LayerStore
from crate_engine.oci.strict_json import parse
from crate_engine.store.blobs import BlobStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_engine.oci.image_config import ImageConfig
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store

_NEVER = "0001-01-01T00:00:00Z"
_TEXTS = ("Hostname", "Domainname", "User")
_SWITCHES = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")


def document(store: Store, image: Image) -> dict[str, Any]:
    raw = parse(BlobStore(store).read(image.manifest.config.digest), "image configuration")
    config = image.config
    return {
        "Id": f"sha256:{image.id}",
        "RepoTags": [f"{name.familiar_name}:{name.tag}" for name in image.names if name.tag],
        "RepoDigests": [f"{name.familiar_name}@{name.digest}" for name in image.repo_digests],
        "Parent": "",
        "Comment": config.history[-1].comment if config.history else "",
        "Created": config.created,
        "DockerVersion": _text(raw, "docker_version"),
        "Author": config.author,
        "Config": _config(config, raw.get("config") or {}),
        "Architecture": config.architecture,
        **({"Variant": config.variant} if config.variant else {}),
        "Os": config.os,
        **({"OsVersion": version} if (version := _text(raw, "os.version")) else {}),
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": _driver(store, image),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Metadata": {"LastTagTime": _NEVER},
        "Descriptor": {
            "mediaType": image.descriptor.media_type,
            "digest": str(image.descriptor.digest),
            "size": image.descriptor.size,
        },
    }


def _config(config: ImageConfig, raw: dict[str, Any]) -> dict[str, Any]:
    """Every key that docker always has, then those that it has where the image says something."""
    shown: dict[str, Any] = {name: _text(raw, name) for name in _TEXTS} | {name: raw.get(name) is True for name in _SWITCHES}
    shown |= {
        **({"ExposedPorts": {port: {} for port in config.exposed_ports}} if config.exposed_ports else {}),
        "Env": list(config.env),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "Image": _text(raw, "Image"),
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "OnBuild": raw.get("OnBuild"),
        "Labels": config.labels,
        **({"StopSignal": config.stop_signal} if config.stop_signal else {}),
        **({"Shell": list(config.shell)} if config.shell else {}),
    }
    return shown | {name: raw[name] for name in ("Healthcheck", "ArgsEscaped") if raw.get(name) is not None}


def _driver(store: Store, image: Image) -> dict[str, Any]:
    """Where the layers are; none are named where one is not unpacked here."""
    layers = LayerStore(store)
    if layers.missing(image.config.diff_ids) or not image.config.diff_ids:
        return {"Name": "overlay", "Data": {}}
    *lower, upper = layers.directories(image)
    return {"Name": "overlay", "Data": {"UpperDir": upper, **({"LowerDir": ":".join(lower[::-1])} if lower else {})}}


def _text(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""
