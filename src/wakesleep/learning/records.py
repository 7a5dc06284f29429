"""What a learning loop tells of an epoch, and the check that its weights are finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation import renamed
from wakesleep.foundation.errors import DivergedError


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
    """Hand this, or what its `to_tensors` returns, to the same loop with the same net to go on after this epoch. Its tensors are those that
    the loop goes on changing: save them before the next record is asked for."""


def check_finite(parameters: Mapping[str, Tensor], rate: float) -> None:
    """Raise DivergedError where a parameter holds NaN or infinity, once an epoch; either shows in the sum, which makes no copy."""
    for name, parameter in parameters.items():
        if not bool(parameter.sum().isfinite()):
            raise DivergedError(
                f"the {name} went to NaN or infinity; the learning rate ({rate:g}) is too high for these data. "
                "Try a third of it, and see that the cases lie in [0, 1]; the last saved epoch is still good"
            )


OptimizerState = dict[str, dict[str, Any]]
"""What an optimizer of PyTorch's knows of each parameter, by its name."""


def restore_optimizer(optimizer: torch.optim.Optimizer, net: nn.Module, state: OptimizerState) -> None:
    """Give an optimizer over `net` what `optimizer_state` returned; nothing is a fresh start."""
    for name, parameter in net.named_parameters():
        optimizer.state[parameter].update(state.get(name, {}))


def optimizer_state(optimizer: torch.optim.Optimizer, net: nn.Module) -> OptimizerState:
    """Return what an optimizer knows of each parameter of `net`."""
    return {name: dict(optimizer.state[parameter]) for name, parameter in net.named_parameters()}


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, Pass="EpochResult")
