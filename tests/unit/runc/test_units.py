"""Names of units from linux.cgroupsPath: runc's form and defaults."""

from __future__ import annotations

import pytest

from crate_runc.errors import BundleError
from crate_runc.systemd import units


def unit(path: str, *, user: bool = False, container_id: str = "c1") -> tuple[str, str]:
    return units.unit_of({"linux": {"cgroupsPath": path}}, container_id, user=user)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("machine.slice:libpod:abc", ("machine.slice", "libpod-abc.scope")),
        ("kubepods-besteffort-pod1.slice:cri-containerd:9f", ("kubepods-besteffort-pod1.slice", "cri-containerd-9f.scope")),
        ("-.slice:a:b", ("-.slice", "a-b.scope")),
        (":docker:1", ("system.slice", "docker-1.scope")),
        ("system.slice::1", ("system.slice", "-1.scope")),
        ("", ("system.slice", "crate-runc-c1.scope")),
    ],
)
def test_the_path_names_slice_prefix_and_name(path: str, expected: tuple[str, str]) -> None:
    assert unit(path) == expected


def test_of_a_user_the_default_slice_is_another() -> None:
    assert unit("", user=True) == ("user.slice", "crate-runc-c1.scope")
    assert unit(":a:b", user=True) == ("user.slice", "a-b.scope")


def test_no_path_and_no_linux_is_the_same() -> None:
    assert units.unit_of({}, "c1", user=False) == unit("")


def test_a_letter_of_an_id_that_no_unit_has_is_escaped() -> None:
    assert unit("", container_id="a+b")[1] == r"crate-runc-a\x2bb.scope"


@pytest.mark.parametrize("path", ["/a/b", "a", "a.slice:b", "a.slice:b:c:d"])
def test_a_path_of_the_other_driver_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match=r'^linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name"'):
        unit(path)


@pytest.mark.parametrize(
    "path", ["a:b:c", ".slice:b:c", "a--b.slice:b:c", "-a.slice:b:c", "a-.slice:b:c", "../a.slice:b:c", "a/b.slice:b:c"]
)
def test_what_is_no_slice_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match=r"^linux.cgroupsPath: invalid slice name: "):
        unit(path)


@pytest.mark.parametrize("path", ["a.slice:b:", "a.slice:b:../c", "a.slice:b/c:d", "a.slice:b:c d", "a.slice:b:" + "c" * 250])
def test_what_is_no_unit_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match=r"^linux.cgroupsPath: .* is no name of a systemd unit"):
        unit(path)


@pytest.mark.parametrize(
    ("slice", "path"),
    [
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice", ""),
    ],
)
def test_a_slice_is_below_those_that_its_name_begins_with(slice: str, path: str) -> None:
    assert units.expand(slice) == path
