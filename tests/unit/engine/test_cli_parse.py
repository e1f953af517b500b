"""The fast parser: docker's grammar, and that typer reads the same argvs alike."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from crate_engine.cli import app
from crate_engine.cli.parse import Invocation, Misuse, parse
from crate_engine.cli.table import COMMANDS

# what both parsers must read alike
ALIKE = [
    "ps",
    "ps -a",
    "ps -aq --no-trunc",
    "images --digests -q",
    "image ls --digests -q",
    "image rm -f a b",
    "image pull nginx",
    "--root /a image list --no-trunc",
    "pull nginx",
    "pull --platform linux/arm64 -q nginx:1.25",
    "pull nginx --platform=linux/arm64/v8",
    "run alpine",
    "run alpine ls -l /",
    "run --rm -it alpine sh",
    "run -itd --name web alpine",
    "run -d -p 8080:80 -p 53:53/udp nginx",
    "run -p8080:80 -eA=1 -e B=2 alpine env",
    "run -e A= -e B alpine",
    "run -e '' alpine",
    "run --env=A=1=2 --volume /a:/b:ro -v/c:/d alpine",
    "run --network none alpine",
    "run --net=host alpine",
    "run --net none --network private alpine",
    "run -h box -w /tmp -u 1000:1000 --entrypoint '' alpine -h -w -u",
    "run --name first --name second alpine",
    "run --pull always --platform linux/amd64 alpine",
    "run alpine --rm -d",
    "run alpine -- ls",
    "run -- alpine -- ls",
    "run -d -- alpine",
    "run alpine ''",
    "run alpine -",
    "run --name -x alpine",
    "create --name a -it --rm alpine sh -c 'echo hi'",
    "start -a web",
    "start web db -a",
    "exec web ls -la",
    "exec -it -u root -w / -e A=1 web sh -c 'exit 3'",
    "exec -d web -- x",
    "stop -t 3 web db",
    "stop web -t3",
    "stop --timeout 0 web",
    "stop --time -1 web",
    "stop -- -web",
    "kill -s TERM web",
    "kill web",
    "rm -f a b c",
    "rm a -f b",
    "rm -f -- -a",
    "logs -f web",
    "logs web --tail 5 -t",
    "logs -n5 web",
    "logs -ftn 5 web",
    "rmi -f a b",
    "inspect --type image nginx",
    "inspect web nginx",
    "info",
    "version",
    "completion zsh",
    "--root /a --runroot=/b --runtime runc --log-level debug ps -a",
    "--log-level error run -d alpine",
]
# what both must refuse
REFUSED = [
    "frobnicate",
    "image frobnicate",
    "image run",
    "image rm",
    "run",
    "exec web",
    "rm",
    "pull",
    "pull a b",
    "ps extra",
    "run --nope alpine",
    "run -Z alpine",
    "run -iZ alpine",
    "run --name",
    "run -e",
    "run --network bridge alpine",
    "run --pull sometimes alpine",
    "stop -t soon web",
    "logs a b",
    "inspect --type volume x",
    "ps --root /a",
    "--nope ps",
    "--log-level loud ps",
]


def by_typer(argv: list[str]) -> Invocation:
    received: list[Invocation] = []

    def sink(call: Invocation) -> int:
        received.append(call)
        return 7

    assert app.build(sink).main(args=argv, prog_name="crate", standalone_mode=False) == 7
    return received[0]


def facts(call: Invocation) -> dict[str, Any]:
    return {"command": call.command and call.command.name, "globals": call.globals, "values": call.values}


@pytest.mark.parametrize("line", ALIKE)
def test_typer_reads_the_same_argv_alike(line: str) -> None:
    argv = shlex.split(line)
    assert facts(parse(argv)) == facts(by_typer(argv))


@pytest.mark.parametrize("line", REFUSED)
def test_both_parsers_refuse(line: str) -> None:
    argv = shlex.split(line)
    with pytest.raises(Misuse):
        parse(argv)
    with pytest.raises(Exception) as refused:
        by_typer(argv)
    assert type(refused.value).__name__ in {
        "UsageError",
        "NoSuchOption",
        "BadParameter",
        "MissingParameter",
        "BadOptionUsage",
        "NoSuchCommand",
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_values_hold_every_name_of_the_table(command: Any) -> None:
    words = ["word" for _argument in command.arguments]
    values = parse([*command.name.split(), *words]).values
    assert set(values) == {part.name for part in (*command.arguments, *command.options)}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("run --rm=false alpine", "rm", False),
        ("run --rm=true alpine", "rm", True),
        ("run --rm --rm=0 alpine", "rm", False),
        ("run -t=false alpine", "tty", False),
        ("run -it=F alpine", "tty", False),
        ("run -it=F alpine", "interactive", True),
        ("run -p=80:80 alpine", "publish", ("80:80",)),
        ("run -e=A=1 alpine", "env", ("A=1",)),
        ("run -eA=1 alpine", "env", ("A=1",)),
        ("run --name= alpine", "name", ""),
        ("stop -t=+3 web", "time", 3),
    ],
)
def test_the_spellings_of_go_programs_are_understood(line: str, name: str, value: object) -> None:
    assert parse(shlex.split(line)).values[name] == value


def test_flags_after_the_image_belong_to_the_program() -> None:
    values = parse(["run", "-d", "alpine", "sh", "-d", "--name", "x", "--help"]).values
    assert values["command"] == ("sh", "-d", "--name", "x", "--help")
    assert values["name"] is None


def test_flags_after_the_container_belong_to_the_program_of_exec() -> None:
    values = parse(["exec", "-i", "web", "-t", "--user", "x"]).values
    assert (values["interactive"], values["tty"], values["command"]) == (True, False, ("-t", "--user", "x"))


@pytest.mark.parametrize("line", ["", "--help", "--help run", "help", "--root /a"])
def test_help_of_crate_is_asked_for(line: str) -> None:
    call = parse(shlex.split(line))
    assert (call.help, call.command) == ("", None)


@pytest.mark.parametrize("line", ["run --help", "help run", "run -d --help", "help run -d"])
def test_help_of_a_command_is_asked_for(line: str) -> None:
    call = parse(shlex.split(line))
    assert call.help == "run" and call.command is not None and call.command.name == "run"


@pytest.mark.parametrize(("line", "topic"), [("image", "image"), ("image --help", "image"), ("help image", "image")])
def test_help_of_a_noun_is_asked_for(line: str, topic: str) -> None:
    call = parse(shlex.split(line))
    assert (call.help, call.command) == (topic, None)


@pytest.mark.parametrize("line", ["image ls --help", "help image ls", "image ls -q --help"])
def test_help_of_a_second_name_is_asked_for_by_that_name(line: str) -> None:
    call = parse(shlex.split(line))
    assert call.help == "image ls" and call.command is not None and call.command.name == "images"


def test_help_needs_no_arguments_and_wins_over_what_follows() -> None:
    assert parse(["rm", "--help", "--nope"]).help == "rm"


def test_version_is_no_command() -> None:
    for line in ("--version", "-v", "--root /x --version"):
        call = parse(shlex.split(line))
        assert call.command is None and call.help is None and call.globals["version"]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("runn", 'unknown command "runn"', "did you mean run?"),
        ("image lss", 'unknown command "image lss"', "did you mean image ls?"),
        ("run --nmae x alpine", "run: unknown flag --nmae", "did you mean --name?"),
        ("run --nmae=x alpine", "run: unknown flag --nmae", "did you mean --name?"),
        ("run -iZ alpine", "run: unknown flag -Z in -iZ", None),
        ("run --rm=maybe alpine", 'run: --rm: "maybe" is neither true nor false', None),
        ("run --network privat alpine", 'run: --network: "privat" is not one of host, none, private', "did you mean private?"),
        ("stop -t 1_0 web", 'stop: -t: "1_0" is not a whole number', None),
        ("stop -t", "stop: -t needs a value", None),
        ("exec web", "exec: COMMAND is missing", None),
        ("run", "run: IMAGE is missing", None),
        ("ps web", 'ps: unexpected argument "web"', None),
        ("ps --runtime runc", "ps: unknown flag --runtime", "--runtime goes before the command: crate --runtime … ps"),
    ],
)
def test_a_misuse_is_named_with_what_was_meant(line: str, message: str, hint: str | None) -> None:
    with pytest.raises(Misuse) as raised:
        parse(shlex.split(line))
    assert (str(raised.value), raised.value.hint) == (message, hint)
