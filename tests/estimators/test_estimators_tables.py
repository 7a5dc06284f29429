"""What is decided from the columns of a table: drawing of values, ranges with outliers, sparse
columns, weights of classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits, make_classification
from sklearn.metrics import balanced_accuracy_score

from wakesleep.estimators import (
    BernoulliRBM,
    DBNClassifier,
    DBNRegressor,
    DBNTransformer,
    export,
    make_dbn_pipeline,
    ranges,
)
from wakesleep.estimators.tuned import Centred, column_sums, moments
from wakesleep.foundation.errors import ConfigError, DataError

QUICK: dict[str, Any] = {
    "hidden_layer_sizes": (20, 30),
    "n_iter": 2,
    "fine_tune_n_iter": 3,
    "random_state": 0,
}
DIGITS, LABELS = load_digits(return_X_y=True)
RNG = np.random.RandomState(0)
COLUMNS = {
    "bits": ((RNG.rand(300, 8) < 0.3).astype(float), True),
    "two values": (np.where(RNG.rand(300, 8) < 0.3, -5.0, 20.0), True),
    "ink and paper": (np.clip(3 * RNG.randn(300, 8), 0, 1), True),
    "evenly spread": (RNG.rand(300, 8), False),
    "bell-shaped": (RNG.randn(300, 8), False),
    "integers": (RNG.randint(0, 16, (300, 8)).astype(float), False),
    "one real column, seven of bits": (
        np.hstack([RNG.randn(300, 1), RNG.rand(300, 7) < 0.5]),
        False,
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_values_are_drawn_as_bits_where_the_columns_are_nearly_bits(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tossing a coin for real numbers made `DBNClassifier` say the majority class of every
    table.
    """
    X, drawn = COLUMNS[name]
    y = X[:, 0] > np.median(X[:, 0]) if name != "bits" else X[:, 0]
    y = y if len(np.unique(y)) > 1 else X[:, 0] > X[:, 0].min()
    net = DBNClassifier((5,), n_iter=1, fine_tune_n_iter=1, verbose=1, random_state=0).fit(X, y)
    assert net.sample_visible_ is drawn
    assert ("as bits drawn anew" if drawn else "as they are") in capsys.readouterr().err
    assert (
        DBNClassifier((5,), n_iter=1, fine_tune_n_iter=1, sample_visible=not drawn)
        .fit(X, y)
        .sample_visible_
        is not drawn
    )
    holes = X.copy()
    holes[::3, 1] = np.nan
    assert (
        DBNClassifier((5,), n_iter=1, fine_tune_n_iter=1, missing="sample")
        .fit(holes, y)
        .sample_visible_
        is drawn
    )
    assert (
        DBNRegressor((5,), n_iter=1, fine_tune_n_iter=1).fit(X, y.astype(float)).sample_visible_
        is drawn
    )


def test_a_column_of_bits_does_not_take_the_real_ones_along() -> None:
    """With one yes/no column beside it a real column was drawn as bits: 70 % right where 100
    are.
    """
    real = np.random.RandomState(0).randn(400, 1)
    X, y = np.hstack([real, np.random.RandomState(1).rand(400, 1) < 0.5]), real[:, 0] > 0
    net = DBNClassifier((20,), random_state=0).fit(X[:300], y[:300])
    assert net.score(X[300:], y[300:]) > 0.95
    stream = DBNClassifier((20,), random_state=0).partial_fit(
        X[:300], y[:300], classes=[False, True]
    )
    assert not stream.sample_visible_


def test_one_outlier_does_not_flatten_its_column() -> None:
    X = np.random.RandomState(0).randn(500, 3)
    X[7, 0], X[8, 1] = 1e6, -1e6
    for estimator in (
        DBNTransformer((5,), n_iter=1, random_state=0),
        BernoulliRBM(5, n_iter=1, scale="auto", random_state=0),
    ):
        estimator.fit(X)
        assert list(estimator.outlier_columns_) == [0, 1]
        assert (ranges.to_range(estimator, X).std(0) > 0.05).all()
        sample = estimator.sample(50, n_gibbs_steps=2, random_state=0)
        assert np.abs(sample).max() < 10, "dreams come in the units of the data, the outlier apart"
        holes = X.copy()
        holes[0, 0] = np.nan
        np.testing.assert_array_equal(estimator.impute(holes)[1:], X[1:])


@pytest.mark.parametrize(
    "values",
    [
        np.eye(300)[:, :4] * 255,
        np.random.RandomState(0).randint(0, 256, (300, 4)),
        np.full((300, 4), 7.0),
    ],
)
def test_columns_without_outliers_run_from_smallest_to_largest(values: np.ndarray) -> None:
    low, high = ranges.column_range(values.astype(float))
    np.testing.assert_array_equal(low, values.min(0))
    np.testing.assert_array_equal(high, values.max(0))


def test_an_outlier_among_many_zeros_is_one_too() -> None:
    gains = np.zeros((1000, 1))
    gains[:90, 0] = np.random.RandomState(0).uniform(1000, 9000, 90)
    gains[90] = 1e9
    assert 9000 <= ranges.column_range(gains)[1][0] < 1e5


def test_skewed_columns_keep_their_signal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth of the cases lay beyond the fences, was clipped to one value, and all were told to be
    the majority.
    """
    rng = np.random.RandomState(0)
    X = np.hstack([rng.lognormal(0, 2, (1500, 3)), rng.randn(1500, 1)])
    y = X[:, 0] > 40
    net = DBNClassifier((50,), verbose=1, random_state=0).fit(X[:1000], y[:1000])
    assert "skewed, mapped by asinh: columns 0, 1, 2\n" in capsys.readouterr().err
    assert balanced_accuracy_score(y[1000:], net.predict(X[1000:])) > 0.9
    assert list(net.skewed_columns_) == [0, 1, 2]
    assert not len(net.outlier_columns_)
    np.testing.assert_allclose(
        ranges.from_range(net, ranges.to_range(net, X[:1000])), X[:1000], rtol=1e-6
    )
    net.save(tmp_path / "net.safetensors")
    again = DBNClassifier.load(tmp_path / "net.safetensors")
    np.testing.assert_allclose(again.predict_proba(X), net.predict_proba(X), rtol=1e-6)
    np.testing.assert_allclose(
        export.recognition(net)(torch.from_numpy(X).float()), net.predict_proba(X), atol=1e-4
    )
    np.testing.assert_allclose(net.predict_proba(sp.csr_matrix(X)), net.predict_proba(X))
    pipe = make_dbn_pipeline(DBNTransformer((5,), n_iter=1, random_state=0)).fit(X)
    cases = pipe["columns"].transform(X)
    assert cases[y, 0].min() > cases[~y, 0].max()
    assert len(np.unique(cases[:, 0])) == 1500
    np.testing.assert_allclose(pipe["columns"].inverse_transform(cases), X, rtol=1e-6)


def test_the_range_of_a_skewed_column_grows_in_a_stream() -> None:
    X = np.random.RandomState(0).lognormal(0, 2, (600, 2))
    net = DBNTransformer((5,), random_state=0).partial_fit(X[:300]).partial_fit(1000 * X[300:])
    cases = ranges.to_range(net, np.vstack([X[:300], 1000 * X[300:]]))
    assert len(np.unique(cases[:, 0])) > 590


def test_scale_and_choices_are_kept_in_a_file(tmp_path: Path) -> None:
    X = np.random.RandomState(0).randn(100, 4)
    X[0, 0] = 1e6
    net = DBNClassifier(**QUICK).fit(X, X[:, 1] > 0)
    net.save(tmp_path / "net.safetensors")
    again = DBNClassifier.load(tmp_path / "net.safetensors")
    assert again.sample_visible_ is False
    assert list(again.outlier_columns_) == [0]
    np.testing.assert_allclose(again.predict_proba(X), net.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("cls", [DBNClassifier, DBNRegressor, DBNTransformer])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_sparse_cases_teach_nets_what_dense_ones_do(cls: type, kind: type) -> None:
    X, y = (DIGITS[:200] > 8) * 16.0, LABELS[:200]
    settings = {
        name: value
        for name, value in QUICK.items()
        if cls is not DBNTransformer or name != "fine_tune_n_iter"
    }
    method = "transform" if cls is DBNTransformer else "predict"
    for cases in (X, X / 16):
        dense, sparse = cls(**settings).fit(cases, y), cls(**settings).fit(kind(cases), y)
        np.testing.assert_allclose(
            getattr(sparse, method)(kind(cases)),
            getattr(dense, method)(cases),
            rtol=1e-5,
            atol=1e-6,
        )
        np.testing.assert_allclose(
            getattr(sparse, method)(cases), getattr(sparse, method)(kind(cases))
        )
        sparse.partial_fit(kind(cases), y)
        sparse.score_samples(kind(cases))
    with pytest.raises(DataError, match="negative"):
        cls(**settings).fit(kind(-X), y)


def test_weights_of_classes_are_weights_of_their_cases() -> None:
    X, y = make_classification(400, 6, weights=[0.9], random_state=0)
    plain, balanced = (
        DBNClassifier(**QUICK, class_weight=weight).fit(X, y).predict_proba(X)[:, 1].mean()
        for weight in (None, "balanced")
    )
    assert balanced > plain + 0.1
    by_hand = DBNClassifier(**QUICK).fit(X, y, sample_weight=np.where(y, 3.0, 1.0))
    named = DBNClassifier(**QUICK, class_weight={0: 1, 1: 3}).fit(X, y)
    np.testing.assert_array_equal(named.predict_proba(X), by_hand.predict_proba(X))
    few = np.where(np.arange(400) < 200, y, -1)
    DBNClassifier(**QUICK, class_weight="balanced", unlabeled=-1).fit(X, few)
    with pytest.raises(DataError, match="balanced"):
        DBNClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1])


def test_a_single_layer_that_holds_the_labels_takes_missing_values() -> None:
    X, y = DIGITS[:600] / 16, LABELS[:600]
    holes = np.where(np.random.RandomState(1).rand(*X.shape) < 0.2, np.nan, X)
    net = DBNClassifier(
        (60,), n_iter=15, batch_size=20, fine_tune_n_iter=10, missing="sample", random_state=0
    ).fit(holes, y)
    assert net.score(holes[:150], y[:150]) > 0.9
    unknown = np.isnan(holes)
    error = ((net.impute(holes, how="mean", random_state=0) - X)[unknown] ** 2).mean()
    assert error < 0.6 * ((np.broadcast_to(np.nanmean(holes, 0), X.shape) - X)[unknown] ** 2).mean()


@pytest.mark.parametrize("missing", ["error", "sample"])
def test_a_net_that_learned_from_centred_values_takes_them_as_they_are(missing: str) -> None:
    """Backpropagation sees centred values; the net it leaves does not, nor does it lose what
    pretraining knew.
    """
    X, y = make_classification(300, 6, random_state=0)
    net = DBNClassifier(**{**QUICK, "fine_tune_n_iter": 0}, missing=missing).fit(X, y)
    pretrained = net.predict_proba(X)
    tuned = DBNClassifier(
        **{**QUICK, "fine_tune_n_iter": 1, "fine_tune_learning_rate": 1e-12}, missing=missing
    ).fit(X, y)
    np.testing.assert_allclose(tuned.predict_proba(X), pretrained, atol=1e-5)
    images = torch.from_numpy(ranges.to_range(net, X)).float()
    centred = Centred(**moments(column_sums(images)))
    first = net.net_[0]
    expected = first(images)
    centred.take_over(first)
    np.testing.assert_allclose(first(centred(images)).detach(), expected.detach(), atol=1e-5)
    np.testing.assert_allclose(centred(images).mean(0), 0, atol=1e-5)
    assert float(centred(images).square().mean()) == pytest.approx(1, abs=1e-4)


def test_early_stopping_waits_while_the_net_says_the_same_of_all() -> None:
    """Accuracy stands still at the share of the largest class for many epochs, in which the
    likelihood gets better.
    """
    X, y = make_classification(
        900, 12, n_informative=8, n_classes=3, weights=[0.6, 0.3], random_state=0
    )
    net = DBNClassifier(
        (20, 30),
        n_iter=2,
        fine_tune_n_iter=60,
        fine_tune_learning_rate=0.05,
        n_iter_no_change=3,
        random_state=0,
    )
    accuracy = net.set_params(early_stopping=True).fit(X, y).score(X, y)
    assert accuracy > np.bincount(y).max() / len(y) + 0.1
    assert net.best_validation_score_ == max(net.validation_scores_)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_iter", "10"),
        ("batch_size", 10.5),
        ("learning_rate", None),
        ("hidden_layer_sizes", "20"),
        ("missing", None),
        ("class_weight", 3),
    ],
)
def test_parameters_of_another_type_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} = "):
        DBNClassifier(**{**QUICK, name: value}).fit(DIGITS[:50], LABELS[:50])


def test_numbers_of_numpy_are_numbers() -> None:
    given = {
        "hidden_layer_sizes": np.array([20, 30]),
        "n_iter": np.int64(2),
        "batch_size": np.int32(20),
        "learning_rate": np.float32(0.2),
    }
    actual = DBNClassifier(**{**QUICK, **given}).fit(DIGITS[:200], LABELS[:200])
    plain = {
        "hidden_layer_sizes": (20, 30),
        "n_iter": 2,
        "batch_size": 20,
        "learning_rate": float(np.float32(0.2)),
    }
    expected = DBNClassifier(**{**QUICK, **plain}).fit(DIGITS[:200], LABELS[:200])
    np.testing.assert_array_equal(actual.predict_proba(DIGITS), expected.predict_proba(DIGITS))
