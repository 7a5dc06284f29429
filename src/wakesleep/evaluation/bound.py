"""How probable a deep net finds cases: lower bounds on log p(v), per case, in nats. Of a DBN:

    log p(v) >= E_q(h|v) [log p(v | h1) + ... - F_top(h_L)] + H(q) - log Z_top

q is the recognition pathway, p(v | h1) the generative one, F_top the free energy of the memory. The
expectation is a mean over samples of q; the entropy of each layer given the one below is exact. A
net of one layer is an RBM: its log-likelihood is exact up to log Z. Senses that a case lacks are
summed out, see `absent_codes`. Sources: Hinton, Osindero & Teh (2006), section 4; Salakhutdinov &
Murray (2008), section 4; the importance-weighted bound: Burda et al. (2016).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from wakesleep.evaluation import absent_codes
from wakesleep.evaluation.absent_codes import AbsentCodes
from wakesleep.evaluation.directed_terms import directed_terms, pathways
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.learning import inputs
from wakesleep.models.dbm import DBM, STEPS, Label
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN, is_present
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.axes import Features, Labels, OfLabels
from wakesleep.units import Bernoulli, Categorical, Groups


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
    dbn: DBN | MultimodalDBN, top: RBM, depth: int, features: Tensor, labels: Tensor | None
) -> Tensor:
    if isinstance(dbn, DBN) and depth < dbn.depth:
        return top.free_energy(features)
    if labels is None:
        return dbn.memory_free_energy(features)
    return top.free_energy(torch.cat([features, one_hot(labels, dbn.labels).to(features.dtype)], 1))


@check_arguments
def lower_bound(
    dbn: DBN | MultimodalDBN,
    cases: Tensor | Mapping[str, Any],
    log_z: float,
    *,
    rng: torch.Generator,
    samples: int = 10,
    labels: Tensor | None = None,
    depth: int | None = None,
) -> Bound:
    """Return lower bounds on log p(v), or with `labels` on log p(v, label), of cases that are
    states of the pixels, 0 or 1 of binary ones. Of a net of several senses v are those that a case
    has; the others are summed out, within the bound.

    Args:
        dbn: the net; where it holds labels and none are given, they are summed out.
        cases: (N, pixels), each a state; of several senses (N, size) by sense, a row of NaN where
            one is absent.
        log_z: of the memory, or of the RBM on top where `depth` cuts the stack, nats.
        rng: what q's states are drawn from.
        samples: of q, a case.
        labels: (N,).
        depth: judge the lowest `depth` RBMs of the stack alone (their weights still tied); by
            default the whole net.

    Raises:
        DataError: cases that do not fit the net, are no states, or have no sense at all.
        ConfigError: no such depth, samples below 1, or labels that the net (or the cut stack) does
            not hold.
    """
    most = dbn.depth if isinstance(dbn, DBN) else 1
    depth = most if depth is None else depth
    if not 1 <= depth <= most or samples < 1 or (depth != most and isinstance(dbn, MultimodalDBN)):
        raise ConfigError(
            f"depth {depth} with {samples} samples: expected 1 to {most}, and at least 1 sample"
        )
    if labels is not None and (not dbn.labels or depth < most):
        raise ConfigError(
            "labels came for a memory that holds none; leave them out to bound log p(v)"
        )
    top = dbn.rbm(depth - 1) if isinstance(dbn, DBN) else dbn.memory
    no_layers = not any(recognition for recognition, _ in pathways(dbn, depth))
    bounds = []
    for chunk, known in _chunks(dbn, cases, labels, rng):
        absent = absent_codes.settled(dbn, chunk, known)
        exact = no_layers and absent is None
        draws = [
            _one_sample(dbn, top, depth, chunk, known, absent, rng)
            for _ in range(1 if exact else samples)
        ]
        expected, raw = (torch.stack(part) - log_z for part in zip(*draws, strict=True))
        error = (
            expected.std(0) / math.sqrt(len(draws))
            if len(draws) > 1
            else torch.full_like(expected[0], 0.0 if exact else math.nan)
        )
        bounds.append(
            Bound(expected.mean(0), torch.logsumexp(raw, 0) - math.log(len(draws)), error)
        )
    return Bound(*(torch.cat(parts) for parts in zip(*bounds, strict=True)))


def _chunks(
    dbn: DBN | MultimodalDBN, cases: Any, labels: Tensor | None, rng: torch.Generator
) -> Iterator[tuple[list[Tensor], Tensor | None]]:
    """Yield the cases of each sense, NaN where it is absent, once they are seen to be states, with
    their labels, in pieces.

    Raises:
        DataError: they are none, or one has no sense at all.
    """
    type_, device = dbn.memory.weight.dtype, dbn.memory.weight.device
    if isinstance(dbn, DBN):
        cases = dbn.check_cases(cases, rng=rng)
        dbn.visible.validate(cases, states=True)
        count = len(cases)
    else:
        given = dbn.as_cases(cases, rng=rng)
        there = torch.stack([is_present(own) for own in given.values()])
        count = there.shape[1]
        if missing := int((~there.any(0)).sum()):
            raise DataError(f"{missing} of {count} cases have no sense at all; leave them out")
        for name, present in zip(given, there, strict=True):
            if bool(present.any()):
                dbn.units(name).validate(given[name][present], states=True)
        cases = {
            name: given[name]
            if name in given
            else torch.full((count, sizes[0]), math.nan, dtype=type_, device=device)
            for name, sizes in dbn.sizes.items()
        }
    if labels is not None:
        labels = arrays.as_labels(labels, count, dbn.labels).to(device)
    for start in range(0, count, 2000):
        rows = slice(start, start + 2000)
        known = None if labels is None else labels[rows]
        if isinstance(dbn, DBN):
            yield [arrays.as_probs(cases[rows]).to(type_)], known
        else:
            yield [cases[name][rows] for name in dbn.senses], known


class LabelBounds(NamedTuple):
    """What a net makes of cases v with labels y, nats: (N,) each, float64."""

    joint: Bound
    """Lower bounds on log p(v, y)."""
    given_label: Bound
    """Lower bounds on log p(v | y)."""
    label_log_prob: Tensor
    """An estimate of log p(y | v), exact where no layer lies below the memory: p(v, y) / p(v), both
    by importance sampling from the same samples of q. It is no bound, for those on log p(v) are
    lower ones; its error falls with the samples.
    """


@check_arguments
def given_label(dbn: DBN | MultimodalDBN, label: int) -> tuple[RBM, float]:
    """Return the RBM that the memory is with the unit of a label on, over its other visible units,
    and the bias b_y of that label: log Z_y = b_y + log Z of that RBM, and log Z of the memory =
    log sum_y Z_y.

    Raises:
        ConfigError: the memory does not hold such a label.
    """
    if not 0 <= label < dbn.labels:
        raise ConfigError(f"label = {label}: expected 0 to {dbn.labels - 1}")
    memory, columns = dbn.memory, dbn.label_columns
    units = memory.visible
    assert isinstance(units, Groups)
    named = dict(zip(units.names[:-1], units.parts[:-1], strict=True))
    others = next(iter(named.values())) if len(named) == 1 else Groups(**named)
    weight, bias = memory.weight[: columns.start], memory.visible_bias[: columns.start]
    hidden_bias = memory.hidden_bias + memory.weight[columns.start + label]
    parts = (nn.Parameter(part, requires_grad=False) for part in (weight, bias, hidden_bias))
    return (
        RBM.sharing(others, memory.hidden, *parts),
        float(memory.visible_bias[columns.start + label]),
    )


@check_arguments
def label_bounds(
    dbn: DBN | MultimodalDBN,
    cases: Tensor | Mapping[str, Any],
    labels: Labels,
    log_z: OfLabels,
    *,
    rng: torch.Generator,
    samples: int = 10,
) -> LabelBounds:
    """Return lower bounds on log p(v, y) and log p(v | y), and log p(y | v), of cases with labels.

        log p(v, y) >= L(v, y) - log Z,   log p(v | y) >= L(v, y) - log Z_y,   Z = sum_y Z_y

    L is what `lower_bound` makes of case and label with log Z = 0.

    Args:
        dbn: a net whose memory holds labels.
        cases: as in `lower_bound`.
        labels: (N,).
        log_z: log Z_y of each label, (labels,), nats: see `given_label`.
        rng: what q's states are drawn from.
        samples: of q, a case.

    Raises:
        DataError: cases, labels or log Z_y that do not fit. ConfigError: a memory without labels,
            or samples below 1.
    """
    if not dbn.labels:
        raise ConfigError("the memory holds no labels; lower_bound bounds log p(v)")
    whole("samples", samples, least=1)
    of_label = log_z.to(dbn.memory.weight.device, torch.float64)
    bounds, estimates = [], []
    for chunk, known in _chunks(dbn, cases, labels, rng):
        assert known is not None
        absent = absent_codes.settled_by_label(dbn, chunk)
        draws = [_label_draw(dbn, chunk, known, absent, rng) for _ in range(samples)]
        expected, raw = (torch.stack(part) for part in zip(*draws, strict=True))
        error = expected.std(0) / math.sqrt(samples) if samples > 1 else expected[0] * math.nan
        every = torch.logsumexp(raw, 0) - math.log(samples)
        at = known[:, None]
        bounds.append(Bound(expected.mean(0), every.gather(1, at).squeeze(1), error))
        estimates.append(torch.log_softmax(every, 1).gather(1, at).squeeze(1))
    joined = Bound(*(torch.cat(parts) for parts in zip(*bounds, strict=True)))
    own = of_label[arrays.as_labels(labels, len(joined.bound), dbn.labels).to(of_label.device)]

    def less(log_partition: Tensor) -> Bound:
        return Bound(
            joined.bound - log_partition, joined.importance_weighted - log_partition, joined.error
        )

    return LabelBounds(less(torch.logsumexp(of_label, 0)), less(own), torch.cat(estimates))


def _label_draw(
    dbn: DBN | MultimodalDBN,
    cases: Sequence[Tensor],
    labels: Tensor,
    absent: Sequence[AbsentCodes],
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return L of the label of each case (N,) and log p*(v, h, y) - log q(h | v) of every label,
    (N, labels), float64, for one sample h of q a case.
    """
    depth = dbn.depth if isinstance(dbn, DBN) else 1
    expected, raw, codes = directed_terms(pathways(dbn, depth), cases, rng)
    if isinstance(dbn, MultimodalDBN) and absent:
        own, memory = absent_codes.of_labels(dbn, absent, codes, labels, rng)
        return expected + own, raw[:, None] + memory
    total_input = dbn.top_input(codes)
    scores = dbn.memory.group_scores(total_input, dbn.label_columns).double()
    no_label = torch.cat([codes, codes.new_zeros(len(codes), dbn.labels)], 1)
    memory = scores - dbn.memory.free_energy(no_label).double()[:, None]
    own = memory.gather(1, labels[:, None]).squeeze(1)
    return expected + own, raw[:, None] + memory


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
        cases: states of the visible units, (N, visible); NaN are hidden units of q, and the bounds
            are on log p of the rest.
        log_z: of `dbm.rbm`, nats.
        labels: (N,).
        steps: of mean field.
        rng: what samples are drawn from.
        samples: of q, a case.

    Raises:
        DataError: cases or labels that do not fit the machine; grey values of binary units.
        ConfigError: labels that the machine does not hold, samples without `rng`, or NaN of visible
            units that are neither binary nor categorical.
    """
    if labels is not None and not dbm.labels:
        raise ConfigError("labels came for a machine that holds none; leave them out")
    if samples and rng is None:
        raise ConfigError(f"samples = {samples} came without rng; give rng=wakesleep.generator(0)")
    units = dbm.even["visible"]
    cases, known = inputs.filled(dbm.check_cases(cases, rng=rng, states=True, missing=True), units)
    parts = units.parts if isinstance(units, Groups) else (units,)
    if known is not None and not all(isinstance(p, Bernoulli | Categorical) for p in parts):
        raise ConfigError(
            f"NaN came to a machine over {units!r}: a bound on what is known wants binary or "
            "categorical visible units"
        )
    cases = dbm.as_numbers(cases)
    if labels is not None:
        labels = arrays.as_labels(labels, len(cases), dbm.labels).to(dbm.rbm.weight.device)
    bounds = []
    for rows in (slice(start, start + 2000) for start in range(0, len(cases), 2000)):
        chunk, own, seen = (None if part is None else part[rows] for part in (cases, labels, known))
        assert chunk is not None
        means = dbm.mean_field(chunk, own, steps=steps, known=seen).even
        log_ratio = partial(_log_ratio, dbm, label=dbm.label(own, chunk), means=means, known=seen)
        bound = weighted = log_ratio(means) - log_z
        if samples and rng is not None:
            ratios = [log_ratio(dbm.sample_even(means, rng, seen)) for _ in range(samples)]
            weighted = torch.logsumexp(torch.stack(ratios), 0) - math.log(samples) - log_z
        bounds.append(Bound(bound, weighted, torch.zeros_like(bound)))
    return Bound(*(torch.cat(parts) for parts in zip(*bounds, strict=True)))


def _log_ratio(
    dbm: DBM, even: Tensor, *, label: Label | None, means: Tensor, known: Tensor | None
) -> Tensor:
    """Return -F(even) - log q(even), (N,), float64; at the means themselves, -F and q's entropy."""
    return -dbm.free_energy(even, label).double() - _log_q(dbm, even, means, known)


def _log_q(dbm: DBM, even: Tensor, means: Tensor, known: Tensor | None) -> Tensor:
    """Return log q of the even hidden layers, and of visible units that are not `known` (N,
    visible), at states, or minus q's entropy at its own means, (N,), float64.
    """
    seen = dbm.even.columns("visible")
    hidden = torch.ones_like(even, dtype=torch.bool)
    hidden[:, seen] = False if known is None else ~known
    binary = hidden.clone()
    for site in dbm.even.site_columns:  # of which one is on
        binary[:, site] = False
    s, m = even.double(), means.double()
    log_q = torch.where(hidden, torch.special.xlogy(s, m), 0.0)
    return (log_q + torch.where(binary, torch.special.xlogy(1 - s, 1 - m), 0.0)).sum(1)


def _one_sample(
    dbn: DBN | MultimodalDBN,
    top: RBM,
    depth: int,
    cases: Sequence[Tensor],
    labels: Tensor | None,
    absent: AbsentCodes | None,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return log p*(v, h) + H(q) and log p*(v, h) - log q(h | v) for one sample h of q a case, both
    (N,), float64, without log Z.
    """
    expected, raw, below = directed_terms(pathways(dbn, depth), cases, rng)
    if isinstance(dbn, MultimodalDBN) and absent is not None:
        entropy, log_weight, below = absent_codes.draw(dbn, absent, below, rng)
        expected, raw = expected + entropy, raw + log_weight
    free_energy = _top_free_energy(dbn, top, depth, below, labels)
    return expected - free_energy, raw - free_energy
