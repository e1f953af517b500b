"""Device rules: the writes for v1 and the program for v2 must decide as the spec's ordered list does.

The three are compared over many lists of rules and many devices: `decide` is the list read backwards, `run` is a small machine for the
instructions that the program uses, `v1` is the kernel's rule of a default with exceptions.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from crate_runc.cgroup import device_rules
from crate_runc.cgroup.device_rules import ANY, effective, program, writes_v1
from crate_runc.errors import Unsupported

KINDS = {"b": 1, "c": 2}
BITS = {"m": 1, "r": 2, "w": 4}


def decide(rules: list[dict[str, Any]], kind: str, major: int, minor: int, access: str) -> bool:
    def one(letter: str) -> bool:
        for rule in reversed(rules):
            fits = rule["type"] in ("a", kind) and rule["major"] in (ANY, major) and rule["minor"] in (ANY, minor)
            if fits and letter in rule["access"]:
                return bool(rule["allow"])
        return False

    return all(one(letter) for letter in access)


def run(code: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    context = struct.pack("<III", sum(BITS[letter] for letter in access) << 16 | KINDS[kind], major, minor)
    instructions = [struct.unpack_from("<BBhI", code, at) for at in range(0, len(code), 8)]
    registers = [0] * 11
    at = 0
    while True:
        operation, pair, offset, value = instructions[at]
        target, source = pair & 15, pair >> 4
        at += 1
        if operation == 0x61:
            assert source == 1
            registers[target] = int.from_bytes(context[offset : offset + 4], "little")
        elif operation == 0x54:
            registers[target] &= value
        elif operation == 0x74:
            registers[target] >>= value
        elif operation == 0xB4:
            registers[target] = value
        elif operation == 0x56:
            at += offset if registers[target] != value else 0
        elif operation == 0x46:
            at += offset if registers[target] & value else 0
        elif operation == 0x05:
            at += offset
        elif operation == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"unknown instruction {operation:#x}")


def v1(lines: list[tuple[str, str]], kind: str, major: int, minor: int, access: str) -> bool:
    (first, everything), *rest = lines
    assert everything == "a"
    default = first == "devices.allow"
    for file, line in rest:
        assert (file == "devices.deny") == default
        which, numbers, letters = line.split()
        wanted = numbers.split(":")
        fits = which == kind and wanted[0] in ("*", str(major)) and wanted[1] in ("*", str(minor))
        if not default and fits and set(access) <= set(letters):
            return True
        if default and fits and set(access) & set(letters):
            return False
    return default


def random_rule(choose: random.Random) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": choose.random() < 0.5, "access": "".join(choose.sample("rwm", choose.randint(1, 3)))}
    if choose.random() < 0.85:
        rule["type"] = choose.choice("abc")
    if choose.random() < 0.7 and rule.get("type", "a") != "a":
        rule["major"] = choose.choice((1, 5, 10))
        if choose.random() < 0.7:
            rule["minor"] = choose.choice((0, 3, 200))
    return rule


REQUESTS = [
    (kind, major, minor, access)
    for kind in "bc"
    for major in (1, 5, 10, 99)
    for minor in (0, 3, 200)
    for access in ("r", "w", "m", "rw")
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_program_and_list_agree(seed: int) -> None:
    choose = random.Random(seed)
    rules = effective({"devices": [random_rule(choose) for _ in range(choose.randint(0, 6))]})
    code = program(rules)
    assert [run(code, *request) for request in REQUESTS] == [decide(rules, *request) for request in REQUESTS]


def test_v1_and_list_agree_wherever_v1_can_say_it() -> None:
    told = refused = 0
    for seed in range(300):
        choose = random.Random(seed)
        rules = effective({"devices": [random_rule(choose) for _ in range(choose.randint(0, 4))]})
        try:
            lines = writes_v1(rules)
        except Unsupported as error:
            assert error.where.startswith("linux.resources.devices[")
            refused += 1
            continue
        told += 1
        for kind, major, minor, access in REQUESTS:
            for letter in access:
                assert v1(lines, kind, major, minor, letter) == decide(rules, kind, major, minor, letter), (rules, lines)
    assert told > 100
    assert refused > 10


def test_a_container_starts_with_the_default_devices_alone() -> None:
    rules = effective({})
    assert writes_v1(rules)[0] == ("devices.deny", "a")
    for request, allowed in [
        (("c", 1, 3, "rw"), True),
        (("c", 136, 7, "rw"), True),
        (("b", 8, 0, "m"), True),
        (("b", 8, 0, "r"), False),
        (("c", 10, 229, "rw"), False),
        (("c", 1, 1, "r"), False),
    ]:
        assert run(program(rules), *request) is allowed, request


def test_runc_specs_rule_changes_nothing() -> None:
    assert writes_v1(effective({"devices": [{"allow": False, "access": "rwm"}]})) == writes_v1(effective({}))


def test_a_privileged_container_gets_everything() -> None:
    rules = effective({"devices": [{"allow": True, "access": "rwm"}]})
    assert writes_v1(rules) == [("devices.allow", "a")]
    assert run(program(rules), "b", 8, 0, "rwm")


def test_what_v1_cannot_say_names_the_rule() -> None:
    hole = [{"allow": True, "type": "c", "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "rwm"}]
    with pytest.raises(Unsupported, match=r"^linux.resources.devices\[1\]: cgroup v1 cannot express"):
        writes_v1(effective({"devices": hole}))


def test_rules_are_described_in_order() -> None:
    resources = {
        "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]
    }
    assert device_rules.describe(resources) == "devices: deny all, allow c 10:229 rw, allow the default ones"
    assert device_rules.describe({}) == "devices: deny all, allow the default ones"


def applied(lines: list[tuple[str, str]], changes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the kernel keeps after both: `a` forgets all; an allowed or denied letter joins or leaves the exceptions."""
    default = ""
    exceptions: dict[str, set[str]] = {}
    for file, line in [*lines, *changes]:
        if line == "a":
            default, exceptions = file, {}
            continue
        which, letters = line.rsplit(" ", 1)
        kept = exceptions.setdefault(which, set())
        if file == default:
            kept.difference_update(letters)
        else:
            kept.update(letters)
    other = "devices.deny" if default == "devices.allow" else "devices.allow"
    return [(default, "a"), *((other, f"{which} {''.join(sorted(kept))}") for which, kept in exceptions.items() if kept)]


@pytest.mark.parametrize("seed", range(40))
def test_changes_of_v1_end_in_the_new_rules(seed: int) -> None:
    choose = random.Random(seed)
    lists = [[random_rule(choose) for _ in range(choose.randint(0, 4))] for _ in range(2)]
    try:
        before, after = (effective({"devices": rules}) for rules in lists)
        old, new, changes = writes_v1(before), writes_v1(after), device_rules.changes_v1(before, after)
    except Unsupported:
        return
    result = applied(old, changes)
    for request in REQUESTS:
        assert v1(result, *request) == v1(new, *request), (lists, request)


def test_changes_of_v1_touch_only_what_differs() -> None:
    one = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}
    two = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    before, after = effective({"devices": [one]}), effective({"devices": [{**one, "access": "r"}, two]})
    assert device_rules.changes_v1(before, after) == [("devices.deny", "c 10:200 wm"), ("devices.allow", "c 10:229 rw")]
    assert device_rules.changes_v1(before, before) == []
    everything = effective({"devices": [{"allow": True, "access": "rwm"}]})
    assert device_rules.changes_v1(before, everything) == [("devices.allow", "a")]
