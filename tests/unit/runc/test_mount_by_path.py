"""mount(2) in place of mount_setattr(2): which flags a remount must name so that nothing else changes."""

from __future__ import annotations

import pytest

from crate_runc.kernel import mount, mount_by_path

KEPT = mount.MS_NOSUID | mount.MS_RELATIME


@pytest.mark.parametrize(
    ("add", "clear", "expected"),
    [
        (mount.ATTR_RDONLY, 0, KEPT | mount.MS_RDONLY),
        (0, mount.ATTR_NOSUID, mount.MS_RELATIME),
        (mount.ATTR_NODEV | mount.ATTR_NOSYMFOLLOW, 0, KEPT | mount.MS_NODEV | mount.MS_NOSYMFOLLOW),
        (mount.ATTR_NOATIME, mount.ATTR_ATIME_MASK, mount.MS_NOSUID | mount.MS_NOATIME),
        (mount.ATTR_STRICTATIME, mount.ATTR_ATIME_MASK, mount.MS_NOSUID | mount.MS_STRICTATIME),
        (0, mount.ATTR_ATIME_MASK, KEPT),
        (mount.ATTR_NODIRATIME, 0, KEPT | mount.MS_NODIRATIME),
        (0, 0, KEPT),
    ],
)
def test_only_what_is_named_changes(add: int, clear: int, expected: int) -> None:
    assert mount_by_path.changed(KEPT, add, clear) == expected


@pytest.mark.parametrize(("field", "path"), [(b"/a", b"/a"), (b"/a\\040b\\134c", b"/a b\\c"), (b"/\\012", b"/\n")])
def test_mount_points_are_read_as_the_kernel_escapes_them(field: bytes, path: bytes) -> None:
    assert mount_by_path.unescape(field) == path
