"""The tree of errors that the engine raises. The command line turns them into one line and an exit status; library code never prints.

CrateError                      exit status 125; `hint` is the next step, when the user can act
├── UsageError                  a flag or argument that cannot be understood
├── SettingsError               a settings file is wrong
├── HostError                   the host lacks something: user namespaces, newuidmap, a kernel feature
├── InvalidReference            an image name that cannot be parsed
├── ImageError                  a manifest, index, config or layer that is wrong
│   ├── ImageNotFound
│   ├── ImageInUse
│   ├── DigestMismatch          bytes that do not have the digest or size they were announced with
│   ├── PlatformNotOffered
│   └── LayerError              a layer that cannot be unpacked safely
├── RegistryError               a registry answered with an error, or not at all
│   ├── RegistryUnreachable
│   ├── AuthenticationRequired
│   └── RateLimited
├── StoreError                  the store on disk is damaged, foreign or not writable
├── ContainerError
│   ├── ContainerNotFound
│   ├── AmbiguousName           an id prefix that several containers share
│   ├── NameInUse
│   ├── ContainerRunning
│   └── ContainerNotRunning
├── NetworkError
│   └── PortInUse
└── RuntimeFailed               the low-level runtime reported an error (126 and 127 as docker maps them)
"""

from __future__ import annotations


class CrateError(Exception):
    """Text is *action object: cause*, lower case, with the path, digest or id in it."""

    exit_code = 125

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CrateError):
    pass


class SettingsError(CrateError):
    pass


class HostError(CrateError):
    pass


class InvalidReference(CrateError):
    pass


class ImageError(CrateError):
    pass


class ImageNotFound(ImageError):
    pass


class ImageInUse(ImageError):
    pass


class DigestMismatch(ImageError):
    pass


class PlatformNotOffered(ImageError):
    pass


class LayerError(ImageError):
    pass


class RegistryError(CrateError):
    pass


class RegistryUnreachable(RegistryError):
    pass


class AuthenticationRequired(RegistryError):
    pass


class RateLimited(RegistryError):
    pass


class StoreError(CrateError):
    pass


class ContainerError(CrateError):
    pass


class ContainerNotFound(ContainerError):
    pass


class AmbiguousName(ContainerError):
    pass


class NameInUse(ContainerError):
    pass


class ContainerRunning(ContainerError):
    pass


class ContainerNotRunning(ContainerError):
    pass


class NetworkError(CrateError):
    pass


class PortInUse(NetworkError):
    pass


class RuntimeFailed(CrateError):
    """`exit_code` is 127 where the program was not found, 126 where it could not be invoked, otherwise 125."""

    def __init__(self, message: str, *, exit_code: int = 125, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
