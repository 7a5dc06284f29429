"""The company estimators keep: search, pipelines, calibration, self-training, pandas, metadata
routing, and threads.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_backend
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from wakesleep.estimators import (
    BernoulliRBM,
    DBNClassifier,
    DBNRegressor,
    DBNTransformer,
    make_dbn_pipeline,
)
from wakesleep.foundation.errors import ConfigError

LOGISTIC = LogisticRegression(max_iter=2000)
QUICK = {"hidden_layer_sizes": (30, 40), "n_iter": 4, "fine_tune_n_iter": 8, "random_state": 0}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X[:400] / 16).astype(np.float32), y[:400]


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_grid_search_in_parallel_finds_what_one_job_finds(
    digits: tuple[np.ndarray, np.ndarray], backend: str
) -> None:
    grid = {"hidden_layer_sizes": [(10,), (30, 40)], "fine_tune": ["backprop", None]}
    alone = GridSearchCV(DBNClassifier(**QUICK), grid, cv=2, n_jobs=1).fit(*digits)
    with parallel_backend(backend, n_jobs=2):
        together = GridSearchCV(DBNClassifier(**QUICK), grid, cv=2).fit(*digits)
    np.testing.assert_allclose(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert together.best_score_ > 0.5


def test_pipelines(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    pipe = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("features", DBNTransformer((30,), n_iter=4, random_state=0)),
            ("tell", LOGISTIC),
        ]
    )
    search = GridSearchCV(pipe, {"features__n_iter": [1, 4], "tell__C": [1.0, 100.0]}, cv=2).fit(
        X * 16, y
    )
    assert search.best_score_ > 0.7
    deep = make_pipeline(
        BernoulliRBM(60, n_iter=40, random_state=0),
        DBNTransformer((40,), n_iter=40, random_state=0),
        LOGISTIC,
    )
    assert cross_validate(deep, X, y, cv=2)["test_score"].min() > 0.3


def test_data_frames_and_columns(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    frame = pd.DataFrame(X, columns=[f"pixel {number}" for number in range(64)])
    upper, lower = list(frame.columns[:32]), list(frame.columns[32:])
    halves = ColumnTransformer(
        [
            ("upper", BernoulliRBM(5, n_iter=1), upper),
            ("lower", DBNTransformer((6,), n_iter=1), lower),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    out = halves.fit_transform(frame, y)
    assert list(out.columns) == [f"bernoullirbm{number}" for number in range(5)] + [
        f"dbntransformer{number}" for number in range(6)
    ]
    assert out.index.equals(frame.index)
    assert list(DBNTransformer((6,), n_iter=1).fit(frame).feature_names_in_) == list(frame.columns)


@pytest.mark.slow
def test_calibration_and_self_training(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    assert CalibratedClassifierCV(DBNClassifier(**QUICK), cv=2).fit(X, y).score(X, y) > 0.6
    few = np.where(np.arange(400) % 4 == 0, y, -1)
    assert (
        SelfTrainingClassifier(
            DBNClassifier(**{**QUICK, "n_iter": 20, "fine_tune_n_iter": 60}), max_iter=2
        )
        .fit(X, few)
        .score(X, y)
        > 0.6
    )


def test_sample_weight_is_routed(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    weight = (np.arange(400) < 200).astype(float)
    net = DBNClassifier(**QUICK)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(MinMaxScaler(), net.set_fit_request(sample_weight=True))
        routed = pipe.fit(X, y, sample_weight=weight).predict_proba(X)
    plain = (
        make_pipeline(MinMaxScaler().fit(X), net)
        .fit(X, y, dbnclassifier__sample_weight=weight)
        .predict_proba(X)
    )
    np.testing.assert_allclose(routed, plain)


@pytest.mark.filterwarnings("ignore:Bins whose width are too small")
def test_pipeline_for_tables() -> None:
    rng = np.random.RandomState(0)
    table = pd.DataFrame(
        {
            "size": rng.lognormal(size=300),
            "colour": rng.choice(["red", "green", "blue"], 300),
            "old": rng.rand(300) < 0.5,
        }
    )
    y = np.where((table["colour"] == "red") ^ table["old"], "yes", "no")
    net = DBNClassifier((40,), n_iter=10, fine_tune_n_iter=120, random_state=0)
    for numbers, columns in (("minmax", 6), ("binary", 6), ("bins", 9)):
        pipe = make_dbn_pipeline(net, numbers=numbers, n_bins=4).fit(table[:200], y[:200])
        assert pipe["dbn"].n_features_in_ == columns
        assert pipe["dbn"].scaler_ is None
        assert pipe.score(table[200:], y[200:]) > 0.9
    table.loc[200, "colour"] = "violet"
    assert pipe.predict(table[200:201]).shape == (1,)
    X, target = load_diabetes(return_X_y=True)
    regressor = make_dbn_pipeline(
        DBNRegressor((20,), n_iter=2, fine_tune_n_iter=20, random_state=0), numbers="bins"
    )
    assert regressor.fit(X, target).score(X, target) > 0.2
    by_number = make_dbn_pipeline(net, categories=[1])
    assert by_number.fit(X[:, :3], X[:, 1] > 0)["dbn"].n_features_in_ == 4
    with pytest.raises(ConfigError, match="numbers = 'log'"):
        make_dbn_pipeline(numbers="log")
