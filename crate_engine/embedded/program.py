"""The program of the embedded image: what a process can tell about its container, each line asked of the kernel when it runs.

Written for no processor in particular (see `assembler`), without a libc. Besides telling facts it has a few small commands, so that a container
can be made to end with a status, wait for a signal, or copy its input.
"""

from __future__ import annotations

import contextlib

from crate_engine.embedded.routines import EINTR, PAGE_SIZE, Routines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.embedded.assembler import Operand
    from crate_engine.embedded.machine import Machine

USAGE = """\
usage: hello                tell what the kernel says about this container
       hello exit STATUS    end with this status
       hello sleep [SECS]   wait for a signal, at most so long; end with 128 and its number
       hello echo           copy standard input to standard output
       hello args [ARG]...  print each argument on a line
       hello env            print each environment variable on a line
"""
WAITING = "waiting for a signal\n"
_UTSNAME_FIELD = 65
"""Bytes of each field of struct utsname: system, node, release, version, machine, domain. See uname(2)."""
_SIG_BLOCK, _SIG_IGN, _SIGSET_SIZE, _SIGCHLD = 0, 1, 8, 17
_PASSED_BY = (_SIGCHLD, 18, 20, 21, 22, 23, 28)
"""Signals that do not end `sleep`: of children, job control, urgent input and the terminal's size."""
_MIB = 1 << 20


def executable(machine: Machine) -> bytes:
    """The program as a static ELF file for this processor."""
    return _Program(machine).build()


class _Program(Routines):
    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.names, self.signals, self.action = self.a.buffer(6 * _UTSNAME_FIELD), self.a.buffer(8), self.a.buffer(32)
        self.inside, self.outside, self.status = self.a.slot(), self.a.slot(), self.a.slot()

    def build(self) -> bytes:
        a = self.a
        a.set_stack_pointer(self.arguments)  # argc, the arguments, a zero, the environment, a zero
        a.set(self.output_fd, 1)
        a.load(self.count, self.arguments)
        with a.when(self.count, "<", 2):
            self.call(self.facts)
            self.end(0)
        for command in (self.exit, self.sleep, self.echo, self.args, self.env):
            self.argument(1)
            a.set(self.other, a.text(command.__name__))
            self.call(self.compare)
            with a.when(self.number, "==", 1):
                self.call(command)
                self.end(0)
        a.set(self.output_fd, 2)
        self.put(USAGE)
        self.end(2)
        self.assemble_routines()
        return a.executable()

    def end(self, status: Operand) -> None:
        self.a.set(self.status, status)
        self.call(self.flush)
        self.a.system_call(self.result, "exit_group", self.status)

    def argument(self, place: int) -> None:
        """`pointer` becomes the address of an argument, or 0 behind the last."""
        self.a.load(self.pointer, self.arguments, 8 * (place + 1))

    # the facts

    def facts(self) -> None:
        a = self.a
        a.system_call(self.result, "uname", self.names)
        self.put("Hello from inside a container. This is what the kernel tells the program that runs in it:\n\n")
        for tell in (
            self.process,
            self.processes,
            self.user,
            self.user_ids,
            self.host_name,
            self.kernel,
            self.working_directory,
            self.root_directory,
            self.mounts,
            self.network,
            self.cgroup,
            self.memory_limit,
            self.capabilities,
            self.privileges,
        ):
            self.put(f"  {tell.__name__.replace('_', ' '):<20}")
            self.call(tell)
            self.put("\n")
        self.put("\nThe program is a static ELF file that crate wrote itself, without a compiler and without a libc.\n")

    @contextlib.contextmanager
    def read(self, path: str) -> Iterator[None]:
        """In a routine: what to do with the file's content, at `pointer`. The routine goes on only if the file cannot be read."""
        self.a.set(self.pointer, self.a.text(path))
        self.call(self.read_file)
        with self.a.when(self.length, ">", 0):
            yield
            self.a.leave()

    @contextlib.contextmanager
    def line_of(self, path: str, start: str) -> Iterator[None]:
        """The same with what follows `start` in the line that starts with it."""
        with self.read(path):
            self.a.set(self.pointer, self.a.text(start))
            self.call(self.find_line)
            with self.a.when(self.number, "==", 1):
                yield
                self.a.leave()
            self.unseen()
        self.unseen()

    def unseen(self) -> None:
        self.put("cannot be seen")

    def process(self) -> None:
        self.a.system_call(self.number, "getpid")
        self.call(self.put_decimal)
        self.put(", started by ")
        self.a.system_call(self.number, "getppid")
        self.call(self.put_decimal)

    def processes(self) -> None:
        self.a.set(self.only_numbers, 1)
        self.a.set(self.pointer, self.a.text("/proc"))
        self.call(self.list_directory)

    def user(self) -> None:
        self.a.system_call(self.number, "getuid")
        self.call(self.put_decimal)
        self.put(", group ")
        self.a.system_call(self.number, "getgid")
        self.call(self.put_decimal)

    def user_ids(self) -> None:
        """Each line of a map: the first id inside, the first outside, how many. See user_namespaces(7)."""
        a = self.a
        with self.read("/proc/self/uid_map"):
            self.call(self.read_number)
            a.set(self.inside, self.number)
            self.call(self.read_number)
            a.set(self.outside, self.number)
            a.set(self.count, 0)
            with a.loop() as end_if:
                self.call(self.read_number)
                a.increase(self.count, self.number)
                self.call(self.next_line)
                self.call(self.read_number)
                end_if(self.byte, "==", 0)
                self.call(self.read_number)
            with a.when(self.inside, "==", self.outside):
                self.put("those of the host")
                a.leave()
            self.put_number(self.count)
            self.put(": ")
            self.put_number(self.inside)
            self.put(" in here is ")
            self.put_number(self.outside)
            self.put(" outside")
        self.unseen()

    def host_name(self) -> None:
        self.put_word(self.names + _UTSNAME_FIELD)

    def kernel(self) -> None:
        for field, before in ((0, ""), (2, " "), (4, " on ")):
            self.put(before)
            self.put_word(self.names + field * _UTSNAME_FIELD)

    def working_directory(self) -> None:
        self.a.store(self.page, 0, size=1)
        self.a.system_call(self.result, "getcwd", self.page, PAGE_SIZE)
        self.put_word(self.page)

    def root_directory(self) -> None:
        self.a.set(self.only_numbers, 0)
        self.a.set(self.pointer, self.a.text("/"))
        self.call(self.list_directory)

    def mounts(self) -> None:
        a = self.a
        with self.read("/proc/self/mountinfo"):
            a.set(self.count, 0)
            with a.loop() as end_if:
                self.call(self.next_line)
                end_if(self.byte, "==", 0)
                a.increase(self.count)
            self.put_number(self.count)
        self.unseen()

    def network(self) -> None:
        """The names in /proc/net/dev: two lines of headings, then `name: figures`."""
        a = self.a
        with self.read("/proc/net/dev"):
            self.call(self.next_line)
            with a.loop() as end_if:
                self.call(self.next_line)
                self.call(self.skip_blanks)
                end_if(self.byte, "==", 0)
                a.set(self.line, self.pointer)
                self.put_word(self.pointer, ":")
                self.put(" ")
                a.set(self.pointer, self.line)
        self.unseen()

    def cgroup(self) -> None:
        """The path in the unified hierarchy: cgroups(7)."""
        with self.line_of("/proc/self/cgroup", "0::"):
            self.put_word(self.pointer, "\n")

    def memory_limit(self) -> None:
        a = self.a
        for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            with self.read(path):
                a.load(self.byte, self.pointer, size=1)
                self.call(self.read_number)
                a.combine(self.count, self.number, "/", _MIB)
                # cgroup v2 writes "max", v1 a number of bytes that no machine has
                with a.when(self.number, "==", 0):
                    self.put("none")
                    a.leave()
                with a.when(self.count, ">=", 1 << 30):
                    self.put("none")
                    a.leave()
                self.put_number(self.count)
                self.put(" MiB")
        self.unseen()

    def capabilities(self) -> None:
        """The bits that are set in the hexadecimal digits: capabilities(7)."""
        a, digit = self.a, self.byte
        with self.line_of("/proc/self/status", "CapEff:"):
            a.set(self.count, 0)
            with a.loop() as end_if:
                a.load(digit, self.pointer, size=1)
                end_if(digit, "<", ord("0"))
                with a.when(digit, ">=", ord("a")):
                    a.increase(digit, ord("9") + 1 - ord("a"))
                a.increase(digit, -ord("0"))
                for _ in range(4):
                    a.combine(self.other, digit, "&", 1)
                    a.increase(self.count, self.other)
                    a.combine(digit, digit, "/", 2)
                a.increase(self.pointer)
            self.put_number(self.count)
            with self.read("/proc/sys/kernel/cap_last_cap"):
                self.call(self.read_number)
                a.increase(self.number)
                a.set(self.count, self.number)
                self.put(" of ")
                self.put_number(self.count)

    def privileges(self) -> None:
        a = self.a
        with self.line_of("/proc/self/status", "NoNewPrivs:"):
            a.load(self.byte, self.pointer, size=1)
            with a.when(self.byte, "==", ord("1")):
                self.put("cannot grow (no_new_privs)")
                a.leave()
            self.put("can grow by set-user-id programs")

    # the commands

    def exit(self) -> None:
        a = self.a
        self.argument(2)
        a.set(self.number, 0)
        with a.when(self.count, ">", 2):
            self.call(self.read_number)
        self.end(self.number)

    def sleep(self) -> None:
        """All signals are blocked and one is taken: the kernel keeps a blocked signal for PID 1 too, whose default action is none."""
        a, timeout = self.a, self.other
        a.store(self.action, _SIG_IGN)  # children that a container's init inherits leave no zombies
        a.system_call(self.result, "rt_sigaction", _SIGCHLD, self.action, 0, _SIGSET_SIZE)
        a.store(self.signals, -1)
        a.system_call(self.result, "rt_sigprocmask", _SIG_BLOCK, self.signals, 0, _SIGSET_SIZE)
        a.store(self.signals, -1 - sum(1 << signal - 1 for signal in _PASSED_BY))
        self.put(WAITING)
        self.call(self.flush)
        a.set(timeout, 0)
        with a.when(self.count, ">", 2):
            self.argument(2)
            self.call(self.read_number)
            a.set(timeout, self.action)
            a.store(timeout, self.number)
            a.store(self.action + 8, 0)
        with a.loop() as end_if:
            a.system_call(self.number, "rt_sigtimedwait", self.signals, 0, timeout, _SIGSET_SIZE)
            end_if(self.number, "!=", EINTR)
        with a.when(self.number, ">", 0):
            a.set(self.count, self.number)
            self.put("signal ")
            self.put_number(self.count)
            self.put("\n")
            a.increase(self.count, 128)
            self.end(self.count)

    def echo(self) -> None:
        a = self.a
        with a.loop() as end_if:
            a.set(self.pointer, self.page)
            a.system_call(self.length, "read", 0, self.pointer, PAGE_SIZE)
            end_if(self.length, "<=", 0)
            self.call(self.write_all)

    def args(self) -> None:
        self.a.combine(self.line, self.arguments, "+", 3 * 8)
        self.call(self.put_texts)

    def env(self) -> None:
        self.a.combine(self.line, self.count, "*", 8)
        self.a.increase(self.line, self.arguments)
        self.a.increase(self.line, 2 * 8)
        self.call(self.put_texts)

    def put_texts(self) -> None:
        """A line for each text whose address is in the list at `line`, which a zero closes."""
        a = self.a
        with a.loop() as end_if:
            a.load(self.pointer, self.line)
            end_if(self.pointer, "==", 0)
            self.put_word(self.pointer)
            self.put("\n")
            a.increase(self.line, 8)
