"""The rows of the table of commands that move images in and out of files and registries; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import CHOICE, FLAG, INT, OPTIONAL, PLATFORM, SOME, TEXT, TEXTS, Argument, Command, Option
from crate_engine.cli.registry_commands import AUTHFILE, TLS_VERIFY

_CONTAINER = Argument("container", names="containers")
_CHANGE = Option("-c --change", TEXTS, "Apply an instruction of a Dockerfile to the configuration", metavar="INSTRUCTION")
_MESSAGE = Option("-m --message", TEXT, "Say in the history what this is", metavar="TEXT")

EXCHANGE_COMMANDS = (
    Command(
        "push",
        "crate_engine.cli.pushes:push",
        "Upload an image to a registry",
        group="Images",
        arguments=(Argument("image", names="images"), Argument("destination", OPTIONAL)),
        options=(
            Option("-q --quiet", FLAG, "Print the name of the image alone"),
            Option("--digestfile", TEXT, "Write the digest of what was pushed to this file", metavar="FILE"),
            Option("--compression-format", CHOICE, "Compress layers so, where they are not", choices=("gzip", "zstd")),
            Option("--compression-level", INT, "How much effort to put into compressing", metavar="LEVEL"),
            Option("--force-compression", FLAG, "Compress all layers anew"),
            AUTHFILE,
            TLS_VERIFY,
        ),
    ),
    Command(
        "save",
        "crate_engine.cli.exchange:save",
        "Write images to a file",
        group="Images",
        arguments=(Argument("images", SOME, names="images"),),
        options=(
            Option("-o --output", TEXT, "Write to this file or directory, not to standard output", metavar="FILE"),
            Option("--format", CHOICE, "What to write", choices=("docker-archive", "oci-archive", "oci-dir")),
            Option("-q --quiet", FLAG, "Show no progress"),
        ),
    ),
    Command(
        "load",
        "crate_engine.cli.exchange:load",
        "Read images from a file",
        group="Images",
        options=(
            Option("-i --input", TEXT, "Read this file or directory, not standard input", metavar="FILE"),
            PLATFORM,
            Option("-q --quiet", FLAG, "Show no progress"),
        ),
    ),
    Command(
        "import",
        "crate_engine.cli.exchange:import_archive",
        "Make an image from the archive of a root file system",
        group="Images",
        arguments=(Argument("source", metavar="FILE|URL|-"), Argument("name", OPTIONAL, metavar="REPOSITORY[:TAG]")),
        options=(
            _CHANGE,
            _MESSAGE,
            Option("--platform", TEXT, "What the programs in it are for", metavar="OS/ARCH"),
            Option("-q --quiet", FLAG, "Show no progress"),
        ),
    ),
    Command(
        "export",
        "crate_engine.cli.exchange:export",
        "Write the files of a container to an archive",
        group="Images",
        arguments=(_CONTAINER,),
        options=(Option("-o --output", TEXT, "Write to this file, not to standard output", metavar="FILE"),),
    ),
    Command(
        "commit",
        "crate_engine.cli.exchange:commit",
        "Make an image from a container",
        group="Images",
        arguments=(_CONTAINER, Argument("name", OPTIONAL, metavar="REPOSITORY[:TAG]")),
        options=(
            Option("-a --author", TEXT, "Who made it", metavar="NAME"),
            _CHANGE,
            _MESSAGE,
            Option("-p --pause", FLAG, "Let the container stand still meanwhile", default="true"),
            Option("-q --quiet", FLAG, "Nothing but the id is said anyway"),
        ),
    ),
)
