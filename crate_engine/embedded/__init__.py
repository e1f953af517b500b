"""The image that comes with crate, so that a first container needs no registry: a program of a few kilobytes for amd64 and arm64.

Nothing in it is a binary that someone has to trust: our own code assembles the program (`program`, `routines`, `assembler` and a page of
encodings per processor), writes the executable (`elf`) and the image around it (`image`).
"""

from __future__ import annotations

NAME = "localhost/crate/hello:latest"
"""The full reference. `localhost` without a port stands for no registry: an image of this name is never asked for on the network."""


def layout(directory: str) -> None:
    """Write the image as an OCI image layout into an existing, empty directory; the image in it is called NAME. Raises OSError."""
    from crate_engine.embedded import image

    image.write(directory, NAME)
