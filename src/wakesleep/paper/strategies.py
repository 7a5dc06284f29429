"""Five strategies for learning many layers, on one net and one budget of passes: denial, evolution, procrastination, calculus, generation."""

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
from wakesleep.judging import classify
from wakesleep.learning import backprop, greedy, robust, strategies
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import Pass
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig
from wakesleep.model.dbn import DBN
from wakesleep.paper.pretraining import parts_of
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import Bench, Done, collect, fine_tune, learn
from wakesleep.sources.cases import as_probs

TABLE = "strategies"
BUDGET = 30
"""Passes over the cases that each strategy has, those without labels included: five a layer there, the other half with labels."""
LAYER = 5
UNITS = 100
"""Principal components that are kept."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield each strategy's errors, with `curve`: (passes, minutes, validation errors) after each pass of the first seed."""
    for name, way in WAYS.items():
        done = [way(bench, seed) for seed in bench.seeds]
        minutes = round(sum(run.minutes for runs in done for run in runs) / len(done), 2)
        yield from collect(bench, f"strategy-{name}", [runs[-1] for runs in done], minutes=minutes, curve=curve(done[0]))
    yield from _support_vectors(bench)


def curve(runs: list[Done[Any]]) -> list[tuple[int, float, int]]:
    """Return (passes so far, minutes so far, validation errors) of each pass that has validation errors."""
    found, minutes, passes = [], 0.0, 0
    for run in runs:
        for line in run.passes:
            minutes, passes = minutes + line["seconds"] / 60, passes + 1
            if "validation_errors" in line:
                found.append((passes, round(minutes, 3), line["validation_errors"]))
    return found


def _sizes(bench: Bench) -> tuple[int, ...]:
    return (bench.dataset.train.images.shape[1], *bench.config.hidden, len(bench.dataset.classes))


def _tune(
    bench: Bench,
    name: str,
    seed: int,
    config: BackpropConfig,
    make: Callable[[torch.Generator], nn.Sequential],
    after: str = "",
    cases: tuple[Split, Split | None] | None = None,
) -> Done[nn.Sequential]:
    """Return the finished run of backpropagation from what `make` returns, on the 50,000 first cases or on `cases`."""
    train, validation = parts_of(bench, all_cases=False) if cases is None else cases
    return fine_tune(bench, f"{bench.dataset.name}-strategy-{name}", seed, config, train, make, {"from": after}, validation)


def _denial(bench: Bench, seed: int) -> list[Done[Any]]:
    """Random features; only the last layer learns."""
    train, validation = parts_of(bench, all_cases=False)
    labels = train.labels
    assert labels is not None
    config = replace(bench.config.random, passes=bench.passes(BUDGET), sample_pixels=False)

    def loop(net: nn.Sequential, rng: torch.Generator, state: Any) -> Iterator[Pass]:
        features = _through(net[:-1], train.images)
        return backprop.epochs(nn.Sequential(net[-1]), features, labels, config=config, rng=rng, state=state, stage="denial")

    return [
        learn(
            bench,
            f"{bench.dataset.name}-strategy-denial",
            seed,
            {"backprop": config, "sizes": _sizes(bench)},
            make=lambda rng: backprop.random_classifier(_sizes(bench), rng=rng),
            loop=loop,
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def _through(net: nn.Module, images: Tensor) -> Tensor:
    """Return what `net` makes of `images`, chunk by chunk."""
    with torch.no_grad():
        return torch.cat([net(chunk) for chunk in torch.split(as_probs(images), 2000)])


def _evolution(bench: Bench, seed: int) -> list[Done[Any]]:
    """Weights are perturbed, and moved towards the perturbations that helped."""
    train, validation = parts_of(bench, all_cases=False)
    labels, config = train.labels, EvolutionConfig(passes=bench.passes(BUDGET))
    assert labels is not None
    return [
        learn(
            bench,
            f"{bench.dataset.name}-strategy-evolution",
            seed,
            config,
            make=lambda rng: backprop.random_classifier(_sizes(bench), rng=rng),
            loop=lambda net, rng, state: strategies.evolve(net, train.images, labels, config=config, rng=rng, state=state),
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def _autoencoder(bench: Bench, seed: int) -> list[Done[Any]]:
    """Each layer learns to copy, half the passes; then backpropagation."""
    train, _ = parts_of(bench, all_cases=False)
    config = AutoencoderConfig(passes=bench.passes(LAYER))
    first: Done[nn.Sequential] = learn(
        bench,
        f"{bench.dataset.name}-strategy-autoencoder-features",
        seed,
        {"autoencoder": config.passes, "sizes": _sizes(bench)},
        make=lambda rng: backprop.random_classifier(_sizes(bench), rng=rng, gain=1.0),
        loop=lambda net, rng, state: strategies.autoencode(net, train.images, config=config, rng=rng, state=state, dtype=bench.dtype),
    )
    tune = replace(bench.config.random, passes=bench.passes(BUDGET - LAYER * len(bench.config.hidden)))
    return [first, _tune(bench, "autoencoder", seed, tune, lambda rng: first.net, first.digest)]


def _components(bench: Bench, seed: int) -> list[Done[Any]]:
    """Principal components, not whitened, which would make as much of the last as of the first; then the layers above the first."""
    from sklearn.decomposition import PCA

    found = PCA(min(UNITS, len(bench.dataset.train.images[0]) - 1), svd_solver="randomized", random_state=seed)
    return _on_features(bench, "pca", seed, found.fit, found.transform)


def _clusters(bench: Bench, seed: int) -> list[Done[Any]]:
    """Distances to cluster centres, as activities that are large where a case is nearer than to most (Coates, Ng & Lee 2011)."""
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(bench.config.hidden[0], batch_size=2048, n_init=1, max_iter=LAYER, random_state=seed)

    def triangle(X: np.ndarray) -> np.ndarray:
        far = found.transform(X)
        return np.asarray(np.maximum(0, far.mean(1, keepdims=True) - far))

    return _on_features(bench, "k-means", seed, found.fit, triangle)


def _on_features(
    bench: Bench, name: str, seed: int, fit: Callable[[np.ndarray], object], transform: Callable[[np.ndarray], np.ndarray]
) -> list[Done[Any]]:
    """Return the run of the layers above the first, on features of the pixels that were found without labels, their spread made 1.

    The spread is one number for all features; without it nets made twice to three times as many validation errors.
    """
    train, validation = parts_of(bench, all_cases=False)
    tested = bench.dataset.test
    assert validation is not None
    assert tested is not None
    began = time.perf_counter()
    fit(as_probs(train.images).cpu().numpy())
    minutes = (time.perf_counter() - began) / 60

    def features(split: Split) -> Split:
        made = np.concatenate([transform(as_probs(chunk).cpu().numpy()) for chunk in torch.split(split.images, 2000)])
        return Split(torch.from_numpy(made.astype(np.float32)).to(bench.device), split.labels)

    learned, held_out, tested = (features(split) for split in (train, validation, tested))
    spread = learned.images.std()
    for split in (learned, held_out, tested):
        split.images.div_(spread)
    other = replace(bench, dataset=replace(bench.dataset, test=tested))
    sizes = (learned.images.shape[1], *bench.config.hidden[1:], len(bench.dataset.classes))
    config = replace(bench.config.random, passes=bench.passes(BUDGET - LAYER), sample_pixels=False)
    run = _tune(other, name, seed, config, lambda rng: backprop.random_classifier(sizes, rng=rng), f"{name}, spread 1", (learned, held_out))
    return [replace(run, minutes=run.minutes + minutes)]


def _calculus(bench: Bench, seed: int, gain: float) -> list[Done[Any]]:
    """Backpropagation from random weights of one size or another."""
    config = replace(bench.config.random, passes=bench.passes(BUDGET))
    return [_tune(bench, f"calculus-gain-{gain:g}", seed, config, lambda rng: backprop.random_classifier(_sizes(bench), rng=rng, gain=gain))]


def _rectified(bench: Bench, seed: int) -> list[Done[Any]]:
    """The same net with rectified units, He's first weights, Adam: calculus as it is done today."""
    train, validation = parts_of(bench, all_cases=False)
    labels = train.labels
    assert labels is not None
    config = RobustConfig(passes=bench.passes(BUDGET), optimizer="adam", learning_rate=0.001, final_learning_rate=0.00001, sample_pixels=True)
    return [
        learn(
            bench,
            f"{bench.dataset.name}-strategy-calculus-relu",
            seed,
            {"robust": config, "sizes": _sizes(bench)},
            make=lambda rng: rectified(_sizes(bench), rng),
            loop=lambda net, rng, state: robust.epochs(net, train.images, labels, config=config, rng=rng, state=state, dtype=bench.dtype),
            log_probs=backprop.log_probs,
            validation=validation,
        )
    ]


def rectified(sizes: tuple[int, ...], rng: torch.Generator) -> nn.Sequential:
    """Return a net of rectified units with weights N(0, 2 / inputs) (He et al. 2015) and biases 0."""
    net = backprop.feed_forward(sizes, rng.device)
    net = nn.Sequential(*[nn.ReLU() if isinstance(layer, nn.Sigmoid) else layer for layer in net])
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0.0, (2 / layer.in_features) ** 0.5, generator=rng)
                layer.bias.zero_()
    return net


def _generation(bench: Bench, seed: int) -> list[Done[Any]]:
    """A stack of restricted Boltzmann machines without labels, half the passes; then backpropagation."""
    train, _ = parts_of(bench, all_cases=False)
    passes, base = bench.passes(LAYER), bench.config.greedy
    config = GreedyConfig(replace(base.layer, passes=passes), replace(base.memory, passes=passes))
    first: Done[DBN] = learn(
        bench,
        f"{bench.dataset.name}-strategy-generation-features",
        seed,
        {"greedy": config, "sizes": _sizes(bench)},
        make=lambda rng: DBN(_sizes(bench)[:-1], rng=rng),
        loop=lambda dbn, rng, state: greedy.epochs(dbn, train.images, config=config, rng=rng, state=state, dtype=bench.dtype),
    )
    tune = replace(bench.config.backprop, passes=bench.passes(BUDGET - LAYER * len(bench.config.hidden)))
    classes = len(bench.dataset.classes)
    made = partial(backprop.classifier, first.net, classes, start="small")
    return [first, _tune(bench, "generation", seed, tune, lambda rng: made(rng=rng), first.digest)]


WAYS: dict[str, Callable[[Bench, int], list[Done[Any]]]] = {
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


def _support_vectors(bench: Bench) -> Iterator[Row]:
    """Yield the rows of denial's modern form: histograms of gradients made by hand, and a support vector machine on top; no seed matters."""
    from sklearn.svm import SVC

    train, validation = parts_of(bench, all_cases=False)
    tested, shape = bench.dataset.test, bench.dataset.shape
    assert train.labels is not None
    assert validation is not None
    assert tested is not None
    began = time.perf_counter()
    machine = SVC(C=10.0, gamma="scale", cache_size=1000).fit(gradients(train.images, shape).numpy(), train.labels.cpu().numpy())
    minutes = round((time.perf_counter() - began) / 60, 2)
    wrong = [
        classify.count_errors(torch.from_numpy(machine.predict(gradients(split.images, shape).numpy())), split.labels)
        for split in (validation, tested)
        if split.labels is not None
    ]
    for metric, value in (("validation_errors", wrong[0]), ("test_error_percent", 100 * wrong[1] / len(tested))):
        name = "strategy-denial-hand-made"
        yield row(bench.dataset.name, name, metric, [value], seeds=(0,), command=bench.command, minutes=minutes)


def gradients(images: Tensor, shape: tuple[int, int], cells: int = 7, directions: int = 8) -> Tensor:
    """Return histograms of the directions of the gradient in cells x cells parts of each picture, (N, cells * cells * directions)."""
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
