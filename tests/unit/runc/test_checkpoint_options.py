"""What the flags of checkpoint and restore become, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_runc import cli
from crate_runc.checkpoint import options, request
from crate_runc.errors import UsageError

SPECIAL = {"empty-ns", "image-path", "manage-cgroups-mode", "page-server", "parent-path", "pre-dump", "status-fd", "work-path"}


def test_every_switch_of_the_command_line_becomes_an_option_of_criu() -> None:
    flags = set(cli.VERBS["checkpoint"][0]) - SPECIAL
    assert flags
    for flag in flags:
        added = set(options.common({flag: True}, {}).items()) - set(options.common({}, {}).items())
        assert added == {(flag.replace("-", "_"), True)}


def test_every_option_has_a_number() -> None:
    everything = options.common(dict.fromkeys(cli.VERBS["checkpoint"][0], True) | {"manage-cgroups-mode": "", "empty-ns": []}, {})
    assert set(everything) <= set(request.OPTIONS)


@pytest.mark.parametrize(("mode", "number"), [("", 3), ("soft", 3), ("full", 4), ("strict", 5), ("ignore", 0)])
def test_cgroup_modes(mode: str, number: int) -> None:
    assert options.common({"manage-cgroups-mode": mode}, {})["manage_cgroups_mode"] == number


@pytest.mark.parametrize(
    ("values", "message"), [({"manage-cgroups-mode": "x"}, "manage-cgroups-mode"), ({"empty-ns": ["network", "pid"]}, '"pid"')]
)
def test_what_is_unknown_is_an_error(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.common(values, {})


def test_the_configuration_file_of_criu_is_that_of_the_annotation() -> None:
    assert options.common({}, {})["config_file"] == "/etc/criu/crate-runc.conf"
    assert options.common({}, {"org.criu.config": "/x"})["config_file"] == "/x"
    assert "config_file" not in options.common({}, {"org.criu.config": ""})


@pytest.mark.parametrize(
    ("text", "address", "port"), [("10.0.0.1:27", "10.0.0.1", 27), ("[::1]:27", "::1", 27), ("host:65535", "host", 65535)]
)
def test_page_servers(text: str, address: str, port: int) -> None:
    assert options.page_server(text) == {"address": address, "port": port}


@pytest.mark.parametrize("text", ["", "host", ":27", "host:", "host:0", "host:65536", "host:x", "host:²"])
def test_what_is_no_page_server(text: str) -> None:
    with pytest.raises(UsageError, match="ADDRESS:PORT"):
        options.page_server(text)


def test_the_status_descriptor_must_be_open_for_writing() -> None:
    assert options.status_descriptor("") is options.status_descriptor("-1") is None
    reading, writing = os.pipe()
    try:
        assert options.status_descriptor(str(writing)) == writing
        with pytest.raises(UsageError, match="not writable"):
            options.status_descriptor(str(reading))
    finally:
        os.close(reading)
        os.close(writing)
    for text in (str(writing), "x"):
        with pytest.raises(UsageError, match="not open"):
            options.status_descriptor(text)


def test_earlier_images_are_named_relative_to_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "last").mkdir()
    options.check_parent(str(tmp_path / "last"), "../first")
    for parent in ("../missing", str(tmp_path / "first")):
        with pytest.raises(UsageError, match="--parent-path"):
            options.check_parent(str(tmp_path / "last"), parent)


def test_the_work_directory_gets_the_log(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    directories = options.Directories(str(tmp_path / "images"), str(tmp_path / "work"), "dump.log")
    try:
        assert directories.log == str(tmp_path / "work/dump.log")
        assert os.path.samefile(f"/proc/self/fd/{directories.options['work_dir_fd']}", tmp_path / "work")
        assert os.path.samefile(f"/proc/self/fd/{directories.options['images_dir_fd']}", tmp_path / "images")
    finally:
        directories.close()
