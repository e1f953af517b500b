"""The command lines of a low-level runtime, as runc(8) has them: pure argument lists. What runs them is client.py."""

from __future__ import annotations


class Runtime:
    """A low-level runtime: `program` is its argument list up to its own flags, `root` its state directory.

    `own_python`: the program is our interpreter, so it can be started from a sealed executable.
    """

    __slots__ = ("own_python", "program", "root")

    def __init__(self, program: tuple[str, ...], root: str, *, own_python: bool = False) -> None:
        self.program = program
        self.root = root
        self.own_python = own_python

    def to_record(self) -> dict[str, object]:
        return {"program": self.program, "root": self.root, "own_python": self.own_python}

    @classmethod
    def from_record(cls, record: dict[str, object]) -> Runtime:
        program: tuple[str, ...] = tuple(record["program"])  # type: ignore[arg-type]
        return cls(program, str(record["root"]), own_python=bool(record["own_python"]))

    def create(self, identity: str, *, log: str, bundle: str, pid_file: str, console_socket: str | None) -> list[str]:
        """`create`: the container's process waits for `start`."""
        return self._new(["create"], identity, log, bundle, pid_file, console_socket)

    def run_detached(self, identity: str, *, log: str, bundle: str, pid_file: str, console_socket: str | None) -> list[str]:
        """`create` and `start` in one call, which returns when the process runs."""
        return self._new(["run", "--detach"], identity, log, bundle, pid_file, console_socket)

    def start(self, identity: str, *, log: str) -> list[str]:
        return [*self._common(log), "start", identity]

    def delete(self, identity: str, *, force: bool) -> list[str]:
        return [*self._common(None), "delete", *(["--force"] if force else []), identity]

    def pause(self, identity: str, *, log: str) -> list[str]:
        """Stop the container's processes where they are; `resume` lets them go on."""
        return [*self._common(log), "pause", identity]

    def resume(self, identity: str) -> list[str]:
        return [*self._common(None), "resume", identity]

    def exec_detached(self, identity: str, *, log: str, process: str, pid_file: str, console_socket: str | None) -> list[str]:
        """A second process, described by the file `process` (the `process` object of config.json)."""
        verb = ["exec", "--detach", "--process", process, "--pid-file", pid_file]
        if console_socket:
            verb += ["--console-socket", console_socket]
        return [*self._common(log), *verb, identity]

    def _new(self, verb: list[str], identity: str, log: str, bundle: str, pid_file: str, console_socket: str | None) -> list[str]:
        verb = [*verb, "--bundle", bundle, "--pid-file", pid_file]
        if console_socket:
            verb += ["--console-socket", console_socket]
        return [*self._common(log), *verb, identity]

    def _common(self, log: str | None) -> list[str]:
        return [*self.program, "--root", self.root, *(["--log", log, "--log-format", "json"] if log else [])]
