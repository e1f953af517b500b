from __future__ import annotations

import pytest

from crate_engine.errors import UsageError
from crate_engine.network import files

HOST = "# a comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n\nnameserver 192.0.2.1\n"


def test_servers_on_the_hosts_loopback_are_left_out_of_a_private_network() -> None:
    assert files.resolv_conf(HOST, "private") == "search example.org\noptions edns0\nnameserver 192.0.2.1\n"
    assert files.resolv_conf("nameserver 127.0.0.53\n", "private") == "nameserver 169.254.1.1\n"
    assert files.resolv_conf("", "private") == "nameserver 169.254.1.1\n"


def test_with_the_hosts_network_its_servers_stay() -> None:
    assert "nameserver 127.0.0.53\n" in files.resolv_conf(HOST, "host")


def test_given_servers_replace_the_hosts() -> None:
    assert files.resolv_conf(HOST, "private", ("192.0.2.9",)) == "search example.org\noptions edns0\nnameserver 192.0.2.9\n"


def test_the_hosts_file_names_the_container() -> None:
    assert files.hosts("inside", "192.0.2.5").endswith("192.0.2.5\tinside\n")
    assert files.hosts("inside", None).endswith("127.0.1.1\tinside\n")
    assert files.hosts("inside", None).startswith("127.0.0.1\tlocalhost\n")


@pytest.mark.parametrize("name", ["", "a\n1.2.3.4 evil", "a b", "-a", "a-", ".a", "é", "a" * 65, "a\0"])
def test_host_names_that_would_break_the_files_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        files.check_hostname(name)


@pytest.mark.parametrize("name", ["a", "web-1", "web.example.org", "a_b", "A" * 64])
def test_host_names_pass(name: str) -> None:
    assert files.check_hostname(name) == name
