"""log Z from both sides, and what it makes of a stack: the likelihood of each depth with its interval. Nats."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation.values import check_arguments
from wakesleep.judging import ais, bound, exact
from wakesleep.judging.ais import Annealing, Estimate
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.sampling import gibbs
from wakesleep.sources import cases as rows

log = logging.getLogger(__name__)


class LogZ(NamedTuple):
    """What is known of log Z, nats."""

    forward: Estimate
    """By annealed importance sampling from the base-rate model: errs low, so that likelihoods come out too high."""
    reverse: Estimate | None = None
    """From samples of the model back to the base-rate model: errs high, so that likelihoods come out too low."""
    exact: float | None = None
    """By listing all states, where the machine is small enough."""

    @property
    def disagreement(self) -> str | None:
        """What to tell a person where the estimate is not to be trusted; None where nothing speaks against it.

        Intervals of the two directions that do not meet; a reverse estimate below the forward one by more than chance, though it errs high and
        the other low; intervals that rest on fewer than a tenth of the chains.
        """
        doubts, forward, reverse = [], self.forward, self.reverse
        gap = 0.0 if reverse is None else reverse.log_z - forward.log_z
        if reverse is not None and -gap > 3 * math.hypot(forward.standard_error, reverse.standard_error):
            doubts.append(
                f"reverse AIS lies {-gap:.2f} nats below forward AIS, though it errs high and forward AIS low: the chains that the reverse "
                "direction begins with are no samples of the model; let them run longer (more reverse steps)"
            )
        elif reverse is not None and (forward.low > reverse.high or reverse.low > forward.high):
            doubts.append(
                f"forward and reverse AIS differ by {gap:.2f} nats, more than their intervals (up to {forward.high:.2f}; from "
                f"{reverse.low:.2f}): "
                "the chains mix too slowly. The truth may lie anywhere between; use more temperatures (a smaller target error, a higher limit)"
            )
        for name, found in (("forward", forward), ("reverse", reverse)):
            if found is not None and found.effective_chains < found.chains / 10:
                doubts.append(
                    f"{found.effective_chains:.1f} of {found.chains} chains carry the {name} estimate, so that its interval says little; "
                    "use more temperatures or more chains"
                )
        return ". ".join(doubts) or None

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        parts = {"forward": self.forward, "reverse": self.reverse}
        found: dict[str, Any] = {name: None if part is None else part._asdict() for name, part in parts.items()}
        return {**found, "exact": self.exact, "disagreement": self.disagreement}


def small_enough(rbm: RBM) -> bool:
    """Return whether log Z can be had exactly in seconds: a side of at most 2^20 states."""
    sides = (rbm.visible, rbm.hidden)
    return any({kind for kind, _ in side.kinds} <= {"bernoulli", "softmax"} and exact.states(side) <= 2**20 for side in sides)


@check_arguments
def model_samples(rbm: RBM, cases: Tensor, chains: int, *, steps: int, rng: torch.Generator) -> Tensor:
    """Return states (chains, visible) that stand in for samples of the model: Gibbs chains that began at random `cases` (N, visible).

    Reverse AIS is a bound only as far as these are samples; the more steps, the better they are.
    """
    cases = rows.as_cases(cases, rbm.visible.size, rbm.weight, rng=rng)
    place = torch.randint(len(cases), (chains,), generator=rng, device=rng.device)
    start = rows.as_probs(cases[place]).to(rbm.weight.dtype)
    hidden = rbm.hidden.sample(rbm.hidden_probs(start), rng)
    return gibbs.run(rbm, hidden, steps, rng).visible


@check_arguments
def log_partition(
    rbm: RBM,
    cases: Tensor,
    *,
    rng: torch.Generator,
    chains: int = 100,
    target_error: float = 0.1,
    limit: int = 20_000,
    betas: Tensor | None = None,
    reverse_steps: int = 1000,
) -> LogZ:
    """Return log Z of `rbm` by AIS both ways, and exactly where that takes seconds.

    Args:
        rbm: the machine.
        cases: what it learned from, (N, visible), as probabilities or states; their means make the base-rate model.
        rng: where all random choices come from.
        chains: of each direction.
        target_error: wanted standard error, nats; ignored where `betas` are given.
        limit: most betas.
        betas: a fixed way, (K,), e.g. `ais.published_betas()`.
        reverse_steps: Gibbs steps from cases to the states that the reverse direction begins with; 0 leaves it out.

    Raises:
        ConfigError: betas that do not rise from 0 to 1, fewer than two chains.
        DataError: cases that do not fit the machine, NaN, or values out of range.
    """
    base = ais.base_rates(rbm, cases)
    begun = None if betas is None else ais.begin(rbm, base, betas, chains, rng)
    way = (
        ais.search(rbm, base, rng=rng, chains=chains, target_error=target_error, limit=limit)
        if begun is None
        else ais.anneal(rbm, base, begun, rng=rng)
    )
    found = _last(way)
    forward, reverse = ais.estimate(rbm, base, found), None
    if reverse_steps:
        samples = model_samples(rbm, cases, chains, steps=reverse_steps, rng=rng)
        rising = found.betas
        reverse = ais.estimate(rbm, base, _last(ais.anneal(rbm, base, ais.begin_reverse(rising, samples), rng=rng)))
    both = LogZ(forward, reverse, exact.log_partition(rbm) if small_enough(rbm) else None)
    if both.disagreement:
        log.warning(both.disagreement)
    return both


def _last(way: Iterator[Annealing]) -> Annealing:
    *_, last = way
    return last


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
    dbn: DBN, cases: Tensor, log_z: LogZ, *, rng: torch.Generator, samples: int = 10, labels: Tensor | None = None, depth: int | None = None
) -> Score:
    """Return the mean of `bound.lower_bound` over binary cases with every reading of log Z; arguments as there."""
    known = log_z.forward.log_z if log_z.exact is None else log_z.exact
    high = log_z.forward.high if log_z.exact is None else log_z.exact
    found = bound.lower_bound(dbn, cases, 0.0, rng=rng, samples=samples, labels=labels, depth=depth)
    mean = float(found.bound.mean())
    return Score(
        dbn.depth if depth is None else depth,
        log_z,
        mean - known,
        mean - high,
        None if log_z.reverse is None else mean - log_z.reverse.log_z,
        float(found.bound.std()) / max(len(cases), 1) ** 0.5,
        float(found.importance_weighted.mean()) - known,
    )
