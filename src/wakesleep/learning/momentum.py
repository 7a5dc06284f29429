"""Momentum: how gradients move weights. The only file that writes weights outside backpropagation.

Hinton's rule keeps the learning rate inside the velocity, so that a change of rate does not rescale
the past (torch.optim.SGD does):

    velocity  <- momentum * velocity + learning_rate * (gradient - weight_decay * parameter)
    parameter <- parameter + velocity

Where several ranks learn together, this is where their gradients become one: their mean.

Source: Hinton (2010), "A practical guide to training restricted Boltzmann machines", sections 7, 9
and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed, ops
from wakesleep.compute.ops import Dense, Term

Gradients = dict[str, list[Term]]
"""The gradient of each parameter, by its name, as a sum of terms; products of states are formed
when the parameter moves.
"""


def apply_update(
    net: nn.Module,
    gradients: Gradients,
    velocities: Mapping[str, Tensor],
    *,
    rate: float,
    momentum: float,
    decay: Mapping[str, float] | None = None,
    copy: nn.Module | None = None,
) -> None:
    """Move each parameter of `net` that has a gradient up it, in place, and `copy`, the net in
    lower precision, with it.

    A parameter without a velocity has no momentum. `decay` names the parameters that decay.
    """
    if distributed.ranks() > 1:
        gradients = mean_over_ranks(net, gradients)
    for name, terms in gradients.items():
        parameter = _getter(name)(net)
        ops.of(parameter).momentum_step(
            parameter,
            velocities.get(name),
            terms,
            rate=rate,
            momentum=momentum,
            decay=decay.get(name, 0.0) if decay else 0.0,
            copy=None if copy is None or copy is net else _getter(name)(copy),
        )


def weighted_sum(*weighted: tuple[Gradients, float]) -> Gradients:
    """Return the sum of gradients, each times its weight."""
    total: Gradients = {}
    for gradients, weight in weighted:
        for name, terms in gradients.items():
            total.setdefault(name, []).extend(
                term._replace(scale=weight * term.scale) for term in terms
            )
    return total


def mean_over_ranks(net: nn.Module, gradients: Gradients) -> Gradients:
    """Return the mean of all ranks' gradients, formed, in one message."""
    parameters = {name: _getter(name)(net) for name in gradients}
    sizes = [parameter.numel() for parameter in parameters.values()]

    def write(flat: Tensor) -> None:
        for (name, parameter), piece in zip(
            parameters.items(), torch.split(flat, sizes), strict=True
        ):
            ops.of(parameter).sum_terms(gradients[name], piece.view_as(parameter))

    mean = torch.split(
        distributed.all_reduce_mean_written(sum(sizes), next(iter(parameters.values())), write),
        sizes,
    )
    return {
        name: [Dense(piece.view_as(parameter), 1.0)]
        for (name, parameter), piece in zip(parameters.items(), mean, strict=True)
    }


@cache
def _getter(name: str) -> Callable[[nn.Module], Tensor]:
    """Return what gets the parameter of that name from a net; `get_parameter`, which looks at more,
    takes the time of a kernel.
    """
    return attrgetter(name)
