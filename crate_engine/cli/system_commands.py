"""The rows of the table of commands that are about everything and about crate itself; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import CHOICE, FLAG, REST, SOME, TEXT, Argument, Command, Option
from crate_engine.cli.image_commands import PRUNE

SHELLS = ("bash", "zsh", "fish")

SYSTEM_COMMANDS = (
    Command(
        "inspect",
        "crate_engine.cli.system:inspect",
        "Print all about containers or images as JSON",
        group="System",
        arguments=(Argument("names", SOME, names="containers"),),
        options=(
            Option("-f --format", TEXT, "Print by a Go template, or json", metavar="TEMPLATE"),
            Option("--type", CHOICE, "Look for this kind alone", choices=("container", "image")),
        ),
    ),
    Command(
        "unshare",
        "crate_engine.cli.unshare:unshare",
        "Run a program in the user namespace of unpacked images",
        group="System",
        arguments=(Argument("command", REST),),
        interspersed=False,
        failure=125,
    ),
    Command("info", "crate_engine.cli.system:info", "Show the store, the runtime and what this host offers", group="System"),
    Command("version", "crate_engine.cli.system:version", "Show the versions of crate and its parts", group="System"),
    Command(
        "completion",
        "crate_engine.cli.system:completion",
        "Print a script that completes commands and names in a shell",
        group="System",
        arguments=(Argument("shell"),),
    ),
    Command(
        "system check",
        "crate_engine.cli.upkeep:check",
        "Look for damage in the store, and repair it",
        group="System",
        options=(
            Option("--full", FLAG, "Read every blob, and compare every unpacked layer with its blob"),
            Option("--repair", FLAG, "Repair what is found, and remove what killed commands left"),
            Option("--json", FLAG, "Print what is found as JSON"),
        ),
    ),
    Command(
        "system df",
        "crate_engine.cli.upkeep:df",
        "Show how much room images and containers take",
        group="System",
        options=(
            Option("-v --verbose", FLAG, "Tell each image and each container"),
            Option("--format", TEXT, "Print by a Go template, or as json", metavar="FORMAT"),
        ),
    ),
    Command(
        "system prune",
        "crate_engine.cli.upkeep:prune",
        "Remove containers that do not run, images without a name, and leftovers",
        group="System",
        options=PRUNE,
    ),
)
