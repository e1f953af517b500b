"""Other tools read the embedded image as we do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from crate_engine import embedded
from crate_engine.embedded import amd64, arm64, program

PROGRAMS = {"amd64": amd64, "arm64": arm64}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layout")
    embedded.layout(str(path))
    return path


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("architecture", PROGRAMS)
def test_skopeo_finds_each_platform_by_the_image_name(layout: Path, architecture: str) -> None:
    command = [
        tool("skopeo"),
        "--override-os",
        "linux",
        "--override-arch",
        architecture,
        "inspect",
        f"oci:{layout}:{embedded.NAME}",
    ]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (found["Os"], found["Architecture"]) == ("linux", architecture)


@pytest.mark.parametrize("architecture", PROGRAMS)
def test_umoci_unpacks_what_skopeo_copied(layout: Path, architecture: str, tmp_path: Path) -> None:
    """umoci takes a name for one image alone, so skopeo chooses the platform."""
    source, target = f"oci:{layout}:{embedded.NAME}", f"oci:{tmp_path}/copy:hello"
    skopeo = [tool("skopeo"), "--override-os", "linux", "--override-arch", architecture, "copy", "--quiet", source, target]
    subprocess.run(skopeo, check=True, capture_output=True)
    bundle = tmp_path / "bundle"
    unpack = [tool("umoci"), "unpack", "--rootless", "--image", f"{tmp_path}/copy:hello", str(bundle)]
    subprocess.run(unpack, check=True, capture_output=True)
    assert (bundle / "rootfs/hello").read_bytes() == program.executable(PROGRAMS[architecture])
    assert (bundle / "rootfs/tmp").stat().st_mode & 0o7777 == 0o1777
    config = json.loads((bundle / "config.json").read_bytes())
    assert (config["process"]["args"], config["process"]["cwd"]) == (["/hello"], "/")
