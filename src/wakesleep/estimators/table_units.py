"""The columns of a table as units of one layer, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from wakesleep.estimators.columns import KINDS, learn_column
from wakesleep.estimators.shared import Array
from wakesleep.estimators.tables import TableFormat, column_of, listed
from wakesleep.foundation.errors import ConfigError
from wakesleep.units import Bernoulli, Categorical, Groups, Units


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
        self.format = TableFormat(X)
        kinds = _kinds_asked(units, self.format.names)
        self.columns = [
            learn_column(name, column_of(X, number), kinds.get(name), n_bins)
            for number, name in enumerate(self.format.names)
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
        X = self.format.as_fitted(X)
        return np.concatenate(
            [self.columns[at].encode(column_of(X, at)) for at in self._order], axis=1
        )

    def decode(self, cases: Array, source: np.random.RandomState | None = None) -> Any:
        """Return the table that cases (N, units) stand for, of the kind that came: of states with a
        `source` of randomness, of means without.
        """
        columns: dict[int, Array] = {}
        for at, units in self._parts(cases):
            column = self.columns[at]
            columns[at] = (
                column.most_probable(units) if source is None else column.draw(units, source)
            )
        return self.format.build(columns)

    def log_widths(self, X: Any) -> Array:
        """Return the sum over the known columns of the log width of their bins, (N,)."""
        X = self.format.as_fitted(X)
        widths = [column.log_widths(column_of(X, at)) for at, column in enumerate(self.columns)]
        return np.sum(widths, axis=0)  # type: ignore[no-any-return]

    def _parts(self, cases: Array) -> Iterator[tuple[int, Array]]:
        """Yield the number of each column with its units of cases (N, units)."""
        start = 0
        for at in self._order:
            stop = start + self.columns[at].size
            yield at, cases[:, start:stop]
            start = stop


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
                f"units names the columns {listed(unknown)}, which the table does not have; its "
                f"columns are {listed(names)}"
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
