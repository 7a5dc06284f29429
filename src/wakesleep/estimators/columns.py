"""What the columns of a table are, which units they take, and the way to states and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from scipy.sparse import issparse

from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.units import Bernoulli, Categorical, Groups, Units

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
            return f"{self.name}: constant, {_shown(self.values[0])}"
        if self.edges is None:
            shown = ", ".join(_shown(value) for value in self.values[:6])
            more = f", ... ({self.states} in all)" if self.states > 6 else ""
            return f"{self.name}: {self.kind}, {shown}{more}"
        low, high = self.edges[0], self.edges[-1]
        return f"{self.name}: {self.kind}, {low:g} to {high:g}, in {self.states} bins"

    def place(self, raw: Any) -> Array:
        """Return the number of the state of each value (N,), -1 where it is missing.

        Raises:
            DataError: a value that no state stands for, and infinity.
        """
        missing = missing_in(raw)
        if self.edges is not None:
            numbers = numbers_of(raw, self.name)
            if self.kind == "counts":
                _check_counts(self.name, numbers[~missing])
            found = np.searchsorted(self.edges[1:-1], numbers, side="right")
            return np.where(missing, -1, found)
        cells = _cells(raw, self.kind, self.name)
        number_of = {value: number for number, value in enumerate(self.values.tolist())}
        unseen = [
            cell
            for cell, gone in zip(cells, missing, strict=True)
            if not gone and cell not in number_of
        ]
        if unseen:
            known = ", ".join(_shown(value) for value in self.values[:10])
            raise DataError(
                f"column {self.name!r}: {len(unseen)} values that fit did not see, e.g. "
                f"{_shown(unseen[0])}; expected one of {known}"
                f"{', ...' if self.states > 10 else ''}. Give them as missing (NaN or None), or "
                "fit with cases that have them"
            )
        return np.array(
            [-1 if gone else number_of[cell] for cell, gone in zip(cells, missing, strict=True)],
            dtype=int,
        )

    def encode(self, raw: Any) -> Array:
        """Return the units (N, size) of values (N,), NaN where one is missing."""
        place = self.place(raw)
        if self.size == 1 and self.states == 2:
            units = place[:, None].astype(float)
        else:
            units = (place[:, None] == np.arange(self.states)).astype(float)
        units[place < 0] = np.nan
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

    def drawn(self, units: Array, source: np.random.RandomState) -> Array:
        """Return the values of states (N, size), for numbers in bins one drawn evenly from the bin:
        (N,).
        """
        place = self.chances(units).argmax(1)
        if self.edges is None:
            return self.values[place]  # type: ignore[no-any-return]
        low, high = self.edges[place], self.edges[place + 1]
        if not self.whole:
            return low + source.rand(len(place)) * (high - low)  # type: ignore[no-any-return]
        last = np.where(place + 1 == self.states, high, np.maximum(high - 1, low))
        span = np.floor(last) - np.ceil(low) + 1
        return np.ceil(low) + np.floor(source.rand(len(place)) * span)  # type: ignore[no-any-return]

    def log_widths(self, raw: Any) -> Array:
        """Return the log of the width of the bin of each value (N,), 0 where a state is one value
        and where it is missing: what a density in nats subtracts.
        """
        place = self.place(raw)
        if self.edges is None:
            return np.zeros(len(place))
        widths = np.diff(self.edges)
        if self.whole:
            widths = np.append(np.ceil(self.edges[1:-1]), np.floor(self.edges[-1]) + 1) - np.ceil(
                self.edges[:-1]
            )
        return np.where(place < 0, 0.0, np.log(widths)[place])


class TableUnits:
    """The columns of a table in their order, and the units of the layer that they take.

    Args:
        X: a data frame or an array (N, D).
        units: "auto", a kind for each column in a list, or the kinds of some columns by name; the
            others are looked at.
        n_bins: bins of columns of counts and of real numbers, with about as many cases in each.

    Raises:
        ConfigError: `units` that does not fit the table. DataError: columns of the same name or
            without a value, and values that a kind does not allow.
    """

    def __init__(
        self, X: Any, units: str | Sequence[str] | Mapping[Any, str] = "auto", n_bins: int = 8
    ) -> None:
        _check_table(X)
        self.frame = X.iloc[:0] if hasattr(X, "iloc") else None
        self.dtype = None if self.frame is not None else np.asarray(X).dtype
        self.names = _names(X)
        kinds = _kinds_asked(units, self.names)
        self.columns = [
            learn_column(name, column_of(X, number), kinds.get(name), n_bins)
            for number, name in enumerate(self.names)
        ]
        # columns of as many states lie side by side and are one group, which is one operation
        self._order = sorted(range(len(self.columns)), key=lambda at: self.columns[at].states)

    def __repr__(self) -> str:
        return "\n".join(str(column) for column in self.columns)

    def units(self) -> Units:
        """Return the units of the layer: a group for all columns of as many states."""
        groups: dict[str, Units] = {}
        for states, same in groupby(self._order, key=lambda at: self.columns[at].states):
            count = len(list(same))
            if states == 2:
                groups["binary"] = Bernoulli(count)
            else:
                groups[f"levels{states}"] = Categorical(states, count)
        return Groups(**groups)

    def encode(self, X: Any) -> Array:
        """Return the table X as cases (N, units), NaN in all units of a missing value.

        Raises:
            DataError: other columns than the table had, and values that no state stands for.
        """
        X = self._as_fitted(X)
        return np.concatenate(
            [self.columns[at].encode(column_of(X, at)) for at in self._order], axis=1
        )

    def decode(self, cases: Array, source: np.random.RandomState | None = None) -> Any:
        """Return the table that cases (N, units) stand for, of the kind that came: of states with a
        `source` of randomness, of means without.
        """
        found: dict[int, Array] = {}
        for at, units in self._parts(cases):
            column = self.columns[at]
            found[at] = (
                column.most_probable(units) if source is None else column.drawn(units, source)
            )
        if self.frame is None:
            table = np.stack([found[at] for at in range(len(self.columns))], axis=1)
            return table.astype(self.dtype)
        frame = type(self.frame)(
            {name: found[at] for at, name in enumerate(self.names)}, columns=self.frame.columns
        )
        return frame.astype(dict(self.frame.dtypes))

    def fill(self, X: Any, filled: Any) -> Any:
        """Return the table X with its missing values taken from the table `filled`."""
        if not hasattr(X, "iloc"):
            values = np.array(X)
            holes = np.stack([missing_in(values[:, at]) for at in range(values.shape[1])], axis=1)
            return np.where(holes, filled, values)
        out = X.copy()
        for name in self.names:
            holes = missing_in(X[name])
            if holes.any():
                column = X[name].copy()
                column[holes] = filled[name].to_numpy()[holes]
                out[name] = column
        return out

    def log_widths(self, X: Any) -> Array:
        """Return the sum over the known columns of the log width of their bins, (N,)."""
        X = self._as_fitted(X)
        widths = [column.log_widths(column_of(X, at)) for at, column in enumerate(self.columns)]
        return np.sum(widths, axis=0)  # type: ignore[no-any-return]

    def _parts(self, cases: Array) -> Iterator[tuple[int, Array]]:
        """Yield the number of each column with its units of cases (N, units)."""
        start = 0
        for at in self._order:
            stop = start + self.columns[at].size
            yield at, cases[:, start:stop]
            start = stop

    def _as_fitted(self, X: Any) -> Any:
        """Return the table X with its columns in the order of fit.

        Raises:
            DataError: other columns, or an array where fit saw a frame.
        """
        _check_table(X)
        if self.frame is not None and not hasattr(X, "iloc"):
            raise DataError(
                "an array came, and fit saw a data frame: give a frame with its columns "
                f"{_listed(self.names)}"
            )
        if self.frame is None:
            if np.shape(X)[1] != len(self.names):
                raise DataError(
                    f"a table of {np.shape(X)[1]} columns came; expected {len(self.names)}, as "
                    "fit saw"
                )
            return X
        lacking = [name for name in self.names if name not in X.columns]
        other = [name for name in X.columns if name not in self.names]
        if lacking or other:
            told = [f"without {_listed(lacking)}"] * bool(lacking) + [
                f"with {_listed(other)}, which fit did not see"
            ] * bool(other)
            raise DataError(f"a table came {' and '.join(told)}; expected the columns that fit saw")
        return X[self.names]


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
            f"{', '.join(_shown(value) for value in seen[:3])}; binary expects two. Take it for "
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
                f"{_shown(cells[0])}: names or texts, which say nothing of other cases; expected "
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
    place = np.searchsorted(inner, known, side="right")
    middles = [np.median(known[place == number]) for number in range(len(inner) + 1)]
    edges = np.concatenate([[low], inner, [high]])
    return Column(name, kind, np.array(middles), edges, whole)


def missing_in(values: Any) -> Array:
    """Return which values of a column are missing: NaN, None, or what pandas calls so."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()  # type: ignore[no-any-return]
    return np.array([value is None or value != value for value in values], dtype=bool)


def holds_words(raw: Any) -> bool:
    """Return whether a column holds categories by its type: words, truth values, pandas'
    categories.
    """
    dtype = getattr(raw, "dtype", np.dtype(object))
    if hasattr(dtype, "categories") or str(dtype) in ("bool", "boolean"):
        return True
    if getattr(dtype, "kind", "O") in "iuf":
        return False
    return any(
        not isinstance(value, int | float | np.number) or isinstance(value, bool | np.bool_)
        for value, gone in zip(np.asarray(raw, dtype=object), missing_in(raw), strict=True)
        if not gone
    )


def column_of(X: Any, at: int) -> Any:
    """Return column number `at` of a frame or an array."""
    return X.iloc[:, at] if hasattr(X, "iloc") else np.asarray(X)[:, at]


def _cells(raw: Any, kind: str, name: Any) -> list[Any]:
    """Return the values of a column that a state each stands for, numbers as float."""
    if kind == "levels" or not holds_words(raw):
        return numbers_of(raw, name).tolist()  # type: ignore[no-any-return]
    return np.asarray(raw, dtype=object).tolist()  # type: ignore[no-any-return]


def numbers_of(raw: Any, name: Any, fix: str = "take it for categories") -> Array:
    """Return a column as float64 (N,), NaN where a value is missing; `fix` is for words.

    Raises:
        DataError: it holds something else than numbers, or infinity.
    """
    try:
        if hasattr(raw, "isna"):
            numbers: Array = raw.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            numbers = np.asarray(
                [np.nan if value is None else value for value in raw], dtype=np.float64
            )
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} holds no numbers ({error}); {fix}, or leave it out"
        ) from error
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise DataError(
            f"Input X contains infinity: column {name!r} holds {infinite} infinite values; "
            "expected finite numbers. Replace them, NaN for unknown ones"
        )
    return numbers


def _check_counts(name: Any, known: Array) -> None:
    """Raise DataError where numbers (N,) are no counts."""
    wrong = known[(known < 0) | (known != np.round(known))]
    if len(wrong):
        raise DataError(
            f"column {name!r}: {len(wrong)} values that are no counts, e.g. {wrong[0]:g}; expected "
            "whole numbers from 0. Take it for real"
        )


def _check_table(X: Any) -> None:
    """Raise DataError unless X is dense and has rows and columns."""
    if bool(issparse(X)):
        raise DataError(
            f"a sparse matrix {np.shape(X)} came; expected a data frame or an array: X.toarray()"
        )
    if len(np.shape(X)) != 2 or 0 in np.shape(X):
        raise DataError(
            f"X of shape {np.shape(X)} came; expected a data frame or an array (N, D) with at "
            "least one row and one column"
        )


def _names(X: Any) -> list[Any]:
    """Return the names of the columns, numbers for an array.

    Raises:
        DataError: a name that comes twice.
    """
    names = list(X.columns) if hasattr(X, "iloc") else list(range(np.shape(X)[1]))
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"the columns {_listed(twice)} come more than once; give each its own name")
    return names


def _kinds_asked(units: Any, names: list[Any]) -> dict[Any, str]:
    """Return the kinds that `units` gives, by column.

    Raises:
        ConfigError: another number of kinds than columns, a column that does not exist, or a kind
            that does not.
    """
    if isinstance(units, str) and units == "auto":
        return {}
    if isinstance(units, Mapping):
        unknown = [name for name in units if name not in names]
        if unknown:
            raise ConfigError(
                f"units names the columns {_listed(unknown)}, which the table does not have; its "
                f"columns are {_listed(names)}"
            )
        asked = dict(units)
    elif isinstance(units, str) or not isinstance(units, Sequence):
        raise ConfigError(
            f"units = {units!r}: expected 'auto', a list of kinds, one a column, or a dictionary "
            "of kinds by column"
        )
    else:
        if len(units) != len(names):
            raise ConfigError(
                f"units lists {len(units)} kinds, and the table has {len(names)} columns; expected "
                "one a column, or a dictionary for some of them"
            )
        asked = dict(zip(names, units, strict=True))
    for name, kind in asked.items():
        if kind not in (*KINDS, "auto"):
            raise ConfigError(
                f"units for column {name!r} = {kind!r}: expected 'auto' or one of "
                f"{', '.join(KINDS)}"
            )
    return {name: kind for name, kind in asked.items() if kind != "auto"}


def _listed(names: list[Any]) -> str:
    """Return names of columns for a message, at most ten."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(map(repr, names[:10])) + more


def _shown(value: Any) -> str:
    """Return a value for a message: words in quotes, numbers plain."""
    return f"{value:g}" if isinstance(value, float) else repr(value)
