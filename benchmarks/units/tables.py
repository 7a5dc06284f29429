"""Tables with holes: how many of the entries hidden at random are filled in right.

    python -m benchmarks.units.tables

A tenth of the known entries is hidden, the class column is left out, and a `TableRBM` learns from
what is left and fills it in; beside it the most frequent value of each column, and scikit-learn's
KNNImputer rounded to the nearest level. Ten draws. The settings were chosen on one draw of those
of `--choose`, where a tenth is hidden first, by another seed, and never looked at, and the entries
that are judged are hidden from the rest.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from sklearn.impute import KNNImputer, SimpleImputer

from benchmarks.estimators import Found, measure
from wakesleep.data.table_files import read_table
from wakesleep.estimators import TableRBM

CHOSEN_FIRST = 100
"""The seed by which `--choose` hides entries that it never looks at."""


@dataclass(frozen=True)
class UnitTablesOptions:
    """Measure and save the rows."""

    tables: tuple[str, ...] = ("votes", "soybean")
    """Which tables."""
    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with tables/votes.csv.gz and tables/soybean.csv.gz."""
    draws: int = 10
    """How often entries are hidden."""
    choose: bool = False
    """Judge on entries hidden from what is left after a first hiding, and save nothing."""
    quick: bool = False
    """One draw and one epoch: a check that everything runs, no figures."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def hidden(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table with a tenth of its known entries hidden, and their places (n, 2)."""
    known = np.argwhere(table.notna().to_numpy())
    order = np.random.RandomState(seed).permutation(len(known))
    places = known[order[: len(known) // 10]]
    gone = np.zeros(table.shape, dtype=bool)
    gone[tuple(places.T)] = True
    return table.mask(gone), places


def numbered(table: pd.DataFrame) -> np.ndarray:
    """Return the number of the level of each entry (N, D), NaN where it is missing."""
    codes = [pd.Categorical(table[name]).codes.astype(float) for name in table]
    return np.where(table.isna(), np.nan, np.stack(codes, axis=1))


def rounded(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return each column of values (N, D) at the nearest level that occurs in it."""
    out = values.copy()
    for at, column in enumerate(levels.T):
        there = np.unique(column[~np.isnan(column)])
        out[:, at] = there[np.abs(values[:, [at]] - there).argmin(1)]
    return out


def accuracies(table: pd.DataFrame, seed: int, **settings: Any) -> dict[str, float]:
    """Return how many percent of the entries hidden by a seed each way fills in right."""
    holes, places = hidden(table, seed)
    at = tuple(places.T)
    truth = numbered(table)
    levels = np.where(holes.isna(), np.nan, truth)
    filled = TableRBM(random_state=seed, **settings).fit(holes).impute(holes, random_state=seed)
    ways = {
        "most-frequent": SimpleImputer(strategy="most_frequent").fit_transform(levels),
        "knn": rounded(KNNImputer().fit_transform(levels), levels),
    }
    result = {name: 100 * float((way[at] == truth[at]).mean()) for name, way in ways.items()}
    ours = filled.to_numpy(dtype=object)[at] == table.to_numpy(dtype=object)[at]
    return {"": 100 * float(ours.mean()), **result}


def impute(name: str, options: UnitTablesOptions) -> Found:
    """Yield accuracy on hidden entries, percent, and ours over the better of the two others."""
    table = read_table(options.data / f"tables/{name}.csv.gz").drop(columns="class")
    if options.choose:
        table, _ = hidden(table, CHOSEN_FIRST)
    settings: dict[str, Any] = {"n_iter": 1} if options.quick else {}
    draws = [
        accuracies(table, seed, **settings) for seed in range(1 if options.quick else options.draws)
    ]
    over = [draw[""] - max(draw["most-frequent"], draw["knn"]) for draw in draws]
    yield f"{name}-impute", "accuracy_over_baseline_points", over, {}
    for way in ("", "most-frequent", "knn"):
        row = f"{name}-impute" + (f"-{way}" if way else "")
        yield row, "accuracy_percent", [draw[way] for draw in draws], {}


def rows(options: UnitTablesOptions) -> Iterator[Any]:
    """Yield a part for each table."""
    for name in options.tables:
        yield partial(impute, name, options)


def main(argv: list[str]) -> None:
    """Measure what was asked for and save the rows as they come, or print what was chosen by."""
    options = tyro.cli(UnitTablesOptions, description=__doc__, args=argv)
    if options.choose:
        for part in rows(options):
            for row, metric, values, _ in part():
                print(row, metric, round(float(np.median(values)), 2))
        return
    command = shlex.join(["python", "-m", "benchmarks.units.tables", *argv])
    for _ in measure("units", list(rows(options)), out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
