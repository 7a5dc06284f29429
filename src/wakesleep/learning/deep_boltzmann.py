"""The deep Boltzmann machine learns: mean-field recognition says what the data make of all layers,
persistent chains what the model makes of them.

    dW = <s_l s_l+1'>_mean-field(data) - <s_l s_l+1'>_chains

for every pair of neighbouring layers (Salakhutdinov & Hinton 2009). `pretrain` makes a good start
layer by layer; with `centred` in its config the machine learns without it (Montavon & Muller 2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import precision
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning import backprop, cd, loop, unit_parameters, unrolled
from wakesleep.learning.cd import CDState, Contrast
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.configs import DBMConfig as DBMConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import RunningMean, check_fit
from wakesleep.learning.unrolled import mean_field_classifier as mean_field_classifier
from wakesleep.models.dbm import DBM, STEPS
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.minibatches import Resident
from wakesleep.units import Bernoulli, Binomial, Categorical, Groups, Units


@dataclass
class DBMState(CDState):
    """What a deep Boltzmann machine needs to go on after an epoch; chains are states of the odd
    layers, (chains, odd).
    """

    mean: RunningMean | None = None
    """The running mean of the weights."""


class DeepBoltzmann(loop.Algorithm):
    """Mean field against persistent chains, for `loop.run`."""

    net: DBM

    def __init__(
        self, dbm: DBM, config: DBMConfig, state: DBMState, rng: torch.Generator, copy: DBM
    ) -> None:
        self.net, self.config, self.state, self.rng, self.copy = dbm, config, state, rng, copy
        self.contrasts: dict[int, Contrast] = {}
        self.error = torch.zeros((), device=dbm.rbm.weight.device)
        self.change = torch.zeros_like(self.error)
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return rate and momentum of the epoch."""
        self.epoch = epoch
        precision.sync(self.copy, self.net)
        self.error.zero_()
        self.change.zero_()
        return self.config.learning_rate_at(epoch), self.config.momentum_at(epoch)

    def begin_chunk(self, cases: Resident) -> None:
        """Look at the spread of the first cases where visible units have parameters of their
        own.
        """
        net = self.net
        if self.state.visible_std is None and any(True for _ in net.even.parameters()):
            std = unit_parameters.spread(*unit_parameters.moments(cases.cases), net.rbm)
            ones = std.new_ones(net.even.size - len(std))
            self.state.visible_std = torch.cat([std, ones])

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Learn from the cases `index` (n,)."""
        (index,) = batch
        dbm, config, n = self.copy, self.config, len(index)
        if n not in self.contrasts:
            self.contrasts[n] = Contrast(dbm.rbm, n, config)
        contrast = self.contrasts[n]
        visible = cases.gather(index, dbm.rbm.weight.new_empty(n, dbm.sizes[0]))
        if config.sample_visible:
            visible = dbm.even["visible"].sample_from_mean(visible, self.rng)
        labels = None if cases.labels is None else cases.labels[index]
        self.phases(contrast, visible, labels)
        cd.ascend(
            self.net.rbm,
            contrast,
            config,
            self.epoch,
            self.state,
            copy=dbm.rbm,
            clear=dbm.clear_gaps,
        )

    def phases(self, contrast: Contrast, visible: Tensor, labels: Tensor | None) -> None:
        """Fill the contrast: its first half with the mean field of visible states (n, visible) and
        `labels` (n,), its second with the chains, which move on.
        """
        dbm, config = self.copy, self.config
        posterior = dbm.mean_field(visible, labels, steps=config.mean_field_steps)
        torch.maximum(self.change, posterior.change, out=self.change)
        contrast.data.copy_(posterior.even)
        contrast.positive.copy_(posterior.odd)
        chains = self.state.chains
        assert chains is not None
        cd.go_on_from_chains(contrast, dbm.rbm, config, self.rng, chains, positive=False)
        self.error += (visible - dbm.visible_means(contrast.positive)).square().sum()
        contrast.compare(dbm.rbm, config)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the rate, the mean squared error of what layer 1 makes of the visible layer, and
        the largest change in a last step of mean field.
        """
        return {
            "learning_rate": self.config.learning_rate_at(self.epoch),
            "reconstruction_error": float(self.error) / (cases * self.net.sizes[0]),
            "mean_field_change": float(self.change),
        }


@check_arguments
def epochs(
    dbm: DBM,
    cases: Tensor,
    labels: Tensor | None = None,
    *,
    config: DBMConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: DBMState | Mapping[str, Any] | None = None,
    stage: str = "dbm",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Train `dbm` on `cases` (N, visible) and, where it has a label group, `labels` (N,), in place,
    yielding a record after each epoch.

    Args:
        dbm: the machine that learns, fresh or from `pretrain`.
        cases: pixels (uint8, or floats in [0, 1]), or what the visible units take.
        labels: UNLABELLED (-1) where unknown: the label is then one of the hidden units.
        config: rates, epochs, steps of mean field and of the chains.
        rng: where all random choices come from; its device is the machine's.
        weights: how often each case is shown, relative to the others (N,).
        state: the `state` of an earlier record, to go on after it.
        stage: the name the records carry.
        dtype: the precision of products, as in `cd.epochs`.
        checked: the cases were looked at already.

    Yields:
        EpochResult, with metrics `learning_rate`, `reconstruction_error` (mean squared error a
            visible unit of what the means of layer 1 make of it) and `mean_field_change` (the
            largest change of a mean in a last step: where it is above 0.1, more
            `mean_field_steps` are needed).

    Raises:
        DataError: cases, labels or weights that do not fit the machine or each other.
        DivergedError: a weight is NaN or infinite after an epoch.
    """
    cases, labels = _checked(dbm, cases, labels, rng=rng, checked=checked)
    source = Resident(
        cases,
        labels,
        classes=None if labels is None else labels - UNLABELLED,
        weights=arrays.as_weights(weights, len(cases)),
    )
    copy = precision.low_precision_copy(dbm, dtype)
    state = DBMState.read(state)
    if state is None:
        state = init_state(dbm, copy, config, rng)
    else:
        expected = cd.expected_state(copy.rbm, config, state)
        mean = {"mean": dict(dbm.named_parameters()) if config.average else None}
        check_fit(state, expected | mean, type(dbm).__name__)
    yield from loop.run(
        DeepBoltzmann(dbm, config, state, rng, copy),
        source,
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
        mean_epochs=config.average,
    )


@check_arguments
@torch.no_grad()
def init_visible_bias(dbm: DBM, cases: Tensor) -> None:
    """Start the visible units as the independent model that fits `cases` (N, visible), as
    `cd.init_visible_bias` does: for machines that learn without `pretrain`.

    Raises:
        DataError: cases that do not fit the machine.
    """
    cases, _ = _checked(dbm, cases, None, rng=None, checked=False)
    bias = dbm.even["visible"].match(*unit_parameters.moments(cases), cases=len(cases))
    dbm.bias("visible").copy_(bias)


@check_arguments
def init_state(dbm: DBM, copy: DBM, config: DBMConfig, rng: torch.Generator) -> DBMState:
    """Return the state before the first epoch: no velocity, chains (of the precision of `copy`)
    that start at random.
    """
    state = DBMState(**vars(cd.init_state(copy.rbm, config, rng)))
    if config.average:
        state.mean = RunningMean.start(dbm)
    return state


def _checked(
    dbm: DBM, cases: Any, labels: Any, *, rng: torch.Generator | None, checked: bool
) -> tuple[Tensor, Tensor | None]:
    """Return cases (N, visible) and labels (N,) once they are seen to fit the machine.

    Raises:
        DataError: they do not; or labels came and the machine holds none.
    """
    if not checked:
        cases = dbm.check_cases(cases, rng=rng)
    if labels is None:
        return cases, None
    if not dbm.labels:
        raise DataError(
            "labels came, but this machine holds none; leave them out, or build DBM(..., labels=10)"
        )
    labels = arrays.as_labels(labels, len(cases), dbm.labels, lowest=UNLABELLED)
    return cases, labels.to(dbm.rbm.weight.device)


@check_arguments
def pretrain(
    dbm: DBM,
    cases: Tensor,
    labels: Tensor | None = None,
    *,
    config: CDConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Pretrain a fresh `dbm` on binary or grey `cases` (N, visible), a pair of layers at a time, in
    place, yielding a record after each epoch.

    In the whole machine a layer has two others beside it, in its pair one, which stands for both.
    So the bottom RBM has two copies of the visible layer and the top one two copies of the top
    layer: sums of two equal binary units, `Binomial(trials=2)`. RBMs between have one copy of each,
    and their weights are halved. Biases are the mean of what the pairs on both sides found. Cases
    whose label is UNLABELLED teach all pairs but the top one; `weights` (N,) say how often each
    is shown, relative to the others. Source: Salakhutdinov & Hinton (2009), section 3.

    Yields:
        EpochResult, with the metrics of `cd.epochs`; the stages are "layer 1", "layer 2", ...

    Raises:
        ConfigError: visible units that are not binary.
        DataError: as `epochs`.
    """
    if not isinstance(dbm.even["visible"], Bernoulli):
        raise ConfigError(
            f"pretraining of a machine over {dbm.even['visible']!r}: expected binary visible units "
            "(two copies of one are counts); other machines learn with centred=True and no "
            "pretraining"
        )
    cases, labels = _checked(dbm, cases, labels, rng=rng, checked=False)
    weights = arrays.as_weights(weights, len(cases))
    below = arrays.as_probs(cases).to(dbm.rbm.weight.dtype)
    learned: dict[str, list[Tensor]] = {}
    for number, (lower, upper) in enumerate(pairwise(dbm.layers), start=1):
        bottom, top = lower == "visible", upper == dbm.layers[-1]
        visible: Units = Binomial(len(dbm.bias(lower)), 2) if bottom else Bernoulli(below.shape[1])
        hidden: Units = (
            Binomial(len(dbm.bias(upper)), 2) if top else Bernoulli(len(dbm.bias(upper)))
        )
        data = 2 * below if bottom else below
        if top and dbm.labels:
            visible = Groups(features=visible, label=Categorical(dbm.labels))
            data, labels, weights = _beside_labels(dbm, below, labels, weights)
        rbm = RBM(visible, hidden, rng=rng)
        cd.init_visible_bias(rbm, data)
        source = Resident(data, classes=labels if top else None, weights=weights)
        yield from cd.learn(rbm, source, config, rng, None, f"layer {number}", dtype)
        size = below.shape[1]
        dbm.block(lower, upper).copy_(rbm.weight[:size] if bottom or top else rbm.weight[:size] / 2)
        learned.setdefault(lower, []).append(rbm.visible_bias[:size])
        learned.setdefault(upper, []).append(rbm.hidden_bias)
        if top and dbm.labels:
            dbm.block("label", upper).copy_(rbm.weight[size:])
            learned["label"] = [rbm.visible_bias[size:]]
        elif not top:
            below = torch.cat([rbm.hidden_probs(part) for part in torch.split(data, 2000)])
    for name, biases in learned.items():
        dbm.bias(name).copy_(torch.stack(biases).mean(0))


def _beside_labels(
    dbm: DBM, below: Tensor, labels: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the labelled cases of the top pair, (n, features + labels), their labels and weights.

    Raises:
        DataError: no case has a label.
    """
    if labels is None or not bool((labels != UNLABELLED).any()):
        raise DataError(
            f"the machine holds {dbm.labels} labels and no case has one; give some, or build "
            "DBM(..., labels=0)"
        )
    known = labels != UNLABELLED
    states = arrays.one_hot(labels[known], dbm.labels, below.dtype)
    weights = None if weights is None else weights[known.to(weights.device)]
    return torch.cat([below[known], states], 1), labels[known], weights


@check_arguments
def features(dbm: DBM, cases: Tensor, *, steps: int = STEPS) -> Tensor:
    """Return what a net of `classifier` takes: the visible states with the mean field of the other
    even layers beside them, (N, even without a label), the label summed over.

    Raises:
        DataError: cases (N, visible) that do not fit the machine.
    """
    cases, _ = _checked(dbm, cases, None, rng=None, checked=False)
    columns = _without_label(dbm.even)
    return torch.cat(
        [
            dbm.mean_field(dbm.as_numbers(part), steps=steps).even[:, columns]
            for part in torch.split(cases, 2000)
        ]
    )


@check_arguments
def classifier(dbm: DBM, *, rng: torch.Generator, classes: int = 0) -> nn.Sequential:
    """Return a feed-forward net that goes on from the mean field, one half-step a layer, up to the
    top and from there to the labels: for `backprop.epochs` on `features`.

    Of a machine (784, 500, 1000) it has the layers (1784, 500, 1000, labels): the inputs
    of layer 1 are the image and the means of layer 2. The label layer starts at the machine's, or,
    where that has no labels, with N(0, 0.01^2) for `classes`. Source: Salakhutdinov & Hinton
    (2009), section 3.3.

    Raises:
        ConfigError: no labels and no `classes`, or two numbers that differ.
    """
    labels = unrolled.label_count(dbm, classes)
    rbm, even, odd = dbm.rbm, _without_label(dbm.even), _without_label(dbm.odd)
    seen = dbm.even.columns("visible")
    hidden = slice(seen.stop, even.stop)
    up = (rbm.weight[even, odd], rbm.hidden_bias[odd])
    down = (rbm.weight[hidden, odd].t(), rbm.visible_bias[hidden])
    steps = [up] if dbm.depth % 2 else [up, down]
    net = backprop.feed_forward([even.stop, *(len(bias) for _, bias in steps), labels], rng.device)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(linear, steps, strict=False):
            layer.weight.copy_(weight.t())
            layer.bias.copy_(bias)
        unrolled.init_label_layer(linear[-1], dbm, rng)
        if dbm.labels:
            linear[-2].bias[-dbm.sizes[-1] :].add_(dbm.block("label", dbm.layers[-1]).mean(0))
    return net


def _without_label(units: Groups) -> slice:
    """Return the columns of a side but those of the label, which is the last group."""
    return slice(0, units.size - (units["label"].size if "label" in units.names else 0))
