"""An RBM of a table: what columns are taken for, mixed columns with holes there and back, bad
tables in words.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from wakesleep.data.columns import Column, learn_column
from wakesleep.data.table_units import TableUnits
from wakesleep.estimators import TableRBM
from wakesleep.foundation.errors import ConfigError, DataError


def mixed(cases: int = 300, seed: int = 0, holes: float = 0.1) -> pd.DataFrame:
    """Return a table of six columns that all follow one hidden bit, a tenth of it missing."""
    rng = np.random.RandomState(seed)
    bit = rng.rand(cases) < 0.5
    table = pd.DataFrame(
        {
            "smokes": np.where(bit, "yes", "no").astype(object),
            "size": pd.Categorical(
                np.where(bit, "small", "large"), categories=["small", "middle", "large"]
            ),
            "grade": np.where(bit, rng.randint(1, 3, cases), rng.randint(4, 6, cases)).astype(
                float
            ),
            "visits": rng.poisson(np.where(bit, 60, 200)).astype(float),
            "weight": np.where(bit, 60.0, 90.0) + rng.randn(cases),
            "constant": 7.0,
        }
    )
    for name in ("smokes", "size", "grade", "visits", "weight"):
        table.loc[rng.rand(cases) < holes, name] = np.nan
    return table


def small(**settings: object) -> TableRBM:
    return TableRBM(**{"n_components": 8, "n_iter": 30, "random_state": 0, **settings})


def test_each_column_is_taken_for_what_it_is() -> None:
    units = TableUnits(mixed())
    assert [column.kind for column in units.columns] == [
        "binary",
        "binary",
        "levels",
        "counts",
        "real",
        "levels",
    ]
    told = repr(units).splitlines()
    assert told[0] == "smokes: binary, 'no', 'yes'"
    assert told[2] == "grade: levels, 1, 2, 4, 5"
    assert told[3].startswith("visits: counts, ")
    assert told[3].endswith(" by 2 values")
    assert told[5] == "constant: constant, 7"


def test_states_stand_for_the_table_they_were_made_of() -> None:
    """Known values come back exactly from their units, numbers drawn from these within the two
    intervals about them, and the frame has its types.
    """
    table = mixed(holes=0.0)
    units = TableUnits(table)
    cases = units.encode(table)
    units.units().validate(torch.tensor(cases))
    assert units.units().size == cases.shape[1]
    pd.testing.assert_frame_equal(units.decode(cases), table)
    drawn = units.decode(cases, np.random.RandomState(0))
    assert drawn.dtypes.tolist() == table.dtypes.tolist()
    for name in ("smokes", "size", "grade", "constant"):
        assert (drawn[name] == table[name]).all()
    for name in ("visits", "weight"):
        edges = units.columns[list(table).index(name)].values
        near = [np.clip(np.searchsorted(edges, t[name]), 1, None) for t in (drawn, table)]
        assert (np.abs(near[0] - near[1]) <= 1).all()
    assert (drawn["visits"] == drawn["visits"].round()).all()


@pytest.mark.parametrize("whole", [True, False])
def test_numbers_are_drawn_in_proportion_to_their_share_of_a_state(whole: bool) -> None:
    """p(x | state) = share / width: of whole numbers the frequencies, of others the moments."""
    values = np.array([0.0, 4.0, 5.0, 11.0])
    column = Column("x", "counts" if whole else "real", values, whole)
    grid = np.arange(12.0) if whole else np.linspace(0, 11, 110_001)
    shares = column.chances(column.encode(grid))
    step = 1.0 if whole else grid[1] - grid[0]
    widths = shares.sum(0) * step
    codes = np.tril(np.ones((4, 3)), -1)
    assert np.allclose(np.exp(column.log_widths(codes)), widths, rtol=1e-3)
    for state, code in enumerate(codes):
        drawn = column.draw(np.repeat(code[None], 20_000, 0), np.random.RandomState(state))
        p = shares[:, state] / shares[:, state].sum()
        if whole:
            found = np.bincount(drawn.astype(int), minlength=12) / len(drawn)
            assert np.abs(found - p).max() < 4 * 0.5 / math.sqrt(len(drawn))
        mean, variance = (p * grid).sum(), (p * grid**2).sum() - (p * grid).sum() ** 2
        assert drawn.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / 20_000) + 1e-9)
        assert drawn.var() == pytest.approx(variance, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("missing", ["unknown", "absent"])
@pytest.mark.parametrize("seed", [0, 1])
def test_holes_are_filled_from_the_other_columns(missing: str, seed: int) -> None:
    table = mixed(seed=seed)
    rbm = small(missing=missing, random_state=seed).fit(table)
    filled = rbm.impute(table, random_state=0)
    assert not filled.isna().any().any()
    assert filled.dtypes.tolist() == table.dtypes.tolist()
    known = table.notna()
    assert filled.where(known).equals(table.where(known))
    guess = table["smokes"].isna() & table["weight"].notna()
    told = np.where(table["weight"][guess] < 75, "yes", "no")
    assert (filled["smokes"][guess] == told).mean() > 0.9
    gone = table["weight"].isna() & table["smokes"].notna()
    expected = np.where(table["smokes"][gone] == "yes", 60, 90)
    assert np.abs(filled["weight"][gone] - expected).mean() < 6


def test_samples_are_rows_like_those_that_came() -> None:
    table = mixed()
    rows = small(n_iter=60).fit(table).sample(400, random_state=0, n_gibbs_steps=200)
    assert rows.dtypes.tolist() == table.dtypes.tolist()
    assert rows["visits"].between(table["visits"].min(), table["visits"].max()).all()
    agree = (rows["smokes"] == "yes") == (rows["weight"] < 75)
    assert agree.mean() > 0.85
    assert abs((rows["smokes"] == "yes").mean() - 0.5) < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_of_all_rows_add_up_to_one(seed: int) -> None:
    """sum over rows of p(row) = 1 over words and levels, and what is said of the density of a
    number is a lower bound that integrates to hardly less.
    """
    rng = np.random.RandomState(seed)
    words = np.array(["a", "b", "c"], dtype=object)
    table = pd.DataFrame({"w": words[rng.randint(3, size=80)], "l": rng.randint(4, size=80)})
    rbm = small(n_components=4, n_iter=5).fit(table)
    every = pd.DataFrame(list(product("abc", range(4))), columns=["w", "l"])
    assert np.exp(rbm.score_samples(every)).sum() == pytest.approx(1, abs=1e-4)

    table["x"] = rng.rand(80)
    rbm = small(n_components=4, n_iter=5).fit(table)
    grid = np.linspace(table["x"].min(), table["x"].max(), 401)
    every = pd.DataFrame(list(product("abc", range(4), grid)), columns=["w", "l", "x"])
    density = np.exp(rbm.score_samples(every)).reshape(12, -1)
    total = (density.sum(1) - density[:, [0, -1]].mean(1)).sum() * (grid[1] - grid[0])
    assert 0.85 < total <= 1.001  # a lower bound, where numbers are between two states


def test_counts_have_the_probability_of_whole_numbers() -> None:
    """sum over the counts of what is said of p(count), a lower bound, is hardly below 1; exact
    where each count is a state.
    """
    table = pd.DataFrame({"n": np.random.RandomState(0).poisson(50, 200)})
    every = pd.DataFrame({"n": np.arange(table["n"].min(), table["n"].max() + 1)})
    rbm = small(n_components=2, n_iter=3).fit(table)
    assert 0.95 < np.exp(rbm.score_samples(every)).sum() <= 1.0001
    rbm = small(n_components=2, n_iter=3, units=["levels"]).fit(table)
    seen = every[every["n"].isin(table["n"])]
    assert np.exp(rbm.score_samples(seen)).sum() == pytest.approx(1, abs=1e-4)


def test_rows_with_holes_have_a_lower_bound() -> None:
    table = pd.DataFrame({"w": ["a", "b"] * 40, "l": [0, 1, 2, 3] * 20})
    rbm = small(n_components=4).fit(table)
    every = pd.DataFrame(list(product("ab", range(4))), columns=["w", "l"])
    exact = np.log(np.exp(rbm.score_samples(every)).reshape(2, 4).sum(1))
    holes = pd.DataFrame({"w": ["a", "b"], "l": [np.nan, np.nan]})
    found = rbm.score_samples(holes)
    assert (found < exact).all()
    assert (found > exact - math.log(4) - 1).all()


def test_absent_columns_leave_the_others_alone() -> None:
    """A row of absent columns alone teaches nothing: the machine is that of the other rows."""
    table = mixed(holes=0.0).drop(columns="constant")
    empty = table.iloc[:1].copy()
    empty.loc[:, :] = np.nan
    both = pd.concat([table] + [empty] * 20, ignore_index=True).astype(dict(table.dtypes))
    one = small(missing="absent", n_iter=1, weight_decay=0.0, batch_size=1000, learning_rate=1e-3)
    weights = clone(one).fit(table).rbm_.visible_bias
    assert np.allclose(weights, one.fit(both).rbm_.visible_bias, atol=2e-3)
    with pytest.raises(DataError, match="20 rows have holes"):
        one.score_samples(both)


def test_arrays_come_back_as_arrays() -> None:
    X = np.random.RandomState(0).randn(50, 3)
    X[0, 1] = np.nan
    rbm = small(n_iter=3).fit(X)
    assert rbm.impute(X).shape == X.shape
    assert not np.isnan(rbm.impute(X)).any()
    assert rbm.sample(2, n_gibbs_steps=5).dtype == X.dtype


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.assign(weight=np.inf), "column 'weight' holds 300 infinite values"),
        (lambda t: t.assign(weight=np.nan), "column 'weight' holds no value at all"),
        (
            lambda t: t.assign(smokes=[f"name {i}" for i in range(300)]),
            "column 'smokes' holds words of 300 different values",
        ),
    ],
)
def test_bad_columns_are_refused_by_name(spoil, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small().fit(spoil(mixed()))


def test_new_rows_that_do_not_fit_are_refused_by_name() -> None:
    table = mixed()
    rbm = small(n_iter=1, units={"visits": "counts"}).fit(table)
    for spoiled, message in (
        (table.assign(smokes="maybe"), "column 'smokes': 300 values that fit did not see"),
        (table.assign(visits=-1.0), "column 'visits': 300 values that are no counts, e.g. -1"),
        (table.drop(columns="grade"), "without 'grade'"),
        (table.assign(more=1), "with 'more', which fit did not see"),
        (table.to_numpy(), "an array came, and fit saw a data frame"),
    ):
        with pytest.raises(DataError, match=message):
            rbm.impute(spoiled)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (["real"] * 5, "units lists 5 kinds, and the table has 6 columns"),
        ({"height": "real"}, "units names the columns 'height'"),
        ({"weight": "floating"}, "units for column 'weight' = 'floating'"),
        ("real", "units = 'real': expected 'auto', a list"),
    ],
)
def test_units_that_do_not_fit_are_refused(units, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(units=units).fit(mixed())


def test_a_failed_fit_leaves_what_was_learned() -> None:
    rbm = small(n_iter=1).fit(mixed())
    before = rbm.rbm_
    with pytest.raises(DataError):
        rbm.fit(mixed().assign(weight=np.inf))
    assert rbm.rbm_ is before


def test_kinds_may_be_given() -> None:
    units = TableUnits(mixed(), {"grade": "real", "visits": "levels"})
    assert [column.kind for column in units.columns[2:4]] == ["real", "levels"]
    with pytest.raises(DataError, match="column 'x': 1 values that are no counts"):
        learn_column("x", np.array([1.0, -2.0, 3.0]), "counts")
    with pytest.raises(DataError, match="column 'x': 3 different values came"):
        learn_column("x", np.array([1.0, 2.0, 3.0]), "binary")
    with pytest.raises(DataError, match="column 'x' holds no numbers"):
        learn_column("x", np.array(["a", "b", "c"], dtype=object), "real")
