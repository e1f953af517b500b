"""The corpus of broken config.json documents in tests/broken: what each changes in a good one, and the one line that it must be answered with.

An entry has one of `text` (the whole file), `bytes` (the same, hexadecimal), `set` (JSON path: value) or `remove` (a JSON path); paths are
written as errors write them, and `[+]` appends to a list. In an error `{bundle}` stands for the path of the bundle, `{id}` for the container.
`only` names the hosts on which the line is this one.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.support import host

DIRECTORY = Path(__file__).parent.parent / "broken"
_HOSTS = {
    "cgroup v1": lambda: host.cgroup_mode() != "v2",
    "no AppArmor": lambda: not Path("/sys/kernel/security/apparmor").exists(),
    "no SELinux": lambda: not Path("/sys/fs/selinux/enforce").exists(),
    "no resctrl": lambda: not Path("/sys/fs/resctrl/schemata").exists(),
}
_WORD = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+|\+)\]")


def names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"))
    return [entry for entry in entries if "only" not in entry or _HOSTS[entry["only"]]()]


def document(entry: dict[str, Any], good: dict[str, Any]) -> bytes:
    """The content of config.json. `good` is not changed."""
    if "text" in entry:
        return str(entry["text"]).encode()
    if "bytes" in entry:
        return bytes.fromhex(entry["bytes"])
    config = copy.deepcopy(good)
    for path, value in entry.get("set", {}).items():
        _set(config, _words(path), value)
    if "remove" in entry:
        *way, last = _words(entry["remove"])
        del _follow(config, way)[last]
    return json.dumps(config).encode()


def _words(path: str) -> list[Any]:
    words: list[Any] = []
    at = 0
    while at < len(path):
        match = _WORD.match(path, at)
        assert match, f"not a JSON path: {path!r}"
        words.append(match[1] if match[1] else "+" if match[2] == "+" else int(match[2]))
        at = match.end()
    return words


def _follow(value: Any, way: list[Any]) -> Any:
    for word in way:
        value = value.setdefault(word, {}) if isinstance(value, dict) else value[word]
    return value


def _set(config: dict[str, Any], words: list[Any], value: Any) -> None:
    place = _follow(config, words[:-1])
    if words[-1] == "+":
        place.append(value)
    else:
        place[words[-1]] = value


def describe(entry: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in entry.items() if key not in ("error", "only")}, ensure_ascii=False)
