"""Exact log Z, log-likelihood and gradient of an RBM with a small side, by listing every state of that side. Nats, float64.

    log Z = log sum_h exp(b'h + log sum_v exp(v'(Wh + a)))

The list is a product of two halves, h = (h1, h2), so that exp(v_i input) is a product A_i(h1) B_i(h2), and what a handful of summed units
contribute for all pairs (h1, h2) at once is one matrix product: for binary units prod_i (1 + A_i B_i) = sum over subsets, for a softmax
group sum_j A_j B_j. Products of such factors share one logarithm as long as they can neither overflow nor vanish.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.rbm import RBM, Statistics
from wakesleep.model.units import Bernoulli, Groups, Softmax, Units, require_states
from wakesleep.sources import cases as rows

LARGEST = 25
"""Binary units (or as many states of other units) that are listed: 2^25 states take minutes."""
TOGETHER = 4
"""Binary units whose factor is one matrix product of 2^TOGETHER terms."""
SAFE = 600.0
"""Size of logarithms up to which products are formed; float64 overflows at 709 and vanishes at -745."""
CHUNK = 1 << 17
"""Pairs of half-states worked on at a time: small enough for the processor's cache."""


class Halves(NamedTuple):
    """A side's states as a product: every row of `first` (m, units) beside every row of `second` (n, units)."""

    first: Tensor
    second: Tensor


def states(units: Units) -> int:
    """Return how many states the layer has.

    Raises:
        ConfigError: it has units with a continuum of states.
    """
    if isinstance(units, Groups):
        return math.prod(states(part) for part in units.parts)
    if isinstance(units, Bernoulli):
        return int(2**units.size)
    if isinstance(units, Softmax):
        return units.size
    raise ConfigError(
        f"units {units.kinds}: only binary units and softmax groups can be listed; estimate log Z by AIS (wakesleep.likelihood.log_partition)"
    )


def _atoms(units: Units) -> list[Tensor]:
    """Return the independent pieces of a layer, each as the list of its states: a binary unit has two, a softmax as many as units."""
    if isinstance(units, Groups):
        return [atom for part in units.parts for atom in _atoms(part)]
    if isinstance(units, Softmax):
        return [torch.eye(units.size, dtype=torch.float64)]
    return [torch.tensor([[0.0], [1.0]], dtype=torch.float64)] * units.size


def _product(atoms: list[Tensor]) -> Tensor:
    """Return every combination of the atoms' states, (states, units)."""
    every = torch.zeros(1, 0, dtype=torch.float64)
    for atom in atoms:
        every = torch.cat([every.repeat_interleave(len(atom), 0), atom.repeat(len(every), 1)], 1)
    return every


def halves(units: Units) -> Halves:
    """Return all states of a layer as a product of two lists of about the same length.

    Raises:
        ConfigError: too many states, or units that cannot be listed.
    """
    count = states(units)
    if count > 2**LARGEST:
        raise ConfigError(
            f"a layer of {units.size} units has 2^{math.log2(count):.0f} states, and at most 2^{LARGEST} are listed; estimate log Z by AIS "
            "(wakesleep.likelihood.log_partition; wakesleep likelihood on the command line)"
        )
    atoms, split = _atoms(units), 0
    while split < len(atoms) and math.prod(len(atom) for atom in atoms[: split + 1]) ** 2 <= count:
        split += 1
    return Halves(_product(atoms[:split]), _product(atoms[split:]))


class Side(NamedTuple):
    """An RBM seen from the side that is listed: E = -s'Wo - bias's - other_bias'o, in float64."""

    listed: Units
    summed: Units
    weight: Tensor
    bias: Tensor
    other_bias: Tensor


def _side(rbm: RBM) -> Side:
    """Return the RBM seen from its side with fewer states."""
    weight, visible, hidden = rbm.weight.double(), rbm.visible_bias.double(), rbm.hidden_bias.double()
    from_hidden = Side(rbm.hidden, rbm.visible, weight.t(), hidden, visible)
    from_visible = Side(rbm.visible, rbm.hidden, weight, visible, hidden)
    counts = []
    for side in (from_hidden, from_visible):
        try:
            counts.append(states(side.listed))
        except ConfigError:
            counts.append(2 ** (LARGEST + 10))
    if min(counts) > 2**LARGEST:
        raise ConfigError(
            f"an RBM of {rbm.visible.size} visible and {rbm.hidden.size} hidden units is too large to enumerate (one side may have 2^{LARGEST} "
            "states at most); estimate log Z by AIS (wakesleep.likelihood.log_partition; wakesleep likelihood on the command line)"
        )
    return from_hidden if counts[0] <= counts[1] else from_visible


def _terms(units: Units, first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor, float, float]]:
    """Yield the layer's factors as pairs (m, k), (n, k) whose product over k is the factor of each pair of half-states, and its log's bounds.

    `first` (m, units) and `second` (n, units) are the two halves' shares of the total input. The bounds are one of 0 or less from below, and
    one of 0 or more from above.
    """
    if isinstance(units, Groups):
        for part, columns in zip(units.parts, units.slices, strict=True):
            yield from _terms(part, first[:, columns], second[:, columns])
        return
    bounds = torch.maximum(first.amax(0), first.new_zeros(())) + torch.maximum(second.amax(0), second.new_zeros(()))
    if isinstance(units, Softmax):
        least = float((first.amin(0) + second.amin(0)).max())  # the sum is no smaller than its largest term
        yield torch.exp(first), torch.exp(second), min(least, 0.0), float(bounds.max()) + math.log(units.size)
        return
    for start in range(0, units.size, TOGETHER):
        columns = slice(start, start + TOGETHER)
        pair = []
        for half in (torch.exp(first[:, columns]), torch.exp(second[:, columns])):
            terms = half.new_ones(len(half), 1)
            for column in half.unbind(1):
                terms = torch.cat([terms, terms * column[:, None]], 1)
            pair.append(terms)
        yield pair[0], pair[1], 0.0, float(bounds[columns].sum()) + TOGETHER * math.log(2)  # (1 + e^x) is at least 1


def _factorable(side: Side, first: Tensor, second: Tensor) -> bool:
    """Return whether the summed side is made of binary units and softmax groups, with inputs whose exponentials stay finite."""
    kinds = {kind for kind, _ in side.summed.kinds}
    return kinds <= {"bernoulli", "softmax"} and TOGETHER * float(first.abs().max() + second.abs().max() + 1) < SAFE


def log_weights(rbm: RBM) -> tuple[Side, Halves, Tensor]:
    """Return the listed side, its states as two halves, and log sum over the other side of exp(-E) for each pair: (m, n), float64, nats.

    Raises:
        ConfigError: neither side is small enough to list.
    """
    side = _side(rbm)
    lists = Halves(*(half.to(side.weight.device) for half in halves(side.listed)))
    split = lists.first.shape[1]
    first = lists.first @ side.weight[:split] + side.other_bias
    second = lists.second @ side.weight[split:]
    logs = (lists.first @ side.bias[:split])[:, None] + (lists.second @ side.bias[split:])[None, :]
    step = max(1, CHUNK // len(second))
    if not _factorable(side, first, second):
        step = max(1, (1 << 22) // (len(second) * side.summed.size))
        for start in range(0, len(first), step):
            total = first[start : start + step, None, :] + second[None, :, :]
            logs[start : start + step] += side.summed.log_partition(total.flatten(0, 1)).view(total.shape[:2])
        return side, lists, logs
    factors = list(_terms(side.summed, first, second))
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


def log_partition(rbm: RBM) -> float:
    """Return log Z, nats, exactly: every state of the side with fewer of them is listed.

    Raises:
        ConfigError: neither side has at most 2^25 states; the message names AIS.
    """
    return float(_log_z(rbm).detach())


def _log_z(rbm: RBM) -> Tensor:
    """Return log Z, a scalar, float64, nats; autograd passes through it to weights and biases."""
    parameters = (rbm.weight, rbm.visible_bias, rbm.hidden_bias)
    found: Tensor = _LogZ.apply(rbm.visible, rbm.hidden, *(parameter.double() for parameter in parameters))  # type: ignore[no-untyped-call]
    return found


class _LogZ(torch.autograd.Function):
    """log Z, whose gradient is what the model expects of v h', v and h: the list of states is made once each way, and not kept."""

    @staticmethod
    def forward(ctx: Any, visible: Units, hidden: Units, weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor) -> Tensor:
        ctx.units = visible, hidden
        ctx.save_for_backward(weight, visible_bias, hidden_bias)
        return torch.logsumexp(log_weights(_machine(visible, hidden, weight, visible_bias, hidden_bias))[2].flatten(), 0)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        expected = model_statistics(_machine(*ctx.units, *ctx.saved_tensors))
        return None, None, *(gradients[0] * part for part in expected)


def _machine(visible: Units, hidden: Units, weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor) -> RBM:
    """Return a machine that stands on these tensors, through which autograd passes to what they were made of."""
    return RBM.sharing(visible, hidden, *cast(tuple[Parameter, Parameter, Parameter], (weight, visible_bias, hidden_bias)))


def _double(rbm: RBM) -> RBM:
    """Return the machine in float64; autograd passes through it."""
    return _machine(rbm.visible, rbm.hidden, rbm.weight.double(), rbm.visible_bias.double(), rbm.hidden_bias.double())


def log_likelihood(rbm: RBM, cases: Tensor) -> Tensor:
    """Return log p(v) = -F(v) - log Z of cases (N, visible), each a state of the visible units, (N,), nats per case, float64.

    Autograd passes through it: with `rbm.requires_grad_()`, its gradient by weights and biases is exact (and is itself not differentiable).

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: cases that do not fit, or that are no states: values between 0 and 1, a softmax group without exactly one 1.
    """
    cases = rows.as_cases(cases, rbm.visible.size, rbm.weight)
    require_states(rbm.visible, cases)
    machine = _double(rbm)
    return -torch.cat([machine.free_energy(chunk.double()) for chunk in rows.chunks(cases)]) - _log_z(rbm)


def model_statistics(rbm: RBM) -> Statistics:
    """Return <v h'>, <v> and <h> under the model itself, float64: (visible, hidden), (visible,), (hidden,).

    States that together hold less than 1e-12 of the probability are left out.

    Raises:
        ConfigError: neither side is small enough to list.
    """
    side, lists, logs = log_weights(rbm)
    probs = torch.softmax(logs.flatten(), 0)
    kept = torch.nonzero(probs > 1e-12 / len(probs)).squeeze(1)
    listed, other = torch.zeros_like(side.bias), torch.zeros_like(side.other_bias)
    products = torch.zeros_like(side.weight)
    for index in torch.split(kept, max(1, (1 << 22) // side.summed.size)):
        state = torch.cat([lists.first[index // logs.shape[1]], lists.second[index % logs.shape[1]]], 1)
        mean = side.summed.mean(state @ side.weight + side.other_bias) * probs[index, None]
        products += state.t() @ mean
        listed += state.t() @ probs[index]
        other += mean.sum(0)
    if side.listed is rbm.visible:
        return Statistics(products, listed, other)
    return Statistics(products.t(), other, listed)


def gradient(rbm: RBM, cases: Tensor) -> Statistics:
    """Return the gradient of mean log p(v) over cases (N, visible), <v h'>_data - <v h'>_model and the same for the biases, float64.

    Raises:
        ConfigError: neither side is small enough to list.
        DataError: cases that do not fit.
    """
    cases = rows.as_cases(cases, rbm.visible.size, rbm.weight)
    exact, model = _double(rbm), model_statistics(rbm)
    total = [torch.zeros_like(part) for part in model]
    for chunk in rows.chunks(cases):
        data = exact.statistics(chunk.double(), exact.hidden_probs(chunk.double()))
        total = [so_far + part * len(chunk) for so_far, part in zip(total, data, strict=True)]
    return Statistics(*(so_far / len(cases) - part for so_far, part in zip(total, model, strict=True)))


@check_arguments
def sample(rbm: RBM, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` visible states drawn from the model itself, independently: (count, visible). What a sampler can be tested with.

    Raises:
        ConfigError: neither side is small enough to list.
    """
    side, lists, logs = log_weights(rbm)
    cumulative = torch.softmax(logs.flatten(), 0).cumsum(0)
    uniform = torch.rand(count, generator=rng, device=rng.device, dtype=torch.float64) * cumulative[-1]
    index = torch.searchsorted(cumulative, uniform)
    state = torch.cat([lists.first[index // logs.shape[1]], lists.second[index % logs.shape[1]]], 1).to(rbm.weight.dtype)
    return state if side.listed is rbm.visible else rbm.visible.sample(rbm.visible_probs(state), rng)
