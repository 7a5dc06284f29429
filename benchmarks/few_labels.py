"""Tries of the semi-supervised net: which weights of its losses suit a number of labels?

    python -m benchmarks.few_labels --dataset fashion-mnist --labels 1000 --tries alike labels-30

A try changes the settings that `wakesleep reproduce few-labels` uses, and is judged on the last
10,000 training cases, whose labels it never sees: test cases choose nothing. What is settled on one
set of pictures is then measured on another. Goes on where it was stopped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from wakesleep.compute.select import pick_device
from wakesleep.data import Dataset, Split, load
from wakesleep.learning.semi_supervised import SemiSupervisedConfig
from wakesleep.paper import few_labels, results
from wakesleep.paper.runs import Done, TableSetup, row_of
from wakesleep.runs.settings import preset

TABLE = "few-labels-tries"


ALIKE = replace(
    few_labels.SEMI_SUPERVISED,
    learning_rate=0.05,
    final_learning_rate=0.0005,
    smooth_weight=1.0,
    entropy_weight=1.0,
    self_weight=1.0,
)
"""All four losses weigh the same."""


def weighing_labels(weight: float) -> SemiSupervisedConfig:
    """Return settings in which the labelled cases weigh `weight` times as much beside the other
    losses, the step of the sum of all four as long as where all weigh the same.
    """
    step = weight * 4 / (weight + 3)
    return replace(
        ALIKE,
        learning_rate=ALIKE.learning_rate * step,
        final_learning_rate=ALIKE.final_learning_rate * step,
        smooth_weight=1 / weight,
        entropy_weight=1 / weight,
        self_weight=1 / weight,
    )


LABELS_10 = replace(few_labels.SEMI_SUPERVISED, smooth_weight=0.1)
SMOOTH = replace(few_labels.SEMI_SUPERVISED, smooth_weight=1.0)
TRIES: dict[str, SemiSupervisedConfig] = {
    "suited": few_labels.SEMI_SUPERVISED,
    "alike": ALIKE,
    "labels-3": weighing_labels(3),
    "labels-10": LABELS_10,
    "labels-30": weighing_labels(30),
    "labels-10-45": replace(LABELS_10, epochs=45),
    "smooth": SMOOTH,
    "smooth-45": replace(SMOOTH, epochs=45),
    "smooth-2-45": replace(SMOOTH, smooth_weight=2.0, epochs=45),
    "faster": replace(ALIKE, learning_rate=0.154, final_learning_rate=0.00154),
    "others-less": replace(ALIKE, smooth_weight=0.1, entropy_weight=0.1, self_weight=0.1),
    "no-entropy": replace(LABELS_10, entropy_weight=0.0),
    "surer": replace(LABELS_10, certainty=0.99),
    "no-own-labels": replace(LABELS_10, self_weight=0.0),
}


@dataclass(frozen=True)
class FewLabelsMeasureOptions:
    """Try settings of the semi-supervised net."""

    dataset: Literal["fashion-mnist", "mnist", "digits"] = "fashion-mnist"
    """The pictures."""
    labels: int = 1000
    """How many cases have a label."""
    cases: int = 60_000
    """How many training cases are used, those to judge on among them."""
    hidden: tuple[int, ...] = ()
    """Units of each layer; by default those of the set's settings."""
    tries: tuple[str, ...] = tuple(TRIES)
    """Which settings."""
    choices: tuple[int, ...] = (1, 2)
    """Choices of the labelled cases."""
    folder: Path = Path("runs/few-labels-tries")
    """Where the runs go; what is there is read."""
    out: Path | None = None
    """File of the rows; by default they are only printed."""


def held_out(dataset: Dataset, cases: int) -> Dataset:
    """Return the first `cases` of the training cases, the last sixth of them in the place of the
    test cases.
    """
    train = dataset.train
    assert train.labels is not None
    cases = min(cases, len(train))
    left = cases * 5 // 6
    return replace(
        dataset,
        train=Split(train.images[:left], train.labels[:left]),
        test=Split(train.images[left:cases], train.labels[left:cases]),
    )


def rows(options: FewLabelsMeasureOptions, command: str) -> Iterator[results.Row]:
    """Yield a row of validation accuracy for each try, again after each choice."""
    config = preset("digits" if options.dataset == "digits" else "mnist")
    setup = TableSetup(
        held_out(load(options.dataset), options.cases),
        options.folder,
        options.choices,
        replace(config, hidden=options.hidden or config.hidden),
        pick_device("cpu"),
        command,
    )
    for name in options.tries:
        done: list[Done[Any]] = []
        for seed in options.choices:
            done.append(few_labels.semi_supervised(setup, options.labels, seed, TRIES[name]))
            values = [100 - run.errors["test_error_percent"] for run in done]
            row = row_of(
                setup,
                f"{options.dataset}-{len(setup.dataset.train)}-labels-{options.labels}-{name}",
                "validation_accuracy_percent",
                values,
                done,
                seeds=options.choices[: len(done)],
            )
            yield {**row, "table": TABLE}


def main(argv: list[str]) -> None:
    """Try, and save the rows as they come."""
    options = tyro.cli(FewLabelsMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.few_labels", *argv])
    for row in rows(options, command):
        print(row["row"], row["value"], row["each"], f"{row['minutes']:g} min", flush=True)
        if options.out is not None:
            results.save(options.out, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
