"""Sources of minibatches: an epoch of a source is one or more chunks in memory, and a chunk is
split into minibatches at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.sources import arrays
from wakesleep.sources.arrays import Rows
from wakesleep.sources.context import Context
from wakesleep.sources.shards import Shards


class Chunk(Protocol):
    """Cases in memory."""

    capturable: bool
    """Whether steps on them may be captured and replayed: their memory stays where it is."""

    def __len__(self) -> int:
        """How many cases there are."""
        ...

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the minibatches of one epoch, of `size` cases each (the last may be smaller): what
        an algorithm's step takes.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """What a loop learns from."""

    def __len__(self) -> int:
        """How many cases an epoch has."""
        ...

    def chunks(self, rng: torch.Generator) -> Iterator[Any]:
        """Yield the chunks of one epoch; each holds until the next is asked for."""
        ...


class Resident:
    """Cases (N, D) that the device holds, with labels (N,) where there are some: one chunk an
    epoch.

    Minibatches are the numbers of their cases, (n,). They are balanced by `classes` (N,), and
    `weights` (N,) say how often a case is shown, relative to the others. The `context` is what
    units take for fixed of each case, (N, ...). `given` (N, D) says which columns the negative
    phase of a case is given.
    """

    def __init__(
        self,
        cases: Tensor | Rows,
        labels: Tensor | None = None,
        *,
        classes: Tensor | None = None,
        weights: Tensor | None = None,
        context: Context | None = None,
        given: Tensor | None = None,
    ) -> None:
        self.cases, self.labels, self.classes, self.weights, self.context, self.given = (
            cases.detach() if isinstance(cases, Tensor) else cases,
            labels,
            classes,
            weights,
            context,
            given,
        )
        self.capturable = isinstance(cases, Tensor)

    def __len__(self) -> int:
        """How many cases there are."""
        return len(self.cases)

    def chunks(self, rng: torch.Generator) -> Iterator[Resident]:
        """Yield all cases at once."""
        yield self

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the numbers of the cases of each minibatch, (n,)."""
        for index in torch.split(arrays.order(self.classes, len(self), rng, self.weights), size):
            yield (index,)

    def context_of(self, index: Tensor) -> Context | None:
        """Return the context of the cases `index` (n,)."""
        return None if self.context is None else self.context.rows(index)

    def given_of(self, index: Tensor) -> Tensor | None:
        """Return which columns of the cases `index` (n,) the negative phase is given, (n, D)."""
        return None if self.given is None else self.given[index]

    def gather(self, index: Tensor, out: Tensor) -> Tensor:
        """Write the cases `index` (n,) to `out` (n, D), as probabilities."""
        return arrays.gather(self.cases, index, out)


class Streamed:
    """Cases of shards on the disk: a joined chunk at a time, made into cases of the loop by
    `prepare(images, labels)`.

    Several ranks read chunks of their own.
    """

    def __init__(
        self,
        shards: Shards,
        device: torch.device,
        prepare: Callable[[Tensor, Tensor | None], Resident],
    ) -> None:
        self.shards, self.device, self.prepare = shards, device, prepare

    def __len__(self) -> int:
        """How many cases this rank sees in an epoch."""
        return len(self.shards) // distributed.ranks()

    def chunks(self, rng: torch.Generator) -> Iterator[Resident]:
        """Yield the joined chunks in random order; the next is read meanwhile."""
        for images, labels in self.shards.chunks(rng):
            yield self.prepare(
                images.to(self.device), None if labels is None else labels.to(self.device)
            )
