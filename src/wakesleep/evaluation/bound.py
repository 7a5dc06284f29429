"""How probable a deep net finds cases: lower bounds on log p(v), per case, in nats. Of a DBN:

    log p(v) >= E_q(h|v) [log p(v | h1) + ... - F_top(h_L)] + H(q) - log Z_top

q is the recognition pathway, p(v | h1) the generative one, F_top the free energy of the memory. The
expectation is a mean over samples of q; the entropy of each layer given the one below is exact. A
net of one layer is an RBM: its log-likelihood is exact up to log Z. Sources: Hinton, Osindero & Teh
(2006), section 4; Salakhutdinov & Murray (2008), section 4; the importance-weighted bound: Burda et
al. (2016).
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.dbm import DBM, STEPS, Label
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.axes import Features


class Bound(NamedTuple):
    """Lower bounds on log p(v) of N cases, (N,), float64, nats."""

    bound: Tensor
    """The variational bound, a mean over samples of q."""
    importance_weighted: Tensor
    """log mean p/q over the samples: never looser in expectation, and tighter the more samples
    there are.
    """
    error: Tensor
    """The standard error of `bound` from the choice of samples; 0 where the bound is exact, NaN of
    a single sample, which tells none.
    """


@check_arguments
def marginal_free_energy(dbn: DBN, features: Features) -> Tensor:
    """Return `DBN.memory_free_energy`, which replaces this."""
    warnings.warn(
        "bound.marginal_free_energy is DBN.memory_free_energy now", DeprecationWarning, stacklevel=2
    )
    return dbn.memory_free_energy(features)


def _top_free_energy(
    dbn: DBN, top: RBM, depth: int, features: Tensor, labels: Tensor | None
) -> Tensor:
    if depth < dbn.depth:
        return top.free_energy(features)
    if labels is None:
        return dbn.memory_free_energy(features)
    return top.free_energy(torch.cat([features, one_hot(labels, dbn.labels).to(features.dtype)], 1))


@check_arguments
def lower_bound(
    dbn: DBN,
    cases: Tensor,
    log_z: float,
    *,
    rng: torch.Generator,
    samples: int = 10,
    labels: Tensor | None = None,
    depth: int | None = None,
) -> Bound:
    """Return lower bounds on log p(v), or with `labels` on log p(v, label), of cases that are
    states of the pixels, 0 or 1 of binary ones.

    Args:
        dbn: the net; where it holds labels and none are given, they are summed out.
        cases: (N, pixels), each a state.
        log_z: of the memory, or of the RBM on top where `depth` cuts the stack, nats.
        rng: what q's states are drawn from.
        samples: of q, a case.
        labels: (N,).
        depth: judge the lowest `depth` RBMs of the stack alone (their weights still tied); by
            default the whole net.

    Raises:
        DataError: cases that do not fit the net or are no states.
        ConfigError: no such depth, samples below 1, or labels that the net (or the cut stack) does
            not hold.
    """
    depth = dbn.depth if depth is None else depth
    if not 1 <= depth <= dbn.depth or samples < 1:
        raise ConfigError(
            f"depth {depth} with {samples} samples: expected 1 to {dbn.depth}, and at "
            "least 1 sample"
        )
    if labels is not None and (not dbn.labels or depth < dbn.depth):
        raise ConfigError(
            "labels came for a memory that holds none; leave them out to bound log p(v)"
        )
    cases = dbn.check_cases(cases, rng=rng)
    dbn.visible.validate(cases, states=True)
    if labels is not None:
        labels = arrays.as_labels(labels, len(cases), dbn.labels).to(dbn.memory.weight.device)
    top, bounds, start = dbn.rbm(depth - 1), [], 0
    for chunk in arrays.chunks(cases):
        chunk_labels = None if labels is None else labels[start : start + len(chunk)]
        draws = [
            _one_sample(dbn, top, depth, chunk.to(top.weight.dtype), chunk_labels, rng)
            for _ in range(1 if depth == 1 else samples)
        ]
        expected, raw = (torch.stack(part) - log_z for part in zip(*draws, strict=True))
        error = (
            expected.std(0) / math.sqrt(len(draws))
            if len(draws) > 1
            else torch.full_like(expected[0], 0.0 if depth == 1 else math.nan)
        )
        bounds.append(
            Bound(expected.mean(0), torch.logsumexp(raw, 0) - math.log(len(draws)), error)
        )
        start += len(chunk)
    return Bound(*(torch.cat(parts) for parts in zip(*bounds, strict=True)))


@check_arguments
def mean_field_bound(
    dbm: DBM,
    cases: Tensor,
    log_z: float,
    *,
    labels: Tensor | None = None,
    steps: int = STEPS,
    rng: torch.Generator | None = None,
    samples: int = 0,
) -> Bound:
    """Return lower bounds on log p(v) of a deep Boltzmann machine, or with `labels` on log p(v,
    label).

        log p(v) >= H(q(even)) - F(v, E_q[even]) - log Z

    q is the mean field of the even hidden layers and F the free energy of the machine's RBM, in
    which the odd layers are summed out. With `samples` of q, `importance_weighted` is log mean
    exp(-F(v, even)) / q(even) over them, less log Z; without, it is the same bound.

    Args:
        dbm: the machine; where it holds labels and none are given, they are a hidden unit of q.
        cases: states of the visible units, (N, visible).
        log_z: of `dbm.rbm`, nats.
        labels: (N,).
        steps: of mean field.
        rng: what samples are drawn from.
        samples: of q, a case.

    Raises:
        DataError: cases or labels that do not fit the machine; grey values of binary units.
        ConfigError: labels that the machine does not hold, or samples without `rng`.
    """
    if labels is not None and not dbm.labels:
        raise ConfigError("labels came for a machine that holds none; leave them out")
    if samples and rng is None:
        raise ConfigError(f"samples = {samples} came without rng; give rng=wakesleep.generator(0)")
    cases = dbm.as_numbers(dbm.check_cases(cases, rng=rng, states=True))
    if labels is not None:
        labels = arrays.as_labels(labels, len(cases), dbm.labels).to(dbm.rbm.weight.device)
    bounds, start = [], 0
    for chunk in torch.split(cases, 2000):
        known = None if labels is None else labels[start : start + len(chunk)]
        start += len(chunk)
        means, label = dbm.mean_field(chunk, known, steps=steps).even, dbm.label(known, chunk)
        log_ratio = partial(_log_ratio, dbm, label=label, means=means)
        bound = weighted = log_ratio(means) - log_z
        if samples and rng is not None:
            drawn = [log_ratio(dbm.sample_even(means, rng)) for _ in range(samples)]
            weighted = torch.logsumexp(torch.stack(drawn), 0) - math.log(samples) - log_z
        bounds.append(Bound(bound, weighted, torch.zeros_like(bound)))
    return Bound(*(torch.cat(parts) for parts in zip(*bounds, strict=True)))


def _log_ratio(dbm: DBM, even: Tensor, *, label: Label | None, means: Tensor) -> Tensor:
    """Return -F(even) - log q(even), (N,), float64; at the means themselves, -F and q's entropy."""
    return -dbm.free_energy(even, label).double() - _log_q(dbm, even, means)


def _log_q(dbm: DBM, even: Tensor, means: Tensor) -> Tensor:
    """Return log q of the even hidden layers at states, or minus q's entropy at its own means,
    (N,), float64.
    """
    even, means, total = even.double(), means.double(), even.new_zeros(len(even)).double()
    for name, columns in zip(dbm.even.names[1:], dbm.even.slices[1:], strict=True):
        s, m = even[:, columns], means[:, columns]
        total += torch.special.xlogy(s, m).sum(1)
        if name != "label":
            total += torch.special.xlogy(1 - s, 1 - m).sum(1)
    return total


def _one_sample(
    dbn: DBN, top: RBM, depth: int, cases: Tensor, labels: Tensor | None, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return log p*(v, h) + H(q) and log p*(v, h) - log q(h | v) for one sample h of q a case, both
    (N,), float64, without log Z.
    """
    expected = torch.zeros(len(cases), dtype=torch.float64, device=cases.device)
    raw, below = torch.zeros_like(expected), cases
    for up, down in zip(dbn.recognition[: depth - 1], dbn.generative[: depth - 1], strict=True):
        up_input = up.total_input(below)
        partition = up.units.log_partition(up_input)
        mean, above = up.units.mean_and_sample(up_input, rng)
        down_input = down.total_input(above)
        log_p = (below * down_input).sum(1) - down.units.log_partition(down_input)
        log_p = log_p - down.units.potential(below) + up.units.potential(above)
        expected += log_p + partition - (up_input * mean).sum(1)
        raw += log_p + partition - (up_input * above).sum(1)
        below = above
    free_energy = _top_free_energy(dbn, top, depth, below, labels)
    return expected - free_energy, raw - free_energy
