"""Alternating Gibbs sampling in an RBM: pure steps, some visible units clamped if asked.

A chain is a row. Every step samples both layers from their conditionals, so that the model's distribution is left as it is.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.model.rbm import RBM


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


def random_hidden(rbm: RBM, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` random binary hidden states, (count, hidden): the far end from which chains find their own way."""
    return rbm.weight.new_empty(count, rbm.hidden.size).bernoulli_(0.5, generator=rng)


def gibbs_step(rbm: RBM, hidden: Tensor, rng: torch.Generator, clamp: Clamp | None = None) -> Chains:
    """Return the chains one step on: visible ~ p(v | hidden), clamped units put back, hidden ~ p(h | visible)."""
    visible = rbm.visible.sample(rbm.visible_probs(hidden), rng)
    if clamp is not None:
        visible = torch.where(clamp.mask, clamp.values, visible)
    return Chains(visible, rbm.hidden.sample(rbm.hidden_probs(visible), rng))


def run(rbm: RBM, hidden: Tensor, steps: int, rng: torch.Generator, clamp: Clamp | None = None) -> Chains:
    """Return the chains after `steps` steps from hidden states (N, hidden).

    Raises:
        ConfigError: steps below 1.
    """
    if steps < 1:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 1")
    chains = gibbs_step(rbm, hidden, rng, clamp)
    for _ in range(steps - 1):
        chains = gibbs_step(rbm, chains.hidden, rng, clamp)
    return chains
