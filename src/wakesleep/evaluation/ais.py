"""Annealed importance sampling: log Z of an RBM too large to enumerate, with an error, from below
and from above. Nats.

Chains go through the models p_beta between the base-rate model (beta = 0: independent visible
units) and the RBM (beta = 1), see `wakesleep.annealed`.

Forward, chains begin in the base-rate model and are moved by one Gibbs step at each beta; the mean
of their weights w = prod_k p_k(v_k) / p_k-1(v_k) estimates Z / Z_base without bias, so that its
logarithm errs low (and log-likelihoods too high). In reverse, chains begin in samples of the RBM;
the mean of their weights estimates Z_base / Z, and log Z errs high. Sources: Neal (2001);
Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks"; Burda, Grosse
& Salakhutdinov (2015) and Grosse, Ghahramani & Adams (2015) for the other direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM
from wakesleep.samplers.annealed import Independent, Path, as_independent, check_base
from wakesleep.samplers.gibbs import check_states
from wakesleep.sources.axes import Betas, Bias, LogWeights, Rows, Steps, Visible
from wakesleep.sources.context import one_context
from wakesleep.units import Context
from wakesleep.units.matching import match_cases


class Annealing(NamedTuple):
    """N chains on their way through the betas: all that is needed to stop, to go on, and to
    plot.
    """

    betas: Betas
    """The way, (K,): from 0 to 1, or from 1 to 0 in the reverse direction."""
    steps: Steps
    """How many betas were done at each recorded point, (P,); the last one is where the chains
    stand.
    """
    log_weights: LogWeights
    """The logarithm of each chain's weight at each recorded point, (P, N), float64, nats."""
    visible: Visible
    """The chains' states now, (N, visible)."""

    def check_values(self) -> None:
        """Raise DataError unless the chains stand at one of the betas."""
        if not 1 <= self.step <= len(self.betas):
            raise DataError(f"chains at step {self.step} of {len(self.betas)} betas came")

    @property
    def step(self) -> int:
        """How many of the betas are done."""
        return int(self.steps[-1])

    @property
    def reverse(self) -> bool:
        """Whether the chains go from the RBM to the base-rate model."""
        return bool(self.betas[0] > self.betas[-1])


class Estimate(NamedTuple):
    """log Z with its interval, nats."""

    log_z: float
    """The estimate."""
    low: float
    """Three standard errors of the mean weight below; -inf where they exceed the mean."""
    high: float
    """Three standard errors above."""
    effective_chains: float
    """The effective sample size (sum w)^2 / sum w^2, at most the number of chains; near 1, one
    chain carries all and the interval is moot.
    """
    chains: int
    """How many chains there were."""
    temperatures: int
    """How many betas."""

    @property
    def standard_error(self) -> float:
        """The standard error of log Z, nats, to first order."""
        return math.sqrt(max(0.0, (self.chains / self.effective_chains - 1) / (self.chains - 1)))


def published_betas() -> Tensor:
    """Return the schedule of Salakhutdinov & Murray (2008): 0 to 0.5 by 1/1,000, to 0.9 by
    1/10,000, to 1 by 1/100,000; (14,501,).
    """
    pieces = [
        torch.arange(500) / 1000,
        0.5 + torch.arange(4000) / 10_000,
        0.9 + torch.arange(10_001) / 100_000,
    ]
    return torch.cat([piece.double() for piece in pieces]).clamp_(0.0, 1.0)


@check_arguments
def base_model(rbm: RBM, cases: Tensor, context: Context | None = None) -> Independent:
    """Return the model of independent visible units that fits `cases` (N, visible): AIS starts
    there.

    Families whose bias would be infinite for a unit that is never on add one case on and one off,
    see `Units.match`.
    """
    cases = rbm.check_cases(cases, context=context)
    units = deepcopy(rbm.visible)
    bias = match_cases(units, cases, context=context)
    return Independent(units, bias.to(rbm.weight.dtype))


@check_arguments
def base_rates(rbm: RBM, cases: Tensor, context: Context | None = None) -> Tensor:
    """Return the biases (visible,) of `base_model`: of binary units log p/(1-p), of a categorical
    site log p.
    """
    return base_model(rbm, cases, context).bias


@check_arguments
def check_betas(betas: Betas) -> None:
    """Raise ConfigError unless `betas` rise from 0 to 1."""
    values = betas.double()
    rising = values.ndim == 1 and len(values) >= 2 and bool((values[1:] > values[:-1]).all())
    if not rising or float(values[0]) != 0.0 or float(values[-1]) != 1.0:
        raise ConfigError(
            f"betas of shape {tuple(betas.shape)} from {values.flatten()[:1].tolist()} to "
            f"{values.flatten()[-1:].tolist()}: expected a rising row that begins with 0 and ends "
            "with 1, e.g. torch.linspace(0, 1, 1000) or ais.published_betas()"
        )


@check_arguments
def check_chains(chains: int) -> None:
    """Raise ConfigError unless there are at least two chains."""
    if chains < 2:
        raise ConfigError(
            f"{chains} chains: expected at least 2, for an error cannot be estimated from one; "
            "100 is the custom"
        )


@check_arguments
def init_forward(
    rbm: RBM,
    base: Bias | Independent,
    betas: Betas,
    chains: int,
    rng: torch.Generator,
    context: Context | None = None,
) -> Annealing:
    """Return `chains` chains in the base-rate model, or that with biases `base` (visible,), before
    their way through `betas` (K,).

    The `context`, here and below, is that of every chain, (1, ...): log Z is that of such cases.

    Raises:
        ConfigError: fewer than two chains, or betas that do not rise from 0 to 1.
        DataError: NaN or infinite numbers.
    """
    check_chains(chains)
    check_betas(betas)
    check_base(rbm, base)
    base, context = as_independent(rbm, base), one_context(context)
    return _start(
        betas.double().cpu(),
        base.units.sample(base.bias.expand(chains, -1).contiguous(), rng, context=context),
    )


@check_arguments
def init_reverse(betas: Betas, visible: Rows) -> Annealing:
    """Return chains that stand at samples of the RBM, (N, visible), before their way back through
    `betas` (K,, given rising).

    Raises:
        ConfigError: fewer than two chains, or betas that do not rise from 0 to 1.
        DataError: NaN or infinite numbers.
    """
    check_chains(len(visible))
    check_betas(betas)
    check_states(visible)
    return _start(betas.double().cpu().flip(0), visible.clone())


def _start(betas: Tensor, visible: Tensor) -> Annealing:
    nothing = torch.zeros(1, len(visible), dtype=torch.float64, device=visible.device)
    return Annealing(betas, torch.ones(1, dtype=torch.int64), nothing, visible)


class _Annealer:
    """Moves N chains along the models between base rates and RBM, in buffers of its own.

    vW + b is formed once a step and serves both the weight at the next beta and the Gibbs step
    there.
    """

    def __init__(
        self, rbm: RBM, base: Tensor | Independent, chains: int, context: Context | None = None
    ) -> None:
        check_base(rbm, base)
        normalisable.check(rbm)
        base = as_independent(rbm, base)
        base = Independent(base.units, base.bias.to(rbm.weight.dtype))
        self.path = Path(rbm, base, one_context(context))
        self.direction = rbm.visible_bias - base.bias
        self.total = rbm.weight.new_empty(chains, rbm.hidden.size)
        self.scaled, self.gain, self.hidden = (torch.empty_like(self.total) for _ in range(3))
        self.input = rbm.weight.new_empty(chains, rbm.visible.size)
        self.binary = rbm.hidden.n_bernoulli == rbm.hidden.size
        self.steepest = float((rbm.weight.abs().sum(0) + rbm.hidden_bias.abs()).max())
        """No input of a hidden unit is larger in size where visible states are at most 1."""
        self.units_change = self.path.units(0.0) is not rbm.visible
        """Whether the visible units have parameters that change on the way."""

    def log_ratio(self, visible: Tensor, now: float, then: float) -> Tensor:
        """Return log p_then(v) - log p_now(v), unnormalised, (N,), float64; leaves vW + b in
        `total`, `then` (vW + b) in `scaled`.
        """
        path, rbm = self.path, self.path.rbm
        total = rbm.hidden_input(visible, out=self.total, context=path.context)
        scaled = torch.mul(total, then, out=self.scaled)
        change = then - now
        if self.binary and rbm.visible.limits == (0.0, 1.0) and abs(change) * self.steepest < 2:
            # softplus(then x) - softplus(now x) = -log(1 + p (exp(-change x) - 1)), p = sigm(then
            # x): nothing cancels
            self._mean()
            gain = (
                torch.mul(total, -change, out=self.gain)
                .expm1_()
                .mul_(self.scaled)
                .log1p_()
                .sum(1)
                .double()
                .neg_()
            )
        else:
            gain = rbm.hidden.log_partition(scaled.double())
            gain -= rbm.hidden.log_partition(total.double() * now)
            if self.binary:
                self._mean()
        if self.units_change:
            after, before = (
                path.units(beta).potential(visible.double(), path.context) for beta in (then, now)
            )
            gain -= after - before
        return gain + change * (visible @ self.direction).double()

    def _mean(self) -> None:
        """Turn what is in `scaled` into the mean of binary hidden units."""
        self.path.rbm.hidden.mean(self.scaled, out=self.scaled)

    def step(self, beta: float, rng: torch.Generator, out: Tensor) -> None:
        """Write to `out` the chains moved by one Gibbs step of p_beta; `scaled` is as `log_ratio`
        left it.
        """
        units = self.path.rbm.hidden
        draw = units.sample_from_mean if self.binary else units.sample
        hidden = draw(self.scaled, rng, out=self.hidden)
        self.path.sample_visible(hidden, beta, rng, total=self.input, out=out)


@check_arguments
def anneal(
    rbm: RBM,
    base: Bias | Independent,
    chains: Annealing,
    *,
    rng: torch.Generator,
    every: int = 0,
    context: Context | None = None,
) -> Iterator[Annealing]:
    """Move chains to the end of their betas, yielding where they stand every `every` betas (0:
    fifty times) and at the end.

    Args:
        rbm: the machine whose log Z is sought.
        base: the base-rate model, or its biases (visible,).
        chains: from `begin`, `begin_reverse`, or what an earlier call yielded (`rng` must stand
            where it stood then).
        rng: where all random choices come from.
        every: how often to record and yield.
        context: of all chains.
    """
    way = chains.betas.tolist()
    every = every or max(1, len(way) // 50)
    annealer = _Annealer(rbm, base, len(chains.visible), context)
    visible, log_weights = (
        chains.visible.to(rbm.weight.dtype).clone(),
        chains.log_weights[-1].clone(),
    )
    for step in range(chains.step, len(way)):
        log_weights += annealer.log_ratio(visible, way[step - 1], way[step])
        if step < len(way) - 1:
            annealer.step(way[step], rng, visible)
        if step == len(way) - 1 or (step + 1) % every == 0:
            steps = torch.cat([chains.steps, torch.tensor([step + 1])])
            chains = Annealing(
                chains.betas,
                steps,
                torch.cat([chains.log_weights, log_weights[None]]),
                visible.clone(),
            )
            yield chains


@check_arguments
def search(
    rbm: RBM,
    base: Bias | Independent,
    *,
    rng: torch.Generator,
    chains: int = 100,
    target_error: float = 0.1,
    limit: int = 20_000,
    state: Annealing | None = None,
    context: Context | None = None,
) -> Iterator[Annealing]:
    """Anneal, first through 1,000 even betas, then through as many as `spread` says, until log Z's
    error is on target.

    Args:
        rbm: the machine whose log Z is sought.
        base: the base-rate model, or its biases (visible,).
        rng: where all random choices come from.
        chains: how many chains run side by side.
        target_error: wanted standard error of log Z, nats.
        limit: most betas of one round; where they do not reach the target, the last round's own
            error says so.
        state: what an earlier call yielded, to go on after it (`rng` must stand where it stood
            then).
        context: of all chains.

    Yields:
        Annealing: the round in progress; it is a new one where `step` falls back. The last one
            counts: `estimate` reads it.

    Raises:
        ConfigError: fewer than two chains, a target or limit that cannot be met.
    """
    if not target_error > 0 or limit < 2:
        raise ConfigError(
            f"a target error of {target_error} nats within {limit} betas: expected a number above "
            "0, and at least 2 betas"
        )
    if state is None:
        state = init_forward(
            rbm,
            base,
            torch.linspace(0, 1, min(1001, limit), dtype=torch.float64),
            chains,
            rng,
            context,
        )
    while True:
        for state in anneal(rbm, base, state, rng=rng, context=context):  # noqa: B020 - the state is what moves on
            yield state
        if (
            estimate(rbm, base, state, context).standard_error <= target_error
            or len(state.betas) >= 0.9 * limit
        ):
            return
        state = init_forward(
            rbm, base, spread(state, chains, 0.8 * target_error, limit), chains, rng, context
        )


@check_arguments
def spread(earlier: Annealing, chains: int, target_error: float, limit: int) -> Tensor:
    """Return betas with which log Z may be expected to have the standard error `target_error`
    (nats), from an earlier forward run.

    The variance of the log weights that the chains gained in each stretch of beta falls as one over
    the number of steps there; n_i steps in stretch i give sum_i gain_i (earlier n_i) / n_i, which
    is least where n_i goes as the square root of gain_i (earlier n_i). Slow mixing shows in the
    gains, so it is paid for where it occurs.
    """
    check_chains(chains)
    whole("limit", limit, least=2)
    variance, ends = earlier.log_weights.cpu().var(1), earlier.steps - 1
    floor = 1e-4 * variance[-1] / len(variance) + 1e-12
    need = torch.sqrt((variance.diff().clamp_(min=0) + floor) * ends.diff())
    # error^2 = (exp(variance) - 1) / chains where log weights are normal
    wanted = math.log1p(chains * target_error**2)
    total = min(float(limit), max(50.0, float(need.sum() ** 2) / wanted))
    counts = (total * need / need.sum()).floor().long().clamp(min=1)
    pieces = zip(
        earlier.betas[ends[:-1]].tolist(),
        earlier.betas[ends[1:]].tolist(),
        counts.tolist(),
        strict=True,
    )
    rising = [
        torch.linspace(low, high, count + 1, dtype=torch.float64)[:-1]
        for low, high, count in pieces
    ]
    return torch.cat([*rising, torch.ones(1, dtype=torch.float64)])


@check_arguments
def estimate(
    rbm: RBM, base: Bias | Independent, chains: Annealing, context: Context | None = None
) -> Estimate:
    """Return log Z with its interval from chains that have gone the whole way: log Z_base + log
    mean weight, or - in reverse.

    Raises:
        ConfigError: the chains are still on their way.
    """
    if chains.step < len(chains.betas):
        raise ConfigError(
            f"the chains stand at beta {chains.step} of {len(chains.betas)}: go on with "
            "ais.anneal before reading log Z"
        )
    n, log_weights = len(chains.visible), chains.log_weights[-1]
    base = as_independent(rbm, base)
    still = torch.zeros(1, rbm.hidden.size, dtype=torch.float64, device=base.bias.device)
    own = one_context(context)
    log_base = float(
        base.units.log_partition(base.bias.double()[None], own) + rbm.hidden.log_partition(still)
    )
    largest = float(log_weights.max())
    weights = torch.exp(log_weights - largest)
    mean, error = float(weights.mean()), float(weights.std()) / math.sqrt(n)
    low, middle, high = (
        largest + (math.log(x) if x > 0 else -math.inf)
        for x in (mean - 3 * error, mean, mean + 3 * error)
    )
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    if chains.reverse:
        return Estimate(
            log_base - middle, log_base - high, log_base - low, effective, n, len(chains.betas)
        )
    return Estimate(
        log_base + middle, log_base + low, log_base + high, effective, n, len(chains.betas)
    )


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, begin="init_forward", begin_reverse="init_reverse")
