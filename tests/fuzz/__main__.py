"""Fuzz for as long as one likes: `python -m tests.fuzz [TARGET…] [--seconds N] [--seed N] [--keep] [--distil] [--engine atheris]`.

What is found goes to files in --findings. `--keep` adds what led to something new to the corpus, `--distil` reduces the corpus to what is needed to
reach the same lines. With `--engine atheris` (the extra `fuzz`) libFuzzer drives the same targets and mutators, one at a time, without end.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, unless some are named")
    parser.add_argument("--seconds", type=float, default=10, help="for each target (default 10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "crate-fuzz", metavar="DIRECTORY")
    parser.add_argument("--keep", action="store_true", help="add what led to something new to the corpus")
    parser.add_argument("--distil", action="store_true", help="only reduce the corpus")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    given = sys.argv[1:]
    arguments = parser.parse_args(given[: given.index("--")] if "--" in given else given)
    if arguments.engine == "atheris":
        from tests.fuzz import with_atheris

        return with_atheris.main(arguments.targets)
    return _fuzz(arguments)


def _fuzz(arguments: argparse.Namespace) -> int:
    from tests.fuzz import fuzzer
    from tests.fuzz.targets import TARGETS

    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    print(f"seed {arguments.seed}", file=sys.stderr)
    failed = False
    for target in (TARGETS[name] for name in arguments.targets or TARGETS):
        kept = fuzzer.DIRECTORY / "corpus" / target.name
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
            if arguments.distil:
                outcome = fuzzer.replay(target, directory, fuzzer.corpus(target))
                for path in kept.iterdir() if kept.is_dir() else ():
                    path.unlink()
                fuzzer.write(kept, outcome.kept)
            else:
                outcome = fuzzer.fuzz(target, directory, seed=arguments.seed, seconds=arguments.seconds)
                if arguments.keep:
                    fuzzer.write(kept, outcome.kept)
        fuzzer.report(target, outcome)
        for value, told in outcome.findings:
            failed = True
            path = arguments.findings / target.name
            fuzzer.write(path, [value])
            print(f"  {told[:500]}\n    {path / fuzzer.name_of(value)}: {value[:100]!r}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
