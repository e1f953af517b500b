"""`--change`: instructions of a Dockerfile applied to a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from crate_engine.errors import UsageError
from crate_engine.oci import changes

BEFORE: dict[str, Any] = {"Env": ["PATH=/bin", "A=1"], "Labels": {"x": "y"}, "WorkingDir": "/srv", "Unknown": [1]}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("CMD echo $HOME", "Cmd", ["/bin/sh", "-c", "echo $HOME"]),
        ("cmd []", "Cmd", None),
        ("CMD", "Cmd", None),
        ("CMD [ -f x ] && y", "Cmd", ["/bin/sh", "-c", "[ -f x ] && y"]),
        ('ENTRYPOINT ["/x"]', "Entrypoint", ["/x"]),
        ("ENV A=2", "Env", ["PATH=/bin", "A=2"]),
        ("ENV B the whole rest", "Env", ["PATH=/bin", "A=1", "B=the whole rest"]),
        ("ENV B=\"a b\" C='d'", "Env", ["PATH=/bin", "A=1", "B=a b", "C=d"]),
        ("ENV B=", "Env", ["PATH=/bin", "A=1", "B="]),
        ("EXPOSE 80 53/UDP 8000-8010", "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "8000-8010/tcp": {}}),
        ("LABEL a=b x=z", "Labels", {"a": "b", "x": "z"}),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("USER 1000:50", "User", "1000:50"),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("WORKDIR below/../next", "WorkingDir", "/srv/next"),
        ("WORKDIR /abs/", "WorkingDir", "/abs"),
    ],
)
def test_an_instruction_changes_its_field_alone(text: str, field: str, value: object) -> None:
    config = {key: list(old) if isinstance(old, list) else old for key, old in BEFORE.items()}
    changes.apply(config, [text])
    assert config.get(field) == value
    assert {key: old for key, old in config.items() if key != field} == {key: old for key, old in BEFORE.items() if key != field}


@pytest.mark.parametrize(
    "text", ["RUN rm -rf /", "COPY a b", "", "ENV", "ENV A", "EXPOSE x", "LABEL =b", 'ENV A="open', "FROM x"]
)
def test_what_is_no_change_of_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="change"):
        changes.apply({}, [text])


def test_changes_are_applied_in_order() -> None:
    config: dict[str, Any] = {}
    changes.apply(config, ["WORKDIR /a", "WORKDIR b", "ENV X=1", "ENV X=2"])
    assert (config["WorkingDir"], config["Env"]) == ("/a/b", ["X=2"])
