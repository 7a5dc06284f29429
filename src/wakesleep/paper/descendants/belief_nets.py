"""The deep belief net of this package, trained in four ways.

backprop  layers pretrained without labels, then backpropagation from the labelled cases
memory    labels spread among the codes, then learned by the associative memory
hybrid    from such a memory, contrastive wake-sleep and backpropagation on the same weights
local     contrastive wake-sleep without labels, then contrastive divergence of the memory on the
          labelled cases: every weight learns from the two units that it joins, and nothing else

The time is that of all methods (`common.updates_in`). All but the first spend half of the
unlabelled stage on greedy layers; the rest goes to the graph of neighbours among the codes (memory
and hybrid) or to contrastive wake-sleep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from wakesleep.data import Split
from wakesleep.evaluation import classify
from wakesleep.learning import backprop, cd, greedy, hybrid, up_down
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper import few_labels
from wakesleep.paper.descendants.common import (
    BATCH,
    RECORDS,
    UNLABELLED_SECONDS,
    Job,
    Stages,
    labelled_seconds,
)
from wakesleep.paper.runs import Done, TableSetup, fine_tune, learn
from wakesleep.sources.arrays import UNLABELLED

LAYERS_PASS = 8.5
"""Seconds of a pass of 60,000 cases through each layer, on the core of `common.updates_in`."""
MEMORY_PASS = 5.2
UPDOWN_PASS = 11.5
HYBRID_PASS = 18.0
BACKPROP_MILLISECONDS = {20: 5.5, 100: 14.0}
"""Of a minibatch of so many cases."""
HYBRID_MEMORY_SECONDS = 6
"""What the hybrid spends on the memory that it starts from."""


def passes(setup: TableSetup, seconds: float, one: float) -> int:
    """Return how many passes of `one` second each fit."""
    return setup.epochs(max(1, int(setup.times * seconds / one)))


def rounds_and_epochs(setup: TableSetup, known: int, shown: float) -> tuple[int, int]:
    """Return how often an epoch shows each of `known` cases, and how many epochs there are, so that
    `shown` cases are shown in all.
    """
    rounds = 1 if setup.smoke else max(1, round(shown / (known * RECORDS)))
    return rounds, setup.epochs(max(1, round(shown / (known * rounds))))


def timed(setup: TableSetup, seconds: float) -> TableSetup:
    """Return the setup whose unlabelled layers take so long."""
    epochs = passes(setup, seconds, LAYERS_PASS)
    shorter: dict[str, Any] = {"epochs": epochs, "initial_momentum_epochs": max(1, epochs // 6)}
    base = setup.config.greedy
    layers = replace(
        base, layer=replace(base.layer, **shorter), memory=replace(base.memory, **shorter)
    )
    return replace(setup, config=replace(setup.config, greedy=layers))


def unlabelled_net(setup: TableSetup, seconds: float = UNLABELLED_SECONDS) -> Done[DBN]:
    """Return the greedy layers that saw all images and no label."""
    return few_labels.unlabelled_net(timed(setup, seconds))


def learn_backprop(job: Job) -> Stages:
    """Return the feed-forward net that began as the unlabelled layers."""
    setup, first = job.setup, unlabelled_net(job.setup)
    known = (job.labels != UNLABELLED).nonzero()[:, 0]
    size = 20 if job.count <= 3000 else BATCH
    shown = 1000 * labelled_seconds(job) / BACKPROP_MILLISECONDS[size] * size
    rounds, epochs = rounds_and_epochs(setup, len(known), shown)
    config = replace(
        setup.config.backprop,
        batch_size=size,
        epochs=epochs,
        learning_rate=setup.config.backprop.learning_rate / 4,
    )
    last = fine_tune(
        setup,
        f"{setup.dataset.name}-descendants-backprop-{job.count}",
        job.seed,
        config,
        Split(job.images[known].repeat(rounds, 1), job.labels[known].repeat(rounds)),
        lambda rng: backprop.classifier(first.net, job.classes, rng=rng, start="small"),
        {"from": first.digest, "rounds": rounds},
    )
    return first, last


def learn_memory(job: Job) -> Stages:
    """Return the label memory that learned from labels spread among the codes."""
    return spread_memory(job, labelled_seconds(job))


def spread_memory(job: Job, seconds: float) -> tuple[Done[DBN], Done[DBN]]:
    """Return greedy layers, and the label memory that learned on them for so long."""
    half = UNLABELLED_SECONDS / 2
    last = few_labels.spread_memory(
        timed(job.setup, half),
        job.count,
        job.seed,
        job.images,
        job.labels,
        epochs=passes(job.setup, seconds, MEMORY_PASS),
    )
    return unlabelled_net(job.setup, half), last


def learn_hybrid(job: Job) -> Stages:
    """Return the hybrid, from a label memory."""
    below, first = spread_memory(job, HYBRID_MEMORY_SECONDS)
    seconds = labelled_seconds(job) - HYBRID_MEMORY_SECONDS
    return below, first, hybrid_from(job, below, first, seconds)


def hybrid_from(job: Job, below: Done[DBN], first: Done[DBN], seconds: float) -> Done[DBN]:
    """Return the hybrid that goes on from a label memory on such greedy layers for so long."""
    setup = job.setup
    epochs = passes(setup, seconds, HYBRID_PASS)
    config = setup.config.hybrid
    config = replace(config, updown=replace(config.updown, epochs=epochs))

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(job.sizes, labels=job.classes, rng=rng)
        dbn.load_state_dict(first.net.state_dict())
        dbn.untie()
        return dbn

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        # the unknown labels that it draws itself end in one class for all
        labels, weights = few_labels.spread_labels(
            timed(setup, UNLABELLED_SECONDS / 2), below, job.images, job.labels
        )
        return hybrid.epochs(
            dbn,
            job.images,
            labels,
            config=config,
            rng=rng,
            weights=weights,
            state=state,
            dtype=setup.dtype,
        )

    return learn(
        setup,
        f"{setup.dataset.name}-descendants-hybrid-{job.count}",
        job.seed,
        {"from": first.digest, "hybrid": config, "labels": "spread"},
        make=make,
        loop=loop,
        log_probs=classify.log_probs,
    )


def contrastive_wake_sleep(setup: TableSetup) -> tuple[Done[DBN], Done[DBN]]:
    """Return greedy layers, and the net that began as these and went up and down; it saw all images
    and no label.
    """
    half = UNLABELLED_SECONDS / 2
    first = unlabelled_net(setup, half)
    images = setup.dataset.train.images.to(setup.device)
    epochs = passes(setup, half, UPDOWN_PASS)
    config = replace(setup.config.updown, epochs=epochs, gibbs_steps=(3,))

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(first.net.sizes, rng=rng)
        dbn.load_state_dict(first.net.state_dict())
        dbn.untie()
        return dbn

    last = learn(
        setup,
        f"{setup.dataset.name}-descendants-updown",
        1,
        {"from": first.digest, "updown": config},
        make=make,
        loop=lambda dbn, rng, state: up_down.epochs(
            dbn, images, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
    )
    return first, last


def with_labels(job: Job, learned: DBN, rng: torch.Generator) -> DBN:
    """Return the net that begins as one without labels; those of labels begin at 0."""
    dbn = DBN(job.sizes, labels=job.classes, rng=rng)
    if not learned.tied:
        dbn.untie()
    own = dbn.state_dict()
    for name, values in learned.state_dict().items():
        if own[name].shape == values.shape:
            own[name].copy_(values)
        else:  # the memory, which has labels beside its features now
            own[name].zero_()[: job.sizes[-2]].copy_(values)
    return dbn


def learn_local(job: Job) -> Stages:
    """Return the net whose memory, begun without labels, learned those of the labelled cases."""
    setup, (below, first) = job.setup, contrastive_wake_sleep(job.setup)
    known = (job.labels != UNLABELLED).nonzero()[:, 0]
    shown = labelled_seconds(job) / MEMORY_PASS * 60_000
    rounds, epochs = rounds_and_epochs(setup, len(known), shown)
    config = replace(setup.config.greedy.memory, epochs=epochs, initial_momentum_epochs=1)

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        cases = greedy.memory_cases(dbn, job.images[known], job.labels[known]).repeat(rounds, 1)
        classes = job.labels[known].repeat(rounds)
        return cd.epochs(
            dbn.memory,
            cases,
            config=config,
            rng=rng,
            classes=classes,
            state=state,
            stage="memory",
            dtype=setup.dtype,
        )

    last = learn(
        setup,
        f"{setup.dataset.name}-descendants-local-{job.count}",
        job.seed,
        {"from": first.digest, "memory": config, "rounds": rounds},
        make=lambda rng: with_labels(job, first.net, rng),
        loop=loop,
        log_probs=classify.log_probs,
    )
    return below, first, last
