"""scikit-learn's own checks, every one of them, on every estimator."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from wakesleep.estimators import (
    BernoulliRBM,
    DBMClassifier,
    DBNClassifier,
    DBNRegressor,
    DBNTransformer,
    MultimodalDBNClassifier,
    TableRBM,
)

STOCHASTIC = (
    "an epoch shows cases in minibatches of a random order and draws states at random, so that "
    "repeated cases and weighted ones meet other random numbers; they agree in expectation only "
    "(test_identities_orders.py)"
)
EQUIVALENCE = {
    "check_sample_weight_equivalence_on_dense_data": STOCHASTIC,
    "check_sample_weight_equivalence_on_sparse_data": STOCHASTIC,
}

SMALL = {"hidden_layer_sizes": (20, 20), "n_iter": 5}
ESTIMATORS = [
    BernoulliRBM(n_components=20),
    DBNTransformer(**SMALL),
    DBNClassifier(**SMALL, fine_tune_n_iter=30),
    DBMClassifier(
        (20, 20),
        pretrain_n_iter=2,
        n_iter=5,
        batch_size=10,
        fine_tune_n_iter=20,
        fine_tune_learning_rate=0.5,
    ),
    MultimodalDBNClassifier(hidden_layer_sizes=20, top_size=20, n_iter=5, fine_tune_n_iter=60),
    DBNRegressor((20,), n_iter=5, fine_tune_n_iter=100),
]
WITHOUT_FINE_TUNING = [
    DBNClassifier((50,), n_iter=100, batch_size=10, learning_rate=0.3, fine_tune=None),
    DBNRegressor((50,), n_iter=30, fine_tune=None, fine_tune_n_iter=300),
]
TABLES = [DBNTransformer(**SMALL, units="auto")]
MORE_OF_TABLES = [
    TableRBM(10, n_iter=5),
    DBNClassifier(**SMALL, units="auto", fine_tune_n_iter=30),
    DBNRegressor((20,), n_iter=5, units="auto", fine_tune_n_iter=100),
]
UP_DOWN = DBNClassifier(
    (20, 50),
    n_iter=100,
    batch_size=10,
    learning_rate=0.3,
    fine_tune="updown",
    fine_tune_n_iter=100,
    fine_tune_learning_rate=0.1,
)


@pytest.mark.filterwarnings("ignore::wakesleep.estimators.ranges.RangeWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


@parametrize_with_checks(TABLES, expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks_of_tables(estimator, check) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::wakesleep.estimators.ranges.RangeWarning")
@parametrize_with_checks(WITHOUT_FINE_TUNING, expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks_without_fine_tuning(estimator, check) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE_OF_TABLES, expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks_of_more_of_tables(estimator, check) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::wakesleep.estimators.ranges.RangeWarning")
@parametrize_with_checks([UP_DOWN], expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks_of_contrastive_wake_sleep(estimator, check) -> None:
    check(estimator)
