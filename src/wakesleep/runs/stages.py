"""What a run does, stage by stage: which net learns, by which algorithm, and whether validation
cases pick its epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed
from wakesleep.data import Split, some
from wakesleep.data.unlabelled import has_unlabelled, labelled
from wakesleep.evaluation import classify, monitor
from wakesleep.foundation.rng import stream
from wakesleep.learning import (
    backprop,
    deep_boltzmann,
    greedy,
    hybrid,
    semi_supervised,
    spreading,
    up_down,
)
from wakesleep.learning.records import EpochResult
from wakesleep.runs import scores
from wakesleep.runs.job import Job
from wakesleep.sources.shards import Shards

PICKING = 1000
"""Validation cases from which they pick the epoch of contrastive wake-sleep. A few dozen tell
epochs apart by chance: they took the first one in 4 of 8 runs on 300 to 700 pictures, at the
highest rate and before its chains had gone anywhere, whose dreams were one smudge.
"""


class Stage(NamedTuple):
    """What is left of a stage."""

    net: nn.Module
    """What it trains."""
    records: Iterator[EpochResult]
    log_probs: Callable[[Tensor], Tensor] | None = None
    """log p(label | image) of images (N, pixels), (N, labels); None where the net tells no
    labels.
    """
    keep_best: bool = True
    """Whether validation cases say after which epoch the net is left; else it is the last."""


def _pretrain(job: Job) -> Stage:
    """Greedy pretraining: of a deep belief net watched, of a deep Boltzmann machine by pairs."""
    if job.config.model == "dbm":
        return _pretrain_pairs(job)
    settings: dict[str, Any] = {
        "config": job.config.greedy,
        "rng": job.progress.rng,
        "state": job.progress.state,
        "dtype": job.dtype,
    }
    return Stage(job.dbn, _watch(job, greedy.epochs(job.dbn, *_cases(job), **settings)))


def _cases(job: Job) -> tuple[Tensor | Shards, Tensor | None]:
    """Return training cases and their labels (N,); shards bring theirs."""
    return (job.train.images, job.train.labels) if job.shards is None else (job.shards, None)


def _pretrain_pairs(job: Job) -> Stage:
    """Each pair of a deep Boltzmann machine's layers."""
    cases, labels = _cases(job)
    records = deep_boltzmann.pretrain(
        job.dbm,
        cases,
        labels if job.dbm.labels else None,
        config=job.config.greedy.layer,
        rng=job.progress.rng,
        state=job.progress.state,
        dtype=job.dtype,
    )
    return Stage(job.dbm, records)


def _watch(job: Job, records: Iterator[EpochResult]) -> Iterator[EpochResult]:
    """Yield the records of pretraining with what the monitors say; the memory's also how many
    validation cases its free energies get wrong.
    """
    watched: dict[int, tuple[Tensor, Tensor | None]] = {}
    for record in records:
        layer = record.state.layer
        if layer not in watched:
            watched = {
                layer: (
                    _watched(job, job.train, layer),
                    None if job.validation is None else _watched(job, job.validation, layer),
                )
            }
        increment = record.state.inner.velocity.get("weight")
        # the same draws in each epoch, so that epochs compare
        rng_here = stream(job.config.seed, f"monitor {record.stage}", job.device)
        record.metrics.update(
            monitor.measure(
                job.dbn.rbm(layer), *watched[layer], rng=rng_here, increment=increment, checked=True
            )
        )
        if (
            record.stage == "memory"
            and job.dbn.labels
            and job.validation is not None
            and job.validation.labels is not None
        ):
            errors = classify.count_errors(
                classify.predict(job.dbn, job.validation.images), job.validation.labels
            )
            record.metrics["validation_errors"] = errors
        yield record


def _watched(job: Job, split: Split, layer: int) -> Tensor:
    """Return what the RBM of a layer sees of some cases: as many training as validation cases, so
    that their free energies compare.

    A thirtieth of the training cases at most, so that watching costs little beside learning.
    """
    count = min(
        monitor.CASES,
        max(len(job.train) // 30, 20),
        len(job.train),
        len(job.validation or job.train),
    )
    images, labels = (seen := some(job.dataset, labelled(split), count)).images, seen.labels
    if layer == job.dbn.depth - 1:
        return greedy.memory_cases(job.dbn, images, labels, checked=True)
    return greedy.features(job.dbn, images, layer, checked=True)


def _fine_tune(
    name: str, make: Callable[[Job, torch.Generator], nn.Sequential]
) -> Callable[[Job], Stage]:
    """Return the stage that trains a feed-forward net."""

    def stage(job: Job) -> Stage:
        rng, state = job.progress.rng, job.progress.state
        if state is None:
            job.nets[name] = make(job, rng)
            distributed.broadcast_parameters(job.nets[name])
        net = job.nets[name]
        assert job.train.labels is not None
        settings: dict[str, Any] = {
            "config": getattr(job.config, name),
            "rng": rng,
            "state": state,
            "stage": name,
            "dtype": job.dtype,
        }
        if job.shards is not None:
            return Stage(net, backprop.epochs(net, job.shards, **settings))
        if has_unlabelled(job.train):
            images, labels, settings["weights"] = (
                _known_or_spread(job)
                if name == "backprop"
                else (*_tensors(labelled(job.train)), None)
            )
        else:
            images, labels = job.train.images, job.train.labels
        return Stage(
            net,
            backprop.epochs(net, images, labels, **settings),
            lambda images: backprop.log_probs(net, images),
        )

    return stage


def _tensors(split: Split) -> tuple[Tensor, Tensor]:
    assert split.labels is not None
    return split.images, split.labels


def _known_or_spread(job: Job) -> tuple[Tensor, Tensor, Tensor]:
    """Return all cases, a label for each, known or spread among the codes below the memory, and how
    sure it is.
    """
    images, labels = _tensors(job.train)
    return images, *spreading.most_probable(spreading.spread(_neighbours(job), labels), labels)


def _neighbours(job: Job) -> Any:
    """Return the graph of neighbours among the codes below the memory; two stages need it."""
    if job.neighbours is None:
        codes = greedy.features(job.dbn, job.train.images, job.dbn.depth - 1, checked=True)
        job.neighbours = spreading.neighbour_graph(codes)
    return job.neighbours


def _semisupervised(job: Job) -> Stage:
    """The net that backpropagation left goes on with known labels and with what it says of all
    cases.
    """
    net, rng, state = job.nets["backprop"], job.progress.rng, job.progress.state
    images, labels = _tensors(job.train)
    config = job.config.semisupervised
    if config.smooth_weight is None:
        config = semi_supervised.suited(config, spreading.agreement(_neighbours(job), labels))
    settings: dict[str, Any] = {
        "config": config,
        "rng": rng,
        "state": state,
        "stage": "semisupervised",
    }
    records = semi_supervised.epochs(net, images, labels, dtype=job.dtype, **settings)
    return Stage(net, records, lambda images: backprop.log_probs(net, images))


def _updown(job: Job) -> Stage:
    """Contrastive wake-sleep."""
    images, labels = job.train.images, job.train.labels if job.dbn.labels else None
    rng, state = job.progress.rng, job.progress.state
    records = up_down.epochs(
        job.dbn, images, labels, config=job.config.updown, rng=rng, state=state, dtype=job.dtype
    )
    log_probs = (lambda images: classify.log_probs(job.dbn, images)) if job.dbn.labels else None
    enough = job.validation is not None and len(job.validation) >= PICKING
    return Stage(job.dbn, records, log_probs, enough)


def _hybrid(job: Job) -> Stage:
    """Contrastive wake-sleep and backpropagation on the same weights."""
    rng, state = job.progress.rng, job.progress.state
    records = hybrid.epochs(
        job.dbn,
        *_tensors(job.train),
        config=job.config.hybrid,
        rng=rng,
        state=state,
        dtype=job.dtype,
    )
    return Stage(job.dbn, records, lambda images: classify.log_probs(job.dbn, images))


def _pretrained_net(job: Job, rng: torch.Generator) -> nn.Sequential:
    return backprop.classifier(
        job.dbn, len(job.dataset.classes), rng=rng, start="memory" if job.dbn.labels else "small"
    )


def _random_net(job: Job, rng: torch.Generator) -> nn.Sequential:
    return backprop.random_classifier((*job.dbn.sizes, len(job.dataset.classes)), rng=rng)


def _dbm(job: Job) -> Stage:
    """All layers of a deep Boltzmann machine."""
    cases, labels = _cases(job)
    rng, state = job.progress.rng, job.progress.state
    if state is None and "pretrain" not in job.config.stages:
        deep_boltzmann.init_visible_bias(job.dbm, job.train.images)
    records = deep_boltzmann.epochs(
        job.dbm,
        cases,
        labels if job.dbm.labels else None,
        config=job.config.dbm,
        rng=rng,
        state=state,
        dtype=job.dtype,
    )
    return Stage(job.dbm, records)


def _from_dbm(job: Job) -> Stage:
    """The feed-forward net that goes on from the mean field of a deep Boltzmann machine."""
    rng, state = job.progress.rng, job.progress.state
    if state is None:
        classes = len(job.dataset.classes)
        job.nets["backprop"] = deep_boltzmann.classifier(job.dbm, rng=rng, classes=classes)
        distributed.broadcast_parameters(job.nets["backprop"])
    net, known = job.nets["backprop"], labelled(job.train)

    def features(images: Tensor) -> Tensor:
        return deep_boltzmann.features(job.dbm, images.to(job.device))

    cases, labels = (
        (features(known.images), known.labels)
        if job.shards is None
        else (job.shards.mapped(features), None)
    )
    records = backprop.epochs(
        net,
        cases,
        labels,
        config=job.config.backprop,
        rng=rng,
        state=state,
        stage="backprop",
        dtype=job.dtype,
    )
    return Stage(net, records, lambda images: scores.log_probs(job.dbm, net, images))


STAGES: dict[str, Callable[[Job], Stage]] = {
    "pretrain": _pretrain,
    "updown": _updown,
    "hybrid": _hybrid,
    "backprop": _fine_tune("backprop", _pretrained_net),
    "semisupervised": _semisupervised,
    "random": _fine_tune("random", _random_net),
    "dbm": _dbm,
}
"""Of a deep belief net, and the first two of a deep Boltzmann machine."""


def begin(job: Job) -> Stage:
    """Return what is left of the stage that the job is at."""
    name = job.config.stages[job.position]
    if name == "backprop" and job.config.model == "dbm":
        return _from_dbm(job)
    return STAGES[name](job)
