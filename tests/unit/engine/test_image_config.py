"""Image configurations: fields, limits, and hostile values."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci.image_config import ImageConfig
from crate_engine.validate import validate

HEX = "0123456789abcdef" * 4


def document(**config: object) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{HEX}"]}}


def parse(value: object) -> ImageConfig:
    return ImageConfig.from_json(json.dumps(value).encode())


FULL = document(
    User="www-data:1000",
    ExposedPorts={"80/tcp": {}, "53/udp": {}, "9": {}, "8000-8010/tcp": {}},
    Env=["PATH=/bin", "EMPTY=", "A=b=c"],
    Entrypoint=["/entry", ""],
    Cmd=["run"],
    Volumes={"/data": {}},
    WorkingDir="/srv",
    Labels={"Name": "x", "name": "y"},
    StopSignal="SIGQUIT",
    Shell=["/bin/bash", "-c"],
    Healthcheck={"Test": ["NONE"]},
    OnBuild=None,
    Image="sha256:x",
) | {
    "created": "2024-05-06T07:08:09.123456789Z",
    "author": "someone",
    "variant": "v1",
    "container_config": {"Anything": 1.5},
    "docker_version": "1",
    "history": [{"created": "2024-05-06T07:08:09+02:00", "created_by": "COPY", "empty_layer": True, "comment": "c"}, {}],
}


def test_every_field_arrives() -> None:
    config = parse(FULL)
    assert config.user == "www-data:1000"
    assert config.exposed_ports == ("80/tcp", "53/udp", "9", "8000-8010/tcp")
    assert config.env == ("PATH=/bin", "EMPTY=", "A=b=c")
    assert (config.entrypoint, config.cmd, config.shell) == (("/entry", ""), ("run",), ("/bin/bash", "-c"))
    assert (config.volumes, config.working_dir, config.stop_signal) == (("/data",), "/srv", "SIGQUIT")
    assert config.labels == {"Name": "x", "name": "y"}
    assert (config.created, config.author, str(config.platform)) == ("2024-05-06T07:08:09.123456789Z", "someone", "linux/amd64")
    assert [digest.hex for digest in config.diff_ids] == [HEX]
    assert [(step.created_by, step.empty_layer) for step in config.history] == [("COPY", True), ("", False)]
    assert validate(FULL, "image/image-config") == []


def test_what_docker_writes_as_null_is_absent() -> None:
    nulls = document(
        **dict.fromkeys(["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"])
    )
    for value in (nulls, document() | {"config": None, "history": None, "created": None}):
        config = parse(value)
        assert (config.entrypoint, config.cmd, config.env, config.labels, config.user, config.created) == (
            None,
            None,
            (),
            {},
            "",
            "",
        )
        assert validate(value, "image/image-config") == []
    assert parse(document(Entrypoint=[], Cmd=[])).entrypoint == ()


def test_a_relative_working_directory_is_below_the_root() -> None:
    assert parse(document(WorkingDir="srv/app")).working_dir == "/srv/app"


def inner(name: str, *values: object) -> list[dict[str, Any]]:
    return [document(**{name: value}) for value in values]


def top(name: str, *values: object) -> list[dict[str, Any]]:
    return [document() | {name: value} for value in values]


BAD: list[dict[str, Any]] = [
    *inner(
        "Env", ["X"], ["=x"], [""], ["A=\0"], [1], [None], [["A=b"]], "A=b", {"A": "b"}, 1, ["A=b"] * (limits.CONFIG_LIST + 1)
    ),
    *(value for name in ("Entrypoint", "Cmd", "Shell") for value in inner(name, "sh", {"a": 1}, [1], [None], ["a\0"], [["a"]])),
    *inner("User", 1, ["root"], "a\0b", "x" * 513),
    *inner("WorkingDir", 1, "/a\0", "/" + "x" * limits.PATH_BYTES),
    *inner(
        "ExposedPorts", [80], {"0/tcp": {}}, {"65536": {}}, {"1-65536/tcp": {}}, {"80/icmp": {}}, {"9-8": {}}, {"x": {}}, {"": {}}
    ),
    *inner("ExposedPorts", *({text: {}} for text in ("80/tcp\n", "８０/tcp", "-80", "80-/tcp", "1-2-3", "80/TCP/", " 80"))),
    *inner("Volumes", ["/a"], {"": {}}, {"/a\0": {}}, "x"),
    *inner("StopSignal", 9, "9999", "0", "65", "KILL;", "-9", "SIGKILL\n", "９"),
    *inner("Labels", {"a": 1}, {"a": None}, ["a=b"], {"a\0": "b"}, {str(number): "" for number in range(limits.CONFIG_LIST + 1)}),
    *top("created", "yesterday", "2024-13-01T00:00:00Z", "99999-01-01T00:00:00Z", "2024-01-01", 5, "２024-01-01T00:00:00Z"),
    *top("os", None, 1, "x" * 65),
    *top(
        "rootfs", None, [], {}, {"type": "x"}, {"type": "layers", "diff_ids": ["sha256:x"]}, {"type": "layers", "diff_ids": "x"}
    ),
    *top("rootfs", {"type": "layers", "diff_ids": [f"sha256:{HEX}"] * (limits.LAYERS + 1)}),
    *top("history", {}, [1], [{"empty_layer": "yes"}], [{"created_by": 1}]),
    *top("config", [], "x", 1),
    *top("Architecture", "arm64"),
    document(user="root"),
    document(ENV=["A=b"]),
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: json.dumps(value)[:90])
def test_wrong_values_are_refused_in_one_short_line(value: dict[str, Any]) -> None:
    with pytest.raises(ImageError) as failure:
        parse(value)
    assert len(str(failure.value)) < 300
    assert "\n" not in str(failure.value)


def test_random_documents_raise_nothing_but_image_errors() -> None:
    generator = random.Random(5)
    samples: tuple[object, ...] = (
        None,
        0,
        -1,
        1.5,
        "",
        "x",
        "a=b",
        "\0",
        [],
        {},
        ["x"],
        [1],
        {"x": {}},
        {"x": 1},
        True,
        "\ud800",
    )
    values = [json.dumps(sample) for sample in samples]
    for _ in range(5000):
        value: Any = json.loads(json.dumps(FULL))
        for _ in range(generator.randrange(1, 4)):
            target = generator.choice(
                [value, value["config"], value["rootfs"]]
                if all(isinstance(value.get(k), dict) for k in ("config", "rootfs"))
                else [value]
            )
            target[generator.choice([*target, "Env", "os"])] = json.loads(generator.choice(values))
        try:
            parse(value)
        except ImageError:
            continue
