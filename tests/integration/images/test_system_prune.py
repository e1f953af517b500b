"""`crate system df` and `crate system prune`: what they count, what they remove and what they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support.engine import Crate
from tests.support.programs import Account


class Yard:
    """A store with a container that has ended, one that runs, an image without a name, and one that nothing uses."""

    def __init__(self, crate: Crate, server: Server, busybox: str) -> None:
        self.crate = crate
        self.busybox = busybox
        run = ("run", "-q", "--network", "none")
        crate(*run, "--name", "ended", busybox, "sh", "-c", "head -c 300000 /dev/zero > /big")
        self.running = crate.out(*run, "-d", "--name", "running", busybox, "sleep", "1000")
        self.nameless, self.idle = f"{server.host}/nameless:1", f"{server.host}/idle:1"
        for name, labels in (("nameless", {}), ("idle", {"keep": "yes"})):
            server.image(name, "1", layers=[layer({"file": name.encode() * 9000})], config={"Labels": labels, "Cmd": ["/a"]})
            crate("pull", "-q", f"{server.host}/{name}:1")
        crate("untag", self.nameless)

    def names(self) -> set[str]:
        return set(self.crate.out("images", "--format", "{{.Repository}}:{{.Tag}}").split())

    def containers(self) -> set[str]:
        return set(self.crate.out("ps", "-a", "--format", "{{.Names}}").split())

    def usage(self) -> dict[str, dict[str, str]]:
        rows = [json.loads(line) for line in self.crate.out("system", "df", "--format", "json").splitlines()]
        return {row["Type"]: row for row in rows}


@pytest.fixture
def yard(account: Account, bin_directory: Path, base: Path, images: Any, server: Server) -> Iterator[Yard]:
    crate = Crate(bin_directory / "crate", base / f"yard-{account.uid}", account)
    yield Yard(crate, server, images.busybox)
    crate.remove_containers()
    crate.destroy()


def test_df_counts_what_is_used_and_what_is_not(yard: Yard) -> None:
    usage = yard.usage()
    assert [usage["Images"][name] for name in ("TotalCount", "Active")] == ["3", "1"]
    assert [usage["Containers"][name] for name in ("TotalCount", "Active")] == ["2", "1"]
    assert usage["Containers"]["Reclaimable"] == "300kB (100%)"
    assert usage["Build Cache"]["Size"] == "0B"
    head = yard.crate.out("system", "df").splitlines()[0].split()
    assert head == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    told = yard.crate.out("system", "df", "-v")
    assert "UNIQUE SIZE" in told and "Containers space usage:" in told and "<none>" in told
    assert yard.crate.out("system", "df", "--format", "{{.Type}}:{{.Active}}").splitlines()[0] == "Images:1"


def test_prune_takes_ended_containers_and_images_without_a_name(yard: Yard) -> None:
    answer = yard.crate("system", "prune", "--force").out
    assert "Deleted Containers:" in answer and "Deleted Images:" in answer
    assert "Total reclaimed space: " in answer.splitlines()[-1] and not answer.endswith(" 0B\n")
    assert yard.containers() == {"running"}
    assert yard.names() == {yard.busybox, yard.idle}
    assert yard.crate("system", "prune", "--force").out == "Total reclaimed space: 0B\n"
    yard.crate("system", "prune", "-af")
    assert yard.names() == {yard.busybox}
    assert yard.usage()["Images"]["Reclaimable"].startswith("0B")
    assert "all is well" in yard.crate.out("system", "check", "--full")
    assert yard.crate.out("exec", "running", "echo", "on") == "on"


def test_prune_asks_first(yard: Yard) -> None:
    for text in ("", "n\n"):
        answer = yard.crate("system", "prune", input=text)
        assert "[y/N]" in answer.out and "all stopped containers" in answer.out
        assert yard.containers() == {"running", "ended"}
    yard.crate("system", "prune", input="y\n")
    assert yard.containers() == {"running"}


def test_prune_by_age_and_label(yard: Yard) -> None:
    yard.crate("system", "prune", "-af", "--filter", "until=1h", "--filter", "label!=keep=yes")
    assert yard.containers() == {"running", "ended"}
    assert yard.idle in yard.names()
    yard.crate("system", "prune", "-af", "--filter", "label=keep=yes")
    assert yard.idle not in yard.names()
    assert yard.containers() == {"running", "ended"}
    refused = yard.crate("system", "prune", "-f", "--filter", "reference=x", status=1)
    assert "invalid filter" in refused.err
