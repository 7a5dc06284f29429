"""What a layer makes of another: units that hear states through weights, and the states drawn from that.

On a GPU the product, what the units make of it and their coins are one kernel, and on a processor that multiplies tiles all but the coins;
elsewhere they are the plain steps that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wakesleep.foundation import products, tiles
from wakesleep.model.units import Bernoulli, Groups, Softmax, Units


def heard(units: Units, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """Return E[units | states] = mean(s W + b), (N, to), for states (N, from), weight (from, to) and bias (to,); to `out` where given."""
    try:
        if (coins := _coins(units)) and (layer := _by_hand(states, weight, bias, out)):
            means = states.new_empty(len(states), units.size) if out is None else out
            layer(states, weight, bias, coins, means)
            return _finish(units, means)
    except products.UNFIT:
        products.require_fit(states, weight)
        raise
    total_input = products.affine(states, weight, bias, out=out)
    return units.mean(total_input, out=total_input)


def drawn(
    units: Units,
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    rng: torch.Generator,
    means: Tensor | None = None,
    out: Tensor | None = None,
    soft: bool = False,
) -> Tensor:
    """Return states of the units drawn from E[units | states], (N, to), as `heard` gives it, which is left in `means` where given.

    `soft` leaves softmax groups at their probabilities.
    """
    if not isinstance(states, Tensor):
        products.require_fit(states, weight)
    if (coins := _coins(units)) and products.suit_kernels(states, weight, bias):
        from wakesleep.foundation import kernels

        picked = states.new_empty(len(states), units.size) if out is None else out
        kernels.layer(states, weight, bias, coins, means, picked, rng)
        if means is not None:
            _finish(units, means)
        return _finish(units, picked, None if soft else rng)
    probs = heard(units, states, weight, bias, out=means)
    if not (soft and isinstance(units, Groups)):
        return units.sample(probs, rng, out=out)
    picked = torch.empty_like(probs) if out is None else out
    for part, columns in zip(units.parts, units.slices, strict=True):
        if isinstance(part, Softmax):
            picked[..., columns] = probs[..., columns]
        else:
            part.sample(probs[..., columns], rng, out=picked[..., columns])
    return picked


def _by_hand(states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None) -> Callable[[Tensor, Tensor, Tensor, int, Tensor], None] | None:
    """Return a kernel of ours that writes a layer's inputs, its first columns as means, where one serves these."""
    if products.suit_kernels(states, weight, bias):
        from wakesleep.foundation import kernels

        return kernels.layer
    return tiles.layer if tiles.suit(states, weight, bias, out) else None


def _coins(units: Units) -> int:
    """Return how many of the first columns are binary units."""
    first = units.parts[0] if isinstance(units, Groups) else units
    return first.size if isinstance(first, Bernoulli) else 0


def _finish(units: Units, values: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Turn the inputs of all parts but the first (N, units), in place, into means, or, with `rng`, into states."""
    for part, columns in list(zip(units.parts, units.slices, strict=True))[1:] if isinstance(units, Groups) else []:
        here = values[..., columns]
        means = part.mean(here)
        here.copy_(means if rng is None else part.sample(means, rng))
    return values
