"""The deep belief net of this package, trained in four ways.

backprop  layers pretrained without labels, then backpropagation from the labelled cases
memory    labels spread among the codes, then learned by the associative memory
hybrid    from that memory, contrastive wake-sleep and backpropagation on the same weights
local     contrastive wake-sleep without labels, then contrastive divergence of the memory on the
          labelled cases: every weight learns from the two units that it joins, and nothing else
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from wakesleep.evaluation import classify
from wakesleep.learning import cd, greedy, hybrid, up_down
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper import few_labels
from wakesleep.paper.descendants.common import BATCH, UPDATES, Job
from wakesleep.paper.runs import Done, TableSetup, learn
from wakesleep.sources.arrays import UNLABELLED

HYBRID_EPOCHS = 15
UPDOWN_EPOCHS = 15
MEMORY_EPOCHS = 20


def learn_backprop(job: Job) -> Done[nn.Sequential]:
    """Return the feed-forward net of the `few-labels` table."""
    return few_labels.one(job.setup, "pretrained", job.count, job.seed)  # type: ignore[return-value]


def learn_memory(job: Job) -> Done[DBN]:
    """Return the label memory of the `few-labels` table."""
    return few_labels.one(job.setup, "memory", job.count, job.seed)  # type: ignore[return-value]


def learn_hybrid(job: Job) -> Done[DBN]:
    """Return the hybrid, from the label memory."""
    setup, first = job.setup, learn_memory(job)
    config = setup.config.hybrid
    epochs = setup.epochs(HYBRID_EPOCHS)
    config = replace(config, updown=replace(config.updown, epochs=epochs))

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(job.sizes, labels=job.classes, rng=rng)
        dbn.load_state_dict(first.net.state_dict())
        dbn.untie()
        return dbn

    return learn(
        setup,
        f"{setup.dataset.name}-descendants-hybrid-{job.count}",
        job.seed,
        {"from": first.digest, "hybrid": config},
        make=make,
        loop=lambda dbn, rng, state: hybrid.epochs(
            dbn, job.images, job.labels, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
        log_probs=classify.log_probs,
    )


def contrastive_wake_sleep(setup: TableSetup) -> Done[DBN]:
    """Return the net that saw all images and no label: greedy layers, then up and down."""
    first = few_labels.unlabelled_net(setup)
    images = setup.dataset.train.images.to(setup.device)
    config = replace(setup.config.updown, epochs=setup.epochs(UPDOWN_EPOCHS), gibbs_steps=(3,))

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(first.net.sizes, rng=rng)
        dbn.load_state_dict(first.net.state_dict())
        dbn.untie()
        return dbn

    return learn(
        setup,
        f"{setup.dataset.name}-descendants-updown",
        1,
        {"from": first.digest, "updown": config},
        make=make,
        loop=lambda dbn, rng, state: up_down.epochs(
            dbn, images, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
    )


def learn_local(job: Job) -> Done[DBN]:
    """Return the net whose memory, begun without labels, learned those of the labelled cases."""
    setup, first = job.setup, contrastive_wake_sleep(job.setup)
    known = (job.labels != UNLABELLED).nonzero()[:, 0]
    rounds = 1 if setup.smoke else max(1, -(-UPDATES * BATCH // (len(known) * MEMORY_EPOCHS)))
    config = setup.config.greedy.memory
    config = replace(config, epochs=setup.epochs(MEMORY_EPOCHS), initial_momentum_epochs=1)

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(job.sizes, labels=job.classes, rng=rng)
        dbn.untie()
        own, below = dbn.state_dict(), first.net.state_dict()
        features = job.sizes[-2]
        for name, values in below.items():
            if own[name].shape == values.shape:
                own[name].copy_(values)
            else:  # the memory, which has labels beside its features now
                own[name].zero_()[:features].copy_(values)
        return dbn

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

    return learn(
        setup,
        f"{setup.dataset.name}-descendants-local-{job.count}",
        job.seed,
        {"from": first.digest, "memory": config, "rounds": rounds},
        make=make,
        loop=loop,
        log_probs=classify.log_probs,
    )
