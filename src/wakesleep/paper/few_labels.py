"""Many images, few labels: what is generating first worth when labels are dear?

All training images may be used, a few of their labels only, drawn anew for each seed and balanced
by class. `spread` lets the known labels run along a graph of neighbours among the codes that were
learned without any, and the net learns from all cases, the more often the surer they are; `memory`
teaches the label memory so. `semi-supervised` goes on from there with the known labels and what the
net says of all cases. No validation case is used: settings are fixed beforehand, on other data sets
(docs/notes/few-labels.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.data import Split
from wakesleep.evaluation import classify
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy, spreading
from wakesleep.learning import semi_supervised as semi_supervised_learning
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.semi_supervised import SemiSupervisedConfig
from wakesleep.models.dbn import DBN
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import Done, TableSetup, fine_tune, learn, row_of, take_layers
from wakesleep.sources.arrays import UNLABELLED, as_probs, order

TABLE = "few-labels"
COUNTS = (100, 300, 1000, 3000, 10_000, 60_000)
REPORTED = {
    ("supervised", 100): "76.02",
    ("supervised", 1000): "88.71",
    ("supervised", 10_000): "94.73",
}
REPORTED |= {
    ("pretrained", 100): "81.70",
    ("pretrained", 1000): "93.65",
    ("pretrained", 10_000): "97.27",
}
NAMES = ("supervised", "pretrained", "memory", "spread", "semi-supervised")
SPREAD_EPOCHS = 6
START_PASSES = 3
"""Epochs from spread labels before the net gives itself some."""
SEMI_SUPERVISED = SemiSupervisedConfig()
MEMORY_EPOCHS = 20
"""Of these the first has the initial momentum; of ten, half with it, all labels were worth less
than to random weights.
"""
UPDATES = 1500
"""Minibatches that a net makes at least where labels are few; more change nothing once every label
is learned.
"""


def rows(
    setup: TableSetup, counts: tuple[int, ...] = COUNTS, ways: tuple[str, ...] = NAMES
) -> Iterator[Row]:
    """Yield a row of test accuracy for each count of labels and each way to learn, again after each
    choice of labels; at last, where all of them were asked for, at how many counts the memory beats
    random weights.
    """
    medians: dict[tuple[str, int], float] = {}
    whole = True
    for count in counts:
        if count > len(setup.dataset.train):
            continue
        for way in ways:
            name = f"labels-{count}" if way == "semi-supervised" else f"labels-{count}-{way}"
            if not setup.wants(setup.dataset.name, name, choices(setup, count)):
                whole = False
                continue
            done = []
            for seed in choices(setup, count):
                done.append(one(setup, way, count, seed))
                accuracy = _row(setup, name, done, REPORTED.get((way, count), ""))
                medians[way, count] = accuracy["value"]
                yield accuracy
    above = [
        median > medians["supervised", count]
        for (way, count), median in medians.items()
        if way == "memory" and "supervised" in ways
    ]
    if above and whole:
        yield row(
            setup.dataset.name,
            "labels-memory",
            "counts_above_random_weights",
            [float(sum(above))],
            seeds=[1],
            command=setup.command,
        )


def _row(setup: TableSetup, name: str, done: list[Done[Any]], reported: str) -> Row:
    """Return the row of the choices that are done."""
    values = [100 - run.errors["test_error_percent"] for run in done]
    seeds = choices(setup, int(name.split("-")[1]))
    return row_of(
        setup,
        name,
        "test_accuracy_percent",
        values,
        done,
        seeds=seeds[: len(done)],
        reported=reported if setup.dataset.name == "mnist" else "",
        **({"partial": True} if len(done) < len(seeds) else {}),
    )


def choices(setup: TableSetup, count: int) -> tuple[int, ...]:
    """Return the seeds of the choices of labelled cases: ten where they are few, five to 3,000,
    then those of the table.
    """
    return (
        setup.seeds[:1]
        if setup.smoke
        else tuple(range(1, 11))
        if count < 1000
        else tuple(range(1, 6))
        if count <= 3000
        else setup.seeds
    )


def one(setup: TableSetup, way: str, count: int, seed: int) -> Done[nn.Sequential] | Done[DBN]:
    """Return the finished run of one way to learn from `count` labels, which ones by `seed`."""
    return WAYS[way](setup, count, seed, *cases(setup, count, seed))


def cases(setup: TableSetup, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return all images, their labels, and which `count` of these are known."""
    images, labels = setup.dataset.train.images.to(setup.device), setup.dataset.train.labels
    assert labels is not None
    labels = labels.to(setup.device)
    return images, labels, order(labels, len(labels), generator(seed, setup.device))[:count]


def unlabelled_net(setup: TableSetup) -> Done[DBN]:
    """Return the net that has seen all training images and no label; one serves every choice of
    labels.
    """
    config, images = setup.config, setup.dataset.train.images.to(setup.device)
    sizes = (images.shape[1], *config.hidden)
    return learn(
        setup,
        f"{setup.dataset.name}-unlabelled",
        1,
        {"sizes": sizes, "greedy": config.greedy},
        make=lambda rng: DBN(sizes, rng=rng),
        loop=lambda dbn, rng, state: greedy.epochs(
            dbn, images, config=config.greedy, rng=rng, state=state, dtype=setup.dtype
        ),
    )


def _tuned(setup: TableSetup, base: BackpropConfig, count: int) -> BackpropConfig:
    """Return settings of backpropagation that suit `count` labels: small minibatches and more
    epochs where they are few.
    """
    size = 20 if count <= 3000 else base.batch_size
    return replace(
        base,
        batch_size=size,
        epochs=setup.epochs(max(base.epochs, UPDATES * size // count)),
        learning_rate=base.learning_rate / 4,
    )


def _supervised(
    setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor
) -> Done[nn.Sequential]:
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


def _pretrained(
    setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor
) -> Done[nn.Sequential]:
    first = unlabelled_net(setup)
    return fine_tune(
        setup,
        f"{setup.dataset.name}-pretrained-{count}",
        seed,
        _tuned(setup, setup.config.backprop, count),
        Split(images[chosen], labels[chosen]),
        lambda rng: backprop.classifier(
            first.net, len(setup.dataset.classes), rng=rng, start="small"
        ),
        {"from": first.digest},
    )


def known_labels(labels: Tensor, chosen: Tensor) -> Tensor:
    """Return the labels of the chosen cases, UNLABELLED elsewhere."""
    return torch.full_like(labels, UNLABELLED).index_copy_(0, chosen, labels[chosen])


def spread_labels(
    setup: TableSetup, first: Done[DBN], images: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the label of each case, known or spread among codes, and its certainty, 1 for those
    that are known, (N,) each.
    """
    if (known != UNLABELLED).all():
        return known, torch.ones(len(known))
    return spreading.most_probable(spreading.spread(neighbours(setup, first, images), known), known)


def _from_spread(
    setup: TableSetup, name: str, count: int, seed: int, images: Tensor, known: Tensor, epochs: int
) -> Done[nn.Sequential]:
    """Return the net that learned by backpropagation from labels spread among codes."""
    first = unlabelled_net(setup)
    config = replace(
        setup.config.backprop,
        epochs=setup.epochs(epochs),
        learning_rate=setup.config.backprop.learning_rate / 2,
    )

    def loop(net: nn.Sequential, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        labels, weights = spread_labels(setup, first, images, known)
        return backprop.epochs(
            net,
            images,
            labels,
            config=config,
            rng=rng,
            weights=weights,
            state=state,
            stage="spread",
            dtype=setup.dtype,
        )

    return learn(
        setup,
        f"{setup.dataset.name}-{name}-{count}",
        seed,
        {
            "from": first.digest,
            "backprop": config,
            "neighbours": spreading.NEIGHBOURS,
            "alpha": spreading.ALPHA,
        },
        make=lambda rng: backprop.classifier(
            first.net, len(setup.dataset.classes), rng=rng, start="small"
        ),
        loop=loop,
        log_probs=backprop.log_probs,
    )


def _spread(
    setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor
) -> Done[nn.Sequential]:
    return _from_spread(
        setup, "spread", count, seed, images, known_labels(labels, chosen), SPREAD_EPOCHS
    )


def _semi_supervised(
    setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor
) -> Done[nn.Sequential]:
    return semi_supervised(setup, count, seed, SEMI_SUPERVISED)


def semi_supervised(
    setup: TableSetup, count: int, seed: int, config: SemiSupervisedConfig
) -> Done[nn.Sequential]:
    """Return the net that learned from `count` labels, which ones by `seed`, and from what it says
    of all cases.
    """
    images, labels, chosen = cases(setup, count, seed)
    known = known_labels(labels, chosen)
    start = _from_spread(setup, "start", count, seed, images, known, START_PASSES)
    graph = neighbours(setup, unlabelled_net(setup), images)
    config = semi_supervised_learning.suited(config, spreading.agreement(graph, known))
    config = replace(config, epochs=setup.epochs(config.epochs))

    def make(rng: torch.Generator) -> nn.Sequential:
        net = backprop.feed_forward(
            (images.shape[1], *setup.config.hidden, len(setup.dataset.classes)), setup.device
        )
        net.load_state_dict(start.net.state_dict())
        return net

    return learn(
        setup,
        f"{setup.dataset.name}-semi-supervised-{count}",
        seed,
        {"from": start.digest, "semi-supervised": config},
        make=make,
        loop=lambda net, rng, state: semi_supervised_learning.epochs(
            net, images, known, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
        log_probs=backprop.log_probs,
    )


def neighbours(setup: TableSetup, first: Done[DBN], images: Tensor) -> Any:
    """Return the symmetric graph (N, N) of nearest neighbours among the codes below the memory, by
    angle; made once, then read.
    """
    from scipy import sparse

    path = (
        setup.folder / f"{setup.dataset.name}-neighbours-{spreading.NEIGHBOURS}-{first.digest}.npz"
    )
    if not path.exists():
        graph = spreading.neighbour_graph(
            as_probs(greedy.features(first.net, images, first.net.depth - 1))
        )
        files.write_atomically(path, lambda temporary: _save_graph(temporary, graph))
    return sparse.load_npz(path)


def _save_graph(path: Path, graph: Any) -> None:
    from scipy import sparse

    with path.open("wb") as file:  # given a name, it would add .npz to it
        sparse.save_npz(file, graph)


def _memory(
    setup: TableSetup, count: int, seed: int, images: Tensor, labels: Tensor, chosen: Tensor
) -> Done[DBN]:
    known = known_labels(labels, chosen)
    return spread_memory(setup, count, seed, images, known, epochs=setup.epochs(MEMORY_EPOCHS))


def spread_memory(
    setup: TableSetup, count: int, seed: int, images: Tensor, known: Tensor, *, epochs: int
) -> Done[DBN]:
    """Return the net whose label memory learned features with labels spread among them, the more
    often the surer they are.
    """
    below = unlabelled_net(setup)
    config = replace(setup.config.greedy.memory, epochs=epochs, initial_momentum_epochs=1)

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(below.net.sizes, labels=len(setup.dataset.classes), rng=rng)
        take_layers(dbn, below.net, dbn.depth - 1)
        return dbn

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        guesses, weights = spread_labels(setup, below, images, known)
        cases = greedy.memory_cases(dbn, images, guesses)
        if state is None:
            cd.init_visible_bias(dbn.memory, cases)
        return cd.epochs(
            dbn.memory,
            cases,
            config=config,
            rng=rng,
            classes=guesses,
            weights=weights,
            state=state,
            stage="memory",
            dtype=setup.dtype,
        )

    return learn(
        setup,
        f"{setup.dataset.name}-memory-{count}",
        seed,
        {"from": below.digest, "memory": config, "labels": "spread"},
        make=make,
        loop=loop,
        log_probs=classify.log_probs,
    )


WAYS: dict[str, Callable[..., Done[nn.Sequential] | Done[DBN]]] = {
    "supervised": _supervised,
    "pretrained": _pretrained,
    "memory": _memory,
    "spread": _spread,
    "semi-supervised": _semi_supervised,
}
