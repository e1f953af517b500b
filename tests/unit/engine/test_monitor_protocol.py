from __future__ import annotations

import pytest

from crate_engine.monitor.protocol import Frames, frame


def test_frames_survive_any_cut() -> None:
    sent = [(b"i", b"hello"), (b"e", b""), (b"w", b"\0\x18\0\x50"), (b"o", bytes(range(256)))]
    stream = b"".join(frame(kind, payload) for kind, payload in sent)
    for size in range(1, 9):
        frames = Frames(1000)
        received = [one for start in range(0, len(stream), size) for one in frames.feed(stream[start : start + size])]
        assert received == sent


def test_a_frame_beyond_the_limit_is_refused_before_it_has_arrived() -> None:
    assert Frames(5).feed(frame(b"i", b"12345")) == [(b"i", b"12345")]
    with pytest.raises(ValueError, match="too long"):
        Frames(5).feed(b"i\0\0\0\x06")
