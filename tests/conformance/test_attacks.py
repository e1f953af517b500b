"""More attacks on runtimes, by what the caller or the image leaves about: descriptors, keys, environments, a passwd file, names that are too long.

Each stands beside something that looks alike and has to work. Those by paths and by the runtime's own executable are in test_security.py.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import host, installation, raw_call
from tests.support.programs import Result
from tests.support.runtime import Bundle, OciRuntime
from tests.support.terminal import Session

SLEEP = ("/bin/busybox", "sleep", "1000")
KEYCTL_SEARCH, SESSION_KEYRING = 10, -3
TIOCSTI = 0x5412


def after(setting: str, command: list[str]) -> list[str]:
    """The command, started by a Python program that sets up its own state first; `call` is libc's syscall."""
    text = f"import ctypes, os, signal, sys\nlibc = ctypes.CDLL(None)\ncall = libc.syscall\n{setting}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-c", text, *command]


def run_after(runtime: OciRuntime, bundle: Bundle, setting: str, *flags: str, **options: Any) -> Result:
    command = runtime.command("run", *flags, "--bundle", str(bundle.write()), runtime.identity())
    return runtime.account.run(after(setting, command), **options)


# --- hooks and what they inherit (CVE-2025-23266)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"])
def test_hooks_inherit_nothing(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    """The image chooses the environment of its program, and with it what a library would be loaded from, or a program looked up in."""
    record = runtime.directory / "record"
    record.mkdir(mode=0o777)
    record.chmod(0o777)
    bundle.mount(str(record), type="bind", source=str(record), options=["bind"])
    bundle.process["env"] += ["LD_PRELOAD=/evil.so", "PYTHONPATH=/evil", "PATH=/evil"]
    script = f"cat > /dev/null; env > {record}/env; ls /proc/self/fd > {record}/fds; :"
    shell = "/bin/busybox" if kind == "startContainer" else host.program("busybox", "busybox-static")
    hook = {"path": shell, "args": ["busybox", "sh", "-c", script], "env": ["OWN=1", "PATH=/usr/bin:/bin"]}
    bundle.config["hooks"] = {kind: [hook]}
    command = runtime.command("run", "--bundle", str(bundle.runs("/bin/true").write()), runtime.identity())
    opened = " ".join(f"{number}</" for number in range(3, 10))
    runtime.account.run(["sh", "-c", f'exec "$@" {opened}', "sh", *command], status=0, env={"SECRET": "x"})
    names = {line.partition("=")[0] for line in (record / "env").read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"OWN", "PATH"}
    if runtime.name != "runc":  # which passes on what it got
        assert set((record / "fds").read_text().split()) == {"0", "1", "2", "3"}


# --- code that the caller, or the image, could have loaded (CVE-2019-14271)

MARK = "open({path!r}, 'a').write(__name__ + '\\n')\n"


def test_modules_in_the_callers_directory_and_environment_are_not_loaded(runtime: OciRuntime, bundle: Bundle) -> None:
    evil, marker = runtime.directory / "evil", runtime.directory / "marker"
    evil.mkdir()
    for name in (*sys.stdlib_module_names, "sitecustomize", "usercustomize", "crate_runc"):
        (evil / f"{name}.py").write_text(MARK.format(path=str(marker)))
    (evil / "evil.pth").write_text("import sitecustomize\n")
    variables = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPLATLIBDIR")
    environment = dict.fromkeys(variables, str(evil)) | {
        "PYTHONSTARTUP": f"{evil}/os.py",
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "os.f",
    }
    result = runtime.call(
        "run", "--bundle", str(bundle.script("echo ran").write()), runtime.identity(), env=environment, cwd=evil
    )
    assert result.out == "ran\n"
    runtime.call("list", env=environment, cwd=evil)
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("failure", ["program", "directory", "hook"])
def test_failure_inside_reads_no_file_of_the_image(runtime: OciRuntime, bundle: Bundle, failure: str) -> None:
    """A traceback would read its lines from files of that name: here they are FIFOs that nobody ever writes to."""
    sources = [*(installation.CHECKOUT / "crate_runc").rglob("*.py"), Path(os.__file__)]
    packages = Path(runtime.program).parents[1] / "lib" / f"python{host.python_version()}" / "site-packages"
    for source in sources:
        for path in (
            source,
            packages / source.relative_to(installation.CHECKOUT) if source.is_relative_to(installation.CHECKOUT) else source,
        ):
            inside = bundle.rootfs / str(path).lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            if not inside.exists():
                os.mkfifo(inside)
    bundle.runs("nosuch" if failure == "program" else "/bin/true")
    if failure == "directory":
        bundle.process["cwd"] = "/etc/passwd"
    elif failure == "hook":
        bundle.config["hooks"] = {"startContainer": [{"path": "/nosuch"}]}
    assert runtime.run(bundle, status=None, timeout=20).status != 0


# --- descriptors and directories (CVE-2024-21626)


@pytest.mark.parametrize("number", [*range(3, 30, 3), 63, 255])
def test_working_directory_through_a_link_to_a_descriptor(runtime: OciRuntime, bundle: Bundle, number: int) -> None:
    """The image has the link; the caller has all these open on the host's root."""
    (bundle.rootfs / "work").symlink_to(f"/proc/self/fd/{number}")
    bundle.process["cwd"] = "/work"
    setting = "fd = os.open('/', os.O_RDONLY)\nfor n in range(3, 256): os.dup2(fd, n)"
    result = run_after(runtime, bundle.script("ls -a ."), setting)
    assert result.status != 0 or "bin" in result.out.split()
    assert not {"boot", "srv", "opt", "lib64"} & set(result.out.split())


def test_descriptors_of_exec_are_its_three(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        setting = "fd = os.open('/', os.O_RDONLY)\nfor n in range(3, 64): os.dup2(fd, n)"
        command = after(setting, runtime.command("exec", identity, "ls", "/proc/self/fd"))
        assert set(runtime.account.run(command, status=0).out.split()) == {"0", "1", "2", "3"}


# --- what a process has of its parent


KEY = "import ctypes\ncall({keyctl}, 1, b'ct-caller')\nassert call({add_key}, b'user', b'ct-secret', b'x', 1, -3) > 0"
_ADD_KEY = {"x86_64": 248, "aarch64": 217}[raw_call.MACHINE]


@pytest.mark.parametrize("shared", [False, True])
def test_keys_of_the_caller_are_out_of_reach(runtime: OciRuntime, bundle: Bundle, shared: bool) -> None:
    """And in reach where the caller wants that."""
    keyctl = raw_call.number("keyctl")
    path = raw_call.write(
        bundle.rootfs / "search", raw_call.program(keyctl, KEYCTL_SEARCH, SESSION_KEYRING, b"user", b"ct-secret", 0)
    )
    setting = KEY.format(keyctl=keyctl, add_key=_ADD_KEY)
    flags = ("--no-new-keyring",) if shared else ()
    result = run_after(runtime, bundle.script(f"{path}; echo $?"), setting, *flags, status=0)
    assert result.out.strip() == ("0" if shared else str(errno.ENOKEY))


def test_no_key_is_left_for_the_user(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    """kernel.keys.maxkeys is 200: a container starts without a keyring of its own, and reaches none."""
    if rootless_runtime.name == "runc":
        pytest.skip("this runc does not start then")
    setting = (
        f"call({raw_call.number('keyctl')}, 1, b'ct-caller')\nn = 0\n"
        f"while call({_ADD_KEY}, b'user', b'ct-secret-%d' % n, b'x', 1, -3) > 0: n += 1"
    )
    path = raw_call.write(
        rootless_bundle.rootfs / "search",
        raw_call.program(raw_call.number("keyctl"), KEYCTL_SEARCH, SESSION_KEYRING, b"user", b"ct-secret-0", 0),
    )
    result = run_after(rootless_runtime, rootless_bundle.script(f"{path}; echo $?"), setting)
    assert result.out.strip() == str(errno.EPERM), result


def test_odd_state_of_the_caller_does_not_reach_the_program(runtime: OciRuntime, bundle: Bundle) -> None:
    settings = (
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
        "libc.prctl(29, 12345678)",  # PR_SET_TIMERSLACK
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})",
        "signal.signal(signal.SIGPIPE, signal.SIG_IGN)",
        "os.umask(0o77)",
        "os.chdir('/tmp')",
    )
    script = "grep -E '^(Cpus_allowed_list|SigBlk|SigIgn)' /proc/self/status; cat /proc/self/timerslack_ns; umask; pwd"
    plain = run_after(runtime, bundle.script(script), "pass", status=0).out
    odd = run_after(runtime, bundle, "\n".join(settings), status=0).out
    if runtime.name == "runc":
        pytest.skip("this runc leaves the program its caller's processors and timer slack")
    assert odd == plain


@pytest.mark.parametrize("terminal", [False, True])
def test_input_for_the_callers_terminal(runtime: OciRuntime, bundle: Bundle, terminal: bool) -> None:
    """A program without a terminal of its own has the caller's as its input, and cannot type there; where it has its own, it can."""
    path = raw_call.write(bundle.rootfs / "type", raw_call.program(raw_call.number("ioctl"), 0, TIOCSTI, b"#"))
    bundle.process["terminal"] = terminal
    command = runtime.command("run", "--bundle", str(bundle.script(f"{path}; echo status $?.").write()), runtime.identity())
    with Session(runtime.account, command) as session:
        status = int(session.expect(".").rpartition("status ")[2].rstrip("."))
    switch = Path("/proc/sys/dev/tty/legacy_tiocsti")
    allowed = not switch.exists() or switch.read_text().strip() == "1"
    if terminal and allowed:
        assert status == 0
    else:
        assert status in (errno.EIO, errno.EPERM, errno.ENOTTY)  # the last where a pipe stands between


# --- the console socket


@pytest.mark.parametrize("kind", ["fifo", "file", "directory", "link to a file", "nobody listens"])
def test_console_socket_that_is_something_else(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    path = runtime.directory / "console"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a file":
        path.symlink_to("/etc/passwd")
    else:
        unheard = socket.socket(socket.AF_UNIX)
        unheard.bind(str(path))
        unheard.close()
    bundle.process["terminal"] = True
    before = Path("/etc/passwd").stat()
    runtime.fails(
        "create", "--console-socket", str(path), "--bundle", str(bundle.runs("true").write()), runtime.identity(), timeout=10
    )
    assert list(runtime.root.iterdir()) == []
    assert Path("/etc/passwd").stat() == before


# --- a passwd file of the image (CVE-2024-9676)

HOSTILE = (
    "fifo",
    "link to a fifo",
    "endless device",
    "process memory",
    "directory",
    "sparse",
    "long line",
    "many lines",
    "garbage",
)


@pytest.mark.parametrize("kind", HOSTILE)
def test_passwd_that_would_take_time_or_memory(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    if runtime.name == "runc" and kind in ("fifo", "link to a fifo", "endless device", "sparse"):
        pytest.skip("this runc reads whatever is there, to its end")
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    own = b"root:x:0:0:root:/of-the-image:/bin/sh\n"
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "link to a fifo":
        os.mkfifo(bundle.rootfs / "etc/fifo")
        passwd.symlink_to("fifo")
    elif kind == "endless device":
        os.mknod(passwd, 0o20666, os.makedev(1, 5))
    elif kind == "process memory":
        passwd.symlink_to("/proc/self/mem")
    elif kind == "directory":
        passwd.mkdir()
    elif kind == "sparse":
        with passwd.open("wb") as file:
            file.truncate(4 << 30)
    elif kind == "long line":
        passwd.write_bytes(b"x" * 100_000 + b"\n" + own)
    elif kind == "many lines":
        passwd.write_bytes(b"u:x:7:7::/:/bin/sh\n" * 20_000 + own)
    else:
        passwd.write_bytes(b"\0\xff\n::::\n:\n" + b":" * 70 + b"\r\n" + own)
    result = runtime.run(bundle.script("echo $HOME"), status=None, timeout=20)
    if result.status == 0:
        assert result.out in ("/\n", "/root\n", "/of-the-image\n") or runtime.name == "runc"


def test_passwd_of_the_image_says_where_home_is(runtime: OciRuntime, bundle: Bundle) -> None:
    """The look-alike: also through an absolute link, which means inside."""
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    (bundle.rootfs / "nix").mkdir()
    (bundle.rootfs / "nix/passwd").write_text("root:x:0:0:root:/of-the-image:/bin/sh\n")
    passwd.symlink_to("/nix/passwd")
    assert runtime.output(bundle.script("echo $HOME")) == "/of-the-image\n"


# --- numbers of users (CVE-2016-3697, CVE-2024-40635, CVE-2026-30892)

NOT_NUMBERS = (
    *("-1", "+0", "0x0", "1e3", "1_0", " 1", "1 ", "１", "²", "root", "0:", ":0", "1:1:1", "0\n", "00x"),
    *("4294967295", "4294967296", "18446744073709551616", "9" * 400, "1:4294967296", "1:-1", "1:root", "1:１"),
)


@pytest.mark.parametrize("user", NOT_NUMBERS)
def test_user_of_exec_that_is_no_number_is_not_root(runtime: OciRuntime, bundle: Bundle, user: str) -> None:
    """The image has users of such names."""
    if runtime.name == "runc" and user in ("+0", "4294967296"):
        pytest.skip("this runc takes a sign, and forgets the bits that are too many")
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/:\n4294967296:x:0:0::/:\n1000:x:0:0::/:\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        result = runtime.exec(identity, "id", "-u", flags=("--user", user), status=None)
    assert result.status != 0 or runtime.name == "runc" or result.out.strip() == user.partition(":")[0]
    assert result.out.strip() != "0"


@pytest.mark.parametrize(
    ("user", "expected"), [("0", "0:0"), ("1000", "1000:0"), ("2147483647:5", "2147483647:5"), ("007:08", "7:8")]
)
def test_user_of_exec_that_is_a_number(runtime: OciRuntime, bundle: Bundle, user: str, expected: str) -> None:
    (bundle.rootfs / "etc/passwd").write_text("1000:x:0:0::/:\n")
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        out = runtime.exec(identity, "sh", "-c", "echo $(id -u):$(id -g)", flags=("--user", user)).out
    assert out.strip() == expected


# --- names that are longer than any message should have (CVE-2021-43784)


@pytest.mark.parametrize("place", ["namespace", "hostname", "mount", "program", "cgroup", "annotation"])
def test_names_that_are_very_long(runtime: OciRuntime, bundle: Bundle, place: str) -> None:
    """An error, or what it says; never another length."""
    name = "/" + "n" * 70_000
    if place == "namespace":
        bundle.namespace("network", name)
    elif place == "hostname":
        bundle.config["hostname"] = name
    elif place == "mount":
        bundle.mount(name, type="tmpfs", source="tmpfs")
    elif place == "program":
        bundle.runs(name)
    elif place == "cgroup":
        bundle.linux["cgroupsPath"] = name
    else:
        bundle.config["annotations"] = {"org.example.long": name}
    if place != "program":
        bundle.runs("hostname")
    result = runtime.run(bundle, status=None, timeout=20)
    if place == "annotation":
        assert (result.status, result.out) == (0, "inside\n")
    else:
        assert result.status != 0
        assert result.err


# --- control groups and devices


def test_raw_devices_cannot_be_opened_with_the_right_to_make_them(runtime: OciRuntime, bundle: Bundle) -> None:
    """And the null device, made in the same way, can."""
    names = ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), names)
    devices = {"mem": "c 1 1", "port": "c 1 4", "disk": "b 8 0", "loop": "c 10 237", "own": "c 1 3"}
    script = "".join(f"mknod /dev/x-{name} {numbers}; (: < /dev/x-{name}) && echo {name};" for name, numbers in devices.items())
    assert runtime.run(bundle.script(script)).out == "own\n"


def test_release_agent_cannot_be_written(runtime: OciRuntime, bundle: Bundle) -> None:
    """CVE-2022-0492: what the host runs as root when a cgroup of version 1 is empty."""
    script = "for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/*/release_agent; do echo /evil > $f && echo written; done; echo done"
    assert runtime.run(bundle.script(script), status=None).out == "done\n"
    for path in Path("/sys/fs/cgroup").glob("*/release_agent"):
        assert "evil" not in path.read_text()
