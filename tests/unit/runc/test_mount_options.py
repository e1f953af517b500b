from __future__ import annotations

import pytest

from crate_runc import mount_options
from crate_runc.kernel import mount


@pytest.mark.parametrize(
    ("words", "flags", "text"),
    [
        ([], 0, ""),
        (["nosuid", "noexec", "mode=755", "size=65536k"], mount.MS_NOSUID | mount.MS_NOEXEC, "mode=755,size=65536k"),
        (["ro", "rw"], 0, ""),
        (["rw", "ro"], mount.MS_RDONLY, ""),
        (["rbind"], mount.MS_BIND | mount.MS_REC, ""),
        (["defaults", "newinstance"], 0, "newinstance"),
    ],
)
def test_flags_and_text(words: list[str], flags: int, text: str) -> None:
    options = mount_options.parse(words)
    assert (options.flags, options.text) == (flags, text)


@pytest.mark.parametrize(
    ("words", "add", "clear"),
    [
        (["bind"], 0, 0),
        (["ro", "nodev"], mount.ATTR_RDONLY | mount.ATTR_NODEV, 0),
        (["nosuid", "suid"], 0, mount.ATTR_NOSUID),
        (["suid", "nosuid"], mount.ATTR_NOSUID, 0),
        (["noatime"], mount.ATTR_NOATIME, mount.ATTR_ATIME_MASK),
        (["noatime", "strictatime"], mount.ATTR_STRICTATIME, mount.ATTR_ATIME_MASK),
    ],
)
def test_a_bind_changes_only_what_is_named(words: list[str], add: int, clear: int) -> None:
    options = mount_options.parse(words)
    assert (options.add, options.clear) == (add, clear)


def test_recursive_attributes_are_apart() -> None:
    options = mount_options.parse(["rbind", "rro", "rnosuid", "rsuid"])
    assert (options.add, options.add_recursive, options.clear_recursive) == (0, mount.ATTR_RDONLY, mount.ATTR_NOSUID)


def test_propagation_keeps_its_order() -> None:
    assert mount_options.parse(["rslave", "shared"]).propagation == [mount.MS_SLAVE | mount.MS_REC, mount.MS_SHARED]


def test_the_extension_of_tmpfs_is_no_option_of_the_filesystem() -> None:
    options = mount_options.parse(["tmpcopyup", "size=1m"])
    assert options.extensions == ["tmpcopyup"]
    assert options.text == "size=1m"
