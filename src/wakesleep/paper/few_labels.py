"""Many images, few labels: what is generating first worth when labels are dear?

All training images may be used, a few of their labels only, drawn anew for each seed and balanced by class. `spread` lets
the known labels run along a graph of neighbours among the codes that were learned without any, and the net learns from all cases, the
more often the surer they are. No validation case is used:
settings are fixed beforehand, those of spreading on another data set (docs/notes/few-labels.md).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wakesleep.data import Split
from wakesleep.evaluation import classify
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper.results import Row
from wakesleep.paper.runs import Done, TableSetup, fine_tune, learn, row_of, take_layers
from wakesleep.runs import checkpoint
from wakesleep.sources.arrays import UNLABELLED, as_probs, order

TABLE = "few-labels"
COUNTS = (100, 300, 1000, 3000, 10_000, 60_000)
REPORTED = {("supervised", 100): "76.02", ("supervised", 1000): "88.71", ("supervised", 10_000): "94.73"}
REPORTED |= {("pretrained", 100): "81.70", ("pretrained", 1000): "93.65", ("pretrained", 10_000): "97.27"}
NAMES = ("supervised", "pretrained", "memory", "spread")
SPREAD_EPOCHS = 6
NEIGHBOURS = 10
ALPHA = 0.99
"""How much of a case's label comes from its neighbours at each step; the rest is what was known."""
MEMORY_EPOCHS = 10
UPDATES = 1500
"""Minibatches that a net makes at least where labels are few; more change nothing once every label is learned."""


def rows(setup: TableSetup, counts: tuple[int, ...] = COUNTS, ways: tuple[str, ...] = NAMES) -> Iterator[Row]:
    """Yield a row of test accuracy for each count of labels and each way to learn from them."""
    for count in counts:
        if count > len(setup.dataset.train):
            continue
        for way in ways:
            done = [one(setup, way, count, seed) for seed in choices(setup, count)]
            values = [100 - run.errors["test_error_percent"] for run in done]
            name = f"labels-{count}" if way == "spread" else f"labels-{count}-{way}"
            reported = REPORTED.get((way, count), "") if setup.dataset.name == "mnist" else ""
            yield row_of(setup, name, "test_accuracy_percent", values, done, seeds=choices(setup, count), reported=reported)


def choices(setup: TableSetup, count: int) -> tuple[int, ...]:
    """Return the seeds of the choices of labelled cases: ten where they are few, five to 3,000, then those of the table."""
    return setup.seeds[:1] if setup.smoke else tuple(range(1, 11)) if count < 1000 else tuple(range(1, 6)) if count <= 3000 else setup.seeds


def one(setup: TableSetup, way: str, count: int, seed: int) -> Done[nn.Sequential] | Done[DBN]:
    """Return the finished run of one way to learn from `count` labels, which ones by `seed`."""
    images, labels = setup.dataset.train.images.to(setup.device), setup.dataset.train.labels
    assert labels is not None
    labels = labels.to(setup.device)
    chosen = order(labels, len(labels), generator(seed, setup.device))[:count]
    return WAYS[way](setup, count, seed, images, labels, chosen)


def unlabelled_net(setup: TableSetup) -> Done[DBN]:
    """Return the net that has seen all training images and no label; one serves every choice of labels."""
    config, images = setup.config, setup.dataset.train.images.to(setup.device)
    sizes = (images.shape[1], *config.hidden)
    return learn(
        setup,
        f"{setup.dataset.name}-unlabelled",
        1,
        {"sizes": sizes, "greedy": config.greedy},
        make=lambda rng: DBN(sizes, rng=rng),
        loop=lambda dbn, rng, state: greedy.epochs(dbn, images, config=config.greedy, rng=rng, state=state, dtype=setup.dtype),
    )


def _tuned(setup: TableSetup, base: BackpropConfig, count: int) -> BackpropConfig:
    """Return settings of backpropagation that suit `count` labels: small minibatches and more epochs where they are few."""
    size = 20 if count <= 3000 else base.batch_size
    return replace(base, batch_size=size, epochs=setup.epochs(max(base.epochs, UPDATES * size // count)), learning_rate=base.learning_rate / 4)


def _supervised(setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor) -> Done[nn.Sequential]:
    sizes = (images.shape[1], *setup.config.hidden, len(setup.dataset.classes))
    return fine_tune(
        setup,
        f"{setup.dataset.name}-supervised-{count}",
        seed,
        _tuned(setup, setup.config.random, count),
        Split(images[chosen], labels[chosen]),
        lambda rng: backprop.random_classifier(sizes, rng=rng),
        {"sizes": sizes},
    )


def _pretrained(setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor) -> Done[nn.Sequential]:
    first = unlabelled_net(setup)
    return fine_tune(
        setup,
        f"{setup.dataset.name}-pretrained-{count}",
        seed,
        _tuned(setup, setup.config.backprop, count),
        Split(images[chosen], labels[chosen]),
        lambda rng: backprop.classifier(first.net, len(setup.dataset.classes), rng=rng, start="small"),
        {"from": first.digest},
    )


def _known(labels: Tensor, chosen: Tensor) -> Tensor:
    """Return the labels of the chosen cases, UNLABELLED elsewhere."""
    return torch.full_like(labels, UNLABELLED).index_copy_(0, chosen, labels[chosen])


def _spread(setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor) -> Done[nn.Sequential]:
    first = unlabelled_net(setup)
    config = replace(setup.config.backprop, epochs=setup.epochs(SPREAD_EPOCHS), learning_rate=setup.config.backprop.learning_rate / 2)
    known = _known(labels, chosen)

    def loop(net: nn.Sequential, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        probs = spread(neighbours(setup, first, images), known)
        guessed = torch.where(known == UNLABELLED, probs.argmax(1), known)
        return backprop.epochs(
            net, images, guessed, config=config, rng=rng, weights=certainty(probs), state=state, stage="spread", dtype=setup.dtype
        )

    return learn(
        setup,
        f"{setup.dataset.name}-spread-{count}",
        seed,
        {"from": first.digest, "backprop": config, "neighbours": NEIGHBOURS, "alpha": ALPHA},
        make=lambda rng: backprop.classifier(first.net, len(setup.dataset.classes), rng=rng, start="small"),
        loop=loop,
        log_probs=backprop.log_probs,
    )


def neighbours(setup: TableSetup, first: Done[DBN], images: Tensor) -> Any:
    """Return the symmetric graph (N, N) of nearest neighbours among the codes below the memory, by angle; made once, then read."""
    from scipy import sparse
    from sklearn.neighbors import kneighbors_graph
    from sklearn.preprocessing import normalize

    path = setup.folder / f"{setup.dataset.name}-neighbours-{NEIGHBOURS}-{first.digest}.npz"
    if not path.exists():
        codes = as_probs(greedy.features(first.net, images, first.net.depth - 1))
        graph = kneighbors_graph(normalize((codes - codes.mean(0)).cpu().numpy()), NEIGHBOURS)
        checkpoint.write_atomically(path, lambda temporary: _save_graph(temporary, graph.maximum(graph.T)))
    return sparse.load_npz(path)


def _save_graph(path: Path, graph: Any) -> None:
    from scipy import sparse

    with path.open("wb") as file:  # given a name, it would add .npz to it
        sparse.save_npz(file, graph)


def spread(graph: Any, known: Tensor) -> Tensor:
    """Return p(label | case) (N, labels) where the known labels (N,; UNLABELLED is unknown) have run along the graph (Zhou et al. 2004)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.semi_supervised import LabelSpreading

    machine = LabelSpreading(kernel=lambda X, Y: graph, alpha=ALPHA, max_iter=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(np.arange(len(known))[:, None], known.cpu().numpy())
    return torch.from_numpy(machine.label_distributions_).to(known.device)


def certainty(probs: Tensor) -> Tensor:
    """Return 1 - entropy / log(labels) of each case's p(label) (N, labels), (N,): 1 is sure; 0 knows nothing, or was not reached (all 0)."""
    entropy = -torch.xlogy(probs, probs).sum(1)
    return (probs.sum(1) - entropy / math.log(probs.shape[1])).clamp_(min=0.0)


def _memory(setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor) -> Done[DBN]:
    epochs, below = setup.epochs(MEMORY_EPOCHS), unlabelled_net(setup)
    known, config = _known(labels, chosen), setup.config.greedy.memory

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(below.net.sizes, labels=len(setup.dataset.classes), rng=rng)
        take_layers(dbn, below.net, dbn.depth - 1)
        return dbn

    return learn(
        setup,
        f"{setup.dataset.name}-memory-{count}",
        seed,
        {"from": below.digest, "memory": config, "passes": epochs},
        make=make,
        loop=lambda dbn, rng, state: together(dbn, images, known, config, epochs, rng, state, setup.dtype),
        log_probs=classify.log_probs,
    )


WAYS: dict[str, Callable[..., Done[nn.Sequential] | Done[DBN]]] = {
    "supervised": _supervised,
    "pretrained": _pretrained,
    "memory": _memory,
    "spread": _spread,
}


def together(
    dbn: DBN, images: Tensor, known: Tensor, config: cd.CDConfig, epochs: int, rng: torch.Generator, state: Any, dtype: torch.dtype
) -> Iterator[EpochResult]:
    """Train the label memory on labelled and unlabelled cases together, in place: unknown labels are drawn anew before each epoch.

    p(label | features) is exact with the hidden units summed out, so a draw is one Gibbs step of what is missing. The first epoch has
    nothing to draw from; it goes as often through the labelled cases alone as makes an epoch.
    """
    features, unknown = greedy.features(dbn, images, dbn.depth - 1), known == UNLABELLED
    each = replace(config, epochs=epochs, initial_momentum_epochs=1)
    inner = None if state is None else state["inner"]
    for epoch in range(0 if state is None else int(state["epoch"]), epochs):
        if epoch == 0:
            few = (~unknown).nonzero()[:, 0]
            shown = few.repeat(-(-len(known) // len(few)))[: len(known)]
            labels = known[shown]
        else:
            shown, labels = torch.arange(len(known), device=known.device), known.clone()
            if bool(unknown.any()):
                probs = classify.log_probs(dbn, images[unknown]).exp()
                labels[unknown] = torch.multinomial(probs, 1, generator=rng)[:, 0]
        cases = torch.cat([as_probs(features[shown]), nn.functional.one_hot(labels, dbn.labels).float()], 1)
        if epoch == 0:
            cd.init_visible_bias(dbn.memory, cases)
        record = next(cd.epochs(dbn.memory, cases, config=each, rng=rng, classes=labels, state=inner, stage="memory", dtype=dtype))
        inner = record.state
        yield record._replace(state={"epoch": epoch + 1, "inner": inner})
