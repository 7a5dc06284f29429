"""The wake-sleep algorithm for a Helmholtz machine: two local delta rules that take turns.

    wake:   recognise a case; each generative layer learns to make the states below from those
            above.
    sleep:  dream; each recognition layer learns to recover the states above from those below.

The wake phase climbs a bound on log p(v); the sleep phase makes recognition match the dreams, which
is not quite the same thing as the data. Source: Hinton, Dayan, Frey & Neal (1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.ranges import at_least, below_one, positive
from wakesleep.foundation.values import check_fields, whole
from wakesleep.learning import loop
from wakesleep.learning.configs import linear_schedule
from wakesleep.learning.momentum import Gradients, apply_update
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import EpochState, check_fit
from wakesleep.models.helmholtz import Helmholtz
from wakesleep.sources import arrays
from wakesleep.sources.axes import Pixels
from wakesleep.sources.minibatches import Resident


@renamed.fields(passes="epochs", rate="learning_rate_at")
@dataclass(frozen=True)
class WakeSleepConfig:
    """How a Helmholtz machine learns."""

    epochs: int = 100
    """Epochs over the cases."""
    batch_size: int = 20
    """Cases in a minibatch, and dreams in a sleep phase."""
    learning_rate: float = 0.05
    """Rate of the first epoch."""
    final_learning_rate: float = 0.005
    """Rate of the last epoch, reached in a straight line."""
    momentum: float = 0.5
    """Momentum of all weights."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs")
        at_least(1, self, "batch_size")
        positive(self, "learning_rate", "final_learning_rate")
        below_one(self, "momentum")

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)


@dataclass
class WakeSleepState(EpochState):
    """What wake-sleep needs to go on after an epoch."""

    velocity: dict[str, Tensor] = field(default_factory=dict)
    """Of each parameter, by its name."""


@check_arguments
def wake_gradients(net: Helmholtz, images: Pixels, rng: torch.Generator) -> dict[str, Tensor]:
    """Return the gradients of log p(states of an up-pass) for images (N, pixels) in [0, 1], means
    over cases, by parameter.

    dW of a generative layer = above'(below - p(below | above)) / N; of the top biases: top states
    less their probability.
    """
    states = net.up(images, rng)
    gradients = {"top_bias": (states[-1] - torch.sigmoid(net.top_bias)).mean(0)}
    for depth, layer in enumerate(net.generative):
        gradients[f"generative.{depth}.weight"], gradients[f"generative.{depth}.bias"] = (
            layer.delta_rule(states[depth + 1], states[depth])
        )
    return gradients


@check_arguments
def sleep_gradients(net: Helmholtz, count: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return the gradients of log q(states above | states below) under `count` dreams, means over
    dreams, by parameter.

    dW of a recognition layer = below'(above - q(above | below)) / N.
    """
    states = net.dream(whole("count", count, least=1), rng)
    gradients = {}
    for depth, layer in enumerate(net.recognition):
        gradients[f"recognition.{depth}.weight"], gradients[f"recognition.{depth}.bias"] = (
            layer.delta_rule(states[depth], states[depth + 1])
        )
    return gradients


class WakeSleep(loop.Algorithm):
    """Wake-sleep of a Helmholtz machine, for `loop.run`."""

    net: Helmholtz

    def __init__(
        self, net: Helmholtz, config: WakeSleepConfig, state: WakeSleepState, rng: torch.Generator
    ) -> None:
        self.net, self.config, self.state, self.rng, self.rate = net, config, state, rng, 0.0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        self.rate = self.config.learning_rate_at(epoch)
        return (self.rate,)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Learn from the cases `index` (n,) and as many dreams."""
        images = cases.gather(
            batch[0], self.net.top_bias.new_empty(len(batch[0]), self.net.sizes[0])
        )
        wake = wake_gradients(self.net, images, self.rng)
        both = wake | sleep_gradients(self.net, len(images), self.rng)
        gradients: Gradients = {name: [Dense(value, 1.0)] for name, value in both.items()}
        apply_update(
            self.net, gradients, self.state.velocity, rate=self.rate, momentum=self.config.momentum
        )

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the rate."""
        return {"learning_rate": self.rate}


@check_arguments
def epochs(
    net: Helmholtz,
    images: Tensor,
    *,
    config: WakeSleepConfig,
    rng: torch.Generator,
    state: WakeSleepState | Mapping[str, Any] | None = None,
    stage: str = "wake-sleep",
) -> Iterator[EpochResult]:
    """Train `net` on `images` (N, pixels), in place, yielding a record after each epoch with the
    metric `learning_rate`.

    Raises:
        DataError: cases that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = arrays.as_cases(images, net.sizes[0], net.top_bias, rng=rng)
    still = WakeSleepState(
        velocity={name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    )
    state = WakeSleepState.read(state) or still
    check_fit(state, {"velocity": still.velocity}, "machine")
    algorithm = WakeSleep(net, config, state, rng)
    yield from loop.run(
        algorithm,
        Resident(images),
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
    )
