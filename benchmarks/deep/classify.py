"""A deep Boltzmann machine 500-1000 learns MNIST's digits without labels, and backpropagation goes
on from its mean field: test error.

    python -m benchmarks.deep.classify --mat randomly_binarized_mnist.mat --folder runs/deep-digits

The net takes the grey digits and what mean field says of the second hidden layer (Salakhutdinov &
Hinton 2009, section 3.3). Every choice was made on the last 10,000 training digits, held out
(`--hold-out 10000`: their labels are not learned); the figures learn from all 60,000. Test digits
choose nothing.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor, nn

from benchmarks.deep import density
from benchmarks.deep.density import DensityOptions
from wakesleep.compute.select import pick_precision
from wakesleep.data import load
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, deep_boltzmann, robust
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.models.dbm import DBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint

Way = Literal["backprop", "dropout"]
ROWS = {"backprop": "dbm-500-1000", "dropout": "dbm-500-1000-dropout"}


@dataclass(frozen=True)
class ClassifyOptions:
    """Train or take the machines, fine-tune, save the rows; training of machines is resumable."""

    data: DensityOptions = field(default_factory=lambda: DensityOptions(drawn_anew=True))
    """How each machine learns; that of seed S lies in seed-S of the folder."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """A net each."""
    one_machine: bool = False
    """All nets begin at the machine in the folder itself, instead of one of their own each."""
    ways: tuple[Way, ...] = ("backprop", "dropout")
    """Plain backpropagation, and with dropout."""
    hold_out: int = 0
    """Learn no labels of so many of the last training digits, and count errors on them."""
    steps: int = 10
    """Steps of mean field."""
    backprop: BackpropConfig = field(default_factory=lambda: BackpropConfig(epochs=30))
    """How plain backpropagation learns."""
    dropout: RobustConfig = field(
        default_factory=lambda: RobustConfig(
            epochs=60, dropout_visible=0.1, dropout_hidden=0.3, sample_pixels=True
        )
    )
    """How backpropagation with dropout learns."""


class Digits(NamedTuple):
    """What nets learn from and are counted on: features (N, 1784), uint8 to need a quarter of the
    memory, and labels (N,).
    """

    cases: Tensor
    labels: Tensor
    counted: Tensor
    counted_labels: Tensor

    @classmethod
    def of(cls, dbm: DBM, hold_out: int, steps: int) -> Digits:
        """Return MNIST as the machine sees it after `steps` steps of mean field."""
        digits = load("mnist")
        images, labels = digits.train.images.flatten(1), digits.train.labels
        assert labels is not None
        assert digits.test is not None
        assert digits.test.labels is not None
        counted, counted_labels = digits.test.images.flatten(1), digits.test.labels
        if hold_out:
            images, counted = images[:-hold_out], images[-hold_out:]
            labels, counted_labels = labels[:-hold_out], labels[-hold_out:]

        def features(images: Tensor) -> Tensor:
            codes = deep_boltzmann.features(dbm, images, steps=steps)
            return codes.mul_(255).round_().to(torch.uint8)

        return cls(features(images), labels, features(counted), counted_labels)


def errors(net: nn.Sequential, cases: Tensor, labels: Tensor) -> int:
    """Return how many of the cases (N, features) the net gets wrong."""
    parts = zip(torch.split(cases, 2000), torch.split(labels, 2000), strict=True)
    with torch.no_grad():
        return sum(int((net(part.float() / 255).argmax(1) != y).sum()) for part, y in parts)


def fine_tuned(options: ClassifyOptions, way: Way, dbm: DBM, digits: Digits, seed: int) -> float:
    """Return the error of a net that begins at `dbm`, percent of the cases counted on."""
    rng = generator(100 + seed)
    net = deep_boltzmann.classifier(dbm, rng=rng, classes=10)
    learning: dict[str, Any] = {
        "rng": rng,
        "dtype": pick_precision(options.data.precision, torch.device("cpu")),
    }
    records = (
        backprop.epochs(net, digits.cases, digits.labels, config=options.backprop, **learning)
        if way == "backprop"
        else robust.epochs(net, digits.cases, digits.labels, config=options.dropout, **learning)
    )
    for record in records:
        if options.hold_out and (record.epoch % 5 == 0 or record.epoch == record.epochs):
            count = errors(net, digits.counted, digits.counted_labels)
            print(f"{way} {record.epoch} {count}", flush=True)
    wrong = errors(net, digits.counted, digits.counted_labels)
    return 100 * wrong / len(digits.counted)


def save(
    options: ClassifyOptions, way: Way, percents: Sequence[float], minutes: float, command: str
) -> None:
    """Print the errors of the seeds so far, and save their row unless they are held-out ones."""
    print(ROWS[way], percents, f"{minutes:.1f} min", flush=True)
    if options.hold_out:
        return
    row = results.row(
        "deep",
        ROWS[way],
        "test_error_percent",
        percents,
        seeds=options.seeds[: len(percents)],
        reported="0.95" if way == "backprop" else "0.79",
        command=command,
        minutes=round(minutes / len(percents), 1),
        machines=1 if options.one_machine else len(percents),
    )
    results.save(options.data.out, [row])


def main(argv: list[str]) -> None:
    """Train, fine-tune, print and save."""
    options = tyro.cli(ClassifyOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.data.threads)
    command = shlex.join(["python", "-m", "benchmarks.deep.classify", *argv])
    percents: dict[Way, list[float]] = {way: [] for way in options.ways}
    spent = dict.fromkeys(options.ways, 0.0)
    digits: Digits | None = None
    for seed in options.seeds:
        folder: Path = options.data.folder
        if not options.one_machine:
            folder = folder / f"seed-{seed}"
        path = folder / "dbm.safetensors"
        if not path.exists():
            density.train(replace(options.data, folder=folder, seed=seed))
        if digits is None or not options.one_machine:
            dbm = checkpoint.load(path)
            digits = Digits.of(dbm, options.hold_out, options.steps)
        for way in options.ways:
            began = time.process_time()
            percents[way].append(fine_tuned(options, way, dbm, digits, seed))
            spent[way] += (time.process_time() - began) / 60
            save(options, way, percents[way], spent[way], command)


if __name__ == "__main__":
    main(sys.argv[1:])
