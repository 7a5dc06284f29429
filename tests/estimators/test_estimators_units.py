"""Nets over tables as they come: words, numbers and holes, by `units`."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import wakesleep as ws
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.units import Bernoulli, Categorical, Thermometer

SMALL = {"n_iter": 8, "units": "auto", "n_bins": 4, "random_state": 0}


def mixed(rows: int = 240, seed: int = 0, holes: float = 0.1) -> pd.DataFrame:
    """Return a table whose columns all follow the first, with holes in the others."""
    rng = np.random.RandomState(seed)
    ill = rng.rand(rows) < 0.5
    frame = pd.DataFrame(
        {
            "ill": np.where(ill, "yes", "no").astype(object),
            "colour": pd.Categorical(np.where(ill, "r", np.where(rng.rand(rows) < 0.5, "g", "b"))),
            "grade": np.where(ill, rng.randint(3, 6, rows), rng.randint(0, 3, rows)).astype(float),
            "pulse": rng.poisson(np.where(ill, 110, 70)).astype(float),
            "heat": np.where(ill, 39.0, 36.6) + 0.2 * rng.randn(rows),
            "constant": 7,
        }
    )
    for name in ("colour", "grade", "pulse", "heat"):
        frame.loc[rng.rand(rows) < holes, name] = np.nan
    return frame


def fitted(kind: str, frame: pd.DataFrame, **settings: object):
    """Return an estimator that learned the table, and the columns that it saw."""
    options = {**SMALL, **settings}
    if kind == "classifier":
        X = frame.drop(columns="ill")
        return ws.DBNClassifier((12, 15), fine_tune_n_iter=15, **options).fit(X, frame["ill"]), X
    if kind == "regressor":
        X = frame.drop(columns="heat")
        return ws.DBNRegressor((12,), **options).fit(X, frame["heat"].fillna(37.8)), X
    return ws.DBNTransformer((12, 9), **options).fit(frame), frame


KINDS = ["classifier", "regressor", "transformer"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_as_it_came(tmp_path, kind: str) -> None:
    frame = mixed()
    net, X = fitted(kind, frame)
    assert net.n_features_in_ == X.shape[1]
    assert net.feature_names_in_.tolist() == list(X)
    assert [column.name for column in net.units_.columns] == list(X)
    assert isinstance(net.dbn_.visible["categories6"], Categorical)
    assert isinstance(net.dbn_.visible["numbers5"], Thermometer)

    rows = net.sample(5, random_state=0, n_gibbs_steps=20)
    assert rows.dtypes.tolist() == X.dtypes.tolist()
    filled = net.impute(X, how="mean", random_state=0, n_sweeps=10)
    assert not filled.isna().any().any()
    pd.testing.assert_frame_equal(filled.where(X.notna()), X)
    some = X.head(30)
    scores = net.score_samples(some)
    assert np.isfinite(scores).all()

    net.save(tmp_path / "net.safetensors")
    for again in (type(net).load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        pd.testing.assert_frame_equal(again.sample(5, random_state=0, n_gibbs_steps=20), rows)
        assert np.allclose(again.score_samples(some), scores)
    shuffled = some[list(X)[::-1]]
    assert np.allclose(net.score_samples(shuffled), scores)


def test_what_it_tells_and_dreams_follows_the_table() -> None:
    net, X = fitted("classifier", mixed())
    new = mixed(seed=1)
    assert net.score(new.drop(columns="ill"), new["ill"]) > 0.93
    ill, well = (
        net.sample(100, label=label, random_state=0, n_gibbs_steps=60) for label in ("yes", "no")
    )
    for name, truth in (("heat", 2.4), ("grade", 3.0), ("pulse", 40.0)):
        assert ill[name].mean() - well[name].mean() > truth / 2
    odd = new.dropna().head(1).drop(columns="ill").assign(heat=39.2, grade=0.0, pulse=70.0)
    assert net.score_samples(odd)[0] < np.median(net.score_samples(X))


def test_numbers_are_predicted_and_filled_in() -> None:
    net, X = fitted("regressor", mixed(holes=0.0))
    new = mixed(seed=1, holes=0.0)
    assert net.score(new.drop(columns="heat"), new["heat"]) > 0.7
    gone = X.assign(pulse=np.nan)
    filled = net.impute(gone, how="mean", random_state=0, n_sweeps=20)["pulse"]
    truth = mixed(holes=0.0)["pulse"]
    assert np.abs(filled - truth).mean() < 0.7 * np.abs(truth - truth.mean()).mean()


def test_all_ways_to_fine_tune_and_holes_without_being_asked() -> None:
    frame = mixed(60)
    for way in ("updown", "hybrid", None):
        net, X = fitted("classifier", frame, fine_tune=way, n_iter=2)
        assert net.predict_proba(X).shape == (60, 2)
    one = ws.DBNClassifier(6, fine_tune=None, **SMALL | {"n_iter": 60}).fit(X, frame["ill"])
    assert one.score(X, frame["ill"]) > 0.9


def test_few_labels_early_stopping_weights_and_search() -> None:
    frame = mixed(80)
    X, y = frame.drop(columns="ill"), frame["ill"]
    few = y.where(np.arange(80) % 4 == 0, None)
    net = ws.DBNClassifier((8, 9), fine_tune_n_iter=2, unlabeled=np.nan, **SMALL).fit(X, few)
    assert net.classes_.tolist() == ["no", "yes"]
    early = ws.DBNClassifier((8, 9), fine_tune_n_iter=2, early_stopping=True, **SMALL)
    early.fit(X, y, sample_weight=np.arange(80))
    small = clone(early).set_params(early_stopping=False, n_iter=1)
    assert cross_val_score(small, X, y, cv=2).shape == (2,)


def test_chunks_take_the_columns_of_the_first() -> None:
    frame = mixed(120, holes=0.0)
    X, y = frame.drop(columns="ill"), frame["ill"]
    net = ws.DBNClassifier((8, 9), units="auto", random_state=0)
    for start in range(0, 120, 40):
        net.partial_fit(X[start : start + 40], y[start : start + 40], classes=["no", "yes"])
    assert net.predict(X).shape == (120,)
    with pytest.raises(DataError, match="column 'colour': 40 values that fit did not see"):
        net.partial_fit(X[:40].assign(colour="mauve"), y[:40])


def test_kinds_may_be_said_and_are_refused_in_words() -> None:
    frame = mixed(60)
    net, _ = fitted("transformer", frame, units={"grade": "real", "pulse": "levels"}, n_iter=1)
    assert [column.kind for column in net.units_.columns[2:4]] == ["real", "levels"]
    for units, message in (
        (["real"], "units lists 1 kinds, and the table has 6 columns"),
        ({"nothing": "real"}, "units names the columns 'nothing'"),
        (5, "units = 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            fitted("transformer", frame, units=units, n_iter=1)
    with pytest.raises(DataError, match="units='auto'"):
        ws.DBNClassifier((5,), n_iter=1).fit(frame.drop(columns="ill"), frame["ill"])
    plain = ws.DBNTransformer((5,), n_iter=1).fit(np.eye(4))
    with pytest.raises(ConfigError, match="learned without units"):
        plain.set_params(units="auto").transform(np.eye(4))


def test_without_units_nothing_has_changed() -> None:
    X = np.random.RandomState(0).rand(40, 6)
    net = ws.DBNTransformer((5,), n_iter=1, random_state=0).fit(X)
    assert isinstance(net.dbn_.visible, Bernoulli)
    assert not hasattr(net, "units_")


def test_an_array_comes_back_as_one() -> None:
    X = np.random.RandomState(0).randn(60, 3)
    X[0, 1] = np.nan
    net = ws.DBNTransformer((6,), **{**SMALL, "n_iter": 2}).fit(X)
    assert isinstance(net.sample(2, n_gibbs_steps=5), np.ndarray)
    assert not np.isnan(net.impute(X, n_sweeps=5)).any()
    assert np.allclose(net.inverse_transform(net.transform(X)).shape, X.shape)


def test_the_pipeline_hands_the_table_through() -> None:
    frame = mixed(60)
    X, y = frame.drop(columns="ill"), frame["ill"]
    pipe = ws.make_dbn_pipeline(ws.DBNClassifier((6,), n_iter=2, random_state=0), units="auto")
    assert pipe.fit(X, y).predict(X).shape == (60,)
    rows = pipe.sample(3, label="yes", random_state=0, n_gibbs_steps=5)
    assert rows.dtypes.tolist() == X.dtypes.tolist()
    assert not pipe.impute(X, random_state=0, n_sweeps=3).isna().any().any()
    with pytest.raises(ConfigError, match="numbers = 'bins'"):
        ws.make_dbn_pipeline(units="auto", numbers="bins")
