"""Nets as estimators: what they learn, semi-supervised and weighted, in chunks, on and on, and with
values missing.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from wakesleep.estimators import (
    BernoulliRBM,
    DBNClassifier,
    DBNRegressor,
    DBNTransformer,
    TableRBM,
)
from wakesleep.estimators.dbn import EPOCHS, NO_CHAINS
from wakesleep.estimators.fine_tuning import HYBRID, UPDOWN
from wakesleep.estimators.tuned import BACKPROP
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning.configs import GreedyConfig
from wakesleep.runs.settings import preset

SMALL = {"hidden_layer_sizes": (64, 128), "n_iter": 8, "random_state": 0}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    """X / 16 and the digits' names, (600 to learn, 300 to test)."""
    X, y = load_digits(return_X_y=True)
    return tuple(
        train_test_split(
            (X / 16).astype(np.float32),
            y,
            train_size=600,
            test_size=300,
            random_state=0,
            stratify=y,
        )
    )


def test_defaults_are_those_of_the_presets_and_the_same_in_all_estimators() -> None:
    transformer, classifier, regressor = (
        inspect.signature(cls).parameters for cls in (DBNTransformer, DBNClassifier, DBNRegressor)
    )
    own = {"hidden_layer_sizes", "batch_size"}  # of regression, which was measured by itself
    for one, other, apart in (
        (transformer, classifier, set()),
        (transformer, regressor, own),
        (classifier, regressor, own),
    ):
        shared = one.keys() & other.keys() - apart
        assert {name: one[name].default for name in shared} == {
            name: other[name].default for name in shared
        }
    config = preset("digits")
    layer = {
        name: transformer[name].default
        for name in transformer.keys() & asdict(config.greedy.layer).keys() - own
    }
    assert {
        "learning_rate",
        "final_learning_rate",
        "momentum",
        "weight_decay",
        "persistent",
        "sparsity_target",
        "sparsity_cost",
    } == set(layer)
    assert layer == {name: asdict(config.greedy.layer)[name] for name in layer}
    assert transformer["n_gibbs_steps"].default == config.greedy.layer.gibbs_steps
    layer = replace(config.greedy.layer, epochs=EPOCHS)
    for cls in (DBNTransformer, DBNClassifier, DBNRegressor):
        assert cls()._greedy_config() == GreedyConfig(layer, layer, chains=NO_CHAINS)
        assert tuple(cls().hidden_layer_sizes) == ((100,) if cls is DBNRegressor else (200, 300))
    assert DBNClassifier()._tuning(UPDOWN, once=False, cases=100) == UPDOWN
    rates = {"learning_rate": 0.02, "final_learning_rate": 0.001, "label_weight": 0.0}
    assert replace(config.updown, **rates) == UPDOWN
    assert config.hybrid == HYBRID
    assert replace(config.backprop, epochs=20, learning_rate=0.3) == BACKPROP


@pytest.mark.parametrize(
    ("cases", "epochs", "batch"),
    [(100, 30, 20), (1500, 30, 20), (2000, 23, 20), (4000, 12, 20), (60_000, 10, 50)],
)
def test_passes_and_minibatches_follow_the_number_of_cases(
    cases: int, epochs: int, batch: int
) -> None:
    net = DBNClassifier()
    net.sample_visible_ = False
    config = net._greedy_config(cases).layer
    assert (config.epochs, config.batch_size) == (epochs, batch)
    assert (
        net._backprop_config(False, cases).epochs,
        net._backprop_config(False, cases).batch_size,
    ) == (20, batch)
    net.set_params(n_iter=7, batch_size=8, fine_tune_n_iter=9)
    config = net._greedy_config(cases).layer
    assert (config.epochs, config.batch_size) == (7, 8)
    assert (
        net._backprop_config(False, cases).epochs,
        net._backprop_config(False, cases).batch_size,
    ) == (9, 8)


@pytest.mark.parametrize(
    ("fine_tune", "bar"),
    [
        ("backprop", 0.93),
        ("updown", 0.85),
        (None, 0.85),
        pytest.param("hybrid", 0.9, marks=pytest.mark.slow),
    ],
)
def test_classifier_learns_names_of_any_type(
    digits: tuple[np.ndarray, ...], fine_tune: str | None, bar: float
) -> None:
    X, X_test, y, y_test = digits
    names = np.array([f"digit {label}" for label in range(10)])
    net = DBNClassifier(**{**SMALL, "n_iter": 20}, fine_tune=fine_tune, fine_tune_n_iter=30).fit(
        X, names[y]
    )
    assert list(net.classes_) == list(names)
    assert net.score(X_test, names[y_test]) > bar
    probs = net.predict_proba(X_test)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(net.predict_log_proba(X_test), np.log(probs))
    dreams = net.sample(20, label="digit 3", random_state=1, n_gibbs_steps=100)
    assert dreams.shape == (20, 64)
    assert (dreams >= 0).all()
    assert (dreams <= 1).all()
    assert net.sample(2, label=["digit 3", "digit 4"], n_gibbs_steps=5).shape == (2, 64)
    with pytest.raises(DataError, match="digit 11"):
        net.sample(1, label="digit 11")


def test_dreams_of_a_class_look_like_it(digits: tuple[np.ndarray, ...]) -> None:
    X, _, y, _ = digits
    net = DBNClassifier(
        hidden_layer_sizes=(100, 200), n_iter=40, fine_tune=None, random_state=0
    ).fit(X, y)
    centres = np.stack([X[y == label].mean(0) for label in range(10)])
    wanted = np.arange(200) % 10
    dreams = net.sample(label=wanted, random_state=0, n_gibbs_steps=200)
    nearest = ((dreams[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == wanted).mean() > 0.5


def test_ordinary_cases_score_above_noise(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, _, _ = digits
    net = DBNTransformer(**SMALL).fit(X)
    noise = np.random.default_rng(0).permuted(X_test, axis=1)
    assert (net.score_samples(X_test).mean() - net.score_samples(noise).mean()) > 10


@pytest.mark.parametrize("layer", [1, 2, None])
def test_features_of_any_depth_and_the_way_back(
    digits: tuple[np.ndarray, ...], layer: int | None
) -> None:
    X, X_test, _, _ = digits
    net = DBNTransformer(**SMALL, layer=layer).fit(X)
    H = net.transform(X_test)
    assert H.shape == (300, 64 if layer == 1 else 128)
    assert H.dtype == np.float32
    assert len(net.get_feature_names_out()) == H.shape[1]
    back = net.inverse_transform(H)
    assert ((back - X_test) ** 2).mean() < 0.6 * ((X.mean(0) - X_test) ** 2).mean()
    with pytest.raises(ConfigError, match="layer = 3"):
        net.set_params(layer=3).transform(X)


def test_minus_one_is_a_class_unless_unlabelled_cases_are_asked_for(
    digits: tuple[np.ndarray, ...],
) -> None:
    X, _, y, _ = digits
    few = np.where(np.arange(len(y)) < 60, y, -1)
    assert -1 in DBNClassifier(**{**SMALL, "n_iter": 1}, fine_tune_n_iter=1).fit(X, few).classes_
    net = DBNClassifier(**{**SMALL, "n_iter": 1}, fine_tune_n_iter=1, unlabeled=-1).fit(X, few)
    assert list(net.classes_) == list(range(10))
    with pytest.raises(DataError, match="class"):
        net.fit(X, np.full(len(y), -1))


@pytest.mark.slow
def test_unlabelled_cases_help(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, y, y_test = digits
    gains = []
    for seed in range(3):
        labelled, _ = train_test_split(np.arange(600), train_size=40, random_state=seed, stratify=y)
        few = np.full(600, -1)
        few[labelled] = y[labelled]
        settings = {**SMALL, "n_iter": 30, "fine_tune_n_iter": 20, "random_state": seed}
        alone = DBNClassifier(**settings).fit(X[labelled], y[labelled]).score(X_test, y_test)
        gains.append(
            DBNClassifier(**settings, unlabeled=-1).fit(X, few).score(X_test, y_test) - alone
        )
    assert np.median(gains) > 0


def test_a_net_that_learned_from_few_labels_goes_on(digits: tuple[np.ndarray, ...]) -> None:
    """Epochs from labels that spread, then those from what the net says; what is held out picks
    one; a chunk is an epoch of backpropagation.
    """
    X, X_test, y, y_test = digits
    few = np.where(np.arange(600) < 60, y, -1)
    net = DBNClassifier(
        (48, 64),
        n_iter=5,
        fine_tune_n_iter=8,
        unlabeled=-1,
        early_stopping=True,
        validation_fraction=0.2,
        random_state=0,
    )
    net.fit(X, few)
    assert [line["stage"] for line in net.history_[10:]] == ["backprop"] * 8 + [
        "semi-supervised"
    ] * 8
    assert len(net.validation_scores_) == 8
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.score(X_test, y_test) > 0.6  # chance is 0.1
    before = net.predict_proba(X_test)
    net.partial_fit(X[:100], y[:100])
    assert not np.array_equal(net.predict_proba(X_test), before)


def test_weights_of_few_labelled_cases_are_heeded(digits: tuple[np.ndarray, ...]) -> None:
    X, _, y, _ = digits
    few, weight = np.where(np.arange(600) < 60, y, -1), np.where(y == 3, 20.0, 1.0)
    settings = {
        "hidden_layer_sizes": (48, 64),
        "n_iter": 5,
        "fine_tune_n_iter": 4,
        "unlabeled": -1,
        "random_state": 0,
    }
    output = [
        DBNClassifier(**settings).fit(X, few, sample_weight=each).predict_proba(X)[:, 3].mean()
        for each in (None, weight)
    ]
    assert output[1] > output[0]


@pytest.mark.parametrize("cls", [DBNClassifier, DBNRegressor, DBNTransformer])
def test_a_case_of_no_weight_is_as_good_as_absent(
    digits: tuple[np.ndarray, ...], cls: type
) -> None:
    X, X_test, y, _ = digits
    y = y.astype(float) if cls is DBNRegressor else y
    weight = (np.arange(600) < 400).astype(float) * 3
    settings = {**SMALL, "n_iter": 2} | ({} if cls is DBNTransformer else {"fine_tune_n_iter": 2})
    weighted, without = (
        cls(**settings).fit(X, y, sample_weight=weight),
        cls(**settings).fit(X[:400], y[:400]),
    )
    method = "transform" if cls is DBNTransformer else "predict"
    np.testing.assert_array_equal(
        getattr(weighted, method)(X_test), getattr(without, method)(X_test)
    )


def test_a_memory_that_few_labels_teach_learns_as_long_as_others() -> None:
    """It had an update an epoch, thirty in all, and told 58 to 66 % of other cases' classes, by
    these draws of labels.
    """
    X, y = load_breast_cancer(return_X_y=True)
    settings = {"hidden_layer_sizes": (30,), "fine_tune": None, "unlabeled": -1, "random_state": 0}
    scores = []
    for seed in (0, 3, 4):
        order = np.random.RandomState(seed).permutation(len(y))
        few = np.where(np.arange(400) < 20, y[order[:400]], -1)
        net = DBNClassifier(**settings).fit(X[order[:400]], few)
        scores.append(net.score(X[order[400:]], y[order[400:]]))
    assert min(scores) > 0.75
    assert np.mean(scores) > 0.8
    assert [line["stage"] for line in net.history_] == ["memory"] * 300
    assert (
        DBNClassifier(**settings)._memory_epochs(
            400, torch.from_numpy(np.where(np.arange(400) < 200, 0, -1))
        )
        == 60
    )
    assert DBNClassifier(**settings, n_iter=7)._memory_epochs(400, torch.from_numpy(few)) == 7, (
        "as it says"
    )
    assert DBNClassifier(unlabeled=-1)._memory_epochs(400, torch.from_numpy(few)) == 30, (
        "backpropagation follows"
    )


def test_weights_move_the_classes_balance() -> None:
    rng = np.random.RandomState(0)
    # nothing to see: only the classes' shares can be learned
    X, y = (rng.rand(400, 6) < 0.5).astype(float), np.arange(400) % 2
    net = DBNClassifier((10,), n_iter=5, fine_tune_n_iter=20, random_state=0)
    shares = [
        net.fit(X, y, sample_weight=np.where(y == 1, weight, 1.0)).predict_proba(X)[:, 1].mean()
        for weight in (1.0, 4.0)
    ]
    assert abs(shares[0] - 0.5) < 0.1
    assert abs(shares[1] - 0.8) < 0.1


def test_same_seed_same_result(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, y, _ = digits
    net = DBNClassifier(**{**SMALL, "n_iter": 2}, fine_tune_n_iter=2)
    first, second = (net.fit(X, y).predict_proba(X_test) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, net.set_params(random_state=1).fit(X, y).predict_proba(X_test))


def test_partial_fit_learns_from_chunks(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, y, y_test = digits
    net = DBNClassifier((64,), random_state=0)
    with pytest.raises(DataError, match="classes"):
        net.partial_fit(X[:50], y[:50])
    for _ in range(20):
        for start in range(0, 600, 100):
            net.partial_fit(X[start : start + 100], y[start : start + 100], classes=range(10))
    assert net.score(X_test, y_test) > 0.85
    before = net.fit(X, y).predict_proba(X_test)
    net.partial_fit(X[:100], y[:100])
    assert not np.array_equal(before, net.predict_proba(X_test)), (
        "after fit, an epoch of backpropagation"
    )
    untied = DBNClassifier(**SMALL, fine_tune="updown", fine_tune_n_iter=1).fit(X, y)
    assert untied.partial_fit(X[:100], y[:100]).n_iter_ == 18


def test_warm_start_goes_on_with_the_last_stage(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, y, y_test = digits
    net = DBNClassifier(**SMALL, fine_tune_n_iter=1, warm_start=True).fit(X, y)
    first = net.score(X_test, y_test)
    assert net.set_params(fine_tune_n_iter=20).fit(X, y).n_iter_ == 16 + 1 + 20
    assert net.score(X_test, y_test) >= first
    below = net.dbn_.recognition[0].weight.clone()
    net.fit(X, y)
    assert torch.equal(below, net.dbn_.recognition[0].weight), "pretraining is not done again"
    transformer = DBNTransformer(**{**SMALL, "n_iter": 2}, warm_start=True).fit(X)
    assert transformer.fit(X).n_iter_ == 4 + 2


def test_early_stopping_keeps_the_best_pass(digits: tuple[np.ndarray, ...]) -> None:
    X, _, y, _ = digits
    net = DBNClassifier(**SMALL, early_stopping=True, n_iter_no_change=3, fine_tune_n_iter=60).fit(
        X, y
    )
    scores = net.validation_scores_
    assert len(scores) < 60, "it stopped early"
    assert net.best_validation_score_ == max(scores)
    regressor = DBNRegressor(
        (32,), n_iter=2, early_stopping=True, n_iter_no_change=2, random_state=0
    ).fit(X, X[:, :2])
    assert regressor.best_validation_score_ == max(regressor.validation_scores_)
    with pytest.raises(DataError, match="early_stopping cannot hold out"):
        net.fit(X[:12], y[:12])


@pytest.mark.parametrize("units", [None, "auto"])
@pytest.mark.parametrize(
    "y", [np.array(["a", "b"] * 10), np.array(["a", 1.0] * 10, object), np.zeros(20, "M8[D]")]
)
def test_targets_that_are_no_numbers_are_refused_in_words(y: np.ndarray, units: Any) -> None:
    X = np.random.RandomState(0).rand(20, 3)
    with pytest.raises(DataError, match=r"y holds no numbers .*DBNClassifier tells words"):
        DBNRegressor((5,), units=units).fit(X, y)


def test_regressor_predicts_one_target_or_several() -> None:
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    net = DBNRegressor((50,), n_iter=5, fine_tune_n_iter=60, random_state=0)
    assert net.fit(X, y).score(X_test, y_test) > 0.25
    both = net.fit(X, np.stack([y, -2 * y + 1], 1)).predict(X_test)
    assert both.shape == (len(y_test), 2)
    np.testing.assert_allclose(both[:, 1], -2 * both[:, 0] + 1, atol=0.35 * y.std())
    chunks = DBNRegressor((50,), random_state=0)
    for _ in range(60):
        chunks.partial_fit(X, y)
    assert chunks.score(X_test, y_test) > 0.2
    assert net.partial_fit(X, np.stack([y, y], 1)).predict(X_test).shape == both.shape
    with pytest.raises(ConfigError, match="fine_tune = 'updown'"):
        DBNRegressor(fine_tune="updown").fit(X, y)


@pytest.mark.parametrize("hidden", [(100,), (300,), (300, 600)])
def test_regressors_of_any_width_learn_at_the_default_rate(hidden: tuple[int, ...]) -> None:
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    assert DBNRegressor(hidden, n_iter=5, random_state=0).fit(X, y).score(X_test, y_test) > 0.15


def test_missing_values_are_integrated_out(digits: tuple[np.ndarray, ...]) -> None:
    X, X_test, y, y_test = digits
    X_test, y_test = X_test[:120], y_test[:120]
    holes, holes_test = (
        np.where(np.random.RandomState(1).rand(*each.shape) < 0.2, np.nan, each)
        for each in (X, X_test)
    )
    settings = {**SMALL, "n_iter": 20}
    with pytest.raises(DataError, match=r"NaN.*missing='sample'"):
        DBNClassifier(**settings).fit(holes, y)
    net = DBNClassifier(**settings, missing="sample").fit(holes, y)
    assert net.score(holes_test, y_test) > 0.85
    filled = net.impute(holes_test, how="mean", random_state=0)
    unknown = np.isnan(holes_test)
    np.testing.assert_array_equal(filled[~unknown], holes_test[~unknown])
    error = ((filled - X_test)[unknown] ** 2).mean()
    assert (
        error < 0.7 * ((np.broadcast_to(X.mean(0), X_test.shape) - X_test)[unknown] ** 2).mean()
    ), "better than the columns' means"
    assert set(np.unique(net.impute(holes_test, random_state=0)[unknown])) <= {0.0, 1.0}


def test_values_out_of_range_are_scaled_or_refused() -> None:
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(DataError, match=r"MinMaxScaler"):
        DBNRegressor(scale=None).fit(X, y)
    net = DBNTransformer((10,), n_iter=1, random_state=0).fit(X)
    assert net.scaler_ is not None
    assert net.sample(3, n_gibbs_steps=5).min() < 0, "dreams come in the units of the data"


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": (3, 0)},
        {"n_iter": -1},
        {"n_gibbs_steps": 0},
        {"missing": "no"},
        {"fine_tune": "sgd"},
    ],
)
def test_parameters_that_cannot_work_are_refused(
    digits: tuple[np.ndarray, ...], wrong: dict[str, object]
) -> None:
    X, _, y, _ = digits
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} = "):
        DBNClassifier(**wrong).fit(X, y)


@pytest.mark.parametrize("kind", [DBNClassifier, DBNRegressor])
@pytest.mark.parametrize("wrong", [{"fine_tune_n_iter": -1}, {"fine_tune_learning_rate": 0.0}])
def test_fine_tuning_that_cannot_work_is_refused_before_pretraining_by_its_parameter(
    digits: tuple[np.ndarray, ...], kind: type, wrong: dict[str, object], monkeypatch
) -> None:
    X, _, y, _ = digits
    monkeypatch.setattr(kind, "_pretrain", lambda *args: pytest.fail("pretrained all the same"))
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} = "):
        kind(**wrong).fit(X, y)


def test_verbose_shows_a_bar(
    digits: tuple[np.ndarray, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    X, _, y, _ = digits
    DBNClassifier((10,), n_iter=2, fine_tune_n_iter=2, verbose=2, random_state=0).fit(X, y)
    err = capsys.readouterr().err
    assert "DBNClassifier, memory, epoch 2 of 2" in err
    assert "backprop" in err


@pytest.mark.parametrize(
    ("net", "say"),
    [
        (DBNClassifier((9, 7), fine_tune=None, missing="sample"), "predict_proba"),
        (DBNTransformer((9, 7), missing="sample"), "transform"),
        (BernoulliRBM(9, missing="sample"), "score_samples"),
        (TableRBM(9), "score_samples"),
    ],
)
def test_what_is_said_of_a_case_with_holes_does_not_depend_on_those_beside_it(
    net: Any, say: str
) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((12, 6)), np.arange(12) % 2
    X[rng.random(X.shape) < 0.2] = np.nan
    net.set_params(n_iter=1, random_state=0).fit(X, y)
    all_at_once = getattr(net, say)(X)
    each_alone = np.concatenate([getattr(net, say)(X[[row]]) for row in range(5)])
    np.testing.assert_allclose(all_at_once[:5], each_alone, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(getattr(net, say)(X), all_at_once)
