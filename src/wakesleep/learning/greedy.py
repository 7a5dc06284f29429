"""Greedy pretraining, layer by layer: the activities of one RBM are the data of the next; labels
join at the top.

Source: Hinton, Osindero & Teh (2006), sections 4 and 6.1. Each added layer can raise a lower bound
on log p(data).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.learning import cd, inputs, multimodal, spreading
from wakesleep.learning.cd import CDState
from wakesleep.learning.chains import MemoryState
from wakesleep.learning.chains import chained_epochs as chained_epochs
from wakesleep.learning.chains import memory_epochs as memory_epochs
from wakesleep.learning.configs import GreedyConfig as GreedyConfig
from wakesleep.learning.configs import MultimodalConfig as MultimodalConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import State
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.axes import Each, ImageCases, SomeLabels
from wakesleep.sources.minibatches import Resident, Source, Streamed
from wakesleep.sources.paired import SenseCases
from wakesleep.sources.shards import Shards


@check_arguments
def features(dbn: DBN, images: Tensor, layers: int, *, checked: bool = False) -> Tensor:
    """Return what `layers` recognition layers make of `images`, as means (N, units); no layers: the
    images themselves.

    With `checked` the values of images were looked at already.

    Raises:
        ConfigError: another number of layers than 0 to those the net has below its memory.
        DataError: images that do not fit the net.
    """
    if not 0 <= layers < dbn.depth:
        raise ConfigError(
            f"layers = {layers}: expected 0 to {dbn.depth - 1}, the layers below the memory"
        )
    if not checked:
        images = dbn.check_cases(images)
    if layers == 0:
        return images
    below = torch.empty(len(images), dbn.sizes[layers], device=images.device)
    start = 0
    for chunk in arrays.chunks(images):
        for layer in dbn.recognition[:layers]:
            chunk = layer.probs(chunk)
        below[start : start + len(chunk)] = chunk
        start += len(chunk)
    return below


@check_arguments
def memory_cases(
    dbn: DBN, images: Tensor, labels: Tensor | None, *, checked: bool = False
) -> Tensor:
    """Return the cases of the memory: the penultimate probabilities with, where the net has labels,
    the one-hot label beside them.

    With `checked` the values of images were looked at already.

    Raises:
        DataError: images that do not fit; the net has a label group and no labels came, or labels
            outside 0..labels-1.
    """
    below = features(dbn, images, dbn.depth - 1, checked=checked)
    if not dbn.labels:
        return below
    if labels is None:
        raise DataError(
            f"the memory holds {dbn.labels} labels but the cases came without any; give labels, "
            "or build DBN(..., labels=0)"
        )
    labels = arrays.as_labels(labels, len(below), dbn.labels).to(below.device)
    return torch.cat([arrays.as_probs(below), one_hot(labels, dbn.labels).to(torch.float32)], 1)


@dataclass
class GreedyState(State):
    """Where greedy pretraining stands: the layer that learns, and the state of its own loop (None:
    before its first epoch).
    """

    layer: int = 0
    inner: MemoryState | None = None


@check_arguments
def epochs(
    dbn: DBN | MultimodalDBN,
    images: Tensor | Shards | SenseCases | Mapping[str, Any],
    labels: Tensor | None = None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: GreedyState | Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Pretrain `dbn` on `images` (N, pixels) and, where it has a label group, `labels` (N,), from
    the pixels up, in place.

    Directed layers learn from all cases. Where labels are UNLABELLED, a memory that holds labels
    learns from those that spread among the codes below it (`spreading`), the more often the surer
    they are; from shards, or without a layer below, it learns the labelled cases. `weights` (N,)
    say how often each case is shown, relative to the others. `dtype` is the precision of products
    and `checked` says that the cases were looked at already, as in `cd.epochs`. Images may be
    `Shards` on the disk, which bring their labels: memory stays bounded. Base rates then come from
    the first chunk, and what the layers below make of a case is computed again in each epoch: a
    product a layer more, against Gibbs steps of three to five.

    A net of several senses takes cases (N, size) by sense, NaN in rows where a sense is absent, or
    those of `pair_by_class`, which bring their labels, and may have a `MultimodalConfig`: see
    `learning.multimodal`.

    Yields:
        A `EpochResult` after each epoch of each layer, its stage "layer 1", "layer 2", ... or
            "memory"; of several senses "image layer 1", ... Its state goes on where it was.

    Raises:
        DataError: cases, labels or weights that do not fit, or a label group without labels; before
            the first epoch where they are not shards.
        DivergedError: NaN or infinite weights.
    """
    state = GreedyState.read(state) or GreedyState()
    if isinstance(dbn, MultimodalDBN):
        given = inputs.for_senses(dbn, images, labels, weights, rng=rng)
        for stage, record in multimodal.epochs(
            dbn, given, config, rng, state.layer, state.inner, dtype
        ):
            yield record._replace(state=GreedyState(stage, record.state))
        return
    if isinstance(images, SenseCases | Mapping):
        raise DataError(
            "cases by sense came to a net of one sense; expected a tensor (N, pixels), or a net "
            "DBN(senses=...)"
        )
    if not isinstance(images, Shards):
        images, labels, weights = inputs.for_stack(
            dbn, images, labels, weights, rng=rng, checked=checked
        )
    if not 0 <= state.layer < dbn.depth:
        raise CheckpointError(
            f"the state is of layer {state.layer}, and this net has layers 0 to "
            f"{dbn.depth - 1}: give the net that the state came from"
        )
    inner = state.inner
    for layer in range(state.layer, dbn.depth):
        source = _source(dbn, images, labels, weights, layer, rng, fresh=inner is None)
        if layer == dbn.depth - 1:
            records = memory_epochs(dbn.memory, source, config, rng=rng, state=inner, dtype=dtype)
        else:
            records = cd.learn(
                dbn.rbm(layer), source, config.layer, rng, inner, f"layer {layer + 1}", dtype
            )
        for record in records:
            yield record._replace(state=GreedyState(layer, record.state))
        inner = None


def _source(
    dbn: DBN,
    images: Tensor | Shards,
    labels: Tensor | None,
    weights: Tensor | None,
    layer: int,
    rng: torch.Generator,
    fresh: bool,
) -> Source:
    """Return what the RBM of `layer` learns from; where it is `fresh`, its visible biases start at
    the base rates of the first cases.
    """

    def prepare(images: Tensor, labels: Tensor | None, weights: Tensor | None = None) -> Resident:
        nonlocal fresh
        rbm, cases = layer_and_source(dbn, images, labels, weights, layer)
        if fresh:
            _init_visible_bias(rbm, cases)
            fresh = False
        return cases

    def prepare_chunk(images: Tensor, labels: Tensor | None) -> Resident:
        images, labels, _ = inputs.for_stack(dbn, images, labels, None, rng=rng)
        return prepare(images, labels)

    if isinstance(images, Shards):
        return Streamed(images, dbn.memory.weight.device, prepare_chunk)
    if (
        layer
        and layer == dbn.depth - 1
        and dbn.labels
        and labels is not None
        and bool((labels == UNLABELLED).any())
    ):
        spread = spreading.spread_labels(
            arrays.as_probs(features(dbn, images, layer, checked=True)), labels
        )
        labels, weights = (
            spread.labels,
            spread.weights if weights is None else spread.weights * weights,
        )
    return prepare(images, labels, weights)


@check_arguments
def chunk(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    layers: Sequence[int] | None = None,
    weights: Tensor | None = None,
    states: Mapping[int, CDState] | None = None,
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> dict[int, CDState]:
    """Give each of `layers` (by default all, from the pixels up) one epoch over a chunk of a set
    that is too large to hold, in place.

    The layers below a layer are taken as they are now. Hand the states, by layer, that come back to
    the next call: momentum and chains live on. Rate and momentum are those of a first epoch, and
    the memory learns as in its first epochs, without `config.chains`, for nobody knows which chunk
    is the last; chunks of a torch DataLoader do well.

    Raises:
        DataError: cases, labels or weights that do not fit, or a label group without labels.
        DivergedError: NaN or infinite weights.
    """
    layers = range(dbn.depth) if layers is None else layers
    fit = inputs.for_stack if dbn.depth - 1 in layers else inputs.for_net
    images, labels, weights = fit(dbn, images, labels, weights, rng=rng, checked=checked)
    states = {} if states is None else dict(states)
    for layer in layers:
        rbm, cases = layer_and_source(dbn, images, labels, weights, layer)
        each = replace(
            config.memory if layer == dbn.depth - 1 else config.layer,
            epochs=1,
            units_frozen_epochs=0,
        )
        before = states.get(layer)
        if before is None:
            _init_visible_bias(rbm, cases)
        state = (
            None if before is None else replace(cd.adapted_state(rbm, each, before, rng), epoch=0)
        )
        (record,) = cd.learn(rbm, cases, each, rng, state, "chunk", dtype)
        states[layer] = record.state
    return states


@check_arguments
def layer_and_source(
    dbn: DBN, images: ImageCases, labels: SomeLabels | None, weights: Each | None, layer: int
) -> tuple[RBM, Resident]:
    """Return the RBM of `layer` and its cases: images seen through the layers below, for the memory
    those with a label, beside it.
    """
    if (
        layer == dbn.depth - 1
        and dbn.labels
        and labels is not None
        and bool((labels == UNLABELLED).any())
    ):
        known = labels != UNLABELLED
        images, labels, weights = (
            images[known],
            labels[known],
            None if weights is None else weights[known],
        )
    memory = layer == dbn.depth - 1
    cases = (
        memory_cases(dbn, images, labels, checked=True)
        if memory
        else features(dbn, images, layer, checked=True)
    )
    classes = None if labels is None else labels - UNLABELLED
    return dbn.rbm(layer), Resident(cases, labels, classes=classes, weights=weights)


def _init_visible_bias(rbm: RBM, source: Resident) -> None:
    """Start the visible biases at the base rates of the cases, each counted as its weight says."""
    cd.init_visible_bias(rbm, source.cases, source.weights)
