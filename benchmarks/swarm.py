"""Creates and deletes containers with several workers at once: COUNT WORKERS RUNTIME ROOT BUNDLE NAME.

A program of its own, started with -I -S, so that it is timed from outside like any command. It ends with status 1 at the first command that fails.
"""

import os
import sys

count, workers = int(sys.argv[1]), int(sys.argv[2])
runtime, root, bundle, name = sys.argv[3:]
null = os.open(os.devnull, os.O_RDWR)
streams = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
waiting = [f"{name}-{number}" for number in range(count)]
busy: dict[int, tuple[str, str]] = {}


def start(verb: str, container: str, *words: str) -> None:
    command = [runtime, "--root", root, verb, *words, container]
    busy[os.posix_spawn(runtime, command, os.environ, file_actions=streams)] = (verb, container)


status = 0
while busy or (waiting and not status):
    while waiting and len(busy) < workers and not status:
        start("create", waiting.pop(), "--bundle", bundle)
    pid, code = os.wait()
    verb, container = busy.pop(pid)
    if code:
        os.write(2, f"{verb} {container}: status {os.waitstatus_to_exitcode(code)}\n".encode())
        status = 1
    if verb == "create":
        start("delete", container, "--force")
sys.exit(status)
