"""Numbers, choices and switches as they come from callers: NumPy's and PyTorch's scalars become
Python's, other types are refused.

One mechanism for settings (`check_fields`) and for functions (`arguments.check_arguments`): the
annotations say what is expected. Nothing here needs NumPy or PyTorch.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from wakesleep.foundation.errors import ConfigError, DataError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

EXPECTED = {
    int: "a whole number, e.g. 10",
    float: "a finite number, e.g. 0.1",
    bool: "True or False",
    str: "a string",
    type(None): "None",
}
"""The types of plain values, in words."""
IN_WORDS = {
    "device": "'cpu' or another torch.device",
    "Path": "the name of a file or folder",
    "Generator": "a torch.Generator, e.g. wakesleep.generator(0)",
    "RBM": "a wakesleep.RBM, e.g. the memory of a deep belief net, dbn.memory, or dbn.rbm(0)",
    "DBN": "a wakesleep.DBN of one sense; that of an estimator is its dbn_",
    "MultimodalDBN": "a net of several senses, wakesleep.DBN(senses=...)",
    "Helmholtz": "a wakesleep.Helmholtz",
    "Sequential": "a feed-forward net, e.g. wakesleep.backprop.classifier(dbn, 10, rng=rng); that "
    "of an estimator is its net_",
    "Units": "units of wakesleep.units, e.g. wakesleep.units.Bernoulli(784)",
    "Context": "a wakesleep.units.Context(count=..., mask=...)",
    "Clamp": "a wakesleep.gibbs.Clamp(mask, values), e.g. Clamp.of_groups(rbm, {'label': states})",
    "Chains": "wakesleep.gibbs.Chains(visible, hidden), e.g. of wakesleep.gibbs.run",
    "Annealing": "a wakesleep.ais.Annealing, e.g. of wakesleep.ais.init_forward",
    "Independent": "biases (visible,), or a model of wakesleep.ais.base_model(rbm, cases)",
    "Replicas": "wakesleep.tempering.Replicas, e.g. those of a Tempered",
}
"""Classes in words, by their names."""


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


def as_kind(name: str, value: Any, kind: Any, sizes: Any = None) -> Any:
    """Return the value of the parameter `name`, once it is seen to be what the annotation `kind`
    says; scalars become Python's.

    Floats take whole numbers, a string does for a `Path`, a row of numbers may be any sequence or a
    one-dimensional array, and becomes a tuple. What an annotation says of a tensor
    (`tensors.Expected`) is held against the `sizes` of the call's other arguments; the fields of a
    record are looked at likewise.

    Raises:
        ConfigError: it is something else; the message names the parameter, what came and what was
            expected.
        DataError: a tensor that does not fit.
    """
    plain_value = plain(value)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        if not any(type(plain_value) is type(choice) and plain_value == choice for choice in args):
            raise _refusal(name, value, " or ".join(repr(choice) for choice in args))
        return plain_value
    if origin in (Union, types.UnionType):
        return _one_of(name, plain_value, value, args, sizes)
    if origin is Annotated:
        (expected,) = metadata(kind)
        return expected.convert(name, value, sizes)
    if origin in ROWS:
        return _row(name, plain_value, value, kind, sizes)
    if origin is Mapping:
        return _mapping(name, value, args[1], sizes)
    if kind in EXPECTED:
        if not _is(plain_value, kind):
            raise _refusal(name, value, EXPECTED[kind])
        return plain_value
    if kind is Path and isinstance(value, str | os.PathLike):
        return Path(value)
    return _instance(name, value, kind, sizes) if _is_class(kind) else value


def _instance(name: str, value: Any, kind: type, sizes: Any) -> Any:
    """Return an object of a class, its fields made what their annotations say where it is a
    record.
    """
    if not isinstance(value, kind) or (kind.__name__ == "Rows" and hasattr(value, "ndim")):
        raise _refusal(name, value, _words(kind))  # arrays have what `Rows` has, too
    if not _is_record(value):
        return value
    replaced: Any = value
    own: Any = type(value)
    changed = {}
    for field, expected in _tensor_fields(own).items():
        given = getattr(value, field)
        # two records side by side in one have lengths of their own
        within = sizes.apart() if sizes is not None and _records(expected) else sizes
        checked = as_kind(f"{name}.{field}", given, expected, within)
        if checked is not given:
            changed[field] = checked
    if changed and hasattr(value, "_fields"):
        replaced = replaced._replace(**changed)
    elif changed:
        replaced = dataclasses.replace(replaced, **changed)
    if hasattr(replaced, "check_values"):  # what its annotations cannot say
        replaced.check_values()
    return replaced


@functools.cache
def _tensor_fields(record: type) -> dict[str, Any]:
    """Return the annotations of a record's tensors and of the records in it, by field."""
    hints = get_type_hints(record, include_extras=True)
    return {
        field: kind
        for field, kind in hints.items()
        if metadata(kind) or any(_tensor_fields(part) for part in _records(kind))
    }


def _records(kind: Any) -> list[type]:
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [part for part in parts if isinstance(part, type) and _is_record(part)]


def _is_record(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


@functools.cache
def metadata(kind: Any) -> list[Any]:
    """Return what an annotation says of tensors, `Annotated[Tensor, this]`, at any depth."""
    if get_origin(kind) is Annotated:
        return [expected for expected in get_args(kind)[1:] if hasattr(expected, "convert")]
    return [expected for part in get_args(kind) for expected in metadata(part)]


def _is_class(kind: Any) -> bool:
    """Return whether an annotation is a class whose objects can be told from others; a bare
    `Tensor` (or `Parameter`) is left to the function.
    """
    return (
        isinstance(kind, type)
        and kind is not Any
        and kind.__module__ != "builtins"
        and kind.__name__ not in ("Tensor", "Parameter")
        and getattr(kind, "_is_runtime_protocol", True)
    )


def _is(value: Any, kind: type) -> bool:
    """Return whether a Python value is of one of the `EXPECTED` types; True and False are no
    numbers.
    """
    if kind is float:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _one_of(name: str, plain_value: Any, value: Any, kinds: tuple[Any, ...], sizes: Any) -> Any:
    """Return a value that one of several annotations allows; a plain value must fit one of the
    plain ones.
    """
    if value is None and type(None) in kinds:
        return None
    refused: list[Exception] = []
    for kind in kinds:
        try:
            allowed = as_kind(name, value, kind, sizes)
        except (ConfigError, DataError) as error:
            if isinstance(kind, type) and isinstance(value, kind) and _is_record(value):
                raise  # of one of its fields
            refused += [error] if metadata(kind) else []
            continue
        if (
            kind in EXPECTED
            or kind is Path
            or metadata(kind)
            or (getattr(kind, "__name__", "") == "Tensor" and hasattr(value, "ndim"))
            or get_origin(kind) in (Literal, *ROWS)
            or not isinstance(plain_value, tuple(EXPECTED))
        ):
            return allowed
    if refused and hasattr(value, "__len__") and not isinstance(value, str | Mapping):
        raise refused[0]
    named = any(kind is Path or getattr(kind, "__name__", "") == "device" for kind in kinds)
    words = [_words(kind) for kind in kinds if not (kind is str and named)]
    raise _refusal(name, value, " or ".join(words))


ROWS = (tuple, list, Sequence)
"""Annotations of rows of values."""


def _row(name: str, row: Any, value: Any, kind: Any, sizes: Any) -> Any:
    """Return a sequence or a one-dimensional array as a tuple of what the annotation says (as a
    list where that is one).
    """
    each, *more = get_args(kind)
    tensors = bool(metadata(each))
    if isinstance(row, str | bytes) or not (
        isinstance(row, Sequence) or getattr(row, "ndim", None) == 1 or (tensors and _rows(row))
    ):
        raise _refusal(name, value, f"a tuple or a list, each entry {_words(each)}")
    count = 1 + len(more) if get_origin(kind) is tuple and more[-1:] != [...] else len(row)
    if len(row) != count:
        raise _refusal(name, value, f"{count} entries, each {_words(each)}")
    entries = [as_kind(f"{name}[{index}]", entry, each, sizes) for index, entry in enumerate(row)]
    return entries if get_origin(kind) is list else tuple(entries)


def _rows(array: Any) -> bool:
    """Return whether an array or a tensor stands for a row of tensors."""
    return getattr(array, "ndim", 0) > 1


def _mapping(name: str, value: Any, kind: Any, sizes: Any) -> Any:
    """Return a mapping whose values are what `kind` says; where that is anything, a record is left
    to the function, which knows what else it was to be (a state of another algorithm).
    """
    if not looked_at(kind) and _is_record(type(value)):
        return value
    if not isinstance(value, Mapping):
        each = f", each value {_words(kind)}" if looked_at(kind) else ""
        raise _refusal(name, value, f"a dictionary{each}")
    if not looked_at(kind):
        return value
    return {key: as_kind(f"{name}[{key!r}]", each, kind, sizes) for key, each in value.items()}


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if metadata(kind):
        return "a tensor or an array"
    name = str(getattr(kind, "__name__", kind))
    settings = dataclasses.is_dataclass(kind) and name.endswith("Config")
    return (
        EXPECTED.get(kind)
        or IN_WORDS.get(name)
        or (f"a {name}, e.g. {name}()" if settings else f"a {name}")
    )


def _refusal(name: str, value: Any, expected: str) -> ConfigError:
    try:
        shown = " ".join(repr(value).split())
    except Exception:  # of an object that is not whole
        shown = f"<{type(value).__name__}>"
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


def check_settings(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return `function` with its arguments made what their annotations say, or refused: for those
    that take names and settings alone, and are called without PyTorch.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        for name, kind in _hints(function).items():
            if name in bound.arguments and name != "return":
                bound.arguments[name] = as_kind(name, bound.arguments[name], kind)
        return function(*bound.args, **bound.kwargs)

    call.checks_arguments = True  # type: ignore[attr-defined]
    return call


@functools.cache
def _hints(thing: Any) -> dict[str, Any]:
    hints = get_type_hints(thing)
    return {name: kind for name, kind in hints.items() if looked_at(kind)}


def looked_at(kind: Any) -> bool:
    """Return whether `as_kind` says anything of values annotated like this."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(each is not type(None) and looked_at(each) for each in get_args(kind))
    if origin in ROWS:
        return looked_at(get_args(kind)[0])
    if origin is Annotated:
        return bool(metadata(kind))
    return origin in (Literal, Mapping) or kind in EXPECTED or _is_class(kind)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names in words, at most so many of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
