"""The same targets and mutators, driven by libFuzzer through atheris (the extra `fuzz`): for long runs, one target at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from random import Random


def main(names: list[str]) -> int:
    """Does not return while nothing is found: libFuzzer ends the process. What follows `--` on the command line is for libFuzzer."""
    try:
        import atheris
        import atheris.core_with_libfuzzer
        import atheris.custom_mutator  # it would look for both when its files may be out of reach
    except ImportError:
        sys.exit("atheris is not installed: pip install 'crate-containers[fuzz]'")
    with atheris.instrument_imports(include=["crate_engine"]):
        from tests.fuzz.targets import TARGETS, attempt
    if len(names) != 1 or names[0] not in TARGETS:
        sys.exit(f"name one target of {', '.join(TARGETS)}")
    from tests.fuzz import fuzzer
    from tests.fuzz.mutators import LONGEST

    target = TARGETS[names[0]]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        os.makedirs(f"{directory}/corpus")
        os.mkdir(f"{directory}/work")
        inputs = (*target.seeds, *fuzzer.corpus(target))
        function = target.start(f"{directory}/work")

        def mutate(value: bytes, most: int, seed: int) -> bytes:
            return target.mutate(value, Random(seed))[:most]

        options = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=512", *_options()]
        # As root a target may have gone into a root directory of its own; the corpus is read and written there.
        kept = f"{directory}/corpus" if os.path.isdir(directory) else "/corpus"
        fuzzer.write(Path(kept), inputs)
        atheris.Setup([sys.argv[0], *options, kept], lambda value: attempt(target, function, value), custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def _options() -> list[str]:
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
