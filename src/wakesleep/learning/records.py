"""What a learning loop tells about a pass, and the checks every config shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import DivergedError

State = dict[str, Any]
"""All that a loop needs to go on: tensors, numbers and strings by name; `None` stands for a fresh start."""


class Pass(NamedTuple):
    """One pass over the cases, as a loop yields it."""

    stage: str
    """Which part of the work this was, e.g. "layer 1"."""
    epoch: int
    """How many passes of the stage are done, from 1."""
    epochs: int
    """How many passes the stage has."""
    cases: int
    """How many cases were seen in this pass."""
    metrics: dict[str, float]
    """What was measured on the way, with the units in the loop's docstring."""
    state: State
    """Hand this to the same loop, with the same net, to go on after this pass."""


def check_finite(parameters: Mapping[str, Tensor], rate: float) -> None:
    """Raise DivergedError where a parameter holds NaN or infinity, once a pass; either shows in the sum, which makes no copy."""
    for name, parameter in parameters.items():
        if not bool(parameter.sum().isfinite()):
            raise DivergedError(
                f"the {name} went to NaN or infinity; the learning rate ({rate:g}) is too high for these data. "
                "Try a third of it, and see that the cases lie in [0, 1]; the last saved pass is still good"
            )


def restore(optimizer: torch.optim.Optimizer, net: nn.Module, state: State) -> None:
    """Give an optimizer of PyTorch's over `net` the velocities that `optimizer_state` returned; none are a fresh start."""
    for name, parameter in net.named_parameters():
        optimizer.state[parameter].update(state.get(name, {}))


def velocities(state: State) -> dict[str, Tensor]:
    """Return the velocity of each parameter that has one, by its name."""
    return {name.removeprefix("increment."): value for name, value in state.items() if name.startswith("increment.")}


def optimizer_state(optimizer: torch.optim.Optimizer, net: nn.Module) -> State:
    """Return what an optimizer knows of each parameter of `net`, by its name."""
    return {name: dict(optimizer.state[parameter]) for name, parameter in net.named_parameters()}
