"""One column of a table as binary units in [0, 1], and the way back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wakesleep.data.tables import missing_in, numbers_of
from wakesleep.estimators.ranges import column_range, column_skew, from_symmetric, to_symmetric
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import DataError

FIX = "name it among `categories`"
"""What to do with a column of words that was taken for numbers."""


@dataclass
class MappedColumn:
    """How one column of a table is mapped to [0, 1], and back."""

    name: Any
    values: Array
    """What the units stand for, (units,): categories, the median of each bin, or the ends of the
    range.
    """
    edges: Array | None = None
    """Where bins end, (bins - 1,), or the middle of the range for "binary"; None for categories and
    "minmax".
    """
    kind: str = "categories"
    whole: bool = False
    """Whether all values that fit saw were whole numbers."""
    skew: Array | None = None
    """Centre and spread of a skewed column, (2,), mapped by asinh((x - centre) / spread) before its
    range; "minmax" only.
    """

    @property
    def units(self) -> int:
        """How many units it takes."""
        return len(self.values) if self.kind in ("categories", "bins") else 1

    def encode(self, raw: Any) -> Array:
        """Return the units (N, units) of values (N,), NaN where one is missing."""
        missing = missing_in(raw)
        if self.kind == "categories":
            numbers = self._numbers_of_categories(raw, missing)
        else:
            numbers = numbers_of(raw, self.name, FIX)
            if self.kind == "minmax":
                low, high = self.values
                numbers = numbers if self.skew is None else to_symmetric(numbers, self.skew)
                scaled: Array = np.clip((numbers - low) / ((high - low) or 1.0), 0, 1)
                return scaled[:, None]
            assert self.edges is not None
            numbers = np.searchsorted(self.edges, numbers, side=_side(self.kind))
        if self.kind == "binary":
            units = numbers[:, None].astype(float)
        else:  # one-hot, all zeros for a category that fit did not see
            units = (numbers[:, None] == np.arange(self.units)).astype(float)
        units[missing] = np.nan
        return units

    def decode(self, units: Array, source: np.random.RandomState | None) -> Array:
        """Return the values (N,) that units (N, units) stand for: the most probable category, the
        expected number; with a `source` of randomness, categories and bins are drawn.
        """
        if self.kind == "minmax":
            low, high = self.values
            numbers = low + units[:, 0] * (high - low)
            numbers = numbers if self.skew is None else from_symmetric(numbers, self.skew)
            return np.round(numbers) if self.whole else numbers
        if self.kind == "binary":
            units = np.concatenate([1 - units, units], axis=1)[:, : len(self.values)]
        shares = np.clip(units, 1e-9, None)
        shares = shares / shares.sum(1, keepdims=True)
        if source is not None:
            ends = np.cumsum(shares, axis=1)
            state = np.minimum((source.rand(len(units), 1) > ends).sum(1), len(self.values) - 1)
            return self.values[state]  # type: ignore[no-any-return]
        if self.kind == "categories":
            return self.values[shares.argmax(1)]  # type: ignore[no-any-return]
        expected: Array = shares @ self.values
        return np.round(expected) if self.whole else expected

    def _numbers_of_categories(self, raw: Any, missing: Array) -> Array:
        """Return the number of the category of each value (N,), -1 where it has none."""
        number_of = {value: number for number, value in enumerate(self.values)}
        cells = np.asarray(raw, dtype=object).tolist()
        return np.array(
            [
                -1 if gone else number_of.get(cell, -1)
                for cell, gone in zip(cells, missing, strict=True)
            ],
            dtype=int,
        )


def learn_categories(name: Any, raw: Any) -> MappedColumn:
    """Return how a column of categories (N,) is mapped: a unit each.

    Raises:
        DataError: no value at all.
    """
    seen = list(dict.fromkeys(np.asarray(raw, dtype=object)[~missing_in(raw)].tolist()))
    if not seen:
        raise DataError(f"column {name!r} holds no value at all; leave it out")
    with suppress(TypeError):  # kinds that have no order keep the one they came in
        seen.sort()
    values = np.empty(len(seen), dtype=object)
    values[:] = seen
    return MappedColumn(name, values)


def learn_numbers(name: Any, raw: Any, kind: str, n_bins: int) -> MappedColumn:
    """Return how a column of numbers (N,) is mapped: by "minmax", "binary" or "bins".

    Raises:
        DataError: no value at all, words, or infinity.
    """
    known = numbers_of(raw, name, FIX)[~missing_in(raw)]
    if not len(known):
        raise DataError(f"column {name!r} holds no value at all; leave it out")
    whole = bool((known == np.round(known)).all())
    skew = column_skew(known)
    low, high = (
        float(end[0])
        for end in column_range((known if skew is None else to_symmetric(known, skew))[:, None])
    )
    if kind == "minmax":
        return MappedColumn(name, np.array([low, high]), kind="minmax", whole=whole, skew=skew)
    if kind == "binary":
        edges = np.array([(low + high) / 2])
        edges = edges if skew is None else from_symmetric(edges, skew)
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1)[1:-1]))
        edges = edges[(edges > known.min()) & (edges <= known.max())]
    state = np.searchsorted(edges, known, side=_side(kind))
    middles = [
        np.median(known[state == number]) if (state == number).any() else edges[0]
        for number in range(len(edges) + 1)
    ]
    return MappedColumn(name, np.array(middles), edges, kind=kind, whole=whole)


def _side(kind: str) -> Literal["left", "right"]:
    """Return in which bin a value on an edge lies: the upper one, for "binary" the lower."""
    return "right" if kind == "bins" else "left"
