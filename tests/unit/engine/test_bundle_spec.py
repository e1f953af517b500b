from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crate_engine.bundle import spec
from crate_engine.errors import UsageError
from crate_engine.oci.image_config import ImageConfig
from crate_engine.options import RunOptions
from crate_engine.validate import validate

IMAGE = ImageConfig(
    os="linux",
    architecture="amd64",
    entrypoint=("/entry",),
    cmd=("default",),
    env=("PATH=/image", "A=image"),
    working_dir="/work",
    user="bob",
    labels={"io.crate.runtime": "evil", "org.example": "x"},
)
OPTIONS = RunOptions(image="example")
PLACE = spec.Place(id="ab" * 32, directory="/data/containers/ab", mode="root", network="private", hostname="inside")


def made(options: RunOptions = OPTIONS, image: ImageConfig = IMAGE, **place: str) -> dict[str, Any]:
    return spec.make(image, options, replace(PLACE, **place), {"CALLER": "value"})


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (IMAGE, OPTIONS, ("/entry", "default")),
        (IMAGE, replace(OPTIONS, command=("x", "y")), ("/entry", "x", "y")),
        (IMAGE, replace(OPTIONS, entrypoint="/other"), ("/other",)),
        (IMAGE, replace(OPTIONS, entrypoint="", command=("x",)), ("x",)),
        (replace(IMAGE, entrypoint=None), OPTIONS, ("default",)),
        (replace(IMAGE, entrypoint=(), cmd=("c",)), OPTIONS, ("c",)),
    ],
)
def test_entrypoint_and_command_join_as_in_docker(image: ImageConfig, options: RunOptions, expected: tuple[str, ...]) -> None:
    assert spec.command(image, options) == expected


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (replace(IMAGE, entrypoint=None, cmd=None), OPTIONS),
        (IMAGE, replace(OPTIONS, entrypoint="")),
        (IMAGE, replace(OPTIONS, command=("a\0b",))),
    ],
)
def test_no_command_is_an_error(image: ImageConfig, options: RunOptions) -> None:
    with pytest.raises(UsageError):
        spec.command(image, options)


def test_environment_is_defaults_then_image_then_flags() -> None:
    env = made(replace(OPTIONS, environment=("A=flag", "CALLER", "ABSENT", "EMPTY=")))["process"]["env"]
    assert env == ["PATH=/image", "HOSTNAME=inside", "container=crate", "A=flag", "CALLER=value", "EMPTY="]
    assert "TERM=xterm" in made(replace(OPTIONS, tty=True))["process"]["env"]
    with pytest.raises(UsageError):
        made(replace(OPTIONS, environment=("=x",)))


@pytest.mark.parametrize("workdir", ["relative", "/a/../b", "/nul\0"])
def test_a_working_directory_is_absolute_and_plain(workdir: str) -> None:
    with pytest.raises(UsageError):
        made(replace(OPTIONS, workdir=workdir))


@pytest.mark.parametrize("mode", ["root", "range", "single"])
@pytest.mark.parametrize("network", ["private", "host", "none"])
def test_what_is_made_is_valid_and_has_what_the_mode_allows(mode: str, network: str) -> None:
    config = made(mode=mode, network=network)
    complete = config | {"process": config["process"] | {"user": {"uid": 0, "gid": 0}}}
    assert validate(complete, "runtime/config") == []
    kinds = {entry["type"]: entry.get("path") for entry in config["linux"]["namespaces"]}
    assert "user" not in kinds
    assert kinds.get("network") == (None if network == "host" else "/data/containers/ab/netns")
    assert ("sysctl" in config["linux"]) == (network != "host")
    assert ("resources" in config["linux"]) == ("cgroupsPath" in config["linux"]) == (mode == "root")
    mounts = {entry["destination"]: entry for entry in config["mounts"]}
    assert ("gid=5" in mounts["/dev/pts"]["options"]) == (mode != "single")
    assert mounts["/sys"]["type"] == ("bind" if mode != "root" and network == "host" else "sysfs")
    assert "ro" in mounts["/sys"]["options"]
    assert "ro" in mounts["/sys/fs/cgroup"]["options"]


def test_labels_of_an_image_change_nothing_but_annotations() -> None:
    labelled, plain = made(), made(image=replace(IMAGE, labels={}))
    assert labelled.pop("annotations") == IMAGE.labels
    assert labelled == plain


def test_volumes_come_after_the_default_mounts_parents_first() -> None:
    flags = ("/h/b:/data/sub/deep", "/h/a:/data:ro", "/h/hosts:/etc/hosts", "/h/x:/run/x:rslave,z")
    mounts = made(replace(OPTIONS, volumes=flags))["mounts"]
    assert [entry["destination"] for entry in mounts[-4:]] == ["/data", "/etc/hosts", "/run/x", "/data/sub/deep"]
    assert mounts[-4] == {"destination": "/data", "type": "bind", "source": "/h/a", "options": ["rbind", "rprivate", "ro"]}
    assert [entry["source"] for entry in mounts if entry["destination"] == "/etc/hosts"] == ["/h/hosts"]
    assert "rslave" in mounts[-2]["options"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/x",
        ":",
        "a:/x",
        "./a:/x",
        "/a:b",
        "/a:/",
        "/a://",
        "/a:/proc",
        "/a:/proc/self",
        "/a:/./proc",
        "/a:/x:what",
        "/a:/x:ro:rw",
        "/a\0:/x",
    ],
)
def test_volumes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        made(replace(OPTIONS, volumes=(text,)))


def test_two_volumes_in_one_place_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        made(replace(OPTIONS, volumes=("/a:/x", "/b:/x/")))
