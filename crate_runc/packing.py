"""Makes the pack that pack.py reads: each module's source, compiled without what is of no use when it runs (ast, compile)."""

from __future__ import annotations
import __future__

import ast
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

    from crate_runc.pack import Entry


def build(package: str, directory: str, length_bytes: int) -> bytes:
    """The bytes of the file: the length of the index in so many bytes, the index, the contents."""
    index: dict[str, Entry] = {}
    contents = b""
    sources = dict(_sources(package, directory))
    for name, path in sources.items():
        status = os.stat(path)
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
        imported = tuple(each for each in dict.fromkeys(_imported(tree)) if each in sources and each != name)
        content = marshal.dumps((imported, _compiled(tree, path)))
        index[name] = (status.st_mtime_ns, status.st_size, path.endswith("/__init__.py"), len(contents), len(content))
        contents += content
    head = marshal.dumps(index)
    return len(head).to_bytes(length_bytes, "little") + head + contents


def _imported(tree: ast.Module) -> Iterator[str]:
    """What the import statements at the top of a module may mean, in their order, a package before what is in it."""
    for statement in tree.body:
        names = []
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names = [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _compiled(tree: ast.Module, path: str) -> CodeType:
    """Without what is of no use when it runs."""

    class Lean(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
            return None if node.module == "__future__" else node

        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return node.orelse
            return self.generic_visit(node)

        def visit_arg(self, node: ast.arg) -> ast.arg:
            node.annotation = None
            return node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            node.returns = None
            return self.generic_visit(node)

        def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
            kept = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
            return ast.copy_location(kept, node)

    flags = __future__.annotations.compiler_flag
    lean = ast.fix_missing_locations(Lean().visit(tree))
    return _without_lines(compile(lean, path, "exec", flags, dont_inherit=True, optimize=2))


def _without_lines(code: CodeType) -> CodeType:
    """A quarter of all bytes says which instruction stems from which line."""
    constants = tuple([_without_lines(each) if isinstance(each, type(code)) else each for each in code.co_consts])
    return code.replace(co_linetable=b"", co_consts=constants)


def _sources(package: str, top: str) -> list[tuple[str, str]]:
    """(module, file) of the package, but for what is run as a script."""
    found = []
    for directory, _, names in os.walk(top):
        for name in names:
            if name.endswith(".py") and name not in ("__main__.py", "sealed.py"):
                path = f"{directory}/{name}"
                module = path[len(top) + 1 : -3].removesuffix("__init__").strip("/").replace("/", ".")
                found.append((f"{package}.{module}" if module else package, path))
    return found
