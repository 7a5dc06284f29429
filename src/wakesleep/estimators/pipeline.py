"""Tables of numbers and categories made fit for binary units, and back: a pipeline that ends in a
net.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_selector
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from wakesleep.estimators.classifier import DBNClassifier
from wakesleep.estimators.columns import missing_in, numbers_of
from wakesleep.estimators.shared import (
    Array,
    check_choice,
    column_range,
    column_skew,
    from_symmetric,
    random_source,
    to_symmetric,
)
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole

KINDS = ("object", "string", "category", "bool")
"""Types of the columns of a data frame that hold categories."""
FIX = "name it among `categories`"
"""What to do with a column of words that was taken for numbers."""


def make_dbn_pipeline(
    estimator: Any = None,
    *,
    numbers: Literal["minmax", "binary", "bins"] = "minmax",
    n_bins: int = 8,
    categories: Any = None,
) -> DBNPipeline:
    """Return a pipeline that maps columns to [0, 1] and ends in `estimator`, by default a
    DBNClassifier with `missing="sample"`.

    Categories become one-hot, a column each, and ones that fit did not see all zeros. Numbers are
    mapped by

    - "minmax": (x - smallest) / (largest - smallest), outliers left out, clipped, skewed columns by
      asinh first; for pixels and for shares.
    - "binary": the same, then 1 above one half; right for counts that say yes or no.
    - "bins": one-hot over `n_bins` quantiles; right for real numbers, which a single binary unit
      tells apart badly.

    A missing value, NaN or None, of a number or a category, is unknown in all columns made of it,
    to be drawn by a net with `missing="sample"`. `sample` and `impute` of the pipeline speak of the
    table: frames come back with their columns and types.

    Args:
        estimator: the last step, called "dbn"; any estimator.
        numbers: what becomes of columns of numbers.
        n_bins: quantiles a column, for "bins".
        categories: columns that hold categories, names or numbers of columns; by default those of a
            data frame's types object, string, category and bool, and none of an array.

    Raises:
        ConfigError: an unknown kind of `numbers`; from `fit`, a column of `categories` that does
            not exist. DataError: infinity, and in new tables other columns than those of `fit`, by
            their names.
    """
    check_choice("numbers", numbers, ("minmax", "binary", "bins"))
    columns = TableColumns(numbers=numbers, n_bins=n_bins, categories=categories)
    return DBNPipeline(
        [
            ("columns", columns),
            ("dbn", DBNClassifier(missing="sample") if estimator is None else estimator),
        ]
    )


class DBNPipeline(Pipeline):
    """The pipeline of `make_dbn_pipeline`: what scikit-learn's `Pipeline` does, and tables that are
    dreamt or filled in by the net.
    """

    def sample(
        self, n_samples: int | None = None, *, random_state: Any = None, **options: Any
    ) -> Any:
        """Return `n_samples` rows that the net dreams, as the table came to `fit`.

        `options` are those of the net's own `sample`, whose default is one row, or one a label.
        Categories and bins are drawn in proportion to their units' probabilities.
        """
        source = random_source(random_state)
        options |= {} if n_samples is None else {"n_samples": n_samples}
        return self["columns"].decode(self["dbn"].sample(random_state=source, **options), source)

    def impute(
        self,
        X: Any,
        *,
        how: Literal["sample", "mean"] = "sample",
        random_state: Any = None,
        **options: Any,
    ) -> Any:
        """Return the table X with its missing values filled in by the net; known ones stay as they
        came.

        Where columns of real numbers are correlated, `numbers="bins"` makes half the error of
        filling in the column's mean, and "minmax", the default, as large a one.

        Args:
            X: rows like those that came to `fit`, with holes.
            how: "mean", the most probable category and the expected number; "sample", a draw of
                both.
            random_state: seed of the chains.
            options: those of the net's own `impute`.
        """
        check_choice("how", how, ("sample", "mean"))
        source, columns, net = random_source(random_state), self["columns"], self["dbn"]
        cases = columns.transform(X)
        filled = net.impute(cases, how="mean", random_state=source, **options)
        if how == "sample":
            states = net.impute(cases, how="sample", random_state=source, **options)
            filled = columns.drawn(states, filled)
        return columns.fill(X, columns.decode(filled, source if how == "sample" else None))


@dataclass
class Column:
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


class TableColumns(TransformerMixin, BaseEstimator):
    """The first step of `make_dbn_pipeline`: a table as columns in [0, 1], NaN where a value is
    missing, and the way back.

    Args:
        numbers: "minmax", "binary" or "bins".
        n_bins: quantiles a column, for "bins".
        categories: names or numbers of columns that hold categories; None: those of a frame's types
            object, string, category and bool.

    Attributes:
        columns_: a `Column` for each column of the table, categories first.
    """

    def __init__(self, *, numbers: str = "minmax", n_bins: int = 8, categories: Any = None) -> None:
        self.numbers = numbers
        self.n_bins = n_bins
        self.categories = categories

    def fit(self, X: Any, y: Any = None) -> TableColumns:
        """Learn categories and ranges from the table X, a frame or an array (N, D)."""
        check_choice("numbers", self.numbers, ("minmax", "binary", "bins"))
        if whole("n_bins", self.n_bins) < 2:
            raise ConfigError(f"n_bins = {self.n_bins}: expected 2 or more")
        _check_table(X)
        self.frame_ = X.iloc[:0] if hasattr(X, "iloc") else None
        self.dtype_ = np.asarray(X).dtype
        names = list(X.columns) if self.frame_ is not None else list(range(np.shape(X)[1]))
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise DataError(
                f"the columns {_named(twice)} come more than once; give each its own name"
            )
        if self.categories is None:
            categories = (
                [] if self.frame_ is None else make_column_selector(dtype_include=list(KINDS))(X)
            )
        else:
            categories = _chosen(self.categories, names)
        self.names_ = names
        ordered = [name for name in names if name in categories] + [
            name for name in names if name not in categories
        ]
        self.columns_ = [self._learn(X, name, name in categories) for name in ordered]
        self.n_features_in_ = len(names)
        return self

    def transform(self, X: Any) -> Array:
        """Return the table X as cases (N, units) in [0, 1], NaN where a value is missing."""
        check_is_fitted(self, "columns_")
        _check_table(X)
        X = self._as_fitted(X)
        return np.concatenate([self._encode(X, column) for column in self.columns_], axis=1)

    def _as_fitted(self, X: Any) -> Any:
        """Return the table X, an array where fit saw one.

        Raises:
            DataError: other columns than fit saw, by their names, or an array where fit saw a
                frame.
        """
        if self.frame_ is not None and not hasattr(X, "iloc"):
            raise DataError(
                "an array came, and fit saw a data frame: give a frame with its columns "
                f"{_named(self.names_)}"
            )
        if self.frame_ is not None:
            lacking = [name for name in self.names_ if name not in X.columns]
            other = [name for name in X.columns if name not in self.names_]
            if lacking or other:
                told = [f"without {_named(lacking)}"] * bool(lacking) + [
                    f"with {_named(other)}, which fit did not see"
                ] * bool(other)
                raise DataError(
                    f"a table came {' and '.join(told)}; expected the columns that fit saw"
                )
            return X
        if np.shape(X)[1] != len(self.names_):
            raise DataError(
                f"a table of {np.shape(X)[1]} columns came; expected the {len(self.names_)} that "
                "fit saw"
            )
        return np.asarray(X)

    def inverse_transform(self, cases: Any) -> Any:
        """Return the table that cases (N, units) stand for: the most probable categories, expected
        numbers.
        """
        return self.decode(np.asarray(cases), None)

    def decode(self, cases: Array, source: np.random.RandomState | None) -> Any:
        """Return the table that cases (N, units) stand for; with a `source` of randomness,
        categories and bins are drawn.
        """
        check_is_fitted(self, "columns_")
        found: dict[Any, Array] = {}
        for column, part in self._parts(cases):
            found[column.name] = _decoded(column, part, source)
        if self.frame_ is None:
            table = [found[name] for name in self.names_]
            return np.stack(table, axis=1).astype(self.dtype_)
        frame = type(self.frame_)(
            {name: found[name] for name in self.names_}, columns=self.frame_.columns
        )
        return frame.astype(dict(self.frame_.dtypes))

    def drawn(self, states: Array, probs: Array) -> Array:
        """Return cases (N, units) to draw from: units that are on in `states` by their
        probabilities, all where none of a group is on.
        """
        out = states.copy()
        for (column, part), (_, chances), (_, target) in zip(
            self._parts(states), self._parts(probs), self._parts(out), strict=True
        ):
            if column.units > 1:
                on = part * chances
                target[:] = np.where(on.sum(1, keepdims=True) > 0, on, chances)
        return out

    def fill(self, X: Any, filled: Any) -> Any:
        """Return the table X with its missing values taken from the table `filled`, in the types of
        X.
        """
        if self.frame_ is None:
            values = np.array(X)
            return np.where(
                np.stack([missing_in(values[:, name]) for name in self.names_], axis=1),
                filled,
                values,
            )
        out = X.copy()
        for name in self.names_:
            holes = missing_in(X[name])
            if holes.any():
                column = X[name].copy()
                column[holes] = filled[name].to_numpy()[holes]
                out[name] = column
        return out

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the units, (units,): the column's, and its category or bin."""
        check_is_fitted(self, "columns_")
        names = [
            f"{c.name}_{value}" if c.units > 1 else str(c.name)
            for c in self.columns_
            for value in c.values[: c.units]
        ]
        return np.array(names, dtype=object)

    def _parts(self, cases: Array) -> Iterator[tuple[Column, Array]]:
        """Yield each column with its units of cases (N, units)."""
        start = 0
        for column in self.columns_:
            yield column, cases[:, start : start + column.units]
            start += column.units

    def _learn(self, X: Any, name: Any, categories: bool) -> Column:
        """Return how a column of the table is mapped."""
        raw = _column(X, name)
        missing = missing_in(raw)
        if categories:
            seen = list(dict.fromkeys(np.asarray(raw, dtype=object)[~missing].tolist()))
            if not seen:
                raise DataError(f"column {name!r} holds no value at all; leave it out")
            with suppress(TypeError):  # kinds that have no order keep the one they came in
                seen.sort()
            values = np.empty(len(seen), dtype=object)
            values[:] = seen
            return Column(name, values)
        known = numbers_of(raw, name, FIX)[~missing]
        if not len(known):
            raise DataError(f"column {name!r} holds no value at all; leave it out")
        whole = bool((known == np.round(known)).all())
        skew = column_skew(known)
        low, high = (
            float(end[0])
            for end in column_range((known if skew is None else to_symmetric(known, skew))[:, None])
        )
        if self.numbers == "minmax":
            return Column(name, np.array([low, high]), kind="minmax", whole=whole, skew=skew)
        if self.numbers == "binary":
            edges = np.array([(low + high) / 2])
            edges = edges if skew is None else from_symmetric(edges, skew)
        else:
            edges = np.unique(np.quantile(known, np.linspace(0, 1, self.n_bins + 1)[1:-1]))
            edges = edges[(edges > known.min()) & (edges <= known.max())]
        place = np.searchsorted(edges, known, side="right" if self.numbers == "bins" else "left")
        middles = [
            np.median(known[place == number]) if (place == number).any() else edges[0]
            for number in range(len(edges) + 1)
        ]
        return Column(name, np.array(middles), edges, kind=self.numbers, whole=whole)

    def _encode(self, X: Any, column: Column) -> Array:
        """Return the units of one column of the table X, (N, units)."""
        raw = _column(X, column.name)
        missing = missing_in(raw)
        if column.kind == "categories":
            cells = np.asarray(raw, dtype=object)
            place = {value: number for number, value in enumerate(column.values)}
            numbers = np.array(
                [
                    -1 if gone else place.get(cell, -1)
                    for cell, gone in zip(cells.tolist(), missing, strict=True)
                ],
                dtype=int,
            )
        else:
            numbers = numbers_of(raw, column.name, FIX)
            if column.kind == "minmax":
                low, high = column.values
                numbers = numbers if column.skew is None else to_symmetric(numbers, column.skew)
                scaled: Array = np.clip((numbers - low) / ((high - low) or 1.0), 0, 1)
                return scaled[:, None]
            assert column.edges is not None
            numbers = np.searchsorted(
                column.edges, numbers, side="right" if column.kind == "bins" else "left"
            )
        units: Array = (
            numbers[:, None].astype(float)
            if column.kind == "binary"
            else _one_hot(numbers, column.units)
        )
        units[missing] = np.nan
        return units


def _check_table(X: Any) -> None:
    """Raise DataError unless X is dense and has rows and columns."""
    if bool(issparse(X)):
        raise DataError(
            f"a sparse matrix {np.shape(X)} came, and a table has columns of kinds: give it to the "
            "estimator itself, which takes sparse cases, or X.toarray()"
        )
    if len(np.shape(X)) != 2:
        raise DataError(
            f"X of shape {np.shape(X)} came; expected a table, a frame or an array (N, D)"
        )


def _named(names: list[Any]) -> str:
    """Return names of columns for a message, at most ten."""
    return ", ".join(map(repr, names[:10])) + (
        f" and {len(names) - 10} more" if len(names) > 10 else ""
    )


def _chosen(categories: Any, names: list[Any]) -> list[Any]:
    """Return the names of the columns that `categories` lists by name, or by number where no column
    is called so.

    Raises:
        ConfigError: a column that does not exist.
    """
    wanted: list[Any] = [categories] if isinstance(categories, str) else list(categories)
    numbers = range(len(names))
    unknown = [each for each in wanted if each not in names and each not in numbers]
    if unknown:
        raise ConfigError(
            f"categories = {categories!r}: no column {_named(unknown)}; the columns are "
            f"{_named(names)}"
        )
    return [each if each in names else names[each] for each in wanted]


def _one_hot(numbers: Array, units: int) -> Array:
    """Return rows (N, units) with a 1 at `numbers` (N,), all zeros where that is -1."""
    return np.asarray(numbers[:, None] == np.arange(units), dtype=float)


def _column(X: Any, name: Any) -> Any:
    return X[name] if hasattr(X, "iloc") else np.asarray(X)[:, name]


def _decoded(column: Column, units: Array, source: np.random.RandomState | None) -> Any:
    """Return the values that units (N, units) of one column stand for, (N,)."""
    if column.kind == "minmax":
        low, high = column.values
        numbers = low + units[:, 0] * (high - low)
        numbers = numbers if column.skew is None else from_symmetric(numbers, column.skew)
        return np.round(numbers) if column.whole else numbers
    if column.kind == "binary":
        units = np.concatenate([1 - units, units], axis=1)[:, : len(column.values)]
    shares = np.clip(units, 1e-9, None)
    shares = shares / shares.sum(1, keepdims=True)
    if source is not None:
        ends = np.cumsum(shares, axis=1)
        place = np.minimum((source.rand(len(units), 1) > ends).sum(1), len(column.values) - 1)
        return column.values[place]
    if column.kind == "categories":
        return column.values[shares.argmax(1)]
    numbers = shares @ column.values
    return np.round(numbers) if column.whole else numbers
