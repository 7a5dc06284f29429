"""The classifier of several views: columns by name, number or slice, views that are absent, recall
in the units of the data, refusals.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from wakesleep.estimators import MultimodalDBNClassifier
from wakesleep.foundation.errors import ConfigError, DataError

VIEWS = {"bits": [0, 1, 2, 3], "numbers": slice(4, 7)}
SMALL = {"hidden_layer_sizes": 15, "top_size": 30, "n_iter": 10, "random_state": 0}


def table(count=200, seed=0):
    """Return four bits and three numbers that both tell one of two classes, and the classes."""
    source = np.random.RandomState(seed)
    y = source.randint(2, size=count)
    bits = (source.rand(count, 4) < np.where(y[:, None] == 1, 0.9, 0.1)).astype(float)
    numbers = 50 + 20 * y[:, None] + 4 * source.randn(count, 3)
    return np.hstack([bits, numbers]), np.array(["no", "yes"])[y]


@pytest.fixture(scope="module")
def fitted():
    X, y = table()
    return MultimodalDBNClassifier(VIEWS, fine_tune_n_iter=30, **SMALL).fit(X, y)


def test_units_are_chosen_by_view_and_columns_may_come_by_name(fitted):
    assert fitted.units_ == {"bits": "binary", "numbers": "gaussian"}
    X, y = table()
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    named = MultimodalDBNClassifier(
        {"bits": list("abcd"), "numbers": list("efg")}, fine_tune_n_iter=30, **SMALL
    )
    assert np.array_equal(named.fit(frame, y).predict_proba(frame), fitted.predict_proba(X))


def test_classes_are_told_by_either_view_alone(fitted):
    X, y = table(seed=1)
    for absent in (slice(0, 0), slice(0, 4), slice(4, 7)):
        part = X.copy()
        part[:, absent] = np.nan
        assert fitted.score(part, y) > 0.9
    mixed = X.copy()
    mixed[:50, :4], mixed[50:100, 4:] = np.nan, np.nan
    assert fitted.score(mixed, y) > 0.9


def test_the_memory_alone_tells_classes_too_and_sums_absent_views_out():
    X, y = table()
    net = MultimodalDBNClassifier(VIEWS, fine_tune=None, **{**SMALL, "n_iter": 40}).fit(X, y)
    X, y = table(seed=1)
    assert net.score(X, y) > 0.9
    X[:, 4:] = np.nan
    probs = net.predict_proba(X)
    assert net.score(X, y) > 0.85
    assert np.allclose(probs.sum(1), 1)


def test_absent_views_are_recalled_in_the_units_of_the_data():
    fitted = MultimodalDBNClassifier(VIEWS, fine_tune=None, **{**SMALL, "n_iter": 80})
    fitted.fit(*table())
    X, y = table(seed=1)
    absent = X.copy()
    absent[::2, 4:] = np.nan
    filled = fitted.recall(absent)
    assert np.array_equal(filled[1::2], X[1::2])
    assert np.array_equal(filled[:, :4], X[:, :4])
    means = [filled[::2, 4:][y[::2] == label].mean() for label in ("no", "yes")]
    assert means[1] - means[0] > 8


def test_views_absent_from_training_cases_are_no_hindrance():
    X, y = table()
    X[:60, :4], X[60:120, 4:] = np.nan, np.nan
    net = clone(MultimodalDBNClassifier(VIEWS, fine_tune_n_iter=30, **SMALL)).fit(X, y)
    X, y = table(seed=1)
    assert net.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"senses": {"a": [0, 9]}}, "expected columns of the 7"),
        ({"senses": {"a": [0, 1], "b": [1]}}, "came before"),
        ({"senses": {"a": ["x"]}}, "X came without names"),
        ({"senses": {"a": []}}, "at least one"),
        ({"senses": {"label": [0]}}, "name is taken"),
        ({"units": "counts"}, "units of bits"),
        ({"hidden_layer_sizes": {"bits": 3}}, "the view numbers too"),
        ({"fine_tune": "updown"}, "fine_tune"),
        ({"fine_tune_n_iter": -1}, "fine_tune_n_iter"),
    ],
)
def test_parameters_that_cannot_work_are_refused_in_words(options, words):
    X, y = table(30)
    net = MultimodalDBNClassifier(**{"senses": VIEWS, **SMALL, "n_iter": 1, **options})
    with pytest.raises(ConfigError, match=words):
        net.fit(X, y)


def test_views_known_in_part_and_views_nobody_has_are_refused_in_words():
    X, y = table(30)
    X[3, 1] = np.nan
    with pytest.raises(DataError, match="sense bits: 1 of 30 cases are known in part"):
        MultimodalDBNClassifier(VIEWS, **SMALL).fit(X, y)
    X[:, :4] = np.nan
    with pytest.raises(DataError, match="no case has the view bits"):
        MultimodalDBNClassifier(VIEWS, **SMALL).fit(X, y)
