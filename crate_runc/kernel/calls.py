"""System calls as values, so that one list of them can be executed here (perform.py) or encoded for another process (process/program.py).

An argument of a call is an integer, bytes (their address; a path ends with its zero byte), a Buffer or At (memory that the kernel or an earlier
call writes to, by address), a Value (the 64-bit word that is in such memory by then), or a list: an array of 64-bit words, in which
bytes, buffers and lists are addresses again (argv, iovec, struct sock_fprog). Nothing is executed here.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Argument: TypeAlias = "int | bytes | Buffer | At | list[Argument]"
    Item: TypeAlias = "Call | Label"

ANY = tuple(range(1, 128))
"""For `forgive`: whatever the error is."""
UNEXPECTED = 4000
"""An errno that no kernel has: the call succeeded, but a Check found another value than it must."""


class Buffer:
    """Memory of a fixed size, with what it holds at first. Two buffers are never the same memory."""

    __slots__ = ("content",)

    def __init__(self, content: int | bytes = 8) -> None:
        """A number is its size in bytes, all zero."""
        self.content = bytearray(content)


class At:
    """The address `offset` bytes into a buffer."""

    __slots__ = ("buffer", "offset")

    def __init__(self, buffer: Buffer, offset: int) -> None:
        self.buffer = buffer
        self.offset = offset


class Value(At):
    """The 64-bit word there, when the call is made."""

    __slots__ = ()

    def __init__(self, buffer: Buffer, offset: int = 0) -> None:
        super().__init__(buffer, offset)


class Label:
    """A place in the list, later than the call that leads to it."""

    __slots__ = ()


class Call:
    """One system call by its name in numbers.py, or one of the two of our own: `compare` (see check) and `offset` (a + 16·b).

    each: the call is made once for each bit that is set, from the lowest on, with the bit's number as its second argument, and the result is that
    of all of them, or-ed. store: where the result goes, as 64 bits. expected: what it must be, if it is no error (32 bits). then, otherwise: where
    the list goes on after success, and after an error that is forgiven; the next item where not said. message, reason: the text of the error that
    is not forgiven, before and instead of the kernel's words.
    """

    __slots__ = ("arguments", "each", "expected", "forgive", "message", "name", "origin", "otherwise", "reason", "store", "then")

    def __init__(
        self,
        name: str,
        *arguments: Argument,
        each: int = 0,
        forgive: tuple[int, ...] = (),
        store: Buffer | At | None = None,
        expected: int | None = None,
        then: Label | None = None,
        otherwise: Label | None = None,
        message: str = "",
        reason: str = "",
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.each = each
        self.forgive = forgive
        self.store = store
        self.expected = expected
        self.then = then
        self.otherwise = otherwise
        self.message = message
        self.reason = reason
        self.origin: object = None
        """Whose call it is, for whoever tells of its error."""


class CallError(Exception):
    """A call that failed and was not forgiven. errno may be UNEXPECTED."""

    def __init__(self, call: Call, number: int) -> None:
        super().__init__(call.name)
        self.call = call
        self.errno = number


def check(
    place: Buffer | At,
    mask: int,
    value: int,
    *,
    equal: bool = True,
    error: int = UNEXPECTED,
    otherwise: Label | None = None,
    message: str = "",
    reason: str = "",
) -> Call:
    """The 32-bit word at `place`, masked, must be `value` (or must not, where not equal), else this is the error. `otherwise` is where to go on
    instead."""
    arguments = (place, mask, value, int(equal), error if otherwise is None else errno.ERANGE)
    forgiven = ANY if otherwise else ()
    return Call("compare", *arguments, forgive=forgiven, otherwise=otherwise, message=message, reason=reason)


def fail(error: int, message: str, reason: str = "") -> Call:
    return Call("compare", Buffer(), 0, 1, 1, error, message=message, reason=reason)


def constant(value: Argument, store: Buffer, then: Label | None = None) -> Call:
    return Call("offset", value, 0, store=store, then=then)
