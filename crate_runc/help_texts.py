"""The pages of `crate-runc --help` and `crate-runc VERB --help`."""

from __future__ import annotations

from crate_runc.cli import GLOBAL, SHORT_GLOBAL, SWITCH, VERBS
from crate_runc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.cli import Flags

# verb: (arguments, one line, more)
VERB_TEXTS = {
    "create": ("ID", "make a container from a bundle and stop just before its program", "`start` runs the program."),
    "start": ("ID", "run the program of a created container", ""),
    "run": ("ID", "create and start; wait for the program unless detached", "The exit status is the program's, or 128 and the signal's number."),
    "exec": (
        "ID PROGRAM [ARGUMENT...]",
        "run one more program in a running container",
        "With --process there is no PROGRAM. Without it, whatever no flag says is as for the container's own program.",
    ),
    "checkpoint": ("ID", "save a running container to files, with criu", "It ends then, and is removed, unless it is left running."),
    "restore": ("ID", "make a running container from a checkpoint, with criu", "The bundle is the container's own, or a copy of it."),
    "state": ("ID", "print the state of a container as JSON", ""),
    "kill": ("ID [SIGNAL]", "send a signal to a container's first process", "SIGNAL is a number or a name, with or without SIG; TERM where it is left out."),
    "delete": ("ID", "remove a stopped container", "What the container had in the host is removed, and its poststop hooks run."),
    "list": ("", "list the containers below the state root", ""),
    "ps": ("ID [OPTION OF ps(1)...]", "list the processes of a container", "The options of ps(1) are -ef where none are given."),
    "pause": ("ID", "stop all processes of a container until `resume`", ""),
    "resume": ("ID", "let a paused container run on", ""),
    "update": (
        "ID",
        "change the limits of a running container",
        "What no flag names stays as it is. With --resources the other flags are ignored, but for those of Intel RDT.",
    ),
    "events": (
        "ID",
        "print figures of a container, and when it is out of memory, as lines of JSON",
        "It ends with the container, and with --stats at once.",
    ),
    "spec": ("", "write a config.json to start from", "The program in it is a shell, the root file system a directory `rootfs` beside the file."),
    "features": ("", "print what this runtime can do as JSON", "The form is that of the OCI runtime-spec, features.md."),
    "plan": ("[BUNDLE]", "print what `create` would do, step by step, and do nothing", ""),
    "check": ("[BUNDLE]", "print every defect of a bundle's config.json", "The exit status is 1 where there is one."),
    "help": ("[VERB]", "print this or a verb's page", ""),
}  # fmt: skip
# A flag, or a verb and its flag where it means something of its own there.
_FLAGS = {
    "additional-gids": ("GID", "one more group of the program; may be repeated"),
    "all": ("", "send the signal to every process of the container"),
    "apparmor": ("PROFILE", "the AppArmor profile that confines the program"),
    "blkio-weight": ("WEIGHT", "of its block I/O, from 10 to 1000"),
    "auto-dedup": ("", "leave out of a parent's images what is saved anew"),
    "bundle": ("DIRECTORY", "the directory with config.json; else the current one"),
    "cap": ("CAPABILITY", "one more capability for the program; may be repeated"),
    "cgroup": (
        "[CONTROLLER:]PATH",
        "the cgroup below the container's to run in, which is there; with CONTROLLER it may be repeated",
    ),
    "cgroup-manager": ("cgroupfs|systemd|disabled", "who makes the cgroup, as crun's flag says it; disabled: nobody"),
    "config": ("FILE", "the configuration, instead of config.json in the bundle"),
    "console-socket": ("PATH", "a unix socket that gets the terminal's master side"),
    "cpu-burst": ("MICROSECONDS", "that unused quota may add up to"),
    "cpu-idle": ("0|1", "whether it runs only where nothing else does (SCHED_IDLE)"),
    "cpu-period": ("MICROSECONDS", "of which the quota is a part"),
    "cpu-quota": ("MICROSECONDS", "of processor time in each period; -1 for any"),
    "cpu-rt-period": ("MICROSECONDS", "the period for realtime processes"),
    "cpu-rt-runtime": ("MICROSECONDS", "of each such period for realtime processes"),
    "cpu-share": ("SHARES", "a relative weight, from 2 to 262144; 1024 is usual"),
    "cpuset-cpus": ("LIST", "processors that it may use, as 0-2,7"),
    "cpuset-mems": ("LIST", "memory nodes that it may use"),
    "criu": ("PATH", "the program that checkpoint and restore use; else criu on the PATH"),
    "cwd": ("PATH", "the program's working directory in the container"),
    "debug": ("", "log what is called and how it ends, and show where an internal error happened"),
    "detach": ("", "do not wait for the program"),
    "empty-ns": ("NAME", "leave what is in this namespace alone: network, which is so anyway; may be repeated"),
    "env": ("NAME=VALUE", "one more variable for the program; may be repeated"),
    "ext-unix-sk": ("", "allow unix sockets that lead out of the container"),
    "file-locks": ("", "save and restore file locks"),
    "force": ("", "kill a running container first; a missing one is no error"),
    "check format": ("FORMAT", "text or json"),
    "format": ("FORMAT", "table or json"),
    "help": ("", "print this page"),
    "image-path": ("DIRECTORY", "where the images are; else ./checkpoint"),
    "ignore-paused": ("", "also in a paused container, where the program waits until that is resumed"),
    "interval": ("DURATION", "between two lines of figures, as 5s or 1m30s; else 5s"),
    "keep": ("", "do not delete the container after its program has ended"),
    "kernel-memory": ("BYTES", "of kernel memory; newer kernels cannot limit it alone"),
    "kernel-memory-tcp": ("BYTES", "of buffers for TCP; v1 only"),
    "l3-cache-schema": ("SCHEMA", "of Intel RDT's cache allocation"),
    "lazy-pages": ("", "move memory when it is used, through criu's page server"),
    "leave-running": ("", "the container runs on"),
    "link-remap": ("", "give open files without a name one again, for a while"),
    "log": ("FILE", "append the message of a failure to this file too"),
    "log-format": ("FORMAT", "text or json"),
    "mem-bw-schema": ("SCHEMA", "of Intel RDT's memory bandwidth allocation"),
    "memory": ("BYTES", "the limit of its memory, also as 512m or 1.5g; -1 for none"),
    "memory-reservation": ("BYTES", "of memory that reclaim spares"),
    "memory-swap": ("BYTES", "the limit of memory and swap together; -1 for none"),
    "lsm-mount-context": ("CONTEXT", "the SELinux context of mounts, in place of that in the images"),
    "lsm-profile": ("TYPE:NAME", "the AppArmor profile or SELinux label, in place of that in the images"),
    "manage-cgroups-mode": ("MODE", "what criu does about cgroups: soft (the usual), full, strict or ignore"),
    "no-new-keyring": ("", "leave the container in the caller's session keyring"),
    "no-new-privs": ("", "the program cannot gain privileges by execve"),
    "no-pivot": ("", "move the root mount instead of pivot_root, for a root on a ramdisk"),
    "no-subreaper": ("", "do not become the parent of processes that lose theirs; in the foreground alone"),
    "page-server": ("ADDRESS:PORT", "send memory to criu's page server there"),
    "parent-path": ("DIRECTORY", "images of an earlier --pre-dump, relative to --image-path"),
    "restore no-pivot": ("", "accepted for runc's sake; criu makes the mounts"),
    "pid-file": ("FILE", "write the first process's id to this file"),
    "pidfd-socket": ("PATH", "a unix socket that gets a pidfd of the process"),
    "pids-limit": ("COUNT", "of processes and threads; -1 for any"),
    "pre-dump": ("", "save memory alone, and let the container run on"),
    "preserve-fds": ("N", "pass N more file descriptors, from 3 on"),
    "process": ("FILE", "a file with the process object of config.json"),
    "process-label": ("LABEL", "the SELinux label of the program"),
    "quiet": ("", "print only ids"),
    "resources": ("FILE", "a linux.resources object of config.json; - for standard input"),
    "root": ("DIRECTORY", "where the state of containers is; else /run/crate-runc or $XDG_RUNTIME_DIR/crate-runc"),
    "rootless": ("true|false|auto", "whether a cgroup that may not be made is no error"),
    "shell-job": ("", "allow a container in the session of the caller's terminal"),
    "spec rootless": ("", "write a file for an ordinary user"),
    "stats": ("", "print figures once and end"),
    "status-fd": ("FD", "write a zero byte there when lazy pages are served"),
    "systemd-cgroup": ("", "let systemd make the cgroup: a scope; linux.cgroupsPath is then slice:prefix:name"),
    "tcp-established": ("", "allow open TCP connections"),
    "tcp-skip-in-flight": ("", "leave out TCP connections that are being made"),
    "tty": ("", "give the program a terminal"),
    "user": ("UID[:GID]", "the program's user"),
    "work-path": ("DIRECTORY", "where criu's logs go; else to the images"),
    "version": ("", "print the version"),
}


def explain(verb: str, flag: str) -> tuple[str, str]:
    """What its value is called and what it does; `verb` "" for a global flag."""
    return _FLAGS.get(f"{verb} {flag}") or _FLAGS[flag]


def page(verb: str) -> str:
    """`verb` "" is the page of the whole program. Raises UsageError for an unknown one."""
    if not verb:
        return _program()
    if verb not in VERBS:
        raise UsageError(f'unknown command "{verb}"; see crate-runc --help')
    arguments, line, more = VERB_TEXTS[verb]
    flags, short, _, _ = VERBS[verb]
    usage = f"crate-runc {verb} [FLAGS] {arguments}".rstrip()
    return (
        f"{usage}\n\n{line[0].upper()}{line[1:]}. {more}".rstrip()
        + "\n\nFlags:\n"
        + _lines({**flags, "help": SWITCH}, {**short, "h": "help"}, verb)
    )


def _program() -> str:
    verbs = "".join(f"  {verb:<12}{VERB_TEXTS[verb][1]}\n" for verb in VERB_TEXTS)
    return (
        "crate-runc [GLOBAL FLAGS] VERB [FLAGS] [ARGUMENTS]\n\n"
        "An OCI runtime: makes containers from bundles, and is called by engines as runc is.\n\n"
        f"Verbs:\n{verbs}\nGlobal flags:\n{_lines(GLOBAL, SHORT_GLOBAL)}"
    )


def _lines(flags: Flags, short: dict[str, str], verb: str = "") -> str:
    letters = {name: letter for letter, name in short.items()}
    rows = []
    for name in sorted(flags):
        value, text = explain(verb, name)
        left = f"-{letters[name]}, --{name}" if name in letters else f"    --{name}"
        rows.append((f"  {left} {value}".rstrip(), text))
    width = max(len(left) for left, _ in rows) + 2
    return "".join(f"{left:<{width}}{text}\n" for left, text in rows)
