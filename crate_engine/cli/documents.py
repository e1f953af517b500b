"""An image as the JSON document that docker's `inspect` prints, whose names scripts look for. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_engine.oci.image_config import ImageConfig
    from crate_engine.store.images import Image


def image_document(image: Image) -> dict[str, Any]:
    config = image.config
    return {
        "Id": f"sha256:{image.id}",
        "RepoTags": [f"{name.familiar_name}:{name.tag}" for name in image.names if name.tag],
        "RepoDigests": [f"{name.familiar_name}@{name.digest}" for name in image.repo_digests],
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        **({"Variant": config.variant} if config.variant else {}),
        "Os": config.os,
        "Size": image.size,
        "Config": _config(config),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": {
            "mediaType": image.descriptor.media_type,
            "digest": str(image.descriptor.digest),
            "size": image.descriptor.size,
        },
    }


def _config(config: ImageConfig) -> dict[str, Any]:
    return {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "Volumes": {path: {} for path in config.volumes},
        "WorkingDir": config.working_dir,
        "StopSignal": config.stop_signal,
        "Labels": config.labels,
    }
