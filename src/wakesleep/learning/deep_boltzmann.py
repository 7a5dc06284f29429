"""The deep Boltzmann machine learns: mean-field recognition says what the data make of all layers,
persistent chains what the model makes of them.

    dW = <s_l s_l+1'>_mean-field(data) - <s_l s_l+1'>_chains

for every pair of neighbouring layers (Salakhutdinov & Hinton 2009). `pretrain` makes a good start
layer by layer; with `centred` in its config the machine learns without it (Montavon & Muller 2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed, precision
from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_arguments
from wakesleep.learning import backprop, cd, inputs, loop, unit_parameters, unrolled
from wakesleep.learning.cd import CDState, Contrast
from wakesleep.learning.configs import DBMConfig as DBMConfig
from wakesleep.learning.deep_pretraining import PretrainState as PretrainState
from wakesleep.learning.deep_pretraining import pretrain as pretrain
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import RunningMean, check_fit
from wakesleep.learning.unrolled import mean_field_classifier as mean_field_classifier
from wakesleep.models.dbm import DBM, STEPS
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.context import Context
from wakesleep.sources.minibatches import Resident, Source
from wakesleep.sources.shards import Shards
from wakesleep.units import Groups


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
        self,
        dbm: DBM,
        config: DBMConfig,
        state: DBMState,
        rng: torch.Generator,
        copy: DBM,
        known: Tensor | None = None,
    ) -> None:
        self.net, self.config, self.state, self.rng, self.copy = dbm, config, state, rng, copy
        self.known = known
        """Which visible values of each case are known, (N, visible); None: all."""
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
            moments = unit_parameters.moments(cases.cases, context=Context(mask=self.known))
            std = unit_parameters.spread(*moments, net.rbm)
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
        known = None if self.known is None else self.known[index]
        self.phases(contrast, visible, labels, known)
        cd.ascend(
            self.net.rbm,
            contrast,
            config,
            self.epoch,
            self.state,
            copy=dbm.rbm,
            clear=dbm.clear_gaps,
        )

    def phases(
        self,
        contrast: Contrast,
        visible: Tensor,
        labels: Tensor | None,
        known: Tensor | None = None,
    ) -> None:
        """Fill the contrast: its first half with the mean field of visible states (n, visible) as
        far as they are `known` (n, visible) and of `labels` (n,), its second with the chains, which
        move on.
        """
        dbm, config = self.copy, self.config
        posterior = dbm.mean_field(visible, labels, steps=config.mean_field_steps, known=known)
        torch.maximum(self.change, posterior.change, out=self.change)
        contrast.data.copy_(posterior.even)
        if known is not None and unit_parameters.there_are(dbm.even["visible"]):
            # a spread is learned too, which means do not have
            seen = dbm.even.columns("visible")
            total = affine(posterior.odd, dbm.rbm.weight[seen].t(), dbm.bias("visible"))
            sampled = dbm.even["visible"].sample(total, self.rng)
            contrast.data[:, seen] = torch.where(known, visible, sampled)
        contrast.positive.copy_(posterior.odd)
        chains = self.state.chains
        assert chains is not None
        cd.go_on_from_chains(contrast, dbm.rbm, config, self.rng, chains, positive=False)
        error = (visible - dbm.visible_means(contrast.positive)).square()
        self.error += error.sum() if known is None else (error * known).sum()
        contrast.compare(dbm.rbm, config)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the rate, the mean squared error of what layer 1 makes of the visible layer, and
        the largest change in a last step of mean field.
        """
        exchanged = self.state.exchange(self.net.rbm, self.config, self.rng)
        share = 1.0 if self.known is None else float(self.known.double().mean())
        return {
            "learning_rate": self.config.learning_rate_at(self.epoch),
            "reconstruction_error": float(self.error) / (cases * self.net.sizes[0] * share),
            "mean_field_change": float(self.change),
            **exchanged,
        }


@check_arguments
def epochs(
    dbm: DBM,
    cases: Tensor | Shards,
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
        cases: pixels (uint8, or floats in [0, 1]), or what the visible units take; NaN are hidden
            units of mean field. `Shards` on the disk bring their labels, and are whole.
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
        DataError: cases, labels or weights that do not fit the machine or each other; a categorical
            site that is known in part.
        DivergedError: a weight is NaN or infinite after an epoch.
    """

    def prepare(cases: Tensor, labels: Tensor | None) -> Resident:
        cases, labels = inputs.for_dbm(dbm, cases, labels if dbm.labels else None, rng=rng)
        return Resident(cases, labels, classes=None if labels is None else labels - UNLABELLED)

    source: Source
    if isinstance(cases, Shards):
        source, known = inputs.streamed(dbm, cases, labels, weights, prepare), None
    else:
        cases, labels = inputs.for_dbm(dbm, cases, labels, rng=rng, holes=True, checked=checked)
        cases, known = inputs.filled(cases, dbm.even["visible"])
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
        DeepBoltzmann(dbm, config, state, rng, copy, known),
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
    """Start the visible units as the independent model that fits what is not NaN of `cases` (N,
    visible), as `cd.init_visible_bias` does: for machines that learn without `pretrain`.

    Raises:
        DataError: cases that do not fit the machine.
    """
    units = dbm.even["visible"]
    cases, known = inputs.filled(dbm.check_cases(cases, missing=True), units)
    moments = unit_parameters.moments(cases, context=Context(mask=known))
    count = len(cases) * distributed.ranks()
    dbm.bias("visible").copy_(units.match(*moments, cases=count))


@check_arguments
def init_state(dbm: DBM, copy: DBM, config: DBMConfig, rng: torch.Generator) -> DBMState:
    """Return the state before the first epoch: no velocity, chains (of the precision of `copy`)
    that start at random.
    """
    state = DBMState(**vars(cd.init_state(copy.rbm, config, rng)))
    if config.average:
        state.mean = RunningMean.start(dbm)
    return state


@check_arguments
def features(dbm: DBM, cases: Tensor, *, steps: int = STEPS) -> Tensor:
    """Return what a net of `classifier` takes: the visible states, NaN as their means, with the
    mean field of the other even layers beside them, (N, even without a label), the label summed
    over.

    Raises:
        DataError: cases (N, visible) that do not fit the machine.
    """
    cases, known = inputs.filled(dbm.check_cases(cases, missing=True), dbm.even["visible"])
    columns, made = _without_label(dbm.even), []
    for rows in (slice(start, start + 2000) for start in range(0, len(cases), 2000)):
        own = None if known is None else known[rows]
        made.append(dbm.mean_field(dbm.as_numbers(cases[rows]), steps=steps, known=own).even)
    return torch.cat(made)[:, columns]


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
