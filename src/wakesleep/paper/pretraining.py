"""Pretraining against none on one net, and what came after: dropout, norms, means and smoothness from the pretrained weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from torch import nn

from wakesleep import checkpoint
from wakesleep.data import Split, hold_out
from wakesleep.learning import backprop, robust
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.robust import Augment, RobustConfig
from wakesleep.model.dbn import DBN
from wakesleep.paper import mnist
from wakesleep.paper.results import Row
from wakesleep.paper.runs import Bench, Done, collect, fine_tune, learn

TABLE = "pretraining"
PARTS = ("pretrain-50k", "pretrain-60k", "backprop-50k", "backprop-60k", "random-50k")
DROPOUT = RobustConfig(passes=100, dropout_visible=0.1, dropout_hidden=0.2, smooth_radius=2.0)
WIDE = (1500, 1500, 3000)
"""Hidden layers of the robust net: what is left out of it leaves enough."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of nets a, b, c, of the same from random weights, of their average, and of the robust net."""
    yield from mnist_rows(bench, PARTS)
    yield from conjugate(bench)
    yield from robust_rows(bench)


def mnist_rows(bench: Bench, parts: tuple[str, ...]) -> list[Row]:
    """Return the rows of parts of the figures on MNIST, done as far as they are not yet."""
    return mnist.measure(_options(bench, parts), bench.dataset, bench.command, bench.config)


def _options(bench: Bench, parts: tuple[str, ...]) -> mnist.Options:
    return mnist.Options(bench.seeds, bench.folder / bench.dataset.name, parts, device=str(bench.device), precision=bench.config.precision)


def pretrained(bench: Bench, seed: int, part: str) -> DBN:
    """Return the greedily pretrained net of a seed, from the first cases ("pretrain-50k") or all ("pretrain-60k")."""
    options = _options(bench, (part,))
    mnist.run(options.folder, seed, part, options, bench.dataset, bench.command, bench.config)
    return checkpoint.load_model(options.folder / f"seed-{seed}-{part}", bench.device).dbn


def parts_of(bench: Bench, all_cases: bool) -> tuple[Split, Split | None]:
    """Return the cases to learn from and those held out: none where all are learned from."""
    held_out = bench.config.validation
    train, validation = (bench.dataset.train, None) if all_cases else hold_out(bench.dataset.train, int(held_out))
    assert train.labels is not None
    return Split(train.images.to(bench.device), train.labels.to(bench.device)), validation


def robust_net(
    bench: Bench,
    name: str,
    seed: int,
    config: RobustConfig,
    *,
    all_cases: bool,
    generated_first: bool = True,
    change: Augment | None = None,
    how: object = None,
) -> Done[nn.Sequential]:
    """Return the finished run of a net fine-tuned by `robust`, from pretrained or random weights; `how` describes `change` in the settings."""
    train, validation = parts_of(bench, all_cases)
    config = replace(config, passes=bench.passes(config.passes))
    start = ("pretrain-60k" if all_cases else "pretrain-50k") if generated_first else "random"
    classes = len(bench.dataset.classes)
    sizes = (train.images.shape[1], *bench.config.hidden, classes)
    dbn = pretrained(bench, seed, start) if generated_first else None
    assert train.labels is not None
    labels = train.labels
    return learn(
        bench,
        f"{bench.dataset.name}-{name}",
        seed,
        {"from": start, "sizes": sizes, "robust": config, "greedy": bench.config.greedy if generated_first else None, "how": how},
        make=lambda rng: backprop.random_classifier(sizes, rng=rng) if dbn is None else backprop.classifier(dbn, classes, rng=rng),
        loop=lambda net, rng, state: robust.epochs(
            net, train.images, labels, config=config, rng=rng, change=change, state=state, dtype=bench.dtype
        ),
        log_probs=backprop.log_probs,
        validation=validation,
    )


def robust_rows(bench: Bench) -> list[Row]:
    """Return the row of the wider net that is pretrained for long and then held to smoothness, with dropout, on all cases."""
    hidden = bench.config.hidden if bench.smoke else WIDE
    config = replace(bench.config, hidden=hidden, greedy=mnist.longer(bench.config.greedy))
    wide = replace(bench, folder=bench.folder / "wide", config=config)
    done = [robust_net(wide, "smooth-60k", seed, DROPOUT, all_cases=True) for seed in bench.seeds]
    return collect(wide, "dropout", done, "0.92 DBN, 0.79 DBM", hidden=hidden)


CONJUGATE = BackpropConfig(method="cg", passes=20)


def conjugate(bench: Bench) -> list[Row]:
    """Return the rows of conjugate gradient from the pretrained weights, as in the 2006 code."""
    train, validation = parts_of(bench, all_cases=False)
    config, done = replace(CONJUGATE, passes=bench.passes(CONJUGATE.passes)), []
    for seed in bench.seeds:
        make = partial(backprop.classifier, pretrained(bench, seed, "pretrain-50k"), len(bench.dataset.classes))
        made = {"from": "pretrain-50k", "greedy": bench.config.greedy}
        name = f"{bench.dataset.name}-conjugate-50k"
        done.append(fine_tune(bench, name, seed, config, train, lambda rng, make=make: make(rng=rng), made, validation))  # type: ignore[misc]
    return collect(bench, "conjugate-50k", done)
