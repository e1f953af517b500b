"""The golden plans beside the example bundles: `python -m tests.golden` writes bundles/*/plan.txt anew; a unit test compares."""

from __future__ import annotations

import os
from pathlib import Path

from crate_runc import config, plan
from crate_runc.host import HostFacts

BUNDLES = Path(__file__).parent.parent / "bundles"
_OPTIONS = {"terminal": {"console_socket": "/run/user/1000/console.sock", "detach": True}}


def facts_for(name: str) -> HostFacts:
    """A host that is the same everywhere: cgroup v2, and for a bundle of an ordinary user, the user 1000."""
    user = 1000 if name == "rootless" else 0
    return HostFacts(euid=user, egid=user, cgroup_mode="v2", kernel=(6, 1), last_capability=40)


def render(name: str) -> str:
    bundle = config.load(os.path.join(BUNDLES, name))
    options = plan.Options(container_id="example", **_OPTIONS.get(name, {}))  # type: ignore[arg-type]
    return plan.make(bundle, facts_for(name), options).render()


def names() -> list[str]:
    return sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())


if __name__ == "__main__":
    for each in names():
        (BUNDLES / each / "plan.txt").write_text(render(each), encoding="utf-8")
