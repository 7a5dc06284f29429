"""How a pretrained net is fine-tuned to tell classes: wake-sleep, the hybrid, backpropagation, and
what backpropagation needs where few labels are known or the net does not begin to learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from wakesleep.estimators.tuned import Scorer, TunedEstimator
from wakesleep.learning import backprop, greedy, hybrid, semi_supervised, spreading, up_down
from wakesleep.learning.configs import HybridConfig, UpDownConfig
from wakesleep.learning.net_configs import SemiSupervisedConfig
from wakesleep.learning.records import EpochResult
from wakesleep.sources.arrays import UNLABELLED

UPDOWN = UpDownConfig(
    epochs=30,
    batch_size=20,
    learning_rate=0.02,
    final_learning_rate=0.001,
    gibbs_steps=(1, 3),
    persistent=0.5,
    label_weight=0.0,
)
"""Of small sets: few steps and half of the chains persistent. No weight on labels: tables have some
that nothing in the columns tells, and each would be pushed at again and again.
"""
HYBRID = HybridConfig()
PLATEAU, LEARNED = 0.8, 0.25
"""Shares of the errors that the most frequent class makes: above the first a net may not have begun
to learn, below the second it has learned.
"""
SAME_FOR_ALL = 0.95
"""Share of the entropy of the classes that the cross-entropy has of a net that says the same of all
cases, or more. Where labels are noisy, a net that learned what there is to learn may name the most
frequent class of nearly all cases, and yet tell the likely ones from the others.
"""
MOST_UPDATES = 5000
"""Updates of backpropagation up to which a net that has not begun to learn goes on: some
seconds.
"""
FEW_UPDATES, LEAST_FEW, MOST_FEW = 3000, 30, 100
"""Updates from few labels that a net makes once it has learned those that spread; and what that may
be in epochs.
"""


Loop = Callable[[UpDownConfig], Iterator[EpochResult]]
"""A loop over cases, once it has its settings."""


class Cases(NamedTuple):
    """What a classifier learns from."""

    images: Tensor
    """(N, D), in [0, 1]."""
    labels: Tensor
    """(N,), UNLABELLED where the class is not known."""
    weights: Tensor | None
    """(N,) on the CPU, or None where all are equal."""


def fine_tune(
    estimator: TunedEstimator,
    cases: Cases,
    rng: torch.Generator,
    score: Scorer | None,
    *,
    once: bool = False,
) -> None:
    """Move the pretrained net by the way of fine-tuning that was asked for; `once`: one epoch."""
    size = len(cases.images)
    if estimator.fine_tune == "updown":
        config = estimator._tuning(UPDOWN, once, size)
        estimator._tune(estimator.dbn_, _wake_sleep(estimator, cases, rng), config, score)
    elif estimator.fine_tune == "hybrid":
        config = estimator._tuning(HYBRID.updown, once, size)
        labelled = bool((cases.labels != UNLABELLED).any())
        loop = (_hybrid if labelled else _wake_sleep)(estimator, cases, rng)
        estimator._tune(estimator.dbn_, loop, config, score)
    elif estimator.fine_tune == "backprop":
        _tune_net(estimator, cases, rng, score, once)


def _wake_sleep(estimator: TunedEstimator, cases: Cases, rng: torch.Generator) -> Loop:
    """Return the loop of contrastive wake-sleep over these cases."""
    images, labels, _ = cases
    options = _options(estimator, cases, rng)
    return lambda config: up_down.epochs(estimator.dbn_, images, labels, config=config, **options)


def _hybrid(estimator: TunedEstimator, cases: Cases, rng: torch.Generator) -> Loop:
    """Return the loop of the hybrid over these cases."""
    images, labels, _ = cases
    options = _options(estimator, cases, rng)
    own = replace(HYBRID, sample_pixels=estimator.sample_visible_)
    return lambda config: hybrid.epochs(
        estimator.dbn_, images, labels, config=replace(own, updown=config), **options
    )


def _tune_net(
    estimator: TunedEstimator,
    cases: Cases,
    rng: torch.Generator,
    score: Scorer | None,
    once: bool,
) -> None:
    """Learn by backpropagation in a net that starts at the pretrained weights."""
    if not hasattr(estimator, "net_"):
        estimator.net_ = backprop.classifier(estimator.dbn_, estimator.dbn_.labels, rng=rng)
    labelled = cases.labels != UNLABELLED
    if not bool(labelled.all()):
        if not once and estimator.dbn_.depth > 1 and bool(labelled.any()):
            _learn_from_few(estimator, cases, rng, score)
            return
        images, labels, weights = cases
        weights = None if weights is None else weights[labelled.cpu()]
        cases = Cases(images[labelled], labels[labelled], weights)
    if len(cases.images):
        estimator._backprop(estimator.net_, *cases, rng, score=score, once=once)
        if not once:
            _leave_plateau(estimator, cases, rng, score)


def _learn_from_few(
    estimator: TunedEstimator, cases: Cases, rng: torch.Generator, score: Scorer | None
) -> None:
    """Fine-tune by backpropagation where some classes are not known: from labels that spread, then
    from what the net says itself.
    """
    images, labels, weights = cases
    codes = greedy.features(estimator.dbn_, images, estimator.dbn_.depth - 1, checked=True)
    graph = spreading.neighbour_graph(codes)
    spread = spreading.most_probable(spreading.spread(graph, labels), labels)
    spread_weights = spread.weights.cpu()
    spread_weights = spread_weights if weights is None else spread_weights * weights
    spread_cases = Cases(images, spread.labels, spread_weights)
    estimator._backprop(estimator.net_, *spread_cases, rng)
    _leave_plateau(estimator, spread_cases, rng, None)
    size = estimator._batch(len(images))
    epochs = min(max(LEAST_FEW, -(-FEW_UPDATES * size // len(images))), MOST_FEW)
    epochs = epochs if estimator.fine_tune_n_iter is None else estimator.fine_tune_n_iter
    config = semi_supervised.suited(
        SemiSupervisedConfig(epochs=epochs, batch_size=size), spreading.agreement(graph, labels)
    )
    options = _options(estimator, cases, rng)
    records = semi_supervised.epochs(estimator.net_, images, labels, config=config, **options)
    estimator._tune(estimator.net_, lambda config: records, config, score, stops=False)
    estimator._tuned = None  # backpropagation cannot go on with it


def _leave_plateau(
    estimator: TunedEstimator, cases: Cases, rng: torch.Generator, score: Scorer | None
) -> None:
    """Repeat backpropagation where the net is hardly better than the most frequent class; warn
    where it stays so.

    A deep net of sigmoids may rest on that plateau for hundreds of updates, and a small set has few
    an epoch. Nothing is repeated where `fine_tune_n_iter` says how many epochs are wanted. What
    held-out cases say (`score`) is heeded once the net has left the plateau: there every epoch is
    as good as the last, and the best of them no step on the way.
    """
    images, labels, weights = cases
    counts = torch.bincount(labels.cpu(), weights, minlength=estimator.dbn_.labels).double()
    rates = counts / counts.sum()
    at_chance, entropy = 100 * (1 - float(rates.max())), float(torch.special.entr(rates).sum())

    def share() -> float:
        """Return the share of the errors of the most frequent class that the last epoch of learning
        had.
        """
        if not at_chance:
            return 0.0
        return float(estimator.history_[-1].get("train_error_percent", 0.0)) / at_chance

    def rests() -> bool:
        """Return whether in the last epoch of learning the net said the same of all cases."""
        loss = float(estimator.history_[-1].get("cross_entropy", 0.0))
        return share() > PLATEAU and loss > SAME_FOR_ALL * entropy

    if not rests():
        return
    epochs = estimator._backprop_config(False, len(images)).epochs
    updates = epochs * -(-len(images) // estimator._batch(len(images)))
    rounds = 0 if estimator.fine_tune_n_iter is not None else max(0, MOST_UPDATES // updates - 1)
    repeats = rounds > 0
    while rounds and share() > LEARNED:
        estimator._backprop(estimator.net_, *cases, rng)
        rounds -= 1
    if repeats and score is not None:
        estimator._backprop(estimator.net_, *cases, rng, score=score)
    if rests():
        warnings.warn(
            f"the net has hardly learned: {estimator.history_[-1]['train_error_percent']:.1f} % of "
            "the training cases are wrong, and naming the most frequent class gets "
            f"{at_chance:.1f} % wrong. Try one layer (hidden_layer_sizes=(200,)), more epochs "
            "(fine_tune_n_iter) or another rate (fine_tune_learning_rate); or the columns say "
            "nothing of the classes",
            ConvergenceWarning,
            stacklevel=3,
        )


def _options(estimator: TunedEstimator, cases: Cases, rng: torch.Generator) -> dict[str, Any]:
    """Return what every loop takes."""
    return {
        "rng": rng,
        "weights": cases.weights,
        "dtype": estimator._dtype(),
        "checked": True,
    }
