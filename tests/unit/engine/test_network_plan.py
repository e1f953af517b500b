from __future__ import annotations

import pytest

from crate_engine.errors import UsageError
from crate_engine.network.plan import NetworkPlan, PortMapping, make, parse_port, pasta_arguments, shown_ports


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [PortMapping(80, 0)]),
        ("8080:80", [PortMapping(80, 8080)]),
        ("8080:80/udp", [PortMapping(80, 8080, "udp")]),
        ("127.0.0.1:8080:80/tcp", [PortMapping(80, 8080, "tcp", "127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(80, 0, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [PortMapping(80, 8080, "tcp", "::1")]),
        ("8000-8002:80-82", [PortMapping(80, 8000), PortMapping(81, 8001), PortMapping(82, 8002)]),
        ("80-81", [PortMapping(80, 0), PortMapping(81, 0)]),
    ],
)
def test_ports_are_read_as_docker_reads_them(text: str, expected: list[PortMapping]) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "x", "0:80", "80:0", "65536:80", "80:65536", "1:2:3:4", "8080:80/sctp", "8080:80/", "80-79", "1-3:1-2", "127.0.0.1:80", "::1:80:80",
        "[::1]80", "[::1]:80", "host:80:80", "+1:80", "８:80", "1_0:80", " 80", "1-65535:1-65535",
    ],
)  # fmt: skip
def test_ports_that_cannot_be_are_refused(text: str) -> None:
    if text == "8080:80/":
        assert parse_port(text) == [PortMapping(80, 8080)]
        return
    with pytest.raises(UsageError):
        parse_port(text)


def test_modes_decide_about_ports() -> None:
    assert make("private", ("1:2",)) == NetworkPlan("private", (PortMapping(2, 1),))
    assert make("host", ("1:2",)) == NetworkPlan("host")
    for mode, ports in (("none", ("1:2",)), ("bridge", ()), ("private", ("1:2", "1:3"))):
        with pytest.raises(UsageError):
            make(mode, ports)
    assert len(make("private", ("1:2", "1:2/udp", "3", "4")).ports) == 4


def test_pasta_forwards_the_ports_and_nothing_else() -> None:
    plan = make("private", ("8080:80", "127.0.0.1:8081:81", "[::1]:53:53/udp"))
    arguments = pasta_arguments("/usr/bin/pasta", plan, netns="/n", pid_file="/p", as_root=False)
    common = ["/usr/bin/pasta", "--config-net", "--quiet", "--no-map-gw", "--dns-forward", "169.254.1.1"]
    assert arguments[:6] == common
    ports = ["-t", "8080:80", "-t", "127.0.0.1/8081:81", "-u", "::1/53:53"]
    assert arguments[6:] == [*ports, "-T", "none", "-U", "none", "--pid", "/p", "--netns", "/n"]
    plain = pasta_arguments("/usr/bin/pasta", make("private", ()), netns="/n", pid_file="/p", as_root=True)
    nothing = ["-t", "none", "-u", "none", "-T", "none", "-U", "none"]
    assert plain == [*common, *nothing, "--runas", "0:0", "--pid", "/p", "--netns", "/n"]


def test_ports_are_shown_as_docker_shows_them() -> None:
    assert shown_ports((PortMapping(80, 8080), PortMapping(53, 53, "udp", "::1"))) == ("0.0.0.0:8080->80/tcp", "[::1]:53->53/udp")
