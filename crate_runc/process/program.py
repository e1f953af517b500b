"""The bytes of a list of system calls (kernel/calls.py) as the machine code of stub.py executes it. Pure.

After a head, which says where to go on after a call that fails and keeps which one that was, comes a row of entries of equal size, and then the memory
that their arguments are addresses of. All addresses are final: the stub is loaded at a fixed place.

    head    u64 address of the entry that is next after an error, once; what failed: u64 address of its entry, u64 errno; u64 for unused results
    entry   u32 number of the call; u32 which arguments are in memory; u32 distance to the next entry, and u32 after a forgiven error;
            16 bytes: the errnos 0 to 127 that are forgiven; u64 address for the result; 6 × u64 arguments; u64 bits to repeat for; struct iovec of the message
"""

from __future__ import annotations

import os
import struct

from crate_runc.kernel.calls import At, Buffer, Call, CallError, Label, Value, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Argument, Item

_HEAD = struct.Struct("<QQQQ")
_ENTRY = struct.Struct("<IIII16sQ6QQQQ")
SIZE = _ENTRY.size
FIRST = _HEAD.size
"""Where the entries start: the machine code knows it."""
_FAILED, _UNUSED = 8, 24  # in the head
_MESSAGE = 6  # in an entry, in units of 16 bytes
_PSEUDO = {"offset": 1 << 16, "compare": 1 << 16 | 1}
_WORD = (1 << 64) - 1
_NOTHING = bytes(16)
_ZEROS = (0, 0, 0, 0, 0, 0)
_ERRORS = 134
FAILED = Buffer(16)
"""In the arguments of `on_failure`: the address of the entry that failed and the errno, as the head keeps them."""


class Program:
    """`items` are executed until one of them ends the process; after an error that is not forgiven `on_failure` is, whose own errors end it.

    numbers: of the processor's system calls; base: the address at which the bytes will be; told: its messages are in it, for `complaint`.
    """

    __slots__ = ("_base", "_calls", "_memory", "_numbers", "_places", "_start", "_told", "content")

    def __init__(
        self, items: list[Item], on_failure: list[Item], *, numbers: dict[str, int], base: int, told: bool = False
    ) -> None:
        self._base = base
        self._numbers = numbers
        self._told = told
        items, on_failure = _without_expected(items), _without_expected(on_failure)
        self._calls = [item for item in [*items, *on_failure] if isinstance(item, Call)]
        self._start = base + FIRST + SIZE * len(self._calls)
        self._memory = bytearray()
        self._places = {id(FAILED): base + _FAILED}
        first = self._entries(items)
        failure = base + FIRST + SIZE * len(first) if on_failure else 0
        self.content = b"".join([_HEAD.pack(failure, 0, 0, 0), *first, *self._entries(on_failure), self._memory])

    def error_of(self, address: int, number: int) -> CallError:
        """What the process says in FAILED, which can be anything. Raises ValueError."""
        index, rest = divmod(address - self._base - FIRST, SIZE)
        if rest or not 0 <= index < len(self._calls):
            raise ValueError(f"no call at {address:#x}")
        return CallError(self._calls[index], number)

    def _entries(self, items: list[Item]) -> list[bytes]:
        places: dict[int, int] = {}
        index = 0
        for item in items:
            if isinstance(item, Label):
                places[id(item)] = index
            else:
                index += 1
        entries: list[bytes] = []
        for item in items:
            if isinstance(item, Call):
                entries.append(self._entry(item, len(entries), places))
        return entries

    def _entry(self, call: Call, index: int, places: dict[int, int]) -> bytes:
        number = self._numbers.get(call.name)
        if number is None:
            number = _PSEUDO[call.name]
        then = SIZE if call.then is None else SIZE * (places[id(call.then)] - index)
        otherwise = SIZE if call.otherwise is None else SIZE * (places[id(call.otherwise)] - index)
        forgiven = sum([1 << error for error in call.forgive]).to_bytes(16, "little") if call.forgive else _NOTHING
        store = self._base + _UNUSED if call.store is None else self._address(call.store)
        indirect, words = 0, []
        for position, argument in enumerate(call.arguments):
            if type(argument) is int:
                words.append(argument & _WORD)
            else:
                words.append(self._address(argument))
                indirect |= isinstance(argument, Value) << position
        message = os.fsencode(f"{call.message}: ") if self._told and call.message else b""
        place = self._put(message) if message else 0
        return _ENTRY.pack(
            number, indirect, then, otherwise, forgiven, store, *words, *_ZEROS[len(words) :], call.each, place, len(message)
        )

    def _address(self, argument: Argument) -> int:
        if isinstance(argument, int):
            return argument & _WORD
        if isinstance(argument, At):
            return self._address(argument.buffer) + argument.offset
        if isinstance(argument, Buffer):
            place = self._places.get(id(argument))
            if place is None:
                place = self._places[id(argument)] = self._put(bytes(argument.content))
            return place
        if isinstance(argument, list):
            return self._put(b"".join([self._address(item).to_bytes(8, "little") for item in argument]))
        return self._put(argument)

    def _put(self, content: bytes) -> int:
        """At an address that is a multiple of 8."""
        at = self._start + len(self._memory)
        self._memory += content + bytes(-len(content) % 8)
        return at


def _without_expected(items: list[Item]) -> list[Item]:
    """A call whose result must be a certain one is two entries: the second compares."""
    plain: list[Item] = []
    for item in items:
        if not isinstance(item, Call) or item.expected is None:
            plain.append(item)
            continue
        result = Buffer()
        first = Call(item.name, *item.arguments, each=item.each, forgive=item.forgive, store=result, otherwise=item.otherwise)
        second = check(result, 0xFFFFFFFF, item.expected)
        for call in (first, second):
            call.message, call.reason, call.origin = item.message, item.reason, item.origin
            plain.append(call)
    return plain


def complaint() -> list[Item]:
    """For `on_failure`: the message of the call that failed and the kernel's words on stderr, and an end with status 1."""
    words: list[Argument] = []
    for number in range(_ERRORS):
        text = os.strerror(number).lower().encode() + b"\n" if number else b"failed\n"
        words += [text, len(text)]
    message, reason = Buffer(), Buffer()
    return [
        Call("offset", Value(FAILED), _MESSAGE, store=message),
        Call("writev", 2, Value(message), 1),
        Call("offset", words, Value(FAILED, 8), store=reason),
        Call("writev", 2, Value(reason), 1),
        Call("exit_group", 1),
    ]
