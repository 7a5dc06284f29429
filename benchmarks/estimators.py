"""The estimators beside those that scikit-learn ships: speed of fit, digits, few labels, tables of
numbers.

    python -m benchmarks.estimators --parts speed overhead digits few tables
    python -m benchmarks.estimators --parts few-mnist                          # needs MNIST; about
    an hour

Run nothing else beside `speed` and `overhead`. Both sides of a comparison take turns in one
process, pinned to the same threads.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from wakesleep.data import load
from wakesleep.estimators import BernoulliRBM, DBNClassifier, DBNRegressor, make_dbn_pipeline
from wakesleep.evaluation.pseudo import pseudo_log_likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.models.rbm import RBM
from wakesleep.paper import results

Scores = dict[str, list[float]]


Found = Iterator[tuple[str, str, list[float], dict[str, Any]]]
"""Row, metric, a value a seed, notes."""


@dataclass(frozen=True)
class EstimatorsMeasureOptions:
    """Measure the estimators and save the rows."""

    parts: tuple[str, ...] = ("speed", "overhead", "digits", "few", "tables")
    """speed, overhead, digits, few, few-mnist, tables."""
    cases: int = 60_000
    """Cases of the speed comparison, 784 pixels each."""
    epochs: int = 2
    """Epochs of the speed comparison; scores are compared after them."""
    repeats: int = 3
    """Turns each side takes; the fastest counts, for other work on the machine can only slow a turn
    down.
    """
    splits: int = 10
    """Random splits of digits and tables, a quarter held out; the median counts."""
    threads: int = 1
    """Threads both sides are pinned to."""
    quick: bool = False
    """Nets of a few units and epochs: a check that everything runs, no figures."""
    out: Path = Path("results/estimators.json")
    """Where the rows go."""


def pixels(count: int) -> np.ndarray:
    """Return MNIST's training pixels in [0, 1] where they are at hand, else random bits of the same
    share, (count, 784) float32.
    """
    try:
        images = load("mnist", download=False).train.images[:count].numpy()
        return (images / 255).astype(np.float32)
    except Exception:
        return (np.random.RandomState(0).rand(count, 784) < 0.13).astype(np.float32)


def pseudo_likelihood(estimator: Any, X: np.ndarray) -> float:
    """Return the exact mean pseudo-log-likelihood of binary cases under either library's RBM, nats
    a case.
    """
    rbm = RBM(X.shape[1], len(estimator.components_), rng=generator(0))
    rbm.weight.copy_(torch.from_numpy(np.ascontiguousarray(estimator.components_.T)))
    rbm.visible_bias.copy_(torch.from_numpy(estimator.intercept_visible_))
    rbm.hidden_bias.copy_(torch.from_numpy(estimator.intercept_hidden_))
    return float(pseudo_log_likelihood(rbm, torch.from_numpy((X > 0.5).astype(np.float32))).mean())


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def speed(options: EstimatorsMeasureOptions) -> Found:
    """Yield how many times faster `fit` is than scikit-learn's, same work, and how much better the
    score is, nats a case.
    """
    X, hidden = pixels(options.cases), 20 if options.quick else 500
    for batch in (100, 10):
        settings: dict[str, Any] = {
            "n_components": hidden,
            "batch_size": batch,
            "n_iter": options.epochs,
            "random_state": 0,
        }
        contestants = {
            "scikit-learn": neural_network.BernoulliRBM(**settings),
            "": BernoulliRBM(**settings),
            "-auto-precision": BernoulliRBM(**settings, precision="auto"),
        }
        took: dict[str, float] = dict.fromkeys(contestants, float("inf"))
        for _ in range(options.repeats):
            for name, estimator in contestants.items():
                took[name] = min(took[name], seconds(lambda estimator=estimator: estimator.fit(X)))  # type: ignore[misc]
        theirs, test = took.pop("scikit-learn"), X[: min(2000, len(X))]
        base = pseudo_likelihood(contestants["scikit-learn"], test)
        for name, ours in took.items():
            notes = {"seconds_ours": round(ours, 3), "seconds_scikit_learn": round(theirs, 3)}
            yield f"fit-batch-{batch}{name}", "speedup", [theirs / ours], notes
            yield (
                f"fit-batch-{batch}{name}",
                "pseudo_likelihood_gain_nats",
                [pseudo_likelihood(contestants[name], test) - base],
                notes,
            )


def overhead(options: EstimatorsMeasureOptions) -> Found:
    """Yield how much longer `fit` takes than the core's loop, percent, at batch 100."""
    X, hidden = pixels(options.cases), 20 if options.quick else 500
    estimator = BernoulliRBM(hidden, batch_size=100, n_iter=options.epochs, random_state=0)
    cases, config = torch.from_numpy(X), estimator._config()

    def core() -> None:
        rng = generator(0)
        rbm = RBM(784, hidden, rng=rng, weight_std=0.01)
        rbm.weight.data = rbm.weight.t().contiguous().t()  # the layout the facade chooses
        list(cd.epochs(rbm, cases, config=config, rng=rng))

    facade, loop = float("inf"), float("inf")
    for _ in range(options.repeats + 1):
        facade, loop = min(facade, seconds(lambda: estimator.fit(X))), min(loop, seconds(core))
    yield (
        "facade-overhead",
        "percent",
        [100 * (facade / loop - 1)],
        {"seconds_fit": round(facade, 3), "seconds_core": round(loop, 3)},
    )


def nets(options: EstimatorsMeasureOptions) -> dict[str, Any]:
    """Return settings that make nets small where only the run is to be checked."""
    return (
        {"hidden_layer_sizes": (10, 10), "n_iter": 1, "fine_tune_n_iter": 1}
        if options.quick
        else {}
    )


def digits(options: EstimatorsMeasureOptions) -> Found:
    """Yield the accuracy on held-out digits, percent, of four classifiers at their defaults."""
    X, y = datasets.load_digits(return_X_y=True)
    baselines = {
        "svc-rbf": SVC(),
        "mlp": MLPClassifier(random_state=0),
        "logistic-regression": LogisticRegression(),
    }
    yield from compare(
        "digits",
        X / 16,
        y,
        {"dbn": DBNClassifier(**nets(options), random_state=0), **baselines},
        options,
    )


def compare(
    name: str,
    X: np.ndarray,
    y: np.ndarray,
    contestants: dict[str, Any],
    options: EstimatorsMeasureOptions,
    metric: str = "accuracy_percent",
) -> Found:
    """Yield each contestant's score on the held-out quarters, 100 times what `score` says (accuracy
    or R^2).
    """
    scores: Scores = {which: [] for which in contestants}
    for split in range(options.splits):
        stratify = y if metric == "accuracy_percent" else None
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.25, random_state=split, stratify=stratify
        )
        for which, estimator in contestants.items():
            scores[which].append(100 * clone(estimator).fit(X_train, y_train).score(X_test, y_test))
    for which, values in scores.items():
        yield f"{name}-{which}", metric, values, {}


def few_labels(
    name: str,
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    net: DBNClassifier,
    spreading: Any,
    seed: int,
) -> Iterator[tuple[str, float]]:
    """Yield accuracies, percent, with the labels of a tenth of the cases: of the net with and
    without the other cases, and of its baselines.
    """
    labelled, _ = train_test_split(np.arange(len(y)), train_size=0.1, random_state=seed, stratify=y)
    few = np.full(len(y), -1)
    few[labelled] = y[labelled]
    net = clone(net).set_params(random_state=seed)
    contestants: dict[str, Callable[[], Any]] = {
        "labelled-only": lambda: clone(net).fit(X[labelled], y[labelled]),
        "semi-supervised": lambda: clone(net).set_params(unlabeled=-1).fit(X, few),
        "self-training": lambda: SelfTrainingClassifier(clone(net), max_iter=3).fit(X, few),
        "svc-labelled-only": lambda: SVC().fit(X[labelled], y[labelled]),
        "label-spreading": lambda: clone(spreading).fit(X, few),
    }
    for which, fit in contestants.items():
        yield f"few-labels-{name}-{which}", 100 * fit().score(X_test, y_test)


def few(options: EstimatorsMeasureOptions) -> Found:
    """Yield what the unlabelled cases are worth on the digits, a tenth of the labels kept."""
    X, y = datasets.load_digits(return_X_y=True)
    scores: Scores = {}
    net, spreading = DBNClassifier(**nets(options)), LabelSpreading(kernel="knn")
    for seed in range(options.splits):
        parts = train_test_split(X / 16, y, test_size=0.25, random_state=seed, stratify=y)
        for which, value in few_labels(
            "digits", parts[0], parts[2], parts[1], parts[3], net, spreading, seed
        ):
            scores.setdefault(which, []).append(value)
    yield from ((which, "accuracy_percent", values, {}) for which, values in scores.items())


def few_mnist(options: EstimatorsMeasureOptions) -> Found:
    """Yield the same on MNIST, one seed, 6,000 labels of 60,000."""
    data = load("mnist", download=False)
    assert data.test is not None
    parts = [
        np.asarray(tensor)
        for part in (data.train, data.test)
        for tensor in (part.images, part.labels)
    ]
    X, X_test = (np.divide(images, 255, dtype=np.float32) for images in parts[::2])
    net = DBNClassifier(
        (500, 500),
        n_iter=15,
        batch_size=100,
        fine_tune_n_iter=40,
        fine_tune_learning_rate=0.2,
        verbose=1,
    )
    if options.quick:
        net, X, X_test, parts = (
            net.set_params(**nets(options)),
            X[:600],
            X_test[:200],
            [part[: 600 if index < 2 else 200] for index, part in enumerate(parts)],
        )
    spreading = LabelSpreading(kernel="knn")
    for which, value in few_labels("mnist", X, parts[1], X_test, parts[3], net, spreading, seed=0):
        print(which, value, flush=True)
        yield which, "accuracy_percent", [value], {}


def tables(options: EstimatorsMeasureOptions) -> Found:
    """Yield accuracy and 100 R^2 on tables of real numbers that scikit-learn ships, the net at its
    defaults among plain baselines.
    """
    small = nets(options)
    net = DBNClassifier(**small, random_state=0)
    classifiers = {
        "dbn": make_dbn_pipeline(net),
        "dbn-bins": make_dbn_pipeline(net, numbers="bins"),
        "logistic-regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "svc-rbf": make_pipeline(StandardScaler(), SVC()),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
    }
    for name in ("breast_cancer", "wine", "iris"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield from compare(f"table-{name.replace('_', '-')}", X, y, classifiers, options)
    regressors = {
        "dbn": make_dbn_pipeline(DBNRegressor(**small, random_state=0)),
        "dbn-bins": make_dbn_pipeline(DBNRegressor(**small, random_state=0), numbers="bins"),
        "ridge": make_pipeline(MinMaxScaler(), Ridge()),
        "svr-rbf": make_pipeline(StandardScaler(), SVR()),
        "mlp": make_pipeline(StandardScaler(), MLPRegressor(random_state=0)),
    }
    X, y = datasets.load_diabetes(return_X_y=True)
    yield from compare("table-diabetes", X, y, regressors, options, metric="r2_percent")


PARTS: dict[str, Callable[[EstimatorsMeasureOptions], Found]] = {
    "speed": speed,
    "overhead": overhead,
    "digits": digits,
    "few": few,
    "few-mnist": few_mnist,
    "tables": tables,
}


def measure(
    table: str, parts: Sequence[Callable[[], Found]], *, out: Path, command: str, threads: int
) -> Iterator[list[results.Row]]:
    """Yield the rows of each part as it is measured, on that many threads, saved to `out` and
    printed.
    """
    torch.set_num_threads(threads)
    with warnings.catch_warnings(), threadpool_limits(threads):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for part in parts:
            began = time.perf_counter()
            result = list(part())
            minutes = round((time.perf_counter() - began) / 60, 2)
            rows = [
                results.row(
                    table,
                    name,
                    metric,
                    values,
                    seeds=list(range(len(values))),
                    command=command,
                    minutes=minutes,
                    **notes,
                )
                for name, metric, values, notes in result
            ]
            results.save(out, rows)
            for row in rows:
                print(
                    f"{row['row']:45} {row['metric']:28} {row['value']:10.3f}   {row['low']:.3f} "
                    f"to {row['high']:.3f}",
                    flush=True,
                )
            yield rows


def main(argv: list[str]) -> None:
    """Measure the parts asked for and save their rows as they come."""
    options = tyro.cli(EstimatorsMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.estimators", *argv])
    parts = [partial(PARTS[part], options) for part in options.parts]
    measured = measure("sklearn", parts, out=options.out, command=command, threads=options.threads)
    for part, rows in zip(options.parts, measured, strict=True):
        if options.splits > 1:
            print(
                f"{part}: {rows[0]['minutes']} minutes, median over "
                f"{statistics.median(len(row['seeds']) for row in rows):g} seeds"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
