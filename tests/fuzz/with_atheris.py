"""The same targets and mutators, driven by libFuzzer through atheris (the extra `fuzz`): for long runs, one target at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from random import Random


def main(names: list[str]) -> int:
    """Does not return while nothing is found: libFuzzer ends the process. What follows `--` on the command line is for libFuzzer."""
    try:
        import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]
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
        corpus = f"{directory}/corpus"
        os.mkdir(corpus)
        for value in (*target.seeds, *fuzzer.corpus(target)):
            with open(f"{corpus}/{fuzzer.name_of(value)}", "wb") as file:
                file.write(value)
        os.mkdir(f"{directory}/work")
        function = target.start(f"{directory}/work")

        def mutate(value: bytes, most: int, seed: int) -> bytes:
            return target.mutate(value, Random(seed))[:most]

        options = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=512", *_options()]
        # As root the target has gone into a root directory of its own; the corpus is read and written there.
        kept = corpus if os.path.isdir(corpus) else "/corpus"
        os.makedirs(kept, exist_ok=True)
        atheris.Setup([sys.argv[0], *options, kept], lambda value: attempt(target, function, value), custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def _options() -> list[str]:
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
