"""Requests to criu by their field numbers, and its answers."""

from __future__ import annotations

import pytest

from crate_runc.checkpoint import protobuf, request
from crate_runc.checkpoint.request import Answer


def test_a_request_without_options_is_its_kind() -> None:
    assert request.encode(request.VERSION) == b"\x08\x0a"


def test_options_are_a_message_of_their_field_numbers() -> None:
    message = request.encode(
        request.DUMP, {"images_dir_fd": 5, "pid": 42, "leave_running": True, "external": ["a", "b"], "log_file": "x"}
    )
    (options,) = protobuf.decode(message)[2]
    assert isinstance(options, bytes)
    assert protobuf.decode(options) == {1: [5], 2: [42], 3: [1], 37: [b"a", b"b"], 10: [b"x"]}


def test_options_that_are_messages() -> None:
    message = request.encode(
        request.RESTORE,
        {
            "images_dir_fd": 5,
            "inherit_fd": [{"key": "pipe:[7]", "fd": 1}],
            "cg_root": [{"ctrl": "", "path": "/x"}],
            "join_ns": [{"ns": "uts", "ns_file": "/n"}],
            "ps": {"address": "::1", "port": 27},
        },
    )
    (options,) = protobuf.decode(message)[2]
    assert isinstance(options, bytes)
    parts = {
        number: [protobuf.decode(value) for value in values if isinstance(value, bytes)]
        for number, values in protobuf.decode(options).items()
    }
    assert parts == {
        1: [],
        27: [{1: [b"pipe:[7]"], 2: [1]}],
        25: [{1: [b""], 2: [b"/x"]}],
        39: [{1: [b"uts"], 2: [b"/n"]}],
        11: [{1: [b"::1"], 2: [27]}],
    }


def test_features_to_ask_for() -> None:
    assert request.encode(request.FEATURE_CHECK, features=("mem_track", "lazy_pages")) == bytes.fromhex("0809 2a04 0801 1001")


def test_no_option_shares_a_number() -> None:
    assert len(set(request.OPTIONS.values())) == len(request.OPTIONS)


def answer(*fields: tuple[int, int | str | bytes]) -> Answer:
    return Answer(protobuf.encode(fields))


def test_the_answer_to_a_restore_has_the_pid() -> None:
    found = answer((1, request.RESTORE), (2, True), (4, protobuf.encode([(1, 4711)])))
    assert (found.kind, found.success, found.pid) == (request.RESTORE, True, 4711)


def test_a_notification_has_a_name_and_a_pid() -> None:
    found = answer((1, request.NOTIFY), (2, True), (5, protobuf.encode([(1, "post-restore"), (2, 12)])))
    assert (found.kind, found.script, found.pid) == (request.NOTIFY, "post-restore", 12)


def test_a_version_is_one_number() -> None:
    assert answer((1, 10), (2, 1), (10, protobuf.encode([(1, 3), (2, 17), (4, 1)]))).version == 31701
    assert answer((1, 10), (2, 1), (10, protobuf.encode([(1, 4), (2, 0)]))).version == 40000


def test_a_failure_has_its_reason() -> None:
    found = answer((1, 1), (2, False), (7, 3), (9, "no such process"))
    assert (found.success, found.errno, found.message) == (False, 3, "no such process")


def test_features_that_are_there() -> None:
    assert answer((1, 9), (2, 1), (8, protobuf.encode([(1, 1), (2, 0)]))).features == {"mem_track"}


@pytest.mark.parametrize("raw", [b"\x08", protobuf.encode([(1, "x")]), protobuf.encode([(1, 6), (5, 3)])])
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Answer(raw)
