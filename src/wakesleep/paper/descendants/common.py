"""What all methods share: networks of linear layers, the loss a minibatch is given, and runs that
go on where they stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wakesleep.learning import loop
from wakesleep.learning.records import (
    EpochResult,
    OptimizerState,
    optimizer_state,
    restore_optimizer,
)
from wakesleep.learning.state import EpochState
from wakesleep.models.dbn import DBN
from wakesleep.paper.runs import Done, TableSetup, learn
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED

BATCH = 100
RATE = 1e-3
"""Adam's, falling to nothing in a straight line."""
PRETRAINING_EPOCHS = 30
LABELLED_EPOCHS = 30
UPDATES = 1500
"""Minibatches that a classifier makes at least where labels are few."""

Net = TypeVar("Net", bound=nn.Module)

Loss = Callable[..., Tensor]
"""(net, minibatch, rng) -> the loss, nats a case."""


@dataclass(frozen=True)
class Job:
    """A cell of the table for one choice of labels."""

    setup: TableSetup
    count: int
    """How many labels are known."""
    seed: int
    """Which ones they are, and where the run's random numbers begin."""
    images: Tensor
    """(N, pixels)."""
    labels: Tensor
    """(N,), UNLABELLED where unknown."""

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.setup.dataset.classes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels and the hidden layers of the deep belief net."""
        return (self.images.shape[1], *self.setup.config.hidden)


class Minibatches:
    """A source for `loop.run`: images of all cases (n, pixels), labelled images and labels, or both
    together (labelled images, labels, images).

    An epoch goes once through all cases or, of the labelled ones alone, makes `updates` minibatches
    at least.
    """

    capturable = False

    def __init__(
        self, images: Tensor, labels: Tensor | None, *, every: bool, updates: int = 0
    ) -> None:
        self.images, self.labels, self.every = images, labels, every
        known = None if labels is None else (labels != UNLABELLED).nonzero()[:, 0]
        self.known = known
        own = len(images) if every or known is None else len(known)
        self.cases = max(own, updates * BATCH)

    def __len__(self) -> int:
        """How many cases an epoch shows."""
        return self.cases

    def chunks(self, rng: torch.Generator) -> Iterator[Minibatches]:
        """Yield all cases at once."""
        yield self

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the minibatches of one epoch."""
        every = torch.split(arrays.order(None, len(self.images), rng), size)
        if self.known is None or self.labels is None:
            yield from ((arrays.as_probs(self.images[index]),) for index in every)
            return
        labels, rounds = self.labels[self.known], -(-self.cases // len(self.known))
        orders = [arrays.order(labels, len(labels), rng) for _ in range(rounds)]
        known = torch.split(self.known[torch.cat(orders)][: self.cases], size)
        for number, index in enumerate(known):
            labelled = arrays.as_probs(self.images[index]), self.labels[index]
            if self.every:
                yield (*labelled, arrays.as_probs(self.images[every[number % len(every)]]))
            else:
                yield labelled


@dataclass
class DescentState(EpochState):
    """What Adam needs to go on after an epoch."""

    optimizer: OptimizerState = field(default_factory=dict)


class Descent(loop.Algorithm):
    """Adam on a loss, for `loop.run`."""

    differentiates = True

    def __init__(
        self, net: nn.Module, loss: Loss, state: DescentState, rng: torch.Generator, epochs: int
    ) -> None:
        self.net, self.loss, self.state, self.rng, self.epochs = net, loss, state, rng, epochs
        self.optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
        restore_optimizer(self.optimizer, net, state.optimizer)
        self.total, self.updates = torch.zeros(()), 0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        rate = RATE * (1 - epoch / self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.total, self.updates = torch.zeros(()), 0
        self.net.train()
        return (rate,)

    def step(self, cases: Minibatches, *batch: Tensor) -> None:
        """Descend the loss of a minibatch."""
        loss = self.loss(self.net, *batch, rng=self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.total += loss.detach().cpu()
        self.updates += 1

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the mean loss of the epoch."""
        self.net.eval()
        self.state.optimizer = optimizer_state(self.optimizer, self.net)
        return {"loss": float(self.total) / self.updates}


def descend(
    net: nn.Module,
    rng: torch.Generator,
    state: Any,
    *,
    loss: Loss,
    source: Minibatches,
    epochs: int,
    stage: str,
) -> Iterator[EpochResult]:
    """Train `net` by Adam on `loss` over minibatches of `source`, yielding a record an epoch."""
    algorithm = Descent(net, loss, DescentState.read(state) or DescentState(), rng, epochs)
    yield from loop.run(
        algorithm, source, epochs=epochs, batch_size=BATCH, rng=rng, stage=stage, replays=False
    )


def mlp(sizes: Sequence[int], rng: torch.Generator, *, last: bool = True) -> nn.Sequential:
    """Return linear layers with ReLU between them (and after the last where `last` is false), by He
    et al. (2015): N(0, 2 / inputs).
    """
    layers: list[nn.Module] = []
    for below, above in pairwise(sizes):
        linear = nn.Linear(below, above)
        with torch.no_grad():
            linear.weight.normal_(0, (2 / below) ** 0.5, generator=rng)
            linear.bias.zero_()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*(layers[:-1] if last else layers))


def pretrain(
    setup: TableSetup,
    name: str,
    make: Callable[[torch.Generator], Net],
    loss: Loss,
    *,
    epochs: int = PRETRAINING_EPOCHS,
) -> Done[Net]:
    """Return the net that has seen all training images and no label; one serves every choice of
    labels.
    """
    images, epochs = setup.dataset.train.images.to(setup.device), setup.epochs(epochs)
    source = Minibatches(images, None, every=True)
    return learn(
        setup,
        f"{setup.dataset.name}-{name}",
        1,
        {"epochs": epochs, "rate": RATE, "sizes": setup.config.hidden},
        make=make,
        loop=partial(descend, loss=loss, source=source, epochs=epochs, stage=name),
    )


def fit(
    job: Job,
    name: str,
    make: Callable[[torch.Generator], Net],
    loss: Loss,
    *,
    every: bool = False,
    epochs: int = LABELLED_EPOCHS,
    log_probs: Callable[[Any, Tensor], Tensor] | None = None,
    **notes: Any,
) -> Done[Net]:
    """Return the net that learned from the labelled cases or, with `every`, from all."""
    setup, epochs = job.setup, job.setup.epochs(epochs)
    updates = 0 if setup.smoke else -(-UPDATES // epochs)
    source = Minibatches(job.images, job.labels, every=every, updates=updates)
    return learn(
        setup,
        f"{setup.dataset.name}-{name}-{job.count}",
        job.seed,
        {"epochs": epochs, "rate": RATE, "sizes": setup.config.hidden, **notes},
        make=make,
        loop=partial(descend, loss=loss, source=source, epochs=epochs, stage=name),
        log_probs=log_probs or log_softmax,
    )


def classifier(
    features: nn.Module, width: int, classes: int, dropout: float = 0.5
) -> nn.Sequential:
    """Return features under dropout and a linear layer that starts at zero."""
    linear = nn.Linear(width, classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(features, nn.Dropout(dropout), linear)


def supervised_loss(
    net: nn.Module, images: Tensor, labels: Tensor, *, rng: torch.Generator
) -> Tensor:
    """Return the cross-entropy of labels (n,), a fifth of the pixels dropped."""
    return cross_entropy(net(drop(images, 0.2, rng)), labels)


def drop(states: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return states with a share of them set to 0 and the others scaled up."""
    keep = torch.empty_like(states).bernoulli_(1 - share, generator=rng)
    return states * keep / (1 - share)


def log_softmax(net: nn.Module, images: Tensor) -> Tensor:
    """Return log p(label | image), (N, labels), of a net whose outputs are logits."""
    return torch.log_softmax(in_parts(net, images), 1)


@torch.inference_mode()
def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the function of images (N, pixels), a thousand at a time; nets are evaluated, not
    trained.
    """
    if isinstance(function, nn.Module):
        function.eval()
    return torch.cat([function(arrays.as_probs(part)) for part in torch.split(images, 1000)])


class Below(nn.Module):
    """The deep belief net's activities below and in the memory's top units, as features."""

    def __init__(self, dbn: DBN) -> None:
        super().__init__()
        self.dbn = dbn

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities of the top units (n, top), labels left out."""
        return torch.sigmoid(self.dbn.top_input(self.dbn.up(images)[-1]))


def fit_linear(job: Job, name: str, features: nn.Module, epochs: int = 10) -> Done[nn.Module]:
    """Return a linear layer trained on all labels, on features (N, top) that stay as they are."""
    width = in_parts(features, job.images[:2]).shape[1]
    below = features.eval()

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(width, job.classes)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                states = below(images)
            logits: Tensor = self.linear(states)
            return logits

    def loss(net: nn.Module, images: Tensor, labels: Tensor, *, rng: torch.Generator) -> Tensor:
        return cross_entropy(net(images), labels)

    return fit(job, name, lambda rng: Probe(), loss, epochs=epochs)
