"""linux.sysctl: written through a procfs of this process's own before the root switch; the kernel applies them to the caller's namespaces.

rules/sysctl has refused every key that is not of a namespace that the container has of its own or joins; whether one that it joins is the host's is
found out here.
"""

from __future__ import annotations

import os

from crate_runc.errors import BundleError, StepError
from crate_runc.kernel import namespaces, procfs
from crate_runc.steps.step import ChildStep, namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config


def plan(config: Config) -> list[ChildStep]:
    parameters = config.get("linux", {}).get("sysctl", {})
    return [Sysctls(parameters)] if parameters else []


def check_namespaces(config: Config) -> None:
    """In the parent, before anything is made: raises BundleError for a parameter of a namespace that is joined and is the runtime's own."""
    from crate_runc.rules.shapes import member
    from crate_runc.rules.sysctl import namespace_of

    paths = namespace_paths(config)
    for name in config.get("linux", {}).get("sysctl", {}):
        kind = namespace_of(name)
        if paths.get(kind) and _is_own(kind, paths[kind]):
            what = f"sysctl {name} not allowed in host {kind} namespace"
            raise BundleError(member("linux.sysctl", name), f"{what}: {paths[kind]} is the runtime's own")


def _is_own(kind: str, path: str) -> bool:
    own = f"/proc/self/ns/{'net' if kind == 'network' else kind}"
    try:
        return os.path.samestat(os.stat(own), os.stat(path))
    except OSError:
        return False  # there is no such namespace, which joining it will tell


class Sysctls(ChildStep):
    __slots__ = ("parameters",)

    def __init__(self, parameters: dict[str, str]) -> None:
        self.parameters = parameters

    def describe(self) -> str:
        return f"set sysctl {', '.join(f'{key} = {value}' for key, value in self.parameters.items())}"

    def apply(self, child: ChildContext) -> None:
        root = procfs.open_root(whole=True)
        try:
            for key, value in self.parameters.items():
                try:
                    if file_of(key) == "kernel/domainname":  # its file belongs to the host's root, also in a user namespace
                        namespaces.set_domainname(value)
                    else:
                        procfs.write(root, f"sys/{file_of(key)}", value.encode())
                except OSError as error:
                    raise StepError("sysctl", error.errno or 0, f"set sysctl {key}: {(error.strerror or '').lower()}") from None
        finally:
            os.close(root)


def file_of(key: str) -> str:
    """`net.ipv4.ip_forward` and `net/ipv4/ip_forward` alike; in the second form a dot belongs to a name (`net/ipv4/conf/eth0.1/…`)."""
    dot, slash = key.find("."), key.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return "/".join(part.replace("/", ".") for part in key.split("."))
