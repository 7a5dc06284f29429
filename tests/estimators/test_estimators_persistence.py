"""Estimators to files and back: pickle across processes, joblib, skops, safetensors, torch.export,
ONNX.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

import wakesleep as ws
from wakesleep.estimators import BernoulliRBM, DBNClassifier, DBNRegressor, DBNTransformer, export
from wakesleep.foundation.errors import CheckpointError

X, Y = load_digits(return_X_y=True)
X, Y = X[:300], Y[:300]
QUICK = {"hidden_layer_sizes": (20, 30), "n_iter": 3, "random_state": 0}
ESTIMATORS = {
    "rbm": (BernoulliRBM(12, n_iter=3, random_state=0, scale="auto"), "transform"),
    "transformer": (DBNTransformer(**QUICK), "transform"),
    "first layer": (DBNTransformer(**QUICK, layer=1), "transform"),
    "backprop": (DBNClassifier(**QUICK, fine_tune_n_iter=3), "predict_proba"),
    "memory": (DBNClassifier(**QUICK, fine_tune=None), "predict_proba"),
    "updown": (DBNClassifier(**QUICK, fine_tune="updown", fine_tune_n_iter=2), "predict_proba"),
    "regressor": (DBNRegressor(**QUICK, fine_tune_n_iter=3), "predict"),
}


@pytest.fixture(scope="module")
def every_fitted() -> dict[str, tuple[object, str]]:
    names = np.array([f"digit {label}" for label in range(10)])
    return {
        name: (estimator.fit(X, names[Y] if isinstance(estimator, DBNClassifier) else Y), method)
        for name, (estimator, method) in ESTIMATORS.items()
    }


@pytest.fixture(params=ESTIMATORS)
def fitted(
    request: pytest.FixtureRequest, every_fitted: dict[str, tuple[object, str]]
) -> tuple[object, str]:
    return every_fitted[request.param]


def same(fitted: tuple[object, str], again: object, **tolerance: float) -> None:
    estimator, method = fitted
    np.testing.assert_allclose(
        getattr(again, method)(X), getattr(estimator, method)(X), **(tolerance or {"rtol": 1e-7})
    )


def test_pickle_and_joblib(fitted: tuple[object, str], tmp_path: Path) -> None:
    same(fitted, pickle.loads(pickle.dumps(fitted[0])))
    joblib.dump(fitted[0], tmp_path / "net.joblib")
    again = joblib.load(tmp_path / "net.joblib", mmap_mode="r")
    same(fitted, again)
    # goes on learning
    again.partial_fit(X, None if fitted[1] == "transform" else fitted[0].predict(X))


def test_pickle_across_processes(
    every_fitted: dict[str, tuple[object, str]], tmp_path: Path
) -> None:
    """One other process loads them all: most of its time goes into importing."""
    (tmp_path / "nets.pickle").write_bytes(
        pickle.dumps({name: pickle.dumps(fitted) for name, fitted in every_fitted.items()})
    )
    np.save(tmp_path / "X.npy", X)
    code = """
import pickle
import numpy as np
X = np.load("X.npy")
for name, each in pickle.load(open("nets.pickle", "rb")).items():
    estimator, method = pickle.loads(each)
    np.save(name + ".npy", getattr(estimator, method)(X))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    for name, (estimator, method) in every_fitted.items():
        np.testing.assert_allclose(
            np.load(tmp_path / f"{name}.npy"), getattr(estimator, method)(X), rtol=1e-7
        )


def test_a_pickle_holds_plain_arrays_so_that_any_device_can_load_it(
    fitted: tuple[object, str],
) -> None:
    def kinds(value: object) -> set[type]:
        inner = value.values() if isinstance(value, dict) else ()
        return {type(value)}.union(*map(kinds, inner))

    assert not any(
        issubclass(kind, torch.Tensor | torch.nn.Module) for kind in kinds(fitted[0].__getstate__())
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to learn on")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_learned_on_a_gpu_is_loaded_where_there_is_none(name: str, tmp_path: Path) -> None:
    estimator, method = ESTIMATORS[name]
    learned = clone(estimator).set_params(device="cuda").fit(X, Y)
    (tmp_path / "net.pickle").write_bytes(pickle.dumps(learned))
    np.save(tmp_path / "X.npy", X)
    load = "import pickle, numpy as np; e = pickle.load(open('net.pickle', 'rb')); e.device = 'cpu'"
    code = f"{load}; np.save('out.npy', e.{method}(np.load('X.npy')))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), getattr(learned, method)(X), rtol=1e-4, atol=1e-5
    )


def test_skops(fitted: tuple[object, str], tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    skops.dump(fitted[0], tmp_path / "net.skops")
    unknown = skops.get_untrusted_types(file=tmp_path / "net.skops")
    assert all(name.startswith("wakesleep.estimators.") for name in unknown), unknown
    same(fitted, skops.load(tmp_path / "net.skops", trusted=unknown))


def test_safetensors(fitted: tuple[object, str], tmp_path: Path) -> None:
    estimator, _ = fitted
    path = tmp_path / "net.safetensors"
    estimator.save(path)
    again = type(estimator).load(path)
    same(fitted, again)
    assert again.get_params() == estimator.get_params()
    if hasattr(estimator, "classes_"):
        assert list(again.classes_) == list(estimator.classes_)
        assert again.classes_.dtype == estimator.classes_.dtype
        assert again.sample(2, label="digit 3", n_gibbs_steps=3).shape == (2, 64)
    assert ws.load(path).sizes[0] == 64, "the core reads the same file"
    other = DBNRegressor if not isinstance(estimator, DBNRegressor) else BernoulliRBM
    with pytest.raises(
        CheckpointError, match=f"holds a {type(estimator).__name__}; expected a {other.__name__}"
    ):
        other.load(path)


def test_a_run_is_no_estimator(run_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="net without an estimator's parameters"):
        DBNClassifier.load(run_folder / "model.safetensors")


def test_torch_export(fitted: tuple[object, str], tmp_path: Path) -> None:
    program = export.torch_program(fitted[0])
    torch.export.save(program, tmp_path / "net.pt2")
    out = (
        torch.export.load(tmp_path / "net.pt2")
        .module()(torch.from_numpy(X.astype(np.float32)))
        .numpy()
    )
    expected = getattr(fitted[0], fitted[1])(X)
    np.testing.assert_allclose(out.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_onnx_agrees_with_onnxruntime(fitted: tuple[object, str], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export.onnx(fitted[0], tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    for count in (1, 300):
        (out,) = session.run(["output"], {"cases": X[:count].astype(np.float32)})
        expected = getattr(fitted[0], fitted[1])(X[:count])
        assert abs(out.reshape(expected.shape) - expected).max() < 1e-5 * max(
            1.0, abs(expected).max()
        )


def test_a_file_keeps_what_numpy_counted(tmp_path: Path) -> None:
    """A grid search sets numbers of NumPy's, which came back as the defaults."""
    given = {
        "hidden_layer_sizes": np.array([20, 30]),
        "n_iter": np.int64(2),
        "learning_rate": np.float32(0.05),
        "scale": None,
    }
    net = DBNClassifier(**given, fine_tune_n_iter=1, class_weight={0: 2.0, 1: 1}, random_state=0)
    net.fit(X / 16, Y % 2).set_params(batch_size=np.arange(10, 30)[5]).save(
        tmp_path / "net.safetensors"
    )
    again = DBNClassifier.load(tmp_path / "net.safetensors").get_params()
    kept = ("hidden_layer_sizes", "n_iter", "batch_size", "class_weight", "scale")
    assert [again[name] for name in kept] == [(20, 30), 2, 15, {0: 2.0, 1: 1}, None]
    assert again["learning_rate"] == np.float32(0.05)
    with pytest.raises(CheckpointError, match="verbose"):
        net.set_params(verbose=object()).save(tmp_path / "net.safetensors")


def test_a_file_says_what_the_command_line_needs_to_draw_dreams(
    fitted: tuple[object, str], tmp_path: Path
) -> None:
    fitted[0].save(tmp_path / "net.safetensors")
    header = ws.checkpoint.load_model(tmp_path / "net.safetensors").header
    assert header["shape"] == [8, 8]
    assert header["classes"] == [str(name) for name in getattr(fitted[0], "classes_", [])]
