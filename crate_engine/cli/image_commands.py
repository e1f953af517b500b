"""The rows of the table of commands that are about images; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import FLAG, NO_TRUNC, PLATFORM, SOME, Argument, Command, Option

IMAGE_COMMANDS = (
    Command(
        "pull",
        "crate_engine.cli.images:pull",
        "Fetch an image from a registry",
        group="Images",
        arguments=(Argument("image", names="images"),),
        options=(PLATFORM, Option("-q --quiet", FLAG, "Print the name of the image alone")),
    ),
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
