"""The wake-sleep algorithm for a Helmholtz machine: two local delta rules that take turns.

    wake:   recognise a case; each generative layer learns to make the states below from the states above.
    sleep:  dream; each recognition layer learns to recover the states above from the states below.

The wake phase climbs a bound on log p(v); the sleep phase makes recognition match the dreams, which is not quite the same thing as the
data. Source: Hinton, Dayan, Frey & Neal (1995).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense
from wakesleep.foundation.values import check_fields
from wakesleep.learning.configs import require, straight_line
from wakesleep.learning.momentum import Gradients, apply_update
from wakesleep.learning.records import Pass, State, check_finite, velocities
from wakesleep.model.helmholtz import Helmholtz
from wakesleep.sources import cases as rows


@dataclass(frozen=True)
class WakeSleepConfig:
    """How a Helmholtz machine learns."""

    passes: int = 100
    """Passes over the cases."""
    batch_size: int = 20
    """Cases in a minibatch, and dreams in a sleep phase."""
    learning_rate: float = 0.05
    """Rate of the first pass."""
    final_learning_rate: float = 0.005
    """Rate of the last pass, reached in a straight line."""
    momentum: float = 0.5
    """Momentum of all weights."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.passes >= 0, f"passes = {self.passes}: expected 0 or more")
        require(self.batch_size >= 1, f"batch_size = {self.batch_size}: expected at least 1")
        require(0 < self.learning_rate < math.inf, f"learning_rate = {self.learning_rate}: expected a number above 0, e.g. 0.05")
        require(0 < self.final_learning_rate < math.inf, f"final_learning_rate = {self.final_learning_rate}: expected a number above 0")
        require(0 <= self.momentum < 1, f"momentum = {self.momentum}: expected a number in [0, 1)")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of pass `epoch` (from 0)."""
        return straight_line(self.learning_rate, self.final_learning_rate, epoch, self.passes)


class Lesson(NamedTuple):
    """What a minibatch teaches: gradients by the name of the parameter, means over N cases or dreams."""

    wake: dict[str, Tensor]
    """Of the generative weights, their biases and the top biases: the gradient of log p(states of an up-pass)."""
    sleep: dict[str, Tensor]
    """Of the recognition weights and biases: the gradient of log q(states above | states below) under dreams."""


def lesson(net: Helmholtz, images: Tensor, rng: torch.Generator) -> Lesson:
    """Return the wake and sleep gradients for images (N, pixels) in [0, 1] and as many dreams."""
    awake, asleep = net.up(images, rng), net.dream(len(images), rng)
    wake = {"top_bias": (awake[-1] - torch.sigmoid(net.top_bias)).mean(0)}
    sleep = {}
    for depth, (down, up) in enumerate(zip(net.generative, net.recognition, strict=True)):
        wake[f"generative.{depth}.weight"], wake[f"generative.{depth}.bias"] = down.delta_rule(awake[depth + 1], awake[depth])
        sleep[f"recognition.{depth}.weight"], sleep[f"recognition.{depth}.bias"] = up.delta_rule(asleep[depth], asleep[depth + 1])
    return Lesson(wake, sleep)


def epochs(
    net: Helmholtz, images: Tensor, *, config: WakeSleepConfig, rng: torch.Generator, state: State | None = None, stage: str = "wake-sleep"
) -> Iterator[Pass]:
    """Train `net` on `images` (N, pixels), in place, yielding a record after each pass with the metric `learning_rate`.

    Raises:
        DataError: cases that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = rows.as_cases(images, net.sizes[0], net.top_bias, rng=rng)
    parameters = dict(net.named_parameters())
    if state is None:
        state = {"epoch": 0} | {f"increment.{name}": torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for epoch in range(int(state["epoch"]), config.passes):
        for index in torch.split(rows.order(None, len(images), rng), config.batch_size):
            taught = lesson(net, rows.as_probs(images[index]), rng)
            gradients: Gradients = {name: [Dense(value, 1.0)] for name, value in (taught.wake | taught.sleep).items()}
            apply_update(net, gradients, velocities(state), rate=config.rate(epoch), momentum=config.momentum)
        check_finite(parameters, config.rate(epoch))
        state = {**state, "epoch": epoch + 1}
        yield Pass(stage, epoch + 1, config.passes, len(images), {"learning_rate": config.rate(epoch)}, state)
