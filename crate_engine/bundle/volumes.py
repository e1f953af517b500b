"""docker's `-v` grammar: `HOST:CONTAINER[:options]` as a bind mount. Pure; named and anonymous volumes are refused, not guessed."""

from __future__ import annotations

import posixpath

from crate_engine.errors import UsageError
from crate_engine.values import dataclass

_ACCESS = ("ro", "rw")
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_IGNORED = ("z", "Z")  # SELinux labels, where docker without SELinux ignores them too


@dataclass(frozen=True, slots=True)
class Volume:
    source: str
    destination: str
    read_only: bool = False
    propagation: str = "rprivate"

    def to_mount(self) -> dict[str, object]:
        options = ["rbind", self.propagation, "ro" if self.read_only else "rw"]
        return {"destination": self.destination, "type": "bind", "source": self.source, "options": options}


def parse(text: str) -> Volume:
    """Raises UsageError. Both paths must be absolute."""
    parts = text.split(":")
    if len(parts) == 1:
        raise UsageError(f"volume {text}: must be HOST:CONTAINER[:ro]", hint="anonymous volumes are not supported")
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"volume {text}: must be HOST:CONTAINER[:ro]")
    source, destination = parts[0], parts[1]
    if not source.startswith("/"):
        raise UsageError(
            f"volume {text}: {source} is not an absolute path", hint=f'write "$PWD/{source}"; named volumes are not supported'
        )
    if "\0" in text or not destination.startswith("/"):
        raise UsageError(f"volume {text}: {destination} is not an absolute path in the container")
    destination = posixpath.normpath("/" + destination.lstrip("/"))
    if destination == "/":
        raise UsageError(f"volume {text}: the container's root cannot be replaced")
    if destination == "/proc" or destination.startswith("/proc/"):
        raise UsageError(f"volume {text}: /proc is the kernel's, nothing may be mounted on it")
    return _with_options(text, Volume(source, destination), parts[2].split(",") if len(parts) == 3 else [])


def _with_options(text: str, volume: Volume, options: list[str]) -> Volume:
    read_only, propagation = volume.read_only, volume.propagation
    for option in options:
        if option in _ACCESS:
            read_only = option == "ro"
        elif option in _PROPAGATION:
            propagation = option
        elif option not in _IGNORED:
            raise UsageError(
                f"volume {text}: option {option!r} is not supported", hint=f"known are {', '.join((*_ACCESS, *_PROPAGATION))}"
            )
    return Volume(volume.source, volume.destination, read_only, propagation)
