"""Layers unpacked by our own worker process, and shown through an overlay: as the caller, or with one id alone.

A program (`python3 unpacking.py REQUEST`, JSON on standard output): it forks into user namespaces, and runs as whichever account a test wants.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

DRIVER = Path(__file__)
ROOT = DRIVER.parents[2]


def main(request: dict[str, Any]) -> dict[str, Any]:
    from crate_engine import limits
    from crate_engine.errors import CrateError
    from crate_engine.system import userns

    for name, value in request.get("limits", {}).items():
        setattr(limits, name, value)
    ids = userns.choose()
    if request.get("single"):
        ids = userns.UserNamespace("single", ((0, os.geteuid(), 1),), ((0, os.getegid(), 1),), "asked for")
    answer: dict[str, Any] = {"mode": ids.mode}
    try:
        trees = _unpack(request, ids)
        answer["trees"] = trees
        if request.get("show"):
            answer["tree"] = json.loads(str(userns.run(ids, _show, trees, request["directory"], ids.mode)))
    except CrateError as error:
        answer["error"] = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
    answer["peak"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    return answer


def _unpack(request: dict[str, Any], ids: Any) -> list[str]:
    from crate_engine.layers.worker import Worker
    from crate_engine.oci.digest import Digest

    directory = request["directory"]
    os.makedirs(f"{directory}/trash", exist_ok=True)
    worker = Worker(ids, f"{directory}/trash")
    trees = []
    try:
        for number, (path, diff_id) in enumerate(request["layers"]):
            blob = os.open(path, os.O_RDONLY)
            worker.start(blob, f"{directory}/{number}", Digest.parse(diff_id))
            worker.end(os.fstat(blob).st_size)
            os.close(blob)
            worker.result()
            trees.append(f"{directory}/{number}/fs")
    finally:
        worker.close()
    return trees


def _show(trees: list[str], directory: str, mode: str) -> str:
    """Listings of everything stacked, in a mount namespace that ends with this process: as `overlay`; also of a `copy` of it, and `plain`,
    without what directories inherit from lower layers.
    """
    from crate_engine.layers import inheritance
    from crate_engine.layers.copy import copy_layers
    from crate_engine.system.process import CLONE_NEWNS, unshare
    from tests.support.trees import listing

    os.umask(0)
    os.mkdir(f"{directory}/inherited")
    whole = [*trees, f"{directory}/inherited/fs"] if inheritance.make(trees, f"{directory}/inherited") else trees
    unshare(CLONE_NEWNS)
    os.mkdir(f"{directory}/copied")
    copy_layers(whole, f"{directory}/copied")
    found = {"copy": listing(f"{directory}/copied")}
    for name, stack in (("overlay", whole), ("plain", trees)):
        found[name] = listing(_mounted(stack, f"{directory}/{name}", user_xattr=mode != "root"))
    return json.dumps(found)


def _mounted(trees: list[str], directory: str, *, user_xattr: bool) -> str:
    from crate_engine.system import mount

    upper, work, merged = (f"{directory}/{name}" for name in ("upper", "work", "merged"))
    for path in (directory, upper, work, merged):
        os.mkdir(path)
    mount.make_private()
    status = os.stat(trees[-1])  # the merged root is the upper directory
    os.chown(upper, status.st_uid, status.st_gid)
    os.chmod(upper, status.st_mode & 0o7777)
    os.utime(upper, ns=(status.st_mtime_ns, status.st_mtime_ns))
    mount.overlay(trees, upper, work, merged, user_xattr=user_xattr)
    return merged


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(main(json.loads(sys.argv[1]))))
