"""The rows of the table of commands that ask a registry; what a row is made of is in commands.py."""

from __future__ import annotations

from crate_engine.cli.commands import (
    CHOICE,
    FLAG,
    NO_TRUNC,
    OPTIONAL,
    PLATFORM,
    PULL_POLICIES,
    SWITCH,
    TEXT,
    Argument,
    Command,
    Option,
)

AUTHFILE = Option("--authfile", TEXT, "Read logins from this file alone", metavar="FILE")
TLS_VERIFY = Option("--tls-verify", SWITCH, "Verify certificates, or with =false do not, and speak plain http where need be")

PULL = Command(
    "pull",
    "crate_engine.cli.pulls:pull",
    "Fetch an image from a registry",
    group="Images",
    arguments=(Argument("image", names="images"),),
    options=(
        PLATFORM,
        Option("--pull --policy", CHOICE, "Ask the registry: always, only for what is not here, …", choices=PULL_POLICIES),
        Option("-q --quiet", FLAG, "Print the name of the image alone"),
        AUTHFILE,
        TLS_VERIFY,
    ),
)
REGISTRY_COMMANDS = (
    Command(
        "image referrers",
        "crate_engine.cli.pulls:referrers",
        "List the artifacts in the registry that are about an image",
        group="Images",
        arguments=(Argument("image", names="images"),),
        options=(
            Option("--artifact-type", TEXT, "Those of this type alone", metavar="TYPE"),
            Option("--format", CHOICE, "Print a table, or one JSON object a line", choices=("table", "json")),
            NO_TRUNC,
            AUTHFILE,
            TLS_VERIFY,
        ),
    ),
    Command(
        "login",
        "crate_engine.cli.logins:login",
        "Log in to a registry",
        group="Registries",
        arguments=(Argument("registry", OPTIONAL),),
        options=(
            Option("-u --username", TEXT, "The user's name", metavar="NAME"),
            Option("-p --password", TEXT, "The password or token; others can see it", metavar="PASSWORD"),
            Option("--password-stdin", FLAG, "Read the password from standard input"),
            Option("--get-login", FLAG, "Print the name of the user who is logged in"),
            Option("--authfile", TEXT, "Keep the login in this file", metavar="FILE"),
            TLS_VERIFY,
        ),
    ),
    Command(
        "logout",
        "crate_engine.cli.logins:logout",
        "Log out of a registry",
        group="Registries",
        arguments=(Argument("registry", OPTIONAL),),
        options=(
            Option("-a --all", FLAG, "Log out of all registries"),
            Option("--authfile", TEXT, "Forget the login in this file", metavar="FILE"),
        ),
    ),
)
