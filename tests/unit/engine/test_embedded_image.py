"""The embedded image is a valid, reproducible image layout for two processors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from crate_engine import embedded
from crate_engine.embedded import amd64, arm64, program
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Index, Manifest
from crate_engine.reference import Reference


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layout")
    embedded.layout(str(path))
    return path


def read(directory: Path, digest: Digest) -> bytes:
    content = (directory / layout.blob_path(digest)).read_bytes()
    assert digest.matches(content)
    return content


def images(directory: Path) -> dict[str, Manifest]:
    (entry,) = layout.parse_index((directory / "index.json").read_bytes())
    index = Index.from_json(read(directory, entry.digest), entry.media_type)
    return {str(each.platform): Manifest.from_json(read(directory, each.digest), each.media_type) for each in index.manifests}


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_name_is_a_full_reference_that_stands_for_itself(directory: Path) -> None:
    (entry,) = layout.parse_index((directory / "index.json").read_bytes())
    assert entry.annotations == {layout.REFERENCE_NAME: embedded.NAME}
    assert str(Reference.parse(embedded.NAME)) == embedded.NAME
    assert str(Reference.parse(embedded.NAME.removesuffix(":latest"))) == embedded.NAME


def test_our_own_readers_accept_every_document(directory: Path) -> None:
    layout.check_marker((directory / layout.MARKER).read_bytes())
    found = images(directory)
    assert {name.split("/")[1] for name in found} == {"amd64", "arm64"}
    for name, manifest in found.items():
        config = ImageConfig.from_json(read(directory, manifest.config.digest))
        assert str(config.platform) == name
        assert config.diff_ids == tuple(layer.digest for layer in manifest.layers)


def test_it_holds_no_blob_that_nothing_refers_to(directory: Path) -> None:
    (entry,) = layout.parse_index((directory / "index.json").read_bytes())
    index = Index.from_json(read(directory, entry.digest), entry.media_type)
    wanted = {entry.digest, *(each.digest for each in index.manifests)}
    for manifest in images(directory).values():
        wanted |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
    assert {path for path in files(directory) if path.startswith("blobs/")} == {layout.blob_path(digest) for digest in wanted}


def test_the_layer_holds_the_program_of_its_processor_and_plain_files(directory: Path) -> None:
    programs = {"amd64": program.executable(amd64), "arm64": program.executable(arm64)}
    for name, manifest in images(directory).items():
        (layer,) = manifest.layers
        with tarfile.open(fileobj=io.BytesIO(read(directory, layer.digest))) as archive:
            members = {member.name: member for member in archive}
            assert list(members) == ["etc", "etc/passwd", "etc/group", "hello", "tmp"]
            assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
            hello = archive.extractfile("hello")
            assert hello is not None
            assert hello.read() == programs[name.split("/")[1]]
            assert members["hello"].mode == 0o755


def test_the_same_bytes_come_out_in_another_process(directory: Path, tmp_path: Path) -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); from crate_engine import embedded; embedded.layout(sys.argv[2])"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    root = str(Path(embedded.__file__).parents[2])
    subprocess.run([sys.executable, "-c", script, root, tmp_path], env=environment, check=True, umask=0o077)
    assert files(tmp_path) == files(directory)


def test_a_directory_with_a_layout_in_it_is_not_overwritten(directory: Path) -> None:
    before = files(directory)
    with pytest.raises(FileExistsError):
        embedded.layout(str(directory))
    assert files(directory) == before


def test_the_whole_image_is_small(directory: Path) -> None:
    assert sum(len(content) for content in files(directory).values()) < 64 * 1024
    assert json.loads((directory / "index.json").read_bytes())["schemaVersion"] == 2
