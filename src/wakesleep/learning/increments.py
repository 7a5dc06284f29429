"""How a gradient becomes a change of weights: momentum, learning rate, decay. The only file that writes weights outside backprop.

Hinton's rule keeps the learning rate inside the velocity, so that a change of rate does not rescale the past (torch.optim.SGD does):

    increment <- momentum * increment + learning_rate * (gradient - weight_decay * parameter)
    parameter <- parameter + increment

Source: Hinton (2010), "A practical guide to training restricted Boltzmann machines", sections 7, 9 and 10.
"""

from __future__ import annotations

import torch
from torch import Tensor


def step(parameter: Tensor, increment: Tensor, gradient: Tensor, *, rate: float, momentum: float, decay: float = 0.0) -> None:
    """Move `parameter` up its gradient, in place; `increment` carries the momentum. All three have one shape."""
    increment.mul_(momentum).add_(gradient, alpha=rate)
    _decay_and_add(parameter, increment, rate, decay)


def product_step(
    weight: Tensor, increment: Tensor, left: Tensor, right: Tensor, *, cases: int, rate: float, momentum: float, decay: float = 0.0
) -> None:
    """Do the same for the gradient left'right / cases, (rows, below)'(rows, above), fused so that no gradient is ever stored.

    The rows hold positive and negative cases together, the negative ones with their sign turned in `right`, so that both statistics and
    the momentum cost one matrix product. Rows of lower precision than the weights are multiplied as they are and added up finely.
    """
    if left.dtype == increment.dtype:
        torch.addmm(increment, left.t(), right, beta=momentum, alpha=rate / cases, out=increment)
    else:
        increment.mul_(momentum).add_(left.t() @ right, alpha=rate / cases)
    _decay_and_add(weight, increment, rate, decay)


def _decay_and_add(parameter: Tensor, increment: Tensor, rate: float, decay: float) -> None:
    if decay:
        increment.add_(parameter, alpha=-rate * decay)
    parameter.add_(increment)
