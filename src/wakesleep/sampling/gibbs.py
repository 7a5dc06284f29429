"""Alternating Gibbs sampling in an RBM: pure steps, some visible units clamped if asked.

A chain is a row. Every step samples both layers from their conditionals, so that the model's distribution is left as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Softmax, Units, columns_of


class Chains(NamedTuple):
    """The state of N chains: visible (N, visible) and hidden (N, hidden) states."""

    visible: Tensor
    hidden: Tensor


class Clamp(NamedTuple):
    """Visible units that stay put: where `mask` (visible,) or (N, visible) is true, `values` (N, visible) hold."""

    mask: Tensor
    values: Tensor


class Sampler(Protocol):
    """What moves chains: `run` here, or a `tempering.Tempered`."""

    def __call__(self, rbm: RBM, hidden: Tensor, steps: int, rng: torch.Generator, clamp: Clamp | None = None) -> Chains:
        """Return the chains `steps` steps on from hidden states (N, hidden)."""
        ...


@check_arguments
def random_hidden(rbm: RBM, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` random hidden states, (count, hidden), all equally probable: the far end from which chains find their own way."""
    states = rbm.weight.new_empty(count, rbm.hidden.size).bernoulli_(0.5, generator=rng)
    for columns in columns_of(rbm.hidden, Softmax):
        even = torch.full_like(states[:, columns], 1 / (columns.stop - columns.start))
        Softmax(even.shape[1]).sample(even, rng, out=states[:, columns])
    return states


def restarted(rbm: RBM, hidden: Tensor, chance: float, rng: torch.Generator) -> Tensor:
    """Return chains (N, hidden) of binary units, each put back to random states with that chance."""
    fresh = torch.rand(len(hidden), 1, generator=rng, device=rng.device) < chance
    return torch.where(fresh, rbm.hidden.sample(torch.full_like(hidden, 0.5), rng), hidden)


def gibbs_step(rbm: RBM, hidden: Tensor, rng: torch.Generator, clamp: Clamp | None = None, temperature: float = 1.0) -> Chains:
    """Return the chains one step on: visible ~ p(v | hidden), clamped units put back, hidden ~ p(h | visible).

    At another temperature T the chain is that of p(v, h) ~ exp(-E(v, h) / T): bolder above 1, more set in its ways below.
    """
    visible = rbm.visible.sample(_at(temperature, rbm.visible, rbm.visible_input(hidden)), rng)
    if clamp is not None:
        visible = torch.where(clamp.mask, clamp.values, visible)
    return Chains(visible, rbm.hidden.sample(_at(temperature, rbm.hidden, rbm.hidden_input(visible)), rng))


def _at(temperature: float, units: Units, total_input: Tensor) -> Tensor:
    """Return the units' mean at that temperature, (N, size), in place of their total input."""
    if temperature != 1:
        total_input /= temperature
    return units.mean(total_input, out=total_input)


@check_arguments
def run(rbm: RBM, hidden: Tensor, steps: int, rng: torch.Generator, clamp: Clamp | None = None, temperature: float = 1.0) -> Chains:
    """Return the chains after `steps` steps from hidden states (N, hidden).

    Raises:
        ConfigError: steps below 1, or a temperature that is not above 0.
    """
    if steps < 1:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 1")
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature {temperature}: expected a number above 0; 1 is the model's own")
    chains = gibbs_step(rbm, hidden, rng, clamp, temperature)
    for _ in range(steps - 1):
        chains = gibbs_step(rbm, chains.hidden, rng, clamp, temperature)
    return chains
