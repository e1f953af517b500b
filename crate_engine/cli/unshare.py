"""`crate unshare`: a program in a new user and mount namespace with the ids in which images are unpacked (user_namespaces(7)).

There the caller is id 0, the owners of files are what they are in a container, and crate works on the caller's own store.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.cli.session import Session


def unshare(session: Session, *, command: tuple[str, ...]) -> int:
    """Replaces this process, by the shell where no program is named. Raises UsageError for root, HostError."""
    from crate_engine.errors import RuntimeFailed, UsageError
    from crate_engine.store.paths import ROOT_VARIABLE, RUNROOT_VARIABLE
    from crate_engine.system import mount, process, userns

    if os.geteuid() == 0:
        raise UsageError("unshare: it is for ordinary users: root needs no user namespace")
    with session.engine() as engine:
        places = {ROOT_VARIABLE: engine.store.root, RUNROOT_VARIABLE: engine.store.runroot}
    words = command or (os.environ.get("SHELL") or "/bin/sh",)
    userns.enter(userns.choose(), process.CLONE_NEWNS)
    mount.make_private()
    try:
        os.execvpe(words[0], words, os.environ | places)
    except FileNotFoundError:
        raise RuntimeFailed(f"run {words[0]}: executable file not found in $PATH", exit_code=127) from None
    except OSError as error:
        raise RuntimeFailed(f"run {words[0]}: {(error.strerror or '').lower()}", exit_code=126) from error
