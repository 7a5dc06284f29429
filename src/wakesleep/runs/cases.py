"""Which cases a run learns from and which it holds out, and whether its settings suit them."""

from __future__ import annotations

import torch

from wakesleep.compute import distributed
from wakesleep.data import Dataset, Split, hold_out
from wakesleep.data.unlabelled import has_unlabelled
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.runs.settings import TrainConfig
from wakesleep.sources.arrays import order


def parts(dataset: Dataset, validation: float) -> tuple[Split, Split | None]:
    """Return the cases to train on and those held out: the last ones of the published sets, as is
    the custom, a balanced draw of others.

    A set of one's own may well be sorted by class, so its order is not trusted.
    """
    if dataset.files is not None:
        if validation:
            raise ConfigError(
                f"{dataset.name} stays on the disk and holds out its last "
                f"{dataset.files.spare:,} cases by itself: --validation 0"
            )
        return dataset.train, dataset.test
    if not validation:
        return dataset.train, None
    cases = dataset.train
    if not dataset.published:
        shuffled = order(cases.labels, len(cases), generator(0))
        cases = Split(
            cases.images[shuffled], None if cases.labels is None else cases.labels[shuffled]
        )
    return hold_out(
        cases, int(validation) if validation >= 1 else max(1, round(validation * len(cases)))
    )


def on_device(split: Split, device: torch.device) -> Split:
    """Return cases on a device."""
    return Split(split.images.to(device), None if split.labels is None else split.labels.to(device))


def check_fit(dataset: Dataset, config: TrainConfig) -> None:
    """Raise ConfigError where settings do not suit the data set: labels that it has not, stages
    that want its cases in memory.
    """
    _check_model(dataset, config)
    labelled = dataset.train.labels is not None
    supervised = [stage for stage in config.stages if stage in ("hybrid", "backprop", "random")]
    if not labelled and (supervised or config.label_memory):
        raise ConfigError(
            f"{dataset.name} has no labels, so it cannot serve {supervised or 'a label memory'}; "
            "use --stages pretrain --no-label-memory to learn to generate only"
        )
    if labelled and (supervised or config.label_memory) and len(dataset.classes) < 2:
        raise ConfigError(
            f"only one class was found in {dataset.name}, {dataset.classes[0]}: there is nothing "
            "to tell apart; add cases of a second class, or use --stages pretrain "
            "--no-label-memory to learn to generate only"
        )
    if "hybrid" in config.stages and not config.label_memory:
        raise ConfigError(
            "the hybrid recognises by the labels of its memory: leave out --no-label-memory, or "
            "the stage hybrid"
        )
    whole = [stage for stage in config.stages if stage in ("updown", "hybrid", "semisupervised")]
    if dataset.files is not None and whole:
        raise ConfigError(
            f"{dataset.name} stays on the disk, and {' and '.join(whole)} want all cases in "
            "memory: use --stages pretrain backprop; or save what memory holds as one .npz"
        )
    if dataset.files is not None and config.shifted:
        raise ConfigError(
            f"{dataset.name} stays on the disk, where its pictures cannot be shown in nine "
            "places: use --no-shifted"
        )
    if has_unlabelled(dataset.train):
        _check_few_labels(dataset, config)


def _check_model(dataset: Dataset, config: TrainConfig) -> None:
    """Raise ConfigError unless the stages and layers of a run are those of its model."""
    if config.model == "dbn":
        if "dbm" in config.stages:
            raise ConfigError("the stage dbm is that of a deep Boltzmann machine: use --model dbm")
        return
    after = config.stages[1:] if config.stages[0] == "pretrain" else config.stages
    going_on = config.stages == ("backprop",)  # from a machine of another run
    if not going_on and after not in (("dbm",), ("dbm", "backprop")):
        raise ConfigError(
            f"stages {' '.join(config.stages)} of a deep Boltzmann machine: expected pretrain dbm "
            "backprop, where the first and the last may be left out"
        )
    if len(config.hidden) < 2 or config.shifted:
        raise ConfigError(
            f"hidden = {config.hidden}, shifted = {config.shifted} of a deep Boltzmann machine: "
            "expected at least two hidden layers, and pictures as they are (--no-shifted)"
        )


def _check_few_labels(dataset: Dataset, config: TrainConfig) -> None:
    """Raise ConfigError where settings do not suit a set most of whose cases have no label."""
    if config.validation:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, and the few that have one are learned "
            "from: use --validation 0"
        )
    if config.shifted:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, and labels spread among cases as they "
            "are: use --no-shifted"
        )
    if distributed.ranks() > 1:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, which one process learns from; start it "
            "without torchrun"
        )
