"""A deep Boltzmann machine's start, a pair of neighbouring layers at a time.

In the whole machine a layer has two others beside it, in its pair one, which stands for both. So
the bottom RBM has two copies of the visible layer and the top one two copies of the top layer: sums
of two equal binary units, `Binomial(trials=2)`. RBMs between have one copy of each, and their
weights are halved. Biases are the mean of what the pairs on both sides found. Source: Salakhutdinov
& Hinton (2009), "Deep Boltzmann machines", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.learning import cd, inputs
from wakesleep.learning.cd import CDState
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import State, check_fit
from wakesleep.models.dbm import DBM
from wakesleep.models.rbm import RBM
from wakesleep.samplers import missing
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.minibatches import Resident, Source
from wakesleep.sources.shards import Shards
from wakesleep.units import Bernoulli, Binomial, Categorical, Groups, Units

Given = tuple[Tensor | Shards, Tensor | None, Tensor | None]
"""Cases (N, visible), labels (N,) and weights (N,); shards bring their labels."""


@dataclass
class PretrainState(State):
    """Where pretraining stands: the pair that learns, the RBMs so far, and the state of its own
    loop (None: before its first epoch).
    """

    layer: int = 0
    """The pair that learns: 0 the bottom one."""
    rbms: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Parameters of each pair's RBM up to that one, by the name of the pair's upper layer."""
    inner: CDState | None = None
    filled: Tensor | None = None
    """Where values are missing: what stands in their places, row by row, (their number,)."""


@check_arguments
def pretrain(
    dbm: DBM,
    cases: Tensor | Shards,
    labels: Tensor | None = None,
    *,
    config: CDConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: PretrainState | Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Pretrain a fresh `dbm` on binary or grey `cases` (N, visible), a pair of layers at a time,
    yielding a record after each epoch; the machine itself is written, in place, after the last.

    The bottom pair has two copies of the visible layer, the top one two of the top layer; weights
    of pairs between are halved, and biases are the mean of what the pairs on both sides found.
    Cases whose label is UNLABELLED teach all pairs but the top one; `weights` (N,) say how often
    each is shown, relative to the others. NaN are unknown states of visible units: drawn from each
    column at first, and from the bottom RBM given the rest after each of its epochs. With the
    `state` of an earlier record it goes on after that, to the same bits (`rng` must stand where it
    stood then). Cases may be `Shards` on the disk, whole ones that bring their labels: what the
    pairs below make of a case is then computed again in each epoch. Source: Salakhutdinov & Hinton
    (2009), section 3.

    Yields:
        EpochResult, with the metrics of `cd.epochs`; the stages are "layer 1", "layer 2", ...

    Raises:
        ConfigError: visible units that are not binary.
        DataError: as `epochs`.
        CheckpointError: a state of another machine or of other settings.
    """
    if not isinstance(dbm.even["visible"], Bernoulli):
        raise ConfigError(
            f"pretraining of a machine over {dbm.even['visible']!r}: expected binary visible units "
            "(two copies of one are counts); other machines learn with centred=True and no "
            "pretraining"
        )
    state = PretrainState.read(state) or PretrainState()
    rbms, inner, known, filled = _restored(dbm, state), state.inner, None, state.filled
    if not isinstance(cases, Shards):
        cases, labels = _checked(dbm, cases, labels, rng)
        weights = arrays.as_weights(weights, len(cases))
        cases, known = _filled(dbm, cases, state, rng)
    for layer, upper in list(enumerate(dbm.layers[1:]))[state.layer :]:
        source = _source(dbm, rbms, layer, (cases, labels, weights), rng)
        if upper not in rbms:
            rbms[upper] = _fresh(dbm, upper, source, rng)
        stage = f"layer {layer + 1}"
        for record in cd.learn(rbms[upper], source, config, rng, inner, stage, dtype):
            if known is not None and layer == 0:
                cases = _refilled(rbms[upper], source, known, rng)
                filled = cases[~known]
            yield record._replace(state=PretrainState(layer, _tensors(rbms), record.state, filled))
        inner = None
    _join(dbm, rbms)


def _checked(
    dbm: DBM, cases: Tensor, labels: Tensor | None, rng: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return cases (N, visible), NaN where missing, and labels (N,), UNLABELLED where unknown.

    Raises:
        DataError: they do not fit the machine, or each other.
    """
    cases, labels = inputs.for_dbm(dbm, cases, labels, rng=rng, holes=True)
    if dbm.labels and (labels is None or not bool((labels != UNLABELLED).any())):
        raise DataError(
            f"the machine holds {dbm.labels} labels and no case has one; give some, or build "
            "DBM(..., labels=0)"
        )
    if labels is not None and distributed.ranks() > 1 and bool((labels == UNLABELLED).any()):
        raise DataError(
            "cases without a label came to one of several ranks, which would have top pairs of "
            "different sizes; pretrain in one process (without torchrun), or with all labels"
        )
    return cases, labels


def _filled(
    dbm: DBM, cases: Tensor, state: PretrainState, rng: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return cases (N, visible) with draws from each column, or what a state holds, in the place of
    NaN, and what is known (N, visible); None where all is.

    Raises:
        CheckpointError: a state of other cases.
    """
    count = int(torch.isnan(cases).sum()) if cases.is_floating_point() else 0
    held = None if state.filled is None else len(state.filled)
    if state.rbms and (held or 0) != count:
        raise CheckpointError(
            f"{count} values are missing, and the state is of cases of which {held or 0} were: go "
            "on with the cases that it came from"
        )
    if not count:
        return cases, None
    cases = cases.to(dbm.rbm.weight.dtype, copy=True)
    if state.filled is None:
        return cases, missing.init_missing(cases, rng, dbm.even["visible"])
    known = ~torch.isnan(cases)
    cases[~known] = state.filled
    return cases, known


def _units(dbm: DBM, upper: str) -> tuple[Units, Units]:
    """Return the visible and hidden units of the RBM of the pair whose upper layer is `upper`."""
    number = dbm.layers.index(upper)
    below, above = dbm.sizes[number - 1 : number + 1]
    visible: Units = Bernoulli(below) if number > 1 else Binomial(below, 2)
    if upper != dbm.layers[-1]:
        return visible, Bernoulli(above)
    if dbm.labels:
        visible = Groups(features=visible, label=Categorical(dbm.labels))
    return visible, Binomial(above, 2)


def _restored(dbm: DBM, state: PretrainState) -> dict[str, RBM]:
    """Return the RBMs that a state holds, by the name of the pair's upper layer.

    Raises:
        CheckpointError: they are not those of this machine.
    """
    if not state.rbms:
        return {}
    no_draws = torch.Generator(dbm.rbm.weight.device)
    rbms = {
        upper: RBM(*_units(dbm, upper), rng=no_draws) for upper in dbm.layers[1 : state.layer + 2]
    }
    check_fit(
        state,
        {"rbms": _tensors(rbms)},
        type(dbm).__name__,
    )
    for upper, rbm in rbms.items():
        for name, parameter in rbm.named_parameters():
            parameter.copy_(state.rbms[upper][name])
    return rbms


def _tensors(rbms: Mapping[str, RBM]) -> dict[str, dict[str, Tensor]]:
    """Return the parameters of RBMs by their names."""
    return {name: dict[str, Tensor](rbm.named_parameters()) for name, rbm in rbms.items()}


def _refilled(rbm: RBM, source: Source, known: Tensor, rng: torch.Generator) -> Tensor:
    """Return cases (N, visible) once what is not `known` of the two copies that the bottom RBM
    learns from has moved on by a Gibbs step, in place.
    """
    assert isinstance(source, Resident)
    assert isinstance(source.cases, Tensor)
    missing.refill(rbm, source.cases, known, rng)
    return source.cases / 2


def _source(
    dbm: DBM, rbms: Mapping[str, RBM], layer: int, given: Given, rng: torch.Generator
) -> Source:
    """Return what the RBM of a pair learns from."""
    cases, labels, weights = given
    if not isinstance(cases, Shards):
        return _pair_cases(dbm, rbms, layer, cases, labels, weights)

    def prepare(cases: Tensor, labels: Tensor | None) -> Resident:
        cases, labels = _checked(dbm, cases, labels if dbm.labels else None, rng)
        return _pair_cases(dbm, rbms, layer, cases, labels, None)

    return inputs.streamed(dbm, cases, labels, weights, prepare)


def _fresh(dbm: DBM, upper: str, source: Source, rng: torch.Generator) -> RBM:
    """Return the RBM of a pair before its first epoch, its visible biases at the base rates of the
    first cases.
    """
    rbm = RBM(*_units(dbm, upper), rng=rng)
    cd.init_visible_bias(rbm, next(iter(source.chunks(rng))).cases)
    distributed.broadcast_parameters(rbm)
    return rbm


def _pair_cases(
    dbm: DBM,
    rbms: Mapping[str, RBM],
    layer: int,
    cases: Tensor,
    labels: Tensor | None,
    weights: Tensor | None,
) -> Resident:
    """Return cases (N, visible) as the RBM of a pair sees them: two copies of the visible layer, or
    means (N, lower) of the layers below; for the top pair those that have a label, with it.
    """
    below = 2 * arrays.as_probs(cases).to(dbm.rbm.weight.dtype)
    for lower in dbm.layers[1 : layer + 1]:
        below = torch.cat([rbms[lower].hidden_probs(part) for part in torch.split(below, 2000)])
    if layer < dbm.depth - 1 or not dbm.labels:
        return Resident(below, weights=weights)
    assert labels is not None
    known = labels != UNLABELLED
    states = arrays.one_hot(labels[known], dbm.labels, below.dtype)
    weights = None if weights is None else weights[known.to(weights.device)]
    return Resident(torch.cat([below[known], states], 1), classes=labels[known], weights=weights)


def _join(dbm: DBM, rbms: Mapping[str, RBM]) -> None:
    """Write the weights and biases of all pairs into the machine, in place."""
    biases: dict[str, list[Tensor]] = {}
    for lower, upper in pairwise(dbm.layers):
        rbm, size = rbms[upper], len(dbm.bias(lower))
        between = lower != "visible" and upper != dbm.layers[-1]
        dbm.block(lower, upper).copy_(rbm.weight[:size] / (2 if between else 1))
        biases.setdefault(lower, []).append(rbm.visible_bias[:size])
        biases.setdefault(upper, []).append(rbm.hidden_bias)
        if upper == dbm.layers[-1] and dbm.labels:
            dbm.block("label", upper).copy_(rbm.weight[size:])
            biases["label"] = [rbm.visible_bias[size:]]
    for name, each in biases.items():
        dbm.bias(name).copy_(torch.stack(each).mean(0))
