"""A connection to systemd: calls of its D-Bus interface, and the end of its jobs (D-Bus specification 0.43; org.freedesktop.systemd1(5)).

Written here and not taken from libsystemd through ctypes: that library and what it loads cost as much time as all else that the driver does, images
with a mounted bus rarely have it, and some Pythons cannot load it. Who we are is said by the socket alone (EXTERNAL without a name), so that
root of a user namespace is known as the user who made it, without a way to learn that user's number.

Where no bus runs, systemd's own socket is used, which speaks the same without one. Only Unix sockets; no object is offered, no fd is passed.
"""

from __future__ import annotations

import _socket
import os
import struct
import time

from crate_runc.errors import CgroupError, reason
from crate_runc.systemd import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.systemd.wire import Message

_REPLY_SECONDS = 25.0
_JOB_SECONDS = 30.0
_LONGEST_LINE = 1 << 10
_SYSTEMD, _OBJECT = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_CONTROL = "org.freedesktop.systemd1.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_JOB_ENDS = f"type='signal',sender='{_SYSTEMD}',path='{_OBJECT}',interface='{_CONTROL}',member='JobRemoved'"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class BusError(CgroupError):
    """systemd cannot be reached."""


class Refused(CgroupError):
    """An answer that says no: `name` is its D-Bus name, `text` what systemd says."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name.rpartition(".")[2]


class Address:
    """`path` is a socket's (with a leading zero byte where it is abstract); `direct` is systemd's own, on which no bus has to be greeted."""

    __slots__ = ("direct", "path")

    def __init__(self, path: str, *, direct: bool = False) -> None:
        self.path = path
        self.direct = direct


def addresses(environment: dict[str, str] | os._Environ[str], *, user: bool, root: bool) -> list[Address]:
    """Where to look, in this order. `user`: for a user's systemd; `root` in a user namespace of a container may have none but the system's. Pure."""
    system = [
        *_parse(environment.get("DBUS_SYSTEM_BUS_ADDRESS", "")),
        Address("/run/dbus/system_bus_socket"),
        Address("/run/systemd/private", direct=True),
    ]
    if not user:
        return system
    found = _parse(environment.get("DBUS_SESSION_BUS_ADDRESS", ""))
    directory = environment.get("XDG_RUNTIME_DIR", "")
    if directory.startswith("/"):
        found += [Address(f"{directory}/bus"), Address(f"{directory}/systemd/private", direct=True)]
    return found or (system if root else [])


def _parse(text: str) -> list[Address]:
    """`unix:path=/run/user/1000/bus,guid=…;unix:abstract=…`"""
    found = []
    for one in text.split(";"):
        transport, _, rest = one.partition(":")
        keys = dict(pair.partition("=")[::2] for pair in rest.split(","))
        if transport == "unix" and "path" in keys:
            found.append(Address(_unescape(keys["path"])))
        elif transport == "unix" and "abstract" in keys:
            found.append(Address("\0" + _unescape(keys["abstract"])))
    return found


def _unescape(text: str) -> str:
    first, *others = text.encode().split(b"%")
    return os.fsdecode(first + b"".join(bytes.fromhex(other[:2].decode()) + other[2:] for other in others))


def connect(*, user: bool) -> Bus:
    """Raises BusError, which names the sockets and says what to do."""
    tried = []
    for address in addresses(os.environ, user=user, root=os.geteuid() == 0):
        try:
            return Bus(address)
        except (OSError, EOFError, wire.WireError, CgroupError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            tried.append(f"{address.path.replace(chr(0), '@')}: {why}")
    whose, remedy = ("the user's systemd", _USER_REMEDY) if user else ("systemd", _SYSTEM_REMEDY)
    raise BusError(f"reach {whose}: {'; '.join(tried) or 'XDG_RUNTIME_DIR is not set'}; {remedy}")


_SYSTEM_REMEDY = "where systemd does not run, let the engine use the cgroupfs driver (no --systemd-cgroup)"
_USER_REMEDY = "log in or run `loginctl enable-linger`, and set XDG_RUNTIME_DIR=/run/user/UID, or let the engine use the cgroupfs driver (no --systemd-cgroup)"


class Bus:
    """One connection, closed with `close`. Calls raise Refused for an answer that says no, BusError where there is no answer."""

    __slots__ = ("_destination", "_ended_jobs", "_replies", "_serial", "_socket", "_unread")

    def __init__(self, address: Address) -> None:
        """Raises OSError, EOFError, WireError, CgroupError."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._serial = 0
        self._unread = b""
        self._replies: dict[int, Message] = {}
        self._ended_jobs: dict[str, str] = {}
        self._destination = "" if address.direct else _SYSTEMD
        try:
            self._socket.settimeout(_REPLY_SECONDS)
            self._socket.connect(address.path)
            self._check_pid_namespace()
            self._authenticate()
            if not address.direct:
                self._send(*_BUS, "Hello")
                self._send(*_BUS, "AddMatch", "s", _JOB_ENDS)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def call(self, member: str, signature: str = "", *values: Any) -> list[Any]:
        """A method of systemd's main object; what it returns."""
        return self._call(_OBJECT, _CONTROL, member, signature, *values)

    def read_properties(self, *names: str) -> list[Any]:
        """Of systemd's main object, all in one turn."""
        try:
            serials = [self._send(self._destination, _OBJECT, _PROPERTIES, "Get", "ss", _CONTROL, name) for name in names]
            return [self._reply(serial)[0] for serial in serials]
        except (OSError, EOFError, wire.WireError) as error:
            raise _no_answer(error) from None

    def job(self, member: str, signature: str, *values: Any) -> str:
        """A method that starts a job; waits until that ends, and returns how: "done", "failed", "canceled" …"""
        path = self._call(_OBJECT, _CONTROL, member, signature, *values)[0]
        deadline = time.monotonic() + _JOB_SECONDS
        try:
            while path not in self._ended_jobs:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                self._receive()
        except (OSError, EOFError, wire.WireError) as error:
            raise _no_answer(error) from None
        finally:
            self._socket.settimeout(_REPLY_SECONDS)
        return self._ended_jobs.pop(path)

    def _call(self, path: str, interface: str, member: str, signature: str, *values: Any) -> list[Any]:
        try:
            return self._reply(self._send(self._destination, path, interface, member, signature, *values))
        except (OSError, EOFError, wire.WireError) as error:
            raise _no_answer(error) from None

    def _send(self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any) -> int:
        self._serial += 1
        fields = {wire.PATH: path, wire.INTERFACE: interface, wire.MEMBER: member}
        if destination:
            fields[wire.DESTINATION] = destination
        self._socket.sendall(wire.call(self._serial, fields, signature, values))
        return self._serial

    def _reply(self, serial: int) -> list[Any]:
        while serial not in self._replies:
            self._receive()
        message = self._replies.pop(serial)
        if message.type == wire.ERROR:
            raise Refused(message.fields.get(wire.ERROR_NAME, ""), str(message.body[0]) if message.body else "no reason given")
        return message.body

    def _receive(self) -> None:
        """One message."""
        size = wire.length(self._read(wire.FIXED_HEADER))
        raw = self._read(size)
        self._unread = self._unread[size:]
        message = wire.parse(raw)
        if message.type in (wire.RETURN, wire.ERROR):
            self._replies[message.fields.get(wire.REPLY_SERIAL, 0)] = message
        elif message.type == wire.SIGNAL and message.fields.get(wire.MEMBER) == "JobRemoved" and len(message.body) == 4:
            _, job, _, result = message.body
            self._ended_jobs[job] = result

    def _read(self, size: int) -> bytes:
        """The next bytes, which stay unread."""
        while len(self._unread) < size:
            self._fill()
        return self._unread[:size]

    def _fill(self) -> None:
        more = self._socket.recv(1 << 16)
        if not more:
            raise EOFError("the connection was closed")
        self._unread += more

    def _check_pid_namespace(self) -> None:
        """systemd is told which process to move by its number, so both must count alike: else it would move one that has nothing to do with us."""
        credentials = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[0] == 0:
            raise CgroupError("it belongs to another pid namespace, where our processes have other numbers")

    def _authenticate(self) -> None:
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        while True:
            word, _, rest = self._line().partition(b" ")
            if word == b"OK":
                break
            if word != b"DATA":
                raise CgroupError(f"it does not let us in: {(word + b' ' + rest).decode('utf-8', 'replace').strip()}")
        self._socket.sendall(b"BEGIN\r\n")

    def _line(self) -> bytes:
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LONGEST_LINE:
                raise wire.WireError("not a D-Bus server")
            self._fill()
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line


def _no_answer(error: Exception) -> BusError:
    text = "no answer in time" if isinstance(error, TimeoutError) else reason(error) if isinstance(error, OSError) else str(error)
    return BusError(f"talk to systemd: {text}")
