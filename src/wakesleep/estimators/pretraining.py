"""Pretraining of the estimators' nets, layer by layer, on cases of which values may be missing:
these are drawn anew from the first layer as it learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wakesleep.learning import greedy
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.samplers import missing
from wakesleep.sources.arrays import UNLABELLED


def epochs(
    dbn: DBN,
    images: Tensor,
    known: Tensor | None,
    labels: Tensor | None,
    weights: Tensor | None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    dtype: torch.dtype,
) -> Iterator[EpochResult]:
    """Yield the epochs of pretraining; where images (N, D) are not all `known`, each epoch of the
    first layer sees what was drawn after the last.
    """
    settings: dict[str, Any] = {
        "config": config,
        "rng": rng,
        "weights": weights,
        "dtype": dtype,
        "checked": True,
    }
    state: Any = None
    if known is not None:
        first = config.layer if dbn.depth > 1 else config.memory
        for _ in range(first.epochs):
            record = next(greedy.epochs(dbn, images, labels, state=state, **settings))
            state = record.state
            yield record
            refill(dbn, images, known, labels, rng)
    yield from greedy.epochs(dbn, images, labels, state=state, **settings)


def refill(
    dbn: DBN, images: Tensor, known: Tensor, labels: Tensor | None, rng: torch.Generator
) -> None:
    """Draw what is not `known` of images (N, D) anew from the first layer, in place, given the rest
    and the label it may hold.
    """
    first = dbn.rbm(0)
    if dbn.depth > 1 or labels is None or not dbn.labels:
        missing.refill(first, images, known, rng)
        return
    labelled = labels != UNLABELLED
    cases = greedy.memory_cases(dbn, images[labelled], labels[labelled], checked=True)
    mask = torch.cat([known[labelled], known.new_ones(len(cases), dbn.labels)], 1)
    missing.refill(first, cases, mask, rng)
    images[labelled] = cases[:, : images.shape[1]]
