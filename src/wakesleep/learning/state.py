"""What a loop needs to go on after an epoch, as typed data that can be saved as tensors and plain
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, get_args, get_type_hints

import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import CheckpointError


@dataclass
class State:
    """Data that can be written to a file and read again: tensors, numbers and strings, in
    dictionaries by name and in other states.
    """

    def to_tensors(self) -> dict[str, Any]:
        """Return the fields that are not None by their names, states and dictionaries within as
        dictionaries.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.to_tensors() if isinstance(value, State) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_tensors(cls, values: Mapping[str, Any]) -> Self:
        """Return the state that `to_tensors` described; a field that is missing gets its default.

        Raises:
            CheckpointError: names that this kind of state does not have.
        """
        kinds = get_type_hints(cls)
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise CheckpointError(
                f"a state of learning with {', '.join(unknown)} came, and {cls.__name__} has "
                f"{', '.join(sorted(kinds))}; expected one saved by this version of wakesleep and "
                "by the same loop: start again from the weights"
            )
        given = {}
        for field in fields(cls):
            if field.name in values:
                value, state = values[field.name], _state_class(kinds[field.name])
                given[field.name] = (
                    state.from_tensors(value)
                    if state and isinstance(value, Mapping)
                    else _own(value)
                )
        return cls(**given)

    @classmethod
    def read(cls, state: Self | Mapping[str, Any] | None) -> Self | None:
        """Return a state that may have come as what `to_tensors` returned; None as it is.

        Raises:
            CheckpointError: a state of another loop, or something else, a record for one.
        """
        if isinstance(state, Mapping):
            return cls.from_tensors(state)
        if state is None or isinstance(state, cls):
            return state
        hint = (
            ": give its `state`"
            if hasattr(state, "state")
            else ("; without a state, learning starts anew")
        )
        raise CheckpointError(
            f"state of type {type(state).__name__} came; expected the {cls.__name__} of the last "
            f"record of this loop, or what its to_tensors returned{hint}"
        )


def misfits(state: State, expected: Mapping[str, Any]) -> dict[str, str]:
    """Return in words what of a state is not as `expected` says, by field.

    `expected` says of each field the shape of its tensor, the tensors of its dictionary by name (or
    of a running mean), or None: nothing.
    """
    wrong = {}
    for name, wanted in expected.items():
        value = getattr(state, name)
        given, right = (
            _shapes(value.mean if isinstance(value, RunningMean) else value),
            _shapes(wanted),
        )
        if given != right:
            wrong[name] = (
                f"{name} of {_in_words(given, right)} came, expected {_in_words(right, given)}"
            )
    return wrong


def check_fit(state: State, expected: Mapping[str, Any], owner: str) -> None:
    """See that a state is one that the settings and the net of this call can go on from.

    Raises:
        CheckpointError: it came from other settings or another net.
    """
    if wrong := misfits(state, expected):
        raise CheckpointError(
            f"the state is none of this {owner} and its settings: {'; '.join(wrong.values())}. Go "
            "on with the settings and the net that the state came from, or without a state: "
            "learning then starts anew from the weights"
        )


def _shapes(value: Any) -> Any:
    """Return the shape of a tensor, those of a dictionary's tensors by name, anything else as it
    is.
    """
    if isinstance(value, Mapping):
        return {name: _shapes(each) for name, each in value.items()}
    return tuple(value.shape) if isinstance(value, Tensor) else value


def _in_words(shapes: Any, others: Any) -> str:
    """Return shapes in words; of dictionaries, one that differs from the `others`."""
    if isinstance(shapes, Mapping) and isinstance(others, Mapping) and shapes and others:
        names = sorted(set(shapes) | set(others))
        name = next(each for each in names if shapes.get(each) != others.get(each))
        return f"{name} {shapes[name]}" if name in shapes else f"no {name}"
    if isinstance(shapes, Mapping):
        return f"{len(shapes)} parameters" if shapes else "no parameters"
    return "None" if shapes is None else f"shape {shapes}"


def _own(value: Any) -> Any:
    """Return copies of the tensors in a value of a state: those in a file's memory lie anywhere,
    and products differ by where they lie.
    """
    if isinstance(value, Mapping):
        return {name: _own(inner) for name, inner in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def _state_class(kind: Any) -> type[State] | None:
    """Return the kind of State in an annotation such as `RunningMean | None`, or None."""
    return next(
        (
            each
            for each in (kind, *get_args(kind))
            if isinstance(each, type) and issubclass(each, State)
        ),
        None,
    )


@dataclass
class EpochState(State):
    """A state of a loop between two epochs.

    Its tensors are those that the loop goes on changing in place: save them, or take a
    `copy.deepcopy`, before the next epoch.
    """

    epoch: int = 0
    """How many epochs are done."""


EVERY = 5
"""Updates between two steps of the running mean: weights hardly move meanwhile, and reading them
all costs.
"""


@dataclass
class RunningMean(State):
    """A running mean of the weights, which follows the learning at a distance: the noise of
    sampling is in the last steps, not in their mean.

    Between epochs the net holds the mean, which is what anyone should look at, test or save; while
    it learns, the weights that learn are put back. Source: Polyak & Juditsky (1992), "Acceleration
    of stochastic approximation by averaging".
    """

    mean: dict[str, Tensor]
    """Of each parameter, by its name; or, while the net holds the mean, the weights that learn."""
    updates: int = 0
    """How many updates there were."""
    averaged: int = 0
    """How many of them the mean has taken in."""

    @classmethod
    def start(cls, net: nn.Module) -> RunningMean:
        """Return the mean before the first update: it is where the weights are."""
        return cls({name: parameter.detach().clone() for name, parameter in net.named_parameters()})

    def after_update(self, net: nn.Module, horizon: float, every: int = EVERY) -> None:
        """Count an update, and let the mean take in the last `every` once there are that many."""
        self.updates += 1
        if self.updates - self.averaged == every:
            self.catch_up(net, horizon)

    @torch.no_grad()
    def catch_up(self, net: nn.Module, horizon: float) -> None:
        """Let the mean take in the updates since it last did, if any; it looks back over `horizon`
        updates (see `share`).
        """
        waiting = self.updates - self.averaged
        if waiting:
            for name, parameter in net.named_parameters():
                self.mean[name].lerp_(parameter, share(waiting, self.updates, horizon))
            self.averaged = self.updates

    @torch.no_grad()
    def swap(self, net: nn.Module) -> None:
        """Exchange weights and mean, in place."""
        for name, parameter in net.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.mean[name])
            self.mean[name].copy_(kept)


def share(waiting: int, done: int, horizon: float) -> float:
    """Return how far the mean goes towards the weights when the last `waiting` of `done` updates
    are taken in, in (0, 1].

    All updates weigh alike until there are `horizon` of them, and the weights before the first not
    at all; then the mean looks back that far.
    """
    return waiting / min(done, max(horizon, waiting))
