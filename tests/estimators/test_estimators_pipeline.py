"""Tables to cases and back: holes, categories, the columns' own types."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from wakesleep.estimators import BernoulliRBM, DBNClassifier, DBNTransformer, make_dbn_pipeline
from wakesleep.estimators.pipeline import TableColumns
from wakesleep.foundation.errors import ConfigError, DataError

QUICK: dict[str, Any] = {"n_iter": 2, "random_state": 0, "missing": "sample"}
KINDS: tuple[Literal["minmax", "binary", "bins"], ...] = ("minmax", "binary", "bins")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """300 rows of every type, the colour and the price given by the shape, a sixth of the cells
    missing.
    """
    rng = np.random.RandomState(0)
    shape = rng.choice(["ball", "cube", "ring"], 300)
    frame = pd.DataFrame(
        {
            "price": np.select([shape == "ball", shape == "cube"], [1.5, 20.0], 300.0)
            + rng.rand(300),
            "shape": shape,
            "count": pd.array(rng.randint(0, 9, 300), dtype="Int64"),
            "colour": pd.Categorical(
                np.where(shape == "ball", "red", "blue"), categories=["blue", "green", "red"]
            ),
            "old": pd.array(rng.rand(300) < 0.5, dtype="boolean"),
        }
    )
    frame.attrs["complete"] = frame.copy()
    holes = rng.rand(300, 5) < 1 / 6
    for place, name in enumerate(frame.columns):
        frame.loc[holes[:, place], name] = None
    return frame


@pytest.mark.parametrize("numbers", KINDS)
@pytest.mark.parametrize("hidden", [(20,), (20, 20)])
def test_holes_are_filled_and_dreams_come_as_the_table(
    table: pd.DataFrame, numbers: Any, hidden: tuple[int, ...]
) -> None:
    y = np.arange(300) % 2
    pipe = make_dbn_pipeline(
        DBNClassifier(hidden, fine_tune_n_iter=1, **QUICK), numbers=numbers
    ).fit(table, y)
    assert pipe.predict(table).shape == (300,)
    for how in ("mean", "sample"):
        filled = pipe.impute(table, how=how, random_state=0, n_sweeps=2)
        assert not filled.isna().any().any()
        assert list(filled.dtypes) == list(table.dtypes)
        assert filled.index.equals(table.index)
        known = table.notna()
        pd.testing.assert_frame_equal(filled.where(known), table.where(known), check_dtype=False)
        assert set(filled["shape"]) == {"ball", "cube", "ring"}
    dreams = pipe.sample(7, label=1, random_state=0, n_gibbs_steps=2)
    assert list(dreams.columns) == list(table.columns)
    assert list(dreams.dtypes) == list(table.dtypes)
    pd.testing.assert_frame_equal(dreams, pipe.sample(7, label=1, random_state=0, n_gibbs_steps=2))


def test_what_is_missing_is_no_category_of_its_own(table: pd.DataFrame) -> None:
    columns = TableColumns(numbers="bins", n_bins=4).fit(table)
    cases = columns.transform(table)
    names = list(columns.get_feature_names_out())
    assert cases.shape == (300, len(names))
    assert [name for name in names if name.startswith("shape")] == [
        "shape_ball",
        "shape_cube",
        "shape_ring",
    ]
    ring = cases[:, names.index("shape_ring")]
    np.testing.assert_array_equal(np.isnan(ring), table["shape"].isna())
    price = cases[:, [place for place, name in enumerate(names) if name.startswith("price")]]
    np.testing.assert_array_equal(np.isnan(price).all(1), table["price"].isna())
    assert set(np.nansum(price, axis=1)) == {0.0, 1.0}


def test_the_model_knows_better_than_the_commonest_value(table: pd.DataFrame) -> None:
    """Colour and price follow from the shape."""
    complete = table.attrs["complete"]
    pipe = make_dbn_pipeline(
        DBNTransformer((30,), n_iter=60, batch_size=20, missing="sample", random_state=0),
        numbers="bins",
        n_bins=3,
    )
    filled = pipe.fit(table).impute(table, how="mean", random_state=0)
    reported = table["shape"].notna()
    holes = table["colour"].isna() & reported
    assert (filled["colour"][holes] == complete["colour"][holes]).mean() > 0.85
    holes = table["price"].isna() & reported
    assert (np.abs(filled["price"] - complete["price"])[holes] < 60).mean() > 0.7


@pytest.mark.parametrize("numbers", KINDS)
def test_a_complete_table_comes_back(numbers: Any) -> None:
    frame = pd.DataFrame(
        {
            "n": [3, 3, 9, 9],
            "x": [0.5, 0.5, 2.5, 2.5],
            "s": list("abba"),
            "b": [True, False, True, False],
        }
    )
    columns = make_dbn_pipeline(numbers=numbers, n_bins=2)["columns"].fit(frame)
    pd.testing.assert_frame_equal(columns.inverse_transform(columns.transform(frame)), frame)
    array = frame[["n", "x"]].to_numpy()
    again = clone(columns).fit(array)
    np.testing.assert_allclose(again.inverse_transform(again.transform(array)), array)
    assert again.transform(np.array([[3, np.nan]])).shape == (1, again.transform(array).shape[1])


def test_arrays_are_filled_too() -> None:
    X = np.random.RandomState(0).randint(0, 5, (60, 3)).astype(float)
    holes = X.copy()
    holes[::4, 1] = np.nan
    pipe = make_dbn_pipeline(
        BernoulliRBM(5, n_iter=1, missing="sample", random_state=0), categories=[2]
    ).fit(holes)
    filled = pipe.impute(holes, how="mean", n_gibbs_steps=4)
    np.testing.assert_array_equal(filled[~np.isnan(holes)], X[~np.isnan(holes)])
    assert (filled == np.round(filled)).all(), "whole numbers stay whole"


def test_a_frame_with_categories_is_told_of_the_pipeline(table: pd.DataFrame) -> None:
    for estimator in (DBNClassifier((5,)), DBNTransformer((5,)), BernoulliRBM(5)):
        with pytest.raises(DataError, match=r"'shape'.*(units='auto'|make_dbn_pipeline)"):
            estimator.fit(table, np.arange(300) % 2)
    with pytest.raises(DataError, match=r"'shape' holds no numbers.*categories"):
        make_dbn_pipeline(categories=["colour", "old"]).fit(table, np.arange(300) % 2)


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    rng = np.random.RandomState(0)
    return pd.DataFrame(
        {"age": rng.rand(40) * 90, "income": rng.rand(40), "city": rng.choice(["Bern", "Rome"], 40)}
    )


def test_columns_that_fit_did_not_see_are_named(people: pd.DataFrame) -> None:
    """A KeyError without words, and an IndexError."""
    columns = TableColumns().fit(people)
    for table, words in {
        "renamed": (
            people.rename(columns={"age": "years"}),
            r"without 'age' and with 'years', which "
            r"fit did not see",
        ),
        "fewer": (people.drop(columns=["age", "city"]), r"without 'age', 'city';"),
        "more": (people.assign(weight=1.0), r"came with 'weight', which"),
        "array": (people.to_numpy(), r"array came.*'age', 'income', 'city'"),
        "row": (people["age"], r"shape \(40,\)"),
    }.values():
        with pytest.raises(DataError, match=words):
            columns.transform(table)
    np.testing.assert_array_equal(
        columns.transform(people[["city", "income", "age"]]), columns.transform(people)
    )
    numbers = people[["age", "income"]]
    np.testing.assert_array_equal(
        TableColumns().fit(numbers.to_numpy()).transform(numbers),
        TableColumns().fit(numbers).transform(numbers),
    )
    with pytest.raises(DataError, match="'age' come more than once"):
        TableColumns().fit(people[["age", "age"]])


def test_categories_that_do_not_exist_are_named(people: pd.DataFrame) -> None:
    for wrong in (["ctiy"], "ctiy", [7]):
        with pytest.raises(ConfigError, match=r"no column ('ctiy'|7); the columns are 'age'"):
            TableColumns(categories=wrong).fit(people)
    with pytest.raises(ConfigError, match=r"no column 3"):
        TableColumns(categories=[3]).fit(np.eye(3))
    by_name = TableColumns(categories=["city"]).fit(people).get_feature_names_out()
    for same in ("city", [2], np.array(["city"])):
        assert list(TableColumns(categories=same).fit(people).get_feature_names_out()) == list(
            by_name
        )


@pytest.mark.parametrize("numbers", KINDS)
def test_infinity_is_refused(people: pd.DataFrame, numbers: Any) -> None:
    """The bare classifier refuses it too."""
    infinite = people.assign(income=people["income"].where(people["age"] > 20, np.inf))
    with pytest.raises(DataError, match="contains infinity: column 'income'"):
        TableColumns(numbers=numbers).fit(infinite)
    with pytest.raises(DataError, match="contains infinity: column 'income'"):
        TableColumns(numbers=numbers).fit(people).transform(infinite)


def test_what_no_table_can_be_is_refused_in_words() -> None:
    from scipy.sparse import csr_matrix

    y = np.arange(40) % 2
    with pytest.raises(DataError, match=r"a sparse matrix \(40, 3\) came"):
        make_dbn_pipeline(DBNClassifier((8,))).fit(csr_matrix(np.eye(40, 3)), y)
    with pytest.raises(DataError, match="column 'none' holds no value at all"):
        make_dbn_pipeline(DBNClassifier((8,), missing="sample")).fit(
            pd.DataFrame({"a": np.arange(40.0), "none": [None] * 40}), y
        )
    for n_bins in (0, 1, -3):
        with pytest.raises(ConfigError, match=f"n_bins = {n_bins}: expected 2 or more"):
            make_dbn_pipeline(DBNClassifier((8,)), numbers="bins", n_bins=n_bins).fit(
                np.random.RandomState(0).rand(40, 2), y
            )
