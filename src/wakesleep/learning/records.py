"""What a learning loop tells of an epoch, and the check that its weights are finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.compute.sgd import SGD
from wakesleep.foundation import renamed
from wakesleep.foundation.errors import CheckpointError, DivergedError


class EpochResult(NamedTuple):
    """One epoch, as a loop yields it."""

    stage: str
    """Which part of the work this was, e.g. "layer 1"."""
    epoch: int
    """How many epochs of the stage are done, from 1."""
    epochs: int
    """How many epochs the stage has."""
    cases: int
    """How many cases were seen in this epoch."""
    metrics: dict[str, float]
    """What was measured on the way, with the units in the loop's docstring."""
    state: Any
    """Hand this, or what its `to_tensors` returns, to the same loop with the same net to go on
    after this epoch. Its tensors are those that the loop goes on changing: save them before the
    next record is asked for.
    """


def check_finite(parameters: Mapping[str, Tensor], rate: float) -> None:
    """Raise DivergedError where a parameter holds NaN or infinity, once an epoch; either shows in
    the sum, which makes no copy.
    """
    for name, parameter in parameters.items():
        if not bool(parameter.sum().isfinite()):
            raise DivergedError(
                f"the {name} went to NaN or infinity; the learning rate ({rate:g}) is too high for "
                "these data. Try a third of it, and see that the cases lie in [0, 1] (real "
                "numbers: that their variance is near 1); the last saved epoch is still good"
            )


OptimizerState = dict[str, dict[str, Any]]
"""What an optimizer knows of each parameter, by its name."""


def restore_optimizer(
    optimizer: torch.optim.Optimizer | SGD, net: nn.Module, state: OptimizerState
) -> None:
    """Give an optimizer over `net` what `optimizer_state` returned; nothing is a fresh start.

    Raises:
        CheckpointError: it came from another net or another kind of optimizer.
    """
    own = dict(net.named_parameters())
    wanted = (
        {"momentum_buffer"} if isinstance(optimizer, SGD) else {"step", "exp_avg", "exp_avg_sq"}
    )
    for name, values in state.items():
        shapes = {
            tuple(value.shape)
            for value in values.values()
            if isinstance(value, Tensor) and value.ndim
        }
        if name not in own or set(values) - wanted or shapes - {tuple(own[name].shape)}:
            raise CheckpointError(
                f"the state's optimizer holds {', '.join(sorted(values))} of {name}, and this net "
                "and its settings have none such: go on with the net and the settings that the "
                "state came from, or without a state: learning then starts anew from the weights"
            )
    for name, parameter in net.named_parameters():
        optimizer.state[parameter].update(state.get(name, {}))


def optimizer_state(optimizer: torch.optim.Optimizer | SGD, net: nn.Module) -> OptimizerState:
    """Return what an optimizer knows of each parameter of `net`."""
    return {name: dict(optimizer.state[parameter]) for name, parameter in net.named_parameters()}


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, Pass="EpochResult")
