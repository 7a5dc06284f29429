"""The one loop: minibatches in random order, an update each, and a record after each epoch.

An algorithm says what a minibatch does (`Algorithm.step`); the loop does the rest: chunks of a
source, captured steps, running means of the weights, the check that weights are finite, records.
Several ranks run the same loop, each on cases of its own; their gradients meet in
`momentum.apply_update`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import ops
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning.records import EpochResult, check_finite
from wakesleep.learning.state import EVERY, RunningMean
from wakesleep.sources.minibatches import Source


class Algorithm(ABC):
    """What the loop asks of an algorithm; an object holds the settings, the state and the sums of
    one call of `epochs`.
    """

    differentiates: bool = False
    """Whether a step uses autograd."""
    net: nn.Module
    """What learns."""
    state: Any
    """Its `EpochState`."""

    @abstractmethod
    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Set what holds for this epoch (from 0), put sums to zero, and return the numbers that
        steps use: rate first.
        """

    def begin_chunk(self, cases: Any) -> None:  # noqa: B027
        """Do what has to be done once a chunk of cases is there; by default nothing."""

    @abstractmethod
    def step(self, cases: Any, *batch: Tensor) -> None:
        """Learn from a minibatch of the chunk `cases`, in place, and add what is measured to the
        sums.
        """

    @abstractmethod
    def end_epoch(self, cases: int) -> dict[str, float]:
        """Write what is kept elsewhere to the state, and return what was measured in this epoch,
        which had that many cases.
        """


@check_arguments
def run(
    algorithm: Algorithm,
    source: Source,
    *,
    epochs: int,
    batch_size: int,
    rng: torch.Generator,
    stage: str,
    mean_epochs: float = 0.0,
    mean_every: int = EVERY,
    replays: bool = True,
) -> Iterator[EpochResult]:
    """Do what is left of `epochs`, yielding a record after each; between epochs the net holds the
    running mean, where there is one.

    Args:
        algorithm: what learns, and how.
        source: the cases.
        epochs: how many epochs there are, with those that `algorithm.state` has done.
        batch_size: cases in a minibatch.
        rng: where all random choices come from.
        stage: the name that the records carry.
        mean_epochs: how many epochs the running mean of the weights looks back; 0: there is none.
        mean_every: updates between two steps of the running mean.
        replays: whether steps may be captured and replayed, as a GPU does.

    Raises:
        ConfigError: a model of lower precision than float32.
        DivergedError: a weight is NaN or infinite after an epoch.
    """
    net = algorithm.net
    weight = next(net.parameters())
    if weight.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"a {type(net).__name__} of {weight.dtype} is to learn: expected float32 or float64, "
            f"e.g. {type(net).__name__}(...).float(); products alone may be of lower precision, by "
            "the argument dtype"
        )
    operations = ops.of(weight)
    mean: RunningMean | None = algorithm.state.mean if mean_epochs else None
    horizon = mean_epochs * (len(source) / batch_size)
    captured: tuple[Any, ...] = (None, ())
    for epoch in range(int(algorithm.state.epoch), epochs):
        if mean is not None and mean.updates:
            mean.swap(net)
        numbers, seen = algorithm.begin_epoch(epoch), 0
        for cases in source.chunks(rng):
            algorithm.begin_chunk(cases)
            if captured[0] is not cases or captured[1] != numbers:  # a captured step holds both
                captured = cases, numbers
                step: ops.Step = partial(algorithm.step, cases)
                if replays and cases.capturable:
                    step = operations.replay(step, rng, len(cases) // batch_size)
            with operations.learning(), torch.inference_mode(not algorithm.differentiates):
                for batch in cases.minibatches(batch_size, rng):
                    step(*batch)
                    if mean is not None:
                        mean.after_update(net, horizon, mean_every)
            seen += len(cases)
        check_finite(dict(net.named_parameters()), numbers[0])
        if mean is not None:
            mean.catch_up(net, horizon)
            mean.swap(net)
        metrics = algorithm.end_epoch(seen)
        algorithm.state = replace(algorithm.state, epoch=epoch + 1)
        yield EpochResult(stage, epoch + 1, epochs, seen, metrics, algorithm.state)
