"""linux.resources.devices: one ordered list of rules → writes for the devices controller of v1, or a program for v2. Pure.

OCI runtime-spec 1.3 config-linux.md, "Allowed Device list": the last rule that fits decides. A container starts with every device denied,
and may always use those that it gets by default. The two kernels' forms: cgroup-v1/devices.rst, and bpf(2) with
BPF_PROG_TYPE_CGROUP_DEVICE.
"""

from __future__ import annotations

from crate_runc.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rule = dict[str, Any]

ANY = -1
DENY_ALL: Rule = {"allow": False, "access": "rwm"}


def _allow(kind: str, major: int, minor: int, access: str = "rwm") -> Rule:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


# mknod of any node does no harm without the right to open it, and package installers do it.
ALWAYS = (
    _allow("c", ANY, ANY, "m"),
    _allow("b", ANY, ANY, "m"),
    _allow("c", 1, 3),  # null
    _allow("c", 1, 5),  # zero
    _allow("c", 1, 7),  # full
    _allow("c", 1, 8),  # random
    _allow("c", 1, 9),  # urandom
    _allow("c", 5, 0),  # tty
    _allow("c", 5, 2),  # ptmx
    _allow("c", 136, ANY),  # pts/*
)


def effective(resources: dict[str, Any]) -> list[Rule]:
    """All rules in order, filled in: `type`, `major`, `minor` and `access` are always there."""
    rules = [DENY_ALL, *resources.get("devices", ()), *ALWAYS]
    return [
        {
            "allow": rule["allow"],
            "type": rule.get("type", "a"),
            "major": rule.get("major", ANY),
            "minor": rule.get("minor", ANY),
            "access": rule.get("access") or "rwm",
        }
        for rule in rules
    ]


def describe(resources: dict[str, Any]) -> str:
    rules = [_text(rule) for rule in resources.get("devices", ())]
    own = rules if rules[:1] == ["deny all"] else ["deny all", *rules]
    return f"devices: {', '.join(own)}, allow the default ones"


def _text(rule: Rule) -> str:
    full = {"type": "a", "major": ANY, "minor": ANY, "access": "rwm", **rule}
    which = "all" if full["type"] == "a" else _line((full["type"], full["major"], full["minor"]), set())
    letters = "" if full["access"] == "rwm" else f" {full['access']}"
    return f"{'allow' if full['allow'] else 'deny'} {which}{letters}".strip()


def writes_v1(rules: list[Rule]) -> list[tuple[str, str]]:
    """(file, line) in order. v1 keeps a default and exact exceptions: a rule that would cut a piece out of another has no form there."""
    default_allows = True
    exceptions: dict[tuple[str, int, int], set[str]] = {}
    for index, rule in enumerate(rules):
        access = set(rule["access"])
        if rule["type"] == "a":
            if access == set("rwm") and rule["major"] == rule["minor"] == ANY:
                default_allows, exceptions = rule["allow"], {}
                continue
            keys = [("b", rule["major"], rule["minor"]), ("c", rule["major"], rule["minor"])]
        else:
            keys = [(rule["type"], rule["major"], rule["minor"])]
        for key in keys:
            if rule["allow"] != default_allows:
                exceptions.setdefault(key, set()).update(access)
                continue
            for other, letters in exceptions.items():
                if other != key and _meet(other, key) and letters & access and not _covers(key, other):
                    raise Unsupported(
                        f"linux.resources.devices[{index - 1}]", "cgroup v1 cannot express this rule after the earlier ones"
                    )
            for other in [other for other in exceptions if _covers(key, other)]:
                exceptions[other] -= access
    file = "devices.deny" if default_allows else "devices.allow"
    first = ("devices.allow" if default_allows else "devices.deny", "a")
    return [first, *((file, _line(key, letters)) for key, letters in exceptions.items() if letters)]


def changes_v1(before: list[Rule], after: list[Rule]) -> list[tuple[str, str]]:
    """From what `writes_v1(before)` made to `after`: only the exceptions that differ are written, so that what is allowed by both stays so."""
    (first, *old), (wanted_first, *new) = writes_v1(before), writes_v1(after)
    if first != wanted_first:
        return [wanted_first, *new]
    if first[0] == "devices.allow":
        add, remove = "devices.deny", "devices.allow"
    else:
        add, remove = "devices.allow", "devices.deny"
    had, want = ({line.rpartition(" ")[0]: set(line.rpartition(" ")[2]) for _, line in lines} for lines in (old, new))
    changes = []
    for file, one, other in ((remove, had, want), (add, want, had)):
        for which, letters in one.items():
            differing = letters - other.get(which, set())
            if differing:
                changes.append((file, f"{which} {''.join(letter for letter in 'rwm' if letter in differing)}"))
    return changes


def _meet(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and all(a == b or ANY in (a, b) for a, b in zip(one[1:], other[1:], strict=True))


def _covers(wide: tuple[str, int, int], narrow: tuple[str, int, int]) -> bool:
    return wide[0] == narrow[0] and all(w in (ANY, n) for w, n in zip(wide[1:], narrow[1:], strict=True))


def _line(key: tuple[str, int, int], letters: set[str]) -> str:
    kind, major, minor = key
    numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
    return f"{kind} {numbers} {''.join(letter for letter in 'rwm' if letter in letters)}".strip()


# The program: r2 kind, r3 wanted access bits not yet granted, r4 major, r5 minor. Rules are tried from the last to the first; one
# that fits and denies a wanted bit ends in 0, one that allows takes its bits away, and when none are left the end is 1.
_LOAD_WORD, _AND, _RIGHT, _MOVE, _JUMP_NE, _JUMP_SET, _EXIT = 0x61, 0x54, 0x74, 0xB4, 0x56, 0x46, 0x95
_KINDS = {"b": 1, "c": 2}
_BITS = {"m": 1, "r": 2, "w": 4}


def program(rules: list[Rule]) -> bytes:
    """eBPF instructions for BPF_PROG_TYPE_CGROUP_DEVICE; the context is {u32 access << 16 | kind; u32 major; u32 minor}."""
    code = [
        _instruction(_LOAD_WORD, 2, source=1, offset=0),
        _instruction(_AND, 2, value=0xFFFF),
        _instruction(_LOAD_WORD, 3, source=1, offset=0),
        _instruction(_RIGHT, 3, value=16),
        _instruction(_LOAD_WORD, 4, source=1, offset=4),
        _instruction(_LOAD_WORD, 5, source=1, offset=8),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
        if rule["type"] == "a" and set(rule["access"]) == set("rwm") and rule["major"] == rule["minor"] == ANY:
            break  # it decides whatever is left; the verifier refuses code that nothing reaches
    return b"".join([*code, *_end(0)])


def _rule(rule: Rule) -> list[bytes]:
    bits = sum(_BITS[letter] for letter in set(rule["access"]))
    if rule["allow"]:
        action = [_instruction(_AND, 3, value=~bits & 7), _instruction(_JUMP_NE, 3, offset=2, value=0), *_end(1)]
    else:
        action = [_instruction(_JUMP_SET, 3, offset=1, value=bits), _jump(2), *_end(0)]
    tests = []
    for register, wanted in ((2, _KINDS.get(rule["type"], ANY)), (4, rule["major"]), (5, rule["minor"])):
        if wanted != ANY:
            tests.append((register, wanted))
    body = len(action)
    return [
        *(
            _instruction(_JUMP_NE, register, offset=body + len(tests) - 1 - at, value=wanted)
            for at, (register, wanted) in enumerate(tests)
        ),
        *action,
    ]


def _end(result: int) -> list[bytes]:
    return [_instruction(_MOVE, 0, value=result), _instruction(_EXIT, 0)]


def _jump(offset: int) -> bytes:
    return _instruction(0x05, 0, offset=offset)


def _instruction(code: int, target: int, *, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    registers = target | source << 4
    return bytes((code, registers)) + offset.to_bytes(2, "little", signed=True) + (value & 0xFFFFFFFF).to_bytes(4, "little")
