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
UNLABELLED_SECONDS = 60
"""What each method may spend before it sees a label, of one core."""
LABELLED_SECONDS = 30
"""What it may spend on a choice of few labels after that, or with all cases at once beside it."""
ALL_LABELS_SECONDS = 60
"""The same where all labels are known."""
RECORDS = 20
"""In how many parts a run is done; after each it can be stopped, and the rate falls."""
CLASSIFIER = 16.0
"""Milliseconds that a minibatch takes a classifier of all layers."""
PROBE_UPDATES = 6000
"""Minibatches of a linear probe, ten passes: they cost next to nothing."""

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


Stages = tuple[Done[Any], ...]
"""The finished runs that make a classifier, in order; the last one is tested."""


class Minibatches:
    """A source for `loop.run`: minibatches of images (n, pixels), of labelled images with their
    labels, or with `every` of both (labelled images, labels, images).

    An epoch makes `updates` minibatches of cases in random order, which begins anew where it ends.
    """

    capturable = False

    def __init__(
        self, images: Tensor, labels: Tensor | None, *, updates: int, every: bool = False
    ) -> None:
        self.images, self.labels, self.updates, self.every = images, labels, updates, every

    def __len__(self) -> int:
        """How many cases an epoch shows."""
        return self.updates * BATCH

    def chunks(self, rng: torch.Generator) -> Iterator[Minibatches]:
        """Yield all cases at once."""
        yield self

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the minibatches of one epoch."""
        all_cases = torch.arange(len(self.images), device=self.images.device)
        if self.labels is None:
            for index in self._indices(all_cases, None, size, rng):
                yield (arrays.as_probs(self.images[index]),)
            return
        known = (self.labels != UNLABELLED).nonzero()[:, 0]
        labelled = self._indices(known, self.labels[known], size, rng)
        others = self._indices(all_cases, None, size, rng) if self.every else [None] * self.updates
        for index, other in zip(labelled, others, strict=True):
            batch = arrays.as_probs(self.images[index]), self.labels[index]
            yield batch if other is None else (*batch, arrays.as_probs(self.images[other]))

    def _indices(
        self, cases: Tensor, labels: Tensor | None, size: int, rng: torch.Generator
    ) -> Sequence[Tensor]:
        """Return the cases of each minibatch."""
        wanted = self.updates * size
        rounds = -(-wanted // len(cases))
        orders = [arrays.order(labels, len(cases), rng) for _ in range(rounds)]
        return torch.split(cases[torch.cat(orders)[:wanted]], size)


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
        self.optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
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
    milliseconds: float,
    **notes: Any,
) -> Done[Net]:
    """Return the net that has seen all training images and no label; one serves every choice of
    labels.

    A minibatch takes `milliseconds` (`updates_in` says what that is for); `notes` are further
    settings that make it another run.
    """
    images, epochs = setup.dataset.train.images.to(setup.device), setup.epochs(RECORDS)
    source = Minibatches(images, None, updates=updates_in(setup, UNLABELLED_SECONDS, milliseconds))
    return learn(
        setup,
        f"{setup.dataset.name}-{name}",
        1,
        {
            "epochs": epochs,
            "updates": source.updates,
            "rate": RATE,
            "sizes": setup.config.hidden,
            **notes,
        },
        make=make,
        loop=partial(descend, loss=loss, source=source, epochs=epochs, stage=name),
    )


def updates_in(setup: TableSetup, seconds: float, milliseconds: float) -> int:
    """Return how many minibatches a record makes, so that a run of RECORDS of them takes `seconds`.

    All methods have the same time, and what one minibatch takes was measured once (one core of an
    AMD EPYC with AVX-512, float32, the nets of the `mnist` preset) and stands in each method's
    file: so every machine does the same work, whatever time that takes there.
    """
    if setup.smoke:
        return 10
    return max(1, round(1000 * setup.times * seconds / milliseconds / RECORDS))


def labelled_seconds(job: Job) -> float:
    """Return how long a method may learn from labels."""
    return LABELLED_SECONDS if job.count < len(job.images) else ALL_LABELS_SECONDS


def fit(
    job: Job,
    name: str,
    make: Callable[[torch.Generator], Net],
    loss: Loss,
    *,
    milliseconds: float,
    before: float = 0.0,
    every: bool = False,
    images: Tensor | None = None,
    log_probs: Callable[[Any, Tensor], Tensor] | None = None,
    **notes: Any,
) -> Done[Net]:
    """Return the net that learned from the labelled cases or, with `every`, from all.

    Beside the time that labels have it spends `before`, the seconds of an unlabelled stage that
    it does not have. `images` are features in place of the job's pixels.
    """
    setup, epochs = job.setup, job.setup.epochs(RECORDS)
    updates = updates_in(setup, before + labelled_seconds(job), milliseconds)
    source = Minibatches(
        job.images if images is None else images, job.labels, updates=updates, every=every
    )
    return learn(
        setup,
        f"{setup.dataset.name}-{name}-{job.count}",
        job.seed,
        {
            "epochs": epochs,
            "updates": updates,
            "rate": RATE,
            "sizes": setup.config.hidden,
            **notes,
        },
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


@torch.no_grad()
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


class Probe(nn.Module):
    """A linear layer on features (n, width) that stay as they are, each less its mean and over its
    deviation.
    """

    def __init__(self, features: nn.Module, images: Tensor, classes: int) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)
        self.known = in_parts(features, images)
        self.mean, self.deviation = self.known.mean(0), self.known.std(0) + 1e-3
        self.known.sub_(self.mean).div_(self.deviation)
        self.linear = nn.Linear(self.known.shape[1], classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def log_probs(self, images: Tensor) -> Tensor:
        """Return log p(label | image), (N, labels)."""
        states = (in_parts(self.features, images) - self.mean) / self.deviation
        return torch.log_softmax(self.linear(states), 1).detach()


def fit_linear(job: Job, name: str, features: nn.Module, first: str) -> Done[nn.Linear]:
    """Return a linear layer trained on all labels, on features that stay as they are."""
    probe = Probe(features, job.images, job.classes)

    def loss(net: nn.Module, states: Tensor, labels: Tensor, *, rng: torch.Generator) -> Tensor:
        return cross_entropy(net(states), labels)

    return fit(
        job,
        name,
        lambda rng: probe.linear,
        loss,
        milliseconds=1000 * ALL_LABELS_SECONDS / PROBE_UPDATES,
        images=probe.known,
        log_probs=lambda net, images: probe.log_probs(images),
        first=first,
    )
