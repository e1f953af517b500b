"""Every broken config.json of the corpus gets one line that says what is wrong with it, exit status 1, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import broken_configs
from tests.support.programs import Result
from tests.support.runtime import Bundle, OciRuntime

LEAST = 300


@pytest.fixture
def runtime_program(bin_directory: Path) -> tuple[str, str]:
    """The lines are crate-runc's own."""
    return "crate-runc", str(bin_directory / "crate-runc")


def _snapshot(bundle: Bundle) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mtime_ns) for path in bundle.rootfs.rglob("*")}


def _cgroups(identity: str) -> list[str]:
    return [found for found, _, _ in os.walk("/sys/fs/cgroup") if identity in found]


def _line(bundle: Bundle, identity: str, result: Result) -> str:
    lines = result.err.splitlines()
    assert (result.status, result.out, len(lines)) == (1, "", 1), str(result)
    return lines[0].replace(str(bundle.path), "{bundle}").replace(identity, "{id}")


@pytest.mark.parametrize("name", broken_configs.names())
def test_one_line_and_no_trace(runtime: OciRuntime, bundle: Bundle, name: str) -> None:
    (bundle.rootfs / "data").mkdir()  # a mount point that a create makes stays, as runc's does
    before = _snapshot(bundle)
    wrong = []
    for entry in broken_configs.load(name):
        (bundle.path / "config.json").write_bytes(broken_configs.document(entry, bundle.config))
        identity = runtime.identity()
        log = runtime.directory / "log"
        result = runtime.call("--log", str(log), "create", "--bundle", str(bundle.path), identity, status=None, timeout=20)
        log.unlink()
        told = _line(bundle, identity, result) if result.status else "it was created"
        if told != entry["error"]:
            wrong.append(f"{broken_configs.describe(entry)}\n  expected: {entry['error']}\n  told:     {told}")
        assert not list(runtime.root.iterdir()) or told == "it was created", told
        assert not _cgroups(identity) or told == "it was created", told
    assert not wrong, "\n".join(wrong)
    assert _snapshot(bundle) == before, "the root file system is as it was"


def test_corpus_is_large() -> None:
    """No entry stands twice."""
    entries = [broken_configs.describe(entry) for name in broken_configs.names() for entry in broken_configs.load(name)]
    assert len(set(entries)) == len(entries)
    assert len(entries) >= LEAST


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "dangling link", "endless", "unreadable size"])
def test_config_that_is_no_file(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    """A FIFO without a writer must not be waited for, a device without end not be read to its end."""
    config = bundle.path / "config.json"
    if kind == "directory":
        config.mkdir()
    elif kind == "fifo":
        os.mkfifo(config)
    elif kind == "dangling link":
        config.symlink_to("nowhere")
    elif kind == "endless":
        config.symlink_to("/dev/zero")
    elif kind == "unreadable size":
        config.write_bytes(b" " * (17 << 20))
    result = runtime.call("create", "--bundle", str(bundle.path), runtime.identity(), status=1, timeout=20)
    assert len(result.err.splitlines()) == 1
    assert str(config) in result.err
    assert not list(runtime.root.iterdir())
