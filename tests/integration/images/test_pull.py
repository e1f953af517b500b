"""Pulling from a registry: what arrives, what is fetched, what is kept."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import tarfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from crate_engine.oci import media_types

BASE = {"etc/": b"", "etc/name": b"base", "bin/": b"", "bin/a": b"#!"}


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size, member.mtime, member.mode = len(content), 1_700_000_000, 0o755
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def index(server: Any, repository: str, tag: str, *entries: dict[str, Any]) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries)}
    found: dict[str, Any] = server.manifest(repository, document, tag)
    return found


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_arrives_with_its_files_names_and_digests(server: Any, puller: Any, docker: bool) -> None:
    layers = [archive(BASE), archive({"etc/name": b"above"})]
    descriptor = server.image("app", "1", layers=layers, docker=docker)
    found = puller.pulled(f"{server.host}/app:1")
    assert found["names"] == [f"{server.host}/app:1"]
    assert found["repo_digests"] == [f"{server.host}/app@{descriptor['digest']}"]
    assert found["size"] == sum(map(len, layers))
    lower, upper, *_ = map(Path, found["layers"])  # and what the lower says of directories of the upper
    assert (lower / "etc/name").read_bytes() == b"base"
    assert (upper / "etc/name").read_bytes() == b"above"
    assert (lower / "bin/a").stat().st_mtime == 1_700_000_000
    assert puller.leftovers() == []
    again = puller.pulled(f"{server.host}/app@{descriptor['digest']}", policy="never")
    assert again["id"] == found["id"]


def test_of_an_index_the_right_platform_is_pulled_and_its_digest_still_leads_there(server: Any, puller: Any) -> None:
    entries = []
    for architecture in ("amd64", "arm64", "riscv64"):
        entry = server.image("app", layers=[archive({"arch": architecture.encode()})], architecture=architecture)
        entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    attestation = {
        **entries[0],
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "x"},
    }
    top = index(server, "app", "1", attestation, *entries)
    found = puller.pulled(f"{server.host}/app:1", platform="linux/arm64")
    assert found["platform"] == "linux/arm64"
    assert Path(found["layers"][0], "arch").read_bytes() == b"arm64"
    assert len(server.requests("/blobs/")) == 2
    for name in (f"app@{top['digest']}", f"app@{entries[1]['digest']}", "app:1"):
        assert puller.pulled(f"{server.host}/{name}", policy="never")["id"] == found["id"]
    other = puller.pulled(f"{server.host}/app:1", policy="missing", platform="linux/riscv64")
    assert other["platform"] == "linux/riscv64"
    message = puller.pull(f"{server.host}/app:1", platform="linux/s390x")
    assert message["error"] == "PlatformNotOffered"
    assert "linux/amd64, linux/arm64, linux/riscv64" in message["hint"]


def test_indexes_that_never_end_are_refused(server: Any, puller: Any) -> None:
    entry = server.image("app", layers=[archive(BASE)])
    for level in range(6):
        entry = {**index(server, "app", f"level{level}", {**entry, "platform": {"os": "linux", "architecture": "amd64"}})}
    assert "nested too deeply" in puller.refused(f"{server.host}/app:level5", "ImageError", platform="amd64")
    puller.pulled(f"{server.host}/app:level2", platform="amd64")


def test_a_moved_tag_brings_the_new_image_and_keeps_the_old_without_a_name(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive(BASE), archive({"v": b"1"})])
    old = puller.pulled(f"{server.host}/app:1")
    server.image("app", "1", layers=[archive(BASE), archive({"v": b"2"})])
    server.log.clear()
    new = puller.pulled(f"{server.host}/app:1")
    assert new["id"] != old["id"]
    assert len(server.requests("/blobs/")) == 2  # the configuration and the one new layer
    assert new["layers"][0] == old["layers"][0]
    entries = json.loads((puller.root / "oci/index.json").read_bytes())["manifests"]
    assert [entry["annotations"].get("org.opencontainers.image.ref.name") for entry in entries] == [None, f"{server.host}/app:1"]


def test_policies_decide_whether_the_registry_is_asked(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive(BASE)])
    name = f"{server.host}/app:1"
    assert "is not here" in puller.refused(name, "ImageNotFound", policy="never")
    assert server.log == []
    puller.pulled(name, policy="missing")
    server.log.clear()
    puller.pulled(name, policy="missing")
    puller.pulled(name, policy="never")
    assert server.log == []
    puller.pulled(name)
    assert len(server.log) == 1  # HEAD: what the tag stands for is here, and whole
    assert "pull policy" in puller.pull(name, policy="sometimes")["message"]


def test_damage_on_disk_is_repaired_by_pulling_again(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive(BASE), archive({"x": b"y"})])
    name = f"{server.host}/app:1"
    first = puller.pulled(name)
    shutil.rmtree(Path(first["layers"][0]).parent)
    assert puller.pulled(name, policy="missing") == first
    for blob in (puller.root / "oci/blobs/sha256").iterdir():
        blob.unlink()
    assert puller.pulled(name, policy="missing") == first
    assert len(list((puller.root / "oci/blobs/sha256").iterdir())) == 4


@pytest.mark.parametrize("form", ["plain", "zstd", "members", "gzip that calls itself so and is not"])
def test_layers_come_in_every_compression(server: Any, puller: Any, form: str) -> None:
    content = archive({"big": random.Random(2).randbytes(3_000_000)})

    def compress(plain: bytes) -> bytes:
        if form == "zstd":
            if shutil.which("zstd") is None:
                pytest.skip("needs the program zstd")
            return subprocess.run(["zstd", "-qc"], input=plain, stdout=subprocess.PIPE, check=True).stdout
        if form == "members":
            return b"".join(gzip.compress(plain[at : at + 500_000], 1) for at in range(0, len(plain), 500_000))
        return plain

    server.image("app", "1", layers=[content], compress=compress)
    found = puller.pulled(f"{server.host}/app:1")
    assert Path(found["layers"][0], "big").stat().st_size == 3_000_000


def test_a_layer_that_comes_twice_in_an_image_is_unpacked_once(server: Any, puller: Any) -> None:
    empty, base = archive({}), archive(BASE)
    server.image("app", "1", layers=[base, empty, base, empty])
    found = puller.pulled(f"{server.host}/app:1")
    assert len(found["layers"]) == 4
    assert puller.layer_count() == 2


def test_pulls_at_the_same_time_fetch_and_unpack_everything_once(server: Any, puller: Any) -> None:
    layers = [archive({f"file{number}": random.Random(number).randbytes(1_500_000)}) for number in range(4)]
    server.image("app", "1", layers=layers)
    processes = [puller.start(f"{server.host}/app:1") for _ in range(6)]
    found = [puller.finish(process) for process in processes]
    assert all(one == found[0] for one in found), found
    assert "id" in found[0]
    fetched = [path for path, _ in server.log if "/blobs/" in path]
    layer_blobs = [path for path in set(fetched) if len(server.documents[path][1]) > 100_000]
    assert len(layer_blobs) == 4
    assert [fetched.count(path) for path in layer_blobs] == [1] * 4
    assert puller.layer_count() == 4
    assert puller.leftovers() == []


def _slowly(request: BaseHTTPRequestHandler, server: Any) -> bool:
    """Large blobs in small pieces: about half a second each."""
    _, content = server.documents.get(request.path, ("", b""))
    if len(content) < 100_000 or "Range" in request.headers:
        return False
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    try:
        for at in range(0, len(content), 60_000):
            request.wfile.write(content[at : at + 60_000])
            time.sleep(0.02)
    except OSError:
        pass
    return True


def test_a_killed_pull_leaves_nothing_wrong_and_the_next_one_works(server: Any, puller: Any) -> None:
    layers = [archive({f"d{number}/": b"", f"d{number}/f": random.Random(number).randbytes(1_500_000)}) for number in range(3)]
    server.image("app", "1", layers=layers)
    server.fault = lambda request: _slowly(request, server)
    delays = random.Random(4)
    for _ in range(8):
        process = puller.start(f"{server.host}/app:1")
        time.sleep(delays.uniform(0.1, 1.2))
        process.kill()
        process.communicate()
        puller.check()
        index = puller.root / "oci/index.json"
        if index.exists() and json.loads(index.read_bytes())["manifests"]:
            break
    found = puller.pulled(f"{server.host}/app:1")
    assert len(found["layers"]) == 3
    for number, directory in enumerate(found["layers"]):
        assert Path(directory, f"d{number}/f").read_bytes() == random.Random(number).randbytes(1_500_000)
    puller.check()
    assert puller.leftovers() == []


def test_the_store_is_read_in_place_by_skopeo_and_umoci(server: Any, puller: Any, tmp_path: Path) -> None:
    for program in ("skopeo", "umoci"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    server.image("app", "1", layers=[archive(BASE)])
    server.image("app", "docker", layers=[archive(BASE)], docker=True, author="docker")
    for tag in ("1", "docker"):
        puller.pulled(f"{server.host}/app:{tag}")
        layout = f"{puller.root}/oci:{server.host}/app:{tag}"
        shown = subprocess.run(["skopeo", "inspect", f"oci:{layout}"], check=True, capture_output=True).stdout
        assert len(json.loads(shown)["Layers"]) == 1
        subprocess.run(["skopeo", "copy", "-q", f"oci:{layout}", f"dir:{tmp_path}/copy-{tag}"], check=True, capture_output=True)
        unpacked = tmp_path / f"bundle-{tag}"
        subprocess.run(["umoci", "unpack", "--rootless", "--image", layout, str(unpacked)], check=True, capture_output=True)
        assert (unpacked / "rootfs/etc/name").read_bytes() == b"base"


def test_an_old_image_without_the_newer_names_of_its_index_is_found_by_skopeo_too(server: Any, puller: Any) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    server.image("app", "1", layers=[archive(BASE)])
    puller.pulled(f"{server.host}/app:1")
    server.image("app", "1", layers=[archive({"new": b""})])
    puller.pulled(f"{server.host}/app:1")
    name = f"oci:{puller.root}/oci:{server.host}/app:1"
    assert subprocess.run(["skopeo", "inspect", name], check=True, capture_output=True).returncode == 0
