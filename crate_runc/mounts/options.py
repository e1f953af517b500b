"""The words in mounts[].options: which are flags of mount(8), which are for the filesystem.

runtime-spec, config.md "Linux mount options", and what runc and crun know besides. What the words that are no flags do is with the steps.
"""

from __future__ import annotations

from crate_runc.kernel import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# word: (flags set, flags cleared) for mount(2)
FLAGS: dict[str, tuple[int, int]] = {
    "async": (0, mount.MS_SYNCHRONOUS),
    "atime": (0, mount.MS_NOATIME),
    "bind": (mount.MS_BIND, 0),
    "defaults": (0, 0),
    "dev": (0, mount.MS_NODEV),
    "diratime": (0, mount.MS_NODIRATIME),
    "dirsync": (mount.MS_DIRSYNC, 0),
    "exec": (0, mount.MS_NOEXEC),
    "iversion": (mount.MS_I_VERSION, 0),
    "lazytime": (mount.MS_LAZYTIME, 0),
    "loud": (0, mount.MS_SILENT),
    "mand": (mount.MS_MANDLOCK, 0),
    "noatime": (mount.MS_NOATIME, 0),
    "nodev": (mount.MS_NODEV, 0),
    "nodiratime": (mount.MS_NODIRATIME, 0),
    "noexec": (mount.MS_NOEXEC, 0),
    "noiversion": (0, mount.MS_I_VERSION),
    "nolazytime": (0, mount.MS_LAZYTIME),
    "nomand": (0, mount.MS_MANDLOCK),
    "norelatime": (0, mount.MS_RELATIME),
    "nostrictatime": (0, mount.MS_STRICTATIME),
    "nosuid": (mount.MS_NOSUID, 0),
    "nosymfollow": (mount.MS_NOSYMFOLLOW, 0),
    "rbind": (mount.MS_BIND | mount.MS_REC, 0),
    "relatime": (mount.MS_RELATIME, 0),
    "remount": (mount.MS_REMOUNT, 0),
    "ro": (mount.MS_RDONLY, 0),
    "rw": (0, mount.MS_RDONLY),
    "silent": (mount.MS_SILENT, 0),
    "strictatime": (mount.MS_STRICTATIME, 0),
    "suid": (0, mount.MS_NOSUID),
    "symfollow": (0, mount.MS_NOSYMFOLLOW),
    "sync": (mount.MS_SYNCHRONOUS, 0),
}
PROPAGATION: dict[str, int] = {
    "private": mount.MS_PRIVATE,
    "rprivate": mount.MS_PRIVATE | mount.MS_REC,
    "rshared": mount.MS_SHARED | mount.MS_REC,
    "rslave": mount.MS_SLAVE | mount.MS_REC,
    "runbindable": mount.MS_UNBINDABLE | mount.MS_REC,
    "shared": mount.MS_SHARED,
    "slave": mount.MS_SLAVE,
    "unbindable": mount.MS_UNBINDABLE,
}
# word: (attributes added, attributes cleared) for mount_setattr(2) on a whole tree
RECURSIVE: dict[str, tuple[int, int]] = {
    "ratime": (0, mount.ATTR_ATIME_MASK),
    "rdev": (0, mount.ATTR_NODEV),
    "rdiratime": (0, mount.ATTR_NODIRATIME),
    "rexec": (0, mount.ATTR_NOEXEC),
    "rnoatime": (mount.ATTR_NOATIME, mount.ATTR_ATIME_MASK),
    "rnodev": (mount.ATTR_NODEV, 0),
    "rnodiratime": (mount.ATTR_NODIRATIME, 0),
    "rnoexec": (mount.ATTR_NOEXEC, 0),
    "rnorelatime": (0, mount.ATTR_ATIME_MASK),
    "rnostrictatime": (0, mount.ATTR_ATIME_MASK),
    "rnosuid": (mount.ATTR_NOSUID, 0),
    "rnosymfollow": (mount.ATTR_NOSYMFOLLOW, 0),
    "rrelatime": (mount.ATTR_RELATIME, mount.ATTR_ATIME_MASK),
    "rro": (mount.ATTR_RDONLY, 0),
    "rrw": (0, mount.ATTR_RDONLY),
    "rstrictatime": (mount.ATTR_STRICTATIME, mount.ATTR_ATIME_MASK),
    "rsuid": (0, mount.ATTR_NOSUID),
    "rsymfollow": (0, mount.ATTR_NOSYMFOLLOW),
}
# Words that neither the kernel nor a filesystem knows; `idmap` and `ridmap` may carry mappings, as in crun(1).
EXTENSIONS = ("copy-symlink", "dest-nofollow", "idmap", "ridmap", "src-nofollow", "tmpcopyup")
_MAPPED = ("idmap", "ridmap")

_ATTRIBUTE_OF = {
    mount.MS_RDONLY: mount.ATTR_RDONLY,
    mount.MS_NOSUID: mount.ATTR_NOSUID,
    mount.MS_NODEV: mount.ATTR_NODEV,
    mount.MS_NOEXEC: mount.ATTR_NOEXEC,
    mount.MS_NODIRATIME: mount.ATTR_NODIRATIME,
    mount.MS_NOSYMFOLLOW: mount.ATTR_NOSYMFOLLOW,
}
_ATIME_OF = {
    mount.MS_NOATIME: mount.ATTR_NOATIME,
    mount.MS_RELATIME: mount.ATTR_RELATIME,
    mount.MS_STRICTATIME: mount.ATTR_STRICTATIME,
}


class MountOptions:
    """`flags` and `text` are for mount(2); `add` and `clear` the same for mount_setattr(2), where only what a word names is changed: a
    bind keeps the restrictions of its source. `extensions` are words of EXTENSIONS, `mapping` is what followed `idmap=`."""

    __slots__ = (
        "add",
        "add_recursive",
        "clear",
        "clear_recursive",
        "extensions",
        "flags",
        "mapping",
        "propagation",
        "text",
        "words",
    )

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.flags = self.add = self.clear = self.add_recursive = self.clear_recursive = 0
        self.propagation: list[int] = []
        self.extensions: list[str] = []
        self.mapping = ""
        self.text = ""

    @property
    def bind(self) -> bool:
        return bool(self.flags & mount.MS_BIND)

    @property
    def recursive(self) -> bool:
        return bool(self.flags & mount.MS_REC)

    @property
    def readonly(self) -> bool:
        return bool(self.flags & mount.MS_RDONLY)

    @property
    def remount(self) -> bool:
        return bool(self.flags & mount.MS_REMOUNT)

    def describe(self) -> str:
        words = [word for word in self.words if word not in ("bind", "rbind")]
        return f": {','.join(words)}" if words else ""


def parse(words: list[str]) -> MountOptions:
    """Later words win, as in mount(8)."""
    options, rest = MountOptions(words), []
    for word in words:
        if word in FLAGS:
            added, cleared = FLAGS[word]
            options.flags = options.flags & ~cleared | added
            _attributes(options, added, cleared)
        elif word in PROPAGATION:
            options.propagation.append(PROPAGATION[word])
        elif word in RECURSIVE:
            added, cleared = RECURSIVE[word]
            options.add_recursive = options.add_recursive & ~cleared | added
            options.clear_recursive = options.clear_recursive & ~added | cleared
        elif word in EXTENSIONS:
            options.extensions.append(word)
        elif word.partition("=")[0] in _MAPPED:
            name, _, options.mapping = word.partition("=")
            options.extensions.append(name)
        elif word:
            rest.append(word)
    options.text = ",".join(rest)
    return options


def _attributes(options: MountOptions, added: int, cleared: int) -> None:
    for flag, attribute in _ATTRIBUTE_OF.items():
        if added & flag:
            options.add |= attribute
            options.clear &= ~attribute
        if cleared & flag:
            options.add &= ~attribute
            options.clear |= attribute
    for flag, attribute in _ATIME_OF.items():
        if added & flag:
            options.add = options.add & ~mount.ATTR_ATIME_MASK | attribute
            options.clear |= mount.ATTR_ATIME_MASK
        if cleared & flag:  # of the three exactly one applies: without another, relatime, which is 0
            options.add &= ~attribute
            options.clear |= mount.ATTR_ATIME_MASK


def maps_ids(entry: dict[str, Any]) -> bool:
    """Whether a mount of config.json is idmapped."""
    if entry.get("uidMappings") or entry.get("gidMappings"):
        return True
    return any(word.startswith(_MAPPED) and word.partition("=")[0] in _MAPPED for word in entry.get("options", ()))


def is_bind(entry: dict[str, Any]) -> bool:
    """Whether a mount of config.json shows what is there already: by its type, or by an option alone."""
    options = entry.get("options", ())
    return entry.get("type") == "bind" or "rbind" in options or "bind" in options
