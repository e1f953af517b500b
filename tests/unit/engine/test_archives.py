"""Docker archives and OCI layouts read from what strangers send: one meaning, nothing outside, ids computed. Attacks stand beside their look-alikes."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crate_engine import limits, load
from crate_engine.archive import expand
from crate_engine.archive.docker import DockerArchive
from crate_engine.archive.files import open_files, read
from crate_engine.archive.layout import Layout
from crate_engine.errors import CrateError, ImageError, ImageNotFound, LayerError, PlatformNotOffered
from crate_engine.oci.platform import Platform

if TYPE_CHECKING:
    from crate_engine.archive.files import Files

Member = tuple[str, bytes] | tuple[str, bytes, bytes]
"""Name and content, or name, type and the text of a link."""


def tar(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, *rest in members:
            made = tarfile.TarInfo(name)
            if len(rest) == 2:
                made.type, made.linkname = rest[0], rest[1].decode()
                archive.addfile(made)
            else:
                made.size = len(rest[0])
                archive.addfile(made, io.BytesIO(rest[0]))
    return buffer.getvalue()


LAYER = tar(("hello", b"world"))
DIFF_ID = "sha256:" + hashlib.sha256(LAYER).hexdigest()
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}
).encode()
CONFIG_DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()


def manifest(**changes: object) -> bytes:
    return json.dumps([{"Config": "config.json", "RepoTags": ["a/b:1"], "Layers": ["layer.tar"], **changes}]).encode()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[bytes], Files]]:
    made: list[Files] = []

    def open_it(content: bytes) -> Files:
        path = tmp_path / f"{len(made)}.tar"
        path.write_bytes(content)
        made.append(open_files(str(path), "load it", str(tmp_path)))
        return made[-1]

    yield open_it
    for files in made:
        files.close()


def resolved(files: Files) -> tuple[str, list[str], list[str]]:
    """The id, the digests of the layers and the names of the only image."""
    archive = DockerArchive(files)
    (image,) = archive.images()
    found = archive.resolve(image, None)
    return (
        str(found.manifest.config.digest),
        [str(layer.digest) for layer in found.manifest.layers],
        [name.familiar for name in image.names],
    )


PLAIN = (("manifest.json", manifest()), ("config.json", CONFIG), ("layer.tar", LAYER))


@pytest.mark.parametrize(
    "members",
    [
        PLAIN,
        PLAIN[::-1],
        tuple((f"./{name}", content) for name, content in PLAIN),
        (*PLAIN, ("repositories", b"no json at all")),
        (*PLAIN, ("unrelated", b"x"), ("unrelated", b"y")),
        (("manifest.json", manifest(Config="./config.json", Layers=["./layer.tar"])), *PLAIN[1:]),
        (("manifest.json", manifest(Config="0" * 64 + ".json")), ("0" * 64 + ".json", CONFIG), PLAIN[2]),
        # Docker wrote links to layers that an archive has already.
        (
            ("manifest.json", manifest(Layers=["b/layer.tar"])),
            PLAIN[1],
            ("a/layer.tar", LAYER),
            ("b/layer.tar", tarfile.SYMTYPE, b"../a/layer.tar"),
        ),
        (("manifest.json", manifest(Layers=["b.tar"])), PLAIN[1], ("a.tar", LAYER), ("b.tar", tarfile.LNKTYPE, b"a.tar")),
    ],
)
def test_an_image_is_found_and_its_ids_are_computed(members: tuple[Member, ...], opened: Callable[[bytes], Files]) -> None:
    assert resolved(opened(tar(*members))) == (CONFIG_DIGEST, [DIFF_ID], ["a/b:1"])


@pytest.mark.parametrize(
    "members",
    [
        (("manifest.json", manifest(Config="../../x")), *PLAIN[1:]),
        (("manifest.json", manifest(Config="/etc/passwd")), *PLAIN[1:]),
        (("manifest.json", manifest(Config="a//b")), *PLAIN[1:]),
        (("manifest.json", manifest(Config="")), *PLAIN[1:]),
        (("manifest.json", manifest(Layers=["../layer.tar"])), *PLAIN[1:]),
        (("manifest.json", manifest(Layers=["/layer.tar"])), *PLAIN[1:]),
        (("manifest.json", manifest(Layers=["missing.tar"])), *PLAIN[1:]),
        (("manifest.json", manifest(Layers=[])), *PLAIN[1:]),
        (("manifest.json", manifest(Layers=["layer.tar"] * 2)), *PLAIN[1:]),
        (("manifest.json", manifest(RepoTags=["a/B:1"])), *PLAIN[1:]),
        (("manifest.json", manifest(RepoTags=["a@sha256:" + "0" * 64])), *PLAIN[1:]),
        (("manifest.json", manifest(RepoTags="a:1")), *PLAIN[1:]),
        (("manifest.json", manifest(config="other.json")), *PLAIN[1:]),
        (("manifest.json", b"{}"), *PLAIN[1:]),
        (("manifest.json", manifest() + b"[]"), *PLAIN[1:]),
        (("manifest.json", manifest() + b', "images": []'), *PLAIN[1:]),
        (("manifest.json", manifest() + b', "more": []'), *PLAIN[1:]),
        (*PLAIN, ("manifest.json", manifest(RepoTags=["c/d:1"]))),
        (*PLAIN, ("config.json", CONFIG + b" ")),
        (*PLAIN[:2], ("layer.tar", tarfile.SYMTYPE, b"/etc/passwd")),
        (*PLAIN[:2], ("layer.tar", tarfile.SYMTYPE, b"../../etc/passwd")),
        (*PLAIN[:2], ("layer.tar", tarfile.LNKTYPE, b"/etc/passwd")),
        (*PLAIN[:2], ("layer.tar", tarfile.SYMTYPE, b"layer.tar")),
        (*PLAIN[:2], ("layer.tar", tarfile.FIFOTYPE, b"")),
        (*PLAIN[:2], ("layer.tar", lzma.compress(LAYER))),
        (("manifest.json", tarfile.SYMTYPE, b"/etc/hostname"), *PLAIN[1:]),
    ],
)
def test_what_has_two_meanings_or_leads_outside_is_refused(members: tuple[Member, ...], opened: Callable[[bytes], Files]) -> None:
    with pytest.raises(ImageError):
        resolved(opened(tar(*members)))


def test_a_compressed_layer_stays_as_it_is(opened: Callable[[bytes], Files]) -> None:
    packed = gzip.compress(LAYER)
    files = opened(tar(*PLAIN[:2], ("layer.tar", packed)))
    archive = DockerArchive(files)
    (layer,) = archive.resolve(archive.images()[0], None).manifest.layers
    assert (str(layer.digest), layer.size) == ("sha256:" + hashlib.sha256(packed).hexdigest(), len(packed))
    assert layer.media_type.endswith(".tar+gzip")


def test_configurations_that_are_too_large_together_are_refused(
    opened: Callable[[bytes], Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = json.loads(manifest()) * 3
    files = opened(tar(("manifest.json", json.dumps(entries).encode()), *PLAIN[1:]))
    assert len(DockerArchive(files).images()) == 3
    monkeypatch.setattr(limits, "ARCHIVE_DOCUMENTS", 2 * len(CONFIG))
    with pytest.raises(ImageError, match="more than"):
        DockerArchive(files).images()


# --- before manifest.json

OLD, BASE = "a" * 64, "b" * 64


def legacy(top: str = OLD, parent: str = BASE, **more: object) -> bytes:
    old = {
        "id": OLD,
        "parent": parent,
        "created": "2014-01-01T00:00:00Z",
        "config": {"Cmd": ["x"]},
        "architecture": "amd64",
        **more,
    }
    base = {"id": BASE, "container_config": {"Cmd": ["/bin/sh", "-c", "base"]}, "os": "linux"}
    return tar(
        ("repositories", json.dumps({"a/b": {"1": top}}).encode()),
        (f"{OLD}/json", json.dumps(old).encode()),
        (f"{OLD}/layer.tar", LAYER),
        (f"{BASE}/json", json.dumps(base).encode()),
        (f"{BASE}/layer.tar", gzip.compress(LAYER)),
    )


def test_an_old_archive_is_read_from_the_lowest_layer_up(opened: Callable[[bytes], Files]) -> None:
    archive = DockerArchive(opened(legacy()))
    (image,) = archive.images()
    config = archive.resolve(image, None).config
    assert [name.familiar for name in image.names] == ["a/b:1"]
    assert [str(digest) for digest in config.diff_ids] == [DIFF_ID, DIFF_ID]
    assert (config.cmd, [step.created_by for step in config.history]) == (("x",), ["/bin/sh -c base", ""])


@pytest.mark.parametrize(
    "content", [legacy(top="../x"), legacy(top="A" * 64), legacy(parent=OLD), legacy(parent="x"), legacy(parent="c" * 64)]
)
def test_an_old_archive_whose_ids_are_none_is_refused(content: bytes, opened: Callable[[bytes], Files]) -> None:
    with pytest.raises(ImageError):
        resolved(opened(content))


# --- compression and truncation


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lzma.compress, bz2.compress, lambda content: gzip.compress(content[:700]) + gzip.compress(content[700:])],
)
def test_a_compressed_archive_is_expanded(pack: Callable[[bytes], bytes], opened: Callable[[bytes], Files]) -> None:
    assert resolved(opened(pack(tar(*PLAIN)))) == (CONFIG_DIGEST, [DIFF_ID], ["a/b:1"])


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_a_compressed_archive_that_ends_early_is_refused(
    pack: Callable[[bytes], bytes], opened: Callable[[bytes], Files]
) -> None:
    with pytest.raises(ImageError, match=r"too early|damaged"):
        opened(pack(tar(*PLAIN))[:-20])


@pytest.mark.parametrize("content", [b"", b"x" * 700, tar(*PLAIN)[:1000], tar(*PLAIN)[:1500]])
def test_what_is_no_whole_archive_is_refused(content: bytes, opened: Callable[[bytes], Files]) -> None:
    with pytest.raises(ImageError):
        resolved(opened(content))


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, gzip.compress])
def test_an_archive_that_grows_without_end_is_refused(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_RATIO_AFTER", 1 << 20)
    packed = pack(bytes(64 << 20))
    with pytest.raises(LayerError, match="grows"):
        for _ in expand.expand([packed], expand.format_of(packed)):
            pass


def test_an_archive_of_too_many_members_is_refused(opened: Callable[[bytes], Files], monkeypatch: pytest.MonkeyPatch) -> None:
    content = tar(*PLAIN, *((f"m{number}", b"") for number in range(100)))
    assert resolved(opened(content))[0] == CONFIG_DIGEST
    monkeypatch.setattr(limits, "ARCHIVE_MEMBERS", 50)
    with pytest.raises(ImageError, match="members"):
        opened(content)


# --- layouts


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> tuple[str, bytes]:
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}", content


def described(content: bytes, kind: str, **more: object) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content), **more}


IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described(CONFIG, "config.v1+json"),
        "layers": [described(LAYER, "layer.v1.tar")],
    }
).encode()
BLOBS = (blob(IMAGE), blob(CONFIG), blob(LAYER))
MARKER = ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def index(*entries: dict[str, object]) -> tuple[str, bytes]:
    return "index.json", json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()


def entry(
    content: bytes = IMAGE, kind: str = "manifest.v1+json", annotations: dict[str, str] | None = None, **more: object
) -> dict[str, object]:
    return described(content, kind, **({"annotations": annotations} if annotations else {}), **more)


NAME, FULL = "org.opencontainers.image.ref.name", "io.containerd.image.name"


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({}, []),
        ({NAME: "latest"}, []),
        ({NAME: "a/b:1"}, ["a/b:1"]),
        ({NAME: "example.test/a"}, ["example.test/a:latest"]),
        ({NAME: "1", FULL: "docker.io/a/b:1"}, ["a/b:1"]),
        ({FULL: "docker.io/a/b:1"}, ["a/b:1"]),
        ({NAME: "other", FULL: "docker.io/a/b:1"}, []),
    ],
)
def test_names_of_a_layout_are_full_ones_alone(
    annotations: dict[str, str], names: list[str], opened: Callable[[bytes], Files]
) -> None:
    (image,) = Layout(opened(tar(MARKER, index(entry(annotations=annotations)), *BLOBS))).images()
    assert [name.familiar for name in image.names] == names


def test_entries_of_one_digest_are_one_image_of_several_names(opened: Callable[[bytes], Files]) -> None:
    entries = [entry(annotations={NAME: name}) for name in ("a/b:1", "a/b:2")]
    (image,) = Layout(opened(tar(MARKER, index(*entries), *BLOBS))).images()
    assert [name.familiar for name in image.names] == ["a/b:1", "a/b:2"]


def test_an_archive_that_is_both_is_read_as_a_layout(opened: Callable[[bytes], Files]) -> None:
    files = opened(tar(MARKER, index(entry(annotations={NAME: "a/b:1"})), *BLOBS, ("manifest.json", b"never read")))
    (incoming,) = load._incoming(files, None)
    assert str(incoming.resolved.descriptor.digest) == digest(IMAGE)


def test_an_index_leads_to_the_image_of_the_platform(opened: Callable[[bytes], Files]) -> None:
    platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
    nested = json.dumps({"schemaVersion": 2, "manifests": [entry(platform=platform) for platform in platforms]}).encode()
    files = opened(tar(MARKER, index(entry(nested, "index.v1+json", {NAME: "a/b:1"})), blob(nested), *BLOBS))
    (incoming,) = load._incoming(files, Platform.parse("linux/amd64"))
    assert (str(incoming.resolved.digest), str(incoming.resolved.descriptor.digest)) == (digest(nested), digest(IMAGE))
    with pytest.raises(PlatformNotOffered):
        load._incoming(files, Platform.parse("linux/s390x"))


def test_an_index_that_contains_itself_comes_to_an_end(opened: Callable[[bytes], Files]) -> None:
    inner = json.dumps({"schemaVersion": 2, "manifests": [entry(platform={"os": "linux", "architecture": "amd64"})]}).encode()
    levels = [inner]
    for _ in range(limits.INDEX_NESTING + 2):
        levels.append(
            json.dumps(
                {
                    "schemaVersion": 2,
                    "manifests": [entry(levels[-1], "index.v1+json", platform={"os": "linux", "architecture": "amd64"})],
                }
            ).encode()
        )
    files = opened(tar(MARKER, index(entry(levels[-1], "index.v1+json")), *map(blob, levels), *BLOBS))
    with pytest.raises(ImageError, match="nested"):
        load._incoming(files, Platform.parse("linux/amd64"))


@pytest.mark.parametrize(
    "members",
    [
        (MARKER, *BLOBS),
        (MARKER, index(), *BLOBS),
        (("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), index(entry()), *BLOBS),
        (MARKER, index(entry()), index(entry()), *BLOBS),
        (MARKER, index(entry()), (BLOBS[0][0], IMAGE + b" "), *BLOBS[1:]),
        (MARKER, index(entry()), *BLOBS[:1], (BLOBS[1][0], CONFIG.replace(b"linux", b"linus")), BLOBS[2]),
        (MARKER, index(entry() | {"digest": "sha256:../../../etc/passwd"}), *BLOBS),
        (MARKER, index(entry(annotations={NAME: "a/B:1"})), *BLOBS),
        (MARKER, index(entry(annotations={NAME: "a/b:1"}), entry(CONFIG, annotations={NAME: "a/b:1"})), *BLOBS),
        (MARKER, ("index.json", tarfile.SYMTYPE, b"/etc/passwd"), *BLOBS),
        (("something", b"else"),),
    ],
)
def test_a_layout_that_is_wrong_is_refused(members: tuple[Member, ...], opened: Callable[[bytes], Files]) -> None:
    with pytest.raises(CrateError):
        load._incoming(opened(tar(*members)), None)


def test_files_of_a_directory_are_never_links_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    directory = tmp_path / "layout"
    (directory / "below").mkdir(parents=True)
    (directory / "plain").write_text("plain")
    (directory / "link").symlink_to("plain")
    (directory / "out").symlink_to(tmp_path / "secret")
    os.mkfifo(directory / "fifo")
    files = open_files(str(directory), "load it", str(tmp_path))
    try:
        assert read(files, "plain", 100) == b"plain"
        for name in ("link", "out", "fifo", "below", "missing", "../secret", str(tmp_path / "secret")):
            assert not files.has(name)
            with pytest.raises(ImageError):
                read(files, name, 100)
        with pytest.raises(ImageError, match="larger"):
            read(files, "plain", 4)
    finally:
        files.close()


def test_which_image_of_several_has_to_be_said(opened: Callable[[bytes], Files]) -> None:
    other = IMAGE + b" "
    entries = [entry(annotations={NAME: "one"}), entry(other, annotations={NAME: "two"})]
    layout = Layout(opened(tar(MARKER, index(*entries), blob(other), *BLOBS)))
    assert layout.named("two").candidates[0].size == len(other)
    for label in (None, "three"):
        with pytest.raises(ImageNotFound) as raised:
            layout.named(label)
        assert raised.value.hint == "names in it: one, two"


def test_two_images_of_one_name_are_refused(opened: Callable[[bytes], Files]) -> None:
    other = CONFIG.replace(b"{", b'{"author":"x",', 1)
    entries = [json.loads(manifest(Config=name))[0] for name in ("config.json", "other.json")]
    members = (*PLAIN[1:], ("other.json", other))
    with pytest.raises(ImageError, match="two images"):
        load._incoming(opened(tar(("manifest.json", json.dumps(entries).encode()), *members)), None)
    entries[1]["RepoTags"] = ["a/b:2"]
    assert len(load._incoming(opened(tar(("manifest.json", json.dumps(entries).encode()), *members)), None)) == 2
