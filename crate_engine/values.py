"""`dataclass(frozen=True, slots=True)` for modules on the way to a running container: the same classes, defined without generated code.

Importing the standard module and letting it write the twenty values of a `crate run` takes longer than the kernel needs for the container: it
compiles source text for each, and imports `inspect`. Type checkers see the standard module, and its functions (`replace`, `asdict`, `fields`)
work on these values. Not here: inheritance, `InitVar`, `ClassVar`, ordering, mutable values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, fields, replace
else:
    _MISSING = object()

    class _Field:
        __slots__ = ("default", "default_factory", "hash", "name")

        def __init__(self, default, default_factory, hashed):
            self.name = ""
            self.default = default
            self.default_factory = default_factory
            self.hash = hashed

    def field(*, default=_MISSING, default_factory=_MISSING, hash=True):
        return _Field(default, default_factory, hash is not False)

    def dataclass(*, frozen, slots, kw_only=False):
        """Both must be True: they are written so that type checkers, and readers, see what they get."""
        if not (frozen and slots):
            raise TypeError("only frozen values with slots are made here")
        return lambda cls: _build(cls, kw_only)

    def replace(value, **changes):
        return type(value)(**{name: getattr(value, name) for name in type(value).__slots__} | changes)

    def fields(value):
        """Objects with a `name`, in order."""
        return type(value)._value_fields if not isinstance(value, type) else value._value_fields

    def asdict(value):
        """One level deep, which is enough for values of plain values."""
        return {name: getattr(value, name) for name in type(value).__slots__}

    def _build(cls, kw_only):
        body = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
        described = []
        for name in cls.__annotations__:
            given = body.pop(name, _MISSING)
            one = given if isinstance(given, _Field) else _Field(given, _MISSING, True)
            one.name = name
            described.append(one)
        names = tuple(one.name for one in described)
        for name, method in _METHODS.items():
            body.setdefault(name, method)
        body |= {
            "__slots__": names,
            "__match_args__": () if kw_only else names,
            "_value_fields": tuple(described),
            "_value_hashed": tuple(one.name for one in described if one.hash),
            "_value_kw_only": kw_only,
            "__dataclass_fields__": _StandardFields(),
        }
        if body.get("__hash__") is None:
            body["__hash__"] = _hash
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init(self, *arguments, **named):
        cls = type(self)
        positional = () if cls._value_kw_only else cls.__slots__
        if len(arguments) > len(positional):
            raise TypeError(f"{cls.__name__}() takes {len(positional)} positional arguments but {len(arguments)} were given")
        for name, value in zip(positional, arguments, strict=False):
            object.__setattr__(self, name, value)
        for one in cls._value_fields[len(arguments) :]:
            if one.name in named:
                value = named.pop(one.name)
            elif one.default is not _MISSING:
                value = one.default
            elif one.default_factory is not _MISSING:
                value = one.default_factory()
            else:
                raise TypeError(f"{cls.__name__}() missing the argument {one.name!r}")
            object.__setattr__(self, one.name, value)
        if named:
            raise TypeError(f"{cls.__name__}() got an unexpected or repeated argument {next(iter(named))!r}")
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    def _repr(self):
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in type(self).__slots__)})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).__slots__)

    def _hash(self):
        return hash(tuple(getattr(self, name) for name in type(self)._value_hashed))

    def _setattr(self, name, value):
        raise AttributeError(f"cannot assign to field {name!r}")

    def _delattr(self, name):
        raise AttributeError(f"cannot delete field {name!r}")

    def _getstate(self):
        return [getattr(self, name) for name in type(self).__slots__]

    def _setstate(self, state):
        for name, value in zip(type(self).__slots__, state, strict=True):
            object.__setattr__(self, name, value)

    _METHODS = {
        "__init__": _init,
        "__repr__": _repr,
        "__eq__": _eq,
        "__setattr__": _setattr,
        "__delattr__": _delattr,
        "__getstate__": _getstate,
        "__setstate__": _setstate,
    }

    class _StandardFields:
        """`__dataclass_fields__`, made when the standard module asks: by it the module knows its own."""

        def __get__(self, instance, owner):
            import dataclasses

            described = []
            for one in owner._value_fields:
                given = {"default": one.default} if one.default is not _MISSING else {}
                if one.default_factory is not _MISSING:
                    given["default_factory"] = one.default_factory
                described.append(
                    (one.name, owner.__annotations__[one.name], dataclasses.field(**given, hash=None if one.hash else False))
                )
            model = dataclasses.make_dataclass(owner.__name__, described, frozen=True, kw_only=owner._value_kw_only)
            return model.__dataclass_fields__


__all__ = ["asdict", "dataclass", "field", "fields", "replace"]
