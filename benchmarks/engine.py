"""crate beside podman: a container from an image, for each kind of network that needs nothing else, in front and in the background.

Both engines are measured with each low-level runtime that they can work with, as the engine and the runtime share the time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Contender, Failed, Row
from benchmarks.place import Place, write_image

SECTION = "engine"
# The defaults of podman raise limits, which is not permitted everywhere; what it says on limits has no part in the time.
_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]


def rows(place: Place) -> list[Row]:
    layout = place.directory / "layout"
    name = write_image(layout)
    engines: list[_Engine] = [
        Crate(place, runtime, name) for runtime in ("crate-runc", "runc", "crun") if _available(place, runtime)
    ]
    if podman := place.peer("podman"):
        image = podman_image(place, podman, layout, name)
        runtimes = {"runc": place.peer("runc"), "crun": place.peer("crun")}
        engines += [Podman(place, podman, kind, path, image) for kind, path in runtimes.items() if path]
        engines.append(_podman_with_ours(place, podman, image))
    return [
        Row(SECTION, "run --rm --network none", [engine.run("none") for engine in engines]),
        Row(SECTION, "run --rm --network host", [engine.run("host") for engine in engines]),
        Row(SECTION, "run -d --network none, rm --force", [engine.detached() for engine in engines]),
        Row(SECTION, "exec", [engine.exec() for engine in engines]),
    ]


def _available(place: Place, runtime: str) -> bool:
    return runtime == "crate-runc" or place.peer(runtime) is not None


def _podman_with_ours(place: Place, podman: str, image: str) -> Podman:
    path = str(place.bin / "crate-runc")
    seccomp = json.loads(place.runner.call(path, "features"))["linux"].get("seccomp", {})
    if seccomp.get("enabled"):
        return Podman(place, podman, "crate-runc", path, image)
    return Podman(place, podman, "crate-runc, no seccomp", path, image, ["--security-opt", "seccomp=unconfined"])


class _Engine:
    def __init__(self, place: Place, name: str, prefix: list[str], limits: list[str], image: list[str]) -> None:
        """`image` is the image and the program in it, without the program's arguments."""
        self.call = place.runner.call
        self.name, self.prefix, self.limits, self.image = name, prefix, limits, image

    def run(self, network: str) -> Contender:
        options = ["run", "--rm", "--network", network, *self.limits]
        return Contender(self.name, lambda name: [[*self.prefix, *options, *self.image, "exit", "0"]])

    def detached(self) -> Contender:
        return Contender(self.name, lambda name: [self._start(name), self._remove(name)], after=self._removed)

    def exec(self) -> Contender:
        def before(name: str) -> None:
            self.call(*self._start(name))

        return Contender(self.name, lambda name: [[*self.prefix, "exec", name, "/hello", "exit", "0"]], before, self._removed)

    def _start(self, name: str) -> list[str]:
        return [*self.prefix, "run", "--detach", "--name", name, "--network", "none", *self.limits, *self.image, "sleep"]

    def _remove(self, name: str) -> list[str]:
        return [*self.prefix, "rm", "--force", name]

    def _removed(self, name: str) -> None:
        with contextlib.suppress(Failed):
            self.call(*self._remove(name))


class Crate(_Engine):
    def __init__(self, place: Place, runtime: str, image: str) -> None:
        roots = ["--root", str(place.directory / "crate"), "--runroot", str(place.directory / "run" / "crate-engine")]
        prefix = [str(place.bin / "crate"), *roots, "--runtime", runtime]
        super().__init__(place, f"crate with {runtime}", prefix, [], [image])


class Podman(_Engine):
    def __init__(self, place: Place, podman: str, kind: str, runtime: str, image: str, options: Sequence[str] = ()) -> None:
        prefix = [*podman_prefix(place, podman), "--runtime", runtime]
        super().__init__(place, f"podman with {kind}", prefix, [*_LIMITS, *options], [image])


def podman_prefix(place: Place, podman: str, store: str = "podman") -> list[str]:
    roots = ["--root", str(place.directory / store), "--runroot", str(place.directory / "run" / store.removeprefix("podman-"))]
    return [podman, *roots, "--cgroup-manager", "cgroupfs"]


def podman_image(place: Place, podman: str, layout: Path, name: str) -> str:
    """The id of the image in podman's store."""
    return place.runner.call(*podman_prefix(place, podman), "pull", "--quiet", f"oci:{layout}:{name}").split()[-1]
