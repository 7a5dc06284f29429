"""log Z from both sides, and what it makes of a stack: the likelihood of each depth with its
interval. Nats.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wakesleep.evaluation import ais, bound, exact
from wakesleep.evaluation.ais import Annealing, Estimate
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.values import whole
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs
from wakesleep.samplers.annealed import Independent
from wakesleep.sources import arrays
from wakesleep.sources.axes import Betas
from wakesleep.units import Context

log = logging.getLogger(__name__)


class LogZ(NamedTuple):
    """What is known of log Z, nats."""

    forward: Estimate
    """By annealed importance sampling from the base-rate model: errs low, so that likelihoods come
    out too high.
    """
    reverse: Estimate | None = None
    """From samples of the model back to the base-rate model: errs high, so that likelihoods come
    out too low.
    """
    exact: float | None = None
    """By listing all states, where the machine is small enough."""

    @property
    def disagreement(self) -> str | None:
        """What to tell a person where the estimate is not to be trusted; None where nothing speaks
        against it.

        Intervals of the two directions that do not meet; a reverse estimate below the forward one
        by more than chance, though it errs high and the other low; intervals that rest on fewer
        than a tenth of the chains.
        """
        doubts, forward, reverse = [], self.forward, self.reverse
        gap = 0.0 if reverse is None else reverse.log_z - forward.log_z
        if reverse is not None and -gap > 3 * math.hypot(
            forward.standard_error, reverse.standard_error
        ):
            doubts.append(
                f"reverse AIS lies {-gap:.2f} nats below forward AIS, though it errs high and "
                "forward AIS low: the chains that the reverse direction begins with are no samples "
                "of the model; let them run longer (more reverse steps)"
            )
        elif reverse is not None and (forward.low > reverse.high or reverse.low > forward.high):
            doubts.append(
                f"forward and reverse AIS differ by {gap:.2f} nats, more than their intervals (up "
                f"to {forward.high:.2f}; from {reverse.low:.2f}): the chains mix too slowly. The "
                "truth may lie anywhere between; use more temperatures (a smaller target error, a "
                "higher limit)"
            )
        for name, estimate in (("forward", forward), ("reverse", reverse)):
            if estimate is not None and estimate.effective_chains < estimate.chains / 10:
                doubts.append(
                    f"{estimate.effective_chains:.1f} of {estimate.chains} chains carry the {name} "
                    "estimate, so that its interval says little; use more temperatures or more "
                    "chains"
                )
        return ". ".join(doubts) or None

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        parts = {"forward": self.forward, "reverse": self.reverse}
        values: dict[str, Any] = {
            name: None if part is None else part._asdict() for name, part in parts.items()
        }
        return {**values, "exact": self.exact, "disagreement": self.disagreement}


@check_arguments
def small_enough(rbm: RBM, context: Context | None = None) -> bool:
    """Return whether log Z can be had exactly in seconds: a side of at most 2^20 states, or
    Gaussian units on both.
    """
    counts = (exact.count_states(rbm.visible, context), exact.count_states(rbm.hidden))
    return min(counts) <= 2**20 or exact.is_integral(rbm, context)


@check_arguments
def model_samples(
    rbm: RBM,
    cases: Tensor,
    chains: int,
    *,
    steps: int,
    rng: torch.Generator,
    context: Context | None = None,
) -> Tensor:
    """Return states (chains, visible) that stand in for samples of the model: Gibbs chains that
    began at random `cases` (N, visible).

    Reverse AIS is a bound only as far as these are samples; the more steps, the better they are.
    """
    cases = rbm.check_cases(cases, rng=rng, context=context)
    whole("chains", chains, least=1)
    chosen = torch.randint(len(cases), (chains,), generator=rng, device=rng.device)
    start = arrays.as_probs(cases[chosen]).to(rbm.weight.dtype)
    hidden = rbm.sample_hidden(start, rng, context=context)
    return gibbs.run(rbm, hidden, steps, rng, context=context).visible


@check_arguments
def log_partition(
    rbm: RBM,
    cases: Tensor,
    *,
    rng: torch.Generator,
    chains: int = 100,
    target_error: float = 0.1,
    limit: int = 20_000,
    betas: Betas | None = None,
    reverse_steps: int = 1000,
    context: Context | None = None,
) -> LogZ:
    """Return log Z of `rbm` by AIS both ways, and exactly where that takes seconds.

    Args:
        rbm: the machine.
        cases: what it learned from, (N, visible), as probabilities or states; their means make the
            base-rate model.
        rng: where all random choices come from.
        chains: of each direction.
        target_error: wanted standard error, nats; ignored where `betas` are given.
        limit: most betas.
        betas: a fixed way, (K,), e.g. `ais.published_betas()`.
        reverse_steps: Gibbs steps from cases to the states that the reverse direction begins with;
            0 leaves it out.
        context: of the cases whose log Z is sought, (1, ...); those of `cases` have it.

    Raises:
        ConfigError: betas that do not rise from 0 to 1, fewer than two chains.
        DataError: cases that do not fit the machine, NaN, or values out of range.
    """
    base = ais.base_model(rbm, cases, context)
    given: dict[str, Any] = {
        "chains": chains,
        "target_error": target_error,
        "limit": limit,
        "betas": betas,
    }
    *_, traces = both_ways(
        rbm, base, cases, rng=rng, reverse_steps=reverse_steps, context=context, **given
    )
    annealed = from_traces(rbm, base, traces, context)
    if annealed.disagreement:
        log.warning(annealed.disagreement)
    return annealed


class Traces(NamedTuple):
    """Where the chains of both directions stand; the reverse ones begin when the forward ones have
    arrived.
    """

    forward: Annealing
    reverse: Annealing | None = None


@check_arguments
def both_ways(
    rbm: RBM,
    base: Independent,
    cases: Tensor,
    *,
    rng: torch.Generator,
    chains: int,
    target_error: float,
    limit: int,
    betas: Betas | None,
    reverse_steps: int,
    context: Context | None = None,
    state: Traces | None = None,
) -> Iterator[Traces]:
    """Anneal forward and, unless `reverse_steps` is 0, back, yielding where the chains stand;
    arguments as in `log_partition`.

    `state` is what an earlier call yielded, to go on after it (`rng` must stand where it stood
    then).
    """
    forward, reverse = (None, None) if state is None else state
    if reverse is None:
        if betas is None:
            way = ais.search(
                rbm,
                base,
                rng=rng,
                chains=chains,
                target_error=target_error,
                limit=limit,
                state=forward,
                context=context,
            )
        else:
            begun = forward or ais.init_forward(rbm, base, betas, chains, rng, context)
            way = ais.anneal(rbm, base, begun, rng=rng, context=context)
        for forward in way:
            yield Traces(forward)
    assert forward is not None
    if reverse_steps:
        if reverse is None:
            samples = model_samples(
                rbm, cases, chains, steps=reverse_steps, rng=rng, context=context
            )
            reverse = ais.init_reverse(forward.betas, samples)
        for reverse in ais.anneal(rbm, base, reverse, rng=rng, context=context):  # noqa: B020
            yield Traces(forward, reverse)


@check_arguments
def from_traces(
    rbm: RBM, base: Independent, traces: Traces, context: Context | None = None
) -> LogZ:
    """Return log Z from chains that have arrived, and exactly where that takes seconds."""
    forward = ais.estimate(rbm, base, traces.forward, context)
    reverse = None if traces.reverse is None else ais.estimate(rbm, base, traces.reverse, context)
    return LogZ(
        forward, reverse, exact.log_partition(rbm, context) if small_enough(rbm, context) else None
    )


class Score(NamedTuple):
    """How probable one depth of a stack finds some cases, nats a case."""

    depth: int
    log_z: LogZ
    mean: float
    """Mean lower bound with log Z at its estimate (for one layer: mean log-likelihood)."""
    conservative: float
    """The same with log Z at the upper end of its forward interval."""
    reverse: float | None
    """The same with log Z as the reverse direction has it."""
    error: float
    """Standard error of the mean from the choice of cases."""
    importance_weighted: float
    """Mean importance-weighted bound with log Z at its estimate."""


@check_arguments
def score(
    dbn: DBN,
    cases: Tensor,
    log_z: LogZ,
    *,
    rng: torch.Generator,
    samples: int = 10,
    labels: Tensor | None = None,
    depth: int | None = None,
) -> Score:
    """Return the mean of `bound.lower_bound` over binary cases with every reading of log Z;
    arguments as there.
    """
    known = log_z.forward.log_z if log_z.exact is None else log_z.exact
    high = log_z.forward.high if log_z.exact is None else log_z.exact
    bounds = bound.lower_bound(
        dbn, cases, 0.0, rng=rng, samples=samples, labels=labels, depth=depth
    )
    mean = float(bounds.bound.mean())
    return Score(
        dbn.depth if depth is None else depth,
        log_z,
        mean - known,
        mean - high,
        None if log_z.reverse is None else mean - log_z.reverse.log_z,
        float(bounds.bound.std()) / max(len(cases), 1) ** 0.5,
        float(bounds.importance_weighted.mean()) - known,
    )
