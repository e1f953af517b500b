"""Values behave as those of the standard module do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crate_engine import values

REPOSITORY = Path(__file__).resolve().parents[3]


@values.dataclass(frozen=True, slots=True)
class Ours:
    """A docstring."""

    a: int
    b: str = "b"
    c: tuple[int, ...] = ()
    d: dict[str, int] = values.field(default_factory=dict, hash=False)

    @property
    def double(self) -> int:
        return self.a * 2


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """A docstring."""

    a: int
    b: str = "b"
    c: tuple[int, ...] = ()
    d: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def double(self) -> int:
        return self.a * 2


@values.dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    a: int = 1
    b: int

    def __post_init__(self) -> None:
        if self.b < 0:
            raise ValueError("negative")


BOTH: list[Any] = [Ours, Theirs]


@pytest.mark.parametrize("cls", BOTH)
def test_values_are_made_compared_hashed_and_shown_alike(cls: Any) -> None:
    one = cls(1, c=(2,))
    assert (one.a, one.b, one.c, one.d, one.double) == (1, "b", (2,), {}, 2)
    assert one == cls(1, "b", (2,), {})
    assert one != cls(2)
    assert one != object()
    assert hash(one) == hash(cls(1, c=(2,), d={"x": 1})) == hash((1, "b", (2,)))
    assert repr(one) == f"{cls.__name__}(a=1, b='b', c=(2,), d={{}})"
    assert cls.__doc__ == "A docstring."
    assert cls(1).d is not cls(1).d


@pytest.mark.parametrize("cls", BOTH)
def test_values_do_not_change(cls: Any) -> None:
    one = cls(1)
    for name in ("a", "new"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(one, name, 2)
    with pytest.raises(AttributeError):
        del one.a
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"a": 1}), ((1,), {"x": 1})])
def test_wrong_arguments_are_refused(cls: Any, arguments: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        cls(*arguments, **named)


@pytest.mark.parametrize("cls", BOTH)
def test_the_standard_functions_work(cls: Any) -> None:
    one = cls(1, d={"x": 1})
    for module in (dataclasses, values) if cls is Ours else (dataclasses,):
        assert module.replace(one, a=5) == cls(5, d={"x": 1})
        assert module.asdict(one) == {"a": 1, "b": "b", "c": (), "d": {"x": 1}}
        assert [each.name for each in module.fields(cls)] == ["a", "b", "c", "d"]
    assert dataclasses.is_dataclass(cls)
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert one.__match_args__ == ("a", "b", "c", "d")


def test_named_values_take_no_positions_and_are_checked() -> None:
    assert Named(b=2) == Named(a=1, b=2)
    with pytest.raises(TypeError):
        Named(1, 2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="negative"):
        Named(b=-1)


def test_nothing_expensive_is_imported() -> None:
    script = "import sys; sys.path.append(sys.argv[1]); import crate_engine.options; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(REPOSITORY)], check=True, capture_output=True, text=True
    ).stdout
    assert not {"dataclasses", "inspect", "re", "enum"} & set(loaded.split())
