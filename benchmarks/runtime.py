"""crate-runc beside other low-level runtimes, each on the same bundle: what its own `spec` template asks for, and a static program."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Contender, Failed, Row
from benchmarks.place import Place, write_program

SECTION = "low-level runtime"


def rows(place: Place) -> list[Row]:
    runtimes = found(place)
    bundle = place.directory / "bundle"
    make_bundle(place, bundle, runtimes.get("runc", runtimes["crate-runc"]))
    made = {name: _Runtime(place, name, path, bundle) for name, path in runtimes.items()}
    return [
        Row(SECTION, what, [contender(runtime) for runtime in made.values()])
        for what, contender in (
            ("run", _Runtime.run),
            ("create, start, delete", _Runtime.life),
            ("exec", _Runtime.exec),
            ("state", _Runtime.state),
        )
    ]


def found(place: Place) -> dict[str, str]:
    """Ours first."""
    peers = {name: path for name in ("runc", "crun") if (path := place.peer(name))}
    return {"crate-runc": str(place.bin / "crate-runc")} | peers


def make_bundle(place: Place, bundle: Path, runtime: str) -> None:
    """As `runtime spec` writes it, but for the terminal and the program. For an ordinary user with `--rootless`."""
    (bundle / "rootfs").mkdir(parents=True)
    write_program(bundle / "rootfs" / "hello")
    place.runner.call(runtime, "spec", *(["--rootless"] if place.rootless else []), "--bundle", str(bundle))
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"] |= {"terminal": False, "args": ["/hello", "exit", "0"]}
    path.write_text(json.dumps(config))
    waiting = bundle.with_name("waiting")
    waiting.mkdir()
    config["process"]["args"] = ["/hello", "sleep"]
    config["root"]["path"] = str(bundle / "rootfs")
    (waiting / "config.json").write_text(json.dumps(config))


class _Runtime:
    def __init__(self, place: Place, name: str, path: str, bundle: Path) -> None:
        self.name = name
        self.call: Callable[..., str] = place.runner.call
        self.bundle = str(bundle)
        self.waiting = str(bundle.with_name("waiting"))
        self.prefix = [path, "--root", str(place.directory / "run" / name)]

    def run(self) -> Contender:
        return Contender(self.name, lambda name: [[*self.prefix, "run", "--bundle", self.bundle, name]])

    def life(self) -> Contender:
        def commands(name: str) -> list[list[str]]:
            create = [*self.prefix, "create", "--bundle", self.waiting, name]
            return [create, [*self.prefix, "start", name], [*self.prefix, "delete", "--force", name]]

        return Contender(self.name, commands)

    def exec(self) -> Contender:
        return self._beside_running(lambda name: [[*self.prefix, "exec", name, "/hello", "exit", "0"]])

    def state(self) -> Contender:
        return self._beside_running(lambda name: [[*self.prefix, "state", name]])

    def _beside_running(self, commands: Callable[[str], list[list[str]]]) -> Contender:
        def before(name: str) -> None:
            self.call(*self.prefix, "create", "--bundle", self.waiting, name)
            self.call(*self.prefix, "start", name)

        def after(name: str) -> None:
            with contextlib.suppress(Failed):
                self.call(*self.prefix, "delete", "--force", name)

        return Contender(self.name, commands, before, after)
