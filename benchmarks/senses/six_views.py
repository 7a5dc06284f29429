"""Numerals in six views (UCI "Multiple Features"): accuracy with all views, with any one of them
missing at test, and each view recalled from the other five.

    python -m benchmarks.senses.six_views --folder runs/six-views

Ten folds, stratified, seed 0. In each fold views are standardised by its training cases, and the
hidden units and the chance to leave a view out are chosen on a tenth of them; then the net learns
from all of them. The net: one layer of units a view under a memory with labels, pretrained greedily
with all views, then fine-tuned by backpropagation with views left out at random, dropout of codes
and top units, and a running mean of the weights. Views are recalled by the memory of binary units.
Beside it a
support vector machine and, for recall, ridge regression, whose settings are chosen on the training
cases too. A fold that is done is kept in the folder, so that the measurement goes on after a stop.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from wakesleep.foundation.files import write_json
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy, robust
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.configs import ChainsConfig
from wakesleep.learning.greedy import MultimodalConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.paper import results
from wakesleep.samplers.recalling import recall
from wakesleep.units import Bernoulli, Gaussian, ReLU

FOLDS, CLASSES = 10, 10
HIDDEN = {"pix": 150, "fou": 100, "fac": 150, "kar": 100, "zer": 100, "mor": 50}
"""Units of each view's code: pixels, Fourier, profile, Karhunen-Loeve, Zernike, morphology."""
Array = NDArray[Any]
Kind = Literal["binary", "relu"]


def _layer() -> CDConfig:
    return CDConfig(
        epochs=30, batch_size=20, learning_rate=0.01, final_learning_rate=0.001, weight_decay=2e-4
    )


@dataclass(frozen=True)
class SixViewsOptions:
    """Measure the folds that are not measured yet, and save the rows once all are."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with digits-six-views/mfeat.npz."""
    folder: Path = Path("runs/six-views")
    """Where what was measured of each fold lies."""
    folds: tuple[int, ...] = tuple(range(FOLDS))
    """Which folds to measure now."""
    top: int = 400
    """Top units of the memory."""
    layer: CDConfig = field(default_factory=_layer)
    """How the layer of each view learns: real numbers in all of them."""
    relu_layer: CDConfig = field(
        default_factory=lambda: CDConfig(
            epochs=5, batch_size=20, learning_rate=0.001, final_learning_rate=0.0002
        )
    )
    """How layers and memory of rectified units learn."""
    memory: CDConfig = field(
        default_factory=lambda: CDConfig(
            epochs=30, batch_size=20, learning_rate=0.05, final_learning_rate=0.005
        )
    )
    """How the memory learns."""
    kinds: tuple[Kind, ...] = ("binary", "relu", "relu")
    """Hidden units to choose from."""
    leave_out: tuple[float, ...] = (0.3, 0.15, 0.3)
    """Chances of a view to be left out of a case that go with them."""
    tuning: RobustConfig = field(
        default_factory=lambda: RobustConfig(
            epochs=50,
            batch_size=50,
            dropout_visible=0.3,
            dropout_hidden=0.3,
            mean_epochs=2.0,
            optimizer="adam",
            learning_rate=0.003,
            final_learning_rate=0.00003,
        )
    )
    """How backpropagation learns."""
    recall_steps: int = 100
    """Gibbs steps of the memory that recalls a view."""
    out: Path = Path("results/senses.json")
    """Where the rows go."""
    threads: int = 1
    """CPU threads."""


class Views(NamedTuple):
    """The cases of one fold: views standardised by its training cases."""

    views: dict[str, Tensor]
    labels: Tensor

    def take(self, rows: Array) -> Views:
        """Return some of the cases."""
        return Views({name: view[rows] for name, view in self.views.items()}, self.labels[rows])


def standardised(path: Path, train: Array) -> Views:
    """Return all cases, each column with mean 0 and variance 1 over the `train` ones."""
    with np.load(path) as file:
        labels = torch.from_numpy(file["labels"].astype(np.int64))
        views = {}
        for name in HIDDEN:
            columns = file[name].astype(np.float64)
            scaled = StandardScaler().fit(columns[train]).transform(columns)
            views[name] = torch.from_numpy(scaled.astype(np.float32))
    return Views(views, labels)


def pretrained(cases: Views, options: SixViewsOptions, kind: Kind, seed: int) -> MultimodalDBN:
    """Return a net of hidden units of that kind that has learned to generate all views with their
    labels.
    """
    rng, relu = generator(seed), kind == "relu"
    hidden: Any = ReLU if relu else Bernoulli
    net = MultimodalDBN(
        {
            name: (Gaussian(view.shape[1]), hidden(HIDDEN[name]))
            for name, view in cases.views.items()
        },
        labels=CLASSES,
        top=hidden(options.top),
        rng=rng,
        weight_std=0.01 if relu else 0.03,
    )
    layer, memory = (
        (options.relu_layer, options.relu_layer) if relu else (options.layer, options.memory)
    )
    chains = ChainsConfig(share=0 if relu else 1 / 3)
    # views are left out in fine-tuning; the memory learns from all of them
    config = MultimodalConfig(layer, memory, chains, leave_out=0.0)
    for _ in greedy.epochs(net, cases.views, cases.labels, config=config, rng=rng):
        pass
    return net


def fine_tuned(
    dbn: MultimodalDBN,
    cases: Views,
    options: SixViewsOptions,
    chance: float,
    seed: int,
) -> nn.Sequential:
    """Return the net fine-tuned by backpropagation, views left out with that chance."""
    rng = generator(seed)
    net = backprop.classifier(dbn, CLASSES, rng=rng)
    senses = net[0]
    assert isinstance(senses, backprop.EncodeSenses)
    every = senses.side_by_side(cases.views)

    def change(batch: Tensor, draws: torch.Generator) -> Tensor:
        return senses.leave_out(batch, chance, draws)

    labels, config = cases.labels, options.tuning
    for _ in robust.epochs(net, every, labels, config=config, rng=rng, change=change):
        pass
    return net


def errors(net: nn.Sequential, cases: Views) -> dict[str, int]:
    """Return the errors with all views, and without each of them."""
    counts = {}
    for missing in ("none", *cases.views):
        given = {name: view for name, view in cases.views.items() if name != missing}
        predicted = backprop.log_probs(net, given).argmax(1)
        counts[missing] = int((predicted != cases.labels).sum())
    return counts


def choose(train: Views, options: SixViewsOptions, seed: int) -> tuple[Kind, float]:
    """Return the hidden units and the chance to leave a view out with the fewest errors on a tenth
    of the training cases: with all views, which count six times, and without each of the six.
    """
    learned, held_out = train_test_split(
        np.arange(len(train.labels)), test_size=0.1, stratify=train.labels, random_state=seed
    )
    cases, scores = train.take(learned), {}
    nets = {kind: pretrained(cases, options, kind, seed) for kind in set(options.kinds)}
    for kind, chance in zip(options.kinds, options.leave_out, strict=True):
        wrong = errors(fine_tuned(nets[kind], cases, options, chance, seed), train.take(held_out))
        scores[kind, chance] = sum(wrong.values()) + 5 * wrong["none"]
    return min(scores, key=lambda chosen: scores[chosen])


def recalled(
    dbn: MultimodalDBN, train: Views, test: Views, options: SixViewsOptions, seed: int
) -> dict[str, dict[str, float]]:
    """Return R^2 of each view from the other five, the mean over columns that vary: of the memory,
    labels not given, and of ridge regression.
    """
    explained = {}
    for wanted in test.views:
        given: dict[str, Any] = {name: view for name, view in test.views.items() if name != wanted}
        seen = recall(dbn, want=wanted, steps=options.recall_steps, rng=generator(seed), **given)[
            wanted
        ].numpy()
        inputs = [
            np.concatenate([view.numpy() for name, view in part.views.items() if name != wanted], 1)
            for part in (train, test)
        ]
        ridge = RidgeCV(np.logspace(-1, 4, 11)).fit(inputs[0], train.views[wanted].numpy())
        truth = test.views[wanted].numpy()
        varies = truth.var(0) > 1e-9
        explained[wanted] = {
            "memory": float(r2_score(truth[:, varies], seen[:, varies])),
            "ridge": float(r2_score(truth[:, varies], ridge.predict(inputs[1])[:, varies])),
        }
    return explained


def svc_errors(train: Views, test: Views) -> int:
    """Return the errors of a support vector machine on all views, its C chosen by three folds of
    the training cases.
    """
    inputs = [
        np.concatenate([view.numpy() for view in part.views.values()], 1) for part in (train, test)
    ]
    search = GridSearchCV(SVC(), {"C": [1, 3, 10]}, cv=3).fit(inputs[0], train.labels)
    return int((search.predict(inputs[1]) != test.labels.numpy()).sum())


def measure_fold(options: SixViewsOptions, fold: int) -> dict[str, Any]:
    """Return what was measured of one fold."""
    began, path = time.perf_counter(), options.data / "digits-six-views" / "mfeat.npz"
    with np.load(path) as file:
        labels = file["labels"]
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels)
    rows, held_out = list(splits)[fold]
    every = standardised(path, rows)
    train, test = every.take(rows), every.take(held_out)
    kind, chance = choose(train, options, fold)
    dbn = pretrained(train, options, "binary", fold)
    start = dbn if kind == "binary" else pretrained(train, options, kind, fold)
    return {
        "cases": len(held_out),
        "chosen": [kind, chance],
        "errors": errors(fine_tuned(start, train, options, chance, fold), test),
        "svc_errors": svc_errors(train, test),
        "recalled": recalled(dbn, train, test, options, fold),
        "minutes": round((time.perf_counter() - began) / 60, 2),
    }


def rows_of(folds: list[dict[str, Any]], command: str) -> list[results.Row]:
    """Return the rows of all folds together."""
    cases = sum(fold["cases"] for fold in folds)
    without = {
        name: 100 * (1 - sum(fold["errors"][name] for fold in folds) / cases)
        for name in ("none", *HIDDEN)
    }
    worst = min(HIDDEN, key=lambda name: without[name])
    svc = 100 * (1 - sum(fold["svc_errors"] for fold in folds) / cases)
    notes: dict[str, Any] = {
        "seeds": [0],
        "command": command,
        "minutes": round(sum(fold["minutes"] for fold in folds), 1),
        "folds": FOLDS,
    }
    chosen = [fold["chosen"] for fold in folds]
    table: list[tuple[str, str, float, str, dict[str, Any]]] = [
        ("six-views", "accuracy_percent", without["none"], "98.5 SVC", {"chosen": chosen}),
        ("six-views", "svc_accuracy_percent", svc, "", {}),
        (
            "six-views-one-missing",
            "worst_accuracy_percent",
            without[worst],
            "",
            {"missing": worst, "without": {name: round(without[name], 2) for name in HIDDEN}},
        ),
    ]
    for name in HIDDEN:
        for way in ("memory", "ridge"):
            each = [fold["recalled"][name][way] for fold in folds]
            table.append(
                (f"six-views-recall-{name}", f"{way}_r2", float(np.mean(each)), "",
                 {"of_folds": [round(value, 4) for value in each]})
            )  # fmt: skip
    return [
        results.row("senses", row, metric, [value], reported=reported, **notes, **more)
        for row, metric, value, reported, more in table
    ]


def main(argv: list[str]) -> None:
    """Measure the folds asked for, and save the rows once all are there."""
    options = tyro.cli(SixViewsOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.senses.six_views", *argv])
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [options.folder / f"fold-{fold}.json" for fold in range(FOLDS)]
    for fold in options.folds:
        if not paths[fold].exists():
            write_json(paths[fold], measure_fold(options, fold))
        print(fold, paths[fold].read_text(encoding="utf-8"), flush=True)
    if all(path.exists() for path in paths):
        folds = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        rows = rows_of(folds, command)
        for row in rows:
            print(row["row"], row["metric"], row["value"], flush=True)
        results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
