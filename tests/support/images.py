"""Real images: layers packed from directories and from Debian packages, with OCI's documents or Docker's.

Blobs are files of a directory named by their digests, as in an OCI image layout. What is built here is only what tests need: no layer has
whiteouts unless a test packs them itself.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import cache, host, rootfs

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
_DEBIAN = "bookworm"
_SITE = """\
server {
    listen 80 default_server;
    root /usr/share/nginx/html;
}
"""
WELCOME = "<html><title>Welcome to nginx!</title><body>served from a container</body></html>\n"


@dataclass(frozen=True)
class Layer:
    """A packed layer: the blob is `path`; `diff_id` names the tar in it."""

    path: Path
    digest: str
    diff_id: str
    size: int


@dataclass(frozen=True)
class Document:
    """A manifest, index or configuration, with the bytes that its digest is of."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self, **more: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **more}


@dataclass(frozen=True)
class Image:
    """One image for one platform."""

    manifest: Document
    config: Document
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Index:
    """Images of several platforms under one name."""

    document: Document
    images: tuple[Image, ...]


def pack(tar: bytes | Path, directory: Path) -> Layer:
    """Compress a tar into `directory`. A path is that of a tar on disk, which may be large."""
    source: Any = io.BytesIO(tar) if isinstance(tar, bytes) else open(tar, "rb")
    inner, partial = hashlib.sha256(), directory / "partial"
    with (
        source,
        open(partial, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as packed,
    ):
        while chunk := source.read(1 << 20):
            inner.update(chunk)
            packed.write(chunk)
    with open(partial, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = partial.rename(directory / digest)
    return Layer(path, f"sha256:{digest}", f"sha256:{inner.hexdigest()}", path.stat().st_size)


def tar_of(files: Mapping[str, str | bytes | tuple[str, str]], *, mode: int = 0o755) -> bytes:
    """A layer's tar. A value is a file's content, or ("link", target); a name that ends with a slash is a directory."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, value in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode, entry.mtime = mode, 1_700_000_000
            content = b""
            if isinstance(value, tuple):
                entry.type, entry.linkname = tarfile.SYMTYPE, value[1]
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            else:
                content = value.encode() if isinstance(value, str) else value
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def tar_tree(root: Path) -> bytes:
    stream = io.BytesIO()

    def as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = 1_700_000_000
        return entry

    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, arcname=path.name, filter=as_root)
    return stream.getvalue()


def image(
    layers: Sequence[Layer], config: Mapping[str, object], *, docker: bool = False, architecture: str = ARCHITECTURE
) -> Image:
    document = {
        "created": "2024-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "tests"} for _ in layers],
    }
    kind = f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
    packed = Document(kind, _json(document))
    layer_kind = f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json",
        "config": packed.descriptor(),
        "layers": [{"mediaType": layer_kind, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    return Image(Document(str(manifest["mediaType"]), _json(manifest)), packed, tuple(layers))


def index(images: Iterable[tuple[str, Image]], *, docker: bool = False) -> Index:
    """`images` are pairs of an architecture and its image."""
    made = list(images)
    kind = f"{DOCKER}.distribution.manifest.list.v2+json" if docker else f"{OCI}.index.v1+json"
    platforms = [one.manifest.descriptor(platform={"os": "linux", "architecture": name}) for name, one in made]
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": platforms}
    return Index(Document(kind, _json(document)), tuple(one for _, one in made))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


# --- the images that tests share


def busybox_layers() -> list[Layer]:
    """The system in three layers: the program, its names, and everything else; the fourth has all of it."""

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary) / "root"
            root.mkdir()
            rootfs.fill(root)
            whole = pack(tar_tree(root), directory)
            program, names = Path(temporary) / "program/bin", Path(temporary) / "names/bin"
            for path in (program, names):
                path.mkdir(parents=True)
            for entry in (root / "bin").iterdir():
                entry.rename((names if entry.is_symlink() else program) / entry.name)
            _keep(directory, [pack(tar_tree(path), directory) for path in (program.parent, names.parent, root)] + [whole])

    version = Path(rootfs.static_busybox()).stat()
    return _kept(cache.built("busybox", cache.key(_source(), version.st_size, version.st_mtime_ns), build))


def debian_layers() -> list[Layer]:
    """A minimal Debian with nginx from its packages, and a second layer that sets nginx up for a container."""
    mmdebstrap = host.program("mmdebstrap")

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            tar = Path(temporary) / "debian.tar"
            mode = "root" if host.IS_ROOT else "unshare"
            command = [mmdebstrap, "--variant=minbase", f"--mode={mode}", "--include=nginx-light", "--quiet", _DEBIAN, str(tar)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
            if done.returncode:
                raise _Unavailable(done.stderr.strip().splitlines()[-1:])
            site: dict[str, str | bytes | tuple[str, str]] = {
                "etc/nginx/sites-enabled/default": _SITE,
                "usr/share/nginx/html/index.html": WELCOME,
                "var/log/nginx/access.log": ("link", "/dev/stdout"),
                "var/log/nginx/error.log": ("link", "/dev/stderr"),
            }
            _keep(directory, [pack(tar, directory), pack(tar_of(site, mode=0o644), directory)])

    try:
        return _kept(cache.built("debian", cache.key(_source(), _DEBIAN, ARCHITECTURE), build))
    except _Unavailable as error:
        pytest.skip(f"needs Debian packages from a mirror: mmdebstrap says {error}")


class _Unavailable(Exception):
    pass


BUSYBOX_CONFIG: dict[str, object] = {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin"]}
NGINX_CONFIG: dict[str, object] = {
    "Cmd": ["nginx", "-g", "daemon off;"],
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"],
    "ExposedPorts": {"80/tcp": {}},
    "StopSignal": "SIGQUIT",
    "Labels": {"org.example.made-by": "tests"},
}


def _source() -> str:
    """Entries of the cache go out of use when what built them changes."""
    return Path(__file__).read_text() + Path(str(rootfs.__file__)).read_text()


def _keep(directory: Path, layers: list[Layer]) -> None:
    rows = [[layer.path.name, layer.digest, layer.diff_id, layer.size] for layer in layers]
    (directory / "layers.json").write_text(json.dumps(rows))


def _kept(directory: Path) -> list[Layer]:
    rows = json.loads((directory / "layers.json").read_text())
    return [Layer(directory / name, digest, diff_id, size) for name, digest, diff_id, size in rows]


def write_layout(directory: Path, images: Mapping[str, Image]) -> Path:
    """An OCI image layout with each image under its name (org.opencontainers.image.ref.name)."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    entries = []
    for name, one in images.items():
        for document in (one.manifest, one.config):
            (blobs / document.digest.partition(":")[2]).write_bytes(document.content)
        for layer in one.layers:
            shutil.copy(layer.path, blobs / layer.path.name)
        entries.append(one.manifest.descriptor(annotations={"org.opencontainers.image.ref.name": name}))
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": entries}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return directory


def write_docker_archive(path: Path, images: Mapping[str, Image]) -> Path:
    """What `docker save` writes and `docker load` and `ctr images import` read: each image under its name, layers as they are packed."""
    entries = []
    with tarfile.open(path, "w") as archive:
        for name, one in images.items():
            config = f"{one.config.digest.partition(':')[2]}.json"
            _add(archive, config, one.config.content)
            layers = {f"{layer.digest.partition(':')[2]}/layer.tar": layer.path for layer in one.layers}
            for member, layer in layers.items():
                archive.add(layer, arcname=member)
            entries.append({"Config": config, "RepoTags": [name], "Layers": [*layers]})
        _add(archive, "manifest.json", _json(entries))
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
