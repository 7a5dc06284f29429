"""Do a machine's chains mix? Principal projections of their states, how long these remember where
they were, and whether chains that begin at the data and chains that begin at random agree.

The integrated autocorrelation time of a projection, tau = 1 + 2 sum_t rho(t) steps, is how many
steps make one effective sample of its mean. The sum stops at the first t >= 5 tau (Sokal 1997). Two
sets of chains from different starts agree where the potential scale reduction R of Gelman & Rubin
(1992) is near 1.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs
from wakesleep.samplers.gibbs import Sampler
from wakesleep.sources import arrays
from wakesleep.sources.axes import (
    Bias,
    Directions,
    ImageRows,
    OtherSeries,
    OutOfVisible,
    Series,
)

WINDOW = 5.0
"""How many autocorrelation times the sum goes on for: noise beyond outweighs what is left."""
AGREE = 1.1
"""R up to which starts are said to agree, as is the custom."""


class Projection(NamedTuple):
    """The directions in which cases vary most."""

    mean: Bias
    """(visible,)."""
    directions: Directions
    """(visible, K), orthonormal, the largest variance first."""

    @check_arguments
    def __call__(self, states: OutOfVisible) -> Tensor:
        """Return projections (..., K) of states (..., visible)."""
        return (states.to(self.mean) - self.mean) @ self.directions


class Mixing(NamedTuple):
    """How chains of a machine moved, of K projections."""

    projection: Projection
    """The principal directions of the cases."""
    from_cases: Tensor
    """Projections of chains that began at cases, (T, N, K)."""
    from_random: Tensor
    """Projections of chains that began at random, (T, N, K)."""
    times: Tensor
    """Integrated autocorrelation times, (K,), steps; a lower bound where `settled` is false."""
    scale_reduction: Tensor
    """R between the two kinds of chains over the second half of their steps, (K,)."""
    seconds_per_step: float
    """Of N chains."""

    @property
    def slowest(self) -> float:
        """The largest autocorrelation time, steps."""
        return float(self.times.max())

    @property
    def settled(self) -> bool:
        """Whether the chains are 50 times as long as what they remember, and the starts agree."""
        steps = len(self.from_cases)
        return steps >= 50 * self.slowest and bool((self.scale_reduction <= AGREE).all())

    @property
    def effective_per_second(self) -> float:
        """Effective samples of the slowest projection a second, of all chains."""
        return self.from_cases.shape[1] / (self.slowest * max(self.seconds_per_step, 1e-12))

    @property
    def dream_steps(self) -> int:
        """Steps from random states to a dream that has forgotten them: five autocorrelation
        times.
        """
        return max(1, round(5 * self.slowest))

    def in_words(self) -> str:
        """Return what to tell a person: whether this is equilibrium, and how long a dream takes."""
        worst = float(self.scale_reduction.max())
        if worst > AGREE:
            return (
                f"not at equilibrium after {len(self.from_cases)} steps: chains from the cases and "
                f"chains from random states differ (R = {worst:.2f}; expected at most {AGREE}). "
                "Run longer, or let replicas exchange (wakesleep.replica_exchange.choose)"
            )
        if not self.settled:
            return (
                f"chains remember some {self.slowest:.0f} steps, and {len(self.from_cases)} were "
                f"made: too few to be sure. Expected {50 * self.slowest:.0f}"
            )
        return (
            f"at equilibrium: chains forget within some {self.slowest:.0f} steps; dreams need "
            f"about {self.dream_steps} from random states"
        )


@check_arguments
def principal_projection(cases: ImageRows, count: int = 10) -> Projection:
    """Return the `count` directions in which `cases` (N, visible), as probabilities, vary most.

    Raises:
        ConfigError: more directions than cases or columns.
    """
    cases = arrays.as_probs(cases).float()
    if not 1 <= count <= min(cases.shape):
        raise ConfigError(
            f"count = {count} directions of {len(cases)} cases with {cases.shape[1]} columns: "
            f"expected 1 to {min(cases.shape)}"
        )
    mean = cases.mean(0)
    directions = torch.linalg.svd(cases - mean, full_matrices=False)[2][:count].t()
    return Projection(mean, directions.contiguous())


@check_arguments
def autocorrelation(series: Series) -> Tensor:
    """Return rho(t) of series (T, N) for t = 0 to T - 1, (T,): the covariance of values t apart
    over all chains, about their common mean, divided by the variance.
    """
    steps = len(series)
    centred = series.double() - series.double().mean()
    power = torch.fft.rfft(centred, n=2 * steps, dim=0).abs().square()
    covariance: Tensor = torch.fft.irfft(power, dim=0)[:steps].sum(1)
    covariance /= torch.arange(steps, 0, -1, device=series.device)
    return covariance / covariance[0].clamp(min=1e-300)


@check_arguments
def autocorrelation_time(series: Series) -> float:
    """Return tau = 1 + 2 sum_t rho(t) of series (T, N), steps, at least 1; T where nothing
    varies.
    """
    if float(series.double().var()) == 0:
        return float(len(series))
    sums = 2 * torch.cumsum(autocorrelation(series), 0) - 1
    enough = torch.arange(len(sums), device=sums.device) >= WINDOW * sums
    window = int(enough.int().argmax()) if bool(enough.any()) else len(sums) - 1
    return max(1.0, float(sums[window]))


@check_arguments
def scale_reduction(one: Series, other: OtherSeries) -> float:
    """Return the potential scale reduction R of two sets of chains (T, N) each, over the second
    half of their steps: the square root of total over within-set variance.
    """
    halves = [part[len(part) // 2 :].double().flatten() for part in (one, other)]
    within = (halves[0].var() + halves[1].var()) / 2
    between = torch.stack([half.mean() for half in halves]).var()
    if float(within) == 0:
        return 1.0 if float(between) == 0 else float("inf")
    return float((1 + between / within).sqrt())


@check_arguments
def measure(
    rbm: RBM,
    cases: Tensor,
    *,
    rng: torch.Generator,
    steps: int = 1000,
    chains: int = 100,
    count: int = 10,
    sampler: Sampler = gibbs.run,
) -> Mixing:
    """Return how `chains` chains from cases (N, visible) and as many from random states move for
    `steps` steps of the sampler.

    A sampler that keeps replicas is asked for both kinds of chains side by side, so that they share
    its machines.

    Raises:
        ConfigError: fewer than ten steps or two chains, or more directions than there are.
    """
    whole("steps", steps, least=10)
    whole("chains", chains, least=2)
    cases = rbm.check_cases(cases, rng=rng)
    projection = principal_projection(cases, count)
    chosen = torch.randint(len(cases), (chains,), generator=rng, device=rng.device)
    start = arrays.as_probs(cases[chosen]).to(rbm.weight.dtype)
    hidden = torch.cat([rbm.sample_hidden(start, rng), gibbs.random_hidden(rbm, chains, rng)])
    series = start.new_empty(steps, 2 * chains, count)
    begun = time.perf_counter()
    for step in range(steps):
        visible, hidden = sampler(rbm, hidden, 1, rng)
        series[step] = projection(visible)
    seconds = (time.perf_counter() - begun) / steps / 2
    one, other = torch.split(series, chains, 1)
    every = range(count)
    return Mixing(
        projection,
        one,
        other,
        torch.tensor([autocorrelation_time(series[len(series) // 5 :, :, k]) for k in every]),
        torch.tensor([scale_reduction(one[..., k], other[..., k]) for k in every]),
        seconds,
    )
