"""Where `crate` starts: run as a file by the launcher with `python -I -S`, or with `python -m crate_engine`.

`-S` leaves out site-packages, whose set-up takes longer than most commands: this module puts the directory that holds the package on sys.path
and lets `site` do the rest only when something is imported that is found neither there nor in the standard library.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


# top-level names that the standard library tries and lives without: Jython's in copy, pickle and platform
_TRIED = ("org", "java")


class SitePackages:
    """The last finder of sys.meta_path: brings in site-packages, once, for the first foreign module that nothing else has found.

    This serves an editable install, whose dependencies are in another directory, and a user's install that uses the system's packages.
    """

    done = False

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        # stdlib_module_names has the modules of other systems too (msvcrt, _winapi), which the library tries as well
        if cls.done or path is not None or name in _TRIED or name in sys.stdlib_module_names:
            return None
        cls.done = True
        import site

        site.main()
        for finder in sys.meta_path:
            if finder is not cls and (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None


def _find_packages() -> None:
    if "site" in sys.modules:  # python -m crate_engine: everything is in place already
        return
    import os

    directory = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if directory not in sys.path:
        sys.path.append(directory)  # last: nothing in site-packages stands in for the standard library
    sys.meta_path.append(SitePackages)


if __name__ == "__main__":
    _find_packages()
    from crate_engine.cli.__main__ import run_and_exit

    run_and_exit()
