"""Which proxy a request goes through."""

from __future__ import annotations

import pytest

from crate_engine.registry.proxies import Proxies, is_loopback


@pytest.mark.parametrize(
    ("exceptions", "url", "straight"),
    [
        ("", "https://r.example/", False),
        ("*", "https://r.example/", True),
        ("r.example", "https://r.example/", True),
        ("r.example", "https://a.r.example/", True),
        ("r.example", "https://notr.example/", False),
        (".r.example", "https://r.example/", False),
        (".r.example", "https://a.r.example/", True),
        ("*.r.example", "https://a.r.example/", True),
        ("R.Example", "https://r.EXAMPLE/", True),
        ("r.example:443", "https://r.example/", True),
        ("r.example:443", "https://r.example:5000/", False),
        ("r.example:5000", "https://r.example:5000/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.0.0.0/8", "https://r.example/", False),
        ("10.1.2.3", "https://10.1.2.3:5000/", True),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/", True),
        ("fd00::/8", "https://[fd00::1]:5000/", True),
        ("nonsense/99", "https://r.example/", False),
        (" a.example , r.example ", "https://r.example/", True),
        ("", "https://localhost:5000/", True),
        ("", "https://127.1.2.3:5000/", True),
        ("", "https://[::1]:5000/", True),
    ],
)
def test_exceptions(exceptions: str, url: str, straight: bool) -> None:
    proxies = Proxies.of({"HTTPS_PROXY": "http://p:1", "NO_PROXY": exceptions})
    assert proxies.choose(url) == ("" if straight else "http://p:1")


def test_each_scheme_has_its_own_proxy() -> None:
    proxies = Proxies.of({"HTTP_PROXY": "a:1", "https_proxy": "https://b:2"})
    assert proxies.choose("http://r.example/") == "http://a:1"
    assert proxies.choose("https://r.example/") == "https://b:2"
    assert Proxies.of({"ALL_PROXY": "socks5://c:3"}).choose("http://r.example/") == "socks5://c:3"


def test_the_environment_wins_over_the_settings_variable_by_variable() -> None:
    settings = Proxies("a:1", "b:2", ("x.example",))
    mixed = Proxies.of({"HTTP_PROXY": "c:3", "HTTPS_PROXY": ""}, settings)
    assert (mixed.http, mixed.https, mixed.exceptions) == ("c:3", "b:2", ("x.example",))
    assert Proxies.of({"no_proxy": "y.example"}, settings).exceptions == ("y.example",)
    assert Proxies.of({}).choose("https://r.example/") == ""


@pytest.mark.parametrize("host", ["localhost.example", "127.0.0.1.example", "127.0.0", "127.0.0.256", "128.0.0.1", "::2", ""])
def test_what_only_looks_like_the_loopback_network(host: str) -> None:
    assert not is_loopback(host)
