"""Pushing to a registry (OCI distribution-spec, *Push*): blobs in one piece or in chunks, or mounted from another repository; manifests by name.

An upload that breaks off is taken up where the registry says it stands. Where a registry sends an upload to another host no login goes there; a
token for a mount covers the two repositories alone.
"""

from __future__ import annotations

import random
import time
from urllib.parse import quote, urljoin, urlsplit

from crate_engine import limits
from crate_engine.errors import (
    AuthenticationRequired,
    DigestMismatch,
    ImageNotFound,
    RegistryError,
    RegistryUnreachable,
    StoreError,
)
from crate_engine.oci.digest import Digest
from crate_engine.registry import refusals
from crate_engine.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.registry.session import Session
    from crate_engine.registry.transport import Response

_LATER = frozenset({408, 429, 500, 502, 503, 504})
_LOST = frozenset({400, 404, 416})
"""Of an upload under way: the registry has another idea of it, or none."""
_OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Source:
    """A blob to be pushed. `read(start)` gives its bytes from there on, each time anew; `check` raises where they are not right."""

    descriptor: Descriptor
    read: Callable[[int], Iterator[bytes]] = field(hash=False)
    check: Callable[[], None] = field(hash=False)


class _Interrupted(Exception):
    """`lost`: the registry does not know the upload any more; `delay`: it asks for so many seconds."""

    def __init__(self, cause: str, *, lost: bool = False, delay: float | None = None) -> None:
        super().__init__(cause)
        self.lost = lost
        self.delay = delay


class Repository:
    """One repository of a registry. Methods may be called from several threads, once one of them has returned."""

    def __init__(self, session: Session, name: str, what: str) -> None:
        """`what` begins the text of errors: `push app:1`."""
        self._session = session
        self._name = name
        self._scope = f"repository:{name}:pull,push"
        self._what = what

    def has(self, digest: Digest) -> bool:
        with self._ask("HEAD", f"blobs/{digest}", expected=(200, 404)) as response:
            return response.status == 200

    def mount(self, digest: Digest, source: str) -> bool:
        """Make a blob of the repository `source` of this registry one of this repository too; False where the registry does not."""
        path = f"blobs/uploads/?mount={digest}&from={quote(source, safe='/')}"
        try:
            response = self._ask(
                "POST",
                path,
                expected=(201, 202),
                scope=f"{self._scope} repository:{source}:pull",
                headers={"Content-Length": "0"},
            )
        except (AuthenticationRequired, ImageNotFound):
            return False  # that repository may be closed to this login; the upload will tell what else is wrong
        with response:
            if response.status == 201:
                return True
            location = self._location(response)
        self._abandon(location)
        return False

    def upload(self, source: Source, on_piece: Callable[[int], None]) -> None:
        """`on_piece` is told how many bytes are on their way, and negative numbers where some have to be sent again. Raises RegistryError."""
        attempt, told = 0, 0
        while True:
            transfer = _Transfer(self, source, on_piece)
            try:
                transfer.run()
                return
            except _Interrupted as interruption:
                told = transfer.reached
                attempt = 1 if told > limits.UPLOAD_CHUNK else attempt + 1
                if attempt >= limits.ATTEMPTS:
                    source.check()
                    raise RegistryUnreachable(f"{self._what}: blob {source.descriptor.digest}: {interruption}") from interruption
                on_piece(-told)
                _sleep(attempt, interruption.delay)
                if self.has(source.descriptor.digest):
                    return  # the answer was lost, not the blob

    def put_manifest(self, name: str, content: bytes, media_type: str) -> Digest:
        """Under a tag or its own digest; returns the digest. Raises DigestMismatch where the registry stored another document."""
        digest = Digest.of(content)
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        with self._ask("PUT", f"manifests/{name}", expected=(200, 201, 202), headers=headers, body=content) as response:
            announced = response.header("docker-content-digest")
        if announced and announced != str(digest):
            raise DigestMismatch(f"{self._what}: the registry keeps the manifest {digest} as {announced[:80]}")
        return digest

    def start(self) -> tuple[str, int]:
        """Where to send an upload, and the least size of a chunk."""
        with self._ask("POST", "blobs/uploads/", expected=(202,), headers={"Content-Length": "0"}) as response:
            least = response.header("oci-chunk-min-length")
            return self._location(response), int(least) if least.isascii() and least.isdigit() and len(least) < 15 else 0

    def send(
        self, method: str, location: str, headers: dict[str, str], body: Callable[[], object] | None, done: int
    ) -> tuple[str, int | None]:
        """One request of an upload; where the next one goes, and how many bytes the registry has by its own account. Raises _Interrupted."""
        try:
            response = self._session.request(
                method,
                location,
                scope=self._scope,
                what=self._what,
                headers=headers,
                body=body,
                expected=(done, *_LATER, *_LOST),
                attempts=1,
            )
        except RegistryUnreachable as error:
            raise _Interrupted(str(error)) from error
        with response:
            if response.status == done:
                return (self._location(response) if response.header("location") else location), _received(response)
            said = f"{self._session.registry} answered with status {response.status}"
            raise _Interrupted(said, lost=response.status in _LOST, delay=_bounded(refusals.retry_after(response)))

    def _abandon(self, location: str) -> None:
        try:
            self._session.request(
                "DELETE", location, scope=self._scope, what=self._what, expected=(200, 202, 204, 404, 405), attempts=1
            ).close()
        except RegistryError:
            pass  # it goes away by itself

    def _ask(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...],
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        scope: str = "",
    ) -> Response:
        return self._session.request(
            method,
            f"/v2/{self._name}/{path}",
            scope=scope or self._scope,
            what=self._what,
            headers=headers,
            body=body,
            expected=expected,
        )

    def _location(self, response: Response) -> str:
        """The address of an upload, which may be relative, and on another host."""
        try:
            target = urljoin(response.url, response.header("location"))
            parts = urlsplit(target)
            _ = parts.port
        except ValueError:
            parts = urlsplit("")
        bad = parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not target.isascii()
        if bad or not response.header("location"):
            raise RegistryError(f"{self._what}: {self._session.registry} names no web address for the upload")
        if parts.scheme == "http" and urlsplit(response.url).scheme == "https":
            raise RegistryError(f"{self._what}: {self._session.registry} leads the upload from https to plain http")
        return target


class _Transfer:
    """One upload from its start. `reached` bytes were sent."""

    def __init__(self, repository: Repository, source: Source, on_piece: Callable[[int], None]) -> None:
        self._repository = repository
        self._source = source
        self._on_piece = on_piece
        self.reached = 0

    def run(self) -> None:
        size = self._source.descriptor.size
        location, least = self._repository.start()
        chunk = max(limits.UPLOAD_CHUNK, least)
        if size <= chunk:
            self._finish(location, size)
            return
        failures = 0
        while self.reached < size:
            count = min(chunk, size - self.reached)
            try:
                location = self._patch(location, count)
                failures = 0
            except _Interrupted as interruption:
                failures += 1
                if interruption.lost or failures >= limits.ATTEMPTS:
                    raise
                _sleep(failures, interruption.delay)
                location = self._ask_again(location)
        self._finish(location, 0)

    def _patch(self, location: str, count: int) -> str:
        start = self.reached
        headers = {**_OCTETS, "Content-Range": f"{start}-{start + count - 1}", "Content-Length": str(count)}
        location, received = self._repository.send("PATCH", location, headers, lambda: self._body(start, count), 202)
        self._reach(start + count if received is None or not start <= received <= start + count else received)
        return location

    def _ask_again(self, location: str) -> str:
        location, received = self._repository.send("GET", location, {}, None, 204)
        self._reach(received or 0)
        return location

    def _reach(self, offset: int) -> None:
        self._on_piece(offset - self.reached)
        self.reached = offset

    def _finish(self, location: str, count: int) -> None:
        """The last request has all the content, or none of it."""
        digest = self._source.descriptor.digest
        target = f"{location}{'&' if urlsplit(location).query else '?'}digest={quote(str(digest), safe='')}"
        headers = {**_OCTETS, "Content-Length": str(count)}
        try:
            self._repository.send("PUT", target, headers, (lambda: self._body(0, count)) if count else None, 201)
        except _Interrupted as interruption:
            if interruption.lost:
                self._source.check()  # a registry refuses content that was changed on this disk in the same way
            raise
        if count:
            self._reach(count)

    def _body(self, start: int, count: int) -> _Body:
        return _Body(self._source.read(start), count)


class _Body:
    """So many bytes of an iterator as a file, whose length is known beforehand."""

    def __init__(self, blocks: Iterator[bytes], count: int) -> None:
        self._blocks = blocks
        self._left = count
        self._block = b""

    def __len__(self) -> int:
        return self._left

    def read(self, count: int = -1) -> bytes:
        if not self._block and self._left:
            self._block = next(self._blocks, b"")
            if not self._block:
                raise StoreError("push: a blob is shorter than it was", hint="crate system check finds what is damaged")
        take = min(self._left, len(self._block) if count < 0 else count)
        piece, self._block = self._block[:take], self._block[take:]
        self._left -= len(piece)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def _received(response: Response) -> int | None:
    """Bytes by the header `Range: 0-99`, which some registries begin with `bytes=`; None where it says nothing."""
    first, dash, last = response.header("range").removeprefix("bytes=").partition("-")
    if first != "0" or not dash or not (last.isascii() and last.isdigit() and len(last) < 19):
        return None
    return int(last) + 1


def _bounded(delay: float | None) -> float | None:
    return None if delay is None else min(delay, limits.RETRY_AFTER_SECONDS)


def _sleep(attempt: int, delay: float | None) -> None:
    time.sleep((delay if delay is not None else 0.25 * 2**attempt) + random.uniform(0, 0.25))
