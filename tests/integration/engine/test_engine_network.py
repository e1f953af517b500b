"""Networks: none, the host's, and private ones with published ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

from .conftest import IMAGE, Crate, eventually

WEB = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; trap 'exit 0' USR1; httpd -f -p 80 -h /www & wait")

ECHO = """
import socket
import sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
while True:
    server.sendto(*server.recvfrom(100))
"""


@pytest.fixture
def private(crate: Crate) -> Iterator[Crate]:
    if shutil.which("pasta") is None:
        pytest.skip("needs pasta (package passt)")
    probe = ["python3", "-c", "import os; os.close(os.open('/dev/net/tun', os.O_RDWR))"]
    if crate.start(probe).wait():
        pytest.skip(f"user {crate.uid} may not open /dev/net/tun")
    yield crate


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        port: int = endpoint.getsockname()[1]
        return port


def get(port: int, address: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
        return bytes(answer.read()).decode()


def reachable(port: int) -> bool:
    try:
        return get(port) == "hello\n"
    except OSError:
        return False


def test_without_network_there_is_a_loopback_that_works(crate: Crate) -> None:
    script = "ls /sys/class/net; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1; cat /proc/net/fib_trie | grep -c 127.0.0.1"
    interfaces, *_, count = crate("run", "--rm", "--network", "none", IMAGE, "sh", "-c", script).split()
    assert interfaces == "lo"
    assert int(count) > 0


def test_the_hosts_network_is_the_hosts(crate: Crate) -> None:
    out = crate("run", "--rm", "--network", "host", IMAGE, "sh", "-c", "readlink /proc/self/ns/net; hostname")
    assert out.split() == [os.readlink("/proc/self/ns/net"), os.uname().nodename]


def test_a_private_network_has_the_hosts_address_and_its_own_files(private: Crate) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        own = probe.getsockname()[0]
    script = "ip -4 addr; ip route; cat /etc/hosts /etc/hostname"
    out = private("run", "--rm", "--network", "private", "--hostname", "inside", IMAGE, "sh", "-c", script)
    assert f"inet {own}/" in out
    assert "default via" in out
    assert f"{own}\tinside\n" in out
    assert out.endswith("inside\n")
    namespace = private("run", "--rm", "--network", "private", IMAGE, "readlink", "/proc/self/ns/net").strip()
    assert namespace != os.readlink("/proc/self/ns/net")


def test_a_published_port_is_served_until_the_container_stops(private: Crate) -> None:
    port = free_port()
    private("run", "-d", "--name", "web", "-p", f"{port}:80", IMAGE, *WEB)
    assert f"0.0.0.0:{port}->80/tcp" in private("ps")
    eventually(lambda: reachable(port))
    _, errors = private.both("run", "--rm", "-p", f"{port}:80", IMAGE, "true", status=125)
    assert "the port is in use" in errors
    private("stop", "web")
    assert not reachable(port)
    private("start", "web")
    eventually(lambda: reachable(port))


def test_a_port_can_be_published_on_one_address_or_any_port(private: Crate) -> None:
    private("run", "-d", "--name", "web", "-p", "127.0.0.1::80", IMAGE, *WEB)
    settings = private.inspect("web")["NetworkSettings"]
    assert isinstance(settings, dict)
    (binding,) = settings["Ports"]["80/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    eventually(lambda: reachable(int(binding["HostPort"])))


def test_udp_is_published_too(private: Crate) -> None:
    port = free_port(socket.SOCK_DGRAM)
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("needs /usr/bin/python3 as a UDP server")
    volumes = [flag for path in ("/usr", "/lib", "/lib64") if os.path.exists(path) for flag in ("-v", f"{path}:{path}:ro")]
    private("run", "-d", "--name", "echo", "-p", f"{port}:{port}/udp", *volumes, IMAGE, "/usr/bin/python3", "-c", ECHO, str(port))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.settimeout(0.3)
        endpoint.connect(("127.0.0.1", port))

        def answered() -> bool:
            try:
                endpoint.send(b"ping")
                return endpoint.recv(16) == b"ping"
            except OSError:
                return False

        eventually(answered)


def test_pasta_ends_with_its_container_also_without_a_monitor(private: Crate) -> None:
    identity = private("run", "-d", "--name", "web", "--network", "private", IMAGE, "sleep", "100").strip()
    os.kill(private.monitor(identity), 9)
    time.sleep(0.1)
    private("rm", "-f", "web")  # the fixture's leak check looks for pasta


@pytest.mark.parametrize(
    ("hide", "cause", "advice"),
    [
        (
            "for p in /usr/bin/pasta /usr/bin/passt; do [ -e $p ] && mount --bind /dev/null $p; done",
            "pasta is not installed",
            "package passt",
        ),
        (
            "mount -t tmpfs tmpfs /dev/net; touch /dev/net/tun; chmod 0 /dev/net/tun",
            "/dev/net/tun cannot be opened",
            "chmod 0666 /dev/net/tun",
        ),
    ],
    ids=["missing", "no tun"],
)
def test_without_pasta_a_private_network_is_none_and_ports_are_an_error(crate: Crate, hide: str, cause: str, advice: str) -> None:
    if "tun" in cause and not crate.rootless:
        pytest.skip("root may open every device")
    hidden = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if hidden.returncode or shutil.which("pasta") is None or os.geteuid() != 0:
        pytest.skip("hides pasta in a mount namespace, which needs root")
    mask = f"{hide}; exec setpriv"
    ids = [f"--reuid={crate.uid}", f"--regid={crate.gid}", "--clear-groups", "--"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-m", "sh", "-c", f'{mask} "$@"', "sh", *ids, *crate.command(*arguments)]
        return subprocess.run(command, env=crate.environment(), capture_output=True, text=True, timeout=60)

    plain = run("run", "--rm", "--network", "private", IMAGE, "ls", "/sys/class/net")
    assert (plain.returncode, plain.stdout) == (0, "lo\n")
    assert cause in plain.stderr
    published = run("run", "--rm", "-p", "18081:80", IMAGE, "true")
    assert published.returncode == 125
    assert cause in published.stderr
    assert advice in published.stderr
