"""Tables of numbers and categories made fit for binary units, and back: a pipeline that ends in a
net.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_selector
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from wakesleep.data.table_units import Asked
from wakesleep.data.tables import TableFormat, as_table, column_of, listed
from wakesleep.estimators.classifier import DBNClassifier
from wakesleep.estimators.mapped_columns import MappedColumn, learn_categories, learn_numbers
from wakesleep.estimators.shared import Array, check_choice, random_source
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.ranges import require
from wakesleep.foundation.values import whole

KINDS = ("object", "string", "category", "bool")
"""Types of the columns of a data frame that hold categories."""


def make_dbn_pipeline(
    estimator: Any = None,
    *,
    numbers: Literal["minmax", "binary", "bins"] = "minmax",
    n_bins: int = 8,
    categories: Any = None,
    units: Asked | None = None,
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
        units: "auto", a list or a dictionary of kinds: the net itself takes each column for what it
            is (see `DBNClassifier`), and `numbers` and `categories` say nothing.

    Raises:
        ConfigError: an unknown kind of `numbers`; from `fit`, a column of `categories` that does
            not exist. DataError: infinity, and in new tables other columns than those of `fit`, by
            their names.
    """
    check_choice("numbers", numbers, ("minmax", "binary", "bins"))
    if units is not None:
        require(
            numbers == "minmax" and categories is None,
            f"numbers = {numbers!r} and categories = {categories!r} beside units = {units!r}, "
            "which says what columns are taken for; leave them out",
        )
        net = DBNClassifier() if estimator is None else estimator
        return DBNPipeline([("dbn", net.set_params(units=units))])
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
        Categories and bins are drawn in proportion to their units' probabilities. With the default,
        "minmax", rows with a `label` clamped hardly differ from free ones; to make rows of a class,
        take a `DBNClassifier(units="auto", n_bins=8)`, whose shares of categories are nearer
        to those of the class.
        """
        source = random_source(random_state)
        options |= {} if n_samples is None else {"n_samples": n_samples}
        if "columns" not in self.named_steps:
            return self["dbn"].sample(random_state=source, **options)
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
        if "columns" not in self.named_steps:
            return self["dbn"].impute(X, how=how, random_state=random_state, **options)
        source, columns, net = random_source(random_state), self["columns"], self["dbn"]
        cases = columns.transform(X)
        filled = net.impute(cases, how="mean", random_state=source, **options)
        if how == "sample":
            states = net.impute(cases, how="sample", random_state=source, **options)
            filled = columns.weigh_states(states, filled)
        return columns.format_.fill(X, columns.decode(filled, source if how == "sample" else None))


class TableColumns(TransformerMixin, BaseEstimator):
    """The first step of `make_dbn_pipeline`: a table as columns in [0, 1], NaN where a value is
    missing, and the way back.

    Args:
        numbers: "minmax", "binary" or "bins".
        n_bins: quantiles a column, for "bins".
        categories: names or numbers of columns that hold categories; None: those of a frame's types
            object, string, category and bool.

    Attributes:
        columns_: a `MappedColumn` for each column of the table, categories first.
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
        X = as_table(X)
        self.format_ = TableFormat(X)
        names = self.format_.names
        if self.categories is None:
            frame = self.format_.frame is not None
            categories = make_column_selector(dtype_include=list(KINDS))(X) if frame else []
        else:
            categories = _chosen(self.categories, names)
        self._order = sorted(range(len(names)), key=lambda at: names[at] not in categories)
        self.columns_ = [
            learn_categories(names[at], column_of(X, at))
            if names[at] in categories
            else learn_numbers(names[at], column_of(X, at), self.numbers, self.n_bins)
            for at in self._order
        ]
        self.n_features_in_ = len(names)
        return self

    def transform(self, X: Any) -> Array:
        """Return the table X as cases (N, units) in [0, 1], NaN where a value is missing."""
        check_is_fitted(self, "columns_")
        X = self.format_.as_fitted(X)
        pairs = zip(self.columns_, self._order, strict=True)
        return np.concatenate([column.encode(column_of(X, at)) for column, at in pairs], axis=1)

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
        decoded = [column.decode(part, source) for column, part in self._parts(cases)]
        return self.format_.build(dict(zip(self._order, decoded, strict=True)))

    def weigh_states(self, states: Array, probs: Array) -> Array:
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

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the units, (units,): the column's, and its category or bin."""
        check_is_fitted(self, "columns_")
        names = [
            f"{c.name}_{value}" if c.units > 1 else str(c.name)
            for c in self.columns_
            for value in c.values[: c.units]
        ]
        return np.array(names, dtype=object)

    def _parts(self, cases: Array) -> Iterator[tuple[MappedColumn, Array]]:
        """Yield each column with its units of cases (N, units)."""
        start = 0
        for column in self.columns_:
            yield column, cases[:, start : start + column.units]
            start += column.units


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
            f"categories = {categories!r}: no column {listed(unknown)}; the columns are "
            f"{listed(names)}"
        )
    return [each if each in names else names[each] for each in wanted]
