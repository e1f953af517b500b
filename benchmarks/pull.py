"""crate pull beside podman's, and beside skopeo with umoci: an image of one layer, from a registry on this machine, into an empty store.

The image is a minimal Debian, made once by mmdebstrap and kept in ${XDG_CACHE_HOME:-~/.cache}/crate-benchmarks.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import podman_prefix
from benchmarks.measure import Contender, Failed, Row
from benchmarks.place import Place, remove_tree

SECTION = "pull"
_REPOSITORY, _TAG = "bench/debian", "minbase"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATIENCE = 20.0  # seconds until the registry must answer


@dataclass(frozen=True, slots=True)
class Registry:
    address: str
    """host:port; plain http."""
    image: str
    """Of its one layer: how large and how much."""


def rows(place: Place, source: Registry) -> list[Row]:
    address = source.address
    pairs = [pair for pair in (_crate(place, address), _podman(place, address), _umoci(place, address)) if pair]
    return [
        Row(SECTION, f"pull ({source.image})", [cold for cold, _ in pairs], share=0.25),
        Row(SECTION, "pull of an unchanged tag", [warm for _, warm in pairs if warm]),
        Row(SECTION, "of that, Python's start and the import of an HTTP library", _imports(place)),
    ]


def _imports(place: Place) -> list[Contender]:
    """What an unchanged tag is asked about with, what everything else is pulled with, and what Python takes without either."""
    site = next((place.bin.parent / "lib").glob("python3*/site-packages"))

    def python(text: str) -> Callable[[str], list[list[str]]]:
        program = f"import sys; sys.path.append({str(site)!r}); {text}"
        return lambda turn: [[str(place.bin / "python3"), "-I", "-S", "-X", "utf8", "-c", program]]

    texts = {"http.client": "import http.client", "requests": "import requests", "Python alone": "pass"}
    return [Contender(name, python(text)) for name, text in texts.items()]


Pair = tuple[Contender, Contender | None]


def _pair(
    name: str, cold: Callable[[str], list[list[str]]], clean: Callable[[str], None], before: Callable[[str], None] | None = None
) -> Pair:
    """Into a new store each time; and into one store that has it already, which the warm-up fills."""
    prepare = before or (lambda turn: None)
    return Contender(name, cold, before=prepare, after=clean), Contender(name, lambda turn: cold("warm"))


def _crate(place: Place, registry: str) -> Pair:
    image = f"{registry}/{_REPOSITORY}:{_TAG}"

    def prefix(turn: str) -> list[str]:
        roots = ["--root", str(place.directory / f"crate-{turn}"), "--runroot", str(place.directory / "run" / f"crate-{turn}")]
        return [str(place.bin / "crate"), *roots]

    def clean(turn: str) -> None:
        with suppress(Failed):
            place.runner.call(*prefix(turn), "rmi", image)
        remove_tree(place.directory / f"crate-{turn}")

    return _pair("crate", lambda turn: [[*prefix(turn), "pull", "--quiet", image]], clean)


def _podman(place: Place, registry: str) -> Pair | None:
    podman = place.peer("podman")
    if podman is None:
        return None
    image = f"{registry}/{_REPOSITORY}:{_TAG}"

    def clean(turn: str) -> None:
        prefix = podman_prefix(place, podman, f"podman-{turn}")
        with suppress(Failed):
            place.runner.call(*prefix, "rmi", "--all", "--force")
        remove_tree(place.directory / f"podman-{turn}")

    def pull(turn: str) -> list[list[str]]:
        return [[*podman_prefix(place, podman, f"podman-{turn}"), "pull", "--quiet", "--tls-verify=false", image]]

    return _pair("podman", pull, clean)


def _umoci(place: Place, registry: str) -> Pair | None:
    skopeo, umoci = place.peer("skopeo"), place.peer("umoci")
    if skopeo is None or umoci is None:
        return None
    source = f"docker://{registry}/{_REPOSITORY}:{_TAG}"

    def commands(turn: str) -> list[list[str]]:
        target = place.directory / f"umoci-{turn}"
        unpack = [umoci, "unpack", *(["--rootless"] if place.rootless else []), "--image", f"{target}/layout:{_TAG}"]
        copy = [skopeo, "copy", "--quiet", "--src-tls-verify=false", source, f"oci:{target}/layout:{_TAG}"]
        return [copy, [*unpack, f"{target}/bundle"]]

    def clean(turn: str) -> None:
        remove_tree(place.directory / f"umoci-{turn}")

    cold = Contender("skopeo + umoci", commands, before=lambda turn: (place.directory / f"umoci-{turn}").mkdir(), after=clean)
    return cold, None  # umoci unpacks again or not at all


# --- the registry and what is in it


@contextmanager
def registry(place: Place) -> Iterator[Registry]:
    """Docker's registry with its store in memory, holding the image. Raises Failed."""
    program, builder = place.peer("docker-registry"), place.peer("mmdebstrap")
    if program is None or builder is None:
        raise Failed("needs docker-registry and mmdebstrap")
    layer = _layer(builder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = place.directory / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(place.directory / "registry")}}
    configuration.write_text(
        json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": address}})
    )
    process = subprocess.Popen(
        [program, "serve", str(configuration)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await(address)
        yield Registry(address, _push(address, layer))
    finally:
        process.terminate()
        process.wait()


def debian_layer(place: Place) -> bytes:
    """The layer, packed. Raises Failed where mmdebstrap is missing."""
    builder = place.peer("mmdebstrap")
    if builder is None:
        raise Failed("needs mmdebstrap")
    return _layer(builder)


@functools.cache
def _layer(builder: str) -> bytes:
    """Read once: the ordinary user that this process becomes may not enter our cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base if base.startswith("/") else Path.home() / ".cache") / "crate-benchmarks"
    layer = cache / "minbase.tar.gz"
    if not layer.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = cache / f"minbase-{os.getpid()}.tar"
        done = subprocess.run([builder, "--quiet", "--variant=minbase", _suite(), str(partial)], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"mmdebstrap: {done.stderr.strip()[-300:]}")
        with open(partial, "rb") as plain, gzip.GzipFile(f"{partial}.gz", "wb", 6, mtime=0) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        partial.unlink()
        os.rename(f"{partial}.gz", layer)
    return layer.read_bytes()


def _suite() -> str:
    """The release that this machine's own package sources are sure to have, where it runs Debian."""
    facts = platform.freedesktop_os_release()
    return facts.get("VERSION_CODENAME", "stable") if facts.get("ID") == "debian" else "stable"


def _await(address: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError):
            _request(address, "GET", "/v2/", b"")
            return
        time.sleep(0.05)
    raise Failed(f"docker-registry does not answer at {address}")


def _push(address: str, content: bytes) -> str:
    """Returns what the image is like."""
    plain = gzip.decompress(content)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        files = sum(1 for _ in archive)
    config = json.dumps(
        {
            "os": "linux",
            "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
        }
    ).encode()
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": _upload(address, config) | {"mediaType": f"{kind}.config.v1+json"},
        "layers": [_upload(address, content) | {"mediaType": f"{kind}.layer.v1.tar+gzip"}],
    }
    path = f"/v2/{_REPOSITORY}/manifests/{_TAG}"
    _request(address, "PUT", path, json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    return f"{len(content) / 1e6:.0f} MB packed, {len(plain) / 1e6:.0f} MB unpacked, {files} files"


def _upload(address: str, content: bytes) -> dict[str, str | int]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    location = _request(address, "POST", f"/v2/{_REPOSITORY}/blobs/uploads/", b"").removeprefix(f"http://{address}")
    _request(address, "PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)
    return {"digest": digest, "size": len(content)}


def _request(address: str, method: str, path: str, body: bytes, kind: str = "application/octet-stream") -> str:
    """Returns the Location of the answer."""
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: the registry answers {answer.status}")
        return answer.getheader("Location", "")
    finally:
        connection.close()
