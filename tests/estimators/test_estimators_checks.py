"""scikit-learn's own checks, every one of them, on every estimator."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from wakesleep.estimators import BernoulliRBM

STOCHASTIC = (
    "a pass shows cases in minibatches of a random order and draws states at random, so that repeated cases and weighted ones meet other "
    "random numbers; they agree in expectation only (test_estimators_weights.py)"
)
EQUIVALENCE = {
    "check_sample_weight_equivalence_on_dense_data": STOCHASTIC,
    "check_sample_weight_equivalence_on_sparse_data": STOCHASTIC,
}


@pytest.mark.filterwarnings("ignore::wakesleep.estimators.shared.RangeWarning")
@parametrize_with_checks([BernoulliRBM(n_components=20, random_state=0)], expected_failed_checks=lambda estimator: EQUIVALENCE)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)
