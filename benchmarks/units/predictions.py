"""Classifier and regressor with `units="auto"`, all else at its defaults, on test cases.

    python -m benchmarks.units.predictions

Letters and satellite have their own test cases, and three seeds of the net. The tables that
scikit-learn ships have ten splits, those of `benchmarks.estimators`. Test cases choose nothing: how
many intervals a number has, and whether backpropagation draws states, was chosen on cases held out
of the training parts (docs/notes/units.md). Times are the processor's, of one thread, beside
`MLPClassifier` at its defaults behind a MinMaxScaler.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from sklearn import datasets
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from benchmarks.defaults.tables import Split, table
from benchmarks.estimators import EstimatorsMeasureOptions, Found, compare, measure
from wakesleep.estimators import DBNClassifier, DBNRegressor

TRAIN = {"satellite": 4435, "letters": 16_000}
"""How many rows of a table, the first ones, are to learn from."""
SHIPPED = ("breast_cancer", "wine", "iris", "diabetes")
"""Tables of scikit-learn."""


@dataclass(frozen=True)
class PredictionsOptions:
    """Measure and save the rows."""

    tables: tuple[str, ...] = (*TRAIN, *SHIPPED)
    """Which tables."""
    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with tables/letters.csv.gz and tables/satellite.csv.gz."""
    seeds: int = 3
    """Seeds of the net on letters and satellite."""
    splits: int = 10
    """Splits of scikit-learn's tables."""
    quick: bool = False
    """Nets of a few units, one epoch, few cases: a check that everything runs, no figures."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def small(options: PredictionsOptions) -> dict[str, Any]:
    """Return settings that make nets small where only the run is to be checked."""
    toy = {"hidden_layer_sizes": (8,), "n_iter": 1, "fine_tune_n_iter": 1}
    return toy if options.quick else {}


def large(name: str, options: PredictionsOptions) -> Found:
    """Yield accuracy on test cases, percent, a value a seed, and the time of fit over
    MLPClassifier's.
    """
    X, y, X_test, y_test = _some(table(options.data, name, TRAIN[name]), options)
    began = time.process_time()
    make_pipeline(MinMaxScaler(), MLPClassifier(random_state=0)).fit(X, y)
    theirs = time.process_time() - began
    scores, seconds = [], []
    for seed in range(1 if options.quick else options.seeds):
        net = DBNClassifier(units="auto", random_state=seed, **small(options))
        began = time.process_time()
        net.fit(X, y)
        seconds.append(time.process_time() - began)
        scores.append(100 * net.score(X_test, y_test))
    yield name, "test_accuracy_percent", scores, {}
    notes = {"seconds_mlp": round(theirs, 2), "seconds_ours": round(min(seconds), 2)}
    yield f"{name}-fit-seconds-over-mlp", "times", [min(seconds) / theirs], notes


def shipped(name: str, options: PredictionsOptions) -> Found:
    """Yield accuracy or 100 R^2 on held-out quarters."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    regression = name == "diabetes"
    kind = DBNRegressor if regression else DBNClassifier
    net = kind(units="auto", random_state=0, **small(options))
    how = EstimatorsMeasureOptions(splits=1 if options.quick else options.splits)
    metric = "r2_percent" if regression else "accuracy_percent"
    row = name.replace("_", "-")
    for _, which, values, notes in compare(row, X, y, {"": net}, how, metric=metric):
        yield row, which, values, notes


def _some(parts: Split, options: PredictionsOptions) -> Split:
    X, y, X_test, y_test = parts
    return (X[:200], y[:200], X_test[:50], y_test[:50]) if options.quick else parts


def rows(options: PredictionsOptions) -> Iterator[Any]:
    """Yield a part for each table."""
    for name in options.tables:
        yield partial(large if name in TRAIN else shipped, name, options)


def main(argv: list[str]) -> None:
    """Measure what was asked for and save the rows as they come."""
    options = tyro.cli(PredictionsOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.units.predictions", *argv])
    for _ in measure("units", list(rows(options)), out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
