"""Numbers, choices and switches as they come from callers: NumPy's and PyTorch's scalars become
Python's, other types are refused.

One mechanism for settings (`check_fields`) and for functions (`check_arguments`): the annotations
say what is expected. Nothing here needs NumPy or PyTorch.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from wakesleep.foundation.errors import ConfigError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

EXPECTED = {
    int: "a whole number, e.g. 10",
    float: "a finite number, e.g. 0.1",
    bool: "True or False",
    str: "a string",
    type(None): "None",
}
"""The types that are looked at, in words; whatever else an annotation names is left to the function
that uses it.
"""
CURES = {"Generator": "a torch.Generator, e.g. wakesleep.generator(0)"}
"""Other classes that are looked at, by their names."""


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or PyTorch (an array or tensor without dimensions) as Python's
    number; anything else as it is.
    """
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def whole(name: str, value: Any, least: int | None = None) -> int:
    """Return a whole number as an int.

    Raises:
        ConfigError: it is none, or below `least`.
    """
    number: int = as_kind(name, value, int)
    if least is not None and number < least:
        raise ConfigError(f"{name} = {number}: expected {least} or more")
    return number


def as_kind(name: str, value: Any, kind: Any) -> Any:
    """Return the value of the parameter `name`, once it is seen to be what the annotation `kind`
    says; scalars become Python's.

    Floats take whole numbers, a row of numbers may be any sequence or a one-dimensional array, and
    becomes a tuple.

    Raises:
        ConfigError: it is something else; the message names the parameter, what came and what was
            expected.
    """
    plain_value = plain(value)
    origin = get_origin(kind)
    if origin is Literal:
        if not any(
            type(plain_value) is type(choice) and plain_value == choice for choice in get_args(kind)
        ):
            raise _refusal(name, value, " or ".join(repr(choice) for choice in get_args(kind)))
        return plain_value
    if origin in (Union, types.UnionType):
        return _one_of(name, plain_value, value, get_args(kind))
    if origin in (tuple, Sequence):
        return _row(name, plain_value, value, get_args(kind)[0])
    if kind in EXPECTED:
        if not _is(plain_value, kind):
            raise _refusal(name, value, EXPECTED[kind])
        return plain_value
    if getattr(kind, "__name__", "") in CURES and not isinstance(plain_value, kind):
        raise _refusal(name, value, CURES[kind.__name__])
    if (
        dataclasses.is_dataclass(kind)
        and isinstance(kind, type)
        and not isinstance(plain_value, kind)
    ):
        raise _refusal(name, value, f"a {kind.__name__}, e.g. {kind.__name__}()")
    return value


def _is(value: Any, kind: type) -> bool:
    """Return whether a Python value is of one of the `EXPECTED` types; True and False are no
    numbers.
    """
    if kind is float:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _one_of(name: str, plain_value: Any, value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return a value that one of several annotations allows; a plain value must fit one of the
    plain ones.
    """
    for kind in kinds:
        try:
            allowed = as_kind(name, value, kind)
        except ConfigError:
            continue
        if (
            kind in EXPECTED
            or get_origin(kind) in (Literal, tuple, Sequence)
            or not isinstance(plain_value, tuple(EXPECTED))
        ):
            return allowed
    raise _refusal(name, value, " or ".join(_words(kind) for kind in kinds))


def _row(name: str, row: Any, value: Any, kind: Any) -> tuple[Any, ...]:
    """Return a sequence or a one-dimensional array as a tuple of what `kind` says."""
    if isinstance(row, str | bytes) or not (
        isinstance(row, Sequence) or getattr(row, "ndim", None) == 1
    ):
        raise _refusal(name, value, f"a tuple or a list, each entry {_words(kind)}")
    return tuple(as_kind(f"{name}[{index}]", each, kind) for index, each in enumerate(row))


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    return (
        EXPECTED.get(kind)
        or CURES.get(getattr(kind, "__name__", ""))
        or str(getattr(kind, "__name__", kind))
    )


def _refusal(name: str, value: Any, expected: str) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return ConfigError(
        f"{name} = {shown}: expected {expected}; a value of type {type(value).__name__} came"
    )


def check_fields(settings: Any) -> None:
    """See that every field of a frozen dataclass is what its annotation says, in place: scalars
    become Python's, rows tuples.

    For `__post_init__`, before ranges are checked.

    Raises:
        ConfigError: a field of another type.
    """
    own: Any = type(settings)
    for name, kind in _hints(own).items():
        value = getattr(settings, name)
        checked = as_kind(name, value, kind)
        if checked is not value:
            object.__setattr__(settings, name, checked)


@functools.cache
def _hints(thing: Any) -> dict[str, Any]:
    hints = get_type_hints(thing)
    return {name: kind for name, kind in hints.items() if name != "return" and _looked_at(kind)}


def _looked_at(kind: Any) -> bool:
    """Return whether `as_kind` says anything of values annotated like this."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(each is not type(None) and _looked_at(each) for each in get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return _looked_at(get_args(kind)[0])
    named = getattr(kind, "__name__", "")
    return (
        get_origin(kind) is Literal
        or kind in EXPECTED
        or named in CURES
        or (dataclasses.is_dataclass(kind) and isinstance(kind, type))
    )


def check_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return `function` with its arguments seen to be what their annotations say, as `check_fields`
    does for settings.

    Numbers, switches, choices, strings, settings and generators are looked at; tensors and models
    are not.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # which says it in the function's own name
        hints = _hints(function)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = as_kind(name, value, hints[name])
        return function(*bound.args, **bound.kwargs)

    return call


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names in words, at most so many of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
