"""crate-runc beside other low-level runtimes, each on the same bundle: what its own `spec` template asks for, a static program, and a seccomp
profile as engines give one to every container."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks import seccomp_profile
from benchmarks.measure import Contender, Failed, Row
from benchmarks.place import Place, write_program

SECTION = "low-level runtime"
PROGRAM = "/hello"
MANY, _WORKERS = 100, 4
_SWARM = str(Path(__file__).with_name("swarm.py"))


def rows(place: Place, many: int) -> list[Row]:
    runtimes = found(place)
    bundle = place.directory / "bundle"
    make_bundle(place, bundle, runtimes.get("runc", runtimes["crate-runc"]))
    made = {name: _Runtime(place, name, path, bundle) for name, path in runtimes.items()}
    rows = [
        Row(SECTION, what, [contender(runtime) for runtime in made.values()], share=share)
        for what, contender, share in (
            ("run", _Runtime.run, 1),
            ("create, start, delete", _Runtime.life, 1),
            ("exec", _Runtime.exec, 1),
            ("state", _Runtime.state, 1),
            (f"{many} created and deleted by {_WORKERS} workers", lambda each: each.swarm(many), 0.15),
        )
    ]
    rows[3].contenders.append(Contender("bare python3 -I -S", lambda name: [[place.runner.python, "-I", "-S", "-c", "pass"]]))
    return rows


def lines(place: Place) -> list[str]:
    """What a container holds while it waits for `start`: the proportional set size of its process, and how many times as much ours holds."""
    held: dict[str, float] = {}
    for name, path in found(place).items():
        try:
            held[name] = _Runtime(place, name, path, place.directory / "bundle").held_waiting()
        except (Failed, OSError) as failure:
            place.note(f"no memory of a container that waits, of {name}: {failure}")
    ours = held.get("crate-runc")
    texts = [
        f"{name} {size:.2f} MiB" + (f" ({ours / size:.2f})" if ours and name != "crate-runc" else "")
        for name, size in held.items()
    ]
    return [f"memory of a container that waits for start: {', '.join(texts)}"] if texts else []


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
    config["process"] |= {"terminal": False, "args": [PROGRAM, "exit", "0"]}
    config["linux"]["seccomp"] = seccomp_profile.profile()
    path.write_text(json.dumps(config))
    waiting = bundle.with_name("waiting")
    waiting.mkdir()
    config["process"]["args"] = [PROGRAM, "sleep"]
    config["root"]["path"] = str(bundle / "rootfs")
    (waiting / "config.json").write_text(json.dumps(config))


class _Runtime:
    def __init__(self, place: Place, name: str, path: str, bundle: Path) -> None:
        self.name = name
        self.call: Callable[..., str] = place.runner.call
        self.bundle = str(bundle)
        self.waiting = str(bundle.with_name("waiting"))
        self.place, self.path = place, path
        self.root = str(place.directory / "run" / name)
        self.prefix = [path, "--root", self.root]

    def run(self) -> Contender:
        return Contender(self.name, lambda name: [[*self.prefix, "run", "--bundle", self.bundle, name]])

    def life(self) -> Contender:
        def commands(name: str) -> list[list[str]]:
            create = [*self.prefix, "create", "--bundle", self.waiting, name]
            return [create, [*self.prefix, "start", name], [*self.prefix, "delete", "--force", name]]

        return Contender(self.name, commands)

    def swarm(self, many: int) -> Contender:
        words = [self.place.runner.python, "-I", "-S", _SWARM, str(many), str(_WORKERS), self.path, self.root, self.waiting]
        return Contender(self.name, lambda name: [[*words, name]])

    def held_waiting(self) -> float:
        """MiB."""
        name = f"waiting-{self.name}"
        self.call(*self.prefix, "create", "--bundle", self.waiting, name)
        try:
            pid = json.loads(self.call(*self.prefix, "state", name))["pid"]
            sizes = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            return next(int(line.split()[1]) for line in sizes if line.startswith("Pss:")) / 1024
        finally:
            self.call(*self.prefix, "delete", "--force", name)

    def exec(self) -> Contender:
        return self._beside_running(lambda name: [[*self.prefix, "exec", name, PROGRAM, "exit", "0"]])

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
