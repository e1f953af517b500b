from __future__ import annotations

import pytest

from crate_runc.kernel import mount
from crate_runc.mounts import options as mount_options


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


@pytest.mark.parametrize(
    ("words", "extensions", "mapping"),
    [
        (["bind", "idmap"], ["idmap"], ""),
        (["rbind", "ridmap", "ro"], ["ridmap"], ""),
        (["bind", "idmap=uids=0-1-10;gids=0-1-10"], ["idmap"], "uids=0-1-10;gids=0-1-10"),
        (["bind", "copy-symlink"], ["copy-symlink"], ""),
        (["bind", "src-nofollow", "dest-nofollow"], ["src-nofollow", "dest-nofollow"], ""),
    ],
)
def test_extensions_are_no_options_of_a_filesystem(words: list[str], extensions: list[str], mapping: str) -> None:
    options = mount_options.parse(words)
    assert (options.extensions, options.mapping, options.text) == (extensions, mapping, "")


def test_a_word_that_only_looks_like_idmap_goes_to_the_filesystem() -> None:
    assert mount_options.parse(["idmapper", "ridmap2=1"]).text == "idmapper,ridmap2=1"
    assert not mount_options.maps_ids({"options": ["idmapper", "ridmap2=1"]})


@pytest.mark.parametrize("word", ["atime", "norelatime", "nostrictatime"])
def test_a_time_that_is_cleared_leaves_relatime(word: str) -> None:
    options = mount_options.parse(["bind", word])
    assert (options.add & mount.ATTR_ATIME_MASK, options.clear & mount.ATTR_ATIME_MASK) == (0, mount.ATTR_ATIME_MASK)


def test_clearing_one_time_keeps_another() -> None:
    assert mount_options.parse(["noatime", "nostrictatime"]).add == mount.ATTR_NOATIME


@pytest.mark.parametrize("word", sorted(mount_options.RECURSIVE))
def test_every_recursive_word_does_something_to_the_whole_tree_and_nothing_else(word: str) -> None:
    options = mount_options.parse(["rbind", word])
    assert options.add_recursive or options.clear_recursive
    assert (options.add, options.clear, options.text, options.extensions) == (0, 0, "", [])


@pytest.mark.parametrize("word", sorted(word for word in mount_options.RECURSIVE if word[1:] in mount_options.FLAGS))
def test_a_recursive_word_means_what_the_plain_one_means(word: str) -> None:
    plain, recursive = mount_options.parse([word[1:]]), mount_options.parse([word])
    assert (recursive.add_recursive, recursive.clear_recursive) == (plain.add, plain.clear)


def test_the_words_of_runtime_spec_are_all_known() -> None:
    """config.md, "Linux mount options" of 1.3."""
    words = """
        async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec noiversion
        nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime
        rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
        rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
    """
    known = {*mount_options.FLAGS, *mount_options.PROPAGATION, *mount_options.RECURSIVE, *mount_options.EXTENSIONS}
    assert set(words.split()) <= known


@pytest.mark.parametrize(
    ("entry", "bind"),
    [
        ({"type": "bind"}, True),
        ({"type": "none", "options": ["rbind"]}, True),
        ({"options": ["ro", "bind"]}, True),
        ({"type": "tmpfs", "options": ["ro"]}, False),
    ],
)
def test_what_is_a_bind_mount(entry: dict[str, object], bind: bool) -> None:
    assert mount_options.is_bind(entry) is bind
