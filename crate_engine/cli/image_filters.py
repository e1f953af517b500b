"""`--filter` of the commands about images: dangling, reference, label, before, since and until, as docker understands them.

Several values of one key are alternatives, but for labels, which an image must have all of; different keys must all hold.
"""

from __future__ import annotations

import re

from crate_engine.cli import render
from crate_engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from crate_engine.reference import Reference

    class Listed(Protocol):
        """What an image shows in a list."""

        @property
        def id(self) -> str: ...
        @property
        def names(self) -> tuple[Reference, ...]: ...
        @property
        def repo_digests(self) -> tuple[Reference, ...]: ...
        @property
        def created(self) -> str: ...


KEYS = ("dangling", "reference", "label", "label!", "before", "since", "after", "until")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|us|µs|ns|s))+", re.ASCII)
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|us|µs|ns|s)")
_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class ImageFilter:
    """Raises UsageError for a key or a value that is none; `created` and `labels` are asked when a filter needs them."""

    def __init__(
        self,
        texts: Iterable[str],
        *,
        now: float,
        created: Callable[[str], str],
        labels: Callable[[Listed], dict[str, str]],
    ) -> None:
        """`created` tells when the image of a name was made, and raises ImageNotFound."""
        values: dict[str, list[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or key not in KEYS:
                known = ", ".join(f"{name}=" for name in KEYS if name != "label!")
                raise UsageError(
                    f'filter images: invalid filter "{key}"' + ("" if equals else ": it needs a value"), hint=f"there are {known}"
                )
            values.setdefault(key, []).append(value)
        self._labels = labels
        self._dangling = _switch(values.get("dangling", []))
        self._patterns = [_pattern(text) for text in values.get("reference", [])]
        self._wanted, self._unwanted = values.get("label", []), values.get("label!", [])
        earlier = [moment(created(name)) for name in values.get("before", [])]
        self._before = min([*earlier, *(_until(text, now) for text in values.get("until", []))], default=None)
        self._after = max([moment(created(name)) for name in values.get("since", []) + values.get("after", [])], default=None)

    def __call__(self, image: Listed) -> bool:
        """Whether an image is meant, by whichever of its names."""
        if self._dangling is not None and any(name.tag for name in image.names) == self._dangling:
            return False
        if self._patterns and not any(map(self.shows, (*image.names, *image.repo_digests))):
            return False
        made = moment(image.created)
        if (self._before is not None and made >= self._before) or (self._after is not None and made <= self._after):
            return False
        return not (self._wanted or self._unwanted) or self._labelled(self._labels(image))

    def shows(self, name: Reference) -> bool:
        """Whether one name of an image is meant: of a list by reference only those are shown."""
        texts = (name.familiar, name.familiar_name, str(name), name.name)
        return not self._patterns or any(pattern.fullmatch(text) for pattern in self._patterns for text in texts)

    def _labelled(self, labels: dict[str, str]) -> bool:
        return all(_has(labels, text) for text in self._wanted) and not any(_has(labels, text) for text in self._unwanted)


def moment(created: str) -> float:
    """Seconds since 1970; 0 where it is not known, or is no time."""
    try:
        return render.epoch(created) if created else 0
    except ValueError:
        return 0


def _has(labels: dict[str, str], text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _switch(texts: list[str]) -> bool | None:
    for text in texts:
        if text not in _TRUE + _FALSE:
            raise UsageError(f"filter images: dangling={text}: must be true or false")
    return texts[-1] in _TRUE if texts else None


def _pattern(text: str) -> re.Pattern[str]:
    """Go's path.Match: `*` and `?` do not match a slash, `[a-z]` and `[^a-z]` are sets."""
    found, at = "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if character in "*?":
            found += "[^/]" + "*" * (character == "*")
        elif character == "[":
            end = text.find("]", at + 1)
            if end < 0:
                raise UsageError(f"filter images: reference={text}: [ without ]")
            negated = text[at] == "^"
            inner = text[at + negated : end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            found, at = f"{found}[{'^' * negated}{inner}]", end + 1
        else:
            if character == "\\" and at < len(text):
                character, at = text[at], at + 1
            found += re.escape(character)
    try:
        return re.compile(found)
    except re.error as error:
        raise UsageError(f"filter images: reference={text}: {error}") from None


def _until(text: str, now: float) -> float:
    """A duration (`24h`, `1h30m`), seconds since 1970, or a time of RFC 3339, which may lack its end; local where it names no zone."""
    if _DURATION.fullmatch(text):
        return now - sum(float(count) * _SECONDS[unit] for count, unit in _PIECE.findall(text))
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    match = _TIME.fullmatch(text)
    try:
        if match:
            whole = f"{match[1]}T{match[2] or '00:00'}{match[3] or ':00'}"
            return render.epoch(whole + match[4]) if match[4] else render.epoch(f"{whole}Z") + _behind_utc(whole)
    except ValueError:
        pass
    raise UsageError(
        f"filter images: until={text}: is no time and no duration", hint="as 24h, 1h30m, 2026-01-31 or 2026-01-31T12:00:00Z"
    )


def _behind_utc(local: str) -> float:
    """Seconds to add to a local time read as UTC."""
    import time

    parsed = time.strptime(local[:19], "%Y-%m-%dT%H:%M:%S")
    return time.mktime(parsed) - render.epoch(f"{local[:19]}Z")
