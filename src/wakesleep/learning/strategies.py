"""The baselines of generating first: evolution, which asks only whether a change helped, and the
autoencoder, which only wants to copy.

Source: Hinton's "To recognize shapes, first learn to generate images" (2006), the five strategies
for learning many layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from wakesleep.compute import ops
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.ranges import at_least, positive
from wakesleep.foundation.values import check_fields
from wakesleep.learning import inputs, loop
from wakesleep.learning.configs import linear_schedule
from wakesleep.learning.feed_forward import unfilled_linear
from wakesleep.learning.records import (
    EpochResult,
    OptimizerState,
    optimizer_state,
    restore_optimizer,
)
from wakesleep.learning.state import EpochState
from wakesleep.sources import arrays
from wakesleep.sources.axes import Labels, Pixels
from wakesleep.sources.minibatches import Resident


@renamed.fields(passes="epochs", rate="learning_rate_at")
@dataclass(frozen=True)
class EvolutionConfig:
    """How weights are perturbed and moved."""

    epochs: int = 30
    """Epochs over the cases; each case is looked at twice, with a perturbation and with its mirror
    image.
    """
    batch_size: int = 1000
    """Cases of an update, and size of the population: every case tries a perturbation of its
    own.
    """
    sigma: float = 0.03
    """Standard deviation of a perturbation of a weight, relative to 1 / sqrt(weights that come in):
    small beside the weights.
    """
    learning_rate: float = 0.01
    """Rate of Adam in the first epoch: it is its scale-free steps that make perturbations learn at
    all.
    """
    final_learning_rate: float = 0.0005
    """Rate in the last epoch, reached in a straight line."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "final_learning_rate")
        at_least(1, self, "batch_size")
        positive(self, "sigma", "learning_rate")

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)


@dataclass
class OptimizedState(EpochState):
    """What a loop with an optimizer of PyTorch's needs to go on after an epoch."""

    optimizer: OptimizerState = field(default_factory=dict)
    back: dict[str, Tensor] = field(default_factory=dict)
    """Of an autoencoder: the parameters of the layer that gives the input back."""


class Evolution(loop.Algorithm):
    """Perturbations of weights that are kept as far as they helped, for `loop.run`."""

    net: nn.Sequential

    def __init__(
        self,
        net: nn.Sequential,
        config: EvolutionConfig,
        state: OptimizedState,
        rng: torch.Generator,
    ) -> None:
        self.net, self.config, self.state, self.rng, self.epoch = net, config, state, rng, 0
        self.optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate, fused=True)
        restore_optimizer(self.optimizer, net, state.optimizer)
        self.loss = torch.zeros((), device=next(net.parameters()).device)

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        self.epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(epoch)
        self.loss.zero_()
        return (self.config.learning_rate_at(epoch),)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Let a population of as many perturbed nets as there are cases see the cases `index`
        (n,).
        """
        (index,) = batch
        assert isinstance(cases.cases, Tensor)
        assert cases.labels is not None
        self.loss += perturb(
            self.net,
            arrays.as_probs(cases.cases[index]),
            cases.labels[index],
            self.config.sigma,
            self.rng,
        ) * len(index)
        self.optimizer.step()

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return cross-entropy and rate; the optimizer's numbers go into the state."""
        self.state.optimizer = optimizer_state(self.optimizer, self.net)
        return {
            "cross_entropy": float(self.loss) / cases,
            "learning_rate": self.config.learning_rate_at(self.epoch),
        }


@check_arguments
def evolve(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    config: EvolutionConfig,
    rng: torch.Generator,
    state: OptimizedState | Mapping[str, Any] | None = None,
    stage: str = "evolution",
) -> Iterator[EpochResult]:
    """Train `net` on `images` (N, pixels) with `labels` (N,) by perturbing its weights, in place,
    yielding a record after each epoch.

    Yields:
        EpochResult, with metrics `cross_entropy` (nats a case, of the perturbed nets) and
            `learning_rate`.

    Raises:
        DataError: cases or labels that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = inputs.for_feed_forward(net, images, rng=rng)
    labels = arrays.as_labels(labels, len(images), inputs.outputs(net)).to(images.device)
    algorithm = Evolution(net, config, OptimizedState.read(state) or OptimizedState(), rng)
    source = Resident(images, labels, classes=labels)
    yield from loop.run(
        algorithm,
        source,
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
        replays=False,
    )


@torch.no_grad()
@check_arguments
def perturb(
    net: nn.Sequential, images: Pixels, labels: Labels, sigma: float, rng: torch.Generator
) -> Tensor:
    """Set the gradient of every parameter to what a population of perturbed nets found, and return
    their mean loss.

    Case n tries the weights W + s_l b_n a_n' and W - s_l b_n a_n', a_n and b_n standard normal, s_l
    = sigma / sqrt(inputs of the layer). E[(L+ - L-) / (2 s_l) b_n a_n'] is the gradient to first
    order, and a product of rank one costs a case two inner products, so that the whole population
    goes through one matrix product a layer.
    """
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    count, below = len(images), torch.cat([images, images])
    sign = torch.cat(
        [torch.ones(count, 1, device=images.device), -torch.ones(count, 1, device=images.device)]
    )
    tried = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            inward, outward, shift = (
                torch.randn(count, size, generator=rng, device=images.device)
                for size in (layer.in_features, layer.out_features, layer.out_features)
            )
            scale = sigma / math.sqrt(layer.in_features)
            tried.append((inward, outward, shift, scale))
            projected = (below.view(2, count, -1) * inward).sum(2, keepdim=True).view(-1, 1)
            below = layer(below) + scale * sign * (
                projected * outward.repeat(2, 1) + shift.repeat(2, 1)
            )
        else:
            below = layer(below)
    losses = cross_entropy(below, labels.repeat(2), reduction="none")
    better = (losses[:count] - losses[count:]) / (2 * count)
    for layer, (inward, outward, shift, scale) in zip(linear, tried, strict=True):
        layer.weight.grad = (outward * (better / scale)[:, None]).t() @ inward
        layer.bias.grad = (better / scale) @ shift
    return losses.mean()


@renamed.fields(passes="epochs")
@dataclass(frozen=True)
class AutoencoderConfig:
    """How each layer learns to copy what is below it."""

    epochs: int = 5
    """Epochs a layer."""
    batch_size: int = 100
    """Cases in a minibatch."""
    learning_rate: float = 0.001
    """Rate of Adam."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs")
        at_least(1, self, "batch_size")
        positive(self, "learning_rate")


class Autoencoder(loop.Algorithm):
    """One layer and the one that gives its input back, which begins as its mirror image, for
    `loop.run`.
    """

    differentiates = True
    net: nn.Sequential

    def __init__(
        self,
        layer: nn.Linear,
        config: AutoencoderConfig,
        state: OptimizedState,
        dtype: torch.dtype | None,
    ) -> None:
        self.config, self.state, self.dtype = config, state, dtype
        self.back = unfilled_linear(layer.out_features, layer.in_features, layer.weight.device)
        with torch.no_grad():
            self.back.weight.copy_(state.back.get("weight", layer.weight.t()))
            self.back.bias.copy_(state.back.get("bias", torch.zeros_like(self.back.bias)))
        self.net = nn.Sequential(layer, nn.Sigmoid(), self.back)
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), lr=config.learning_rate, fused=True
        )
        restore_optimizer(self.optimizer, self.net, state.optimizer)
        self.loss = torch.zeros((), device=layer.weight.device)

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate."""
        self.loss.zero_()
        return (self.config.learning_rate,)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Descend the cross-entropy of the reconstructions of the cases `index` (n,)."""
        assert isinstance(cases.cases, Tensor)
        images = cases.cases[batch[0]]
        with ops.of(images).mixed_precision(self.dtype):
            logits = self.net(images)
        loss = (
            binary_cross_entropy_with_logits(logits.float(), images, reduction="none").sum(1).mean()
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.loss += loss.detach() * len(images)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the cross-entropy; weights and the optimizer's numbers go into the state."""
        self.state.back = dict(self.back.state_dict())
        self.state.optimizer = optimizer_state(self.optimizer, self.net)
        return {"reconstruction_cross_entropy": float(self.loss) / cases}


@check_arguments
def autoencode(
    net: nn.Sequential,
    images: Tensor,
    *,
    config: AutoencoderConfig,
    rng: torch.Generator,
    state: OptimizedState | Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Train every hidden layer of `net`, from the pixels up and in place, so that a linear layer
    above it gives its input back.

    The same net that `backprop` fine-tunes; the last layer is left alone.

    Yields:
        EpochResult, with metric `reconstruction_cross_entropy`, nats a case.

    Raises:
        DataError: cases that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = inputs.for_feed_forward(net, images, rng=rng)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)][:-1]
    below, state = arrays.as_probs(images), OptimizedState.read(state) or OptimizedState()
    done = state.epoch
    for depth, layer in enumerate(layers):
        first = done - depth * config.epochs
        if first < config.epochs:
            algorithm = Autoencoder(
                layer, config, replace(state, epoch=first) if first > 0 else OptimizedState(), dtype
            )
            for record in loop.run(
                algorithm,
                Resident(below),
                epochs=config.epochs,
                batch_size=config.batch_size,
                rng=rng,
                stage="autoencoder",
                replays=False,
            ):
                number = depth * config.epochs + record.epoch
                yield record._replace(
                    epoch=number,
                    epochs=len(layers) * config.epochs,
                    state=replace(record.state, epoch=number),
                )
        with torch.no_grad():
            below = torch.cat([torch.sigmoid(layer(chunk)) for chunk in arrays.chunks(below)])
