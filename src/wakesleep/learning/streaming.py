"""Learning from cases that no memory holds: each pass streams through the files, and what lies below a layer is computed on the way.

Greedy pretraining (`epochs`) and backpropagation (`fine_tune`) take a joined chunk at a time, as their own loops take a whole set.
Contrastive wake-sleep does not stream: its chains and running means count in passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.learning import backprop, cd, greedy, inputs
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import Pass, State
from wakesleep.model.dbn import DBN
from wakesleep.sources.shards import Shards

Learn = Callable[[Tensor, Tensor | None, State | None], Pass]
"""One pass over a chunk in memory: images, labels, and the state that the last chunk left."""


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
        A `Pass` after each pass of each layer, its stage "layer 1", ... or "memory", with the metrics of `cd.epochs`. Its state goes on
        where it was.

    Raises:
        DataError: a label group without labels, or labels out of range.
        DivergedError: NaN or infinite weights.
    """
    first, done, inner = (0, 0, None) if state is None else (int(state["layer"]), int(state["inner"]["epoch"]), state["inner"])
    for layer in range(first, dbn.depth):
        top = layer == dbn.depth - 1
        stage = "memory" if top else f"layer {layer + 1}"

        def learn(images: Tensor, labels: Tensor | None, before: State | None, layer: int = layer, top: bool = top) -> Pass:
            images, labels, _ = inputs.for_stack(dbn, images, labels, None, rng=rng)
            rbm, cases, classes, _ = greedy.work(dbn, images, labels, None, layer)
            if before is None:
                cd.set_base_rates(rbm, cases)
            given: Any = {"rng": rng, "classes": classes, "state": before, "dtype": dtype}
            if top:
                return next(greedy.memory_epochs(rbm, cases, config, **given))
            return next(cd.epochs(rbm, cases, config=config.layer, checked=True, **given))

        for epoch in range(done, (config.memory if top else config.layer).passes):
            record = _one_pass(shards, rng, dbn.memory.weight.device, learn, inner, epoch)
            inner = record.state
            yield record._replace(stage=stage, state={"layer": layer, "inner": inner})
        done, inner = 0, None


def fine_tune(
    net: nn.Sequential,
    shards: Shards,
    *,
    config: BackpropConfig,
    rng: torch.Generator,
    state: State | None = None,
    stage: str = "backprop",
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Fine-tune `net` on the labelled cases of `shards`, in place: `backprop.epochs` with a bounded memory, and what it yields and raises.

    Velocities live on from chunk to chunk.
    """

    def learn(images: Tensor, labels: Tensor | None, before: State | None) -> Pass:
        assert labels is not None
        return next(backprop.epochs(net, images, labels, config=config, rng=rng, state=before, stage=stage, dtype=dtype))

    inner = backprop.start(net) if state is None else state
    for epoch in range(int(inner["epoch"]), config.passes):
        record = _one_pass(shards, rng, next(net.parameters()).device, learn, inner, epoch)
        inner = record.state
        yield record


def _one_pass(shards: Shards, rng: torch.Generator, device: torch.device, learn: Learn, state: State | None, epoch: int) -> Pass:
    """Let `learn` take all chunks of a pass in turn, and return the last record with all cases and the means of the metrics over them."""
    seen, record = 0, None
    sums: dict[str, float] = {}
    for images, labels in shards.chunks(rng):
        before = None if state is None else {**state, "epoch": epoch}  # a chunk is a whole pass to the loop that takes it
        record = learn(images.to(device), None if labels is None else labels.to(device), before)
        state, seen = record.state, seen + record.cases
        sums = {name: sums.get(name, 0.0) + value * record.cases for name, value in record.metrics.items()}
    assert record is not None
    return record._replace(cases=seen, metrics={name: total / seen for name, total in sums.items()})
