from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from crate_runc.process import start_gate


def test_nobody_waits_at_a_gate_whose_reader_is_gone(tmp_path: Path) -> None:
    os.close(start_gate.make(str(tmp_path)))
    assert not start_gate.pass_through(str(tmp_path))


def test_nobody_waits_where_there_is_no_gate(tmp_path: Path) -> None:
    assert not start_gate.pass_through(str(tmp_path))


def test_the_opener_waits_until_the_reader_has_gone_on(tmp_path: Path) -> None:
    gate = start_gate.make(str(tmp_path))
    seen: list[bytes] = []

    def container() -> None:
        while not seen:
            try:
                seen.append(os.read(gate, 1))
            except BlockingIOError:
                time.sleep(0.001)
            if seen == [b""]:
                seen.clear()
        time.sleep(0.1)
        os.close(gate)

    thread = threading.Thread(target=container)
    before = time.monotonic()
    thread.start()
    assert start_gate.pass_through(str(tmp_path))
    assert time.monotonic() - before >= 0.1
    thread.join()
    assert seen == [b"g"]
    assert not start_gate.is_there(str(tmp_path))
