"""Network interfaces and their addresses by rtnetlink(7): find, list, move to another network namespace, bring up.

Requests are answered one by one; what the kernel says in words of a refusal (extended acknowledgement) becomes the text of the OSError.
No other family of netlink, and no events.
"""

from __future__ import annotations

import _socket
import os
import struct

from crate_runc.kernel import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_ROUTE, _SOL_NETLINK, _EXT_ACK = 0, 270, 11
_HEADER = "=IHHII"  # struct nlmsghdr: length type flags sequence port
_REQUEST, _ACK, _EXCL, _CREATE, _DUMP = 1, 4, 0x200, 0x400, 0x300
_CAPPED, _ACK_TLVS = 0x100, 0x200
_ERROR, _DONE, _ERROR_TEXT = 2, 3, 1
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_LINK = "=BxHiII"  # struct ifinfomsg: family type index flags change
_ADDRESS = "=BBBBI"  # struct ifaddrmsg: family prefix length, flags, scope, index
_IFNAME, _NET_NS_FD = 3, 28
_IFA_FLAGS, _IFA_KEPT = 8, (1, 2, 4, 9)  # IFA_ADDRESS IFA_LOCAL IFA_BROADCAST IFA_RT_PRIORITY
_IFF_UP = 1
_PERMANENT, _SCOPE_UNIVERSE = 0x80, 0
_KEPT_FLAGS = 0x200 | 0x02  # IFA_F_NOPREFIXROUTE IFA_F_NODAD
_BUFFER = 64 << 10


class Address:
    """One address of an interface, of any family; `attributes` are those of the kernel that still hold in another namespace."""

    __slots__ = ("attributes", "family", "flags", "length", "scope")

    def __init__(self, family: int, length: int, flags: int, scope: int, attributes: dict[int, bytes]) -> None:
        self.family = family
        self.length = length
        self.flags = flags
        self.scope = scope
        self.attributes = attributes

    def is_lasting(self) -> bool:
        """Given on purpose and for good, and meaningful beyond this host."""
        return bool(self.flags & _PERMANENT) and self.scope == _SCOPE_UNIVERSE


class Rtnetlink:
    """A socket in one network namespace; `close` it."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        """In the caller's namespace."""
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._sequence = 0
        try:
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        except OSError:
            pass  # words are a comfort

    def close(self) -> None:
        self._socket.close()

    def index_of(self, name: str) -> int:
        """Raises OSError (ENODEV)."""
        for _, payload in self._ask(_GETLINK, 0, struct.pack(_LINK, 0, 0, 0, 0, 0) + attribute(_IFNAME, _text(name)), name):
            return int(struct.unpack_from(_LINK, payload)[2])
        raise OSError(19, os.strerror(19), name)

    def links(self) -> dict[int, str]:
        """Index → name."""
        found = {}
        for _, payload in self._ask(_GETLINK, _DUMP, struct.pack(_LINK, 0, 0, 0, 0, 0)):
            name = attributes_of(payload[struct.calcsize(_LINK) :]).get(_IFNAME, b"")
            found[int(struct.unpack_from(_LINK, payload)[2])] = os.fsdecode(name.rstrip(b"\0"))
        return found

    def addresses(self, index: int) -> list[Address]:
        found = []
        for _, payload in self._ask(_GETADDR, _DUMP, struct.pack(_ADDRESS, 0, 0, 0, 0, 0)):
            family, length, flags, scope, owner = struct.unpack_from(_ADDRESS, payload)
            if owner == index:
                attributes = attributes_of(payload[struct.calcsize(_ADDRESS) :])
                flags = int.from_bytes(attributes.get(_IFA_FLAGS, bytes([flags])), "little")
                found.append(Address(family, length, flags, scope, attributes))
        return found

    def move(self, index: int, namespace: int, name: str) -> None:
        """To the network namespace of this descriptor, and there it is called `name`; the kernel replaces a `%d` by a number."""
        payload = struct.pack(_LINK, 0, 0, index, 0, 0)
        payload += attribute(_IFNAME, _text(name)) + attribute(_NET_NS_FD, struct.pack("=I", namespace))
        self._tell(_NEWLINK, 0, payload, name)

    def add_address(self, index: int, address: Address) -> None:
        payload = struct.pack(_ADDRESS, address.family, address.length, 0, address.scope, index)
        for kind in _IFA_KEPT:
            if kind in address.attributes:
                payload += attribute(kind, address.attributes[kind])
        payload += attribute(_IFA_FLAGS, struct.pack("=I", address.flags & _KEPT_FLAGS))
        self._tell(_NEWADDR, _CREATE | _EXCL, payload)

    def bring_up(self, index: int) -> None:
        self._tell(_NEWLINK, 0, struct.pack(_LINK, 0, 0, index, _IFF_UP, _IFF_UP))

    def _tell(self, kind: int, flags: int, payload: bytes, name: str | None = None) -> None:
        for _ in self._ask(kind, flags | _ACK, payload, name):
            continue

    def _ask(self, kind: int, flags: int, payload: bytes, name: str | None = None) -> Iterator[tuple[int, bytes]]:
        """The answers, up to the end of a dump, to the acknowledgement, or to the one there is. Raises OSError for a refusal."""
        self._sequence += 1
        header = struct.pack(_HEADER, struct.calcsize(_HEADER) + len(payload), kind, flags | _REQUEST, self._sequence, 0)
        self._socket.send(header + payload)
        answers: list[tuple[int, bytes]] = []
        while True:
            for answer, answer_flags, sequence, body in split_messages(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                if answer == _ERROR:
                    _raise_refusal(body, answer_flags, name)
                if answer in (_ERROR, _DONE):
                    return iter(answers)
                answers.append((answer, body))
            if not flags & (_ACK | _DUMP) and answers:
                return iter(answers)


def open_in(namespace: int) -> Rtnetlink:
    """A socket in the network namespace of this descriptor; the caller stays where he is. Not for a process with several threads."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.setns(namespace, namespaces.NEWNET)
        try:
            return Rtnetlink()
        finally:
            namespaces.setns(own, namespaces.NEWNET)
    finally:
        os.close(own)


def split_messages(text: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message of a datagram; what is cut off at its end is left out."""
    size, messages = struct.calcsize(_HEADER), []
    while len(text) >= size:
        length, kind, flags, sequence, _ = struct.unpack_from(_HEADER, text)
        if not size <= length <= len(text):
            break
        messages.append((kind, flags, sequence, text[size:length]))
        text = text[_aligned(length) :]
    return messages


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(_aligned(length) - length)


def attributes_of(text: bytes) -> dict[int, bytes]:
    found = {}
    while len(text) >= 4:
        length, kind = struct.unpack_from("=HH", text)
        if not 4 <= length <= len(text):
            break
        found[kind & 0x3FFF] = text[4:length]  # the two highest bits are flags
        text = text[_aligned(length) :]
    return found


def _raise_refusal(body: bytes, flags: int, name: str | None) -> None:
    """struct nlmsgerr: the errno as a negative number (0: an acknowledgement), then the request, or its header alone, then attributes."""
    number = -struct.unpack_from("=i", body)[0]
    if number == 0:
        return
    request_length = struct.unpack_from("=I", body, 4)[0]
    words = b""
    if flags & _ACK_TLVS:
        start = 4 + (struct.calcsize(_HEADER) if flags & _CAPPED else _aligned(request_length))
        words = attributes_of(body[start:]).get(_ERROR_TEXT, b"").rstrip(b"\0")
    text = os.strerror(number) + (f" ({words.decode('utf-8', 'replace')})" if words else "")
    raise OSError(number, text, name)


def _text(name: str) -> bytes:
    return os.fsencode(name) + b"\0"


def _aligned(length: int) -> int:
    return length + 3 & ~3
