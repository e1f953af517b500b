"""Processes that unpack layers: forked into the user namespace before the first thread starts, fed with the blob's fd and with what is there of it.

A job is: follow a file as it grows → inflate → hash → entries → file system. The worker hashes the uncompressed content; that the compressed
blob is right is said by the parent with the last message, and only then the worker reports success. It never writes outside its directory.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import queue
import select
import signal
import socket
import threading
from contextlib import suppress

from crate_engine import errors, limits
from crate_engine.errors import CrateError, DigestMismatch, LayerError
from crate_engine.layers import entries, inheritance, store
from crate_engine.layers.decompress import inflate
from crate_engine.layers.unpack import Unpacker
from crate_engine.oci.digest import Digest
from crate_engine.store import durable
from crate_engine.store.paths import make_directory
from crate_engine.system import userns
from crate_engine.system.process import set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from crate_engine.system.userns import UserNamespace

_MESSAGE = 64 << 10
_BLOCK = 256 << 10
_QUEUED = 8  # chunks of up to 1 MiB between the inflating and the unpacking thread


class Worker:
    """The parent's end. One job at a time; `close` ends the process, and so does the parent's death."""

    def __init__(self, user_namespace: UserNamespace, trash: str) -> None:
        """Forks: the calling process must have no threads. The worker first removes what is in the directory `trash`."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ended = True
        number = theirs.fileno()
        # The terminal sends SIGINT to the whole group: the child is not to meet it before it ignores it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._pid = userns.fork(user_namespace, lambda: _serve(number, user_namespace.mode, trash))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def start(self, blob: int, directory: str, diff_id: Digest) -> None:
        """Unpack the blob that is growing in the file `blob` to `directory`/fs; the directory is made."""
        self._ended = False
        self._send({"directory": directory, "diff_id": str(diff_id)}, [blob])

    def advance(self, available: int) -> None:
        """So many bytes can be read by now."""
        self._send({"available": available, "ended": False, "failed": False}, [])

    def end(self, available: int, *, failed: bool = False) -> None:
        """All bytes are there and were verified; or, with `failed`, no more will come."""
        if not self._ended:
            self._ended = True
            self._send({"available": available, "ended": True, "failed": failed}, [])

    def answered(self) -> bool:
        """Whether a result is there, which may come before the blob is complete when the layer is wrong."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def result(self) -> tuple[int, int]:
        """Waits for the end of the job: bytes of the uncompressed layer and number of entries. Raises the worker's CrateError."""
        answer = self._receive()
        if "error" not in answer:
            return answer["size"], answer["entries"]
        self.end(0, failed=True)
        self._receive()  # what it had made is gone
        raise getattr(errors, answer["error"])(answer["message"], hint=answer["hint"])

    def _receive(self) -> dict[str, Any]:
        message = self._socket.recv(_MESSAGE)
        if not message:
            raise LayerError("unpack layer: the worker process ended early", hint="it may have been killed for want of memory")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def kill(self) -> None:
        """End it in the middle of whatever it does; `close` still has to be called."""
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        self._socket.close()
        os.waitpid(self._pid, 0)

    def _send(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # result() tells


def _serve(number: int, mode: str, trash: str) -> int:
    """The worker process: jobs until the parent closes its end."""
    _leave_parent(number)
    with suppress(CrateError):
        store.remove_trash(trash)  # of no concern to this pull
    with socket.socket(fileno=number) as connection:
        while True:
            message, fds, _, _ = socket.recv_fds(connection, _MESSAGE, 1)
            if not message:
                return 0
            _run(connection, fds[0], json.loads(message), mode)
            os.close(fds[0])


def _leave_parent(keep: int) -> None:
    """Drop what was inherited: the parent's sockets and leases must end with the parent, and so must this process."""
    set_parent_death_signal(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.umask(0)
    # What the parent left for the garbage collector must not be closed here: the numbers of its files are those of others soon.
    gc.freeze()
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 20)


def _run(connection: socket.socket, blob: int, job: dict[str, str], mode: str) -> None:
    """One job. A failure is answered at once, so that the parent need not fetch the rest; a second answer says that all is tidy again."""
    incoming = _Incoming(connection, blob)
    unpacking = _Unpacking(incoming, job["directory"], mode)
    try:
        size, count = unpacking.run(Digest.parse(job["diff_id"]))
        incoming.finish()
        _answer(connection, {"size": size, "entries": count})
        return
    except CrateError as error:
        _answer(connection, {"error": type(error).__name__, "message": str(error), "hint": error.hint})
    except OSError as error:
        _answer(connection, {"error": "StoreError", "message": f"unpack layer: {error.strerror}", "hint": None})
    unpacking.undo()
    incoming.drain()
    _answer(connection, {})


def _answer(connection: socket.socket, answer: dict[str, Any]) -> None:
    try:
        connection.send(json.dumps(answer).encode())
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone, or does not want to know


class _Incoming:
    """The blob's blocks in order, as the parent says that they are there. Read by one thread; the other may wait for the end meanwhile."""

    def __init__(self, connection: socket.socket, blob: int) -> None:
        self._connection = connection
        self._blob = blob
        self._hearing = threading.Lock()
        self._available = 0
        self._ended = False
        self.failed = False
        self.read = 0

    def blocks(self) -> Iterator[bytes]:
        while True:
            while self.read >= self._available:
                if self._ended:
                    return
                self._wait(self.read)
            block = os.pread(self._blob, min(_BLOCK, self._available - self.read), self.read)
            if not block:
                raise LayerError("unpack layer: the blob was cut short while it was read")
            self.read += len(block)
            yield block

    def finish(self) -> None:
        """Wait for the parent's word that the blob is verified. Raises LayerError when it is not."""
        self.drain()
        if self.failed:
            raise LayerError("unpack layer: the blob is incomplete or wrong")

    def drain(self) -> None:
        while not self._ended:
            self._wait(None)

    def _wait(self, known: int | None) -> None:
        """For the parent's next word. A thread that was left waiting by a decompressor that failed may be the one that hears it."""
        with self._hearing:
            if self._ended or (known is not None and self._available > known):
                return
            message = self._connection.recv(_MESSAGE)
            if not message:
                os._exit(0)  # the parent is gone
            word = json.loads(message)
            self._available = word["available"]
            self.failed = word["failed"]
            self._ended = word["ended"]


class _Tar:
    """The uncompressed content. One thread inflates and another hashes while this one makes files: on two cores the costliest decides."""

    def __init__(self, incoming: _Incoming) -> None:
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)
        self._to_hash: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._incoming = incoming
        self._hash = hashlib.sha256()
        self._buffer = memoryview(b"")
        self._ended = False
        self._stop = False
        self.size = 0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._inflate, self._hash_all)]
        for thread in self._threads:
            thread.start()

    def _inflate(self) -> None:
        last: BaseException | None = None
        try:
            for chunk in inflate(self._incoming.blocks()):
                if self._stop:
                    break
                self.size += len(chunk)
                if self.size > limits.LAYER_BYTES:
                    raise LayerError(f"inflate layer: it has more than {limits.LAYER_BYTES} bytes")
                if self.size > limits.LAYER_RATIO_AFTER and self.size > limits.LAYER_RATIO * self._incoming.read:
                    raise LayerError(f"inflate layer: it grows more than {limits.LAYER_RATIO}-fold")
                if chunk:
                    self._to_hash.put(chunk)
                    self._chunks.put(chunk)
        except BaseException as error:
            last = error
        self._to_hash.put(None)
        self._chunks.put(last)

    def _hash_all(self) -> None:
        while (chunk := self._to_hash.get()) is not None:
            self._hash.update(chunk)

    def _fill(self) -> bool:
        """Get the next chunk when the last is used up; False at the end."""
        while not self._buffer:
            if self._ended:
                return False
            chunk = self._chunks.get()
            if chunk is None:
                self._ended = True
            elif isinstance(chunk, BaseException):
                self._ended = True
                raise chunk
            else:
                self._buffer = memoryview(chunk)
        return True

    def take(self, count: int) -> bytes:
        if len(self._buffer) >= count:
            taken = bytes(self._buffer[:count])
            self._buffer = self._buffer[count:]
            return taken
        parts = []
        while count and self._fill():
            part = self._buffer[:count]
            self._buffer = self._buffer[len(part) :]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def copy(self, fd: int, count: int) -> None:
        while count:
            if not self._fill():
                raise LayerError("read layer: it ends in the middle of a file")
            part = self._buffer[:count]
            self._buffer = self._buffer[len(part) :]
            count -= len(part)
            durable.write_all(fd, part)

    def skip(self, count: int) -> None:
        while count:
            if not self._fill():
                raise LayerError("read layer: it ends in the middle of an entry")
            part = min(count, len(self._buffer))
            self._buffer = self._buffer[part:]
            count -= part

    def finish(self) -> str:
        """Read the padding after the archive's end and give the hexadecimal digest of everything."""
        trailer = 0
        while self._fill():
            trailer += len(self._buffer)
            self._buffer = memoryview(b"")
            if trailer > limits.LAYER_TRAILER:
                raise LayerError(f"read layer: more than {limits.LAYER_TRAILER} bytes follow its end")
        for thread in self._threads:
            thread.join()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the threads, whatever they are doing."""
        self._stop = True
        while any(thread.is_alive() for thread in self._threads):
            try:
                self._chunks.get(timeout=0.05)
            except queue.Empty:
                continue


class _Unpacking:
    """From the blob to the tree at `directory`/fs."""

    def __init__(self, incoming: _Incoming, directory: str, mode: str) -> None:
        self._directory = directory
        make_directory(directory)
        os.mkdir(f"{directory}/fs", 0o755)
        self._root = os.open(f"{directory}/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._tar = _Tar(incoming)
        self._unpacker = Unpacker(self._root, mode)

    def run(self, diff_id: Digest) -> tuple[int, int]:
        """Bytes of the uncompressed archive and number of its entries; the tree is on disk. Raises CrateError or OSError."""
        count = self._apply()
        found = self._tar.finish()
        if found != diff_id.hex:
            raise DigestMismatch(f"unpack layer {diff_id}: its content has the digest sha256:{found}")
        self._unpacker.finish()
        os.close(self._root)
        inheritance.write_implied(self._directory, self._unpacker.implied)
        durable.sync_tree(self._directory)
        return self._tar.size, count

    def _apply(self) -> int:
        count = 0
        for entry in entries.read(self._tar):
            count += 1
            self._unpacker.apply(entry, self._tar.copy)
            if entry.size:
                if entry.action is not entries.Action.FILE:
                    self._tar.skip(entry.size)
                self._tar.skip(entries.padding(entry.size))
        return count

    def undo(self) -> None:
        self._tar.close()
        self._unpacker.close()
        with suppress(OSError):
            os.close(self._root)
        with suppress(CrateError):
            durable.remove_tree(self._directory)
