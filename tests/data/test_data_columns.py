"""Columns of tables: what they are taken for, hostile ones in words, and the way through a file."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from wakesleep.data.columns import learn_column
from wakesleep.data.table_units import TableUnits
from wakesleep.foundation.errors import CheckpointError, DataError


def table(rows: int = 60) -> pd.DataFrame:
    """Return a table with a column of each kind, and a hole in each."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "word": np.array(["a", "b", "c"], dtype=object)[rng.randint(3, size=rows)],
            "yes": np.array(["no", "yes"], dtype=object)[rng.randint(2, size=rows)],
            "kind": pd.Categorical(np.array(["x", "y", "z"])[rng.randint(3, size=rows)]),
            "truth": pd.array(rng.rand(rows) < 0.5, dtype="boolean"),
            "level": pd.array(rng.randint(5, size=rows), dtype="Int64"),
            "count": rng.poisson(80, rows).astype(float),
            "real": rng.randn(rows),
            "bit": rng.randint(2, size=rows).astype(float),
        }
    )
    for at, name in enumerate(frame):
        frame.loc[at, name] = pd.NA if name in ("truth", "level") else np.nan
    return frame


KINDS = ["categories", "binary", "categories", "binary", "levels", "counts", "real", "binary"]


def test_kinds_of_columns_and_the_way_back() -> None:
    frame = table()
    units = TableUnits(frame)
    assert [column.kind for column in units.columns] == KINDS
    cases = units.encode(frame)
    assert [np.isnan(cases[at, units.column_units(name)]).all() for at, name in enumerate(frame)]
    whole = frame.dropna()
    pd.testing.assert_frame_equal(
        units.decode(units.encode(whole)).reset_index(drop=True), whole.reset_index(drop=True)
    )
    again = TableUnits.from_spec(json.loads(json.dumps(units.spec())))
    assert repr(again) == repr(units)
    assert repr(again.units()) == repr(units.units())
    assert np.array_equal(again.encode(frame), cases, equal_nan=True)
    pd.testing.assert_frame_equal(again.decode(cases[20:]), units.decode(cases[20:]))


def test_an_array_goes_through_a_file_too() -> None:
    X = np.random.RandomState(0).randn(50, 3).astype(np.float32)
    again = TableUnits.from_spec(json.loads(json.dumps(TableUnits(X).spec())))
    assert again.decode(again.encode(X)).dtype == np.float32
    assert np.allclose(again.decode(again.encode(X)), X, atol=1e-5)


def test_categories_that_json_cannot_hold_are_refused_in_words() -> None:
    frame = pd.DataFrame({"t": pd.Series([(1, 2), (3, 4), (5, 6)] * 5, dtype=object)})
    with pytest.raises(CheckpointError, match="a tuple, is a name of a column or a category"):
        TableUnits(frame).spec()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Series([np.nan] * 5), "holds no value at all"),
        (pd.Series([1.0, np.inf, 2.0, 3.0]), "holds 1 infinite values"),
        (pd.date_range("2026-01-01", periods=5).to_series(), "dates or times, e.g. 2026-01-01"),
        (pd.Series(pd.to_timedelta([1, 2, 3], "D")), "dates or times"),
        (pd.Series([datetime.date(2026, 1, day) for day in (1, 2, 3)]), "dates or times"),
        (pd.Series([1, 2.5, "many", None], dtype=object), "2 numbers, e.g. 1, and 1 other"),
        (pd.Series([f"name {at}" for at in range(201)]), "words of 201 different values"),
    ],
)
def test_hostile_columns_are_refused_by_name_with_a_way_out(column, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        TableUnits(pd.DataFrame({"good": range(len(column)), "bad": column.to_numpy()}))
    assert "column 'bad'" in str(refused.value)
    assert any(
        way in str(refused.value)
        for way in ("eave it out", "Replace", "days since", "make them NaN")
    )


def test_the_ways_out_work() -> None:
    assert learn_column("x", pd.Series([1, 2.5, "many"], dtype=object), "categories").states == 3
    dates = pd.date_range("2026-01-01", periods=5).to_series()
    assert learn_column("x", (dates - dates.min()).dt.days).kind == "levels"
    assert learn_column("x", pd.Series([f"n{at}" for at in range(300)]), "categories").states == 300


def test_tables_that_are_none_are_refused() -> None:
    twice = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(DataError, match="'a' come more than once"):
        TableUnits(twice)
    units = TableUnits(pd.DataFrame({"a": [1, 2, 3]}))
    with pytest.raises(DataError, match="'a' come more than once"):
        units.encode(twice)
    with pytest.raises(DataError, match=r"0 sample.* a row and a column at least"):
        TableUnits(pd.DataFrame({"a": []}))
    for rows in (1, 5):  # one case, and a table of constants
        with pytest.raises(DataError, match="each of the 2 columns holds one value alone"):
            TableUnits(pd.DataFrame({"a": [1.0] * rows, "b": ["x"] * rows}))


def test_constants_take_no_units_and_come_back() -> None:
    frame = table().assign(always=7.0, word2="same")
    units = TableUnits(frame)
    assert str(units.columns[-2]) == "always: constant, 7"
    assert units.columns[-1].size == 0
    assert (units.decode(units.encode(frame.iloc[20:]))["word2"] == "same").all()


def test_levels_and_categories_that_never_occur() -> None:
    kind = pd.Categorical(["a", "b", "a", "c"], categories=["a", "never", "b", "c"])
    units = TableUnits(pd.DataFrame({"kind": kind, "zeros": [0, 0, 0, 5]}))
    assert units.columns[0].values.tolist() == ["a", "b", "c"]
    back = units.decode(units.encode(pd.DataFrame({"kind": kind, "zeros": [0, 0, 0, 5]})))
    assert back["kind"].dtype == kind.dtype
    with pytest.raises(DataError, match="column 'kind': 1 values that fit did not see"):
        units.encode(
            pd.DataFrame({"kind": kind.set_categories(kind.categories), "zeros": 0}).assign(
                kind=pd.Categorical(["never", "a", "a", "a"], categories=kind.categories)
            )
        )


def test_numbers_between_and_beyond_those_that_came() -> None:
    """A level that did not occur lies between its neighbours; what lies outside is taken for the
    end.
    """
    column = learn_column("x", np.array([0.0, 1, 2, 3, 4, 5, 6, 8] * 5))
    assert column.encode(np.array([7.0]))[0].tolist() == [1, 1, 1, 1, 1, 1, 0.5]
    assert column.encode(np.array([-9.0, 9.0])).tolist() == [[0] * 7, [1] * 7]


def test_few_levels_are_codes() -> None:
    column = learn_column("x", np.array([0.0, 1.0, 3.0] * 5))
    assert (column.kind, column.size) == ("levels", 3)
    assert column.encode(np.array([3.0, np.nan]))[0].tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="column 'x': 1 values that fit did not see"):
        column.encode(np.array([2.0]))


@pytest.mark.parametrize("cases", [100, 999, 2000, 10_000])
def test_small_tables_take_few_intervals(cases: int) -> None:
    X = np.random.RandomState(0).randn(cases, 1)
    assert TableUnits(X).columns[0].size == max(1, min(8, cases // 500))
    assert TableUnits(X, n_bins=5).columns[0].size == 5
