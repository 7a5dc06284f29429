"""What comes in at the door: arguments of public functions and methods are looked at once, where a
caller of the package gives them, and not again in what these call.

The annotations say what is expected: numbers, choices and settings (`values`), tensors (`tensors`,
which arrays and lists become), models and records, whose fields are looked at likewise.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, get_type_hints

import torch

from wakesleep.foundation.tensors import Sizes
from wakesleep.foundation.values import as_kind, looked_at, metadata

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Class = TypeVar("Class", bound=type)


class _Where(threading.local):
    """Whether this thread is inside a public function, whose arguments were looked at."""

    inside = False


_where = _Where()


@contextmanager
def _inside(differentiable: bool) -> Iterator[None]:
    """Look at no arguments meanwhile, and keep no graph for autograd where nothing passes it."""
    before, graph = _where.inside, torch.is_grad_enabled()
    _where.inside = True
    if graph and not differentiable:
        torch.set_grad_enabled(False)
    try:
        yield
    finally:
        _where.inside = before
        if graph and not differentiable:
            torch.set_grad_enabled(True)


def check_arguments(
    function: Callable[Parameters, Result], kinds: Callable[..., Any] | None = None
) -> Callable[Parameters, Result]:
    """Return `function` with its arguments made what their annotations say, or refused: those of
    `kinds`, by default its own.

    A parameter annotated with a bare `Tensor` is left to the function. States are drawn, and
    tensors written to, without a graph for autograd; all other formulas of a model let it pass.
    """
    source = function if kinds is None else kinds
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if _where.inside or torch.compiler.is_compiling():
            return function(*args, **kwargs)
        given: dict[str, Any] = dict(zip(names, args, strict=False))
        if len(args) > len(names) or not given.keys().isdisjoint(kwargs):
            return function(*args, **kwargs)  # which refuses it in its own name
        given |= kwargs
        hints, sizes = _hints(source), Sizes(given.values())
        if hasattr(record := given.get("self"), "_fields"):
            given["self"] = as_kind("self", record, type(record), sizes)
        for name in given:
            if name in hints:
                given[name] = as_kind(name, given[name], hints[name], sizes)
        positional: Any = [given[name] for name in names[: len(args)]]
        others: Any = {name: given[name] for name in kwargs}
        differentiable = not sizes.models or _differentiable(given, source)
        with _inside(differentiable):
            result = function(*positional, **others)
        return _guarded(result, differentiable) if inspect.isgenerator(result) else result

    call.checks_arguments = True  # type: ignore[attr-defined]
    return call


def check_methods(owner: Class, base: type | None = None) -> Class:
    """Return a class whose own public methods look at their arguments, by the annotations of the
    `base` where it has a method of that name: usable as a decorator.
    """
    for name, method in list(vars(owner).items()):
        if name.startswith("_") or getattr(method, "checks_arguments", False):
            continue
        if inspect.isfunction(method):
            setattr(owner, name, check_arguments(method, getattr(base, name, None)))
        elif isinstance(method, classmethod):
            setattr(owner, name, classmethod(check_arguments(method.__func__)))
    return owner


def _guarded(records: Any, differentiable: bool) -> Any:
    """Yield what a generator yields, each step of which is inside."""
    try:
        while True:
            with _inside(differentiable):
                try:
                    record = next(records)
                except StopIteration:
                    return
            yield record
    finally:
        records.close()


@functools.cache
def _hints(function: Any) -> dict[str, Any]:
    """Return the annotations that say something, by parameter."""
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    return {name: kind for name, kind in hints.items() if name != "return" and looked_at(kind)}


@functools.cache
def _written(function: Any) -> list[str]:
    """Return the parameters that the function writes to."""
    return [
        name
        for name, kind in _hints(function).items()
        if any(expected.kind in ("changed", "written") for expected in metadata(kind))
    ]


def _differentiable(given: dict[str, Any], function: Any) -> bool:
    """Return whether autograd may pass: no states are drawn, and nothing is written to."""
    return not any(isinstance(value, torch.Generator) for value in given.values()) and all(
        given.get(name) is None for name in _written(function)
    )
