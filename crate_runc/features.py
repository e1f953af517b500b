"""What `features` prints: OCI runtime-spec 1.3 features.md and features-linux.md.

It speaks of this program, not of the host, as the spec asks, and is put together from the tables that the rules and planners use, so that it
cannot promise what they do not know. containerd and Docker read it before they use idmapped and recursive read-only mounts.
"""

from __future__ import annotations

from crate_runc import SPEC_VERSION, VERSION
from crate_runc.kernel import capability
from crate_runc.kernel import seccomp as kernel_seccomp
from crate_runc.mounts import options as mount_options
from crate_runc.rules import config as config_rules
from crate_runc.rules import rare as rare_rules
from crate_runc.seccomp import flags, rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# What an annotation of these names changes: properties of the systemd unit; the configuration file of criu. A final dot stands for all that follows.
UNSAFE_ANNOTATIONS = ("org.criu.config", "org.systemd.property.")


def make() -> dict[str, Any]:
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(config_rules.HOOKS),
        "mountOptions": sorted(
            {*mount_options.FLAGS, *mount_options.PROPAGATION, *mount_options.RECURSIVE, *mount_options.EXTENSIONS}
        ),
        "linux": _linux(),
        "annotations": {"io.crate.version": VERSION},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _seccomp() -> dict[str, Any]:
    return {
        "enabled": True,
        "actions": sorted(rules.ACTIONS),
        "operators": sorted(rules.OPERATORS),
        "archs": sorted(rules.ARCHITECTURES),
        "knownFlags": sorted(flags.FLAGS),
        "supportedFlags": sorted(name for name, bit in flags.FLAGS.items() if kernel_seccomp.supports(bit)),
    }


def _linux() -> dict[str, Any]:
    return {
        "namespaces": list(config_rules.NAMESPACES),
        "capabilities": list(capability.NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "memoryPolicy": {"modes": list(rare_rules.MEMORY_MODES), "flags": list(rare_rules.MEMORY_FLAGS)},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "mountExtensions": {"idmap": {"enabled": "idmap" in mount_options.EXTENSIONS}},
        "netDevices": {"enabled": True},
    }
