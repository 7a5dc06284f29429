"""A net of sigmoids may rest where it says the same of all cases: fine-tuning goes on from there,
or says that it did not help.
"""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_circles
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from wakesleep.estimators import DBNClassifier


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [False, True])
def test_easy_classes_without_a_linear_border_are_learned_at_the_defaults(
    early_stopping: bool,
) -> None:
    X, y = make_circles(600, noise=0.08, factor=0.5, random_state=1)
    nets = [
        DBNClassifier(early_stopping=early_stopping, random_state=seed).fit(X[:400], y[:400])
        for seed in (1, 2, 3)
    ]
    # 20 epochs alone end at 0.49; processors round differently, and one seed may stop early
    assert np.median([net.score(X[400:], y[400:]) for net in nets]) > 0.9
    net = nets[0]
    assert net.n_iter_ > 80
    if early_stopping:
        assert net.best_validation_score_ == max(net.validation_scores_)


def test_noisy_labels_are_no_plateau() -> None:
    rng = np.random.RandomState(0)
    X = rng.normal(size=(500, 4))
    # who is likely to leave: 3 in 10 on the average, and hardly anybody surely
    y = rng.rand(500) < 1 / (1 + np.exp(1.1 - 0.8 * X[:, 0] - 0.5 * X[:, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        net = DBNClassifier(random_state=0).fit(X, y)
    assert [line["stage"] for line in net.history_].count("backprop") == 20
    assert roc_auc_score(y, net.predict_proba(X)[:, 1]) > 0.7


def test_a_net_that_cannot_learn_says_so() -> None:
    rng = np.random.RandomState(0)
    X, y = rng.rand(60, 3), np.arange(60) % 2
    with pytest.warns(ConvergenceWarning, match="the net has hardly learned"):
        DBNClassifier((5, 5), n_iter=1, fine_tune_n_iter=1, random_state=0).fit(X, y)


def test_passes_that_were_asked_for_are_not_repeated() -> None:
    X, y = make_circles(200, noise=0.08, factor=0.5, random_state=1)
    with pytest.warns(ConvergenceWarning):
        net = DBNClassifier((20, 20), n_iter=1, fine_tune_n_iter=2, random_state=0).fit(X, y)
    assert [line["stage"] for line in net.history_].count("backprop") == 2
