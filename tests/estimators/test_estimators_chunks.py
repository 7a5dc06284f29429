"""Data larger than memory: memory-mapped arrays are read where they lie, and chunks teach what the
whole does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wakesleep.estimators import BernoulliRBM, DBNClassifier, DBNRegressor, DBNTransformer
from wakesleep.learning import backprop, cd, greedy

X, Y = load_digits(return_X_y=True)
X = (X[:600] / 16).astype(np.float32)
Y = Y[:600]
QUICK: dict[str, Any] = {"hidden_layer_sizes": (20, 30), "n_iter": 2, "random_state": 0}
ESTIMATORS = {
    "rbm": (BernoulliRBM(12, n_iter=2, random_state=0), "transform", {(cd, "epochs")}),
    "transformer": (DBNTransformer(**QUICK), "transform", {(greedy, "epochs")}),
    "classifier": (
        DBNClassifier(**QUICK, fine_tune_n_iter=2),
        "predict_proba",
        {(greedy, "epochs"), (backprop, "epochs")},
    ),
    "regressor": (
        DBNRegressor(**QUICK, fine_tune_n_iter=2),
        "predict",
        {(greedy, "epochs"), (backprop, "epochs")},
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_memory_map_is_read_where_it_lies(
    name: str, weighted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loops are handed the file's own memory, no copy, and learn what they learn from an
    array.
    """
    estimator, method, loops = ESTIMATORS[name]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    where: list[int] = []

    def spied(loop: Any, place: int) -> Any:
        def watching(*given: Any, **options: Any) -> Any:
            where.append(given[place].data_ptr())
            return loop(*given, **options)

        return watching

    how = {"sample_weight": 1.0 + np.arange(600) % 3} if weighted else {}
    expected = getattr(estimator.fit(X, Y, **how), method)(X)
    for module, loop in loops:
        monkeypatch.setattr(module, loop, spied(getattr(module, loop), 1))
    actual = getattr(estimator.fit(mapped, Y, **how), method)(mapped)
    assert where.count(mapped.ctypes.data) == len(loops)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_chunks_of_a_memory_map_teach(name: str, tmp_path: Path) -> None:
    """Chunks straight from the file give what the same chunks of an array give; the model gets
    better with them.
    """
    estimator, method, _ = ESTIMATORS[name]
    np.save(tmp_path / "X.npy", X)
    results = []
    for cases in (X, np.load(tmp_path / "X.npy", mmap_mode="r")):
        learner = type(estimator)(**estimator.get_params())
        for _ in range(4):
            for start in range(0, 600, 200):
                chunk = slice(start, start + 200)
                how = {"classes": range(10)} if name == "classifier" else {}
                assert learner.partial_fit(cases[chunk], Y[chunk], **how) is learner
        results.append(getattr(learner, method)(X))
    np.testing.assert_array_equal(*results)
    if name in ("classifier", "regressor"):
        assert learner.score(X, Y) > (0.3 if name == "classifier" else 0.0)
    else:
        once = type(estimator)(**estimator.get_params()).partial_fit(X[:200])
        errors = [
            np.square(each.inverse_transform(each.transform(X)) - X).mean()
            for each in (once, learner)
        ]
        assert errors[1] < errors[0]
