"""The workflow of the README and the flags people use most, with a real registry and real images, as root and as an ordinary user."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Images
from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import eventually
from tests.support.registry import free_port

WELCOME = "Welcome to nginx!"


def fetch(port: int) -> str:
    """What the host gets from a published port; empty while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return ""


@pytest.fixture
def private(crate: Crate) -> None:
    """Needs what private networking needs."""
    host.program("pasta", "passt")
    probe = crate.account.run(["sh", "-c", "exec 3<>/dev/net/tun"])
    if probe.status:
        pytest.skip("needs /dev/net/tun to be open to the user")


@pytest.mark.usefixtures("private")
def test_workflow_of_the_readme(crate: Crate, nginx: str) -> None:
    assert nginx.rpartition("/")[2] in crate.out("pull", nginx)
    assert "nginx" in crate.out("images")

    port = free_port()
    identity = crate.out("run", "--name", "my-nginx", "-d", "-p", f"{port}:80", nginx)
    assert re.fullmatch(r"[0-9a-f]{64}", identity)
    page = eventually(lambda: fetch(port), "nginx answers on the published port")
    assert WELCOME in page

    header, row = crate.out("ps").splitlines()
    assert header.split("  ")[0] == "CONTAINER ID"
    assert row.startswith(identity[:12])
    assert row.endswith("my-nginx")
    assert f":{port}->80/tcp" in row
    assert re.search(r"  Up ", row)

    eventually(lambda: "GET / HTTP/1.1" in crate.out("logs", "my-nginx"), "the request is in the log")

    assert crate.out("stop", "my-nginx") == "my-nginx"
    assert fetch(port) == ""
    assert len(crate.out("ps").splitlines()) == 1
    assert re.search(r"Exited \(0\)", crate.out("ps", "-a"))
    assert "GET / HTTP/1.1" in crate.out("logs", "my-nginx")
    assert crate.out("rm", "my-nginx") == "my-nginx"
    assert len(crate.out("ps", "-a").splitlines()) == 1


@pytest.fixture
def image(crate: Crate, images: Images) -> str:
    crate("pull", "-q", images.busybox)
    return images.busybox


# --- images


def test_pull_of_every_kind_of_manifest(crate: Crate, images: Images) -> None:
    for reference in (images.busybox, images.docker, images.multi):
        crate("pull", "-q", reference)
        assert crate.out("run", "--rm", "--network", "none", reference, "echo", "works") == "works"


def test_pull_of_an_image_that_is_not_there(crate: Crate, images: Images) -> None:
    missing = images.busybox.replace("busybox:latest", "nosuch:latest")
    result = crate("pull", missing, status=1)
    assert "nosuch" in result.err


def test_run_pulls_what_is_missing(crate: Crate, images: Images) -> None:
    crate("rmi", "-f", images.busybox, status=None)
    result = crate("run", "--rm", "--network", "none", images.busybox, "echo", "pulled")
    assert result.out == "pulled\n"


def test_removed_image_is_gone(crate: Crate, images: Images) -> None:
    crate("pull", "-q", images.docker)
    crate("rmi", images.docker)
    assert "docker" not in crate.out("images")
    assert crate("run", "--pull", "never", "--rm", images.docker, "true", status=125).err


# --- running


def test_status_of_the_program(crate: Crate, image: str) -> None:
    crate("run", "--rm", "--network", "none", image, "sh", "-c", "exit 42", status=42)


def test_streams_are_kept_apart(crate: Crate, image: str) -> None:
    result = crate("run", "--rm", "-i", "--network", "none", image, "sh", "-c", "cat; echo problem >&2", input="from outside")
    assert (result.out, result.err) == ("from outside", "problem\n")


@pytest.mark.parametrize(("program", "status"), [("nosuchprogram", 127), ("/etc/passwd", 126)])
def test_program_that_cannot_be_run(crate: Crate, image: str, program: str, status: int) -> None:
    result = crate("run", "--rm", "--network", "none", image, program, status=status)
    assert program in result.err
    assert crate.out("ps", "-aq") == ""


def test_environment_directory_user_and_name(crate: Crate, image: str) -> None:
    flags = ("-e", "GIVEN=1", "-w", "/tmp", "--user", "1000:50", "--hostname", "called", "--network", "none")
    out = crate.out("run", "--rm", *flags, image, "sh", "-c", 'echo "$GIVEN $(pwd) $(id -u):$(id -g) $(hostname)"')
    assert out == "1 /tmp 1000:50 called"


def test_user_by_name(crate: Crate, image: str) -> None:
    out = crate.out("run", "--rm", "--user", "alice", "--network", "none", image, "sh", "-c", "id -u; id -G; echo $HOME")
    assert out.splitlines() == ["1000", "1000 50", "/home/alice"]


def test_volume(crate: Crate, image: str) -> None:
    shared = crate.account.home / "shared"
    shared.mkdir()
    os.chown(shared, crate.account.uid, crate.account.gid)
    script = "echo written > /mnt/file; touch /ro/x || echo refused"
    out = crate("run", "--rm", "-v", f"{shared}:/mnt", "-v", f"{shared}:/ro:ro", "--network", "none", image, "sh", "-c", script)
    assert out.out == "refused\n"
    assert (shared / "file").read_text() == "written\n"
    assert (shared / "file").stat().st_uid == crate.account.uid  # root inside is the user outside


def test_first_process_is_the_containers_own(crate: Crate, image: str) -> None:
    script = "readlink /proc/1/exe; echo /proc/[0-9]*"
    assert crate.out("run", "--rm", "--network", "none", image, "sh", "-c", script).splitlines() == ["/bin/busybox", "/proc/1"]


def test_own_file_system(crate: Crate, image: str) -> None:
    """What one container writes, the next does not see; /run and /dev/shm are in memory."""
    script = "test ! -e /mark && touch /mark && grep -E ' /(run|dev/shm|proc|sys) ' /proc/mounts"
    for _ in range(2):
        out = crate.out("run", "--rm", "--network", "none", image, "sh", "-c", script)
        kinds = {line.split()[1]: (line.split()[2], line.split()[3].split(",")[0]) for line in out.splitlines()}
        assert kinds["/run"] == kinds["/dev/shm"] == ("tmpfs", "rw")
        assert kinds["/proc"][0] == "proc"
        assert kinds["/sys"] == ("sysfs", "ro")


def test_detached_container_lives_on_and_stops(crate: Crate, image: str) -> None:
    identity = crate.out("run", "-d", "--network", "none", image, "sleep", "1000")
    assert crate.out("ps", "-q") == identity[:12]
    begun = time.monotonic()
    crate("stop", "-t", "1", identity[:6])
    assert time.monotonic() - begun < 10
    assert crate.inspect(identity)["State"]["ExitCode"] == 137  # pid 1 without a handler: SIGTERM does nothing
    crate("rm", identity)


def test_start_runs_a_created_container_again(crate: Crate, image: str) -> None:
    identity = crate.out("create", "--name", "again", "--network", "none", image, "sh", "-c", "echo run >> /runs; cat /runs")
    assert crate.out("start", "--attach", "again") == "run"
    assert crate.out("start", "--attach", identity) == "run\nrun"
    assert crate.out("logs", "again").count("run") == 3


def test_logs_follow(crate: Crate, image: str) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 0.3; done"
    crate("run", "-d", "--name", "talker", "--network", "none", image, "sh", "-c", script)
    assert crate.out("logs", "-f", "talker").splitlines() == ["line 1", "line 2", "line 3"]


def test_exec(crate: Crate, image: str) -> None:
    crate("run", "-d", "--name", "host", "-e", "OF=container", "--network", "none", image, "sleep", "1000")
    result = crate("exec", "-i", "host", "sh", "-c", "cat; echo $OF; exit 4", input="in ", status=4)
    assert result.out == "in container\n"
    assert (
        crate.out("exec", "--user", "1000", "-e", "X=y", "-w", "/tmp", "host", "sh", "-c", "id -u; echo $X; pwd")
        == "1000\ny\n/tmp"
    )
    crate("exec", "host", "nosuchprogram", status=127)
    # no `rm` of what runs, but by force
    assert "running" in crate("rm", "host", status=1).err
    crate("rm", "-f", "host")


def test_signal_to_the_command_reaches_the_program(crate: Crate, image: str) -> None:
    script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    process = crate.popen(
        "run", "--rm", "--network", "none", image, "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == (b"caught\n", 3)


def test_name_that_is_taken(crate: Crate, image: str) -> None:
    crate("create", "--name", "taken", "--network", "none", image)
    assert "taken" in crate("run", "--name", "taken", "--network", "none", image, "true", status=125).err


# --- terminals


def test_run_on_a_terminal(crate: Crate, image: str) -> None:
    command = ("run", "-it", "--rm", "--network", "none", "-e", "PS1=prompt> ", image)
    with crate.terminal(*command) as terminal:
        terminal.expect("prompt> ", timeout=20)
        terminal.resize(37, 99)
        terminal.send("sleep 0.3; stty size; tty\n")
        terminal.expect("37 99\r\n")
        terminal.expect("/dev/")
        terminal.send("echo waiting; sleep 1000\n")
        terminal.expect("waiting\r\n")
        time.sleep(0.3)
        terminal.send("\x03")
        terminal.expect("prompt> ")
        terminal.send("exit 7\n")
        assert terminal.wait() == 7


def test_exec_on_a_terminal(crate: Crate, image: str) -> None:
    crate("run", "-d", "--name", "host", "--network", "none", image, "sleep", "1000")
    with crate.terminal("exec", "-it", "-e", "PS1=prompt> ", "host", "sh") as terminal:
        terminal.expect("prompt> ", timeout=20)
        terminal.send("test -t 0 && echo on a terminal\n")
        terminal.expect("on a terminal\r\n")
        terminal.send("exit 8\n")
        assert terminal.wait() == 8


# --- networks


def test_network_of_the_host(crate: Crate, image: str) -> None:
    own = os.readlink("/proc/self/ns/net")
    assert crate.out("run", "--rm", "--network", "host", image, "readlink", "/proc/self/ns/net") == own


def test_no_network(crate: Crate, image: str) -> None:
    script = "ls /sys/class/net; nc -l -p 7 -e echo connected & sleep 0.5; nc 127.0.0.1 7 < /dev/null"
    assert crate.out("run", "--rm", "--network", "none", image, "sh", "-c", script).splitlines() == ["lo", "connected"]


@pytest.mark.usefixtures("private")
def test_private_network_has_files_for_names(crate: Crate, image: str) -> None:
    script = "hostname; cat /etc/hosts; grep -c nameserver /etc/resolv.conf; ls /sys/class/net"
    name, *lines = crate.out("run", "--rm", image, "sh", "-c", script).splitlines()
    assert any(line.split()[0] == "127.0.0.1" and "localhost" in line.split() for line in lines[:-1] if line)
    assert any(name in line.split() for line in lines)
    assert len([line for line in lines if re.fullmatch(r"lo|e\w+", line)]) == 2


ECHO_UDP = """
my $socket = IO::Socket::INET->new(LocalPort => $ARGV[0], Proto => "udp") or die;
while (my $peer = $socket->recv(my $text, 100)) { $socket->send($text, 0, $peer); }
"""


@pytest.mark.usefixtures("private")
def test_published_udp_port(crate: Crate, nginx: str) -> None:
    """The same port on both sides: older pasta loses the answers to local clients where they differ."""
    port = free_port(socket.SOCK_DGRAM)
    program = ("perl", "-MIO::Socket::INET", "-e", ECHO_UDP, str(port))
    crate("run", "-d", "-p", f"127.0.0.1:{port}:{port}/udp", nginx, *program, timeout=120)

    def echoed() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.connect(("127.0.0.1", port))
            try:
                client.send(b"hello")
                return client.recv(100) == b"hello"
            except OSError:
                return False

    eventually(echoed, "the packet comes back", within=20)


@pytest.mark.usefixtures("private")
def test_port_that_is_taken(crate: Crate, image: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = crate("run", "-d", "-p", f"127.0.0.1:{port}:80", image, "sleep", "1000", status=125)
    assert str(port) in result.err


@pytest.mark.usefixtures("private")
def test_loopback_of_the_host_is_out_of_reach(crate: Crate, image: str) -> None:
    """The attack; its look-alike is the network of the host, where the same connection is made."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tries = f"for a in 127.0.0.1 $(ip route | awk '/default/ {{print $3}}'); do nc -w 2 $a {port} < /dev/null; done; true"
        crate("run", "--rm", image, "sh", "-c", tries)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
        crate(
            "run",
            "--rm",
            "--network",
            "host",
            image,
            "sh",
            "-c",
            f"nc -w 2 127.0.0.1 {port} < /dev/null & sleep 1; kill $!; true",
        )
        server.settimeout(5)
        server.accept()[0].close()


# --- a distribution inside: what needs more than one user id


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("su -s /bin/sh nobody -c 'id -u; id -g'", ["65534", "65534"]),
        ("setpriv --reuid 1000 --regid 1000 --clear-groups id -u", ["1000"]),
        ("setpriv --reuid 1000 --regid 1000 --groups 5,50 id -G", ["1000 5 50"]),
        ("touch /f && chown www-data:adm /f && stat -c %U:%G /f", ["www-data:adm"]),
        ("stat -c %a /tmp /usr/bin/passwd", ["1777", "4755"]),
    ],
)
def test_programs_that_change_users(crate: Crate, nginx: str, command: str, expected: list[str]) -> None:
    out = crate.out("run", "--rm", "--network", "none", nginx, "sh", "-c", command, timeout=120)
    assert out.splitlines() == expected


@pytest.fixture(scope="session")
def package_repository(base: Path) -> Path:
    """A repository of one package, for apt's `file:`."""
    build = host.program("dpkg-deb", "dpkg")
    root = base / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    control = (
        "Package: crate-sample\nVersion: 1.0\nArchitecture: all\nMaintainer: Tests <tests@example.org>\nDescription: says hello\n"
    )
    (root / "DEBIAN/control").write_text(control)
    postinst = root / "DEBIAN/postinst"
    postinst.write_text("#!/bin/sh\nset -e\nchown nobody:nogroup /usr/bin/crate-sample\n")
    program = root / "usr/bin/crate-sample"
    program.write_text("#!/bin/sh\necho hello from a package\n")
    for path in (postinst, program):
        path.chmod(0o755)
    repository = base / "repository"
    repository.mkdir()
    archive = repository / "crate-sample_1.0_all.deb"
    subprocess.run([build, "--root-owner-group", "--build", str(root), str(archive)], check=True, capture_output=True)
    index = f"{control}Filename: ./{archive.name}\nSize: {archive.stat().st_size}\n"
    digest = subprocess.run(["sha256sum", str(archive)], check=True, capture_output=True, text=True).stdout.split()[0]
    (repository / "Packages").write_text(f"{index}SHA256: {digest}\n")
    return repository


def test_dpkg_installs_a_package(crate: Crate, nginx: str, package_repository: Path) -> None:
    command = "dpkg -i /repository/*.deb >&2 && crate-sample && stat -c %U /usr/bin/crate-sample"
    flags = ("-v", f"{package_repository}:/repository:ro", "--network", "none")
    assert crate.out("run", "--rm", *flags, nginx, "sh", "-c", command, timeout=120) == "hello from a package\nnobody"


def test_apt_installs_a_package(crate: Crate, nginx: str, package_repository: Path) -> None:
    """apt drops to the user _apt for its downloads: setgroups, setresuid and chown have to work."""
    command = (
        "rm -f /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/repository ./' > /etc/apt/sources.list"
        " && apt-get update >&2 && apt-get install -y crate-sample >&2 && crate-sample"
    )
    flags = ("-v", f"{package_repository}:/repository:ro", "--network", "none")
    assert crate.out("run", "--rm", *flags, nginx, "sh", "-c", command, timeout=180) == "hello from a package"
