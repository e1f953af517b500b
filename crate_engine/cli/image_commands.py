"""The rows of the table of commands that are about images; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import FLAG, NO_TRUNC, SOME, Argument, Command, Option
from crate_engine.cli.registry_commands import PULL

IMAGE_COMMANDS = (
    PULL,
    Command(
        "images",
        "crate_engine.cli.images:images",
        "List images",
        group="Images",
        options=(
            Option("-q --quiet", FLAG, "Print ids alone"),
            NO_TRUNC,
            Option("--digests", FLAG, "Show digests"),
        ),
    ),
    Command(
        "rmi",
        "crate_engine.cli.images:rmi",
        "Remove images",
        group="Images",
        arguments=(Argument("images", SOME, names="images"),),
        options=(Option("-f --force", FLAG, "Remove the name even if containers use the image"),),
    ),
)
