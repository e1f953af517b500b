"""What the embedded program needs everywhere, in place of a libc: output, texts, numbers, files and directories.

A routine takes its arguments in slots and leaves its results in them; which ones stands in its docstring. `call` names a routine, and those that
are not called are not in the program.
"""

from __future__ import annotations

from crate_engine.embedded.assembler import Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_engine.embedded.assembler import Operand
    from crate_engine.embedded.machine import Machine

EINTR = -4
_OUTPUT_SIZE, PAGE_SIZE = 4096, 65536
_MOST_NAMES = 16
"""How many names of a directory are printed."""
_AT_FDCWD, _O_CLOEXEC = -100, 0o2000000
_ENTRY_LENGTH, _ENTRY_NAME = 16, 19
"""Offsets in struct linux_dirent64: getdents(2)."""


class Routines:
    def __init__(self, machine: Machine) -> None:
        self.a = a = Assembler(machine)
        self.arguments, self.output_fd, self.number, self.count = a.slot(), a.slot(), a.slot(), a.slot()
        self.pointer, self.length, self.stop, self.other = a.slot(), a.slot(), a.slot(), a.slot()
        self.byte, self.place, self.result, self.fd = a.slot(), a.slot(), a.slot(), a.slot()
        self.line, self.wanted, self.entry, self.block_end = a.slot(), a.slot(), a.slot(), a.slot()
        self.only_numbers, self.output_length = a.slot(), a.slot()
        self.output, self.page, self.digits = a.buffer(_OUTPUT_SIZE), a.buffer(PAGE_SIZE), a.buffer(32)
        self._wanted: dict[str, Callable[[], None]] = {}

    def call(self, routine: Callable[[], None]) -> None:
        """Call what this method assembles; its code is added once, by `assemble_routines`."""
        name = routine.__name__
        self._wanted.setdefault(name, routine)
        self.a.call(name)

    def assemble_routines(self) -> None:
        """Add the code of everything called, and of what that calls."""
        done: set[str] = set()
        while names := [name for name in self._wanted if name not in done]:
            for name in names:
                with self.a.routine(name):
                    self._wanted[name]()
            done.update(names)

    # output

    def put(self, text: str) -> None:
        self.a.set(self.pointer, self.a.text(text))
        self.a.set(self.length, len(text.encode()))
        self.call(self.put_bytes)

    def put_number(self, number: Operand) -> None:
        self.a.set(self.number, number)
        self.call(self.put_decimal)

    def put_word(self, address: Operand, stop: str = "\0") -> None:
        """What is at `address` up to a zero, or to `stop`."""
        self.a.set(self.pointer, address)
        self.a.set(self.stop, ord(stop))
        self.call(self.put_until)

    def put_bytes(self) -> None:
        """Gather `length` bytes at `pointer` for the output; moves both behind them."""
        a = self.a
        with a.loop() as end_if:
            end_if(self.length, "<=", 0)
            with a.when(self.output_length, ">=", _OUTPUT_SIZE):
                a.set(self.other, self.pointer)
                a.set(self.wanted, self.length)
                self.call(self.flush)
                a.set(self.pointer, self.other)
                a.set(self.length, self.wanted)
            a.load(self.byte, self.pointer, size=1)
            a.combine(self.place, self.output_length, "+", self.output)
            a.store(self.place, self.byte, size=1)
            a.increase(self.output_length)
            a.increase(self.pointer)
            a.increase(self.length, -1)

    def flush(self) -> None:
        """Write what was gathered."""
        self.a.set(self.pointer, self.output)
        self.a.set(self.length, self.output_length)
        self.a.set(self.output_length, 0)
        self.call(self.write_all)

    def write_all(self) -> None:
        """Write `length` bytes at `pointer`; when that fails there is no one to tell but the exit status."""
        a = self.a
        with a.loop() as end_if:
            end_if(self.length, "<=", 0)
            a.system_call(self.result, "write", self.output_fd, self.pointer, self.length)
            with a.when(self.result, "<", 0):
                with a.when(self.result, "!=", EINTR):
                    a.system_call(self.result, "exit_group", 1)
                a.set(self.result, 0)
            a.increase(self.pointer, self.result)
            a.combine(self.length, self.length, "-", self.result)

    def put_until(self) -> None:
        """The bytes at `pointer` up to a zero or the byte `stop`."""
        a = self.a
        a.set(self.length, 0)
        with a.loop() as end_if:
            a.combine(self.place, self.pointer, "+", self.length)
            a.load(self.byte, self.place, size=1)
            end_if(self.byte, "==", 0)
            end_if(self.byte, "==", self.stop)
            a.increase(self.length)
        self.call(self.put_bytes)

    def put_decimal(self) -> None:
        """`number`, which becomes 0."""
        a, end = self.a, self.digits + 32
        a.set(self.pointer, end)
        with a.loop() as end_if:
            a.combine(self.byte, self.number, "%", 10)
            a.increase(self.byte, ord("0"))
            a.increase(self.pointer, -1)
            a.store(self.pointer, self.byte, size=1)
            a.combine(self.number, self.number, "/", 10)
            end_if(self.number, "==", 0)
        a.combine(self.length, end, "-", self.pointer)
        self.call(self.put_bytes)

    # texts

    def compare(self) -> None:
        """`number` becomes 1 if the texts at `pointer` and `other` are equal up to their zeros, else 0."""
        a = self.a
        a.set(self.number, 0)
        with a.loop() as end_if:
            a.load(self.byte, self.pointer, size=1)
            a.load(self.place, self.other, size=1)
            end_if(self.byte, "!=", self.place)
            with a.when(self.byte, "==", 0):
                a.set(self.number, 1)
                a.leave()
            a.increase(self.pointer)
            a.increase(self.other)

    def skip_blanks(self) -> None:
        """Move `pointer` to the next byte that is neither space nor tab; that is in `byte`."""
        a = self.a
        with a.loop() as end_if:
            a.load(self.byte, self.pointer, size=1)
            with a.when(self.byte, "==", ord("\t")):
                a.set(self.byte, ord(" "))
            end_if(self.byte, "!=", ord(" "))
            a.increase(self.pointer)

    def read_number(self) -> None:
        """`number` becomes the decimal number at `pointer`, blanks skipped, and `pointer` moves behind it."""
        a = self.a
        self.call(self.skip_blanks)
        a.set(self.number, 0)
        with a.loop() as end_if:
            a.load(self.byte, self.pointer, size=1)
            end_if(self.byte, "<", ord("0"))
            end_if(self.byte, ">", ord("9"))
            a.combine(self.number, self.number, "*", 10)
            a.combine(self.byte, self.byte, "-", ord("0"))
            a.increase(self.number, self.byte)
            a.increase(self.pointer)

    def next_line(self) -> None:
        """Move `pointer` behind the next newline, or to the closing zero; `byte` tells which."""
        a = self.a
        with a.loop() as end_if:
            a.load(self.byte, self.pointer, size=1)
            end_if(self.byte, "==", 0)
            a.increase(self.pointer)
            end_if(self.byte, "==", ord("\n"))

    def find_line(self) -> None:
        """Look in `page` for a line that starts with the text at `pointer`.

        `number` becomes 1 and `pointer` what follows that text and blanks; or `number` becomes 0.
        """
        a = self.a
        a.set(self.wanted, self.pointer)
        a.set(self.line, self.page)
        with a.loop() as end_if:
            a.set(self.pointer, self.line)
            a.set(self.other, self.wanted)
            with a.loop() as differs_if:
                a.load(self.place, self.other, size=1)
                with a.when(self.place, "==", 0):
                    a.set(self.number, 1)
                    self.call(self.skip_blanks)
                    a.leave()
                a.load(self.byte, self.pointer, size=1)
                differs_if(self.byte, "!=", self.place)
                a.increase(self.pointer)
                a.increase(self.other)
            a.set(self.pointer, self.line)
            self.call(self.next_line)
            a.set(self.line, self.pointer)
            end_if(self.byte, "==", 0)
        a.set(self.number, 0)

    # files

    def read_file(self) -> None:
        """The file whose path is at `pointer` comes to `page`, closed by a zero.

        `length` becomes its size, at most a page, or -1 when it cannot be opened; `pointer` the page.
        """
        a, last = self.a, self.page + PAGE_SIZE - 1
        a.set(self.length, -1)
        a.store(self.page, 0, size=1)
        a.system_call(self.fd, "openat", _AT_FDCWD, self.pointer, _O_CLOEXEC)
        a.set(self.pointer, self.page)
        with a.when(self.fd, "<", 0):
            a.leave()
        with a.loop() as end_if:
            a.combine(self.other, last, "-", self.pointer)
            a.system_call(self.result, "read", self.fd, self.pointer, self.other)
            end_if(self.result, "<=", 0)
            a.increase(self.pointer, self.result)
        a.store(self.pointer, 0, size=1)
        a.system_call(self.result, "close", self.fd)
        a.combine(self.length, self.pointer, "-", self.page)
        a.set(self.pointer, self.page)

    def list_directory(self) -> None:
        """Print the names in the directory whose path is at `pointer`, the first of them, and their number.

        Where `only_numbers` is 1 a name that is no number does not count.
        """
        a = self.a
        a.set(self.count, 0)
        a.system_call(self.fd, "openat", _AT_FDCWD, self.pointer, _O_CLOEXEC)
        with a.when(self.fd, ">=", 0):
            with a.loop() as end_if:
                a.system_call(self.result, "getdents64", self.fd, self.page, PAGE_SIZE)
                end_if(self.result, "<=", 0)
                a.set(self.entry, self.page)
                a.combine(self.block_end, self.page, "+", self.result)
                with a.loop() as block_ends_if:
                    block_ends_if(self.entry, ">=", self.block_end)
                    self.call(self.put_entry)
                    a.load(self.length, self.entry, _ENTRY_LENGTH, size=2)
                    a.increase(self.entry, self.length)
            a.system_call(self.result, "close", self.fd)
        with a.when(self.count, ">", _MOST_NAMES):
            self.put("… ")
        self.put("(")
        self.put_number(self.count)
        self.put(" in all)")

    def put_entry(self) -> None:
        """The name of the directory entry at `entry`, if it counts; `count` grows."""
        a = self.a
        for name in (".", ".."):
            a.combine(self.pointer, self.entry, "+", _ENTRY_NAME)
            a.set(self.other, a.text(name))
            self.call(self.compare)
            with a.when(self.number, "==", 1):
                a.leave()
        a.load(self.byte, self.entry, _ENTRY_NAME, size=1)
        with a.when(self.only_numbers, "==", 1):
            with a.when(self.byte, "<", ord("0")):
                a.leave()
            with a.when(self.byte, ">", ord("9")):
                a.leave()
        a.increase(self.count)
        with a.when(self.count, "<=", _MOST_NAMES):
            a.combine(self.place, self.entry, "+", _ENTRY_NAME)
            self.put_word(self.place)
            self.put(" ")
