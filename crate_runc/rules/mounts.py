"""The rules of mounts[] of config.json: OCI runtime-spec 1.3 config.md "Mounts", with what runc and crun refuse besides.

What depends on other mounts, on the kernel or on a file system is found out when the mount is made.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import fields, filled, list_of, quoted, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from crate_runc.mounts.options import MountOptions
    from crate_runc.rules.shapes import Check, Report

_OF_BINDS = ("copy-symlink", "src-nofollow")
_SPECIAL = ("idmap", "ridmap", "tmpcopyup", *_OF_BINDS)


def entries(id_mappings: Check) -> Check:
    """id_mappings: the check of a list of mappings, as of linux.uidMappings."""
    each = list_of(
        fields(
            {
                "destination": filled,
                "type": string,
                "source": string,
                "options": list_of(string),
                "uidMappings": id_mappings,
                "gidMappings": id_mappings,
            },
            required=("destination",),
        )
    )

    def check(value: Any, where: str, report: Report) -> None:
        defects: list[BundleError] = []
        each(value, where, defects.append)
        for defect in defects:
            report(defect)
        if defects:
            return
        for index, entry in enumerate(value):
            _entry(entry, f"{where}[{index}]", report)

    return check


def _entry(entry: dict[str, Any], where: str, report: Report) -> None:
    """Most mounts are new file systems with no word that is special: for those the tables are not even loaded."""
    words = entry.get("options", [])
    bind = entry.get("type") == "bind" or "rbind" in words or "bind" in words
    if not bind and not entry.get("type") and "remount" not in words:
        report(BundleError(f"{where}.type", "is required for a mount that is not a bind mount"))
    if bind or "uidMappings" in entry or "gidMappings" in entry or any(word.startswith(_SPECIAL) for word in words):
        _special(entry, bind, where, report)


def _special(entry: dict[str, Any], bind: bool, where: str, report: Report) -> None:
    from crate_runc.mounts import options as mount_options

    options = mount_options.parse(entry.get("options", []))
    if bind and options.text:
        text = f"bind mounts cannot have any filesystem-specific options applied: {quoted(options.text)}"
        report(BundleError(f"{where}.options", text))
    for word in options.extensions:
        if word in _OF_BINDS and not bind:
            report(BundleError(f"{where}.options", f"{word} is for a bind mount"))
        if word == "tmpcopyup" and (bind or entry.get("type") != "tmpfs"):
            report(BundleError(f"{where}.options", "tmpcopyup is for a mount of type tmpfs"))
    if mount_options.maps_ids(entry):
        _idmapped(entry, options, bind, where, report)


def _idmapped(entry: dict[str, Any], options: MountOptions, bind: bool, where: str, report: Report) -> None:
    if not bind:
        report(BundleError(where, "id-mapped mounts are only supported for bind-mounts"))
    if options.remount or "copy-symlink" in options.extensions:
        report(BundleError(f"{where}.options", "an idmapped mount is a new one: neither remount nor copy-symlink go with it"))
    for name, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if entry.get(name) and not entry.get(other):
            report(BundleError(f"{where}.{other}", f"is required beside {name}"))
    if entry.get("uidMappings") and options.mapping:
        report(BundleError(f"{where}.options", "idmap= and uidMappings both say how ids are mapped"))


def relations(mounts: Sequence[dict[str, Any]], linux: dict[str, Any], has_user_namespace: bool, report: Report) -> None:
    """What an idmapped mount needs of linux. Each mount has passed `entries` for itself."""
    for index, entry in enumerate(mounts):
        mapped = [word for word in entry.get("options", ()) if word.startswith(("idmap", "ridmap"))]
        if not mapped or entry.get("uidMappings"):
            continue
        where, text = f"mounts[{index}].options", mapped[-1].partition("=")[2]
        if text:
            from crate_runc.mounts import mapping as mount_mapping

            try:
                mount_mapping.of_entry(entry, text, linux)
            except ValueError as error:
                report(BundleError(where, f"idmap={text}: {error}"))
        elif not has_user_namespace:
            report(
                BundleError(where, 'idmap without mappings needs a "user" namespace in linux.namespaces, whose mapping it takes')
            )
