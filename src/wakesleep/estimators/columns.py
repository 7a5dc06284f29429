"""What the columns of a table are taken for: values as states, and states as values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from wakesleep.estimators.shared import Array
from wakesleep.estimators.tables import holds_words, missing_in, numbers_of, shown
from wakesleep.foundation.errors import DataError

KINDS = ("binary", "categories", "levels", "counts", "real")
"""What a column may be taken for."""
FEW_LEVELS = 20
"""Whole numbers of at most so many different values are levels, a state each."""
MOST_CATEGORIES = 200
"""Words of more different values than this are names or texts, not categories."""


@dataclass(frozen=True)
class Column:
    """One column of a table: what it was taken for, and its states.

    A column of K states takes one site of K units; two states take one binary unit, which is on for
    the second.
    """

    name: Any
    kind: str
    """One of `KINDS`."""
    values: Array
    """What each state stands for, (K,): the categories, the levels, or the median of each bin."""
    edges: Array | None = None
    """Ends of the bins of counts and real numbers, (K + 1,), from the smallest value to the
    largest; None where a state is one value.
    """
    whole: bool = False
    """Whether all values that fit saw were whole numbers."""

    @property
    def states(self) -> int:
        """K, how many states it has."""
        return len(self.values)

    @property
    def size(self) -> int:
        """How many units it takes."""
        return 1 if self.states == 2 else self.states

    def __str__(self) -> str:
        """Say what the column was taken for, on one line."""
        if self.states == 1:
            return f"{self.name}: constant, {shown(self.values[0])}"
        if self.edges is None:
            words = ", ".join(shown(value) for value in self.values[:6])
            more = f", ... ({self.states} in all)" if self.states > 6 else ""
            return f"{self.name}: {self.kind}, {words}{more}"
        low, high = self.edges[0], self.edges[-1]
        return f"{self.name}: {self.kind}, {low:g} to {high:g}, in {self.states} bins"

    def states_of(self, raw: Any) -> Array:
        """Return the number of the state of each value (N,), -1 where it is missing.

        Raises:
            DataError: a value that no state stands for, and infinity.
        """
        missing = missing_in(raw)
        if self.edges is not None:
            numbers = numbers_of(raw, self.name)
            if self.kind == "counts":
                _check_counts(self.name, numbers[~missing])
            state = np.searchsorted(self.edges[1:-1], numbers, side="right")
            return np.where(missing, -1, state)
        cells = _cells(raw, self.kind, self.name)
        number_of = {value: number for number, value in enumerate(self.values.tolist())}
        unseen = [
            cell
            for cell, gone in zip(cells, missing, strict=True)
            if not gone and cell not in number_of
        ]
        if unseen:
            known = ", ".join(shown(value) for value in self.values[:10])
            raise DataError(
                f"column {self.name!r}: {len(unseen)} values that fit did not see, e.g. "
                f"{shown(unseen[0])}; expected one of {known}"
                f"{', ...' if self.states > 10 else ''}. Give them as missing (NaN or None), or "
                "fit with cases that have them"
            )
        return np.array(
            [-1 if gone else number_of[cell] for cell, gone in zip(cells, missing, strict=True)],
            dtype=int,
        )

    def encode(self, raw: Any) -> Array:
        """Return the units (N, size) of values (N,), NaN where one is missing."""
        state = self.states_of(raw)
        if self.size == 1 and self.states == 2:
            units = state[:, None].astype(float)
        else:
            units = (state[:, None] == np.arange(self.states)).astype(float)
        units[state < 0] = np.nan
        return units

    def chances(self, units: Array) -> Array:
        """Return p(state) (N, K) for units (N, size) or their means."""
        if self.size == 1 and self.states == 2:
            return np.concatenate([1 - units, units], axis=1)
        clipped = np.clip(units, 1e-12, None)
        return clipped / clipped.sum(1, keepdims=True)  # type: ignore[no-any-return]

    def most_probable(self, units: Array) -> Array:
        """Return the most probable value of each row of means (N, size), for numbers in bins the
        expected one: (N,).
        """
        chances = self.chances(units)
        if self.edges is None:
            return self.values[chances.argmax(1)]  # type: ignore[no-any-return]
        numbers = chances @ self.values
        return np.round(numbers) if self.whole else numbers

    def draw(self, units: Array, source: np.random.RandomState) -> Array:
        """Return the values of states (N, size), for numbers in bins one drawn evenly from the bin:
        (N,).
        """
        state = self.chances(units).argmax(1)
        if self.edges is None:
            return self.values[state]  # type: ignore[no-any-return]
        low, high = self.edges[state], self.edges[state + 1]
        if not self.whole:
            return low + source.rand(len(state)) * (high - low)  # type: ignore[no-any-return]
        last = np.where(state + 1 == self.states, high, np.maximum(high - 1, low))
        span = np.floor(last) - np.ceil(low) + 1
        return np.ceil(low) + np.floor(source.rand(len(state)) * span)  # type: ignore[no-any-return]

    def log_widths(self, raw: Any) -> Array:
        """Return the log of the width of the bin of each value (N,), 0 where a state is one value
        and where it is missing: what a density in nats subtracts.
        """
        state = self.states_of(raw)
        if self.edges is None:
            return np.zeros(len(state))
        widths = np.diff(self.edges)
        if self.whole:
            widths = np.append(np.ceil(self.edges[1:-1]), np.floor(self.edges[-1]) + 1) - np.ceil(
                self.edges[:-1]
            )
        return np.where(state < 0, 0.0, np.log(widths)[state])


def learn_column(name: Any, raw: Any, kind: str | None = None, n_bins: int = 8) -> Column:
    """Return what a column of values (N,) is; `kind` says so where it is known.

    Words, truth values and pandas' categories are categories; two values are binary; whole numbers
    of at most 20 values are levels; other whole numbers, none negative, are counts; the rest is
    real.

    Raises:
        DataError: no value at all, infinity, words of more than 200 values, and values that `kind`
            does not allow.
    """
    missing = missing_in(raw)
    if missing.all():
        raise DataError(
            f"column {name!r} holds no value at all ({len(missing)} missing); leave it out"
        )
    words = holds_words(raw)
    if kind is None:
        kind = _kind_of(name, raw, missing, words)
    if kind in ("counts", "real"):
        return _binned(name, numbers_of(raw, name)[~missing], kind, n_bins)
    cells = [cell for cell, gone in zip(_cells(raw, kind, name), missing, strict=True) if not gone]
    seen = list(dict.fromkeys(cells))
    if hasattr(getattr(raw, "dtype", None), "categories") and kind != "levels":
        seen = [each for each in raw.dtype.categories.tolist() if each in set(seen)]
    else:
        with suppress(TypeError):  # values that have no order keep the one they came in
            seen.sort()
    if kind == "binary" and len(seen) > 2:
        raise DataError(
            f"column {name!r}: {len(seen)} different values came, e.g. "
            f"{', '.join(shown(value) for value in seen[:3])}; binary expects two. Take it for "
            "categories or levels"
        )
    values = np.empty(len(seen), dtype=object)
    values[:] = seen
    whole = not words and all(float(value).is_integer() for value in seen)
    return Column(name, kind, values, whole=whole)


def _kind_of(name: Any, raw: Any, missing: Array, words: bool) -> str:
    """Return what a column was taken for."""
    if words:
        cells = np.asarray(raw, dtype=object)[~missing]
        count = len(set(cells.tolist()))
        if count > MOST_CATEGORIES:
            raise DataError(
                f"column {name!r} holds words of {count} different values, e.g. "
                f"{shown(cells[0])}: names or texts, which say nothing of other cases; expected "
                f"at most {MOST_CATEGORIES}. Leave it out, or give it the kind 'categories'"
            )
        return "binary" if count == 2 else "categories"
    known = numbers_of(raw, name)[~missing]
    values = np.unique(known)
    if len(values) == 2:
        return "binary"
    if not (values == np.round(values)).all():
        return "real" if len(values) > 1 else "levels"
    if len(values) <= FEW_LEVELS:
        return "levels"
    return "counts" if values[0] >= 0 else "real"


def _binned(name: Any, known: Array, kind: str, n_bins: int) -> Column:
    """Return a column of numbers (N,) in bins that hold about as many cases each."""
    if kind == "counts":
        _check_counts(name, known)
    low, high = known.min(), known.max()
    whole = bool((known == np.round(known)).all())
    if low == high:
        return Column(name, kind, np.array([low]), whole=whole)
    inner = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1)[1:-1]))
    if whole:
        inner = np.unique(np.ceil(inner))
    inner = inner[(inner > low) & ((inner <= high) if whole else (inner < high))]
    # a bin without cases would have no probability, and a quantile may lie between two values
    inner = inner[np.unique(np.searchsorted(inner, known, side="right"))[1:] - 1]
    state = np.searchsorted(inner, known, side="right")
    middles = [np.median(known[state == number]) for number in range(len(inner) + 1)]
    edges = np.concatenate([[low], inner, [high]])
    return Column(name, kind, np.array(middles), edges, whole)


def _cells(raw: Any, kind: str, name: Any) -> list[Any]:
    """Return the values of a column that a state each stands for, numbers as float."""
    if kind == "levels" or not holds_words(raw):
        return numbers_of(raw, name).tolist()  # type: ignore[no-any-return]
    return np.asarray(raw, dtype=object).tolist()  # type: ignore[no-any-return]


def _check_counts(name: Any, known: Array) -> None:
    """Raise DataError where numbers (N,) are no counts."""
    wrong = known[(known < 0) | (known != np.round(known))]
    if len(wrong):
        raise DataError(
            f"column {name!r}: {len(wrong)} values that are no counts, e.g. {wrong[0]:g}; expected "
            "whole numbers from 0. Take it for real"
        )
