"""Runs of nets of several senses: a data set a sense, paired by class; one folder from the first
epoch to the evaluation, and back from it.

RUN/config.json           all settings
RUN/provenance.json       versions, device, command, path and checksum of each sense's data
RUN/metrics.jsonl         a line an epoch
RUN/*-stage.safetensors   until the model is written: everything needed to go on
RUN/model.safetensors     the net, how each sense's cases were prepared, the names of the classes
RUN/evaluation.json       errors on pairs that were not learned from, of each sense alone too
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from wakesleep.data import Dataset, Preparation, Split, from_header, match_classes, prepared
from wakesleep.data.sound import LogMel
from wakesleep.data.warp import warped
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy, up_down
from wakesleep.learning.configs import MultimodalConfig, UpDownConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.runs import checkpoint
from wakesleep.runs.job import lock
from wakesleep.runs.progress import resumed, run
from wakesleep.runs.settings import TrainConfig, to_json
from wakesleep.samplers.recalling import recall
from wakesleep.sources.arrays import as_probs
from wakesleep.sources.paired import SenseCases, pair_by_class
from wakesleep.units import Gaussian, Units

COPIES = 4
"""Bent copies of each recording that a net also learns from: recordings are few."""
SOUND_RATE = 0.005
"""Learning rate of a layer on real numbers, which runs away at the rates of binary ones."""
HELD = 6
"""Of a set without test cases every so many-th of each class is held out."""


class Several(NamedTuple):
    """A net of several senses as its file holds it."""

    net: MultimodalDBN
    senses: dict[str, Preparation | LogMel]
    """How the cases of each sense were made, and others are made like them."""
    classes: tuple[str, ...]


class Parts(NamedTuple):
    """Cases (N, size) by sense, each with its labels (N,)."""

    train: dict[str, tuple[Tensor, Tensor]]
    test: dict[str, tuple[Tensor, Tensor]]


def _preparation(dataset: Dataset) -> Preparation | LogMel:
    own = dataset.preparation
    return own if isinstance(own, LogMel) else prepared(dataset)


def is_sound(dataset: Dataset) -> bool:
    """Return whether a set holds recordings."""
    return isinstance(dataset.preparation, LogMel)


def split(sets: Mapping[str, Dataset]) -> Parts:
    """Return training and test cases of each sense, classes matched by their names: as a set has
    them, else every sixth case of each class is held out.

    Raises:
        DataError: a set without labels, one that stays on the disk, or classes that differ.
    """
    train, test = {}, {}
    first = next(iter(sets.values()))
    for name, dataset in sets.items():
        if dataset.train.labels is None or dataset.files is not None:
            raise DataError(
                f"{dataset.name} has no labels, or stays on the disk; senses that belong together "
                "by class need labelled sets in memory"
            )
        matched = match_classes(dataset, first.classes, f"the sense {next(iter(sets))}")
        own, held = matched.train, matched.test
        if held is None or held.labels is None:
            own, held = _held_out(own)
        train[name], test[name] = _cases(own), _cases(held)
    return Parts(train, test)


def _held_out(split: Split) -> tuple[Split, Split]:
    labels = np.asarray(split.labels)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[HELD - 1 :: HELD]] = True
    parts = [torch.from_numpy(np.flatnonzero(chosen)) for chosen in (~held, held)]
    first, second = (Split(split.images[each], cast(Tensor, split.labels)[each]) for each in parts)
    return first, second


def _cases(split: Split) -> tuple[Tensor, Tensor]:
    assert split.labels is not None
    return as_probs(split.images), split.labels


def layers_of(sets: Mapping[str, Dataset], config: TrainConfig) -> dict[str, list[int | Units]]:
    """Return the layers of each sense: of pictures all but the top of the settings' layers, of
    sounds, real numbers, the first.
    """
    layers: dict[str, list[int | Units]] = {}
    for name, dataset in sets.items():
        size = dataset.train.images.shape[1]
        layers[name] = (
            [Gaussian(size), config.hidden[0]] if is_sound(dataset) else [size, *config.hidden[:-1]]
        )
    return layers


def settings(
    sets: Mapping[str, Dataset], config: TrainConfig
) -> tuple[MultimodalConfig, UpDownConfig]:
    """Return how the net learns: as `config` says, the layers on real numbers more slowly."""
    layer, own = config.greedy.layer, config.greedy
    slow = replace(layer, learning_rate=SOUND_RATE, final_learning_rate=SOUND_RATE / 10)
    senses = {name: slow for name, dataset in sets.items() if is_sound(dataset)}
    return MultimodalConfig(layer, own.memory, own.chains, senses=senses), config.updown


def largest(sets: Mapping[str, Dataset]) -> Dataset:
    """Return the set with the most training cases."""
    return max(sets.values(), key=lambda dataset: len(dataset.train))


def train(
    folder: Path,
    sets: Mapping[str, Dataset],
    config: TrainConfig,
    *,
    provenance: Mapping[str, Any],
) -> Iterator[EpochResult]:
    """Make a run folder, or go on with it, yielding a record after each epoch, once it is saved;
    then write model and evaluation.

    Raises:
        DataError: sets that do not go together.
        ConfigError: fewer than two senses.
        CheckpointError: a folder with something else in it, with a run of other settings or data,
            or that is being trained.
    """
    if len(sets) < 2:
        raise ConfigError(
            f"{len(sets)} sense came; expected at least two, e.g. --sense image=mnist --sense "
            "sound=recordings.zip"
        )
    parts, seed = split(sets), config.seed
    rng = generator(seed)
    cases = {
        name: _with_copies(given, sets[name], rng) if is_sound(sets[name]) else given
        for name, given in parts.train.items()
    }
    pairs, classes = pair_by_class(cases), next(iter(sets.values())).classes
    net: Any = DBN(
        senses=layers_of(sets, config),
        labels=len(classes),
        top=config.hidden[-1],
        rng=rng,
        weight_std=0.01,
    )
    held = _begin(folder, config, provenance)
    yield from _learn(folder, net, pairs, settings(sets, config), seed)
    header = {
        name: {"preparation": _preparation(dataset).as_json(), "data_path": dataset.origin}
        for name, dataset in sets.items()
    }
    checkpoint.save(net, folder / "model.safetensors", classes=classes, senses=header)
    files.write_json(folder / "evaluation.json", evaluate(net, parts.test, seed))
    for path in folder.glob("*-stage.safetensors"):
        path.unlink()
    if held is not None:
        held.close()


def _begin(folder: Path, config: TrainConfig, provenance: Mapping[str, Any]) -> files.Lock | None:
    """Make the run folder, or see that what is there is the same run; return its lock."""
    own = {"config": {"format": files.FORMAT, **to_json(config)}, "provenance": dict(provenance)}
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in own.items():
            files.write_json(folder / f"{name}.json", values)
        return lock(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} exists and is no run; choose another folder with --out")
    there = {name: files.read_json(folder / f"{name}.json") for name in own}
    own = json.loads(files.to_json(own))
    changed = [name for name, value in own["config"].items() if there["config"].get(name) != value]
    if there["provenance"].get("senses") != own["provenance"].get("senses"):
        changed.append("senses")
    if changed:
        raise CheckpointError(
            f"{folder} holds a run of other settings or data ({', '.join(changed)}); go on with "
            "what it was begun with, or choose another folder with --out"
        )
    return lock(folder)


def _with_copies(
    given: tuple[Tensor, Tensor], dataset: Dataset, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    pictures, labels = given
    copies = [warped(pictures, dataset.shape, rng=rng) for _ in range(COPIES)]
    return torch.cat([pictures, *copies]), labels.repeat(COPIES + 1)


def _learn(
    folder: Path,
    net: MultimodalDBN,
    pairs: SenseCases,
    how: tuple[MultimodalConfig, UpDownConfig],
    seed: int,
) -> Iterator[EpochResult]:
    """Go through what is left of both stages, each epoch kept."""
    for number, stage in enumerate(("pretrain", "updown")):
        if number:
            net.untie()
        path = folder / f"{stage}-stage.safetensors"
        progress = resumed(path, generator(seed + 1 + number), {"net": net})
        state, rng = progress.state, progress.rng
        records = (
            up_down.epochs(net, pairs, config=how[1], rng=rng, state=state)
            if number
            else greedy.epochs(net, pairs, config=how[0], rng=rng, state=state)
        )
        for record in run(progress, records, {"net": net}, net):
            line = {"stage": record.stage, "epoch": record.epoch, **record.metrics}
            files.append(folder / "metrics.jsonl", json.dumps(line) + "\n")
            yield record


def evaluate(
    net: MultimodalDBN, test: Mapping[str, tuple[Tensor, Tensor]], seed: int
) -> dict[str, Any]:
    """Return the errors on test pairs, drawn once by `seed`, as many as the smallest set has cases:
    of each sense alone, the others summed out by Gibbs steps, and of all together.
    """
    rng = generator(seed)
    smallest = min(test, key=lambda name: len(test[name][0]))
    labels = test[smallest][1]
    pairs = {name: _of_classes(given, labels, rng) for name, given in test.items()}
    pairs[smallest] = test[smallest][0]
    given: dict[str, dict[str, Any]] = {
        **{name: {name: cases} for name, cases in pairs.items()},
        "together": pairs,
    }
    rows = []
    for name, senses in given.items():
        label = recall(net, want="label", steps=100, rng=rng, **senses)["label"]
        errors = int((label.argmax(1) != labels).sum())
        percent = round(100 * errors / len(labels), 4)
        rows.append({"given": name, "n": len(labels), "errors": errors, "error_percent": percent})
    return {"part": "test", "rows": rows}


def _of_classes(given: tuple[Tensor, Tensor], labels: Tensor, rng: torch.Generator) -> Tensor:
    """Return a case of each label's class, drawn by chance, (N, size)."""
    cases, own = given
    chosen = torch.empty_like(labels)
    for label in sorted(set(labels.tolist())):
        among = torch.nonzero(own == label).squeeze(1)
        wanted = torch.nonzero(labels == label).squeeze(1)
        if not len(among):
            raise DataError(f"no test case of class {label} in one of the senses; add some")
        picks = torch.randint(len(among), (len(wanted),), generator=rng)
        chosen[wanted] = among[picks]
    return cases[chosen]


def load(path: Path) -> Several:
    """Return the net of a run folder or a model file, and how its senses' cases are made.

    Raises:
        CheckpointError: nothing there, damaged, unfinished, or a net of one sense.
    """
    models, header = checkpoint.read(path)
    net = models.get("model")
    if not isinstance(net, MultimodalDBN) or "senses" not in header:
        raise CheckpointError(
            f"{path} holds no net of several senses; expected a run of wakesleep train --sense "
            "NAME=DATA --sense NAME=DATA"
        )
    senses = {
        name: LogMel.from_json(each["preparation"])
        if each["preparation"].get("kind") == "log-mel"
        else from_header({"preparation": each["preparation"]})
        for name, each in header["senses"].items()
    }
    return Several(net, senses, tuple(header.get("classes", ())))
