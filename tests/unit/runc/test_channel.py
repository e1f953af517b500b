from __future__ import annotations

import os

import pytest

from crate_runc.process import channel


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = channel.pair()
    ours.send(b"one")
    ours.send(b"")
    ours.send(b"x" * 100_000)
    assert [theirs.receive()[0] for _ in range(3)] == [b"one", b"", b"x" * 100_000]


def test_descriptors_travel_in_their_order_and_are_closed_on_exec() -> None:
    ours, theirs = channel.pair()
    reading, writing = os.pipe()
    ours.send(b"fds", [writing, reading])
    message, (got_writing, got_reading) = theirs.receive()
    os.write(got_writing, b"through")
    assert (message, os.read(reading, 10)) == (b"fds", b"through")
    assert not os.get_inheritable(got_reading)
    for fd in (reading, writing, got_reading, got_writing):
        os.close(fd)


def test_the_end_of_the_other_side_shows() -> None:
    ours, theirs = channel.pair()
    theirs.send(b"last")
    theirs.close()
    assert ours.receive()[0] == b"last"
    with pytest.raises(EOFError):
        ours.receive()
    with pytest.raises(BrokenPipeError):
        ours.send(b"x")
