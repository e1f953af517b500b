"""The relay with a real child, real pipes and real sockets."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from crate_engine.monitor import protocol
from crate_engine.monitor.log import LogWriter
from crate_engine.monitor.process import watch_children
from crate_engine.monitor.relay import Client, Relay
from crate_engine.monitor.streams import Streams


def serve(command: list[str], *, interactive: bool, peer: Peer | None = None, log: str | None = None) -> int:
    """The exit status that the relay tells, from a process of its own: a relay collects every child."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            status = _serve(command, interactive=interactive, client=peer.theirs if peer else None, log=log)
        finally:
            os._exit(status)
    if peer:
        peer.theirs.close()
        peer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if peer:
        peer.join(5)
    return status


def _serve(command: list[str], *, interactive: bool, client: socket.socket | None, log: str | None) -> int:
    wake = watch_children()
    streams = Streams(terminal=False, interactive=interactive)
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams.for_child())]
    pid = os.posix_spawn(command[0], command, {"PATH": "/usr/bin:/bin"}, file_actions=actions)
    streams.close_childs_ends()
    relay = Relay(wake, streams.outputs, streams.stdin, terminal=False, log=LogWriter(log) if log else None)
    if client:
        relay.add(Client(client, attached=True))
    status = os.waitstatus_to_exitcode(relay.serve(pid))
    relay.announce(protocol.frame(protocol.EXITED, str(status).encode()))
    relay.finish()
    return status


class Peer(threading.Thread):
    """The attached client: sends what it is given and collects the frames."""

    def __init__(self, *frames: bytes) -> None:
        super().__init__(daemon=True)
        self.theirs, self._ours = socket.socketpair()
        self._frames = frames
        self.received: list[tuple[bytes, bytes]] = []

    def run(self) -> None:
        for one in self._frames:
            self._ours.sendall(one)
        frames = protocol.Frames(1 << 20)
        while chunk := self._ours.recv(65536):
            self.received += frames.feed(chunk)

    def text(self, kind: bytes) -> bytes:
        return b"".join(payload for one, payload in self.received if one == kind)


def test_output_reaches_client_and_log_before_the_exit_status(tmp_path: Path) -> None:
    peer = Peer()
    assert (
        serve(["/bin/sh", "-c", "echo out; echo err >&2; exit 5"], interactive=False, peer=peer, log=str(tmp_path / "log")) == 5
    )
    assert (peer.text(protocol.STDOUT), peer.text(protocol.STDERR)) == (b"out\n", b"err\n")
    assert peer.received[-1] == (protocol.EXITED, b"5")
    assert (tmp_path / "log").read_text().count('"log"') == 2


def test_input_arrives_whole_and_ends() -> None:
    content = os.urandom(500_000)
    frames = [protocol.frame(protocol.STDIN, content[start : start + 30_000]) for start in range(0, len(content), 30_000)]
    peer = Peer(*frames, protocol.frame(protocol.STDIN_END))
    assert serve(["/bin/cat"], interactive=True, peer=peer) == 0
    assert peer.text(protocol.STDOUT) == content


def test_a_client_that_breaks_the_protocol_is_dropped_and_nothing_else() -> None:
    peer = Peer(b"i\xff\xff\xff\xff")
    assert serve(["/bin/sh", "-c", "sleep 0.2; exit 3"], interactive=True, peer=peer) == 3
    assert protocol.EXITED not in [kind for kind, _ in peer.received]


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_end() -> None:
    assert serve(["/bin/sh", "-c", "sleep 3 & exit 4"], interactive=False) == 4
