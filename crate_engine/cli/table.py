"""All commands in one table, and the second names some have: `crate image ls` is `crate images`, as with docker.

A command whose name has two words stands below a noun. Loaded when a command is not about containers alone, for help, and for completion.
"""

from __future__ import annotations

from crate_engine.cli.commands import CONTAINER_COMMANDS
from crate_engine.cli.exchange_commands import EXCHANGE_COMMANDS
from crate_engine.cli.image_commands import IMAGE_COMMANDS
from crate_engine.cli.registry_commands import REGISTRY_COMMANDS
from crate_engine.cli.system_commands import SYSTEM_COMMANDS

COMMANDS = (*CONTAINER_COMMANDS, *IMAGE_COMMANDS, *EXCHANGE_COMMANDS, *REGISTRY_COMMANDS, *SYSTEM_COMMANDS)
NOUNS = {"image": "Commands about images", "system": "Commands about the store as a whole"}
ALIASES = {
    "image history": "history",
    "image import": "import",
    "image load": "load",
    "image ls": "images",
    "image list": "images",
    "image pull": "pull",
    "image push": "push",
    "image rm": "rmi",
    "image remove": "rmi",
    "image save": "save",
    "image tag": "tag",
    "image umount": "image unmount",
    "image untag": "untag",
}
"""From another name of a command to the name in its row."""
BY_NAME = {command.name: command for command in COMMANDS}
BY_NAME |= {alias: BY_NAME[name] for alias, name in ALIASES.items()}
