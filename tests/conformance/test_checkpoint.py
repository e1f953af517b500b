"""checkpoint and restore: a container goes on where it was saved. Through criu, where that works on this host."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime
from tests.support.terminal import ConsoleSocket

COUNTS = "i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.1; done"
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@cache
def criu_defect() -> str:
    """Why criu does not work here; empty where it does."""
    done = subprocess.run([host.program("criu"), "check"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip().splitlines()[0]


@pytest.fixture
def criu() -> None:
    if defect := criu_defect():
        pytest.skip(f"needs a criu that works on this kernel: {defect}")


@pytest.fixture
def counting(runtime: OciRuntime, bundle: Bundle) -> Bundle:
    """A container that counts in a file of the host, and keeps what it has counted in memory alone."""
    (bundle.path / "data").mkdir()
    return bundle.mount("/data", type="bind", source=str(bundle.path / "data"), options=["rbind", "rw"]).script(COUNTS)


@pytest.fixture
def images(runtime: OciRuntime) -> tuple[str, ...]:
    return ("--image-path", str(runtime.directory / "images"), "--work-path", str(runtime.directory / "work"))


@pytest.fixture
def network() -> Iterator[Path]:
    name = f"ct-{secrets.token_hex(4)}"
    subprocess.run([host.program("ip", "iproute2"), "netns", "add", name], check=True)
    yield Path("/run/netns") / name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def count(bundle: Bundle) -> int:
    text = (bundle.path / "data/count").read_text() if (bundle.path / "data/count").exists() else ""
    return int(text or 0)


def counted_further(bundle: Bundle, before: int) -> None:
    eventually(lambda: count(bundle) > before, f"it counts on from {before}")


def restore(runtime: OciRuntime, bundle: Bundle, identity: str, images: tuple[str, ...], *flags: str) -> None:
    runtime.call("restore", "--detach", *flags, *images, "--bundle", str(bundle.path), identity, timeout=120, **QUIET)


@pytest.mark.usefixtures("criu")
class TestWithCriu:
    def test_a_restored_container_goes_on_where_it_was(
        self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]
    ) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 2)
        runtime.call("checkpoint", *images, identity, timeout=120)
        assert "does not exist" in runtime.fails("state", identity).err
        reached = count(counting)
        (counting.path / "data/count").write_text("")
        pid_file = runtime.directory / "pid"
        restore(runtime, counting, identity, images, "--pid-file", str(pid_file))
        counted_further(counting, reached)
        state = runtime.state(identity)
        assert (state["status"], state["bundle"]) == ("running", str(counting.path))
        assert state["pid"] == int(pid_file.read_text())

    def test_it_is_a_container_like_any_other(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        pid = runtime.pid(identity)
        before = Path(f"/proc/{pid}/cgroup").read_text()
        runtime.call("checkpoint", *images, identity, timeout=120)
        restore(runtime, counting, identity, images)
        assert identity in runtime.call("list", "-q").out
        assert Path(f"/proc/{runtime.pid(identity)}/cgroup").read_text() == before
        assert runtime.exec(identity, "/bin/hostname").out == "inside\n"
        assert runtime.exec(identity, "/bin/cat", "/proc/keys").out == ""
        assert runtime.exec(identity, "/bin/sh", "-c", "echo x > /proc/sys/kernel/hostname", status=None).status != 0
        runtime.call("kill", identity, "KILL")
        runtime.wait_stopped(identity)
        runtime.call("delete", identity)
        assert "does not exist" in runtime.fails("state", identity).err

    def test_it_may_be_left_running(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        pid = runtime.pid(identity)
        runtime.call("checkpoint", "--leave-running", *images, identity, timeout=120)
        assert (runtime.status(identity), runtime.pid(identity)) == ("running", pid)
        counted_further(counting, count(counting))

    def test_memory_may_be_saved_beforehand(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        if subprocess.run(
            [host.program("criu"), "check", "--feature", "mem_dirty_track"], capture_output=True, check=False
        ).returncode:
            pytest.skip("needs a kernel that tracks changes of memory (CONFIG_MEM_SOFT_DIRTY)")
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        top = runtime.directory / "images"
        work = ("--work-path", str(runtime.directory / "work"))
        runtime.call("checkpoint", "--pre-dump", "--image-path", str(top / "first"), *work, identity, timeout=120)
        assert runtime.status(identity) == "running"
        last = ("--image-path", str(top / "last"))
        (top / "last").mkdir()
        runtime.call("checkpoint", "--parent-path", "../first", *last, *work, identity, timeout=120)
        assert (top / "last/parent").is_symlink()
        reached = count(counting)
        (counting.path / "data/count").write_text("")
        restore(runtime, counting, identity, (*last, *work))
        counted_further(counting, reached)

    def test_memory_may_be_sent_to_a_page_server(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        top, port = runtime.directory / "images", free_port()
        top.mkdir()
        server = subprocess.Popen(
            [host.program("criu"), "page-server", "--port", str(port), "-D", str(top)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), "it listens")
        runtime.call("checkpoint", "--page-server", f"127.0.0.1:{port}", *images, identity, timeout=120)
        assert server.wait(20) == 0
        reached = count(counting)
        restore(runtime, counting, identity, images)
        counted_further(counting, reached)

    def test_its_output_goes_where_restore_says(self, runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...]) -> None:
        """Pipes of the caller, as engines have them."""
        bundle.script("i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done")
        identity = runtime.identity()
        command = runtime.command("run", "--detach", "--bundle", str(bundle.write()), identity)
        first = runtime.account.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert first.wait(60) == 0
        assert first.stdout and first.stdin and first.stderr
        assert first.stdout.readline() == b"1\n"
        runtime.call("checkpoint", *images, identity, timeout=120)
        numbers = [int(line) for line in first.stdout.read().splitlines()]
        command = runtime.command("restore", "--detach", *images, "--bundle", str(bundle.path), identity)
        second = runtime.account.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert second.stdout and second.stdin and second.stderr
        assert second.wait(60) == 0, second.stderr.read()
        assert int(second.stdout.readline()) == [1, *numbers][-1] + 1
        runtime.call("delete", "--force", identity)
        for stream in (first.stdout, first.stdin, first.stderr, second.stdout, second.stdin, second.stderr):
            stream.close()

    def test_files_of_the_host_are_replaced_by_those_of_restore(
        self, runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...]
    ) -> None:
        """stdin is the host's /dev/null, stdout too, but for writing alone; the program still can write afterwards."""
        bundle.config["root"]["readonly"] = False
        bundle.script("while sleep 0.1; do echo x && touch /written || touch /failed; done")
        identity = runtime.identity()
        redirected = ["sh", "-c", '"$@" < /dev/null > /dev/null 2> /dev/null', "sh"]
        place = ("--detach", "--bundle", str(bundle.write()), identity)
        runtime.account.run([*redirected, *runtime.command("run", *place)], status=0)
        eventually(lambda: (bundle.rootfs / "written").exists(), "it writes")
        runtime.call("checkpoint", *images, identity, timeout=120)
        (bundle.rootfs / "written").unlink()
        runtime.account.run([*redirected, *runtime.command("restore", *images, *place)], status=0, timeout=120)
        eventually(lambda: (bundle.rootfs / "written").exists(), "it writes again")
        assert not (bundle.rootfs / "failed").exists()

    def test_a_terminal_goes_to_the_console_socket(self, runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...]) -> None:
        bundle.process.update(terminal=True, args=["sh", "-c", "while read -r line; do echo got $line; done"])
        with ConsoleSocket(runtime.directory / "console") as console:
            identity = runtime.start(bundle, "--console-socket", str(console.path))
            terminal, _ = console.receive()
            with terminal:
                terminal.send("one\n")
                terminal.expect("got one\r\n")
                runtime.call("checkpoint", "--shell-job", *images, identity, timeout=120)
        with ConsoleSocket(runtime.directory / "console2") as console:
            restore(runtime, bundle, identity, images, "--shell-job", "--console-socket", str(console.path))
            terminal, _ = console.receive()
            with terminal:
                terminal.send("two\n")
                terminal.expect("got two\r\n")
        runtime.call("delete", "--force", identity)

    def test_hooks_of_its_creation_run_again(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        seen = counting.path / "hook"
        counting.config["hooks"] = {
            "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {seen}; echo >> {seen}"]}]
        }
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        runtime.call("checkpoint", *images, identity, timeout=120)
        restore(runtime, counting, identity, images)
        first, second = (json.loads(line) for line in seen.read_text().splitlines())
        assert first["id"] == second["id"] == identity
        assert second["pid"] == runtime.pid(identity)

    def test_a_restore_in_the_foreground_ends_with_the_programs_status(
        self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]
    ) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        runtime.call("checkpoint", *images, identity, timeout=120)
        command = runtime.command("restore", *images, "--bundle", str(counting.path), identity)
        waiting = runtime.account.popen(command, **QUIET)  # type: ignore[arg-type]
        counted_further(counting, count(counting) + 1)
        runtime.call("kill", identity, "KILL")
        assert waiting.wait(60) == 128 + 9
        assert "does not exist" in runtime.fails("state", identity).err

    def test_a_network_by_path_is_entered_again(
        self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...], network: Path
    ) -> None:
        identity = runtime.start(counting.namespace("network", str(network)), stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        runtime.call("checkpoint", *images, identity, timeout=120)
        restore(runtime, counting, identity, images)
        assert Path(f"/proc/{runtime.pid(identity)}/ns/net").stat().st_ino == network.stat().st_ino
        counted_further(counting, count(counting))

    def test_one_that_was_made_by_a_service_is_restored_without_it(
        self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]
    ) -> None:
        """Its socket for readiness is the host's, and new."""
        if runtime.name == "runc":
            pytest.skip("runc does not find that mount again")
        manager = runtime.directory / "manager"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(manager))
            identity = runtime.create(counting, env={"NOTIFY_SOCKET": str(manager)}, stdin=subprocess.DEVNULL)
        runtime.call("start", identity)
        counted_further(counting, 0)
        runtime.call("checkpoint", *images, identity, timeout=120)
        reached = count(counting)
        restore(runtime, counting, identity, images)
        counted_further(counting, reached)

    def test_images_that_are_damaged_leave_nothing(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        runtime.call("checkpoint", *images, identity, timeout=120)
        (runtime.directory / "images/inventory.img").write_bytes(b"no image")
        result = runtime.fails("restore", "--detach", *images, "--bundle", str(counting.path), identity)
        assert "criu" in result.err
        assert "does not exist" in runtime.fails("state", identity).err

    def test_the_id_must_be_free(self, runtime: OciRuntime, counting: Bundle, images: tuple[str, ...]) -> None:
        identity = runtime.start(counting, stdin=subprocess.DEVNULL)
        counted_further(counting, 0)
        runtime.call("checkpoint", "--leave-running", *images, identity, timeout=120)
        result = runtime.fails("restore", "--detach", *images, "--bundle", str(counting.path), identity)
        assert "container with given ID already exists" in result.err
        assert runtime.status(identity) == "running"


def test_a_missing_container(runtime: OciRuntime, images: tuple[str, ...]) -> None:
    assert "container does not exist" in runtime.fails("checkpoint", *images, "missing").err


def test_a_stopped_container(runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...]) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert runtime.fails("checkpoint", *images, identity).err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--manage-cgroups-mode", "bogus"], "cgroups"),
        (["--parent-path", "/absolute"], "parent-path|parent_path"),
        (["--parent-path", "missing"], "parent-path|parent_path"),
        (["--page-server", "nowhere"], "page-server"),
        (["--empty-ns", "bogus"], "bogus"),
        (["--lazy-pages", "--status-fd", "77"], "status-fd|criu"),
    ],
)
def test_flags_that_say_nothing_leave_the_container_running(
    runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...], flags: list[str], text: str
) -> None:
    with runtime.running(bundle.runs("/bin/sleep", "1000")) as identity:
        err = runtime.fails("checkpoint", *images, *flags, identity).err
        assert any(word in err.lower() for word in text.split("|")), err
        assert runtime.status(identity) == "running"


def test_a_checkpoint_that_fails_leaves_the_container_running(
    runtime: OciRuntime, bundle: Bundle, images: tuple[str, ...]
) -> None:
    """There is no other process to send memory to."""
    with runtime.running(bundle.runs("/bin/sleep", "1000")) as identity:
        assert "criu" in runtime.fails("checkpoint", *images, "--page-server", "127.0.0.1:1", identity).err
        assert runtime.status(identity) == "running"


def test_restore_without_images(runtime: OciRuntime, bundle: Bundle) -> None:
    """runc makes the directory."""
    missing = str(runtime.directory / "missing")
    runtime.fails("restore", "--detach", "--image-path", missing, "--bundle", str(bundle.write()), runtime.identity())
    assert not runtime.root.exists() or list(runtime.root.iterdir()) == []


class TestHelp:
    """podman asks by the exit status of `checkpoint --help` whether the runtime can do it."""

    def test_it_fails_without_criu_and_says_what_to_install(self, bin_directory: Path) -> None:
        for verb in ("checkpoint", "restore"):
            command = [str(bin_directory / "crate-runc"), "--criu", "/nonexistent/criu", verb, "--help"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert "Debian package criu" in done.stderr
            assert "--image-path" in done.stdout

    def test_it_fails_where_criu_is_too_old(self, bin_directory: Path, tmp_path: Path) -> None:
        old = tmp_path / "criu"
        old.write_text("#!/bin/sh\nexec >&3 2>&- ; exit 0\n")
        old.chmod(0o755)
        command = [str(bin_directory / "crate-runc"), "--criu", str(old), "checkpoint", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert str(old) in done.stderr

    def test_it_says_the_truth_about_this_host(self, bin_directory: Path) -> None:
        works = not criu_defect()
        done = subprocess.run([str(bin_directory / "crate-runc"), "checkpoint", "--help"], capture_output=True, check=False)
        assert (done.returncode == 0) is works
