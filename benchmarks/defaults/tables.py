"""Estimators at their default settings on tables and digits: accuracy on test cases, and the time
of fit beside MLPClassifier's.

    python -m benchmarks.defaults.tables                  # some minutes on one thread
    python -m benchmarks.defaults.tables --parts accuracy

A quarter of the cases is held out, stratified, by `train_test_split(test_size=0.25,
random_state=seed, stratify=y)`, the same seed for the split and the net; letters and satellite have
their own test cases. Test cases choose nothing. Times are the processor's, of one thread, each
estimator's fit alone, and take turns.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from sklearn import datasets
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from benchmarks.estimators import Found, measure
from wakesleep.estimators import DBNClassifier

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Cases and classes to learn from, cases and classes to test on."""


@dataclass(frozen=True)
class TablesMeasureOptions:
    """Measure the defaults and save the rows."""

    parts: tuple[str, ...] = ("accuracy", "early", "few", "times")
    """accuracy, early (the same with early_stopping=True), few (29 labels), times."""
    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with tables/letters.csv.gz, tables/satellite.csv.gz and digits-six-views/mfeat.npz,
    for the times.
    """
    seeds: int = 10
    """Splits; five of make_classification, whose seed also draws the cases."""
    quick: bool = False
    """Nets of a few units, one epoch, one seed: a check that everything runs, no figures."""
    out: Path = Path("results/defaults-tables.json")
    """Where the rows go."""


def split(X: np.ndarray, y: np.ndarray, seed: int) -> Split:
    """Return a stratified split by seed, a quarter to test on."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, random_state=seed, stratify=y
    )
    return X_train, y_train, X_test, y_test


def made(seed: int) -> Split:
    """Return 6,000 cases of three uneven classes in 30 columns, 12 of which tell."""
    X, y = datasets.make_classification(
        6000, 30, n_informative=12, n_classes=3, weights=[0.6, 0.3, 0.1], random_state=seed
    )
    return split(X, y, seed)


def breast_cancer(seed: int) -> Split:
    """Return the 569 cases of breast cancer."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return split(X, y, seed)


def digits(seed: int) -> Split:
    """Return scikit-learn's 1,797 digits, 8 x 8 pixels from 0 to 16."""
    X, y = datasets.load_digits(return_X_y=True)
    return split(X, y, seed)


def six_views(folder: Path) -> Split:
    """Return the pixels of 2,000 numerals, 240 from 0 to 6."""
    with np.load(folder / "digits-six-views/mfeat.npz") as views:
        return split(views["pix"].astype(float), views["labels"], 0)


def table(folder: Path, name: str, train: int) -> Split:
    """Return a table of integers whose last column is the class; its first `train` rows are to
    learn from.
    """
    with gzip.open(folder / f"tables/{name}.csv.gz", "rt", encoding="utf-8") as file:
        cells = np.array(list(csv.reader(io.StringIO(file.read())))[1:])
    X, y = cells[:, :-1].astype(float), cells[:, -1]
    return X[:train], y[:train], X[train:], y[train:]


def some(parts: Split, options: TablesMeasureOptions) -> Split:
    """Return a split as it is, or a few cases of it where only the run is to be checked."""
    X, y, X_test, y_test = parts
    return (X[:200], y[:200], X_test[:50], y_test[:50]) if options.quick else parts


def net(options: TablesMeasureOptions, seed: int, **settings: Any) -> DBNClassifier:
    """Return the classifier at its defaults, or a toy where only the run is to be checked."""
    small: dict[str, Any] = (
        {"hidden_layer_sizes": (10, 10), "n_iter": 1, "fine_tune_n_iter": 1}
        if options.quick
        else {}
    )
    return DBNClassifier(**small, **settings, random_state=seed)


KINDS = {
    "make-classification": (made, 5),
    "breast-cancer": (breast_cancer, 10),
    "digits": (digits, 10),
}
"""How the cases of a row are drawn and split by a seed, and how many seeds at most."""


def seeds_of(name: str, options: TablesMeasureOptions) -> range:
    """Return the seeds of a row."""
    return range(1 if options.quick else min(KINDS[name][1], options.seeds))


def accuracy(options: TablesMeasureOptions) -> Found:
    """Yield accuracy on test cases, percent, of the net and of baselines behind a
    StandardScaler.
    """
    for name, (draw, _) in KINDS.items():
        result: dict[str, list[float]] = {}
        for seed in seeds_of(name, options):
            X, y, X_test, y_test = some(draw(seed), options)
            baselines = {
                "-logistic-regression": LogisticRegression(max_iter=2000),
                "-svc": SVC(),
                "-mlp": MLPClassifier(random_state=seed),
            }
            scaled = {
                which: make_pipeline(StandardScaler(), baseline)
                for which, baseline in baselines.items()
            }
            if name == "make-classification":
                scaled["-gradient-boosting"] = HistGradientBoostingClassifier(random_state=seed)
            for which, estimator in {"": net(options, seed), **scaled}.items():
                result.setdefault(which, []).append(100 * estimator.fit(X, y).score(X_test, y_test))
        for which, values in result.items():
            yield name + which, "test_accuracy_percent", values, {}


def early(options: TablesMeasureOptions) -> Found:
    """Yield accuracy on test cases, percent, of the net with `early_stopping=True`, on the splits
    of `accuracy`.
    """
    for name, (draw, _) in KINDS.items():
        values = []
        for seed in seeds_of(name, options):
            X, y, X_test, y_test = some(draw(seed), options)
            values.append(
                100 * net(options, seed, early_stopping=True).fit(X, y).score(X_test, y_test)
            )
        yield name + "-early-stopping", "test_accuracy_percent", values, {}


def few(options: TablesMeasureOptions) -> Found:
    """Yield accuracy, percent, with 29 labels of breast cancer, drawn stratified by the seed of the
    split, and the rest unlabelled.
    """
    result: dict[str, list[float]] = {}
    for seed in range(1 if options.quick else options.seeds):
        X, y, X_test, y_test = some(breast_cancer(seed), options)
        labelled, _ = train_test_split(
            np.arange(len(y)), train_size=29, random_state=seed, stratify=y
        )
        known = np.full(len(y), -1)
        known[labelled] = y[labelled]
        contestants = {
            "": (net(options, seed, unlabeled=-1), X, known),
            "-labelled-only": (net(options, seed), X[labelled], y[labelled]),
            "-logistic-regression": (
                make_pipeline(StandardScaler(), LogisticRegression()),
                X[labelled],
                y[labelled],
            ),
            "-label-spreading": (
                make_pipeline(StandardScaler(), LabelSpreading(kernel="knn")),
                X,
                known,
            ),
        }
        for which, (estimator, cases, classes) in contestants.items():
            result.setdefault(which, []).append(
                100 * estimator.fit(cases, classes).score(X_test, y_test)
            )
    for which, values in result.items():
        yield "breast-cancer-29-labels" + which, "test_accuracy_percent", values, {}


def times(options: TablesMeasureOptions) -> Found:
    """Yield how many times MLPClassifier's time the classifier's fit takes, both at their defaults:
    a row a set, and the median of all.
    """
    sets = {
        "digits": digits(0),
        "six-views-pixels": six_views(options.data),
        "satellite": table(options.data, "satellite", 4435),
        "letters": table(options.data, "letters", 16_000),
    }
    ratios = []
    for name, (X, y, X_test, y_test) in sets.items():
        X, y, X_test, y_test = some((X, y, X_test, y_test), options)
        seconds: dict[str, list[float]] = {}
        scores: dict[str, float] = {}
        # turns, of which the faster counts: other work can only slow one down
        for _ in range(1 if options.quick else 2):
            for which, estimator in {
                "ours": net(options, 0),
                "mlp": make_pipeline(MinMaxScaler(), MLPClassifier(random_state=0)),
            }.items():
                learner = clone(estimator)
                began = time.process_time()
                learner.fit(X, y)
                seconds.setdefault(which, []).append(time.process_time() - began)
                scores[which] = round(100 * learner.score(X_test, y_test), 3)
        ratios.append(min(seconds["ours"]) / min(seconds["mlp"]))
        notes = {f"seconds_{which}": round(min(values), 2) for which, values in seconds.items()}
        yield f"fit-seconds-over-mlp-{name}", "times", [ratios[-1]], notes
        for which, value in scores.items():
            yield f"fit-{name}-{which}", "test_accuracy_percent", [value], {}
    yield "fit-seconds-over-mlp", "times", [statistics.median(ratios)], {}


PARTS = {"accuracy": accuracy, "early": early, "few": few, "times": times}


def main(argv: list[str]) -> None:
    """Measure the parts asked for and save their rows as they come."""
    options = tyro.cli(TablesMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.defaults.tables", *argv])
    parts = [partial(PARTS[part], options) for part in options.parts]
    # it prints them
    for _ in measure("defaults", parts, out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
