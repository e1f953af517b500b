"""The command line of crate as a table of plain values, in docker's grammar and words: what a row is made of, and the commands about containers.

The other rows are in image_commands.py and system_commands.py, and `table` puts all together: it is loaded when a command is none of these.
`parse` reads an argv by it, `app` builds help, completion and the second opinion of the tests from it, docs/commands.md is checked against it.
`run` names the function that carries a command out; nothing is imported until one is called. Its keyword parameters are the names in the table.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FLAG: Final = "flag"
"""True or False; `--rm=false` is understood."""
SWITCH: Final = "switch"
"""A flag that is None where it is not given."""
TEXT: Final = "text"
TEXTS: Final = "texts"
"""May be repeated; a tuple of texts."""
CHOICE: Final = "choice"
"""A text out of `choices`."""
INT: Final = "int"
"""A whole number; None where it is not given."""

ONE: Final = "one"
OPTIONAL: Final = "optional"
"""One or none; a text, or None."""
SOME: Final = "some"
"""One or more; a tuple."""
REST: Final = "rest"
"""None or more; a tuple."""


class Option:
    __slots__ = ("choices", "default", "help", "kind", "longs", "metavar", "name", "short")

    def __init__(
        self,
        flags: str,
        kind: str,
        help: str,
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        default: str | None = None,
    ) -> None:
        """`flags` is `-u --user`, or `--network --net`: the first long one gives the name. The default of a flag is "true" or none."""
        parts = flags.split()
        self.longs = tuple(part for part in parts if part.startswith("--"))
        self.short = next((part for part in parts if not part.startswith("--")), "")
        self.name = self.longs[0][2:].replace("-", "_")
        self.kind = kind
        self.help = help
        self.metavar = metavar or ("|".join(choices) if choices else "" if kind in (FLAG, SWITCH) else self.name.upper())
        self.choices = choices
        self.default: object = default == "true" if kind == FLAG else () if kind == TEXTS else default

    @property
    def flags(self) -> tuple[str, ...]:
        return (self.short, *self.longs) if self.short else self.longs


class Argument:
    __slots__ = ("count", "metavar", "name", "names")

    def __init__(self, name: str, count: str = ONE, *, names: str = "", metavar: str = "") -> None:
        """`names` says what completion offers: `containers` or `images`."""
        self.name = name
        self.count = count
        self.names = names
        self.metavar = metavar or name.upper().rstrip("S")

    @property
    def usage(self) -> str:
        forms = {ONE: self.metavar, OPTIONAL: f"[{self.metavar}]", SOME: f"{self.metavar}...", REST: f"[{self.metavar}...]"}
        return forms[self.count]


class Command:
    __slots__ = ("arguments", "failure", "group", "help", "interspersed", "name", "options", "run")

    def __init__(
        self,
        name: str,
        run: str,
        help: str,
        *,
        group: str,
        arguments: tuple[Argument, ...] = (),
        options: tuple[Option, ...] = (),
        interspersed: bool = True,
        failure: int = 1,
    ) -> None:
        """`failure` is the exit status of an error of the engine. Not `interspersed`: what follows the first argument is left alone."""
        self.name = name
        self.run = run
        self.help = help
        self.group = group
        self.arguments = arguments
        self.options = options
        self.interspersed = interspersed
        self.failure = failure

    @property
    def usage(self) -> str:
        return " ".join(["crate", self.name, *(["[OPTIONS]"] if self.options else []), *(part.usage for part in self.arguments)])


NETWORKS = ("host", "none", "private")
PULL_POLICIES = ("always", "missing", "newer", "never")
LOG_LEVELS = ("debug", "info", "warning", "error")

GLOBAL_OPTIONS = (
    Option("--root", TEXT, "Keep images and containers in this directory", metavar="DIR"),
    Option("--runroot", TEXT, "Keep what does not outlive a boot in this directory", metavar="DIR"),
    Option("--runtime", TEXT, "Use this low-level runtime: crate-runc, runc, crun or a path", metavar="NAME"),
    Option("--log-level", CHOICE, "Tell more or less on standard error", choices=LOG_LEVELS),
    Option("-v --version", FLAG, "Print the version and exit"),
)

_QUIET_PULL = Option("-q --quiet", FLAG, "Show no progress of the pull")
PLATFORM = Option("--platform", TEXT, "Take the image for this platform", metavar="OS/ARCH")
NO_TRUNC = Option("--no-trunc", FLAG, "Print whole values")
FORMAT = Option("--format", TEXT, "Print a table, json or by a Go template", metavar="TEMPLATE")
_ENV = Option("-e --env", TEXTS, "Set an environment variable; NAME alone takes the caller's value", metavar="NAME=VALUE")
_INTERACTIVE = Option("-i --interactive", FLAG, "Connect standard input")
_TTY = Option("-t --tty", FLAG, "Give the program a terminal")
_USER = Option("-u --user", TEXT, "Run as this user, and group", metavar="USER[:GROUP]")
_WORKDIR = Option("-w --workdir", TEXT, "Start in this directory of the container", metavar="DIR")

_CREATE_OPTIONS = (
    Option("--name", TEXT, "Name the container; without it a name is made up", metavar="NAME"),
    _USER,
    Option("-p --publish", TEXTS, "Publish a port of the container on the host", metavar="[[ADDR:]HOST:]PORT[/udp]"),
    Option("--rm", FLAG, "Remove the container when it ends"),
    _ENV,
    Option("-v --volume", TEXTS, "Show a file or directory of the host in the container", metavar="HOST:CTR[:ro]"),
    _WORKDIR,
    _INTERACTIVE,
    _TTY,
    Option("--network --net", CHOICE, "Choose the network", choices=NETWORKS),
    Option("--entrypoint", TEXT, "Replace the entrypoint of the image; an empty text removes it", metavar="PROGRAM"),
    Option("-h --hostname", TEXT, "Set the host name in the container", metavar="NAME"),
    PLATFORM,
    Option("--pull", CHOICE, "Ask the registry for the image", choices=PULL_POLICIES),
    _QUIET_PULL,
)
_RUN_ARGUMENTS = (Argument("image", names="images"), Argument("command", REST))
_CONTAINER = Argument("container", names="containers")
_CONTAINERS = Argument("containers", SOME, names="containers")

CONTAINER_COMMANDS = (
    Command(
        "run",
        "crate_engine.cli.containers:run",
        "Create a container from an image and run it",
        group="Containers",
        arguments=_RUN_ARGUMENTS,
        options=(Option("-d --detach", FLAG, "Leave it running and print its id"), *_CREATE_OPTIONS),
        interspersed=False,
        failure=125,
    ),
    Command(
        "create",
        "crate_engine.cli.containers:create",
        "Create a container from an image without starting it",
        group="Containers",
        arguments=_RUN_ARGUMENTS,
        options=_CREATE_OPTIONS,
        interspersed=False,
        failure=125,
    ),
    Command(
        "start",
        "crate_engine.cli.containers:start",
        "Start created or stopped containers",
        group="Containers",
        arguments=(_CONTAINERS,),
        options=(Option("-a --attach", FLAG, "Connect its output and wait for it to end"),),
        failure=125,
    ),
    Command(
        "exec",
        "crate_engine.cli.containers:exec",
        "Run a program in a running container",
        group="Containers",
        arguments=(_CONTAINER, Argument("command", SOME)),
        options=(Option("-d --detach", FLAG, "Do not wait for it"), _INTERACTIVE, _TTY, _USER, _ENV, _WORKDIR),
        interspersed=False,
        failure=125,
    ),
    Command(
        "ps",
        "crate_engine.cli.containers:ps",
        "List containers",
        group="Containers",
        options=(
            Option("-a --all", FLAG, "Also those that are not running"),
            Option("-q --quiet", FLAG, "Print ids alone"),
            NO_TRUNC,
            FORMAT,
        ),
    ),
    Command(
        "stop",
        "crate_engine.cli.containers:stop",
        "Stop running containers",
        group="Containers",
        arguments=(_CONTAINERS,),
        options=(Option("-t --time --timeout", INT, "Wait this long before killing", metavar="SECONDS"),),
    ),
    Command(
        "kill",
        "crate_engine.cli.containers:kill",
        "Send a signal to running containers",
        group="Containers",
        arguments=(_CONTAINERS,),
        options=(Option("-s --signal", TEXT, "The signal, by name or number", default="KILL"),),
    ),
    Command(
        "rm",
        "crate_engine.cli.containers:rm",
        "Remove containers",
        group="Containers",
        arguments=(_CONTAINERS,),
        options=(Option("-f --force", FLAG, "Kill a running one first"),),
    ),
    Command(
        "logs",
        "crate_engine.cli.containers:logs",
        "Print what a container wrote",
        group="Containers",
        arguments=(_CONTAINER,),
        options=(
            Option("-f --follow", FLAG, "Go on as it writes"),
            Option("-n --tail", TEXT, "Only the last lines: a number, or all", metavar="LINES", default="all"),
            Option("-t --timestamps", FLAG, "Put the time before each line"),
        ),
    ),
)
BY_NAME = {command.name: command for command in CONTAINER_COMMANDS}
"""Those above; `table.BY_NAME` has all."""
