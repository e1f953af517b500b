"""registries.conf: where an image is really pulled from, and what a short name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from crate_engine.errors import InvalidReference, RegistryError, SettingsError
from crate_engine.reference import Reference
from crate_engine.registry import registries_conf
from crate_engine.registry.registries_conf import Registries

DIGEST = "sha256:" + "a" * 64


def load(tmp_path: Path, *texts: str) -> Registries:
    paths = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.conf"
        path.write_text(text)
        paths.append(str(path))
    return registries_conf.load(paths)


def places(registries: Registries, name: str) -> list[str]:
    return [str(endpoint.reference) for endpoint in registries.endpoints(Reference.parse(name))]


def test_without_files_everything_is_where_its_name_says(tmp_path: Path) -> None:
    registries = registries_conf.load([str(tmp_path / "missing")])
    assert places(registries, "nginx") == ["docker.io/library/nginx:latest"]
    assert registries.candidates("nginx") == [Reference.parse("docker.io/library/nginx:latest")]


REWRITES = [
    # prefix, location, name, where
    ("docker.io", "mirror.example/hub", "nginx:1", "mirror.example/hub/library/nginx:1"),
    ("docker.io/library", "mirror.example:5000", "nginx:1", "mirror.example:5000/nginx:1"),
    ("docker.io/library/nginx", "mirror.example/n", "nginx:1", "mirror.example/n:1"),
    ("docker.io/lib", "mirror.example", "nginx:1", "docker.io/library/nginx:1"),  # no boundary
    ("quay.io", "mirror.example", "quay.io:444/a:1", "mirror.example:444/a:1"),
    ("quay.io/a", "mirror.example/b", f"quay.io/a@{DIGEST}", f"mirror.example/b@{DIGEST}"),
    ("quay.io/a", "mirror.example/b", f"quay.io/a/c:1@{DIGEST}", f"mirror.example/b/c:1@{DIGEST}"),
    ("*.example.com", "mirror.example", "a.b.example.com/x:1", "mirror.example/x:1"),
    ("*.example.com", "mirror.example/y", "a.example.com:5000/x:1", "mirror.example/y/x:1"),
    ("*.example.com", "mirror.example", "example.com/x:1", "example.com/x:1"),
    ("*.example.com", "", "a.example.com/x:1", "a.example.com/x:1"),
    ("", "quay.io", "quay.io/a:1", "quay.io/a:1"),
]


@pytest.mark.parametrize(("prefix", "location", "name", "where"), REWRITES)
def test_a_location_stands_in_for_its_prefix(tmp_path: Path, prefix: str, location: str, name: str, where: str) -> None:
    registries = load(tmp_path, f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n')
    assert places(registries, name) == [where]


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    registries = load(
        tmp_path,
        '[[registry]]\nprefix = "quay.io"\nlocation = "a.example"\n'
        '[[registry]]\nprefix = "quay.io/team"\nlocation = "b.example"\n[[registry]]\nprefix = "*.io"\nlocation = "c.example"\n',
    )
    assert places(registries, "quay.io/x") == ["a.example/x:latest"]
    assert places(registries, "quay.io/team/x") == ["b.example/x:latest"]
    assert places(registries, "quay.io/teams/x") == ["a.example/teams/x:latest"]
    assert places(registries, "gcr.io/x") == ["c.example/x:latest"]


MIRRORS = """
[[registry]]
location = "quay.io"
[[registry.mirror]]
location = "one.example:5000"
insecure = true
[[registry.mirror]]
location = "two.example/q"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "three.example"
pull-from-mirror = "tag-only"
"""


def test_mirrors_come_first_by_what_they_are_for(tmp_path: Path) -> None:
    registries = load(tmp_path, MIRRORS)
    assert places(registries, "quay.io/a:1") == ["one.example:5000/a:1", "three.example/a:1", "quay.io/a:1"]
    by_digest = [f"{place}@{DIGEST}" for place in ("one.example:5000/a", "two.example/q/a", "quay.io/a")]
    assert places(registries, f"quay.io/a@{DIGEST}") == by_digest
    endpoints = registries.endpoints(Reference.parse("quay.io/a:1"))
    assert [(endpoint.insecure, endpoint.mirror) for endpoint in endpoints] == [(True, True), (False, True), (False, False)]
    old = load(tmp_path, MIRRORS.replace('location = "quay.io"', 'location = "quay.io"\nmirror-by-digest-only = true'))
    assert places(old, "quay.io/a:1") == ["three.example/a:1", "quay.io/a:1"]


def test_what_is_blocked_is_refused_and_its_neighbour_is_not(tmp_path: Path) -> None:
    registries = load(tmp_path, '[[registry]]\nlocation = "bad.example"\nblocked = true\n')
    with pytest.raises(RegistryError, match=r"bad\.example is blocked"):
        places(registries, "bad.example/a")
    assert places(registries, "not-bad.example/a") == ["not-bad.example/a:latest"]


def test_a_later_file_wins_registry_by_registry(tmp_path: Path) -> None:
    first = 'unqualified-search-registries = ["a.example"]\n[[registry]]\nlocation = "x.io"\nblocked = true\n'
    second = '[[registry]]\nlocation = "x.io"\ninsecure = true\n[aliases]\n"short" = "quay.io/a/short"\n'
    registries = load(tmp_path, first, second)
    assert places(registries, "x.io/a") == ["x.io/a:latest"]
    assert registries.endpoints(Reference.parse("x.io/a"))[0].insecure
    assert registries.search == ("a.example",)
    assert load(tmp_path, first, second, '[aliases]\n"short" = ""\n').aliases == ()


ALIASES = (
    'unqualified-search-registries = ["one.example", "docker.io"]\n[aliases]\n"app" = "quay.io/team/app"\n"a/b" = "c.io/d:2"\n'
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("app", ["quay.io/team/app:latest"]),
        ("app:3", ["quay.io/team/app:3"]),
        (f"app@{DIGEST}", [f"quay.io/team/app@{DIGEST}"]),
        ("a/b", ["c.io/d:2"]),
        ("other", ["one.example/other:latest", "docker.io/library/other:latest"]),
        ("x/other:1", ["one.example/x/other:1", "docker.io/x/other:1"]),
        ("docker.io/app", ["docker.io/library/app:latest"]),
        ("localhost/app", ["localhost/app:latest"]),
        ("h:1/app", ["h:1/app:latest"]),
    ],
)
def test_what_a_name_means(tmp_path: Path, typed: str, meant: list[str]) -> None:
    assert [str(one) for one in load(tmp_path, ALIASES).candidates(typed)] == meant


def test_where_it_is_enforced_a_name_with_several_meanings_is_refused(tmp_path: Path) -> None:
    registries = load(tmp_path, 'short-name-mode = "enforcing"\n' + ALIASES)
    with pytest.raises(InvalidReference, match=r"one\.example/other:latest, other:latest"):
        registries.candidates("other")
    assert len(registries.candidates("app")) == 1
    with pytest.raises(InvalidReference, match="searches no registry"):
        load(tmp_path, "unqualified-search-registries = []").candidates("x")


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]",
        "registry = 1",
        'registry = ["a"]',
        "[[registry]]\nblocked = true",
        '[[registry]]\nlocation = 5\nprefix = "a"',
        '[[registry]]\nlocation = "https://a.io"',
        '[[registry]]\nprefix = "*.a.io/x"',
        '[[registry]]\nlocation = "a.io"\ninsecure = "yes"',
        '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\ninsecure = true',
        '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\nlocation = "b.io"\npull-from-mirror = "some"',
        'short-name-mode = "maybe"',
        'unqualified-search-registries = "a.io"',
        "aliases = 1",
        '[registries.search]\nregistries = ["a.io"]',
        '[[registry]]\nlocation = "\\ud800"',
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"0\.conf"):
        load(tmp_path, text)


def test_a_location_that_makes_an_impossible_name_is_an_error(tmp_path: Path) -> None:
    registries = load(tmp_path, '[[registry]]\nprefix = "quay.io"\nlocation = "x.io/UPPER"\n')
    with pytest.raises(SettingsError, match="UPPER"):
        places(registries, "quay.io/a")


def test_files_are_looked_for_where_podman_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "containers"
    (own / "registries.conf.d").mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    (own / "registries.conf").write_text('[[registry]]\nlocation = "crate-test.a"\nblocked = true\n')
    (own / "registries.conf.d/1.conf").write_text('[[registry]]\nlocation = "crate-test.b"\nblocked = true\n')
    (own / "registries.conf.d/ignored").write_text("not toml")
    found = {entry.prefix for entry in registries_conf.load().registries}
    assert {"crate-test.a", "crate-test.b"} <= found
    (tmp_path / "named").write_text('[[registry]]\nlocation = "crate-test.c"\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "named"))
    found = {entry.prefix for entry in registries_conf.load().registries}
    assert {"crate-test.b", "crate-test.c"} <= found
    assert "crate-test.a" not in found


@pytest.mark.parametrize("form", ["[[registry]]", " [[ registry ]]", '[["registry"]]', "[registries.block]", "registry = [{"])
def test_what_is_about_registries_is_read_also_for_whole_names(tmp_path: Path, form: str) -> None:
    tail = 'location = "crate-test.a"' + ("}]" if form.endswith("{") else "")
    (tmp_path / "a").write_text(f"# comment\n{form}{'' if form.endswith('{') else chr(10)}{tail}\n")
    if form == "[registries.block]":
        with pytest.raises(SettingsError):
            registries_conf.load([str(tmp_path / "a")], short_names=False)
    else:
        assert registries_conf.load([str(tmp_path / "a")], short_names=False).registries


def test_short_names_alone_are_not_read_for_whole_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('[aliases]\n"registry" = "docker.io/library/registry"\n"registries" = [ not toml')
    assert registries_conf.load([str(tmp_path / "a")], short_names=False) == Registries()
