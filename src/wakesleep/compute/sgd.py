"""Stochastic gradient descent with momentum, for parameters whose gradients autograd finds.

The rate is outside the velocity, unlike in `learning/momentum.py`; g is the gradient:

    velocity  <- momentum * velocity + g + weight_decay * parameter
    parameter <- parameter - rate * velocity

These are the steps of `torch.optim.SGD(fused=True)`, to the last bit. Making one of PyTorch's
imports its compiler, `torch._dynamo`, which nothing else here needs: 2 s in each process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import select


class SGD:
    """What learning loops use of `torch.optim.SGD`: groups of parameters with their rates and
    decays, a velocity for each parameter, and the step.
    """

    def __init__(
        self, groups: Iterable[Mapping[str, Any]], *, lr: float, momentum: float = 0.0
    ) -> None:
        self.param_groups = [{"lr": lr, "weight_decay": 0.0, **group} for group in groups]
        self.momentum = momentum
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {
            parameter: {} for group in self.param_groups for parameter in group["params"]
        }

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; `set_to_none` is there for the optimizers of PyTorch, and true."""
        assert set_to_none
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient, in place."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                sgd_step(
                    moved,
                    [parameter.grad for parameter in moved],
                    [self._velocity(parameter) for parameter in moved] if self.momentum else [],
                    rate=group["lr"],
                    momentum=self.momentum,
                    decay=group["weight_decay"],
                )

    def _velocity(self, parameter: nn.Parameter) -> Tensor:
        own = self.state[parameter]
        if "momentum_buffer" not in own:
            own["momentum_buffer"] = torch.zeros_like(parameter)
        return own["momentum_buffer"]


def sgd_step(
    parameters: list[Tensor],
    gradients: list[Tensor],
    velocities: list[Tensor],
    *,
    rate: float,
    momentum: float,
    decay: float,
) -> None:
    """Move parameters and velocities; without momentum there are no velocities. PyTorch's fused
    step is private: where it is missing, plain steps do the same.
    """
    if hasattr(torch, "_fused_sgd_") and select.backend() != "reference":
        torch._fused_sgd_(
            parameters,
            gradients,
            velocities,
            weight_decay=decay,
            momentum=momentum,
            lr=rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
        return
    for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        change = gradient + decay * parameter
        if momentum:
            change = velocities[number].mul_(momentum).add_(change)
        parameter.sub_(change, alpha=rate)
