"""Does generating first still help? Fourteen ways to learn from few labels and many cases, beside
each other.

Rows are named METHOD-COUNT; a cell has three choices of labels, with all labels one. Settings were
fixed beforehand, on cases of the training set or from the papers, and no test case chose any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from wakesleep.data import load
from wakesleep.foundation.rng import generator
from wakesleep.paper.descendants import (
    adversarial,
    autoencoders,
    belief_nets,
    common,
    contrastive,
    diffusion,
    forward_forward,
    ladder,
    supervised,
    vae,
)
from wakesleep.paper.descendants.common import Job
from wakesleep.paper.few_labels import known_labels, unlabelled_net
from wakesleep.paper.results import Row
from wakesleep.paper.runs import Done, TableSetup, row_of
from wakesleep.sources.arrays import order

TABLE = "descendants"
COUNTS = {"mnist": (100, 1000, 60_000), "fashion-mnist": (1000,)}
METHODS: dict[str, Callable[[Job], Done[Any]]] = {
    "supervised": supervised.learn,
    "dbn-backprop": belief_nets.learn_backprop,
    "dbn-hybrid": belief_nets.learn_hybrid,
    "dbn-memory": belief_nets.learn_memory,
    "dbn-local": belief_nets.learn_local,
    "denoising-autoencoder": partial(autoencoders.learn, kind="denoising"),
    "masked-autoencoder": partial(autoencoders.learn, kind="masked"),
    "vae-m1": vae.learn_m1,
    "vae-m1-m2": vae.learn_m2,
    "diffusion": diffusion.learn,
    "contrastive": contrastive.learn,
    "ladder": ladder.learn,
    "adversarial": adversarial.learn,
    "forward-forward": forward_forward.learn,
}
FEATURES: dict[str, Callable[[TableSetup], nn.Module]] = {
    "dbn": lambda setup: common.Below(unlabelled_net(setup).net),
    "denoising-autoencoder": lambda setup: autoencoders.pretrained(setup, "denoising").net,
    "masked-autoencoder": lambda setup: autoencoders.pretrained(setup, "masked").net,
    "vae": lambda setup: vae.pretrained(setup).net.features,
    "diffusion": lambda setup: diffusion.Features(diffusion.pretrained(setup).net, 30),
    "contrastive": lambda setup: contrastive.pretrained(setup).net,
}
"""What was learned without labels: the top layer's activities, for a linear probe."""


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield a row of test accuracy for each method and count of labels, and each linear probe."""
    for name, counts in COUNTS.items():
        if setup.smoke and name != "mnist":
            continue
        here = setup
        if name != "mnist":
            here = replace(setup, dataset=load(name, folder=setup.data_folder))
        for count in counts[:1] if setup.smoke else counts:
            for method in METHODS:
                yield cell(here, method, min(count, len(here.dataset.train)))
        for method in FEATURES:
            yield probe(here, method)


def cell(setup: TableSetup, method: str, count: int) -> Row:
    """Return the row of one method with `count` labels."""
    seeds = (1,) if setup.smoke or count >= len(setup.dataset.train) else (1, 2, 3)
    done = [METHODS[method](job(setup, count, seed)) for seed in seeds]
    return _row(setup, f"{method}-{count}", done, seeds)


def probe(setup: TableSetup, method: str) -> Row:
    """Return the row of a linear layer, trained on all labels, on features learned without any."""
    everything = job(setup, len(setup.dataset.train), 1)
    features = FEATURES[method](setup).requires_grad_(False)
    done = common.fit_linear(everything, f"{method}-probe", features)
    return _row(setup, f"{method}-probe", [done], (1,))


def _row(setup: TableSetup, name: str, done: list[Done[Any]], seeds: tuple[int, ...]) -> Row:
    values = [100 - run.errors["test_error_percent"] for run in done]
    found = row_of(setup, name, "test_accuracy_percent", values, done, seeds=seeds)
    return {**found, "table": TABLE, "row": f"{setup.dataset.name}-{name}"}


def job(setup: TableSetup, count: int, seed: int) -> Job:
    """Return the cell's cases with the labels of `count` of them, which ones by `seed`."""
    images, labels = setup.dataset.train.images.to(setup.device), setup.dataset.train.labels
    assert labels is not None
    labels = labels.to(setup.device)
    chosen = order(labels, len(labels), generator(seed, setup.device))[:count]
    return Job(setup, count, seed, images, known_labels(labels, chosen))
