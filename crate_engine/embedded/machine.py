"""What the assembler asks of a processor: the encoding of the few instructions that it uses.

Both processors work alike here: values lie in memory, are brought into the two working registers, combined, and put back. That is slow code, but
each processor needs only a page of encodings. Nothing here knows what the program does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, Protocol

    Operation = Literal["+", "-", "*", "/", "%", "&"]
    Condition = Literal["==", "!=", "<", ">=", "<=", ">"]
    Size = Literal[1, 2, 4, 8]

    class Machine(Protocol):
        """Registers are the processor's own numbers. A `distance` is in bytes, from the start of the instruction; it never changes the length."""

        architecture: str
        """As an image's platform names it."""
        elf_machine: int
        first: int
        """The working register that holds the left operand, then the result, also that of a system call."""
        second: int
        base: int
        """Always holds the address of the writable memory."""
        arguments: tuple[int, ...]
        """Where a system call expects its arguments."""
        number: int
        """Where a system call expects its number."""
        system_calls: Mapping[str, int]

        def constant(self, register: int, value: int) -> bytes: ...
        def stack_pointer(self, register: int) -> bytes: ...
        def load(self, register: int, base: int, offset: int, size: Size) -> bytes:
            """The value, zero-extended, at the address in `base` plus `offset`."""
            ...

        def store(self, register: int, base: int, offset: int, size: Size) -> bytes: ...
        def combine(self, operation: Operation) -> bytes:
            """first = first operation second; division is of unsigned numbers."""
            ...

        def branch(self, condition: Condition, distance: int) -> bytes:
            """Go on elsewhere if the condition holds for first and second, as signed numbers."""
            ...

        def jump(self, distance: int) -> bytes: ...
        def call(self, distance: int) -> bytes: ...
        def address(self, register: int, distance: int) -> bytes: ...
        def enter(self) -> bytes:
            """What a routine starts with."""
            ...

        def leave(self) -> bytes: ...
        def system_call(self) -> bytes: ...
