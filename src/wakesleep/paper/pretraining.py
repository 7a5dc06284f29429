"""Pretraining against none on one net, and what came after: dropout, norms, means and smoothness
from the pretrained weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from torch import nn

from wakesleep.data import Split, hold_out
from wakesleep.learning import backprop, robust
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.robust import Augment, RobustConfig
from wakesleep.models.dbn import DBN
from wakesleep.paper import mnist
from wakesleep.paper.results import Row
from wakesleep.paper.runs import Done, TableSetup, collect, fine_tune, learn
from wakesleep.runs import checkpoint

TABLE = "pretraining"
PARTS = ("pretrain-50k", "pretrain-60k", "backprop-50k", "backprop-60k", "random-50k")
DROPOUT = RobustConfig(epochs=100, dropout_visible=0.1, dropout_hidden=0.2, vat_epsilon=2.0)
WIDE = (1500, 1500, 3000)
"""Hidden layers of the robust net: what is left out of it leaves enough."""


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield the rows of nets a, b, c, of the same from random weights, of their average, and of the
    robust net.
    """
    yield from mnist_rows(setup, PARTS)
    yield from conjugate(setup)
    yield from robust_rows(setup)


def mnist_rows(setup: TableSetup, parts: tuple[str, ...]) -> list[Row]:
    """Return the rows of parts of the figures on MNIST, done as far as they are not yet."""
    return mnist.measure(_options(setup, parts), setup.dataset, setup.command, setup.config)


def _options(setup: TableSetup, parts: tuple[str, ...]) -> mnist.MnistTablesOptions:
    return mnist.MnistTablesOptions(
        setup.seeds,
        setup.folder / setup.dataset.name,
        parts,
        device=str(setup.device),
        precision=setup.config.precision,
    )


def pretrained(setup: TableSetup, seed: int, part: str) -> DBN:
    """Return the greedily pretrained net of a seed, from the first cases ("pretrain-50k") or all
    ("pretrain-60k").
    """
    options = _options(setup, (part,))
    mnist.run(options.folder, seed, part, options, setup.dataset, setup.command, setup.config)
    return checkpoint.load_model(options.folder / f"seed-{seed}-{part}", setup.device).dbn


def parts_of(setup: TableSetup, all_cases: bool) -> tuple[Split, Split | None]:
    """Return the cases to learn from and those held out: none where all are learned from."""
    held_out = setup.config.validation
    train, validation = (
        (setup.dataset.train, None) if all_cases else hold_out(setup.dataset.train, int(held_out))
    )
    assert train.labels is not None
    return Split(train.images.to(setup.device), train.labels.to(setup.device)), validation


def robust_net(
    setup: TableSetup,
    name: str,
    seed: int,
    config: RobustConfig,
    *,
    all_cases: bool,
    generated_first: bool = True,
    change: Augment | None = None,
    how: object = None,
) -> Done[nn.Sequential]:
    """Return the finished run of a net fine-tuned by `robust`, from pretrained or random weights;
    `how` describes `change` in the settings.
    """
    train, validation = parts_of(setup, all_cases)
    config = replace(config, epochs=setup.epochs(config.epochs))
    start = ("pretrain-60k" if all_cases else "pretrain-50k") if generated_first else "random"
    classes = len(setup.dataset.classes)
    sizes = (train.images.shape[1], *setup.config.hidden, classes)
    dbn = pretrained(setup, seed, start) if generated_first else None
    assert train.labels is not None
    labels = train.labels
    return learn(
        setup,
        f"{setup.dataset.name}-{name}",
        seed,
        {
            "from": start,
            "sizes": sizes,
            "robust": config,
            "greedy": setup.config.greedy if generated_first else None,
            "how": how,
        },
        make=lambda rng: (
            backprop.random_classifier(sizes, rng=rng)
            if dbn is None
            else backprop.classifier(dbn, classes, rng=rng)
        ),
        loop=lambda net, rng, state: robust.epochs(
            net,
            train.images,
            labels,
            config=config,
            rng=rng,
            change=change,
            state=state,
            dtype=setup.dtype,
        ),
        log_probs=backprop.log_probs,
        validation=validation,
    )


def robust_rows(setup: TableSetup) -> list[Row]:
    """Return the row of the wider net that is pretrained for long and then held to smoothness, with
    dropout, on all cases.
    """
    hidden = setup.config.hidden if setup.smoke else WIDE
    config = replace(setup.config, hidden=hidden, greedy=mnist.longer(setup.config.greedy))
    wide = replace(setup, folder=setup.folder / "wide", config=config)
    done = [robust_net(wide, "smooth-60k", seed, DROPOUT, all_cases=True) for seed in setup.seeds]
    return collect(wide, "dropout", done, "0.92 DBN, 0.79 DBM", hidden=hidden)


CONJUGATE = BackpropConfig(method="cg", epochs=20)


def conjugate(setup: TableSetup) -> list[Row]:
    """Return the rows of conjugate gradient from the pretrained weights, as in the 2006 code."""
    train, validation = parts_of(setup, all_cases=False)
    config, done = replace(CONJUGATE, epochs=setup.epochs(CONJUGATE.epochs)), []
    for seed in setup.seeds:
        make = partial(
            backprop.classifier, pretrained(setup, seed, "pretrain-50k"), len(setup.dataset.classes)
        )
        origin = {"from": "pretrain-50k", "greedy": setup.config.greedy}
        name = f"{setup.dataset.name}-conjugate-50k"
        done.append(
            fine_tune(
                setup,
                name,
                seed,
                config,
                train,
                lambda rng, make=make: make(rng=rng),  # type: ignore[misc]
                origin,
                validation,
            )
        )
    return collect(setup, "conjugate-50k", done)
