"""How a gradient becomes a change of weights: momentum, learning rate, decay. The only file that writes weights outside backprop.

Hinton's rule keeps the learning rate inside the velocity, so that a change of rate does not rescale the past (torch.optim.SGD does):

    increment <- momentum * increment + learning_rate * (gradient - weight_decay * parameter)
    parameter <- parameter + increment

Where several ranks learn together, this is where their gradients become one: their mean.

Source: Hinton (2010), "A practical guide to training restricted Boltzmann machines", sections 7, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from wakesleep.foundation import distributed


class Lesson(NamedTuple):
    """What a minibatch teaches a net: gradients by the name of the parameter, those of weights as products yet to be formed."""

    cases: int
    """N, the number of cases the products sum over."""
    products: dict[str, tuple[Tensor, Tensor]]
    """(left, right) of any number of rows, whose product left'right / N is the gradient of a weight."""
    gradients: dict[str, Tensor]
    """Gradients as they are, in the shape of the parameter."""


def follow(
    net: nn.Module,
    lessons: Sequence[tuple[Lesson, float]],
    increments: Mapping[str, Any],
    *,
    rate: float,
    momentum: float,
    decay: Mapping[str, float] | None = None,
) -> None:
    """Move each parameter of `net` that the lessons name up the weighted sum of their gradients, in place.

    `increments` holds the increment of parameter "a" under "increment.a"; `decay` names the parameters that decay.
    """
    for name, parameter in net.named_parameters():
        increment, carried = increments[f"increment.{name}"], momentum
        taught = False
        for lesson, weight in lessons:
            if name in lesson.products:
                _add_product(increment, *lesson.products[name], momentum=carried, factor=rate * weight / lesson.cases)
                taught, carried = True, 1.0
            if name in lesson.gradients:
                increment.mul_(carried).add_(distributed.average(lesson.gradients[name]), alpha=rate * weight)
                taught, carried = True, 1.0
        if taught:
            _decay_and_add(parameter, increment, rate, (decay or {}).get(name, 0.0))


def step(parameter: Tensor, increment: Tensor, gradient: Tensor, *, rate: float, momentum: float, decay: float = 0.0) -> None:
    """Move `parameter` up its gradient, in place; `increment` carries the momentum. All three have one shape."""
    increment.mul_(momentum).add_(distributed.average(gradient), alpha=rate)
    _decay_and_add(parameter, increment, rate, decay)


def product_step(
    weight: Tensor, increment: Tensor, left: Tensor, right: Tensor, *, cases: int, rate: float, momentum: float, decay: float = 0.0
) -> None:
    """Do the same for the gradient left'right / cases, (rows, below)'(rows, above), fused so that no gradient is ever stored.

    The rows hold positive and negative cases together, the negative ones with their sign turned in `right`, so that both statistics and
    the momentum cost one matrix product. Rows of lower precision than the weights are multiplied as they are and added up finely.
    """
    _add_product(increment, left, right, momentum=momentum, factor=rate / cases)
    _decay_and_add(weight, increment, rate, decay)


def _add_product(increment: Tensor, left: Tensor, right: Tensor, *, momentum: float, factor: float) -> None:
    if left.dtype == increment.dtype and distributed.ranks() == 1:
        increment.addmm_(left.t(), right, beta=momentum, alpha=factor)
    else:
        product = left.t() @ right
        if distributed.ranks() > 1:
            product = distributed.average(product.to(increment.dtype))  # summed over many ranks, a coarse product would lose its small parts
        increment.mul_(momentum).add_(product, alpha=factor)


def _decay_and_add(parameter: Tensor, increment: Tensor, rate: float, decay: float) -> None:
    if decay:
        increment.add_(parameter, alpha=-rate * decay)
    parameter.add_(increment)
