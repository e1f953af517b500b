"""Who may import whom, and which modules must stay pure: the rules of ARCHITECTURE.md, read from the source with ast.

Imports of types (below `if TYPE_CHECKING:`) are not counted: they never run.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("crate_runc", "crate_engine")
STANDARD_LIBRARY = sys.stdlib_module_names
ONLY_IN = {
    "requests": ("crate_engine/registry/transport.py",),
    "urllib3": ("crate_engine/registry/transport.py",),
    "certifi": ("crate_engine/registry/trust.py",),
    "typer": ("crate_engine/cli/app.py",),
    "jsonschema": ("crate_engine/validate.py", "crate_runc/check.py"),
    "yaml": ("crate_engine/settings.py",),
    "rich": ("crate_engine/cli/progress.py",),
    "isal": ("crate_engine/layers/decompress.py",),
    "compression": ("crate_engine/layers/decompress.py",),
    "backports": ("crate_engine/layers/decompress.py",),
}
"""Packages that are not in the standard library of every Python that is supported, each behind one door."""
LAZY_MODULES = frozenset(("crate_engine/cli/app.py",))
"""Built on its package as a whole; who imports the module does so in a function."""

COSTLY = frozenset(
    (
        "typing",
        "dataclasses",
        "argparse",
        "pathlib",
        "subprocess",
        "logging",
        "tempfile",
        "re",
        "enum",
        "json",
        "collections",
        "functools",
    )
)
"""Too dear for the path of a container's start: 5 to 17 ms each, with what they bring along."""
CHEAP_PACKAGES = ("crate_runc/", "crate_engine/monitor/", "crate_engine/system/")
MAY_BE_COSTLY = frozenset(("crate_runc/check.py", "crate_runc/features.py"))

PURE = (
    "crate_engine/oci/",
    "crate_engine/reference.py",
    "crate_engine/layers/entries.py",
    "crate_engine/bundle/spec.py",
    "crate_engine/bundle/defaults.py",
    "crate_engine/network/plan.py",
    "crate_engine/runtime/command.py",
    "crate_runc/plan.py",
    "crate_runc/state/record.py",
    "crate_runc/cgroup/paths.py",
    "crate_runc/cgroup/resources.py",
)
"""Open no file and make no kernel call."""
EFFECTS = frozenset(
    f"os.{name}"
    for name in (
        *(
            "open",
            "mkdir",
            "makedirs",
            "unlink",
            "remove",
            "rename",
            "replace",
            "rmdir",
            "symlink",
            "link",
            "chmod",
            "chown",
            "lchown",
        ),
        *(
            "stat",
            "lstat",
            "listdir",
            "scandir",
            "walk",
            "readlink",
            "kill",
            "fork",
            "posix_spawn",
            "execve",
            "system",
            "mkfifo",
            "mknod",
        ),
        *(
            "setxattr",
            "getxattr",
            "umask",
            "setuid",
            "setgid",
            "setgroups",
            "write",
            "read",
            "pipe",
            "chdir",
            "utime",
            "truncate",
        ),
    )
)
EFFECT_MODULES = frozenset(
    ("socket", "_socket", "subprocess", "ctypes", "fcntl", "shutil", "tempfile", "mmap", "select", "signal", "requests")
)
OCI_WORDS = frozenset(("bundle", "rootfs", "hook", "hooks", "oci", "runtime_spec", "image", "manifest", "config_json"))


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    at_top: bool
    """Runs when the module is imported, not only when a function is called."""


def modules() -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for package in PACKAGES for path in sorted((CHECKOUT / package).rglob("*.py"))]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse((CHECKOUT / module).read_text(), module)


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(tree(module).body, module, at_top=True))


def _imports(body: list[ast.stmt], module: str, *, at_top: bool) -> Iterator[Import]:
    for node in body:
        if is_for_types(node):
            assert isinstance(node, ast.If)
            yield from _imports(node.orelse, module, at_top=at_top)
        elif isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            assert node.module is not None
            # `from crate_runc import cgroup` imports a module, `from os import path` a name: naming both is right for the rules
            yield Import(node.module, node.lineno, at_top)
            if node.module.partition(".")[0] in PACKAGES:
                yield from (Import(f"{node.module}.{alias.name}", node.lineno, at_top) for alias in node.names)
        else:
            inside = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, field, []), module, at_top=inside)
            for part in getattr(node, "handlers", []):
                yield from _imports(part.body, module, at_top=inside)


def violations(module: str, wrong: set[str], why: str) -> list[str]:
    """Where a module imports one of these packages, or a module of one."""
    return [f"{module}:{one.line}: {one.module}: {why}" for one in imports(module) if one.module.partition(".")[0] in wrong]


def test_there_are_modules_to_check() -> None:
    assert len(modules()) > 50


@pytest.mark.parametrize(("package", "other"), [PACKAGES, PACKAGES[::-1]])
def test_packages_do_not_import_each_other(package: str, other: str) -> None:
    found = [text for module in modules() if module.startswith(package) for text in violations(module, {other}, "two programs")]
    assert not found


def test_runtime_monitor_and_system_use_the_standard_library_alone() -> None:
    found = []
    for module in modules():
        if not module.startswith(CHEAP_PACKAGES) or module == "crate_runc/check.py":
            continue
        own = module.partition("/")[0]
        tops = {one.module.partition(".")[0] for one in imports(module)}
        found += [f"{module}: {top}" for top in tops - STANDARD_LIBRARY - {own}]
    assert not found


def test_costly_modules_are_not_imported_where_containers_start() -> None:
    found = [
        f"{module}:{one.line}: {one.module}"
        for module in modules()
        if module.startswith(CHEAP_PACKAGES) and module not in MAY_BE_COSTLY
        for one in imports(module)
        if one.at_top and one.module.partition(".")[0] in COSTLY and not one.module.startswith("collections.abc")
    ]
    assert not found


def test_third_party_packages_have_one_door_each() -> None:
    found = []
    for module in modules():
        own = {"crate_runc", "crate_engine"}
        for one in imports(module):
            top = one.module.partition(".")[0]
            if top in STANDARD_LIBRARY or top in own:
                continue
            if module not in ONLY_IN.get(top, ()):
                found.append(f"{module}:{one.line}: {one.module}")
            elif one.at_top and module not in LAZY_MODULES:
                found.append(f"{module}:{one.line}: {one.module} is imported outside of a function")
    assert not found


def test_lazy_modules_are_imported_in_functions() -> None:
    lazy = {module.removesuffix(".py").replace("/", ".") for module in LAZY_MODULES}
    assert not [f"{module}:{one.line}" for module in modules() for one in imports(module) if one.module in lazy and one.at_top]


def test_steps_do_not_import_each_other() -> None:
    """Where two sections interact, plan.py says how. step.py is what all of them are made of."""
    found = []
    for module in modules():
        if not module.startswith("crate_runc/steps/"):
            continue
        for one in imports(module):
            name = one.module.removeprefix("crate_runc.steps").lstrip(".").partition(".")[0]
            if one.module.startswith("crate_runc.steps") and name not in ("", "step"):
                found.append(f"{module}:{one.line}: {one.module}")
    assert not found


def test_kernel_wrappers_import_nothing_above_them() -> None:
    for layer in ("crate_runc/kernel/", "crate_engine/system/"):
        package = layer.rstrip("/").replace("/", ".")
        errors = f"{layer.partition('/')[0]}.errors"
        found = [
            f"{module}:{one.line}: {one.module}"
            for module in modules()
            if module.startswith(layer)
            for one in imports(module)
            if one.module.startswith(PACKAGES) and not one.module.startswith((package, errors)) and one.module not in PACKAGES
        ]
        assert not found


def names(module: str) -> set[str]:
    """Every identifier of a module, and its text in lower case words."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return {part for name in found for part in name.lower().split("_")}


def test_kernel_wrappers_know_no_word_of_oci() -> None:
    found = [
        f"{module}: {word}"
        for module in modules()
        if module.startswith("crate_runc/kernel/")
        for word in names(module) & OCI_WORDS
    ]
    assert not found


def effects(module: str) -> list[str]:
    found = [
        f"{module}:{one.line}: imports {one.module}" for one in imports(module) if one.module.partition(".")[0] in EFFECT_MODULES
    ]
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node.func)
        if text == "open" or text in EFFECTS:
            found.append(f"{module}:{node.lineno}: calls {text}")
    return found


def pure_modules() -> list[str]:
    return [module for module in modules() if any(module.startswith(name) for name in PURE)]


def test_pure_modules_have_no_effects() -> None:
    assert len(pure_modules()) >= 10
    assert not [text for module in pure_modules() for text in effects(module)]


def test_pure_modules_import_no_module_that_has_effects() -> None:
    found = [
        f"{module}:{one.line}: {one.module}"
        for module in pure_modules()
        for one in imports(module)
        if one.module.startswith(("crate_runc.kernel", "crate_engine.system", "crate_engine.store."))
    ]
    assert not found


def functions_named(module: str, name: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef) and node.name == name]


def test_plan_functions_have_no_effects() -> None:
    found = []
    planners = 0
    for module in modules():
        if not module.startswith("crate_runc/steps/"):
            continue
        for function in functions_named(module, "plan"):
            planners += 1
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    text = ast.unparse(node.func)
                    if text == "open" or text in EFFECTS or text.split(".")[0] in EFFECT_MODULES:
                        found.append(f"{module}:{node.lineno}: calls {text}")
    assert planners >= 8
    assert not found


def test_only_the_command_lines_print() -> None:
    allowed = (
        "crate_engine/cli/",
        "crate_runc/cli.py",
        "crate_runc/__main__.py",
        "crate_runc/verbs.py",
        "crate_engine/__main__.py",
    )
    found = [
        f"{module}:{node.lineno}"
        for module in modules()
        if not module.startswith(allowed)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not found


def test_modules_say_what_they_are_for() -> None:
    without = [
        module for module in modules() if ast.get_docstring(tree(module)) is None and (CHECKOUT / module).read_text().strip()
    ]
    assert not without


def test_modules_stay_short() -> None:
    long = [
        f"{module}: {lines} lines" for module in modules() if (lines := len((CHECKOUT / module).read_text().splitlines())) > 400
    ]
    assert not long
