"""The first request of all to a registry that may speak plain http: it finds out the scheme, and a passing fault does not end it."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from tests.integration.images.conftest import layer
from tests.support.registry import free_port


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_passing_fault_of_the_first_request_is_not_the_end(server: Any, puller: Any, how: str) -> None:
    server.image("app", "1", layers=[layer({"file": b"content"})])

    def fault(request: Any) -> bool:
        if len(server.log) > 1:
            return False
        if how == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.close_connection = True
        request.connection.close()
        return True

    server.fault = fault
    puller.pulled(f"{server.host}/app:1")


def test_a_port_on_which_nobody_listens_is_said_at_once(puller: Any) -> None:
    found = puller.pull(f"127.0.0.1:{free_port()}/app:1", hurry=False)
    assert "neither https nor http" in found["message"]
    assert "port" in found["hint"]


def test_one_that_answers_neither_is_one_clear_line(puller: Any) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        message = puller.refused(f"127.0.0.1:{port}/app:1", "RegistryUnreachable", CONNECT_SECONDS=1, STALL_SECONDS=1, ATTEMPTS=2)
    assert f"127.0.0.1:{port} cannot be reached: timed out" in message
