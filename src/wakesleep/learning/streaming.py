"""Greedy pretraining on cases that no memory holds: each pass streams through the files, and layers below are computed on the way."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wakesleep.foundation.shards import Shards
from wakesleep.learning import cd, greedy
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import Pass, State
from wakesleep.model.dbn import DBN


def epochs(
    dbn: DBN,
    shards: Shards,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    state: State | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Pretrain `dbn` on the cases of `shards`, from the pixels up, in place: `greedy.epochs` with a bounded memory.

    Each layer makes all its passes before the next begins. Base rates come from the first chunk. What layers below make of a case is computed
    again in each pass: a product a layer more, against Gibbs steps of three to five.

    Yields:
        A `Pass` after each pass of each layer, its stage "layer 1", ... or "memory", with the metric `learning_rate`. Its state goes on
        where it was.

    Raises:
        DataError: a label group without labels, or labels out of range.
        DivergedError: NaN or infinite weights.
    """
    first, done, inner = (0, 0, None) if state is None else (int(state["layer"]), int(state["inner"]["epoch"]), state["inner"])
    device = dbn.memory.weight.device
    for layer in range(first, dbn.depth):
        top = layer == dbn.depth - 1
        each, stage = (config.memory, "memory") if top else (config.layer, f"layer {layer + 1}")
        for epoch in range(done, each.passes):
            seen = 0
            for images, labels in shards.chunks(rng):
                images, labels = images.to(device), None if labels is None else labels.to(device)
                rbm, cases, classes, _ = greedy.work(dbn, images, labels, None, layer)
                if inner is None:
                    cd.set_base_rates(rbm, cases)
                before = None if inner is None else {**inner, "epoch": epoch}
                record = next(cd.epochs(rbm, cases, config=each, rng=rng, classes=classes, state=before, dtype=dtype))
                inner, seen = record.state, seen + len(cases)
            assert inner is not None
            yield Pass(stage, epoch + 1, each.passes, seen, {"learning_rate": each.rate(epoch)}, {"layer": layer, "inner": inner})
        done, inner = 0, None
