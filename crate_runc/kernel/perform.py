"""Execute a list of system calls (calls.py) in this process."""

from __future__ import annotations

from crate_runc.kernel.calls import UNEXPECTED, At, Buffer, Call, CallError, Value
from crate_runc.kernel.libc import address_of, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Argument, Item

_WORD = 1 << 64


def perform(items: list[Item]) -> None:
    """Raises CallError for the first call whose error is not forgiven."""
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if not isinstance(item, Call):
            continue
        goal = item.then
        number = _execute(item)
        if number:
            if number not in item.forgive:
                raise CallError(item, number)
            goal = item.otherwise
        if goal is not None:
            at = items.index(goal)


def place_of(buffer: Buffer) -> int:
    """The address that a call was given for it."""
    return address_of(buffer.content)


def _execute(call: Call) -> int:
    """The errno, 0 after success."""
    kept: list[Buffer] = []
    words = [argument if type(argument) is int else _word(argument, kept) for argument in call.arguments]
    try:
        if call.name == "compare":
            result = 0 if _is_as_wanted(call) else -words[4]
        elif call.name == "offset":
            result = words[0] + 16 * words[1]
        elif call.each:
            result = 0
            for bit in range(call.each.bit_length()):
                if call.each >> bit & 1:
                    result |= syscall(call.name, words[0], bit, *words[2:])
        else:
            result = syscall(call.name, *words)
    except OSError as error:
        result = -(error.errno or 0)
    if call.store is not None:
        where = call.store if isinstance(call.store, At) else At(call.store, 0)
        where.buffer.content[where.offset : where.offset + 8] = (result % _WORD).to_bytes(8, "little")
    if -4096 < result < 0:
        return -result
    return 0 if call.expected in (None, result) else UNEXPECTED


def _is_as_wanted(call: Call) -> bool:
    place, mask, value, equal, _ = call.arguments
    assert isinstance(place, (At, Buffer)) and isinstance(mask, int)
    return (_load(place, 4) & mask == value) == bool(equal)


def _load(place: Buffer | At, size: int) -> int:
    buffer, offset = (place.buffer, place.offset) if isinstance(place, At) else (place, 0)
    return int.from_bytes(buffer.content[offset : offset + size], "little")


def _word(argument: Argument, kept: list[Buffer]) -> int:
    """The register's content; what it points to is kept in `kept` for the time of the call."""
    if isinstance(argument, int):
        return argument
    if isinstance(argument, Value):
        return _load(argument, 8)
    if isinstance(argument, At):
        return place_of(argument.buffer) + argument.offset
    if isinstance(argument, bytes):
        argument = Buffer(argument)
    elif isinstance(argument, list):
        argument = Buffer(b"".join((_word(item, kept) % _WORD).to_bytes(8, "little") for item in argument))
    kept.append(argument)
    return place_of(argument)
