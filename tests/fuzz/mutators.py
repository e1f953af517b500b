"""New inputs from old ones: bytes of any kind, texts with words of their grammar, JSON documents, tar archives. All chance comes from the generator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]
LONGEST = 1 << 16
_NUMBERS = [0, 1, -1, 2, 127, 128, 255, 256, 511, 512, 513, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32]
_NUMBERS += [2**33 - 1, 2**33, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**19, 10**20, 10**400]


def number(random: Random) -> int:
    return random.choice(_NUMBERS) if random.random() < 0.7 else random.getrandbits(random.choice((3, 8, 16, 32, 64)))


def octets(value: bytes, random: Random, words: Sequence[bytes] = ()) -> bytes:
    """One to four small changes."""
    changed = bytearray(value)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        at = random.randrange(len(changed) + 1)
        size = random.choice((1, 1, 2, 4, 8, 32, 512))
        kind = random.randrange(8 if words else 7)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << random.randrange(8)
        elif kind == 1 and changed:
            changed[at % len(changed)] = random.choice(
                (0, 9, 10, 32, 34, 44, 47, 58, 61, 92, 127, 128, 255, random.randrange(256))
            )
        elif kind == 2:
            changed[at:at] = random.randbytes(size)
        elif kind == 3:
            del changed[at : at + size]
        elif kind == 4:
            changed[at:at] = changed[(start := random.randrange(len(changed) + 1)) : start + size]
        elif kind == 5:
            _renumber(changed, random)
        elif kind == 6 and random.random() < 0.2:
            del changed[at:]
        elif words:
            changed[at : at + random.choice((0, 0, size))] = random.choice(words)
    return bytes(changed[:LONGEST])


def _renumber(changed: bytearray, random: Random) -> None:
    found = list(re.finditer(rb"-?[0-9]{1,20}", changed))
    if found:
        match = random.choice(found)
        changed[match.start() : match.end()] = str(number(random)).encode()


def text(words: Sequence[str], most: int = 4096) -> Mutator:
    """For grammars of one line: changes with the words of the grammar."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]

    def mutate(value: bytes, random: Random) -> bytes:
        if random.random() < 0.1:
            return b"".join(random.choices(encoded, k=random.randrange(1, 9)))
        changed = octets(value, random, encoded)
        if random.random() < 0.02:
            changed *= random.choice((2, 16, 256))
        return changed[:most]

    return mutate


# JSON

_TEXTS = [
    "",
    " ",
    "x",
    "/",
    "a=b",
    "=",
    "\0",
    "\n",
    "é",
    "\ud800",
    "ｋ",
    "\u212a",
    "../../x",
    "x" * 300,
    "x" * 5000,
    "\x1b[31m",
    "true",
]


def _leaf(random: Random, words: Sequence[str]) -> Any:
    kind = random.randrange(9)
    if kind < 3:
        return random.choice(words) if words and kind else random.choice(_TEXTS)
    return (None, random.random() < 0.5, number(random), random.choice((0.5, -0.0, 1e300, 1e-9)), [], {})[kind - 3]


def _nested(random: Random, words: Sequence[str]) -> Any:
    value = _leaf(random, words)
    for _ in range(random.choice((1, 2, 30, 31, 32, 33, 200))):
        value = [value] if random.random() < 0.5 else {"x": value}
    return value


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container with a key of it."""
    found: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        node = stack.pop()
        inner: list[tuple[Any, Any]] = list(
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        )
        found += [(node, key) for key, _ in inner]
        stack += [value for _, value in inner]
    return found


def _change(document: Any, random: Random, words: Sequence[str]) -> None:
    places = _places(document)
    if not places:
        return
    node, key = random.choice(places)
    kind = random.randrange(9)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[key] = _nested(random, words)
    elif kind == 2:
        other, name = random.choice(places)
        node[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
    elif kind == 3 and isinstance(node, list):
        node += node[key : key + 1] * random.choice((1, 2, 20, 600))
    elif kind == 4 and isinstance(node, dict):
        node[_recased(key, random)] = node.pop(key) if random.random() < 0.5 else node[key]
    elif kind == 5 and isinstance(node, dict) and words:
        node[random.choice(words)] = _leaf(random, words)
    elif kind == 6 and isinstance(node[key], str):
        mutated = octets(node[key].encode("utf-8", "surrogatepass"), random, [word.encode("utf-8", "replace") for word in words])
        node[key] = mutated.decode("utf-8", "replace")
    else:
        node[key] = _leaf(random, words)


def _recased(name: str, random: Random) -> str:
    return random.choice(
        (name.upper(), name.lower(), name.title(), name + " ", name.replace("s", "ſ"), name.replace("k", "\u212a"))
    )


def json_document(words: Sequence[str]) -> Mutator:
    """`words` are names and texts that mean something to the reader."""
    encoded = [json.dumps(word).encode() for word in words] + [
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"NaN",
        b"\xef\xbb\xbf",
        b"\\u0000",
    ]

    def mutate(value: bytes, random: Random) -> bytes:
        if random.random() < 0.15:
            return octets(value, random, encoded)
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return octets(value, random, encoded)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            _change(document, random, words)
        try:
            return json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")[:LONGEST]
        except (ValueError, RecursionError):
            return value

    return mutate


def headed(first: Sequence[bytes], rest: Mutator) -> Mutator:
    """An input of two parts: a line, mostly one of `first`, and a document."""

    def mutate(value: bytes, random: Random) -> bytes:
        head, _, document = value.partition(b"\n")
        if random.random() < 0.15:
            head = random.choice(first) if random.random() < 0.8 else octets(head, random, first).replace(b"\n", b"")
        else:
            document = rest(document, random)
        return head + b"\n" + document

    return mutate
