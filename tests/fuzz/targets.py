"""What is fuzzed: each reader of what strangers send, with the errors that it may raise, what must hold of its results, and first inputs.

An input that breaks a rule makes the target raise something else than its own errors: that is a finding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import crate_engine
from crate_engine import limits
from crate_engine.bundle import spec
from crate_engine.cli import render
from crate_engine.errors import (
    CrateError,
    ImageError,
    ImageNotFound,
    InvalidReference,
    LayerError,
    RegistryError,
    StoreError,
    UsageError,
)
from crate_engine.layers import entries
from crate_engine.layers.decompress import inflate
from crate_engine.layers.unpack import Unpacker
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest, parse_document
from crate_engine.oci.platform import Platform
from crate_engine.oci.strict_json import parse
from crate_engine.options import RunOptions
from crate_engine.reference import Reference
from crate_engine.registry import auth, refusals
from crate_engine.registry.access import Access
from crate_engine.registry.session import Session, wire
from crate_engine.registry.transport import Broken, Response, read_all
from tests.fuzz import archives, seeds
from tests.fuzz.mutators import Mutator, headed, json_document, text
from tests.fuzz.scratch import Scratch


@dataclass(frozen=True)
class Target:
    """`start` makes the function that an input is given to, in the process that fuzzes: it may take the process over (see `Scratch`)."""

    name: str
    start: Callable[[str], Callable[[bytes], None]]
    raises: tuple[type[CrateError], ...]
    mutate: Mutator
    seeds: Sequence[bytes]
    steps: int = 300_000
    """Lines of the watched modules that an input may take."""
    watched: tuple[str, ...] = (str(Path(crate_engine.__file__).parent) + "/",)


class Wrong(AssertionError):
    """A result that breaks a rule, or an error text that a terminal should not see."""


def attempt(target: Target, run: Callable[[bytes], None], value: bytes) -> None:
    """One input. Its own errors are what it should raise, if they are one line for people."""
    try:
        run(value)
    except target.raises as error:
        for line in (str(error), error.hint or ""):
            if not line.isprintable() or len(line) > 3000:
                raise Wrong(f"not a line for people: {line[:3000]!r}") from error


def _require(condition: object, rule: str) -> None:
    if not condition:
        raise Wrong(rule)


def _plain(function: Callable[[bytes], None]) -> Callable[[str], Callable[[bytes], None]]:
    return lambda directory: function


# layers


class _Stream:
    """An archive in memory, as the parser reads it."""

    def __init__(self, value: bytes) -> None:
        self._rest = memoryview(value)

    def take(self, count: int) -> bytes:
        _require(0 <= count <= 2 * limits.HEADER_BYTES, f"{count} bytes are read at once")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return bytes(taken)

    def copy(self, fd: int, count: int) -> None:
        if count > len(self._rest):
            raise LayerError("read layer: it ends in the middle of a file")
        os.write(fd, self._rest[:count])
        self._rest = self._rest[count:]

    def skip(self, count: int) -> None:
        if count > len(self._rest):
            raise LayerError("read layer: it ends in the middle of an entry")
        self._rest = self._rest[count:]


def _is_clean(path: bytes) -> bool:
    return not path or (not {b"", b".", b".."} & set(path.split(b"/")) and b"\0" not in path)


def _tar(value: bytes) -> None:
    stream = _Stream(value)
    for entry in entries.read(stream):
        _require(_is_clean(entry.path), f"the path {entry.path!r}")
        _require(entry.action is not entries.Action.HARD_LINK or _is_clean(entry.link), f"the link {entry.link!r}")
        _require(0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1 and 0 <= entry.mode <= 0o7777, "an owner or mode")
        _require(0 <= entry.size < limits.LAYER_BYTES and -(2**63) <= entry.mtime_ns < 2**63, "a size or time")
        stream.skip(entry.size + entries.padding(entry.size))


def _unpack(directory: str) -> Callable[[bytes], None]:
    scratch = Scratch(directory)
    mode = "root" if os.geteuid() == 0 else "single"

    def run(value: bytes) -> None:
        root = scratch.fresh()
        unpacker = Unpacker(root, mode)
        stream = _Stream(value)
        try:
            for entry in entries.read(stream):
                unpacker.apply(entry, stream.copy)
                if entry.size:
                    if entry.action is not entries.Action.FILE:
                        stream.skip(entry.size)
                    stream.skip(entries.padding(entry.size))
            unpacker.finish()
        finally:
            unpacker.close()
            os.close(root)
            scratch.check()

    return run


def _inflate(value: bytes) -> None:
    whole = _inflated([value])
    if len(value) <= 1000:
        pieces = _inflated([value[at : at + 7] for at in range(0, len(value), 7)])
        _require(whole == pieces, "the content depends on how it arrives")


def _inflated(blocks: list[bytes]) -> bytes | None:
    content = b""
    try:
        for chunk in inflate(blocks):
            _require(len(chunk) <= 1 << 20 or len(blocks) == 1, "a chunk is too large")
            content += chunk
            if len(content) > 8 << 20:
                break
    except LayerError:
        return None
    return content


# documents


def _json(value: bytes) -> None:
    document = parse(value, "document", 1 << 16)
    _require(document == json.loads(value), "it is read as something else")
    again = json.dumps(document).encode()
    _require(parse(again, "document", 1 << 20) == document, "what is written is not what was read")


def _manifest(value: bytes) -> None:
    head, _, raw = value.partition(b"\n")
    document = parse_document(raw, head.decode("latin-1") or None)
    if isinstance(document, Manifest):
        again = Manifest.from_json(document.to_oci())
        _require(
            [(one.digest, one.size) for one in again.layers] == [(one.digest, one.size) for one in document.layers], "layers"
        )
        _require((again.config.digest, again.annotations) == (document.config.digest, document.annotations), "configuration")
    else:
        again_entries = layout.parse_index(layout.dump_index(document.manifests))
        _require(again_entries == document.manifests, "what is written is not what was read")


def _layout(value: bytes) -> None:
    layout.check_marker(value)


def _index(value: bytes) -> None:
    for entry in layout.parse_index(value):
        _require(".." not in layout.blob_path(entry.digest), "a path")


_PLACE = spec.Place(id="0" * 64, directory="/x", mode="root", network="none", hostname="h")


def _config(value: bytes) -> None:
    config = ImageConfig.from_json(value)
    if config.created:
        render.epoch(config.created)
    for step in config.history:
        if step.created:
            render.epoch(step.created)
    _require(config.platform.distance(config.platform) == 0, "it does not suit itself")
    document = spec.make(config, RunOptions(image="x"), _PLACE, {})
    _require("\\u0000" not in json.dumps(document), "NUL goes to the kernel")
    json.dumps(document, ensure_ascii=False).encode()


# texts


def _reference(value: bytes) -> None:
    reference = Reference.parse(value.decode("utf-8", "surrogateescape"))
    for written in (str(reference), reference.familiar):
        _require(written.isascii() and written.isprintable() and " " not in written, f"the text {written!r}")
        _require(Reference.parse(written) == reference, f"{written} is another image")
    _require(not {"", ".", ".."} & set(reference.repository.split("/")), f"the path {reference.repository!r}")


def _digest(value: bytes) -> None:
    given = value.decode("utf-8", "surrogateescape")
    digest = Digest.parse(given, "layers[0]")
    _require(str(digest) == given and digest.hex.isalnum() and digest.algorithm in ("sha256", "sha512"), "a path")


def _platform(value: bytes) -> None:
    platform = Platform.parse(value.decode("utf-8", "surrogateescape"))
    _require(Platform.from_object(platform.to_object(), "platform") == platform, "what is written is not what was read")
    _require(platform.distance(platform) == 0, "it does not suit itself")


# what registries say


def _challenge(value: bytes) -> None:
    head, _, answer = value.partition(b"\n")
    challenges = auth.parse_challenges(head.decode("latin-1"))
    for credentials in (None, auth.Credentials("me", "secret"), auth.Credentials("me", identity_token="t")):
        for insecure in (False, True):
            flow = auth.authorize("h.example", challenges, "repository:a:pull", credentials, insecure=insecure)
            try:
                request = next(flow)
                _require(request.url.isascii() and request.url.isprintable(), f"the address {request.url!r}")
                allowed = ("https://", "http://") if insecure else ("https://",)
                _require(request.url.lower().startswith(allowed) and " " not in request.url, f"the address {request.url!r}")
                flow.send(answer)
            except StopIteration as done:
                _require(done.value.isascii() and done.value.isprintable(), f"the header {done.value!r}")
            except RegistryError:
                continue
            else:
                raise Wrong("it goes on and on")


def _answer(value: bytes) -> None:
    """An answer of a registry: lines of headers, an empty line, the body."""
    head, _, body = value.partition(b"\n\n")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\n"):
        name, _, content = line.partition(":")
        headers[name.strip().lower()] = content.strip()
    for status in (401, 404, 429, 503):
        error = refusals.refusal(_response(status, headers, body), "pull x", "h.example")
        attempt(ANSWER, _raise(error), b"")
    delay = refusals.retry_after(_response(429, headers, body))
    _require(delay is None or delay >= 0, "a delay")
    try:
        whole = read_all(_response(200, headers, body), 100)
        _require(whole is None or whole == body, "the body")
    except Broken:
        pass
    target = Session("h.example", wire(Access()))._redirect(_response(302, headers, b""), "GET")
    if target is not None:
        _require(
            target.startswith("https://") and target.isascii() and "@" not in target.split("/")[2], f"the redirect {target!r}"
        )


def _raise(error: CrateError) -> Callable[[bytes], None]:
    def run(value: bytes) -> None:
        raise error

    return run


def _response(status: int, headers: dict[str, str], body: bytes) -> Response:
    rest = [body[at : at + 64] for at in range(0, len(body), 64)]
    return Response(status, headers, "https://h.example/v2/a", lambda count: rest.pop(0) if rest else b"", lambda: None)


_TOKEN_WORDS = [*seeds.CHALLENGE_WORDS, '{"token":"', '","access_token":null', '"}', "\n"]
ANSWER = Target("answer", _plain(_answer), (RegistryError, ImageNotFound), text(seeds.ANSWER_WORDS), seeds.ANSWERS)
TARGETS = {
    target.name: target
    for target in (
        Target("tar", _plain(_tar), (LayerError,), archives.mutate, seeds.ARCHIVES),
        Target("unpack", _unpack, (LayerError, StoreError), archives.mutate, seeds.ARCHIVES, steps=3_000_000),
        Target("inflate", _plain(_inflate), (LayerError,), archives.mutate_compressed, seeds.COMPRESSED),
        Target("json", _plain(_json), (ImageError,), json_document(seeds.JSON_WORDS), seeds.DOCUMENTS),
        Target(
            "manifest",
            _plain(_manifest),
            (ImageError,),
            headed(seeds.MEDIA_TYPES, json_document(seeds.JSON_WORDS)),
            seeds.MANIFESTS,
        ),
        Target("index", _plain(_index), (ImageError,), json_document(seeds.JSON_WORDS), seeds.DOCUMENTS),
        Target("layout", _plain(_layout), (ImageError,), json_document(["imageLayoutVersion", "1.0.0", "2.0.0"]), seeds.MARKERS),
        Target("config", _plain(_config), (ImageError, UsageError), json_document(seeds.CONFIG_WORDS), seeds.CONFIGS),
        Target("reference", _plain(_reference), (InvalidReference,), text(seeds.REFERENCE_WORDS), seeds.REFERENCES),
        Target("digest", _plain(_digest), (ImageError,), text(seeds.DIGEST_WORDS), seeds.DIGESTS),
        Target("platform", _plain(_platform), (UsageError,), text(seeds.PLATFORM_WORDS), seeds.PLATFORMS),
        Target("challenge", _plain(_challenge), (RegistryError,), text(_TOKEN_WORDS), seeds.CHALLENGES),
        ANSWER,
    )
}
