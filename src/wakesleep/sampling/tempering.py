"""Parallel tempering: chains at several temperatures trade places, so that what a cold chain cannot cross, a warm one walks around.

Replicas of each chain follow p_beta(v) ~ exp(-beta F-like), the family that AIS uses, from independent units (beta = 0) to the RBM (beta = 1):

    log p*_beta(v) = (1 - beta) base'v + beta a'v + log sum_h exp(beta h'(W'v + b))

After each Gibbs step neighbours swap with probability min(1, p_1(v2) p_2(v1) / (p_1(v1) p_2(v2))), which leaves the joint distribution as
it is. All replicas of all chains are one matrix product. Sources: Desjardins et al. (2010); Cho, Raiko & Ilin (2010).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.errors import ConfigError
from wakesleep.model.rbm import RBM
from wakesleep.sampling.gibbs import Chains, Clamp


class Replicas(NamedTuple):
    """The state of N chains at R temperatures, and how often neighbours swapped."""

    visible: Tensor
    """(R, N, visible), coldest (beta = 1) last."""
    accepted: Tensor
    """How many swaps each pair of neighbours made, (R - 1,)."""
    tried: Tensor
    """How many it tried, (R - 1,)."""

    @property
    def swap_rates(self) -> Tensor:
        """The part of the tried swaps that were made, (R - 1,); a rate near 0 is a wall: put more temperatures there."""
        return self.accepted / self.tried.clamp(min=1)


class Tempered:
    """Parallel tempering with the interface of `gibbs.run`: hand it to a dream as its sampler, and read `swap_rates` afterwards.

    `betas` (R,) rise to 1, by default ten from 0; at beta = 0 units are independent, with biases `base`, by default the RBM's own.
    The replicas at other temperatures stay in it, so that a later call with as many chains goes on with them. Those at a clamp have their
    clamped units put there.

    Raises:
        ConfigError: fewer than two betas, or betas that do not rise to 1 from 0 or above.
    """

    def __init__(self, betas: Tensor | None = None, base: Tensor | None = None) -> None:
        self.betas = torch.linspace(0.0, 1.0, 10) if betas is None else betas
        self.base, self.replicas = base, None
        rising = self.betas.ndim == 1 and len(self.betas) >= 2 and bool((self.betas.diff() > 0).all())
        if not rising or float(self.betas[0]) < 0 or float(self.betas[-1]) != 1.0:
            raise ConfigError(f"betas {self.betas.tolist()}: expected at least two that rise to 1, none below 0, e.g. torch.linspace(0, 1, 10)")

    replicas: Replicas | None

    @property
    def swap_rates(self) -> Tensor:
        """The swap rates so far, (R - 1,), warmest pair first.

        Raises:
            ConfigError: nothing was sampled yet.
        """
        if self.replicas is None:
            raise ConfigError("no swap was tried yet: sample with it first")
        return self.replicas.swap_rates

    def __call__(self, rbm: RBM, hidden: Tensor, steps: int, rng: torch.Generator, clamp: Clamp | None = None) -> Chains:
        """Return the chains at beta = 1 after `steps` steps from hidden states (N, hidden); all replicas begin there at first."""
        if steps < 1:
            raise ConfigError(f"{steps} steps of parallel tempering: expected at least 1")
        visible = _clamped(rbm.visible.sample(rbm.visible_probs(hidden), rng), clamp)
        old = self.replicas
        if old is None or old.visible.shape[1:] != visible.shape:
            none = torch.zeros(len(self.betas) - 1, device=visible.device)
            old = Replicas(visible.expand(len(self.betas), -1, -1).clone(), none, none)
        old.visible[-1] = visible
        base = rbm.visible_bias if self.base is None else self.base
        betas = self.betas.to(rbm.weight.device, rbm.weight.dtype)
        for number in range(steps):
            old = step(rbm, base, betas, old, rng, number % 2, clamp)
        self.replicas = old
        cold = old.visible[-1]
        return Chains(cold, rbm.hidden.sample(rbm.hidden_probs(cold), rng))


def _clamped(visible: Tensor, clamp: Clamp | None) -> Tensor:
    return visible if clamp is None else torch.where(clamp.mask, clamp.values, visible)


def log_probs(rbm: RBM, base: Tensor, beta: Tensor, visible: Tensor) -> Tensor:
    """Return log p*_beta(v), unnormalised, of visible (R, N, visible) at betas (R,): (R, N), float32 or better, nats."""
    flat = visible.flatten(0, 1)
    scale = beta.repeat_interleave(visible.shape[1])[:, None]
    total = scale * rbm.hidden_input(flat)
    flat, scale, total = (tensor.to(accumulation_dtype(tensor.dtype)) for tensor in (flat, scale, total))
    bias = (flat @ base.to(flat.dtype)) * (1 - scale[:, 0]) + (flat @ rbm.visible_bias.to(flat.dtype)) * scale[:, 0]
    return (bias + rbm.hidden.log_partition(total)).view(visible.shape[:2])


def move(rbm: RBM, base: Tensor, betas: Tensor, visible: Tensor, rng: torch.Generator, clamp: Clamp | None = None) -> Tensor:
    """Return replicas (R, N, visible) moved by one Gibbs step each at their betas (R,)."""
    count, chains, units = visible.shape
    flat, scale = visible.flatten(0, 1), betas.repeat_interleave(chains)[:, None]
    hidden = rbm.hidden.sample(rbm.hidden.mean(scale * rbm.hidden_input(flat)), rng)
    total = scale * (hidden @ rbm.weight.t() + rbm.visible_bias) + (1 - scale) * base
    moved = rbm.visible.sample(rbm.visible.mean(total), rng).view(count, chains, units)
    return _clamped(moved, clamp)


def swap(rbm: RBM, base: Tensor, betas: Tensor, visible: Tensor, rng: torch.Generator, parity: int) -> tuple[Tensor, Tensor]:
    """Let the pairs (parity, parity + 1), (parity + 2, ...), ... of replicas (R, N, visible) trade places, in place.

    Returns the number of the warmer of each pair (P,), and which chains swapped (P, N).
    """
    low = torch.arange(parity, len(visible) - 1, 2, device=visible.device)
    if not len(low):
        return low, torch.zeros(0, visible.shape[1], dtype=torch.bool, device=visible.device)
    warm, cold = visible[low], visible[low + 1]
    gain = log_probs(rbm, base, betas[low], cold) + log_probs(rbm, base, betas[low + 1], warm)
    gain -= log_probs(rbm, base, betas[low], warm) + log_probs(rbm, base, betas[low + 1], cold)
    swapped = torch.rand(gain.shape, generator=rng, device=rng.device, dtype=gain.dtype).log() < gain
    visible[low] = torch.where(swapped[:, :, None], cold, warm)
    visible[low + 1] = torch.where(swapped[:, :, None], warm, cold)
    return low, swapped


def step(
    rbm: RBM, base: Tensor, betas: Tensor, replicas: Replicas, rng: torch.Generator, parity: int = 0, clamp: Clamp | None = None
) -> Replicas:
    """Return the replicas after one Gibbs step each and one round of swaps between the pairs (parity, parity + 1), (parity + 2, ...), ...

    `base` (visible,) are the biases at beta = 0, `betas` (R,) rise to 1.
    """
    visible = move(rbm, base, betas, replicas.visible, rng, clamp)
    low, swapped = swap(rbm, base, betas, visible, rng, parity)
    accepted, tried = replicas.accepted.clone(), replicas.tried.clone()
    accepted[low] += swapped.sum(1)
    tried[low] += visible.shape[1]
    return Replicas(visible, accepted, tried)
