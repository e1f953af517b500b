"""The tree of errors that crate-runc raises; `cli` turns one into a line on stderr, a JSON line in `--log` and an exit status.

RuncError                exit status 1
├── UsageError           an unknown flag, a missing argument
├── BundleError          config.json is wrong; the text starts with the JSON path of the first defect
│   └── Unsupported      a property that this runtime cannot apply
├── StateError           the container is in the wrong state, exists already, or does not exist
└── StepError            a step failed: its name, errno and text (also how a child's failure reaches the parent)
"""

from __future__ import annotations

warnings: list[str] = []
"""What went wrong without failing the command; the command line tells it at the end."""


class RuncError(Exception):
    exit_code = 1


class UsageError(RuncError):
    pass


class BundleError(RuncError):
    """`where` is the JSON path of the defect, `linux.namespaces[2].type`; the text is `where: what`."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.where = where
        self.what = what


class Unsupported(BundleError):
    pass


class StateError(RuncError):
    pass


class CgroupError(RuncError):
    pass


class StepError(RuncError):
    """`errno` is 0 where no system call failed."""

    def __init__(self, step: str, errno: int, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.errno = errno


def reason(error: OSError) -> str:
    """The kernel's words as callers match them: in lower case, `no such file or directory`."""
    return (error.strerror or str(error)).lower()
