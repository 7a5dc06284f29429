"""What contrastive divergence goes on from: velocities, chains, running means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.arguments import check_arguments
from wakesleep.learning import trajectory
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.state import EpochState, misfits
from wakesleep.models.rbm import RBM
from wakesleep.samplers.gibbs import random_hidden
from wakesleep.units import Context, Units


@dataclass
class CDState(EpochState):
    """What CD needs to go on after an epoch."""

    velocity: dict[str, Tensor] = field(default_factory=dict)
    """Of each parameter, by its name; none without momentum and centring."""
    chains: Tensor | None = None
    """Persistent chains: hidden states (chains, hidden), or visible ones at each temperature (R,
    chains, visible).
    """
    activity: Tensor | None = None
    """With a sparsity cost: the running mean activity of each hidden unit, (hidden,)."""
    visible_mean: Tensor | None = None
    """With centring: the running mean of each visible unit, (visible,)."""
    hidden_mean: Tensor | None = None
    """With centring: the running mean of each hidden unit, (hidden,)."""
    visible_variance: Tensor | None = None
    """With a standardised gradient: the running variance of each visible unit, (visible,)."""
    hidden_variance: Tensor | None = None
    """With a standardised gradient: the running variance of each hidden unit, (hidden,)."""
    visible_std: Tensor | None = None
    """Where visible units have parameters of their own: the standard deviation of each column of
    the first cases, (visible,), which says in what range those are.
    """
    ladder: trajectory.Ladder | None = None
    """With `exchange_steps`: the earlier machines and their chains, from the first epoch on."""

    def exchange(self, rbm: RBM, config: CDConfig, rng: torch.Generator) -> dict[str, float]:
        """Let the chains trade places with those of earlier machines of `rbm`, where the settings
        say so, and return how many machines there are and the lowest rate of swaps.
        """
        if not config.exchange_steps:
            return {}
        assert self.chains is not None
        if self.ladder is None:
            self.ladder = trajectory.start(rbm, len(self.chains), rng)
        self.ladder, lowest = trajectory.exchange(
            rbm, self.chains, self.ladder, config.exchange_steps, rng
        )
        return {"machines": 1.0 + len(self.ladder.visible), "lowest_swap_rate": lowest}


@check_arguments
def init_state(rbm: RBM, config: CDConfig, rng: torch.Generator) -> CDState:
    """Return the state before the first epoch: no velocity, and chains at random where CD is
    persistent.

    Velocities are float32 or better, whatever the precision of `rbm`; chains have that precision.
    Without momentum (or centring) there are no velocities: small minibatches cost what touching the
    weights costs.
    """
    state = CDState()
    if config.momentum or config.initial_momentum or config.centred:
        state.velocity = {
            name: torch.zeros_like(p, dtype=accumulation_dtype(p.dtype))
            for name, p in rbm.named_parameters()
        }
    if config.persistent:
        state.chains = random_hidden(rbm, config.temperatures * config.batch_size, rng)
        if config.temperatures > 1:
            replicas = rbm.sample_visible(state.chains, rng)
            state.chains = replicas.view(config.temperatures, config.batch_size, -1)
    if config.sparsity_cost:
        state.activity = torch.full_like(
            rbm.hidden_bias, config.sparsity_target, dtype=accumulation_dtype(rbm.hidden_bias.dtype)
        )
    if config.centred:
        state.visible_mean, visible_variance = _independent_moments(rbm.visible, rbm.visible_bias)
        state.hidden_mean, hidden_variance = _independent_moments(rbm.hidden, rbm.hidden_bias)
        if config.standardised:
            state.visible_variance, state.hidden_variance = visible_variance, hidden_variance
    return state


def _independent_moments(units: Units, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (size,) of units without other input, where running moments start;
    of words those of one word.
    """
    one = Context(count=torch.ones(1, device=bias.device))
    total = bias[None].to(accumulation_dtype(bias.dtype))
    return units.mean(total, context=one)[0], units.variance(total, one)[0].clone()


@check_arguments
def expected_state(rbm: RBM, config: CDConfig, state: CDState) -> dict[str, Any]:
    """Return the shapes of what `init_state` makes, by field, for `misfits`.

    A state may hold more chains than a minibatch has cases, and velocities that momentum 0 has no
    use for.
    """
    parameters = dict(rbm.named_parameters())
    moves = config.momentum or config.initial_momentum or config.centred or state.velocity
    hidden, visible = (rbm.hidden.size,), (rbm.visible.size,)
    chains: tuple[int, ...] | None = None
    if config.persistent:
        held = 0 if state.chains is None or state.chains.ndim < 2 else state.chains.shape[-2]
        count = max(config.batch_size, held)
        chains = (
            (config.temperatures, count, *visible) if config.temperatures > 1 else (count, *hidden)
        )
    return {
        "velocity": parameters if moves else {},
        "chains": chains,
        "activity": hidden if config.sparsity_cost else None,
        "visible_mean": visible if config.centred else None,
        "hidden_mean": hidden if config.centred else None,
        "visible_variance": visible if config.standardised else None,
        "hidden_variance": hidden if config.standardised else None,
        "visible_std": visible if state.visible_std is not None else None,
    }


@check_arguments
def adapted_state(rbm: RBM, config: CDConfig, state: CDState, rng: torch.Generator) -> CDState:
    """Return a state to go on from with other settings than it came from: what does not fit them
    starts anew.
    """
    wrong = misfits(state, expected_state(rbm, config, state))
    if not wrong:
        return state
    fresh = init_state(rbm, config, rng)
    return replace(
        fresh, **{name: getattr(state, name) for name in fresh.to_tensors() if name not in wrong}
    )
