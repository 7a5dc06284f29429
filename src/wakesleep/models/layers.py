"""What one layer says of another: the mean of units given the states below or above them, and
states drawn from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.units import Groups, Units


def conditional_mean(
    units: Units, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None
) -> Tensor:
    """Return E[units | states] = mean(s W + b), (N, to), for states (N, from), weight (from, to)
    and bias (to,); to `out` where given.
    """
    try:
        if (n_bernoulli := units.n_bernoulli) and not ops.differentiates(states, weight, bias):
            mean = states.new_empty(len(states), units.size) if out is None else out
            ops.of(weight).bernoulli_layer(states, weight, bias, n_bernoulli, mean=mean)
            for _, part, columns in _other_parts(units):
                part.mean(mean[..., columns], out=mean[..., columns])
            return mean
        total_input = ops.of(weight).affine(states, weight, bias, out)
    except ops.MISFITS:
        ops.require_fit(states, weight)
        raise
    return units.mean(total_input, out=None if ops.differentiates(total_input) else total_input)


def sample_conditional(
    units: Units,
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    rng: torch.Generator,
    mean: Tensor | None = None,
    out: Tensor | None = None,
    at_mean: Collection[str] = (),
) -> Tensor:
    """Return states of the units drawn from p(units | states), (N, to), to `out` where given;
    E[units | states] is left in `mean` where given.

    Groups whose names are in `at_mean` are left at their mean.
    """
    if not isinstance(states, Tensor):
        ops.require_fit(states, weight)
    try:
        if not units.n_bernoulli or (isinstance(units, Groups) and units.names[0] in at_mean):
            total_input = ops.of(weight).affine(states, weight, bias, mean)
            return _sample_parts(units, total_input, rng, out, at_mean)
        sample = states.new_empty(len(states), units.size) if out is None else out
        ops.of(weight).bernoulli_layer(
            states, weight, bias, units.n_bernoulli, mean=mean, sample=sample, rng=rng
        )
    except ops.MISFITS:
        ops.require_fit(states, weight)
        raise
    for name, part, columns in _other_parts(units):
        total_input = sample[..., columns].clone()
        means = total_input if mean is None else mean[..., columns]
        if name in at_mean:
            sample[..., columns] = part.mean(total_input, out=means)
        else:
            part.mean_and_sample(total_input, rng, mean=means, out=sample[..., columns])
    return sample


def _sample_parts(
    units: Units,
    total_input: Tensor,
    rng: torch.Generator,
    out: Tensor | None,
    at_mean: Collection[str],
) -> Tensor:
    """Return states given total inputs (N, to), in whose place means are left."""
    if not (at_mean and isinstance(units, Groups)):
        return units.mean_and_sample(total_input, rng, mean=total_input, out=out)[1]
    sample = torch.empty_like(total_input) if out is None else out
    for name, part, columns in zip(units.names, units.parts, units.slices, strict=True):
        part_input = total_input[..., columns]
        if name in at_mean:
            sample[..., columns] = part.mean(part_input, out=part_input)
        else:
            part.mean_and_sample(part_input, rng, mean=part_input, out=sample[..., columns])
    return sample


def _other_parts(units: Units) -> Iterator[tuple[str, Units, slice]]:
    """Yield the parts of a layer, with names and columns, that `bernoulli_layer` leaves at their
    total input.
    """
    if isinstance(units, Groups):
        for name, part, columns in zip(units.names, units.parts, units.slices, strict=True):
            if columns.stop > units.n_bernoulli:
                yield name, part, columns
