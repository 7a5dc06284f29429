"""Greedy pretraining, layer by layer: the activities of one RBM are the data of the next; labels join at the top.

Source: Hinton, Osindero & Teh (2006), sections 4 and 6.1. Each added layer can raise a lower bound on log p(data).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from wakesleep.foundation.errors import DataError
from wakesleep.learning import cd, chains, inputs
from wakesleep.learning.configs import GreedyConfig as GreedyConfig
from wakesleep.learning.records import Pass, State
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.model.units import softmax_columns
from wakesleep.sources import cases as rows
from wakesleep.sources.cases import UNLABELLED


def features(dbn: DBN, images: Tensor, layers: int) -> Tensor:
    """Return what `layers` recognition layers make of `images`, as probabilities (N, units); no layers: the images themselves."""
    if layers == 0:
        return images
    below = torch.empty(len(images), dbn.sizes[layers], device=images.device)
    start = 0
    for chunk in rows.chunks(images):
        for layer in dbn.recognition[:layers]:
            chunk = layer.probs(chunk)
        below[start : start + len(chunk)] = chunk
        start += len(chunk)
    return below


def memory_cases(dbn: DBN, images: Tensor, labels: Tensor | None) -> Tensor:
    """Return the cases of the memory: the penultimate probabilities with, where the net has labels, the one-hot label beside them.

    Raises:
        DataError: the net has a label group and no labels came, or labels outside 0..labels-1.
    """
    below = features(dbn, images, dbn.depth - 1)
    if not dbn.labels:
        return below
    if labels is None:
        raise DataError(f"the memory holds {dbn.labels} labels but the cases came without any; give labels, or build DBN(..., labels=0)")
    labels = rows.as_labels(labels, len(images), dbn.labels)
    return torch.cat([rows.as_probs(below), one_hot(labels, dbn.labels).to(torch.float32)], 1)


def epochs(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: State | None = None,
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[Pass]:
    """Pretrain `dbn` on `images` (N, pixels) and, where it has a label group, `labels` (N,), from the pixels up, in place.

    Directed layers learn from all cases; a memory with labels from those whose label is known, not UNLABELLED.
    `weights` (N,) say how often each case is shown, relative to the others.
    `dtype` is the precision of products and `checked` says that the cases were looked at already, as in `cd.epochs`.

    Yields:
        A `Pass` after each pass of each layer, its stage "layer 1", "layer 2", ... or "memory". Its state goes on where it was.

    Raises:
        DataError: before the first pass, cases, labels or weights that do not fit, or a label group without labels.
        DivergedError: NaN or infinite weights.
    """
    images, labels, weights = inputs.for_stack(dbn, images, labels, weights, rng=rng, checked=checked)
    first, inner = (0, None) if state is None else (int(state["layer"]), state["inner"])
    for layer in range(first, dbn.depth):
        rbm, cases, classes, shares = work(dbn, images, labels, weights, layer)
        if inner is None:
            _set_base_rates(rbm, cases, shares)
        top = layer == dbn.depth - 1
        given: Any = {"rng": rng, "classes": classes, "weights": shares, "state": inner, "dtype": dtype}
        if top:
            records = memory_epochs(rbm, cases, config, **given)
        else:
            records = cd.epochs(rbm, cases, config=config.layer, checked=True, stage=f"layer {layer + 1}", **given)
        for record in records:
            yield record._replace(state={"layer": layer, "inner": record.state})
        inner = None


def memory_epochs(
    memory: RBM,
    cases: Tensor,
    config: GreedyConfig,
    *,
    rng: torch.Generator,
    classes: Tensor | None = None,
    weights: Tensor | None = None,
    state: State | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Train the memory on `cases` (N, visible), in place: `cd.epochs`, then, where it holds labels, `chains.epochs`, as `config` says."""
    given: Any = {"rng": rng, "classes": classes, "weights": weights, "stage": "memory", "dtype": dtype}
    alone = config.memory.passes - (chained_passes(config) if softmax_columns(memory.visible) else 0)
    done = 0 if state is None else int(state["epoch"])
    if done < alone:
        for record in islice(cd.epochs(memory, cases, config=config.memory, state=state, checked=True, **given), alone - done):
            state = record.state
            yield record
    if alone < config.memory.passes:
        state = cd.start(memory, config.memory, rng) if state is None else state
        yield from chains.epochs(memory, cases, config=config.chains, memory=config.memory, state=state, **given)


def chained_passes(config: GreedyConfig) -> int:
    """Return how many passes of a memory that holds labels have persistent chains."""
    return config.chains.passes(config.memory)


def chunk(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    layers: Sequence[int] | None = None,
    weights: Tensor | None = None,
    state: State | None = None,
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> State:
    """Give each of `layers` (by default all, from the pixels up) one pass over a chunk of a set that is too large to hold, in place.

    The layers below a layer are taken as they are now. Hand the state that comes back to the next call: momentum and chains live on.
    Rate and momentum are those of a first pass, and the memory learns as in its first passes, without `config.chains`, for nobody knows which
    chunk is the last; chunks of a torch DataLoader do well.

    Raises:
        DataError: cases, labels or weights that do not fit, or a label group without labels.
        DivergedError: NaN or infinite weights.
    """
    layers = range(dbn.depth) if layers is None else layers
    fit = inputs.for_stack if dbn.depth - 1 in layers else inputs.for_net
    images, labels, weights = fit(dbn, images, labels, weights, rng=rng, checked=checked)
    state = {} if state is None else state
    for layer in layers:
        rbm, cases, classes, shares = work(dbn, images, labels, weights, layer)
        each = replace(config.memory if layer == dbn.depth - 1 else config.layer, passes=1)
        before = state.get(f"layer {layer}")
        if before is None:
            _set_base_rates(rbm, cases, shares)
        inner = None if before is None else {**before, "epoch": 0}
        (record,) = cd.epochs(rbm, cases, config=each, rng=rng, classes=classes, weights=shares, state=inner, dtype=dtype, checked=True)
        state = {**state, f"layer {layer}": record.state}
    return state


def work(
    dbn: DBN, images: Tensor, labels: Tensor | None, weights: Tensor | None, layer: int
) -> tuple[RBM, Tensor, Tensor | None, Tensor | None]:
    """Return the RBM of `layer`, its cases, the classes that balance its minibatches, and the cases' weights."""
    if layer < dbn.depth - 1:
        return dbn.rbm(layer), features(dbn, images, layer), None if labels is None else labels - UNLABELLED, weights
    if dbn.labels and labels is not None and bool((labels == UNLABELLED).any()):
        known = labels != UNLABELLED
        images, labels, weights = images[known], labels[known], None if weights is None else weights[known]
    return dbn.memory, memory_cases(dbn, images, labels), None if labels is None else labels - UNLABELLED, weights


def _set_base_rates(rbm: RBM, cases: Tensor, weights: Tensor | None) -> None:
    """Start the visible biases at the base rates of the cases, each counted as its weight says."""
    if weights is not None:
        shares = (weights * (len(weights) / weights.sum())).to(cases.device, torch.float32)
        cases = rows.as_probs(cases) * shares[:, None]
    cd.set_base_rates(rbm, cases)
