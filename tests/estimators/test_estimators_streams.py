"""Going on: chunks of a stream, warm starts with other parameters, and what a failed call leaves
behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import NotFittedError

from wakesleep.estimators import BernoulliRBM, DBNClassifier, DBNRegressor, DBNTransformer
from wakesleep.estimators.ranges import RangeWarning
from wakesleep.estimators.tuned import moments
from wakesleep.foundation.errors import ConfigError, DataError

X, Y = load_digits(return_X_y=True)
X, Y = X[:400], Y[:400]  # pixels from 0 to 16: "auto" has something to scale
TINY: dict[str, Any] = {"hidden_layer_sizes": (30,), "random_state": 0}


def chunks(size: int = 100) -> list[slice]:
    return [slice(start, start + size) for start in range(0, len(X), size)]


def test_the_mark_of_unlabelled_cases_is_no_class_of_a_stream() -> None:
    few = np.where(np.arange(400) % 2, Y, -1)
    net = DBNClassifier(**TINY, unlabeled=-1).partial_fit(
        X[:100], few[:100], classes=np.unique(few)
    )
    assert list(net.classes_) == list(range(10))
    assert net.partial_fit(X[100:], few[100:]).predict_proba(X).shape == (400, 10)


UNKNOWN = {
    "float": np.array([0, 1, 1, np.nan] * 10),
    "object": np.array([0, 1, 1, None] * 10, dtype=object),
    "words": np.array(["a", "b", "b", None] * 10, dtype=object),
    "Int64": pd.Series([0, 1, 1, None] * 10, dtype="Int64"),
    "string": pd.Series(["a", "b", "b", None] * 10, dtype="string"),
    "category": pd.Series(["a", "b", "b", None] * 10, dtype="category"),
    "list": [0, 1, 1, float("nan")] * 10,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_missing_values_of_y_are_unlabelled_where_the_mark_is_one(name: str) -> None:
    """They were refused, or taken for a class, whatever `unlabeled` said."""
    cases, y = X[:40] / 16, UNKNOWN[name]
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (5,),
        "n_iter": 1,
        "fine_tune_n_iter": 1,
        "random_state": 0,
        "class_weight": {},
    }
    words = name in ("words", "string", "category")
    classes = (
        np.array(["a", "b"])
        if words
        else np.array([0.0, 1.0])
        if name == "float"
        else np.array([0, 1])
    )
    by_word = np.tile(["a", "b", "b", "?"], 10) if words else np.tile([0, 1, 1, -1], 10)
    expected = DBNClassifier(**settings, unlabeled="?" if words else -1).fit(cases, by_word)
    for mark in (np.nan, pd.NA):
        net = DBNClassifier(**settings, unlabeled=mark).fit(cases, y)
        np.testing.assert_array_equal(net.classes_, classes)
        assert net.classes_.dtype.kind == classes.dtype.kind
        np.testing.assert_array_equal(net.predict_proba(cases), expected.predict_proba(cases))
        stream = DBNClassifier(**settings, unlabeled=mark).partial_fit(
            cases, y, classes=[*classes, mark]
        )
        stream.partial_fit(cases, [None] * 40)
        assert stream.predict(cases).dtype == net.classes_.dtype
    with pytest.raises(DataError, match=r"unlabeled=np\.nan"):
        DBNClassifier(**settings).fit(cases, y)


@pytest.mark.parametrize(
    ("mark", "y"),
    [("-1", [0, 1, -1, 1]), ("-1", [0.0, 1.0, -1.0, 1.0]), (-1, ["0", "1", "-1", "1"])],
)
def test_a_mark_that_y_cannot_hold_is_refused(mark: Any, y: Any) -> None:
    with pytest.raises(ConfigError, match="unlabeled = "):
        DBNClassifier((5,), unlabeled=mark).fit(X[:4], y)
    with pytest.raises(ConfigError, match="unlabeled = "):
        DBNClassifier((5,), unlabeled=mark).partial_fit(X[:4], y, classes=np.unique(y))


def test_a_stream_keeps_its_classes() -> None:
    net = DBNClassifier((5,), unlabeled=-1, random_state=0).partial_fit(
        X[:50], Y[:50] % 2, classes=[0, 1]
    )
    net.partial_fit(X[:50], Y[:50] % 2, classes=[-1, 1, 0])
    with pytest.raises(DataError, match=r"classes = \[0, 1, 2\] came.*\[0, 1\]"):
        net.partial_fit(X[:50], Y[:50] % 2, classes=[0, 1, 2])


@pytest.mark.parametrize("label", [[0, 1], [0, 1, 0, 1], [1], [[0, 1, 0]]])
def test_labels_are_one_or_as_many_as_samples(label: Any) -> None:
    """Two labels for three samples gave two rows."""
    net = DBNClassifier((5,), random_state=0).partial_fit(X[:50], Y[:50] % 2, classes=[0, 1])
    assert (
        net.sample(3, label=[0, 1, 0], n_gibbs_steps=1).shape
        == net.sample(3, label=1, n_gibbs_steps=1).shape
        == (3, 64)
    )
    assert net.sample(label=[0, 1], n_gibbs_steps=1).shape == (2, 64)
    assert net.sample(n_gibbs_steps=1).shape == (1, 64)
    with pytest.raises(DataError, match="n_samples = 3"):
        net.sample(3, label=label, n_gibbs_steps=1)


@pytest.mark.parametrize("fine_tune", ["backprop", "updown", "hybrid", None])
@pytest.mark.parametrize("hidden", [(30,), (20, 30)])
def test_a_chunk_without_labels_is_no_end_of_a_stream(
    fine_tune: Any, hidden: tuple[int, ...]
) -> None:
    net = DBNClassifier(hidden, fine_tune=fine_tune, unlabeled=-1, random_state=0)
    nobody = np.full(100, -1)
    net.partial_fit(X[:100], nobody, classes=range(10))
    with pytest.raises(NotFittedError, match="label"):
        net.predict(X)
    net.partial_fit(X[100:200], Y[100:200]).partial_fit(X[:100], nobody)
    assert net.predict(X).shape == (400,)
    fitted = DBNClassifier(
        hidden, n_iter=1, fine_tune=fine_tune, fine_tune_n_iter=1, unlabeled=-1, random_state=0
    ).fit(X, Y)
    fitted.partial_fit(X[:100], nobody)
    assert fitted.predict(X).shape == (400,)


def test_directed_layers_learn_from_a_chunk_without_labels() -> None:
    net = DBNClassifier((20, 30), unlabeled=-1, random_state=0).partial_fit(
        X[:100], Y[:100], classes=range(10)
    )
    below, top = net.dbn_.recognition[0].weight.clone(), net.dbn_.memory.weight.clone()
    net.partial_fit(X[100:200], np.full(100, -1))
    assert not np.array_equal(below, net.dbn_.recognition[0].weight)
    np.testing.assert_array_equal(top, net.dbn_.memory.weight)


@pytest.mark.parametrize("blank", [0.0, 1.0])
def test_a_blank_first_chunk_does_not_settle_the_range(blank: float) -> None:
    """Zeros lie in [0, 1], and so did everything that came after them, clipped."""
    net = DBNClassifier(**TINY).partial_fit(np.full((50, 64), blank), Y[:50], classes=range(10))
    assert net.scaler_ is None
    for _ in range(30):
        for chunk in chunks():
            net.partial_fit(X[chunk], Y[chunk])
    assert net.scaler_.data_max_.max() == 16
    assert net.score(X, Y) > 0.7
    for other in (DBNTransformer(**TINY), DBNRegressor(**TINY), BernoulliRBM(10, scale="auto")):
        for cases in (np.full((50, 64), blank), X):
            other.partial_fit(cases, Y[: len(cases)].astype(float))
        assert other.scaler_.data_max_.max() == 16


@pytest.mark.parametrize("scale", [1, 16])
def test_a_chunk_outside_the_range_of_a_fit_is_told(scale: int, tmp_path: Path) -> None:
    """The range grows in a stream, and not after a fit, which nobody said."""
    cases = X / 16 * scale
    settings: dict[str, Any] = {"n_iter": 1, "random_state": 0}
    net = DBNClassifier((5,), fine_tune_n_iter=1, **settings)
    for estimator in (
        net,
        DBNTransformer((5,), **settings),
        BernoulliRBM(5, scale="auto", **settings),
    ):
        estimator.fit(cases, Y).partial_fit(cases, Y)
        settled = estimator.scaler_
        with pytest.warns(RangeWarning, match="columns [12], .* more lie outside"):
            estimator.partial_fit(100 * cases, Y)
        assert estimator.scaler_ is settled
        estimator.save(tmp_path / "net.safetensors")
        with pytest.warns(RangeWarning, match="begin with partial_fit"):
            type(estimator).load(tmp_path / "net.safetensors").partial_fit(
                sp.csr_matrix(100 * cases), Y
            )
    DBNTransformer((5,), random_state=0).partial_fit(cases).partial_fit(100 * cases)


def test_targets_of_a_stream_are_standardised_by_all_that_came() -> None:
    y = 1000.0 + 50 * Y
    net = DBNRegressor(**TINY).partial_fit(X[:50], np.zeros(50))
    before = net.predict(X)
    for _ in range(2):
        for chunk in chunks():
            net.partial_fit(X[chunk], y[chunk])
    came = np.concatenate([np.zeros(50), y, y])
    np.testing.assert_allclose(net.target_mean_, [came.mean()])
    np.testing.assert_allclose(net.target_scale_, [came.std()])
    moved = DBNRegressor(**TINY).partial_fit(X[:50], np.zeros(50))
    moved._count_targets(y)
    np.testing.assert_allclose(moved.predict(X), before, atol=1e-2)
    with pytest.raises(DataError, match=r"y of shape \(400, 2\)"):
        net.partial_fit(X, np.stack([y, y], 1))


@pytest.mark.parametrize("missing", ["error", "sample"])
def test_what_raises_leaves_the_estimator_as_it_was(missing: str) -> None:
    """A first call that failed half way used to leave random weights behind that predicted."""
    net = DBNClassifier(**TINY, missing=missing)
    with pytest.raises(ConfigError):
        net.set_params(n_iter=-1).partial_fit(X, Y, classes=range(10))
    with pytest.raises(NotFittedError):
        net.predict(X)
    net.set_params(n_iter=1, fine_tune_n_iter=1).fit(X, Y)
    before = net.predict_proba(X)
    with pytest.raises(ConfigError):
        net.set_params(fine_tune_learning_rate=-1).fit(X[:, :10], Y)
    assert net.n_features_in_ == 64
    np.testing.assert_array_equal(net.predict_proba(X), before)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("estimator", [DBNClassifier, DBNRegressor, DBNTransformer])
def test_a_net_of_other_sizes_is_not_gone_on_with(estimator: type, method: str) -> None:
    net = estimator(**TINY, n_iter=1, warm_start=True).fit(X, Y)
    with pytest.raises(ConfigError, match=r"hidden_layer_sizes = \(20, 10\)"):
        getattr(net.set_params(hidden_layer_sizes=(20, 10)), method)(X, Y)
    assert net.set_params(warm_start=False).fit(X, Y).dbn_.sizes == (64, 20, 10)
    rbm = BernoulliRBM(5, n_iter=1, warm_start=True, scale="auto").fit(X)
    with pytest.raises(ConfigError, match="n_components = 6"):
        getattr(rbm.set_params(n_components=6), method)(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_way_of_fine_tuning_answers_after_a_warm_start(method: str) -> None:
    net = DBNClassifier(
        (20, 30), n_iter=1, fine_tune_n_iter=1, warm_start=True, random_state=0
    ).fit(X, Y)
    assert hasattr(net, "net_")
    for fine_tune in (None, "backprop", "updown", "hybrid"):
        before = net.predict_proba(X)
        getattr(net.set_params(fine_tune=fine_tune), method)(X, Y)
        assert hasattr(net, "net_") == (fine_tune == "backprop" and method == "fit"), (
            "else the memory answers"
        )
        assert not np.array_equal(net.predict_proba(X), before)
    if method == "fit":
        with pytest.raises(ConfigError, match="untied"):
            net.set_params(fine_tune=None).fit(X, Y)


def test_missing_values_are_drawn_from_the_net_when_fine_tuning_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They used to be tosses of the columns' means, whatever had been learned."""
    from wakesleep.learning import backprop

    bits = (X > 8).astype(float)
    # six copies of a bit: what is missing is known from the others
    pair = np.tile(bits[:, 20:21], (1, 6))
    holes = pair.copy()
    holes[::2, 0] = np.nan
    net = DBNClassifier(
        (10, 10),
        n_iter=30,
        fine_tune_n_iter=1,
        missing="sample",
        warm_start=True,
        random_state=0,
        batch_size=20,
    )
    net.fit(holes, pair[:, 0])
    seen = []
    monkeypatch.setattr(
        backprop,
        "epochs",
        lambda net, images, *_, **__: seen.append(images.numpy().copy()) or iter(()),
    )
    net.fit(holes, pair[:, 0])
    assert (seen[0][:, 0] == pair[:, 0]).mean() > 0.9


TABLE, CLASSES = make_classification(
    1500, 6, n_informative=4, n_redundant=0, class_sep=1.5, random_state=0
)


def test_chunks_of_real_numbers_teach_the_classes() -> None:
    """The memory's label free energies answered, and said one class of all."""
    net = DBNClassifier((60, 60), random_state=0)
    for _ in range(6):
        for start in range(0, 1000, 100):
            net.partial_fit(
                TABLE[start : start + 100], CLASSES[start : start + 100], classes=[0, 1]
            )
    assert net.score(TABLE[1000:], CLASSES[1000:]) > 0.8
    assert [line["stage"] for line in net.history_] == ["backprop"] * 60
    assert net.sample(2, label=1, n_gibbs_steps=5).shape == (2, 6), (
        "the generative model has learned beside it"
    )


def test_a_stream_centres_and_draws_by_all_that_came() -> None:
    """A blank first chunk says nothing of what follows: not that values are bits, nor where their
    middle is.
    """
    cases = (TABLE - TABLE.min(0)) / np.ptp(TABLE, axis=0)
    net = DBNClassifier((30,), random_state=0).partial_fit(
        np.zeros((100, 6)), CLASSES[:100], classes=[0, 1]
    )
    for _ in range(6):
        for start in range(0, 1000, 100):
            net.partial_fit(cases[start : start + 100], CLASSES[start : start + 100])
    assert not net.sample_visible_
    np.testing.assert_allclose(
        moments(net._sums)["mean"], np.tile(cases[:1000], (6, 1)).sum(0) / 6100, rtol=1e-5
    )
    assert net.score(cases[1000:], CLASSES[1000:]) > 0.8


def test_the_net_of_a_stream_begins_with_layers_that_learned_without_labels() -> None:
    nobody = np.full(100, -1)
    net = DBNClassifier((20, 30), fine_tune_learning_rate=1e-12, unlabeled=-1, random_state=0)
    net.partial_fit(X[:100], nobody, classes=range(10)).partial_fit(X[100:200], Y[100:200])
    np.testing.assert_allclose(
        net.net_[0].weight.detach().t(), net.dbn_.recognition[0].weight, atol=1e-6
    )
    bits = DBNClassifier((20, 30), sample_visible=True, unlabeled=-1, random_state=0)
    assert bits.partial_fit(TABLE, CLASSES, classes=[0, 1]).sample_visible_, "what was said is kept"
