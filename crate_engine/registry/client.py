"""Pulling from a registry (OCI distribution-spec, *Pull* and *Listing Referrers*): manifests by name, blobs by digest, resumed where they broke off.

An image may be offered by several places: its mirrors, in order, and the registry of its name. Each is a `Session` of its own, with logins of its
own; what comes from any of them is checked against the same digests. Addresses in descriptors are not followed at all (CVE-2020-15157).
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from crate_engine import limits
from crate_engine.errors import CrateError, DigestMismatch, ImageError, ImageNotFound, RegistryError
from crate_engine.oci import media_types
from crate_engine.oci.digest import Digest
from crate_engine.registry import refusals, session
from crate_engine.registry.access import Access
from crate_engine.registry.session import Session
from crate_engine.registry.transport import PIECE, Broken, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.reference import Reference
    from crate_engine.registry.registries_conf import Endpoint
    from crate_engine.registry.transport import Response
    from crate_engine.store.blobs import BlobWriter

    T = TypeVar("T")

_ACCEPT = {"Accept": ", ".join(media_types.ACCEPTED)}
_NEXT = re.compile(r'<([^<>"\s]{1,2048})>\s*;[^,]*\brel="?next"?', re.ASCII)
_TAGS_ASKED, _TAGS_SHOWN = 200, 5


class _Place:
    """One endpoint, as an image is known there."""

    def __init__(self, endpoint: Endpoint, session: Session) -> None:
        self.reference = endpoint.reference
        self.mirror = endpoint.mirror
        self._session = session

    @property
    def registry(self) -> str:
        return self.reference.registry

    def get(
        self, kind: str, what: str, headers: dict[str, str] | None = None, *, method: str = "GET", **options: object
    ) -> Response:
        """A response of `/v2/NAME/KIND`."""
        repository = self.reference.repository
        return self._session.request(
            method,
            f"/v2/{repository}/{kind}",
            scope=f"repository:{repository}:pull",
            what=what,
            headers=headers,
            **options,  # type: ignore[arg-type]
        )


class Registry:
    """Where one image is pulled from, for the length of one command. Methods may be called from several threads, once `manifest` has returned."""

    def __init__(self, endpoints: Iterable[Endpoint], access: Access) -> None:
        endpoints = list(endpoints)
        self._wire = session.wire(access, [one.reference.registry for one in endpoints if one.insecure])
        sessions: dict[str, Session] = {}
        self._places = []
        for endpoint in endpoints:
            host = endpoint.reference.registry
            own = sessions.setdefault(host, Session(host, self._wire, authfile=access.authfile))
            self._places.append(_Place(endpoint, own))

    def close(self) -> None:
        self._wire.close()

    def digest(self, reference: Reference) -> Digest | None:
        """What the tag stands for at the first place that should know, by one small request; None where it does not tell. No error but of logins."""
        place = self._places[0]
        kind = f"manifests/{reference.digest or reference.tag}"
        try:
            with place.get(kind, f"pull {reference.familiar}", _ACCEPT, method="HEAD", attempts=1, light=True) as response:
                return Digest.parse(response.header("docker-content-digest"))
        except (ImageError, RegistryError):
            return None  # asked for the manifest itself, a registry says more

    def manifest(self, reference: Reference, digest: Digest | None = None) -> tuple[bytes, str, Digest]:
        """The document that the reference, or `digest` in its repository, stands for: bytes, media type, and the digest of the bytes.

        Raises ImageNotFound, DigestMismatch, RegistryError.
        """
        wanted = digest or reference.digest
        what = f"pull {reference.familiar}"
        return self._somewhere(lambda place: self._manifest(place, wanted, what))

    def _manifest(self, place: _Place, wanted: Digest | None, what: str) -> tuple[bytes, str, Digest]:
        try:
            content, response = _document(
                place, f"manifests/{wanted or place.reference.tag}", limits.MANIFEST_BYTES, what, _ACCEPT
            )
        except ImageNotFound as error:
            if wanted is None:
                raise ImageNotFound(str(error), hint=self._tags(place) or error.hint) from error
            raise
        media_type = response.header("content-type").partition(";")[0].strip()
        announced = response.header("docker-content-digest")
        found = Digest.of(content)
        if wanted is not None and not wanted.matches(content):
            raise DigestMismatch(f"{what}: the registry sent a manifest with the digest {found} for {wanted}")
        if announced and announced.startswith("sha256:") and announced != str(found):
            raise DigestMismatch(f"{what}: the registry announced the digest {announced[:80]} and sent a manifest with {found}")
        return content, media_type, wanted or found

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A small blob in memory, of the right size and digest."""
        what = f"pull {reference.familiar}: blob {descriptor.digest}"

        def read(place: _Place) -> bytes:
            content, _ = _document(place, f"blobs/{descriptor.digest}", descriptor.size, what)
            if len(content) != descriptor.size or not descriptor.digest.matches(content):
                raise DigestMismatch(f"{what}: the registry sent something else")
            return content

        return self._somewhere(read)

    def fetch(self, reference: Reference, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        """Write what `writer` does not have yet; a broken connection is taken up where it broke, for a limited number of times."""
        what = f"pull {reference.familiar}: blob {descriptor.digest}"
        # Wrong content is final here: what has come of it may have been read and unpacked already.
        self._somewhere(lambda place: _Transfer(place, descriptor, writer, on_piece, what).run(), but=DigestMismatch)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
        """The artifacts whose subject is `digest`, by the referrers API or, where a registry lacks it, by the tag that stands in for it."""
        from crate_engine.oci.manifest import Index

        what = f"list referrers of {reference.familiar}"
        place = self._places[-1]
        found: list[Descriptor] = []
        for content in self._referrer_pages(place, digest, artifact_type, what):
            found += Index.from_json(content).manifests
            if len(found) > limits.INDEX_ENTRIES:
                raise ImageError(f"{what}: there are more than the {limits.INDEX_ENTRIES} allowed")
        # A registry may filter, and need not.
        return [one for one in found if not artifact_type or one.artifact_type == artifact_type]

    def _referrer_pages(self, place: _Place, digest: Digest, artifact_type: str, what: str) -> Iterator[bytes]:
        kind = f"referrers/{digest}" + (f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else "")
        accept = {"Accept": media_types.OCI_INDEX}
        response = place.get(kind, what, accept, expected=(200, 400, 404, 405), light=True)
        if response.status != 200:
            response.close()
            response = place.get(f"manifests/{digest.algorithm}-{digest.hex}", what, accept, expected=(200, 404), light=True)
            if response.status == 404:
                response.close()
                return
        for _ in range(limits.REFERRER_PAGES):
            with response:
                yield _content(response, limits.MANIFEST_BYTES, what, place.registry)
            following = _NEXT.search(response.header("link"))
            if following is None:
                return
            target = urlsplit(urljoin(response.url, following[1]))
            prefix = f"/v2/{place.reference.repository}/"
            if target.netloc != urlsplit(response.url).netloc or not target.path.startswith(prefix):
                raise RegistryError(f"{what}: {place.registry} says that the list goes on somewhere else")
            response = place.get(f"{target.path.removeprefix(prefix)}?{target.query}", what, accept, light=True)
        raise ImageError(f"{what}: the list has more than {limits.REFERRER_PAGES} pages")

    def _somewhere(self, ask: Callable[[_Place], T], *, but: type[CrateError] | None = None) -> T:
        """The answer of the first place that has one. The error is that of the last, which tells also what the mirrors said."""
        failures: list[str] = []
        for place in self._places:
            try:
                return ask(place)
            except (RegistryError, ImageNotFound, DigestMismatch) as error:
                if place is self._places[-1] or (but and isinstance(error, but)):
                    raise _with_mirrors(error, failures) from error
                failures.append(f"{place.registry}: {_short(error)}")
        raise AssertionError("there is always a place")

    def _tags(self, place: _Place) -> str | None:
        """The hint that names the tags that are nearest to one that is not there."""
        import json

        from crate_engine.validate import nearest

        try:
            with place.get(f"tags/list?n={_TAGS_ASKED}", "list tags", attempts=1) as response:
                listed = json.loads(read_all(response, limits.TOKEN_BYTES) or b"{}").get("tags")
        except (CrateError, Broken, ValueError, AttributeError, RecursionError):
            return None
        tags = [tag for tag in listed if isinstance(tag, str) and tag.isprintable()] if isinstance(listed, list) else []
        if not tags:
            return None
        near = nearest(place.reference.tag or "", tags)
        shown = [*([near] if near else []), *(tag for tag in reversed(tags) if tag != near)][:_TAGS_SHOWN]
        more = ", …" if len(tags) > len(shown) else ""
        return f"its tags are: {', '.join(tag[:128] for tag in shown)}{more}"


class _Transfer:
    """One blob from one place into a writer."""

    def __init__(
        self, place: _Place, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None], what: str
    ) -> None:
        self._place = place
        self._descriptor = descriptor
        self._writer = writer
        self._on_piece = on_piece
        self._what = what
        self._in_parts = True

    def run(self) -> None:
        attempt = 0
        while self._writer.offset < self._descriptor.size:
            before = self._writer.offset
            try:
                self._once()
            except Broken as broken:
                # Progress earns new attempts: a large blob over a poor line breaks often.
                attempt = 1 if self._writer.offset - before > PIECE else attempt + 1
                if attempt >= limits.ATTEMPTS:
                    raise refusals.unreachable(self._what, self._place.registry, broken) from broken
                session._sleep(attempt, None)

    def _once(self) -> None:
        writer, size = self._writer, self._descriptor.size
        offset = writer.offset
        headers = {"Range": f"bytes={offset}-"} if offset and self._in_parts else {}
        with self._place.get(
            f"blobs/{self._descriptor.digest}", self._what, headers, expected=(200, 206, 416) if headers else (200,)
        ) as response:
            if response.status == 416:
                self._in_parts = False  # from the beginning then, past what is known
                raise Broken(ConnectionError("the registry refuses to send the rest alone"))
            skip = self._known(response, offset) if headers else offset
            for piece in response.pieces():
                useful = piece[skip:]
                skip = max(0, skip - len(piece))
                if useful:
                    writer.write(useful)
                    self._on_piece(len(useful))
        if writer.offset < size:
            raise Broken(ConnectionError("the connection ended too early"))

    def _known(self, response: Response, offset: int) -> int:
        """How much of the body is there already: servers may ignore a Range and send all."""
        if response.status == 200:
            return offset
        part = response.header("content-range")
        if not part.startswith(f"bytes {offset}-") or not part.endswith((f"/{self._descriptor.size}", "/*")):
            raise RegistryError(f"{self._what}: the registry sent another part ({part[:80]!r}) than was asked for")
        return 0


def _document(place: _Place, kind: str, limit: int, what: str, headers: dict[str, str] | None = None) -> tuple[bytes, Response]:
    """The whole body, and the response that it came with, closed. A body that breaks off is asked for again."""
    for attempt in range(1, limits.ATTEMPTS):
        with place.get(kind, what, headers) as response:
            try:
                return _limited(read_all(response, limit), limit, what), response
            except Broken:
                pass
        session._sleep(attempt, None)
    with place.get(kind, what, headers) as response:
        return _content(response, limit, what, place.registry), response


def _content(response: Response, limit: int, what: str, registry: str) -> bytes:
    try:
        return _limited(read_all(response, limit), limit, what)
    except Broken as broken:
        raise refusals.unreachable(what, registry, broken) from broken


def _limited(content: bytes | None, limit: int, what: str) -> bytes:
    if content is None:
        raise ImageError(f"{what}: the answer is larger than the {limit} bytes allowed")
    return content


def _with_mirrors(error: CrateError, failures: list[str]) -> CrateError:
    if not failures:
        return error
    return type(error)(f"{error} (mirror {'; mirror '.join(failures)})", hint=error.hint)


def _short(error: CrateError) -> str:
    """Without what it was about, which the last error says again."""
    return str(error).partition(": ")[2][:200] or str(error)[:200]
