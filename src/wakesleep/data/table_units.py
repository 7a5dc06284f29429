"""The columns of a table side by side: the units of the layer that they take, and the way from the
table to cases and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np

from wakesleep.data.columns import KINDS, Column, learn_column
from wakesleep.data.tables import Array, TableFormat, as_table, column_of, listed
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.units import Bernoulli, Categorical, Groups, Thermometer, Units

Asked = str | Sequence[str] | Mapping[Any, str]
"""What a call says of the columns: "auto", a kind for each in a list, or the kinds of some."""
MOST_BINS, CASES_A_BIN = 8, 500
"""Intervals of a column of numbers at most, and cases for each: on small tables more of them harm
predictions (docs/notes/units.md).
"""


def bins_for(cases: int) -> int:
    """Return how many intervals columns of numbers take in a table of so many cases."""
    return max(1, min(MOST_BINS, cases // CASES_A_BIN))


class TableUnits:
    """The columns of a table in their order, and the units of the layer that they take.

    Args:
        X: a data frame or an array (N, D).
        units: "auto", a kind for each column in a list, or the kinds of some columns by name; the
            others are looked at.
        n_bins: intervals of columns of counts and of real numbers, with about as many cases in
            each; "auto": one for each 500 cases, at least 1 and at most 8.

    Raises:
        ConfigError: `units` that does not fit the table. DataError: columns of the same name or
            without a value, values that a kind does not allow, no column that varies.
    """

    def __init__(
        self, X: Any, units: Asked = "auto", n_bins: int | Literal["auto"] = "auto"
    ) -> None:
        X = as_table(X)
        self.format = TableFormat(X)
        kinds = _kinds_asked(units, self.format.names)
        bins = bins_for(len(X)) if n_bins == "auto" else whole("n_bins", n_bins, least=1)
        self.columns = [
            learn_column(name, column_of(X, number), kinds.get(name), bins)
            for number, name in enumerate(self.format.names)
        ]
        self._settle_order(len(X))

    def _settle_order(self, rows: int = 0) -> None:
        """Put columns of the same units side by side: they are one group, which is one operation.

        Raises:
            DataError: no column varies.
        """
        self._order = sorted(range(len(self.columns)), key=lambda at: _group(self.columns[at]))
        self._varying = [at for at in self._order if self.columns[at].size]
        if not self._varying:
            raise DataError(
                f"each of the {len(self.columns)} columns holds one value alone in {rows:,} "
                f"sample{'s' * (rows != 1)}: nothing is to be learned; expected a column with two "
                "different values or more"
            )

    def __repr__(self) -> str:
        return "\n".join(str(column) for column in self.columns)

    def units(self) -> Units:
        """Return the units of the layer: a group for all columns of the same kind of unit and as
        many states.
        """
        groups: dict[str, Units] = {}
        for (_, states), same in groupby(self._varying, key=lambda at: _group(self.columns[at])):
            columns = [self.columns[at] for at in same]
            if columns[0].size == 1:
                groups["binary"] = Bernoulli(len(columns))
            elif columns[0].thermometer:
                groups[f"numbers{states}"] = Thermometer(states, len(columns))
            else:
                groups[f"categories{states}"] = Categorical(states, len(columns))
        return Groups(**groups)

    def encode(self, X: Any) -> Array:
        """Return the table X as cases (N, units) in [0, 1], NaN in all units of a missing value.

        Raises:
            DataError: other columns than the table had, and values that no state stands for.
        """
        X = self.format.as_fitted(X)
        parts = {at: column.encode(column_of(X, at)) for at, column in enumerate(self.columns)}
        return np.concatenate([parts[at] for at in self._order], axis=1)

    def decode(self, cases: Array, source: np.random.RandomState | None = None) -> Any:
        """Return the table that cases (N, units) stand for, of the kind that came: drawn by the
        chances of the states with a `source` of randomness, the most probable ones and expected
        numbers without.
        """
        columns: dict[int, Array] = {}
        for at, units in self._parts(cases):
            column = self.columns[at]
            columns[at] = (
                column.most_probable(units) if source is None else column.draw(units, source)
            )
        return self.format.build(columns)

    def log_widths(self, cases: Array) -> Array:
        """Return the sum over the known columns of `Column.log_widths` of cases (N, units), (N,):
        log p(row) >= log p(cases) - log_widths.
        """
        return np.sum(  # type: ignore[no-any-return]
            [self.columns[at].log_widths(units) for at, units in self._parts(cases)], axis=0
        )

    def column_units(self, name: Any) -> slice:
        """Return which of the units are those of a column."""
        start = 0
        for at in self._order:
            if self.columns[at].name == name:
                return slice(start, start + self.columns[at].size)
            start += self.columns[at].size
        raise ConfigError(f"no column {name!r}; the columns are {listed(self.format.names)}")

    def spec(self) -> dict[str, Any]:
        """Return all that `from_spec` needs, as JSON can hold it.

        Raises:
            CheckpointError: names or categories that JSON cannot hold.
        """
        for thing in (*self.format.names, *(v for c in self.columns for v in c.values.tolist())):
            if not isinstance(thing, str | int | float | bool):
                raise CheckpointError(
                    f"{thing!r}, a {type(thing).__name__}, is a name of a column or a category, "
                    "and a model file holds words and numbers: make it one of these, or use pickle"
                )
        columns = [
            {
                "name": column.name,
                "kind": column.kind,
                "values": column.values.tolist(),
                "whole": column.whole,
            }
            for column in self.columns
        ]
        return {"columns": columns, **self.format.spec()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> TableUnits:
        """Return the columns that `spec` described."""
        units = cls.__new__(cls)
        units.columns = [
            Column(
                each["name"],
                each["kind"],
                np.array(each["values"], dtype=object if each["kind"] in _NAMED else float),
                each["whole"],
            )
            for each in spec["columns"]
        ]
        names = [column.name for column in units.columns]
        units.format = TableFormat.from_spec(spec, names)
        units._settle_order()
        return units

    def _parts(self, cases: Array) -> Iterator[tuple[int, Array]]:
        """Yield the number of each column with its units of cases (N, units)."""
        start = 0
        for at in self._order:
            stop = start + self.columns[at].size
            yield at, cases[:, start:stop]
            start = stop


_NAMED = ("binary", "categories")


def _group(column: Column) -> tuple[int, int]:
    """Return what columns of the same group share: the kind of units, and how many states."""
    return (0 if column.size < 2 else 2 if column.thermometer else 1, column.states)


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
