"""Every fault of tests/support/fault_*.py in every place: a manifest, a configuration, and layers of three sizes.

Each pull ends with the right image or with one error of the kind that the fault may cause; the store is whole, nothing is left over, and once
the registry is well again the same command succeeds.
"""

from __future__ import annotations

import random
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.integration.images.conftest import Puller, Server, answer, layer
from tests.support import fault_answers, fault_bodies
from tests.support.faulty import Fault, Place

FAULTS = [*fault_bodies.TABLE.faults, *fault_answers.TABLE.faults]
SIZES = {"layer of 1 KB": 1000, "layer of 300 KB": 300_000, "layer of 3 MB": 3_000_000}
PLACES = ("manifest", "configuration", *SIZES)
_FEW = ("manifest", "layer of 300 KB")
"""For what takes a second or more each time."""


class Faulty:
    """The fault of a server that answers one kind of request of each repository wrongly."""

    def __init__(self, server: Server, fault: Fault) -> None:
        self.server: Any = server
        self.fault = fault
        self.counts: Counter[str] = Counter()
        server.dripped_dry = []  # type: ignore[attr-defined]
        server.tokens = 0  # type: ignore[attr-defined]

    def __call__(self, request: BaseHTTPRequestHandler) -> bool:
        if request.path.startswith("/token"):
            self.server.tokens += 1
            answer(request, 200, b'{"token":"token%d"}' % self.server.tokens)
            return True
        if request.path.startswith("/signed/"):
            return self._signed(request)
        kind, content = self.server.documents.get(request.path, ("", b""))
        if not self._is_target(request.path, content) or request.command == "HEAD":
            return False
        self.counts[request.path] += 1
        count = self.counts[request.path]
        if self.fault.passing and count > 1:
            return False
        self.fault.act(Place(request, content, kind, count, self.server))
        return True

    def _signed(self, request: BaseHTTPRequestHandler) -> bool:
        path = request.path.removeprefix("/signed/old").removeprefix("/signed/new")
        kind, content = self.server.documents[path]
        if request.path.startswith("/signed/old"):
            answer(request, 403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml")
        else:
            answer(request, 200, content, kind)
        return True

    def _is_target(self, path: str, content: bytes) -> bool:
        if path.startswith("/v2/manifest/manifests/"):
            return True
        if path.startswith("/v2/configuration/blobs/"):
            return content.startswith(b"{")
        return path.startswith("/v2/layer") and "/blobs/" in path and not content.startswith(b"{")


def _images(server: Server, fault: Fault) -> dict[str, str]:
    """Name and reference of an image for each place."""
    found = {}
    places = PLACES[2:] if fault.layers_only else _FEW if fault.limits else PLACES if fault.sizes_matter else PLACES[:3]
    for number, place in enumerate(places):
        repository = place.replace(" ", "-").lower()
        content = random.Random(number).randbytes(SIZES.get(place, 2000))
        server.image(repository, "1", layers=[layer({f"f{number}": content})], author=place)
        found[place] = f"{server.host}/{repository}:1"
    return found


def _wrong(fault: Fault, place: str, found: dict[str, Any]) -> str:
    if found.get("error", "") not in fault.ends:
        return f"{place}: {found.get('error', 'an image')}, not one of {fault.ends}: {found.get('message', '')}"
    if "message" in found and not (found["message"].isprintable() and len(found["message"]) < 1000):
        return f"{place}: not a line: {found['message']!r}"
    return ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_pull_ends_right_or_with_one_error_and_can_be_repeated(server: Server, puller: Puller, fault: Fault) -> None:
    images = _images(server, fault)
    server.fault = faulty = Faulty(server, fault)
    ended = dict(zip(images, puller.pull_all(*images.values(), check=True, **dict(fault.limits)), strict=True))
    wrong = [_wrong(fault, place, found) for place, found in ended.items()]
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert server.dripped_dry == [], "the client waited until the server had said all"  # type: ignore[attr-defined]
    assert max(faulty.counts.values()) <= 8, faulty.counts
    puller.check()
    assert [text for text, damage in puller.findings if damage] == []
    assert puller.layer_count() == sum("error" not in found for found in ended.values())
    server.fault = lambda request: False
    repeated = puller.pull_all(*images.values(), check=True)
    assert [found.get("message") for found in repeated] == [None] * len(images)
    puller.check()
    assert puller.findings == []
    assert puller.leftovers() == []
    assert puller.layer_count() == len(images)


def test_there_are_many_faults_and_each_has_a_name() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
