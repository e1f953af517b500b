"""All modules of the package in one file, so that loading one of them is one read (importlib, "Finders and loaders").

Python looks for each module with a dozen system calls and as many function calls, which for a start of 20 ms is a fifth. The pack is a cache beside
the .pyc files, made of the sources by the first command that may write there: an entry counts only while its source has the size and time that
it had then. Without a pack, or for a module that has changed, Python's own import does the work.

With its code a module has the names of what it imports at its top. These come first, straight into sys.modules, past the machinery of import, which
takes as long for a module as all the rest. What only readers and type checkers need is not kept: docstrings, annotations, imports for them. Nor are
line numbers: `--debug`, which shows them, does without the pack.
"""

# Without the import that would make the quotes needless: it is a file of its own, to be read at each start.
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    # the source's mtime in ns and size, is it a package; where its content is after the index, and how long
    Entry = tuple[int, int, bool, int, int]
    # what it imports of the package, its code
    Content = tuple[tuple[str, ...], CodeType]

_PACKAGE = __name__.rpartition(".")[0]
_DIRECTORY = os.path.dirname(__file__)
_MAGIC = int.from_bytes(sys.modules["_frozen_importlib_external"].MAGIC_NUMBER[:2], "little")  # the version of the bytecode
_FORMAT = 4
_PATH = f"{_DIRECTORY}/__pycache__/pack.{sys.implementation.cache_tag}-{_MAGIC}-{_FORMAT}"
_LENGTH = 8  # bytes of the length of the index, which comes first
_LIMIT = (1 << 20) - 1
_Spec = type(__spec__) if __spec__ else None  # importlib.machinery, without importing that
_Module = type(sys)


class _Finder:
    """A finder and loader in one, for sys.meta_path."""

    __slots__ = ("_entries", "_fd", "_found", "_start", "is_stale")

    def __init__(self, fd: int, start: int, entries: "dict[str, Entry]") -> None:
        self._fd = fd
        self._start = start
        self._entries = entries
        self._found: dict[str, Content] = {}
        self.is_stale = not entries

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        entry = self._entries.get(name)
        content = self._content(name, entry) if entry else None
        if entry is None or content is None or _Spec is None:
            return None
        self._found[name] = content
        file = _file(name, entry)
        spec = _Spec(name, self, origin=file, is_package=entry[2])  # type: ignore[arg-type]  # the base class is in a module that costs 1 ms
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(file.rpartition("/")[0])
        spec.has_location = True
        return spec

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return None

    def exec_module(self, module: "ModuleType") -> None:
        self._run(module, self._found.pop(module.__name__))

    def _content(self, name: str, entry: "Entry") -> "Content | None":
        """None where the pack does not have it any more."""
        modified, size, _, place, length = entry
        try:
            status = os.stat(_file(name, entry))
            if status.st_mtime_ns == modified and status.st_size == size:
                content: Content = marshal.loads(os.pread(self._fd, length, self._start + place))
                return content
        except (OSError, EOFError, ValueError, TypeError):
            pass
        self.is_stale = True
        return None

    def _run(self, module: "ModuleType", content: "Content") -> None:
        loaded = sys.modules
        imported, code = content
        for name in imported:
            if name not in loaded:
                self._load(name, loaded)
        exec(code, module.__dict__)

    def _load(self, name: str, loaded: "dict[str, ModuleType]") -> None:
        """Where this cannot, the import statement will: it finds what is not in sys.modules yet."""
        entry = self._entries.get(name)
        package, _, own = name.rpartition(".")
        content = self._content(name, entry) if entry and package in loaded else None
        if entry is None or content is None:
            return
        module = loaded[name] = _Module(name)
        module.__file__ = file = _file(name, entry)
        if entry[2]:
            module.__path__ = [file.rpartition("/")[0]]
        setattr(loaded[package], own, module)
        try:
            self._run(module, content)
        except BaseException:
            del loaded[name]
            raise


def _file(name: str, entry: "Entry") -> str:
    return _DIRECTORY + name[len(_PACKAGE) :].replace(".", "/") + ("/__init__.py" if entry[2] else ".py")


_finder: _Finder | None = None


def install() -> None:
    """Read the index of the pack, if there is one, and let it answer for this package's modules. Its descriptor stays open."""
    global _finder
    fd, length, entries = -1, 0, {}
    try:
        fd = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        length = int.from_bytes(os.pread(fd, _LENGTH, 0)[:_LENGTH], "little") & _LIMIT
        entries = marshal.loads(os.pread(fd, length, _LENGTH))
    except (OSError, ValueError, EOFError, TypeError):
        pass
    _finder = _Finder(fd, _LENGTH + length, entries)
    sys.meta_path.insert(0, _finder)


def refresh() -> None:
    """Write the pack anew where it was missing or out of date, if the directory is ours to write; at the end of a command."""
    if _finder is None or not _finder.is_stale or not os.access(os.path.dirname(_PATH), os.W_OK):
        return
    from crate_runc import packing

    temporary = f"{_PATH}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(packing.build(_PACKAGE, _DIRECTORY, _LENGTH))
        os.replace(temporary, _PATH)
    except (OSError, SyntaxError):
        return
