"""Annealed importance sampling: log Z of an RBM too large to enumerate, with an error, from below and from above. Nats.

Between the base-rate model (beta = 0: independent visible units) and the RBM (beta = 1) lie

    p_beta(v) ~ exp((1 - beta) base'v + beta a'v) prod_j (1 + exp(beta (vW + b)_j))

Forward, chains begin in the base-rate model and are moved by one Gibbs step at each beta; the mean of their weights
w = prod_k p_k(v_k) / p_k-1(v_k) estimates Z / Z_base without bias, so that its logarithm errs low (and log-likelihoods too high). In
reverse, chains begin in samples of the RBM; the mean of their weights estimates Z_base / Z, and log Z errs high. Sources: Neal (2001);
Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks"; Burda, Grosse & Salakhutdinov (2015) and Grosse,
Ghahramani & Adams (2015) for the other direction.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation import cases as rows
from wakesleep.foundation.errors import ConfigError
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli, Groups, Softmax, Units

log = logging.getLogger(__name__)


class Annealing(NamedTuple):
    """Where N chains stand on their way through the betas: enough to stop, to go on, and to plot."""

    step: int
    """How many of the betas are done, the first one included."""
    visible: Tensor
    """The chains' states, (N, visible)."""
    log_weights: Tensor
    """The logarithm of each chain's weight so far, (N,), float64, nats."""


class Estimate(NamedTuple):
    """log Z with its interval, nats."""

    log_z: float
    """The estimate."""
    low: float
    """Three standard errors of the mean weight below; -inf where they exceed the mean."""
    high: float
    """Three standard errors above."""
    effective_chains: float
    """The effective sample size (sum w)^2 / sum w^2, at most the number of chains; near 1, one chain carries all and the interval is moot."""
    chains: int
    """How many chains there were."""
    temperatures: int
    """How many betas."""

    @property
    def standard_error(self) -> float:
        """The standard error of log Z, nats, to first order."""
        return math.sqrt(max(0.0, 1 / self.effective_chains - 1 / self.chains) * self.chains / (self.chains - 1))


def published_betas() -> Tensor:
    """Return the schedule of Salakhutdinov & Murray (2008): 0 to 0.5 by 1/1,000, to 0.9 by 1/10,000, to 1 by 1/100,000; (14,501,)."""
    pieces = [torch.arange(500) / 1000, 0.5 + torch.arange(4000) / 10_000, 0.9 + torch.arange(10_001) / 100_000]
    return torch.cat([piece.double() for piece in pieces]).clamp_(0.0, 1.0)


def base_rates(rbm: RBM, cases: Tensor) -> Tensor:
    """Return the visible biases (visible,) of the model of independent units that fits `cases` (N, visible): log p/(1-p), log p in a softmax.

    One case on and one off are added, so that a unit that is never on keeps a finite bias.
    """
    total = torch.zeros(rbm.visible.size, dtype=torch.float64, device=rbm.weight.device)
    for chunk in rows.chunks(cases.to(rbm.weight.device)):
        total += chunk.sum(0)
    return _log_odds(rbm.visible, (total + 1) / (len(cases) + 2)).to(rbm.weight.dtype)


def _log_odds(units: Units, mean: Tensor) -> Tensor:
    if isinstance(units, Groups):
        return torch.cat([_log_odds(part, mean[columns]) for part, columns in zip(units.parts, units.slices, strict=True)])
    if isinstance(units, Softmax):
        return torch.log(mean / mean.sum())
    if isinstance(units, Bernoulli):
        return torch.log(mean) - torch.log1p(-mean)
    raise ConfigError(f"units {units.kinds}: AIS begins in a model of independent binary units and softmax groups; other kinds are not built")


def check_betas(betas: Tensor) -> None:
    """Raise ConfigError unless `betas` rise from 0 to 1."""
    values = betas.double()
    rising = values.ndim == 1 and len(values) >= 2 and bool((values[1:] > values[:-1]).all())
    if not rising or float(values[0]) != 0.0 or float(values[-1]) != 1.0:
        raise ConfigError(
            f"betas of shape {tuple(betas.shape)} from {values.flatten()[:1].tolist()} to {values.flatten()[-1:].tolist()}: expected a rising "
            "row that begins with 0 and ends with 1, e.g. torch.linspace(0, 1, 1000) or ais.published_betas()"
        )


def check_chains(chains: int) -> None:
    """Raise ConfigError unless there are at least two chains."""
    if chains < 2:
        raise ConfigError(f"{chains} chains: expected at least 2, for an error cannot be estimated from one; 100 is the custom")


def begin(rbm: RBM, base: Tensor, chains: int, rng: torch.Generator) -> Annealing:
    """Return `chains` chains in the base-rate model with biases `base` (visible,): the start of the forward direction.

    Raises:
        ConfigError: fewer than two chains.
    """
    check_chains(chains)
    mean = rbm.visible.mean(base.expand(chains, -1).contiguous())
    return Annealing(1, rbm.visible.sample(mean, rng), torch.zeros(chains, dtype=torch.float64, device=mean.device))


def begin_reverse(visible: Tensor) -> Annealing:
    """Return chains that stand at samples of the RBM, (N, visible): the start of the reverse direction.

    Raises:
        ConfigError: fewer than two chains.
    """
    check_chains(len(visible))
    return Annealing(1, visible.clone(), torch.zeros(len(visible), dtype=torch.float64, device=visible.device))


class _Path:
    """The models between base rates and RBM, and the buffers that N chains need to move through them.

    vW + b is formed once a step and serves both the weight at the next beta and the Gibbs step there.
    """

    def __init__(self, rbm: RBM, base: Tensor, chains: int) -> None:
        self.rbm, self.base = rbm, base
        self.direction = rbm.visible_bias - base
        self.total = rbm.weight.new_empty(chains, rbm.hidden.size)
        self.probs, self.gain, self.hidden = (torch.empty_like(self.total) for _ in range(3))
        self.input = rbm.weight.new_empty(chains, rbm.visible.size)
        self.steepest = float((rbm.weight.abs().sum(0) + rbm.hidden_bias.abs()).max())
        """No hidden input is larger in size."""

    def log_ratio(self, visible: Tensor, now: float, then: float) -> Tensor:
        """Return log p_then(v) - log p_now(v), unnormalised, (N,), float64; leaves vW + b in `total`, E[h | v] at `then` in `probs`."""
        units = self.rbm.hidden
        total = self.rbm.hidden_input(visible, out=self.total)
        scaled = torch.mul(total, then, out=self.probs)
        change = then - now
        if isinstance(units, Bernoulli) and abs(change) * self.steepest < 2:
            # softplus(then x) - softplus(now x) = -log(1 + p (exp(-change x) - 1)), p = sigm(then x): nothing cancels
            units.mean(scaled, out=self.probs)
            gain = torch.mul(total, -change, out=self.gain).expm1_().mul_(self.probs).log1p_().sum(1).double().neg_()
        else:
            gain = units.log_partition(scaled.double()) - units.log_partition(total.double() * now)
            units.mean(scaled, out=self.probs)
        return gain + change * (visible @ self.direction).double()

    def step(self, beta: float, rng: torch.Generator, out: Tensor) -> None:
        """Write to `out` the chains moved by one Gibbs step of p_beta; `probs` holds E[h | v] at beta."""
        rbm = self.rbm
        hidden = rbm.hidden.sample(self.probs, rng, out=self.hidden)
        bias = torch.lerp(self.base, rbm.visible_bias, beta)
        mean = torch.addmm(bias, hidden, rbm.weight.t(), alpha=beta, out=self.input)
        rbm.visible.sample(rbm.visible.mean(mean, out=mean), rng, out=out)


def anneal(
    rbm: RBM, base: Tensor, betas: Tensor, start: Annealing, *, rng: torch.Generator, every: int = 0, reverse: bool = False
) -> Iterator[Annealing]:
    """Move chains through `betas`, yielding where they stand every `every` betas (0: at the end alone).

    Args:
        rbm: the machine whose log Z is sought.
        base: biases of the base-rate model, (visible,).
        betas: from 0 to 1, (K,).
        start: where the chains stand; `begin`, `begin_reverse`, or what an earlier call yielded (`rng` must stand where it stood then).
        rng: where all random choices come from.
        every: how often to yield.
        reverse: go from 1 to 0.

    Raises:
        ConfigError: betas that do not rise from 0 to 1.
    """
    check_betas(betas)
    way = (betas.flip(0) if reverse else betas).double().tolist()
    path = _Path(rbm, base.to(rbm.weight.dtype), len(start.visible))
    visible, log_weights = start.visible.to(rbm.weight.dtype).clone(), start.log_weights.clone()
    for step in range(start.step, len(way)):
        log_weights += path.log_ratio(visible, way[step - 1], way[step])
        if step < len(way) - 1:
            path.step(way[step], rng, visible)
        if step == len(way) - 1 or (every and (step + 1) % every == 0):
            yield Annealing(step + 1, visible.clone(), log_weights.clone())


def spread(betas: Tensor, trace: Sequence[Annealing], chains: int, target_error: float, limit: int) -> Tensor:
    """Return betas of which log Z may be expected to have the standard error `target_error` (nats), from the trace of an earlier run.

    The variance of the log weights that the chains gained in each stretch of beta falls as one over the number of steps there; n_i steps
    in stretch i give sum_i gain_i (earlier n_i) / n_i, which is least where n_i goes as the square root of gain_i (earlier n_i). Slow
    mixing shows in the gains, so it is paid for where it occurs.

    Args:
        betas: those of the earlier run, (K,).
        trace: where it stood on the way, from its first step to its last.
        chains: how many chains the new run will have.
        target_error: wanted standard error, nats.
        limit: most betas.
    """
    variance = torch.stack([found.log_weights.var() for found in trace])
    ends = torch.tensor([found.step - 1 for found in trace])
    need = torch.sqrt((variance.diff().clamp_(min=0) + 1e-4 * variance[-1] / len(trace) + 1e-12) * ends.diff())
    wanted = math.log1p(chains * target_error**2)  # error^2 = (exp(variance) - 1) / chains where log weights are normal
    total = min(float(limit), max(50.0, float(need.sum() ** 2) / wanted))
    counts = (total * need / need.sum()).floor().long().clamp(min=1)
    stretches = [
        torch.linspace(float(betas[start]), float(betas[end]), int(count) + 1, dtype=torch.float64)[:-1]
        for start, end, count in zip(ends[:-1], ends[1:], counts, strict=True)
    ]
    return torch.cat([*stretches, torch.ones(1, dtype=torch.float64)])


def estimate(rbm: RBM, base: Tensor, found: Annealing, *, reverse: bool = False) -> Estimate:
    """Return log Z with its interval from chains that have gone the whole way: log Z_base +- log mean weight."""
    n = len(found.log_weights)
    still = torch.zeros(1, rbm.hidden.size, dtype=torch.float64, device=base.device)
    log_base = float(rbm.visible.log_partition(base.double()[None]) + rbm.hidden.log_partition(still))
    largest = found.log_weights.max()
    weights = torch.exp(found.log_weights - largest)
    mean, error = float(weights.mean()), float(weights.std()) / math.sqrt(n)
    low, middle, high = (float(largest) + (math.log(x) if x > 0 else -math.inf) for x in (mean - 3 * error, mean, mean + 3 * error))
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    if reverse:
        return Estimate(log_base - middle, log_base - high, log_base - low, effective, n, found.step)
    return Estimate(log_base + middle, log_base + low, log_base + high, effective, n, found.step)
