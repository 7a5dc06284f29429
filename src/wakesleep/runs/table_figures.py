"""Pictures of tables: each column of the data beside the model's, and how columns go together in
both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wakesleep.data.columns import Column
from wakesleep.data.table_units import TableUnits
from wakesleep.data.tables import Array, missing_in, numbers_of
from wakesleep.runs.plots import SERIES, figure_of, save_figure

MOST_COLUMNS = 36
"""Columns whose histograms are drawn, evenly spread over all."""
MOST_BARS = 12
"""Categories and levels of a column with a bar of their own, the most frequent ones."""
BINS = 24
"""Of a histogram of numbers."""


def draw_columns(path: Path, units: TableUnits, data: Any, samples: Any) -> Path:
    """Draw for each column how often its values come in the table `data` and in rows `samples` of
    the model; return the path.
    """
    count = len(units.columns)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_COLUMNS)).astype(int))
    across = min(6, max(3, int(np.ceil(np.sqrt(len(chosen))))))
    down = -(-len(chosen) // across)
    figure = figure_of(2.6 * across, 2.1 * down + 0.5)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, at in zip(grid, chosen, strict=False):
        _draw_column(axes, units.columns[at], *(_column(each, at) for each in (data, samples)))
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    which = f"{len(chosen)} of {count} columns" if len(chosen) < count else f"{count} columns"
    figure.suptitle(f"{which}: shares in the data (filled) and in the model's samples (line)")
    return save_figure(path, figure)


def draw_correlations(path: Path, units: TableUnits, data: Any, samples: Any) -> Path:
    """Draw the correlations of all pairs of columns in the table `data` against those in rows
    `samples` of the model, and both as maps; return the path.

    Numbers are taken as they are, two values as 0 and 1, categories as 0 and 1 of each.
    Correlations are over the rows that have both columns.
    """
    theirs, ours = (correlations(units, each) for each in (data, samples))
    above = np.triu_indices(len(theirs), 1)
    pairs = np.stack([theirs[above], ours[above]])
    pairs = pairs[:, ~np.isnan(pairs).any(0)]
    figure = figure_of(12, 4.2)
    scatter, left, right = figure.subplots(1, 3)
    scatter.plot([-1, 1], [-1, 1], color="0.6", linewidth=1)
    scatter.plot(*pairs, "o", markersize=3, alpha=0.5, color=SERIES[0], markeredgewidth=0)
    agree = np.corrcoef(pairs)[0, 1] if pairs.shape[1] > 1 and pairs.std(1).all() else np.nan
    scatter.set(
        xlabel="correlation in the data",
        ylabel="in the model's samples",
        title=f"{pairs.shape[1]:,} pairs, correlated by {agree:.3f}",
        xlim=(-1.05, 1.05),
        ylim=(-1.05, 1.05),
    )
    for axes, values, title in ((left, theirs, "data"), (right, ours, "model")):
        image = axes.imshow(np.nan_to_num(values), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(image, ax=[left, right], shrink=0.85)
    return save_figure(path, figure)


def correlations(units: TableUnits, table: Any) -> Array:
    """Return the correlations (F, F) of the features of a table, NaN where one does not vary: a
    feature a column, of categories one for each.
    """
    features = np.concatenate(
        [_features(column, _column(table, at)) for at, column in enumerate(units.columns)], axis=1
    )
    known = ~np.isnan(features)
    both = known.T.astype(float) @ known
    values = np.where(known, features - np.nanmean(features, 0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = values.T @ known / both
        square = np.square(values).T @ known / both
        deviation = np.sqrt(np.clip(square - np.square(mean), 0, None))
        covariance = values.T @ values / both - mean * mean.T
        correlation: Array = np.where(
            deviation * deviation.T > 1e-12, covariance / (deviation * deviation.T), np.nan
        )
    return correlation


def _column(table: Any, at: int) -> Any:
    return table.iloc[:, at] if hasattr(table, "iloc") else np.asarray(table)[:, at]


def _features(column: Column, raw: Any) -> Array:
    """Return the numbers of a column, or a 0 or 1 for each of its categories: (N, features)."""
    if column.size == 0:
        return np.zeros((len(raw), 0))
    if column.kind in ("binary", "categories"):
        return column.encode(raw)
    return numbers_of(raw, column.name)[:, None]


def _draw_column(axes: Any, column: Column, data: Any, samples: Any) -> None:
    """Draw one column of the data and of the samples."""
    if column.dense:
        known = [numbers_of(each, column.name)[~missing_in(each)] for each in (data, samples)]
        edges = np.linspace(column.values[0], column.values[-1], BINS + 1)
        shares = [np.histogram(each, edges)[0] / max(len(each), 1) for each in known]
        axes.stairs(shares[0], edges, fill=True, color=SERIES[0], alpha=0.35)
        axes.stairs(shares[1], edges, color=SERIES[1], linewidth=1.6)
    else:
        cells = [_states_in(column, each) for each in (data, samples)]
        shares = [np.bincount(c, minlength=column.states) / max(len(c), 1) for c in cells]
        shown = np.sort(np.argsort(-shares[0], kind="stable")[:MOST_BARS])
        places = np.arange(len(shown))
        axes.bar(places, shares[0][shown], width=0.8, color=SERIES[0], alpha=0.35)
        axes.plot(places, shares[1][shown], "_", color=SERIES[1], markersize=14, markeredgewidth=2)
        names = [_short(column.values[at]) for at in shown]
        axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_title(str(column.name)[:28], fontsize=9)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _states_in(column: Column, raw: Any) -> Array:
    """Return the number of the nearest state of each value that is known."""
    if column.size == 0:
        return np.zeros(int((~missing_in(raw)).sum()), dtype=int)
    units = column.encode(raw)
    states: Array = column.chances(units[~missing_in(raw)]).argmax(1)
    return states


def _short(value: Any) -> str:
    name = f"{value:g}" if isinstance(value, float) else str(value)
    return name if len(name) <= 10 else f"{name[:9]}."
