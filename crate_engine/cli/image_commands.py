"""The rows of the table of commands that are about images; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import FLAG, FORMAT, NO_TRUNC, OPTIONAL, REST, SOME, TEXT, TEXTS, Argument, Command, Option
from crate_engine.cli.registry_commands import PULL

FILTER = Option("-f --filter", TEXTS, "Take only images of which this holds", metavar="KEY=VALUE")
PRUNE = (
    Option("-a --all", FLAG, "Remove all images that no container uses"),
    Option("--filter", TEXTS, "Take only what this holds of", metavar="KEY=VALUE"),
    Option("-f --force", FLAG, "Do not ask"),
)

IMAGE_COMMANDS = (
    PULL,
    Command(
        "images",
        "crate_engine.cli.images:images",
        "List images",
        group="Images",
        arguments=(Argument("repository", OPTIONAL, names="images", metavar="REPOSITORY[:TAG]"),),
        options=(
            Option("-a --all", FLAG, "Also intermediate images, of which there are none"),
            Option("-q --quiet", FLAG, "Print ids alone"),
            NO_TRUNC,
            Option("--digests", FLAG, "Show digests"),
            FILTER,
            FORMAT,
            Option("-n --noheading", FLAG, "Print no head of the table"),
        ),
    ),
    Command(
        "rmi",
        "crate_engine.cli.images:rmi",
        "Remove images",
        group="Images",
        arguments=(Argument("images", SOME, names="images"),),
        options=(
            Option("-f --force", FLAG, "Remove the name even if containers use the image"),
            Option("-i --ignore", FLAG, "Say nothing of images that do not exist"),
            Option("--no-prune", FLAG, "Keep parents without a name, of which there are none"),
        ),
    ),
    Command(
        "tag",
        "crate_engine.cli.images:tag",
        "Give an image one more name",
        group="Images",
        arguments=(Argument("image", names="images"), Argument("names", SOME)),
    ),
    Command(
        "untag",
        "crate_engine.cli.images:untag",
        "Take names from an image, which stays",
        group="Images",
        arguments=(Argument("image", names="images"), Argument("names", REST, names="images")),
    ),
    Command(
        "history",
        "crate_engine.cli.image_layers:history",
        "Show how an image came about",
        group="Images",
        arguments=(Argument("image", names="images"),),
        options=(
            Option("-H --human", FLAG, "Print sizes and ages for people; --human=false for programs", default="true"),
            NO_TRUNC,
            Option("-q --quiet", FLAG, "Print ids alone"),
            FORMAT,
        ),
    ),
    Command(
        "image inspect",
        "crate_engine.cli.system:inspect_images",
        "Print all about images as JSON",
        group="Images",
        arguments=(Argument("images", SOME, names="images"),),
        options=(Option("-f --format", TEXT, "Print by a Go template, or json", metavar="TEMPLATE"),),
    ),
    Command(
        "image exists",
        "crate_engine.cli.images:exists",
        "Tell by the exit status whether an image is here",
        group="Images",
        arguments=(Argument("image", names="images"),),
    ),
    Command(
        "image tree",
        "crate_engine.cli.image_layers:tree",
        "Show an image's layers and which images share them",
        group="Images",
        arguments=(Argument("images", REST, names="images"),),
        options=(Option("--whatrequires", FLAG, "Show the images that stand on it"),),
    ),
    Command(
        "image mount",
        "crate_engine.cli.image_layers:mount",
        "Make an image's files readable as a directory",
        group="Images",
        arguments=(Argument("images", REST, names="images"),),
        options=(
            Option("-a --all", FLAG, "Mount all images"),
            Option("--format", TEXT, "Print what is mounted as json", metavar="json"),
        ),
    ),
    Command(
        "image unmount",
        "crate_engine.cli.image_layers:unmount",
        "Undo image mount",
        group="Images",
        arguments=(Argument("images", REST, names="images"),),
        options=(
            Option("-a --all", FLAG, "Unmount all images"),
            Option("-f --force", FLAG, "Unmount it while files in it are open"),
        ),
    ),
    Command(
        "image prune",
        "crate_engine.cli.images:prune",
        "Remove images that have no name",
        group="Images",
        options=PRUNE,
    ),
)
