"""rtnetlink's messages, without a kernel."""

from __future__ import annotations

import struct

import pytest

from crate_runc.kernel import netlink


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    text = struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body
    return text + bytes(-len(text) % 4)


def test_a_datagram_is_split_into_its_messages() -> None:
    text = message(16, 1, b"abc") + message(3, 1, b"")
    assert netlink.split_messages(text) == [(16, 0, 1, b"abc"), (3, 0, 1, b"")]


@pytest.mark.parametrize("text", [b"", b"short", struct.pack("=IHHII", 100, 16, 0, 1, 0), struct.pack("=IHHII", 3, 16, 0, 1, 0)])
def test_a_message_that_is_cut_off_is_left_out(text: bytes) -> None:
    assert netlink.split_messages(text) == []


def test_attributes_are_aligned_and_found_again() -> None:
    text = netlink.attribute(3, b"eth0\0") + netlink.attribute(28, b"\1\2\3\4")
    assert len(text) % 4 == 0
    assert netlink.attributes_of(text) == {3: b"eth0\0", 28: b"\1\2\3\4"}


def test_the_flags_of_an_attributes_kind_are_left_out() -> None:
    assert netlink.attributes_of(struct.pack("=HH", 4, 0x8003)) == {3: b""}


@pytest.mark.parametrize("text", [b"\1", struct.pack("=HH", 3, 1), struct.pack("=HH", 50, 1)])
def test_attributes_that_lie_about_their_length_end_the_list(text: bytes) -> None:
    assert netlink.attributes_of(text) == {}


@pytest.mark.parametrize(
    ("flags", "scope", "lasting"),
    [(0x80, 0, True), (0x280, 0, True), (0, 0, False), (0x80, 253, False), (0x80, 254, False)],
    ids=["permanent", "more flags", "dynamic", "link", "host"],
)
def test_only_lasting_addresses_of_global_scope_go_along(flags: int, scope: int, lasting: bool) -> None:
    assert netlink.Address(2, 24, flags, scope, {}).is_lasting() is lasting
