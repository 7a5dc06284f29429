"""What one column of a table is, and the way from its values to the states of units and back."""

from __future__ import annotations

import datetime
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from wakesleep.data.tables import Array, holds_words, is_number, missing_in, numbers_of, shown
from wakesleep.foundation.errors import DataError

Kind = Literal["binary", "categories", "levels", "counts", "real"]
KINDS: tuple[Kind, ...] = ("binary", "categories", "levels", "counts", "real")
"""What a column may be taken for."""
NUMBERS = ("levels", "counts", "real")
"""The kinds whose values have an order."""
FEW_LEVELS = 20
"""Whole numbers of at most so many different values are levels, a state each."""
CODES = 7
"""Levels of at most so many values take a softmax site, as categories do: often they are codes, and
say nothing by their order.
"""
MOST_CATEGORIES = 200
"""Words of more different values than this are names or texts, not categories."""


@dataclass(frozen=True)
class Column:
    """One column of a table: what it was taken for, and its states.

    Two values take one binary unit, which is on for the second; K categories, or levels where they
    are few, a softmax site of K units. Other numbers take a thermometer: their states are K + 1
    `values` in order, and unit k says how far a number x has come from value k - 1 to value k,

        u_k = clip((x - e_k-1) / (e_k - e_k-1), 0, 1),

    so that a number between two states is the mean of both, and x = e_0 + sum_k u_k (e_k - e_k-1)
    within the range. Source: Gorishniy, Rubachev & Babenko (2022), "On embeddings for numerical
    features in tabular deep learning", section 3.2 (piecewise linear encoding).
    """

    name: Any
    kind: Kind
    values: Array
    """What each state stands for: the categories, the levels, or numbers from the smallest to the
    largest with about as many cases between any two.
    """
    whole: bool = False
    """Whether all values that fit saw were whole numbers."""

    @property
    def states(self) -> int:
        """How many states it has; one where the column is constant."""
        return len(self.values)

    @property
    def one_hot(self) -> bool:
        """Whether it takes a softmax site."""
        few = self.kind == "levels" and self.states <= CODES
        return self.states > 2 and (few or self.kind == "categories")

    @property
    def thermometer(self) -> bool:
        """Whether it is one of numbers with three states or more, in order."""
        return self.kind in NUMBERS and self.states > 2 and not self.one_hot

    @property
    def size(self) -> int:
        """How many units it takes; none where it is constant."""
        return self.states if self.one_hot else self.states - 1

    @property
    def dense(self) -> bool:
        """Whether numbers between two states are values of the column."""
        return self.kind in ("counts", "real") and self.states > 1

    def __str__(self) -> str:
        """Say what the column was taken for, on one line."""
        if self.states == 1:
            return f"{self.name}: constant, {shown(self.values[0])}"
        if self.dense:
            low, high = self.values[0], self.values[-1]
            return f"{self.name}: {self.kind}, {low:g} to {high:g}, by {self.states} values"
        first = ", ".join(shown(value) for value in self.values[:6])
        more = f", ... ({self.states} in all)" if self.states > 6 else ""
        return f"{self.name}: {self.kind}, {first}{more}"

    def encode(self, raw: Any) -> Array:
        """Return the units (N, size) of values (N,), NaN where one is missing. Numbers outside the
        range that fit saw are taken for its ends.

        Raises:
            DataError: a category that fit did not see, negative counts, words among numbers,
                infinity.
        """
        missing = missing_in(raw)
        if self.kind in NUMBERS and not self.one_hot:
            numbers = numbers_of(raw, self.name)
            if self.kind == "counts":
                _check_counts(self.name, numbers[~missing])
            edges = self.values.astype(float)
            units = np.clip((numbers[:, None] - edges[:-1]) / np.diff(edges), 0, 1)
        else:
            state = self._states_of(raw, missing)
            units = (
                (state[:, None] == np.arange(1, 2))
                if self.states == 2
                else (state[:, None] == np.arange(self.states))
            )[:, : self.size].astype(float)
        units[missing] = np.nan
        return units  # type: ignore[no-any-return]

    def chances(self, units: Array) -> Array:
        """Return p(state) (N, states) for units (N, size) or their means."""
        if self.one_hot:
            clipped = np.clip(units, 1e-12, None)
            return clipped / clipped.sum(1, keepdims=True)  # type: ignore[no-any-return]
        ends = np.ones((len(units), 1))
        return np.clip(-np.diff(np.concatenate([ends, units, 0 * ends], axis=1)), 0, 1)

    def most_probable(self, units: Array) -> Array:
        """Return the most probable value of each row of means (N, size), of counts and real numbers
        the expected one: (N,).
        """
        if not self.dense:
            return self.values[self.chances(units).argmax(1)]  # type: ignore[no-any-return]
        edges = self.values.astype(float)
        numbers = edges[0] + units @ np.diff(edges)
        return np.round(numbers) if self.whole else numbers  # type: ignore[no-any-return]

    def draw(self, units: Array, source: np.random.RandomState) -> Array:
        """Return values drawn by the chances of their states, (N,); of counts and real numbers one
        about the state, in proportion to how much of it is in the number.
        """
        ends = np.cumsum(self.chances(units), axis=1)
        state = np.minimum((source.rand(len(units), 1) > ends).sum(1), self.states - 1)
        if not self.dense:
            return self.values[state]  # type: ignore[no-any-return]
        edges = self.values.astype(float)
        padded = np.concatenate([edges[:1], edges, edges[-1:]])
        peak, left, right = edges[state], np.diff(padded)[state], np.diff(padded)[state + 1]
        if self.whole:
            # of 1/L, 2/L, ... on the left to 1 at the peak, and as many on the right without it
            below, above = np.where(left > 0, (left + 1) / 2, 1.0), np.maximum(right - 1, 0) / 2
            on_left = source.rand(len(state)) * (below + above) < below
            count = np.where(on_left, np.maximum(left, 1), np.maximum(right - 1, 1))
            rank = np.ceil((np.sqrt(1 + 4 * source.rand(len(state)) * count * (count + 1)) - 1) / 2)
            rank = np.clip(rank, 1, count)
            away = np.where(on_left, np.maximum(left, 1), right) - rank
        else:
            on_left = source.rand(len(state)) * (left + right) < left
            away = np.where(on_left, left, right) * (1 - np.sqrt(source.rand(len(state))))
        numbers: Array = np.where(on_left, peak - away, peak + away)
        return numbers

    def log_widths(self, units: Array) -> Array:
        """Return sum_k p(state k) log w_k for units (N, size), w_k being how much of the line
        state k stands for, the integral (of whole numbers the sum) of the share that it has in a
        number: what a density in nats subtracts. 0 where a state is one value, and where the value
        is missing: (N,).
        """
        if not self.dense:
            return np.zeros(len(units))
        gaps = np.diff(self.values.astype(float))
        widths = (np.append(0, gaps) + np.append(gaps, 0)) / 2
        if self.whole:
            widths[[0, -1]] += 0.5
        expected: Array = np.nan_to_num(self.chances(units) @ np.log(widths))
        return expected

    def _states_of(self, raw: Any, missing: Array) -> Array:
        """Return the number of the state of each value (N,), -1 where it is missing.

        Raises:
            DataError: a value that no state stands for.
        """
        cells = cells_of(raw, self.name, words=not isinstance(self.values[0], float))
        number_of = {value: number for number, value in enumerate(self.values.tolist())}
        there = ~missing
        unseen = [cell for cell, known in zip(cells, there, strict=True) if known]
        unseen = [cell for cell in unseen if cell not in number_of]
        if unseen:
            known = ", ".join(shown(value) for value in self.values[:10])
            raise DataError(
                f"column {self.name!r}: {len(unseen)} values that fit did not see, e.g. "
                f"{shown(unseen[0])}; expected one of {known}"
                f"{', ...' if self.states > 10 else ''}. Give them as missing (NaN or None), or "
                "fit with cases that have them"
            )
        return np.array(
            [number_of[cell] if known else -1 for cell, known in zip(cells, there, strict=True)],
            dtype=int,
        )


def learn_column(name: Any, raw: Any, kind: str | None = None, n_bins: int = 8) -> Column:
    """Return what a column of values (N,) is; `kind` says so where it is known. Counts and real
    numbers take `n_bins` + 1 states, with about as many cases between any two.

    Words, truth values and pandas' categories are categories; two values are binary; whole numbers
    of at most 20 values are levels; other whole numbers, none negative, are counts; the rest is
    real.

    Raises:
        DataError: no value at all, infinity, dates, words among numbers, words of more than 200
            values, and values that `kind` does not allow.
    """
    missing = missing_in(raw)
    if missing.all():
        raise DataError(
            f"column {name!r} holds no value at all ({len(missing)} missing); leave it out"
        )
    _refuse_dates(name, raw, missing)
    words = holds_words(raw)
    taken_for = cast(Kind, kind) if kind is not None else _kind_of(name, raw, missing, words)
    if taken_for in NUMBERS:
        return _numbers(name, numbers_of(raw, name)[~missing], taken_for, n_bins)
    cells = [
        cell for cell, gone in zip(cells_of(raw, name, words), missing, strict=True) if not gone
    ]
    seen = list(dict.fromkeys(cells))
    if hasattr(getattr(raw, "dtype", None), "categories"):
        seen = [each for each in raw.dtype.categories.tolist() if each in set(seen)]
    else:
        with suppress(TypeError):  # values that have no order keep the one they came in
            seen.sort()
    if taken_for == "binary" and len(seen) > 2:
        raise DataError(
            f"column {name!r}: {len(seen)} different values came, e.g. "
            f"{', '.join(shown(value) for value in seen[:3])}; binary expects two. Take it for "
            "categories or levels"
        )
    values = np.empty(len(seen), dtype=object)
    values[:] = seen
    whole = not words and all(float(value).is_integer() for value in seen)
    return Column(name, taken_for, values, whole)


def _kind_of(name: Any, raw: Any, missing: Array, words: bool) -> Kind:
    """Return what a column was taken for."""
    if words:
        cells = np.asarray(raw, dtype=object)[~missing].tolist()
        _refuse_mixed(name, cells)
        count = len(set(cells))
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


def _numbers(name: Any, known: Array, kind: Kind, n_bins: int) -> Column:
    """Return a column of numbers (N,) with its states."""
    if kind == "counts":
        _check_counts(name, known)
    values = np.unique(known)
    whole = bool((values == np.round(values)).all())
    if kind != "levels":
        values = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1)))
        values = np.unique(np.round(values)) if whole else values
    return Column(name, kind, values, whole)


def _refuse_dates(name: Any, raw: Any, missing: Array) -> None:
    """Raise DataError for a column of dates or times."""
    kind = getattr(getattr(raw, "dtype", None), "kind", "O")
    dates = kind in "mM"
    if kind == "O" and not hasattr(raw.dtype, "categories"):
        first = np.asarray(raw, dtype=object)[~missing][0]
        dates = isinstance(first, datetime.date | datetime.time | datetime.timedelta)
    if dates:
        raise DataError(
            f"column {name!r} holds dates or times, e.g. {np.asarray(raw)[~missing][0]}; expected "
            "numbers or categories. Say what matters of them: days since the first, (column - "
            "column.min()).dt.days, or the month, column.dt.month"
        )


def _refuse_mixed(name: Any, cells: list[Any]) -> None:
    """Raise DataError where words and numbers stand side by side."""
    numbers = [cell for cell in cells if is_number(cell)]
    if numbers and len(numbers) < len(cells):
        other = next(cell for cell in cells if not is_number(cell))
        raise DataError(
            f"column {name!r} holds {len(numbers)} numbers, e.g. {shown(numbers[0])}, and "
            f"{len(cells) - len(numbers)} other values, e.g. {shown(other)}; expected one kind. "
            "Where those mean that nobody knows, make them NaN and the column numbers; else give "
            "it the kind 'categories', or make all of it words, column.astype(str)"
        )


def cells_of(raw: Any, name: Any, words: bool) -> list[Any]:
    """Return the values of a column, a state each: words as they are, numbers as float."""
    if words or holds_words(raw):
        return np.asarray(raw, dtype=object).tolist()  # type: ignore[no-any-return]
    return numbers_of(raw, name).tolist()  # type: ignore[no-any-return]


def _check_counts(name: Any, known: Array) -> None:
    """Raise DataError where numbers (N,) are no counts."""
    wrong = known[(known < 0) | (known != np.round(known))]
    if len(wrong):
        raise DataError(
            f"column {name!r}: {len(wrong)} values that are no counts, e.g. {wrong[0]:g}; expected "
            "whole numbers from 0. Take it for real"
        )
