"""A small assembler that is the same for every processor: values in memory, structured loops, system calls by name.

Instructions are kept with the label they refer to and are encoded at the end, when every place is known; their length never depends on the
distance. It does not optimise, and a routine must not call itself, because values have fixed places.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from crate_engine.embedded import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crate_engine.embedded.machine import Condition, Machine, Operation, Size

_OPPOSITE: dict[Condition, Condition] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A 64-bit value in memory, this far from its start."""

    offset: int


@dataclass(frozen=True, slots=True)
class Text:
    """Constant bytes of the program, followed by a zero."""

    label: str
    content: bytes


Operand = Slot | Text | int
"""A value in memory, the address of a text, or a number, which may be the address of a buffer."""


@dataclass(frozen=True, slots=True)
class _Label:
    name: str


@dataclass(frozen=True, slots=True)
class _Reference:
    label: str
    encode: Callable[[int], bytes]
    """Takes the distance to the label."""


class Assembler:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._items: list[bytes | _Label | _Reference] = [machine.constant(machine.base, elf.ZEROED_AT)]
        self._texts: dict[bytes, Text] = {}
        self._slots = 0
        self._buffers = 0
        self._labels = 0

    # memory

    def slot(self) -> Slot:
        self._slots += 1
        if self._slots > _MOST_SLOTS:
            raise ValueError("too many values")
        return Slot((self._slots - 1) * 8)

    def buffer(self, size: int) -> int:
        """The address of so many zeroed bytes."""
        address = elf.ZEROED_AT + _MOST_SLOTS * 8 + self._buffers
        self._buffers += size + -size % 8
        return address

    def text(self, content: str) -> Text:
        encoded = content.encode()
        return self._texts.setdefault(encoded, Text(f"text {len(self._texts)}", encoded))

    # instructions

    def set(self, target: Slot, value: Operand) -> None:
        self._bring(self.machine.first, value)
        self._keep(target)

    def combine(self, target: Slot, left: Operand, operation: Operation, right: Operand) -> None:
        self._bring_both(left, right)
        self._items.append(self.machine.combine(operation))
        self._keep(target)

    def increase(self, target: Slot, by: Operand = 1) -> None:
        self.combine(target, target, "+", by)

    def load(self, target: Slot, address: Operand, offset: int = 0, *, size: Size = 8) -> None:
        self._bring(self.machine.first, address)
        self._items.append(self.machine.load(self.machine.first, self.machine.first, offset, size))
        self._keep(target)

    def store(self, address: Operand, value: Operand, *, size: Size = 8) -> None:
        self._bring_both(address, value)
        self._items.append(self.machine.store(self.machine.second, self.machine.first, 0, size))

    def set_stack_pointer(self, target: Slot) -> None:
        self._items.append(self.machine.stack_pointer(self.machine.first))
        self._keep(target)

    def system_call(self, result: Slot, name: str, *arguments: Operand) -> None:
        """`result` becomes what the kernel returns: below zero it is an errno, negated."""
        for register, argument in zip(self.machine.arguments, arguments, strict=False):
            self._bring(register, argument)
        self._items.append(self.machine.constant(self.machine.number, self.machine.system_calls[name]))
        self._items.append(self.machine.system_call())
        self._keep(result)

    def call(self, routine: str) -> None:
        self._items.append(_Reference(routine, self.machine.call))

    # the shape of the program

    @contextlib.contextmanager
    def routine(self, name: str) -> Iterator[None]:
        self._items += [_Label(name), self.machine.enter()]
        yield
        self.leave()

    def leave(self) -> None:
        """Go back to where the routine was called; the routine's end does it by itself."""
        self._items.append(self.machine.leave())

    @contextlib.contextmanager
    def when(self, left: Operand, condition: Condition, right: Operand) -> Iterator[None]:
        after = self._label()
        self._branch(left, _OPPOSITE[condition], right, after)
        yield
        self._items.append(_Label(after))

    @contextlib.contextmanager
    def loop(self) -> Iterator[Callable[[Operand, Condition, Operand], None]]:
        """Repeat without end, but for the function it gives: that ends the loop if the condition holds."""
        before, after = self._label(), self._label()
        self._items.append(_Label(before))
        yield lambda left, condition, right: self._branch(left, condition, right, after)
        self._items += [_Reference(before, self.machine.jump), _Label(after)]

    # the end

    def executable(self) -> bytes:
        """The program as a file. Call it once, last."""
        self._items += [item for text in self._texts.values() for item in (_Label(text.label), text.content + b"\0")]
        code = self._encode(self._places())
        return elf.executable(code, machine=self.machine.elf_machine, zeroed=_MOST_SLOTS * 8 + self._buffers)

    def _places(self) -> dict[str, int]:
        places: dict[str, int] = {}
        at = 0
        for item in self._items:
            if isinstance(item, _Label):
                places[item.name] = at
            else:
                at += len(item if isinstance(item, bytes) else item.encode(0))
        return places

    def _encode(self, places: dict[str, int]) -> bytes:
        code = bytearray()
        for item in self._items:
            if isinstance(item, bytes):
                code += item
            elif isinstance(item, _Reference):
                code += item.encode(places[item.label] - len(code))
        return bytes(code)

    def _label(self) -> str:
        self._labels += 1
        return f"label {self._labels}"

    def _branch(self, left: Operand, condition: Condition, right: Operand, label: str) -> None:
        self._bring_both(left, right)
        self._items.append(_Reference(label, lambda distance: self.machine.branch(condition, distance)))

    def _bring(self, register: int, value: Operand) -> None:
        if isinstance(value, Slot):
            self._items.append(self.machine.load(register, self.machine.base, value.offset, 8))
        elif isinstance(value, Text):
            self._items.append(_Reference(value.label, lambda distance: self.machine.address(register, distance)))
        else:
            self._items.append(self.machine.constant(register, value))

    def _bring_both(self, left: Operand, right: Operand) -> None:
        self._bring(self.machine.first, left)
        self._bring(self.machine.second, right)

    def _keep(self, target: Slot) -> None:
        self._items.append(self.machine.store(self.machine.first, self.machine.base, target.offset, 8))


_MOST_SLOTS = 64
