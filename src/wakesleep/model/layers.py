"""What one layer says of another: the mean of units given the states below or above them, and states drawn from it."""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.model.units import Bernoulli, Groups, Softmax, Units


def conditional_mean(units: Units, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """Return E[units | states] = mean(s W + b), (N, to), for states (N, from), weight (from, to) and bias (to,); to `out` where given."""
    try:
        if n_bernoulli := _n_bernoulli(units):
            mean = states.new_empty(len(states), units.size) if out is None else out
            ops.of(weight).bernoulli_layer(states, weight, bias, n_bernoulli, mean=mean)
            return _finish(units, mean)
        total_input = ops.of(weight).affine(states, weight, bias, out)
    except ops.MISFITS:
        ops.require_fit(states, weight)
        raise
    return units.mean(total_input, out=total_input)


def sample_conditional(
    units: Units,
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    rng: torch.Generator,
    mean: Tensor | None = None,
    out: Tensor | None = None,
    soft: bool = False,
) -> Tensor:
    """Return states of the units drawn from E[units | states], (N, to), which is left in `mean` where given.

    `soft` leaves softmax groups at their probabilities.
    """
    if not isinstance(states, Tensor):
        ops.require_fit(states, weight)
    n_bernoulli = _n_bernoulli(units)
    if n_bernoulli:
        sample = states.new_empty(len(states), units.size) if out is None else out
        try:
            ops.of(weight).bernoulli_layer(states, weight, bias, n_bernoulli, mean=mean, sample=sample, rng=rng)
        except ops.MISFITS:
            ops.require_fit(states, weight)
            raise
        if mean is not None:
            _finish(units, mean)
        return _finish(units, sample, None if soft else rng)
    probs = conditional_mean(units, states, weight, bias, out=mean)
    if not (soft and isinstance(units, Groups)):
        return units.sample(probs, rng, out=out)
    sample = torch.empty_like(probs) if out is None else out
    for part, columns in zip(units.parts, units.slices, strict=True):
        if isinstance(part, Softmax):
            sample[..., columns] = probs[..., columns]
        else:
            part.sample(probs[..., columns], rng, out=sample[..., columns])
    return sample


def _n_bernoulli(units: Units) -> int:
    """Return how many of the first columns are binary units."""
    first = units.parts[0] if isinstance(units, Groups) else units
    return first.size if isinstance(first, Bernoulli) else 0


def _finish(units: Units, values: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Turn the total inputs of all parts but the first (N, units), in place, into means, or, with `rng`, into states."""
    for part, columns in list(zip(units.parts, units.slices, strict=True))[1:] if isinstance(units, Groups) else []:
        group = values[..., columns]
        mean = part.mean(group)
        group.copy_(mean if rng is None else part.sample(mean, rng))
    return values
