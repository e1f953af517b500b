"""The tables of hostile and odd image documents in tests/broken_images, and the documents that their entries are made from.

An entry of documents and configurations changes a good document (`of` names it): `set` (JSON path: value), `remove` (a list of JSON paths), or is `text`
(the whole document) or `bytes` (hexadecimal). Paths are written as errors write them, names with dots in them between quotes.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import yaml

from crate_engine.oci import media_types

DIRECTORY = Path(__file__).parent.parent / "broken_images"
HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
_REPEATED = re.compile(r"\{([^{}*]+)\*(\d+)\}")
_WORD = re.compile(r'\.?(?:([^\W\d]\w*)|"([^"]*)")|\[(\d+|\+)\]')


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"))
    return entries


def written(text: str) -> str:
    """A text of the tables as it is meant: with its abbreviations written out."""
    text = text.replace("{HEX2}", HEX * 2).replace("{HEX}", HEX).replace("{UP}", HEX.upper())
    return _REPEATED.sub(lambda match: match[1] * int(match[2]), text)


def _written_in(value: Any) -> Any:
    if isinstance(value, str):
        return written(value)
    if isinstance(value, list):
        return [_written_in(item) for item in value]
    if isinstance(value, dict):
        return {written(name): _written_in(item) for name, item in value.items()}
    return value


def document(entry: dict[str, Any], good: dict[str, Any]) -> bytes:
    """The bytes of an entry's document; `good` is not changed."""
    if "text" in entry:
        return written(str(entry["text"])).encode("utf-8", "surrogatepass")
    if "bytes" in entry:
        return bytes.fromhex(entry["bytes"])
    made = copy.deepcopy(good)
    for path, value in entry.get("set", {}).items():
        *way, last = _words(path)
        place = _follow(made, way)
        if last == "+":
            place.append(_written_in(value))
        else:
            place[last] = _written_in(value)
    for path in entry.get("remove", []):
        *way, last = _words(path)
        del _follow(made, way)[last]
    return json.dumps(made).encode()


def describe(entry: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in entry.items() if key not in ("error", "meaning")})[:100]


def _words(path: str) -> list[Any]:
    words: list[Any] = []
    at = 0
    while at < len(path):
        match = _WORD.match(path, at)
        assert match, f"not a JSON path: {path!r}"
        name = match[1] if match[1] is not None else match[2]
        words.append(name if name is not None else "+" if match[3] == "+" else int(match[3]))
        at = match.end()
    return words


def _follow(value: Any, way: list[Any]) -> Any:
    for word in way:
        value = value[word]
    return value


# good documents


def descriptor(media_type: str, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 10, **more}


def manifest(*, docker: bool = False) -> dict[str, Any]:
    layer = media_types.DOCKER_LAYER + ".gzip" if docker else media_types.OCI_LAYER + "+gzip"
    return {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST,
        "config": descriptor(media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG),
        "layers": [descriptor(layer), descriptor(layer)],
    }


def index(*, docker: bool = False) -> dict[str, Any]:
    kind = media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST
    return {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_INDEX if docker else media_types.OCI_INDEX,
        "manifests": [
            descriptor(kind, platform={"os": "linux", "architecture": "amd64"}),
            descriptor(kind, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        ],
    }


def config() -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09Z",
        "config": {
            "User": "www-data",
            "Env": ["PATH=/bin", "A=b"],
            "Entrypoint": ["/entry"],
            "Cmd": ["run"],
            "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"a": "b"},
            "StopSignal": "SIGQUIT",
            "Shell": ["/bin/sh", "-c"],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000, "Retries": 3},
            "OnBuild": ["RUN true"],
        },
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "COPY", "empty_layer": False}, {"empty_layer": True}],
    }


GOOD = {
    "manifest": manifest(),
    "docker manifest": manifest(docker=True),
    "index": index(),
    "docker index": index(docker=True),
}
TYPES = {
    "oci manifest": media_types.OCI_MANIFEST,
    "oci index": media_types.OCI_INDEX,
    "docker manifest": media_types.DOCKER_MANIFEST,
    "docker index": media_types.DOCKER_INDEX,
}
