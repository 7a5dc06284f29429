"""Parallel tempering: chains at several temperatures trade places, so that what a cold chain cannot
cross, a warm one walks around.

Replicas of each chain follow the models p_beta between independent units (beta = 0) and the RBM
(beta = 1), see `wakesleep.annealed`; AIS goes through the same ones.

Before each Gibbs step neighbours swap with probability min(1, p_1(v2) p_2(v1) / (p_1(v1) p_2(v2))),
which leaves the joint distribution as it is. All replicas of all chains are one matrix product.
Sources: Desjardins et al. (2010); Cho, Raiko & Ilin (2010).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.rbm import RBM
from wakesleep.samplers import replica_exchange
from wakesleep.samplers.annealed import Independent as Independent
from wakesleep.samplers.annealed import Path
from wakesleep.samplers.annealed import as_independent as as_independent
from wakesleep.samplers.annealed import check_base as check_base
from wakesleep.samplers.gibbs import Chains, Clamp, check_states, check_steps
from wakesleep.sources.axes import (
    BetaOfReplica,
    Betas,
    Bias,
    Hidden,
    Pairs,
    Replicated,
    ReplicatedWritten,
)
from wakesleep.units import Context


class Replicas(NamedTuple):
    """The state of N chains at R temperatures, and how often neighbours swapped."""

    visible: Replicated
    """(R, N, visible), coldest (beta = 1) last."""
    accepted: Pairs
    """How many swaps each pair of neighbours made, (R - 1,)."""
    tried: Pairs
    """How many it tried, (R - 1,)."""

    @property
    def swap_rates(self) -> Tensor:
        """The part of the tried swaps that were made, (R - 1,); a rate near 0 is a wall: put more
        temperatures there.
        """
        return self.accepted / self.tried.clamp(min=1)


class Tempered:
    """Parallel tempering with the interface of `gibbs.run`: hand it to a dream as its sampler, and
    read `swap_rates` afterwards.

    `betas` (R,) rise to 1, by default ten from 0; at beta = 0 units are independent, with biases
    `base`, by default the RBM's own. The replicas at other temperatures stay in it, so that a later
    call with as many chains goes on with them. Those at a clamp have their clamped units put there.

    Raises:
        ConfigError: fewer than two betas, or betas that do not rise to 1 from 0 or above.
    """

    @check_arguments
    def __init__(self, betas: Betas | None = None, base: Bias | Independent | None = None) -> None:
        self.betas = torch.linspace(0.0, 1.0, 10) if betas is None else betas
        self.base, self.replicas = base, None
        rising = (
            self.betas.ndim == 1 and len(self.betas) >= 2 and bool((self.betas.diff() > 0).all())
        )
        if not rising or float(self.betas[0]) < 0 or float(self.betas[-1]) != 1.0:
            raise ConfigError(
                f"betas {self.betas.tolist()}: expected at least two that rise to 1, none below "
                "0, e.g. torch.linspace(0, 1, 10)"
            )

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

    @check_arguments
    def __call__(
        self,
        rbm: RBM,
        hidden: Hidden,
        steps: int,
        rng: torch.Generator,
        clamp: Clamp | None = None,
        temperature: float = 1.0,
        context: Context | None = None,
    ) -> Chains:
        """Return the chains at beta = 1 after `steps` steps from hidden states (N, hidden); all
        replicas begin there at first.

        At another temperature all this is done with total inputs divided by it, as in `gibbs.run`:
        the coldest replica samples what that samples, and the default base is the RBM's own biases
        divided by it.

        Raises:
            ConfigError: steps below 1, or a temperature that is not above 0.
            DataError: hidden states, clamped values or biases of the base that are NaN or infinite.
        """
        check_steps(steps, temperature)
        check_states(hidden, clamp)
        rbm = divided(rbm, temperature)
        visible = rbm.sample_visible(hidden, rng, context=context)
        visible = visible if clamp is None else clamp.put(visible)
        old = self.replicas
        if old is None or old.visible.shape[1:] != visible.shape:
            none = torch.zeros(len(self.betas) - 1, device=visible.device)
            old = Replicas(visible.expand(len(self.betas), -1, -1).clone(), none, none)
        old.visible[-1] = visible
        base = rbm.visible_bias if self.base is None else self.base
        check_base(rbm, base)
        betas = self.betas.to(rbm.weight.device, rbm.weight.dtype)
        for number in range(steps):
            old = step(rbm, base, betas, old, rng, number % 2, clamp, context)
        self.replicas = old
        cold = old.visible[-1]
        return Chains(cold, rbm.sample_hidden(cold, rng, context=context))


@check_arguments
def choose(
    rbm: RBM,
    *,
    rng: torch.Generator,
    base: Bias | Independent | None = None,
    chains: int = 100,
    rate: float = 0.3,
    context: Context | None = None,
) -> Tempered:
    """Return parallel tempering of `rbm` with as few temperatures as exchange at about `rate`, in
    (0, 1), found by `replica_exchange.choose` with so many chains, all of one `context` (1, ...).

    Temperatures at even distances leave walls where the machine changes most.

    Raises:
        ConfigError: a rate outside (0, 1), or more than two hundred temperatures.
        DataError: a context of several kinds of cases.
    """
    replicas = replica_exchange.choose(
        [rbm], rng=rng, base=base, chains=chains, rate=rate, context=context
    )
    return Tempered(torch.tensor(replicas.places), base)


@check_arguments
def divided(rbm: RBM, temperature: float) -> RBM:
    """Return the machine with all total inputs divided by the temperature, so that its chains are
    `gibbs_step`'s at that temperature.
    """
    if temperature == 1:
        return rbm
    weight, visible_bias, hidden_bias = (
        nn.Parameter(p / temperature, requires_grad=False)
        for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias)
    )
    return RBM.sharing(rbm.visible, rbm.hidden, weight, visible_bias, hidden_bias)


@check_arguments
def log_probs(
    rbm: RBM,
    base: Bias | Independent,
    beta: BetaOfReplica,
    visible: Replicated,
    context: Context | None = None,
) -> Tensor:
    """Return log p*_beta(v), unnormalised, of visible (R, N, visible) at betas (R,): (R, N),
    float32 or better, nats.
    """
    chains = visible.shape[1]
    path = _path(rbm, base, context, len(visible))
    logs = path.log_probs(visible.flatten(0, 1), beta.repeat_interleave(chains)[:, None])
    return logs.view(visible.shape[:2])


@check_arguments
def move(
    rbm: RBM,
    base: Bias | Independent,
    betas: BetaOfReplica,
    visible: Replicated,
    rng: torch.Generator,
    clamp: Clamp | None = None,
    context: Context | None = None,
) -> Tensor:
    """Return replicas (R, N, visible) moved by one Gibbs step each at their betas (R,)."""
    count, chains, _ = visible.shape
    path = _path(rbm, base, context, count)
    moved = path.gibbs_step(
        visible.flatten(0, 1), betas.repeat_interleave(chains)[:, None], rng
    ).view(visible.shape)
    return moved if clamp is None else clamp.put(moved)


def _path(rbm: RBM, base: Tensor | Independent, context: Context | None, replicas: int) -> Path:
    """Return the models that replicas of chains stand at, with the chains' context for each."""
    context = None if context is None else context.repeat(replicas)
    return Path(rbm, as_independent(rbm, base), context)


@check_arguments
def swap(
    rbm: RBM,
    base: Bias | Independent,
    betas: BetaOfReplica,
    visible: ReplicatedWritten,
    rng: torch.Generator,
    parity: int,
    context: Context | None = None,
) -> tuple[Tensor, Tensor]:
    """Let the pairs (parity, parity + 1), (parity + 2, ...), ... of replicas (R, N, visible) trade
    places, in place.

    Returns the number of the warmer of each pair (P,), and which chains swapped (P, N).
    """
    whole("parity", parity, least=0)
    low = torch.arange(parity, len(visible) - 1, 2, device=visible.device)
    if not len(low):
        return low, torch.zeros(0, visible.shape[1], dtype=torch.bool, device=visible.device)
    warm, cold = visible[low], visible[low + 1]
    gain = log_probs(rbm, base, betas[low], cold, context) + log_probs(
        rbm, base, betas[low + 1], warm, context
    )
    gain -= log_probs(rbm, base, betas[low], warm, context) + log_probs(
        rbm, base, betas[low + 1], cold, context
    )
    swapped = (
        torch.rand(gain.shape, generator=rng, device=rng.device, dtype=gain.dtype).log() < gain
    )
    visible[low] = torch.where(swapped[:, :, None], cold, warm)
    visible[low + 1] = torch.where(swapped[:, :, None], warm, cold)
    return low, swapped


@check_arguments
def step(
    rbm: RBM,
    base: Bias | Independent,
    betas: BetaOfReplica,
    replicas: Replicas,
    rng: torch.Generator,
    parity: int = 0,
    clamp: Clamp | None = None,
    context: Context | None = None,
) -> Replicas:
    """Return the replicas after one round of swaps between the pairs (parity, parity + 1), (parity
    + 2, ...), ... and one Gibbs step each.

    `base` is the model at beta = 0, or its biases (visible,), `betas` (R,) rise to 1. At every beta
    the hidden units' input is beta (vW + b): one product decides about swaps and is where the Gibbs
    step goes on from, so that no state need be moved.
    """
    count, chains, _ = replicas.visible.shape
    path, flat = _path(rbm, base, context, count), replicas.visible.flatten(0, 1)
    total = rbm.hidden_input(flat, context=path.context)
    low = torch.arange(parity, count - 1, 2, device=flat.device)
    partner = torch.arange(count, device=flat.device)
    partner[low], partner[low + 1] = low + 1, low.clone()

    def log_p(betas: Tensor) -> Tensor:
        beta = betas.repeat_interleave(chains)[:, None]
        return path.log_probs(flat, beta, total).view(count, chains)

    gain = log_p(betas[partner]) - log_p(betas)
    chance = torch.rand(gain[low].shape, generator=rng, device=rng.device, dtype=gain.dtype)
    swapped = torch.zeros_like(gain, dtype=torch.bool)
    swapped[low] = swapped[low + 1] = chance.log() < gain[low] + gain[low + 1]

    inputs, beta = total.view(count, chains, -1), betas.repeat_interleave(chains)[:, None]
    inputs = torch.where(swapped[..., None], inputs[partner], inputs).flatten(0, 1)
    hidden = rbm.hidden.sample(beta * inputs, rng)
    visible = path.sample_visible(hidden, beta, rng).view(replicas.visible.shape)
    accepted, tried = replicas.accepted.clone(), replicas.tried.clone()
    accepted[low] += swapped[low].sum(1)
    tried[low] += chains
    return Replicas(visible if clamp is None else clamp.put(visible), accepted, tried)
