"""Exact log Z, log-likelihood and gradient of an RBM with a small side, by listing every state of
that side. Nats, float64.

    log Z = log sum_h exp(b'h + log sum_v exp(v'(Wh + a)))

The list is a product of two halves, h = (h1, h2), so that exp(v_i input) is a product A_i(h1)
B_i(h2), and what a handful of summed units contribute for all pairs (h1, h2) at once is one matrix
product (`Units.factors`): for binary units prod_i (1 + A_i B_i) = sum over subsets, for a
categorical site sum_j A_j B_j. Products of such factors share one logarithm as long as they can
neither overflow nor vanish. Where both layers have Gaussian units, see `integrals`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from wakesleep.evaluation import integrals
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.dbm import DBM
from wakesleep.models.rbm import RBM, Statistics
from wakesleep.sources import arrays
from wakesleep.sources.context import check_context, one_context
from wakesleep.units import Context, Units
from wakesleep.units.base import product_states

LARGEST = 25
"""Binary units (or as many states of other units) that are listed: 2^25 states take minutes."""
SAFE = 600.0
"""Size of logarithms up to which products are formed; float64 overflows at 709 and vanishes at
-745.
"""
CHUNK = 1 << 17
"""Pairs of half-states worked on at a time: small enough for the processor's cache."""


class Halves(NamedTuple):
    """A side's states as a product: every row of `first` (m, units) beside every row of `second`
    (n, units).
    """

    first: Tensor
    second: Tensor
    log_measure: tuple[Tensor, Tensor]
    """-U of each row of both, (m,) and (n,)."""


@check_arguments
def count_states(units: Units, context: Context | None = None) -> float:
    """Return how many states the layer has, infinity where they are a continuum."""
    try:
        return units.n_states(context)
    except ConfigError:
        return math.inf


@check_arguments
def is_integral(rbm: RBM, context: Context | None = None) -> bool:
    """Return whether no side can be listed, but the finite units of both beside Gaussian ones."""
    counts = (count_states(rbm.visible, context), count_states(rbm.hidden))
    return (
        context is None
        and min(counts) > 2**LARGEST
        and integrals.count(rbm) <= 2**integrals.LARGEST
    )


@check_arguments
def halves(units: Units, context: Context | None = None) -> Halves:
    """Return all states of a layer as a product of two lists of about the same length.

    Raises:
        ConfigError: too many states, or units that cannot be listed.
    """
    atoms, split = units.atoms(context), 0
    count = math.prod(len(atom.states) for atom in atoms)
    if count > 2**LARGEST:
        raise ConfigError(
            f"a layer of {units.size} units has 2^{math.log2(count):.0f} states, and at most "
            f"2^{LARGEST} are listed; estimate log Z by AIS (wakesleep.likelihood.log_partition; "
            "wakesleep likelihood on the command line)"
        )
    while (
        split < len(atoms)
        and math.prod(len(atom.states) for atom in atoms[: split + 1]) ** 2 <= count
    ):
        split += 1
    first, second = product_states(atoms[:split]), product_states(atoms[split:])
    return Halves(first.states, second.states, (first.log_measure, second.log_measure))


class Side(NamedTuple):
    """An RBM seen from the side that is listed: E = U(s) + U(o) - s'Wo - bias's - other_bias'o, in
    float64.
    """

    listed: Units
    summed: Units
    weight: Tensor
    bias: Tensor
    other_bias: Tensor
    listed_context: Context | None = None
    summed_context: Context | None = None


def _side(rbm: RBM, context: Context | None) -> Side:
    """Return the RBM seen from its side with fewer states, for cases of one context, (1, ...)."""
    weight, visible, hidden = (
        rbm.weight.double(),
        rbm.visible_bias.double(),
        rbm.hidden_bias.double(),
    )
    scale = None if context is None else rbm.visible.bias_scale(context)
    hidden = hidden if scale is None else hidden * scale.flatten()[0]
    from_hidden = Side(rbm.hidden, rbm.visible, weight.t(), hidden, visible, summed_context=context)
    from_visible = Side(rbm.visible, rbm.hidden, weight, visible, hidden, listed_context=context)
    counts = [
        count_states(side.listed, side.listed_context) for side in (from_hidden, from_visible)
    ]
    if min(counts) > 2**LARGEST:
        raise ConfigError(
            f"an RBM of {rbm.visible.size} visible and {rbm.hidden.size} hidden units is too large "
            f"to enumerate (one side may have 2^{LARGEST} states at most); estimate log Z by AIS "
            "(wakesleep.likelihood.log_partition; wakesleep likelihood on the command line)"
        )
    return from_hidden if counts[0] <= counts[1] else from_visible


def _factors(
    side: Side, first: Tensor, second: Tensor
) -> list[tuple[Tensor, Tensor, float, float]] | None:
    """Return the summed side's `Units.factors` for the two halves' shares of its total input; None
    where exponentials could overflow.
    """
    if (
        side.summed_context is not None
        or 4 * float(first.abs().max() + second.abs().max() + 1) >= SAFE
    ):
        return None
    log_z = side.summed.factors(first, second)
    return None if log_z is None else list(log_z)


@check_arguments
def log_weights(rbm: RBM, context: Context | None = None) -> tuple[Side, Halves, Tensor]:
    """Return the listed side, its states as two halves, and log sum over the other side of exp(-E)
    for each pair: (m, n), float64, nats.

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: contexts that differ.
    """
    context = one_context(context)
    check_context(context, None, 1, rbm.visible.size)
    side, device = _side(rbm, context), rbm.weight.device
    lists = halves(side.listed, side.listed_context)
    lists = Halves(
        lists.first.to(device),
        lists.second.to(device),
        (lists.log_measure[0].to(device), lists.log_measure[1].to(device)),
    )
    split = lists.first.shape[1]
    first = lists.first @ side.weight[:split] + side.other_bias
    second = lists.second @ side.weight[split:]
    logs = (lists.first @ side.bias[:split] + lists.log_measure[0])[:, None] + (
        lists.second @ side.bias[split:] + lists.log_measure[1]
    )[None, :]
    step = max(1, CHUNK // len(second))
    factors = _factors(side, first, second)
    if factors is None:
        step = max(1, (1 << 22) // (len(second) * side.summed.size))
        for start in range(0, len(first), step):
            total = first[start : start + step, None, :] + second[None, :, :]
            logs[start : start + step] += side.summed.log_partition(
                total.flatten(0, 1), side.summed_context
            ).view(total.shape[:2])
        return side, lists, logs
    for start in range(0, len(first), step):
        block = logs[start : start + step]
        product, factor, least, most = torch.ones_like(block), torch.empty_like(block), 0.0, 0.0
        for left, right, low, high in factors:
            if least + low < -SAFE or most + high > SAFE:
                block += product.log_()
                product.fill_(1.0)
                least = most = 0.0
            product *= torch.mm(left[start : start + step], right.t(), out=factor)
            least, most = least + low, most + high
        block += product.log_()
    return side, lists, logs


@check_arguments
def log_partition(rbm: RBM, context: Context | None = None) -> float:
    """Return log Z, nats, exactly: every state of the side with fewer of them is listed, or, where
    both have Gaussian units, these are integrated.

    It is that of cases with the `context`, (1, ...).

    Raises:
        ConfigError: neither side has at most 2^25 states; the message names AIS.
        DataError: contexts that differ.
    """
    return float(_log_z(rbm, context).detach())


def _log_z(rbm: RBM, context: Context | None = None) -> Tensor:
    """Return log Z, a scalar, float64, nats; autograd passes through it to weights and biases."""
    if is_integral(rbm, context):
        return integrals.log_partition(rbm)
    parameters = (rbm.weight, rbm.visible_bias, rbm.hidden_bias)
    log_z: Tensor = _LogZ.apply(
        (rbm.visible, rbm.hidden), context, *(parameter.double() for parameter in parameters)
    )  # type: ignore[no-untyped-call]
    return log_z


class _LogZ(torch.autograd.Function):
    """log Z, whose gradient is what the model expects of v h', v and h: the list of states is made
    once each way, and not kept.
    """

    @staticmethod
    def forward(
        ctx: Any, units: tuple[Units, Units], context: Context | None, *parameters: Tensor
    ) -> Tensor:
        ctx.units, ctx.context = units, context
        ctx.save_for_backward(*parameters)
        return torch.logsumexp(log_weights(_machine(*units, *parameters), context)[2].flatten(), 0)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        expected = model_statistics(_machine(*ctx.units, *ctx.saved_tensors), ctx.context)
        return None, None, *(gradients[0] * part for part in expected)


def _machine(
    visible: Units, hidden: Units, weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor
) -> RBM:
    """Return a machine that stands on these tensors, through which autograd passes to what they
    were made of.
    """
    return RBM.sharing(
        visible,
        hidden,
        *cast(tuple[Parameter, Parameter, Parameter], (weight, visible_bias, hidden_bias)),
    )


def _double(rbm: RBM) -> RBM:
    """Return the machine in float64; autograd passes through it."""
    return _machine(
        rbm.visible,
        rbm.hidden,
        rbm.weight.double(),
        rbm.visible_bias.double(),
        rbm.hidden_bias.double(),
    )


@check_arguments
def log_likelihood(rbm: RBM, cases: Tensor, context: Context | None = None) -> Tensor:
    """Return log p(v) = -F(v) - log Z of cases (N, visible), each a state of the visible units,
    (N,), nats per case, float64.

    Autograd passes through it: with `rbm.requires_grad_()`, its gradient by weights and biases is
    exact (and is itself not differentiable). A `context` is that of each case, (N, ...), or one of
    all, (1, ...): log Z is worked out for each that differs.

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: cases that do not fit, or that are no states: values between 0 and 1, a
            categorical site without exactly one 1, absent columns that are not 0; a context that
            does not fit.
    """
    cases = rbm.check_cases(cases, context=context, states=True)
    machine = _double(rbm)
    log_z = (
        _log_z(rbm, context)
        if context is None
        else rbm.weight.new_zeros(len(cases), dtype=torch.float64)
    )
    for own, index in [] if context is None else context.distinct(len(cases)):
        log_z = log_z.index_add(0, index.to(log_z.device), _log_z(rbm, own).expand(len(index)))
    free_energies = [
        machine.free_energy(chunk.double(), own) for chunk, own in _chunks(cases, context)
    ]
    return -torch.cat(free_energies) - log_z


@check_arguments
def dbm_log_likelihood(dbm: DBM, cases: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return log p(v), or log p(v, label) with `labels` (N,), of a small deep Boltzmann machine:
    every state of its even hidden layers is listed, the odd ones are summed out. (N,), nats per
    case, float64.

    Raises:
        ConfigError: too many states, or labels that the machine does not hold.
        DataError: cases (N, visible) or labels that do not fit.
    """
    if labels is not None and not dbm.labels:
        raise ConfigError("labels came for a machine that holds none; leave them out")
    machine, hidden = deepcopy(dbm).double(), dbm.even_hidden
    cases = machine.as_numbers(dbm.check_cases(cases, states=True))
    if labels is not None:
        labels = arrays.as_labels(labels, len(cases), dbm.labels).to(cases.device)
    states, result = hidden.states().to(cases), []
    if labels is not None and "label" in hidden.names:
        of_label = states[:, hidden.columns("label")].argmax(1)
    for number, case in enumerate(cases):
        even = torch.cat([case.expand(len(states), -1), states], 1)
        if labels is None:
            log_joint = -machine.free_energy(even)
        elif "label" in hidden.names:
            log_joint = -machine.free_energy(even[of_label == labels[number]])
        else:
            known = machine.label(labels[number].expand(len(states)), even)
            log_joint = -machine.free_energy(even, known)
        result.append(torch.logsumexp(log_joint, 0))
    return torch.stack(result) - log_partition(dbm.rbm)


def _chunks(cases: Tensor, context: Context | None) -> Iterator[tuple[Tensor, Context | None]]:
    """Yield consecutive pieces of the cases, each with its context."""
    start = 0
    for chunk in arrays.chunks(cases):
        yield chunk, None if context is None else context.rows(slice(start, start + len(chunk)))
        start += len(chunk)


@check_arguments
def model_statistics(rbm: RBM, context: Context | None = None) -> Statistics:
    """Return <v h'>, <v> and <h> under the model itself, float64: (visible, hidden), (visible,),
    (hidden,).

    States that together hold less than 1e-12 of the probability are left out.

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: contexts that differ.
    """
    context = one_context(context)
    if is_integral(rbm, context):
        return integrals.statistics(rbm)
    side, lists, logs = log_weights(rbm, context)
    probs = torch.softmax(logs.flatten(), 0)
    kept = torch.nonzero(probs > 1e-12 / len(probs)).squeeze(1)
    listed, other = torch.zeros_like(side.bias), torch.zeros_like(side.other_bias)
    products = torch.zeros_like(side.weight)
    for index in torch.split(kept, max(1, (1 << 22) // side.summed.size)):
        state = torch.cat(
            [lists.first[index // logs.shape[1]], lists.second[index % logs.shape[1]]], 1
        )
        mean = (
            side.summed.mean(state @ side.weight + side.other_bias, context=side.summed_context)
            * probs[index, None]
        )
        products += state.t() @ mean
        listed += state.t() @ probs[index]
        other += mean.sum(0)
    scale = None if context is None else rbm.visible.bias_scale(context)
    # of the hidden biases, and of their gradient with them
    factor = 1.0 if scale is None else float(scale.flatten()[0])
    if side.listed is rbm.visible:
        return Statistics(products, listed, other * factor)
    return Statistics(products.t(), other, listed * factor)


@check_arguments
def gradient(rbm: RBM, cases: Tensor, context: Context | None = None) -> Statistics:
    """Return the gradient of mean log p(v) over cases (N, visible), <v h'>_data - <v h'>_model and
    the same for the biases, float64.

    A `context` is that of each case, (N, ...), or one of all, (1, ...).

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: cases or a context that do not fit; absent columns that are not 0.
    """
    cases = rbm.check_cases(cases, context=context)
    kinds = (
        [(1.0, None)]
        if context is None
        else [(len(index) / len(cases), own) for own, index in context.distinct(len(cases))]
    )
    models = [[share * part for part in model_statistics(rbm, own)] for share, own in kinds]
    exact, model = _double(rbm), [torch.stack(parts).sum(0) for parts in zip(*models, strict=True)]
    total = [torch.zeros_like(part) for part in model]
    for chunk, own in _chunks(cases, context):
        data = exact.statistics(
            chunk.double(), exact.hidden_probs(chunk.double(), context=own), own
        )
        total = [so_far + part * len(chunk) for so_far, part in zip(total, data, strict=True)]
    return Statistics(
        *(so_far / len(cases) - part for so_far, part in zip(total, model, strict=True))
    )


@check_arguments
def sample(rbm: RBM, count: int, rng: torch.Generator, context: Context | None = None) -> Tensor:
    """Return `count` visible states drawn from the model itself, independently: (count, visible).
    What a sampler can be tested with.

    A `context` is that of each state, (count, ...), or one of all, (1, ...).

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: a context that does not fit.
    """
    check_context(context, None, count, rbm.visible.size)
    if context is None:
        return _sample(rbm, count, rng, None)
    states = rbm.weight.new_empty(count, rbm.visible.size)
    for own, index in context.distinct(count):
        states[index.to(states.device)] = _sample(rbm, len(index), rng, own)
    return states


def _sample(rbm: RBM, count: int, rng: torch.Generator, context: Context | None) -> Tensor:
    """Do it for states that all have the context, (1, ...)."""
    if is_integral(rbm, context):
        return integrals.sample(rbm, count, rng)
    side, lists, logs = log_weights(rbm, context)
    cumulative = torch.softmax(logs.flatten(), 0).cumsum(0)
    uniform = (
        torch.rand(count, generator=rng, device=rng.device, dtype=torch.float64) * cumulative[-1]
    )
    index = torch.searchsorted(cumulative, uniform)
    state = torch.cat(
        [lists.first[index // logs.shape[1]], lists.second[index % logs.shape[1]]], 1
    ).to(rbm.weight.dtype)
    return state if side.listed is rbm.visible else rbm.sample_visible(state, rng, context=context)
