"""What comes in at the door: whatever stands in the place of an argument of a public function is
taken for what it means, with the same result, or refused in the package's own words.
"""

import inspect
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
from calls import CALLS, function, public
from other_values import in_place_of
from torch import nn

import wakesleep as ws
from wakesleep.foundation.arguments import _hints
from wakesleep.foundation.values import metadata

pytestmark = pytest.mark.filterwarnings("ignore")
ALWAYS_REFUSED = ("strings", "ragged", "a dictionary", "a set", "complex", "sparse", "elsewhere")
"""Kinds of values that nothing can stand for, wherever a tensor is expected."""


def call(name, arguments):
    """Return what the function makes of the arguments, as tensors."""
    arguments = dict(arguments)
    if "self" in arguments:
        run = getattr(arguments.pop("self"), name.split(".")[-1])
    else:
        run = function(name)
    result = run(**arguments)
    if isinstance(result, ws.mixing.Mixing):
        result = result._replace(seconds_per_step=0.0)  # which no two calls share
    return list(tensors(list(result) if isinstance(result, Iterator) else result))


def tensors(value):
    """Yield all numbers of a result."""
    if isinstance(value, torch.Tensor | np.ndarray | int | float):
        array = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        yield torch.as_tensor(array).detach().double()
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)
    elif isinstance(value, nn.Module):
        yield from tensors(list(value.state_dict().values()))
    elif hasattr(value, "to_tensors"):
        yield from tensors(value.to_tensors())


def close(one, another, what=None):
    """Hold two results against each other: where autograd follows, formulas round otherwise."""
    torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-5, msg=what)


def kinds(name, parameter):
    """Return what is said of the tensor of a parameter."""
    found = function(name)
    base = getattr(ws.units.Units, name.split(".")[-1], found) if name[:6] == "units." else found
    hint = _hints(base).get(parameter)
    return {expected.kind for expected in metadata(hint)}


def parameters(name):
    """Yield the parameters of a call, with what was given for them, and whether None may come."""
    known = inspect.signature(function(name)).parameters
    for parameter, value in CALLS[name]().items():
        if parameter != "self" and value is not None:
            optional = parameter in known and (
                known[parameter].default is None or "None" in str(known[parameter].annotation)
            )
            yield parameter, value, optional


@pytest.mark.parametrize("name", CALLS)
def test_values_of_another_kind_are_refused_in_words(name):
    given = CALLS[name]()
    for parameter, value, optional in parameters(name):
        for kind, other in in_place_of(value)[1].items():
            if other is None and optional:
                continue
            try:
                call(name, {**given, parameter: other})
            except ws.WakesleepError:
                pass
            except Exception as error:
                pytest.fail(f"{parameter} = {kind}: {type(error).__name__}: {error}")
            else:
                given = CALLS[name]()  # a call that is not refused may change what it was given
                assert not (isinstance(value, torch.Tensor) and kind in ALWAYS_REFUSED), (
                    f"{parameter} = {kind} was taken"
                )


@pytest.mark.parametrize("name", CALLS)
def test_the_same_values_in_another_form_give_the_same_result(name):
    expected = call(name, CALLS[name]())
    for parameter, value, _ in parameters(name):
        for form, other in in_place_of(value)[0].items():
            arguments = {**CALLS[name](), parameter: other}
            if kinds(name, parameter) & {"changed", "written"} and form != "strided":
                if not isinstance(other, nn.Parameter):
                    with pytest.raises(ws.WakesleepError, match="is written to"):
                        call(name, arguments)
                continue
            found = call(name, arguments)
            assert len(found) == len(expected)
            for one, another in zip(found, expected, strict=True):
                close(one, another, f"{parameter} as {form}")


@pytest.mark.parametrize("name", CALLS)
def test_what_came_is_left_as_it_was(name):
    arguments = CALLS[name]()
    fixed = {
        parameter: value
        for parameter, value in arguments.items()
        if isinstance(value, torch.Tensor) and not kinds(name, parameter) & {"changed", "written"}
    }
    before = deepcopy(fixed)
    call(name, arguments)
    for parameter, value in fixed.items():
        assert torch.equal(value, before[parameter]), parameter


@pytest.mark.parametrize("name", CALLS)
def test_models_that_autograd_follows_give_the_same_result(name):
    expected, arguments = call(name, CALLS[name]()), CALLS[name]()
    for value in arguments.values():
        if isinstance(value, nn.Module):
            value.requires_grad_()
    found = call(name, arguments)
    for one, another in zip(found, expected, strict=True):
        close(one, another)


def test_every_public_function_that_takes_more_than_numbers_is_tried():
    """Besides those whose arguments are settings and sizes alone."""
    other = set()
    for name in public():
        hints = inspect.signature(function(name)).parameters.values()
        if any(kind in str(p.annotation) for p in hints for kind in ("Tensor", "Context", "Path")):
            other.add(name)
    tried = {function(name) for name in CALLS}
    assert {name for name in other if function(name) not in tried} == {"export.onnx"}  # takes long


def test_a_string_does_wherever_a_path_does():
    for name in public():
        for parameter, hint in inspect.signature(function(name)).parameters.items():
            words = str(hint.annotation)
            assert "Path" not in words or "str" in words, f"{name}: {parameter}: {words}"
