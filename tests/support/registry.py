"""A real registry (docker-registry) on a loopback port of its own, and a client that can only push."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import host
from tests.support.images import Document, Image, Index, Layer
from tests.support.programs import MARK, PATH, SLOW

_CONFIG = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {storage}
  delete:
    enabled: true
http:
  addr: {address}
"""
_TRIES = 5


class Registry:
    """`address` is HOST:PORT. Ended by `stop`, by its pid. `more` is added to its configuration; where it wants logins, nothing can be pushed."""

    def __init__(self, program: str, directory: Path, more: str = "") -> None:
        directory.mkdir(mode=0o700, exist_ok=bool(more))
        self._process, self.address = _start(program, directory, more)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def push(self, name: str, tag: str, content: Image | Index) -> str:
        """Upload everything that is not there yet; returns the digest of what the tag names."""
        images = content.images if isinstance(content, Index) else (content,)
        for one in images:
            for layer in one.layers:
                self._upload(name, layer)
            self._upload(name, one.config)
            self._put_manifest(name, one.manifest.digest, one.manifest)
        top = content.document if isinstance(content, Index) else content.manifest
        self._put_manifest(name, tag, top)
        return top.digest

    def _upload(self, name: str, blob: Layer | Document) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            if _ask(connection, "HEAD", f"/v2/{name}/blobs/{blob.digest}").status == 200:
                return
            location = urlsplit(_ask(connection, "POST", f"/v2/{name}/blobs/uploads/").headers["Location"])
            target = f"{location.path}?{location.query}&digest={blob.digest}"
            headers = {"Content-Type": "application/octet-stream"}
            if isinstance(blob, Document):
                answer = _ask(connection, "PUT", target, blob.content, headers)
            else:
                with open(blob.path, "rb") as file:
                    answer = _ask(connection, "PUT", target, file, headers | {"Content-Length": str(blob.size)})
            assert answer.status == 201, f"push {name} {blob.digest}: {answer.status}"
        finally:
            connection.close()

    def _put_manifest(self, name: str, tag: str, document: Document) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            headers = {"Content-Type": document.media_type}
            answer = _ask(connection, "PUT", f"/v2/{name}/manifests/{tag}", document.content, headers)
            assert answer.status == 201, f"push {name}:{tag}: {answer.status}"
        finally:
            connection.close()


def _ask(
    connection: http.client.HTTPConnection, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection.request(method, target, body=body, headers=headers or {})  # type: ignore[arg-type]
    answer = connection.getresponse()
    answer.read()
    return answer


def _start(program: str, directory: Path, more: str) -> tuple[subprocess.Popen[bytes], str]:
    """Another program can take the free port before the registry does: then try another."""
    for _ in range(_TRIES):
        address = f"127.0.0.1:{free_port()}"
        config = directory / "config.yml"
        config.write_text(_CONFIG.format(storage=directory / "storage", address=address) + more)
        environment = {"PATH": PATH, MARK: str(os.getpid()), "OTEL_TRACES_EXPORTER": "none"}
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(config)],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_us,
            )
        if _answers(process, address):
            return process, address
        process.kill()
        process.wait()
    raise AssertionError(f"{program} does not start:\n{(directory / 'log').read_text()}")


def _end_with_us() -> None:
    """In the child: a test run that is killed leaves no registry behind (prctl(2), PR_SET_PDEATHSIG)."""
    host.libc().prctl(1, signal.SIGTERM, 0, 0, 0)


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + 20 * SLOW
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            return _ask(connection, "GET", "/v2/").status in (200, 401)
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    return False


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
