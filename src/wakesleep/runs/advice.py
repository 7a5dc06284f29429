"""How deep, how wide? Small candidates trained side by side within a budget of time, and what each
turned out to be worth.

Every candidate learns from the same training cases, greedily, without labels in the memory, so that
likelihoods of pictures compare; its bound is measured on held-out cases with AIS, and a softmax of
labels on its top code is trained to see what the code knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wakesleep.data import Dataset, Split, hold_out
from wakesleep.data.unlabelled import labelled
from wakesleep.evaluation import likelihood, monitor
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.sources.arrays import UNLABELLED, as_probs, draw_binary, order

SHAPES: tuple[tuple[int, ...], ...] = (
    (50,),
    (100,),
    (200,),
    (500,),
    (100, 100),
    (200, 200),
    (500, 500),
    (200, 200, 200),
    (200, 200, 500),
)
"""Hidden layers of the candidates: three widths and three depths around the usual ones."""


@dataclass(frozen=True)
class Budget:
    """What may be spent."""

    minutes: float = 5.0
    """For all candidates together."""
    cases: int = 5000
    """Most training cases each learns from."""
    repeats: int = 2
    """Seeds a candidate: their spread is the recommendation's uncertainty."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.cases < 100 or self.repeats < 1:
            raise ConfigError(
                f"{self.minutes} minutes, {self.cases} cases, {self.repeats} repeats: expected "
                "minutes above 0, 100 cases, 1 repeat"
            )


class Candidate(NamedTuple):
    """What one candidate of one seed turned out to be."""

    hidden: tuple[int, ...]
    """Its hidden layers."""
    seed: int
    """Where it began."""
    bound: float
    """Lower bound on log p of held-out cases (for one layer the likelihood), log Z at its upper
    end, nats a case.
    """
    error: float
    """Standard error of the bound: of log Z and of the choice of held-out cases together."""
    validation_error: float
    """Errors of a softmax of labels on the top code, % of held-out cases; NaN without labels."""
    gap: float
    """Free-energy gap of the first layer between held-out and training cases, nats."""
    seconds: float
    """Time to train it."""
    epochs: int
    """Epochs a layer that the budget allowed."""


class Advice(NamedTuple):
    """A recommendation and how sure it is."""

    hidden: tuple[int, ...]
    """The cheapest candidate that is not worse than the best one by more than the uncertainty."""
    best: tuple[int, ...]
    """The one with the best mean bound."""
    difference: float
    """How far the recommended one's bound lies below the best, nats."""
    uncertainty: float
    """Two standard errors of that difference, nats."""
    fraction: float
    """In how many of the pairs of repeats the recommended one is within the uncertainty of the best
    or above it.
    """


def _work(sizes: tuple[int, ...]) -> float:
    """Return the multiplications of an epoch over one case, roughly what its time goes with."""
    return sum(below * above + 20 * (below + above) for below, above in pairwise(sizes))


def candidates(
    dataset: Dataset, budget: Budget, shapes: tuple[tuple[int, ...], ...] = SHAPES, *, seed: int = 0
) -> Iterator[Candidate]:
    """Train and score each candidate shape within the budget, yielding what each turned out to be.

    Every candidate gets an equal share of the time; bigger nets make fewer epochs in it (between 3
    and 60 a layer), which is what a budget means. Grey pictures are drawn as binary ones.
    """
    if not shapes or any(not shape or min(shape) < 1 for shape in shapes):
        raise ConfigError(
            f"candidates {shapes}: expected at least one, each of layers of at least one unit"
        )
    train, held_out = _cases(dataset, budget, seed)
    share = 60 * budget.minutes / (len(shapes) * budget.repeats)
    speed = _speed(train.images)
    for repeat in range(budget.repeats):
        for hidden in shapes:
            sizes = (train.images.shape[1], *hidden)
            epochs = int(min(60, max(3, 0.6 * share * speed / (_work(sizes) * len(train)))))
            yield _candidate(sizes, train, held_out, epochs, seed + repeat)


def _cases(dataset: Dataset, budget: Budget, seed: int) -> tuple[Split, Split]:
    rng, labels = generator(seed), dataset.train.labels
    classes = None if labels is None else labels - UNLABELLED
    subset = order(classes, len(dataset.train), rng)[: budget.cases + budget.cases // 5]
    chosen = Split(
        draw_binary(dataset.train.images[subset], rng), None if labels is None else labels[subset]
    )
    return hold_out(chosen, max(1, len(chosen) // 6))


def _speed(images: Tensor) -> float:
    """Return how much of `_work` is done a second, from one epoch of a small net."""
    few, rng = images[:500], generator(0)
    dbn, config = DBN((images.shape[1], 100), rng=rng), _config(2)
    began = time.perf_counter()
    for _ in greedy.epochs(dbn, few, config=config, rng=rng):
        pass
    return 2 * len(few) * _work(dbn.sizes) / max(time.perf_counter() - began, 1e-6)


def _config(epochs: int) -> GreedyConfig:
    """PCD with a falling rate, which makes density models; without decay, so that width shows its
    cost in the gap.
    """
    layer = CDConfig(
        epochs=epochs,
        batch_size=20,
        learning_rate=0.05,
        final_learning_rate=0.001,
        momentum=0.5,
        persistent=True,
        weight_decay=1e-4,
    )
    return GreedyConfig(layer, layer)


def _candidate(
    sizes: tuple[int, ...], train: Split, held_out: Split, epochs: int, seed: int
) -> Candidate:
    rng, began = generator(seed), time.perf_counter()
    dbn = DBN(sizes, rng=rng)
    for _ in greedy.epochs(dbn, train.images, config=_config(epochs), rng=rng):
        pass
    seconds = time.perf_counter() - began
    below = train.images[:2000]
    for layer in dbn.recognition:
        below = layer.sample(below, rng)
    log_z = likelihood.log_partition(
        dbn.memory, below, rng=rng, target_error=0.3, limit=2000, reverse_steps=0
    )
    score = likelihood.score(dbn, held_out.images, log_z, rng=rng)
    gap = monitor.free_energy_gap(
        dbn.rbm(0), train.images[: len(held_out)], held_out.images, checked=True
    )
    error = math.hypot(score.error, log_z.forward.standard_error)
    return Candidate(
        sizes[1:],
        seed,
        score.conservative,
        error,
        _code_error(dbn, train, held_out),
        gap,
        seconds,
        epochs,
    )


def _code_error(dbn: DBN, train: Split, held_out: Split) -> float:
    """Return the errors on held-out cases, %, of a logistic regression from the top code to the
    labels that are known; NaN without labels.
    """
    train, held_out = labelled(train), labelled(held_out)
    if train.labels is None or held_out.labels is None or not len(held_out):
        return math.nan
    from sklearn.linear_model import LogisticRegression

    codes = [
        dbn.memory.hidden_probs(dbn.up(as_probs(part.images))[-1]).numpy()
        for part in (train, held_out)
    ]
    reader = LogisticRegression(C=0.1, max_iter=300, tol=1e-3).fit(codes[0], train.labels.numpy())
    return 100 * float((reader.predict(codes[1]) != held_out.labels.numpy()).mean())


def recommend(candidates: list[Candidate]) -> Advice:
    """Return the cheapest shape whose bound is not below the best one's by more than two standard
    errors of the difference.

    A shape's value is its mean over seeds. The cases are the same for all, so what counts as
    uncertainty is the spread over seeds, or, with one seed, the standard errors of log Z and of the
    cases.
    """
    shapes = list(dict.fromkeys(one.hidden for one in candidates))
    bounds = {
        shape: torch.tensor(
            [one.bound for one in candidates if one.hidden == shape], dtype=torch.float64
        )
        for shape in shapes
    }
    spread = {
        shape: float(values.std()) / len(values) ** 0.5
        if len(values) > 1
        else next(one.error for one in candidates if one.hidden == shape)
        for shape, values in bounds.items()
    }
    best = max(shapes, key=lambda shape: float(bounds[shape].mean()))

    def shortfall(shape: tuple[int, ...]) -> float:
        return float(bounds[best].mean() - bounds[shape].mean())

    def doubt(shape: tuple[int, ...]) -> float:
        return 0.0 if shape == best else 2 * math.hypot(spread[best], spread[shape])

    seconds = {
        shape: sum(one.seconds for one in candidates if one.hidden == shape) for shape in shapes
    }
    good = [shape for shape in shapes if shortfall(shape) <= doubt(shape)]
    chosen = min(good, key=lambda shape: seconds[shape])
    pairs = (bounds[chosen][:, None] >= bounds[best][None, :] - doubt(chosen)).double()
    return Advice(
        chosen,
        best,
        shortfall(chosen),
        2 * math.hypot(spread[best], spread[chosen]),
        float(pairs.mean()),
    )


def as_json(candidates: list[Candidate], advice: Advice) -> dict[str, Any]:
    """Return candidates and advice as plain values; NaN as None."""
    rows = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in one._asdict().items()
        }
        for one in candidates
    ]
    return {"candidates": rows, "advice": advice._asdict()}
