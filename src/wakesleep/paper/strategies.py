"""Five strategies for learning many layers, on one net and one budget of epochs: denial, evolution,
procrastination, calculus, generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wakesleep.data import Split
from wakesleep.evaluation import classify
from wakesleep.learning import backprop, greedy, robust, strategies
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig
from wakesleep.models.dbn import DBN
from wakesleep.paper.pretraining import parts_of
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import Done, TableSetup, collect, fine_tune, learn
from wakesleep.sources.arrays import as_probs

TABLE = "strategies"
BUDGET = 30
"""Epochs over the cases that each strategy has, those without labels included: five a layer there,
the other half with labels.
"""
LAYER = 5
UNITS = 100
"""Principal components that are kept."""


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield each strategy's errors, with `curve`: (epochs, minutes, validation errors) after each
    epoch of the first seed.
    """
    for name, way in WAYS.items():
        done = [way(setup, seed) for seed in setup.seeds]
        minutes = round(sum(run.minutes for runs in done for run in runs) / len(done), 2)
        yield from collect(
            setup,
            f"strategy-{name}",
            [runs[-1] for runs in done],
            minutes=minutes,
            curve=curve(done[0]),
        )
    yield from _support_vectors(setup)


def curve(runs: list[Done[Any]]) -> list[tuple[int, float, int]]:
    """Return (epochs so far, minutes so far, validation errors) of each epoch that has validation
    errors.
    """
    points, minutes, epochs = [], 0.0, 0
    for run in runs:
        for line in run.epochs:
            minutes, epochs = minutes + line["seconds"] / 60, epochs + 1
            if "validation_errors" in line:
                points.append((epochs, round(minutes, 3), line["validation_errors"]))
    return points


def _sizes(setup: TableSetup) -> tuple[int, ...]:
    return (setup.dataset.train.images.shape[1], *setup.config.hidden, len(setup.dataset.classes))


def _tune(
    setup: TableSetup,
    name: str,
    seed: int,
    config: BackpropConfig,
    make: Callable[[torch.Generator], nn.Sequential],
    after: str = "",
    cases: tuple[Split, Split | None] | None = None,
) -> Done[nn.Sequential]:
    """Return the finished run of backpropagation from what `make` returns, on the 50,000 first
    cases or on `cases`.
    """
    train, validation = parts_of(setup, all_cases=False) if cases is None else cases
    return fine_tune(
        setup,
        f"{setup.dataset.name}-strategy-{name}",
        seed,
        config,
        train,
        make,
        {"from": after},
        validation,
    )


def _denial(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """Random features; only the last layer learns."""
    train, validation = parts_of(setup, all_cases=False)
    labels = train.labels
    assert labels is not None
    config = replace(setup.config.random, epochs=setup.epochs(BUDGET), sample_pixels=False)

    def loop(net: nn.Sequential, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        features = _through(net[:-1], train.images)
        return backprop.epochs(
            nn.Sequential(net[-1]),
            features,
            labels,
            config=config,
            rng=rng,
            state=state,
            stage="denial",
        )

    return [
        learn(
            setup,
            f"{setup.dataset.name}-strategy-denial",
            seed,
            {"backprop": config, "sizes": _sizes(setup)},
            make=lambda rng: backprop.random_classifier(_sizes(setup), rng=rng),
            loop=loop,
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def _through(net: nn.Module, images: Tensor) -> Tensor:
    """Return what `net` makes of `images`, chunk by chunk."""
    with torch.no_grad():
        return torch.cat([net(chunk) for chunk in torch.split(as_probs(images), 2000)])


def _evolution(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """Weights are perturbed, and moved towards the perturbations that helped."""
    train, validation = parts_of(setup, all_cases=False)
    labels, config = train.labels, EvolutionConfig(epochs=setup.epochs(BUDGET))
    assert labels is not None
    return [
        learn(
            setup,
            f"{setup.dataset.name}-strategy-evolution",
            seed,
            config,
            make=lambda rng: backprop.random_classifier(_sizes(setup), rng=rng),
            loop=lambda net, rng, state: strategies.evolve(
                net, train.images, labels, config=config, rng=rng, state=state
            ),
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def _autoencoder(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """Each layer learns to copy, half the epochs; then backpropagation."""
    train, _ = parts_of(setup, all_cases=False)
    config = AutoencoderConfig(epochs=setup.epochs(LAYER))
    first: Done[nn.Sequential] = learn(
        setup,
        f"{setup.dataset.name}-strategy-autoencoder-features",
        seed,
        {"autoencoder": config.epochs, "sizes": _sizes(setup)},
        make=lambda rng: backprop.random_classifier(_sizes(setup), rng=rng, gain=1.0),
        loop=lambda net, rng, state: strategies.autoencode(
            net, train.images, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
    )
    tune = replace(
        setup.config.random, epochs=setup.epochs(BUDGET - LAYER * len(setup.config.hidden))
    )
    return [first, _tune(setup, "autoencoder", seed, tune, lambda rng: first.net, first.digest)]


def _components(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """Principal components, not whitened, which would make as much of the last as of the first;
    then the layers above the first.
    """
    from sklearn.decomposition import PCA

    pca = PCA(
        min(UNITS, len(setup.dataset.train.images[0]) - 1),
        svd_solver="randomized",
        random_state=seed,
    )
    return _on_features(setup, "pca", seed, pca.fit, pca.transform)


def _clusters(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """Distances to cluster centres, as activities that are large where a case is nearer than to
    most (Coates, Ng & Lee 2011).
    """
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        setup.config.hidden[0], batch_size=2048, n_init=1, max_iter=LAYER, random_state=seed
    )

    def triangle(X: np.ndarray) -> np.ndarray:
        far = kmeans.transform(X)
        return np.asarray(np.maximum(0, far.mean(1, keepdims=True) - far))

    return _on_features(setup, "k-means", seed, kmeans.fit, triangle)


def _on_features(
    setup: TableSetup,
    name: str,
    seed: int,
    fit: Callable[[np.ndarray], object],
    transform: Callable[[np.ndarray], np.ndarray],
) -> list[Done[Any]]:
    """Return the run of the layers above the first, on features of the pixels that were found
    without labels, their spread made 1.

    The spread is one number for all features; without it nets made twice to three times as many
    validation errors.
    """
    train, validation = parts_of(setup, all_cases=False)
    tested = setup.dataset.test
    assert validation is not None
    assert tested is not None
    began = time.perf_counter()
    fit(as_probs(train.images).cpu().numpy())
    minutes = (time.perf_counter() - began) / 60

    def features(split: Split) -> Split:
        scaled = np.concatenate(
            [transform(as_probs(chunk).cpu().numpy()) for chunk in torch.split(split.images, 2000)]
        )
        return Split(torch.from_numpy(scaled.astype(np.float32)).to(setup.device), split.labels)

    learned, held_out, tested = (features(split) for split in (train, validation, tested))
    spread = learned.images.std()
    for split in (learned, held_out, tested):
        split.images.div_(spread)
    other = replace(setup, dataset=replace(setup.dataset, test=tested))
    sizes = (learned.images.shape[1], *setup.config.hidden[1:], len(setup.dataset.classes))
    config = replace(setup.config.random, epochs=setup.epochs(BUDGET - LAYER), sample_pixels=False)
    run = _tune(
        other,
        name,
        seed,
        config,
        lambda rng: backprop.random_classifier(sizes, rng=rng),
        f"{name}, spread 1",
        (learned, held_out),
    )
    return [replace(run, minutes=run.minutes + minutes)]


def _calculus(setup: TableSetup, seed: int, gain: float) -> list[Done[Any]]:
    """Backpropagation from random weights of one size or another."""
    config = replace(setup.config.random, epochs=setup.epochs(BUDGET))
    return [
        _tune(
            setup,
            f"calculus-gain-{gain:g}",
            seed,
            config,
            lambda rng: backprop.random_classifier(_sizes(setup), rng=rng, gain=gain),
        )
    ]


def _rectified(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """The same net with rectified units, He's first weights, Adam: calculus as it is done today."""
    train, validation = parts_of(setup, all_cases=False)
    labels = train.labels
    assert labels is not None
    config = RobustConfig(
        epochs=setup.epochs(BUDGET),
        optimizer="adam",
        learning_rate=0.001,
        final_learning_rate=0.00001,
        sample_pixels=True,
    )
    return [
        learn(
            setup,
            f"{setup.dataset.name}-strategy-calculus-relu",
            seed,
            {"robust": config, "sizes": _sizes(setup)},
            make=lambda rng: rectified(_sizes(setup), rng),
            loop=lambda net, rng, state: robust.epochs(
                net, train.images, labels, config=config, rng=rng, state=state, dtype=setup.dtype
            ),
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def rectified(sizes: tuple[int, ...], rng: torch.Generator) -> nn.Sequential:
    """Return a net of rectified units with weights N(0, 2 / inputs) (He et al. 2015) and biases
    0.
    """
    net = backprop.feed_forward(sizes, rng.device)
    net = nn.Sequential(*[nn.ReLU() if isinstance(layer, nn.Sigmoid) else layer for layer in net])
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0.0, (2 / layer.in_features) ** 0.5, generator=rng)
                layer.bias.zero_()
    return net


def _generation(setup: TableSetup, seed: int) -> list[Done[Any]]:
    """A stack of restricted Boltzmann machines without labels, half the epochs; then
    backpropagation.
    """
    train, _ = parts_of(setup, all_cases=False)
    epochs, base = setup.epochs(LAYER), setup.config.greedy
    config = GreedyConfig(replace(base.layer, epochs=epochs), replace(base.memory, epochs=epochs))
    first: Done[DBN] = learn(
        setup,
        f"{setup.dataset.name}-strategy-generation-features",
        seed,
        {"greedy": config, "sizes": _sizes(setup)},
        make=lambda rng: DBN(_sizes(setup)[:-1], rng=rng),
        loop=lambda dbn, rng, state: greedy.epochs(
            dbn, train.images, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
    )
    tune = replace(
        setup.config.backprop, epochs=setup.epochs(BUDGET - LAYER * len(setup.config.hidden))
    )
    classes = len(setup.dataset.classes)
    make_net = partial(backprop.classifier, first.net, classes, start="small")
    return [
        first,
        _tune(setup, "generation", seed, tune, lambda rng: make_net(rng=rng), first.digest),
    ]


WAYS: dict[str, Callable[[TableSetup, int], list[Done[Any]]]] = {
    "denial": _denial,
    "evolution": _evolution,
    "procrastination-pca": _components,
    "procrastination-k-means": _clusters,
    "procrastination-autoencoder": _autoencoder,
    "calculus": partial(_calculus, gain=4.0),
    "calculus-small-weights": partial(_calculus, gain=1.0),
    "calculus-relu-adam": _rectified,
    "generation": _generation,
}


def _support_vectors(setup: TableSetup) -> Iterator[Row]:
    """Yield the rows of denial's modern form: histograms of gradients made by hand, and a support
    vector machine on top; no seed matters.
    """
    from sklearn.svm import SVC

    train, validation = parts_of(setup, all_cases=False)
    tested, shape = setup.dataset.test, setup.dataset.shape
    assert train.labels is not None
    assert validation is not None
    assert tested is not None
    began = time.perf_counter()
    machine = SVC(C=10.0, gamma="scale", cache_size=1000).fit(
        gradients(train.images, shape).numpy(), train.labels.cpu().numpy()
    )
    minutes = round((time.perf_counter() - began) / 60, 2)
    wrong = [
        classify.count_errors(
            torch.from_numpy(machine.predict(gradients(split.images, shape).numpy())), split.labels
        )
        for split in (validation, tested)
        if split.labels is not None
    ]
    for metric, value in (
        ("validation_errors", wrong[0]),
        ("test_error_percent", 100 * wrong[1] / len(tested)),
    ):
        name = "strategy-denial-hand-made"
        yield row(
            setup.dataset.name,
            name,
            metric,
            [value],
            seeds=(0,),
            command=setup.command,
            minutes=minutes,
        )


def gradients(
    images: Tensor, shape: tuple[int, int], cells: int = 7, directions: int = 8
) -> Tensor:
    """Return histograms of the directions of the gradient in cells x cells parts of each picture,
    (N, cells * cells * directions).
    """
    pictures = as_probs(images).cpu().view(-1, 1, *shape)
    down, across = torch.gradient(pictures, dim=(2, 3))
    turned = torch.atan2(down, across).div(2 * torch.pi / directions)
    strength, lower = (down.square() + across.square()).sqrt(), turned.floor()
    upper_share = turned - lower
    maps = torch.zeros(len(pictures), directions, *shape)
    maps.scatter_add_(1, lower.long() % directions, strength * (1 - upper_share))
    maps.scatter_add_(1, (lower.long() + 1) % directions, strength * upper_share)
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, min(cells, *shape)).flatten(1)
    return pooled.sqrt()
