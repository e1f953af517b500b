"""The entry: `python -I -S -X utf8 …/crate_runc/__main__.py ARGUMENTS`, started by the launcher.

The child of a verb that makes a process is started before anything else is loaded, so that both interpreters start at once.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0])
_STARTS_A_CHILD = frozenset(("create", "run", "exec"))


def _verb(arguments: list[str]) -> str:
    for word in arguments:
        if word in _STARTS_A_CHILD or word in ("--help", "-h"):
            return word
    return ""


if _verb(sys.argv[1:]) in _STARTS_A_CHILD:
    from crate_runc.process import parent

    parent.start_early(joins=_verb(sys.argv[1:]) == "exec")

from crate_runc import cli  # noqa: E402

sys.exit(cli.main(sys.argv[1:]))
