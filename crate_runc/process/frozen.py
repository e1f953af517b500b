"""After the root switch the interpreter loads nothing: a name it looked up now could be answered by a file of the container (CVE-2019-14271).

Whatever is needed later is imported before freeze(): a late import, a codec, a traceback's source line raise instead.
"""

from __future__ import annotations

import sys

_FORBIDDEN = frozenset({"import", "compile", "exec", "os.system", "subprocess.Popen", "os.posix_spawn", "ctypes.dlopen"})


def freeze() -> None:
    """Cannot be undone in this process."""
    "".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    sys.meta_path[:] = []
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    sys.excepthook = _say_nothing
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN or (event == "open" and arguments[1] is not None):
        raise RuntimeError(f"{event} after the root switch")


def _say_nothing(*_: object) -> None:
    """The default prints a traceback, and reads its lines from files of that name."""
