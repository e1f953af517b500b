"""Images made in memory, a registry that can misbehave, and pulls in processes of their own (the server here has threads, and pulls fork)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crate_engine.oci import media_types

_DRIVER = """
import json, sys
request = json.loads(sys.argv[1])
sys.path[:0] = request["path"]
from crate_engine import limits, pull
from crate_engine.errors import CrateError
from crate_engine.layers.store import LayerStore
from crate_engine.oci.platform import Platform
from crate_engine.registry import session
from crate_engine.registry.access import Access
from crate_engine.store.paths import Store
from crate_engine.system import userns

for name, value in request["limits"].items():
    setattr(limits, name, value)
if request["hurry"]:
    session._sleep = lambda attempt, delay: None
store = Store.open(request["root"], request["run"])
ids = userns.choose()


def answer(name):
    try:
        image = pull.pull(
            store, name, policy=request["policy"], user_namespace=ids, access=Access(tuple(request["insecure"])),
            platform=Platform.parse(request["platform"]) if request["platform"] else None,
        )
    except CrateError as error:
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    return {
        "id": image.id, "names": [name.familiar for name in image.names], "size": image.size, "platform": str(image.platform),
        "repo_digests": [name.familiar for name in image.repo_digests], "layers": LayerStore(store, ids).directories(image),
    }


answers = [answer(name) for name in request["images"]]
findings = []
if request["check"]:
    from crate_engine.upkeep import repair

    findings = [[str(finding), finding.damage] for finding in repair.check(store, ids, full=True).findings]
# Of this program alone: ru_maxrss would begin with what the process had that started it.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([answers, findings, peak]))
"""


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(files: dict[str, bytes]) -> bytes:
    """An uncompressed archive of regular files; a name that ends with a slash is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size, member.mtime, member.mode = len(content), 1_700_000_000, 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Server:
    """A registry on the loopback network. `fault` sees every request first and may answer it: it returns whether it did."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.log: list[tuple[str, dict[str, str]]] = []
        self.fault: Callable[[BaseHTTPRequestHandler], bool] = lambda request: False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.log.append((self.path, dict(self.headers.items())))
                if not owner.fault(self):
                    owner.serve(self)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_: object) -> None:
                """Clients go away in the middle of things: that is what is tested."""

        self.closing = threading.Event()
        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/v2/":
            answer(request, 200, b"{}")
        elif request.path in self.documents:
            kind, content = self.documents[request.path]
            wanted = request.headers.get("Range")
            if wanted:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                answer(request, 206, content[start:], kind, **headers)
            else:
                told = {"Docker-Content-Digest": digest(content)} if "/manifests/" in request.path else {}
                answer(request, 200, content, kind, **told)
        else:
            answer(request, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def requests(self, part: str) -> list[dict[str, str]]:
        """The headers of the requests whose path contains `part`."""
        return [headers for path, headers in self.log if part in path]

    # images

    def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        self.documents[f"/v2/{repository}/blobs/{digest(content)}"] = ("application/octet-stream", content)
        return {"digest": digest(content), "size": len(content)}

    def manifest(self, repository: str, document: dict[str, Any], *tags: str) -> dict[str, Any]:
        content = json.dumps(document).encode()
        for name in (digest(content), *tags):
            self.documents[f"/v2/{repository}/manifests/{name}"] = (document["mediaType"], content)
        return {"mediaType": document["mediaType"], "digest": digest(content), "size": len(content)}

    def image(
        self,
        repository: str,
        *tags: str,
        layers: list[bytes],
        docker: bool = False,
        compress: Callable[[bytes], bytes] = lambda content: gzip.compress(content, 1, mtime=0),
        diff_ids: list[str] | None = None,
        **config: object,
    ) -> dict[str, Any]:
        """The descriptor of a manifest for these uncompressed layers."""
        document: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]}} | config
        document["rootfs"] = {"type": "layers", "diff_ids": diff_ids or [digest(content) for content in layers]}
        layer_type = media_types.DOCKER_LAYER + ".gzip" if docker else media_types.OCI_LAYER + "+gzip"
        return self.manifest(
            repository,
            {
                "schemaVersion": 2,
                "mediaType": media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST,
                "config": {
                    "mediaType": media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG,
                    **self.blob(repository, json.dumps(document).encode()),
                },
                "layers": [{"mediaType": layer_type, **self.blob(repository, compress(content))} for content in layers],
            },
            *tags,
        )


def answer(request: BaseHTTPRequestHandler, status: int, content: bytes, kind: str = "application/json", **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


class Puller:
    """Pulls into one store."""

    def __init__(self, directory: Path) -> None:
        self.findings: list[tuple[str, bool]] = []
        self.peak = 0
        """KiB, of the last pull."""
        self.root = directory / "root"
        self.run = directory / "run"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_RUNTIME_DIR": ""}

    def start(
        self,
        *images: str,
        policy: str = "always",
        platform: str = "",
        insecure: tuple[str, ...] = (),
        hurry: bool = True,
        check: bool = False,
        **limits: int,
    ) -> subprocess.Popen[bytes]:
        request: dict[str, Any] = {
            "path": sys.path,
            "root": str(self.root),
            "run": str(self.run),
            "images": images,
            "policy": policy,
            "platform": platform,
        }
        request |= {"insecure": insecure, "hurry": hurry, "check": check, "limits": limits}
        arguments = [sys.executable, "-I", "-c", _DRIVER, json.dumps(request)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)

    def finish_all(self, process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        output, errors = process.communicate(timeout=120)
        assert errors == b"", errors.decode()
        answered: list[dict[str, Any]]
        answered, self.findings, self.peak = json.loads(output)
        return answered

    def finish(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        return self.finish_all(process)[0]

    def pull_all(self, *images: str, **options: Any) -> list[dict[str, Any]]:
        """One after the other, in one process. With `check`, what `system check --full` finds then is in `findings`."""
        return self.finish_all(self.start(*images, **options))

    def pull(self, image: str, **options: Any) -> dict[str, Any]:
        return self.finish(self.start(image, **options))

    def pulled(self, image: str, **options: Any) -> dict[str, Any]:
        found = self.pull(image, **options)
        assert "error" not in found, found
        return found

    def refused(self, image: str, error: str, **options: Any) -> str:
        """The message of a pull that fails with this class of error, and leaves neither image nor layer nor wrong blob."""
        found = self.pull(image, **options)
        assert found.get("error") == error, found
        self.check()
        return str(found["message"])

    def check(self) -> None:
        """Every blob has the digest that it is named by; every layer is complete."""
        for path in (self.root / "oci/blobs").rglob("*"):
            if path.is_file():
                assert digest(path.read_bytes()) == f"sha256:{path.name}"
        for path in (self.root / "layers").glob("*/*"):
            assert (path / "layer.json").is_file()

    def leftovers(self) -> list[str]:
        return [str(path) for name in ("ingest", "trash") for path in (self.root / name).glob("*")]

    def layer_count(self) -> int:
        return len(list((self.root / "layers").glob("*/*")))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def puller(tmp_path: Path) -> Puller:
    return Puller(tmp_path)
