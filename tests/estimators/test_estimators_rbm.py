"""The RBM: what scikit-learn's does, and what ours does more."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.ndimage import shift
from scipy.special import logsumexp
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import minmax_scale

from wakesleep.estimators import BernoulliRBM
from wakesleep.estimators.ranges import RangeWarning
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    """Two patterns with noise, (200, 12)."""
    rng = np.random.RandomState(0)
    patterns = np.repeat([[1] * 6 + [0] * 6, [0] * 6 + [1] * 6], 100, 0)
    return np.where(rng.rand(200, 12) < 0.05, 1 - patterns, patterns).astype(float)


def fitted(X: np.ndarray, **changes: object) -> BernoulliRBM:
    return BernoulliRBM(**{"n_components": 8, "n_iter": 30, "random_state": 0, **changes}).fit(X)


def test_takes_and_has_all_that_scikit_learns_does(bits: np.ndarray) -> None:
    ours, theirs = (
        inspect.signature(cls).parameters for cls in (BernoulliRBM, neural_network.BernoulliRBM)
    )
    assert {name: ours[name].default for name in theirs} == {
        name: parameter.default for name, parameter in theirs.items()
    }
    same = {"n_components": 8, "random_state": 0}
    mine, other = BernoulliRBM(**same).fit(bits), neural_network.BernoulliRBM(**same).fit(bits)
    for name, value in vars(other).items():
        if (name.endswith("_") and not name.startswith("_")) or name in same:
            assert type(getattr(mine, name)) is type(value)
            assert np.shape(getattr(mine, name)) == np.shape(value)
    methods = {name for name in dir(neural_network.BernoulliRBM) if not name.startswith("_")}
    assert methods <= set(dir(BernoulliRBM))
    assert list(mine.get_feature_names_out()) == list(other.get_feature_names_out())
    assert mine.gibbs(bits).dtype == other.gibbs(bits).dtype == bool
    assert mine.transform(bits).shape == other.transform(bits).shape
    assert mine.score_samples(bits).shape == other.score_samples(bits).shape


def test_transform_and_pseudo_likelihood_are_scikit_learns(bits: np.ndarray) -> None:
    mine, other = fitted(bits), neural_network.BernoulliRBM(8, random_state=0).fit(bits)
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        setattr(other, name, getattr(mine, name))
    np.testing.assert_allclose(mine.transform(bits), other.transform(bits))
    draws = [other.set_params(random_state=seed).score_samples(bits) for seed in range(2000)]
    standard_error = np.std(draws, 0) / 2000**0.5
    assert (abs(np.mean(draws, 0) - mine.score_samples(bits)) <= 4.5 * standard_error + 1e-6).all()


def test_facade_is_the_core_loop(bits: np.ndarray) -> None:
    """The same weights as the core's own loop, with the settings the facade says it hands on."""
    estimator = BernoulliRBM(
        8,
        n_iter=3,
        batch_size=20,
        momentum=0.4,
        weight_decay=0.01,
        final_learning_rate=0.02,
        n_gibbs_steps=2,
    ).set_params(random_state=7)
    estimator.fit(bits)
    source = np.random.RandomState(7)
    weight = source.normal(0, 0.01, (8, 12))
    rng = generator(int(source.randint(np.iinfo(np.int32).max)))
    rbm = RBM(12, 8, rng=generator(0)).double()
    rbm.weight.copy_(torch.from_numpy(weight.T))
    config = CDConfig(
        epochs=3,
        batch_size=20,
        persistent=True,
        momentum=0.4,
        initial_momentum=0.4,
        weight_decay=0.01,
        learning_rate=0.1,
        final_learning_rate=0.02,
        gibbs_steps=2,
    )
    *_, last = cd.epochs(rbm, torch.from_numpy(bits), config=config, rng=rng)
    np.testing.assert_allclose(estimator.components_, rbm.weight.t().numpy(), rtol=1e-9)
    np.testing.assert_array_equal(estimator.h_samples_, last.state.chains.numpy())


@pytest.mark.slow
def test_the_digits_example_comes_out_at_least_as_good() -> None:
    """scikit-learn's plot_rbm_logistic_classification, its data and settings: features and logistic
    regression against raw pixels.

    Its tolerance of 1 lets scikit-learn 1.9 stop before it begins; 0.001 gives the 0.93 against
    0.78 that its page shows. There the regression still moves, and its scores differ by 0.01 from
    seed to seed. Of both features alike, settled at 0.0001 with the pixels' C they differ by 0.003
    to 0.004 (12 seeds: ours 0.9353, theirs 0.9347), so that the mean of four seeds tells 0.005
    apart.
    """
    images, y = load_digits(return_X_y=True)
    images, shifts = (
        images.reshape(-1, 8, 8).astype(np.float32),
        [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)],
    )
    X = minmax_scale(
        np.concatenate([shift(images, (0, *by)) for by in shifts]).reshape(-1, 64),
        feature_range=(0, 1),
    )
    X, X_test, y, y_test = train_test_split(X, np.tile(y, 5), test_size=0.2, random_state=0)
    logistic = LogisticRegression(C=100.0, solver="newton-cg", tol=1e-4)
    raw = logistic.fit(X, y).score(X_test, y_test)
    settings = {"learning_rate": 0.06, "n_iter": 10, "n_components": 100}
    ours, theirs = (
        np.mean(
            [
                make_pipeline(rbm(**settings, random_state=seed), logistic)
                .fit(X, y)
                .score(X_test, y_test)
                for seed in range(4)
            ]
        )
        for rbm in (BernoulliRBM, neural_network.BernoulliRBM)
    )
    assert ours > raw + 0.1
    assert ours >= theirs - 0.005


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
def test_sparse_cases_teach_what_dense_ones_do(bits: np.ndarray, kind: type) -> None:
    dense, sparse = fitted(bits), fitted(kind(bits))
    np.testing.assert_allclose(sparse.components_, dense.components_)
    np.testing.assert_allclose(sparse.transform(kind(bits)), dense.transform(bits))
    np.testing.assert_allclose(sparse.score_samples(kind(bits)), dense.score_samples(bits))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_type_of_the_cases_is_kept(bits: np.ndarray, dtype: type) -> None:
    rbm = fitted(bits.astype(dtype))
    assert (
        rbm.components_.dtype
        == rbm.intercept_hidden_.dtype
        == rbm.transform(bits.astype(dtype)).dtype
        == dtype
    )


def test_partial_fit_goes_on_and_returns_self(bits: np.ndarray) -> None:
    rbm = BernoulliRBM(8, random_state=0, momentum=0.5)
    before = None
    for _ in range(40):
        for start in range(0, 200, 50):
            assert rbm.partial_fit(bits[start : start + 50]) is rbm
        before = rbm.score(bits) if before is None else before
    assert rbm.n_iter_ == 160
    assert rbm.score(bits) > before + 1
    assert not np.allclose(rbm._state["velocity/weight"], 0), "momentum lives on between chunks"


def test_warm_start_goes_on(bits: np.ndarray) -> None:
    rbm = fitted(bits, n_iter=2, warm_start=True)
    first = rbm.components_.copy()
    rbm.set_params(n_iter=0).fit(bits)
    np.testing.assert_array_equal(rbm.components_, first)
    assert rbm.set_params(n_iter=3).fit(bits).n_iter_ == 5
    assert fitted(bits, n_iter=2).set_params(n_iter=3).fit(bits).n_iter_ == 3, (
        "without warm_start fit starts afresh"
    )


def test_samples_and_their_way_back(bits: np.ndarray) -> None:
    rbm = fitted(bits, n_iter=100)
    samples = rbm.sample(200, random_state=1)
    assert set(np.unique(samples)) == {0.0, 1.0}
    np.testing.assert_array_equal(samples, rbm.sample(200, random_state=1))
    halves = samples.reshape(200, 2, 6).mean(2)
    assert (abs(halves[:, 0] - halves[:, 1]) > 0.6).mean() > 0.8, (
        "samples look like one pattern or the other"
    )
    back = rbm.inverse_transform(rbm.transform(bits))
    assert abs(back - bits).mean() < 0.2


def test_scaling(bits: np.ndarray) -> None:
    wide = bits * [[10.0]] - 3
    with pytest.raises(DataError, match=r"from -3 to 7.*make_dbn_pipeline"):
        fitted(wide, scale=None)
    with pytest.warns(RangeWarning, match=r"scale='auto'"):
        fitted(wide, n_iter=1)
    scaled, plain = fitted(wide, scale="auto"), fitted(bits)
    np.testing.assert_allclose(scaled.transform(wide), plain.transform(bits))
    assert set(np.unique(scaled.sample(50, random_state=0).round(9))) == {-3.0, 7.0}
    with pytest.raises(ConfigError, match="scale = 'wide'"):
        fitted(bits, scale="wide")


def test_missing_values_are_drawn_from_the_model(bits: np.ndarray) -> None:
    holes = bits.copy()
    holes[np.random.RandomState(1).rand(*bits.shape) < 0.3] = np.nan
    with pytest.raises(DataError, match=r"NaN.*missing='sample'"):
        fitted(holes)
    rbm = fitted(holes, missing="sample", n_iter=100)
    truth = bits[np.isnan(holes)]
    for how, bar in (("sample", 0.8), ("mean", 0.85)):
        filled = rbm.impute(holes, how=how, random_state=0)
        np.testing.assert_array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
        assert ((filled[np.isnan(holes)] > 0.5) == truth).mean() > bar
    features = rbm.transform(holes[:100])
    assert np.isfinite(features).all()
    assert np.isfinite(rbm.score_samples(holes[:100])).all()
    assert abs(features - rbm.transform(bits[:100])).mean() < 0.15


def test_parameters_that_cannot_work_are_refused(bits: np.ndarray) -> None:
    for wrong in (
        {"learning_rate": 0},
        {"batch_size": 0},
        {"n_components": 0},
        {"n_gibbs_steps": 0},
        {"n_iter": -1},
        {"momentum": 1.0},
        {"missing": "drop"},
    ):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} = "):
            fitted(bits, **wrong)


def test_extras_reach_the_core_with_its_defaults() -> None:
    config = BernoulliRBM()._config()
    core = CDConfig()
    for name in ("gibbs_steps", "sparsity_target", "sparsity_cost"):
        assert getattr(config, name) == getattr(core, name)
    sparse = BernoulliRBM(sparsity_target=0.05, sparsity_cost=0.3, persistent=False)._config()
    assert (sparse.sparsity_target, sparse.sparsity_cost, sparse.persistent) == (0.05, 0.3, False)


def test_log_likelihood_is_exact_for_small_machines_and_close_by_ais(bits: np.ndarray) -> None:
    pytest.importorskip("wakesleep.evaluation.likelihood")
    rbm = fitted(bits)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
    assert abs(logsumexp(rbm.log_likelihood(every))) < 1e-6, "probabilities sum to one"
    rng = np.random.RandomState(0)
    wide = BernoulliRBM(24, n_iter=5, random_state=0).fit(rng.rand(300, 24) < rng.rand(24))
    estimate = wide.log_likelihood(bits.repeat(2, 1), random_state=0)
    again = wide.log_likelihood(bits.repeat(2, 1), random_state=1)
    assert abs(estimate.mean() - again.mean()) < 0.5
