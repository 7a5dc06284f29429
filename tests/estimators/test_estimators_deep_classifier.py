"""The deep Boltzmann machine as an estimator: predictions, dreams, unknown classes, files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wakesleep.estimators import DBMClassifier
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError


@pytest.fixture(scope="module")
def fitted() -> tuple[DBMClassifier, np.ndarray, np.ndarray]:
    """A machine of three digits as words, half of whose classes are unknown."""
    X, y = load_digits(n_class=3, return_X_y=True)
    names = np.array(["zero", "one", "two"])[y]
    names[::2] = "?"
    rates = {"learning_rate": 0.1, "final_learning_rate": 0.001}
    machine = DBMClassifier((30, 20), n_iter=40, **rates, unlabeled="?", random_state=0)
    return machine.fit(X / 16, names), X / 16, np.array(["zero", "one", "two"])[y]


def test_it_tells_classes_and_dreams_them(fitted) -> None:
    machine, X, names = fitted
    assert machine.classes_.tolist() == ["one", "two", "zero"]
    assert machine.score(X, names) > 0.9
    np.testing.assert_allclose(machine.predict_proba(X).sum(1), 1)
    dreams = {
        name: machine.sample(50, label=name, n_gibbs_steps=50, random_state=0).mean(0)
        for name in ("zero", "one")
    }
    towards = X[names == "zero"].mean(0) - X[names == "one"].mean(0)
    assert (dreams["zero"] - dreams["one"]) @ towards > 0.1 * towards @ towards
    assert machine.sample(4, n_gibbs_steps=5).shape == (4, 64)
    with pytest.raises(DataError, match="three"):
        machine.sample(1, label="three")


def test_it_comes_back_from_files(fitted, tmp_path: Path) -> None:
    machine, X, _ = fitted
    probs = machine.predict_proba(X[:50])
    machine.save(tmp_path / "machine.safetensors")
    loaded = DBMClassifier.load(tmp_path / "machine.safetensors")
    np.testing.assert_allclose(loaded.predict_proba(X[:50]), probs)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(machine)).predict_proba(X[:50]), probs)
    from wakesleep.estimators import DBNClassifier

    with pytest.raises(CheckpointError, match="holds a DBMClassifier"):
        DBNClassifier.load(tmp_path / "machine.safetensors")


def test_pretraining_makes_labels_known_within_few_epochs() -> None:
    """Without it the label's weights hardly learn: 92 % of held-out digits were wrong."""
    X, y = load_digits(n_class=5, return_X_y=True)
    machine = DBMClassifier((60, 40), fine_tune=None, n_iter=3, random_state=0)
    assert machine.fit(X[:600] / 16, y[:600]).score(X[600:] / 16, y[600:]) > 0.8
    machine.set_params(pretrain_n_iter=0).fit(X[:600] / 16, y[:600])
    assert machine.score(X[600:] / 16, y[600:]) < 0.5


@pytest.mark.parametrize("fine_tune", ["backprop", None])
def test_missing_values_are_hidden_units(fine_tune) -> None:
    """A column that is a copy of the class or its opposite, of which two in three are missing: what
    stands in their place is of no account.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    turned = np.arange(12) % 2
    X = (y[:, None] != turned).astype(float)
    X[rng.random(X.shape) < 2 / 3] = np.nan
    X[:, 11] = np.nan  # of which nothing is known
    settings = {"pretrain_n_iter": 10, "n_iter": 3, "fine_tune_n_iter": 10, "batch_size": 10}
    settings |= {"fine_tune": fine_tune, "random_state": 0}
    with pytest.raises(DataError, match=r"NaN.*missing='sample'"):
        DBMClassifier((8, 6), **settings).fit(X, y)
    machine = DBMClassifier((8, 6), missing="sample", **settings).fit(X[:200], y[:200])
    tested, known = X[200:], ~np.isnan(X[200:]).all(1)
    assert machine.score(tested[known], y[200:][known]) > 0.97
    probs = machine.predict_proba(tested)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert machine.__sklearn_tags__().input_tags.allow_nan


def test_parameters_are_named_in_errors() -> None:
    X, y = load_digits(n_class=2, return_X_y=True)
    for wrong in (
        {"pretrain_n_iter": -1},
        {"n_iter": -1},
        {"mean_field_steps": 0},
        {"fine_tune_n_iter": -2},
        {"missing": "drop"},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DBMClassifier((5, 5), **wrong).fit(X / 16, y)
    with pytest.raises(ConfigError, match="layer sizes"):
        DBMClassifier((5,)).fit(X / 16, y)
