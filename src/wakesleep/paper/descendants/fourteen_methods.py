"""Does generating first still help? Fourteen ways to learn from few labels and many cases, beside
each other.

Rows are named METHOD-COUNT; a cell has three choices of labels, with all labels one. Settings were
fixed beforehand, on cases of the training set or from the papers, and no test case chose any.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from wakesleep.data import load
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
from wakesleep.paper.descendants.common import Job, Stages
from wakesleep.paper.few_labels import cases, known_labels
from wakesleep.paper.results import Row
from wakesleep.paper.runs import Done, TableSetup, row_of

TABLE = "descendants"
CELLS = (("mnist", 100), ("mnist", 1000), ("fashion-mnist", 1000), ("mnist", 60_000))
METHODS: dict[str, Callable[..., Stages]] = {
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


REPORTED = {
    ("dbn-backprop", 60_000): "98.88",
    ("dbn-hybrid", 60_000): "99.03",
    ("vae-m1", 100): "88.18",
    ("vae-m1", 1000): "95.76",
    ("vae-m1-m2", 100): "96.67",
    ("ladder", 100): "98.94",
    ("ladder", 1000): "99.16",
    ("ladder", 60_000): "99.43",
    ("adversarial", 100): "98.64",
    ("adversarial", 1000): "98.73",
    ("adversarial", 60_000): "99.36",
    ("forward-forward", 60_000): "98.64",
}
"""Of MNIST, with more time and nets of their own: belief nets by Hinton (2007), M1 (with a support
vector machine) and M2 by Kingma et al. (2014), the ladder by Rasmus et al. (2015), smoothness by
Miyato et al. (2018), forward-forward by Hinton (2022). Those after 2007 were compared with what
others quote of these papers; what nobody was found to quote is left out.
"""


def _features(first: Done[Any], part: Callable[[Any], nn.Module]) -> tuple[Done[Any], nn.Module]:
    return first, part(first.net)


FEATURES: dict[str, Callable[[TableSetup], tuple[Done[Any], nn.Module]]] = {
    "dbn": lambda setup: _features(belief_nets.unlabelled_net(setup), common.Below),
    "denoising-autoencoder": lambda setup: _features(
        autoencoders.pretrained(setup, "denoising"), lambda net: net
    ),
    "masked-autoencoder": lambda setup: _features(
        autoencoders.pretrained(setup, "masked"), lambda net: net
    ),
    "vae": lambda setup: _features(vae.pretrained(setup), lambda net: net.features),
    "diffusion": lambda setup: _features(
        diffusion.pretrained(setup), lambda net: diffusion.Features(net, 30)
    ),
    "contrastive": lambda setup: _features(contrastive.pretrained(setup), lambda net: net),
}
"""What was learned without labels, and its features: the top layer's activities, for a linear
probe."""


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield a row of test accuracy for each method and count of labels, and each linear probe.

    All rows come first for the first seed, and again for each further one, which adds to them: the
    table is whole as soon as can be, and can be stopped at any time.
    """
    for number, _ in enumerate(setup.seeds, 1):
        seeds = setup.seeds[:number]
        for name, count in CELLS[:1] if setup.smoke else CELLS:
            on_set = setup
            if name != "mnist":
                on_set = replace(setup, dataset=load(name, folder=setup.data_folder))
            count = min(count, len(on_set.dataset.train))
            if number > 1 and count == len(on_set.dataset.train):
                continue  # one seed
            for method in METHODS:
                if setup.wants(TABLE, f"{on_set.dataset.name}-{method}-{count}", seeds):
                    yield cell(on_set, method, count, seeds)
        if number == 1:
            for name in ("mnist",) if setup.smoke else ("mnist", "fashion-mnist"):
                on_set = setup
                if name != "mnist":
                    on_set = replace(setup, dataset=load(name, folder=setup.data_folder))
                for method in FEATURES:
                    if setup.wants(TABLE, f"{on_set.dataset.name}-{method}-probe", (1,)):
                        yield probe(on_set, method)


def cell(setup: TableSetup, method: str, count: int, seeds: tuple[int, ...]) -> Row:
    """Return the row of one method with `count` labels."""
    done = [METHODS[method](job(setup, count, seed)) for seed in seeds]
    reported = REPORTED.get((method, count), "") if setup.dataset.name == "mnist" else ""
    partial = len(seeds) < len(setup.seeds) and count < len(setup.dataset.train)
    return _row(setup, f"{method}-{count}", done, seeds, reported, partial=partial)


def probe(setup: TableSetup, method: str) -> Row:
    """Return the row of a linear layer, trained on all labels, on features learned without any."""
    everything = job(setup, len(setup.dataset.train), 1)
    first, features = FEATURES[method](setup)
    last = common.fit_linear(everything, f"{method}-probe", features, first.digest)
    return _row(setup, f"{method}-probe", [(first, last)], (1,))


def _row(
    setup: TableSetup,
    name: str,
    done: list[Stages],
    seeds: tuple[int, ...],
    reported: str = "",
    *,
    partial: bool = False,
) -> Row:
    """Return the row of finished cells, one a seed, whose minutes are those of all stages, of the
    processor.
    """
    last = [stages[-1] for stages in done]
    values = [round(100 - run.errors["test_error_percent"], 4) for run in last]
    spent = [round(sum(run.cpu_minutes for run in stages), 2) for stages in done]
    labelled = statistics.median(run.cpu_minutes for run in last)
    accuracy = row_of(
        setup,
        name,
        "test_accuracy_percent",
        values,
        last,
        seeds=seeds,
        reported=reported,
        minutes=statistics.median(spent),
        labelled_minutes=round(labelled, 2),
        **({"partial": True} if partial else {}),
    )
    return {**accuracy, "table": TABLE, "row": f"{setup.dataset.name}-{name}"}


def job(setup: TableSetup, count: int, seed: int) -> Job:
    """Return the cell's cases with the labels of `count` of them, which ones by `seed`."""
    images, labels, chosen = cases(setup, count, seed)
    return Job(setup, count, seed, images, known_labels(labels, chosen))
