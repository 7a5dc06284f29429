"""The rivals of generating first: evolution, which asks only whether a change helped, and the autoencoder, which only wants to copy.

Source: Hinton's "To recognize shapes, first learn to generate images" (2006), the five strategies for learning many layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from wakesleep.compute import ops
from wakesleep.foundation.values import check_fields
from wakesleep.learning import inputs
from wakesleep.learning.configs import require, straight_line
from wakesleep.learning.records import Pass, State, check_finite, optimizer_state, restore
from wakesleep.sources import cases as rows


@dataclass(frozen=True)
class EvolutionConfig:
    """How weights are perturbed and moved."""

    passes: int = 30
    """Passes over the cases; each case is looked at twice, with a perturbation and with its mirror image."""
    batch_size: int = 1000
    """Cases of an update, and size of the population: every case tries a perturbation of its own."""
    sigma: float = 0.03
    """Standard deviation of a perturbation of a weight, relative to 1 / sqrt(weights that come in): small beside the weights."""
    learning_rate: float = 0.01
    """Rate of Adam in the first pass: it is its scale-free steps that make perturbations learn at all."""
    final_learning_rate: float = 0.0005
    """Rate in the last pass, reached in a straight line."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.passes >= 0, f"passes = {self.passes}: expected 0 or more")
        require(self.batch_size >= 1, f"batch_size = {self.batch_size}: expected at least 1")
        for name in ("sigma", "learning_rate"):
            require(0 < getattr(self, name) < math.inf, f"{name} = {getattr(self, name)}: expected a number above 0")
        require(0 <= self.final_learning_rate < math.inf, f"final_learning_rate = {self.final_learning_rate}: expected 0 or more")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of pass `epoch` (from 0)."""
        return straight_line(self.learning_rate, self.final_learning_rate, epoch, self.passes)


def evolve(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    config: EvolutionConfig,
    rng: torch.Generator,
    state: State | None = None,
    stage: str = "evolution",
) -> Iterator[Pass]:
    """Train `net` on `images` (N, pixels) with `labels` (N,) by perturbing its weights, in place, yielding a record after each pass.

    Yields:
        Pass, with metrics `cross_entropy` (nats a case, of the perturbed nets) and `learning_rate`.

    Raises:
        DataError: cases or labels that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = inputs.for_feed_forward(net, images, rng=rng)
    labels = rows.as_labels(labels, len(images), inputs.outputs(net)).to(images.device)
    state = {"epoch": 0, "optimizer": {}} if state is None else state
    for epoch in range(int(state["epoch"]), config.passes):
        optimizer = torch.optim.Adam(net.parameters(), lr=config.rate(epoch), fused=True)
        restore(optimizer, net, state["optimizer"])
        loss = torch.zeros((), device=images.device)
        for index in torch.split(rows.order(labels, len(images), rng), config.batch_size):
            loss += perturb(net, rows.as_probs(images[index]), labels[index], config.sigma, rng) * len(index)
            optimizer.step()
        check_finite(dict(net.named_parameters()), config.rate(epoch))
        state = {"epoch": epoch + 1, "optimizer": optimizer_state(optimizer, net)}
        metrics = {"cross_entropy": float(loss) / len(images), "learning_rate": config.rate(epoch)}
        yield Pass(stage, epoch + 1, config.passes, len(images), metrics, state)


@torch.no_grad()
def perturb(net: nn.Sequential, images: Tensor, labels: Tensor, sigma: float, rng: torch.Generator) -> Tensor:
    """Set the gradient of every parameter to what a population of perturbed nets found, and return their mean loss.

    Case n tries the weights W + s_l b_n a_n' and W - s_l b_n a_n', a_n and b_n standard normal, s_l = sigma / sqrt(inputs of the layer).
    E[(L+ - L-) / (2 s_l) b_n a_n'] is the gradient to first order, and a product of rank one costs a case two inner products, so that the
    whole population goes through one matrix product a layer.
    """
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    count, below = len(images), torch.cat([images, images])
    sign = torch.cat([torch.ones(count, 1, device=images.device), -torch.ones(count, 1, device=images.device)])
    tried = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            inward, outward, shift = (
                torch.randn(count, size, generator=rng, device=images.device)
                for size in (layer.in_features, layer.out_features, layer.out_features)
            )
            scale = sigma / math.sqrt(layer.in_features)
            tried.append((inward, outward, shift, scale))
            along = (below.view(2, count, -1) * inward).sum(2, keepdim=True).view(-1, 1)
            below = layer(below) + scale * sign * (along * outward.repeat(2, 1) + shift.repeat(2, 1))
        else:
            below = layer(below)
    losses = cross_entropy(below, labels.repeat(2), reduction="none")
    better = (losses[:count] - losses[count:]) / (2 * count)
    for layer, (inward, outward, shift, scale) in zip(linear, tried, strict=True):
        layer.weight.grad = (outward * (better / scale)[:, None]).t() @ inward
        layer.bias.grad = (better / scale) @ shift
    return losses.mean()


@dataclass(frozen=True)
class AutoencoderConfig:
    """How each layer learns to copy what is below it."""

    passes: int = 5
    """Passes a layer."""
    batch_size: int = 100
    """Cases in a minibatch."""
    learning_rate: float = 0.001
    """Rate of Adam."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.passes >= 0, f"passes = {self.passes}: expected 0 or more")
        require(self.batch_size >= 1, f"batch_size = {self.batch_size}: expected at least 1")
        require(self.learning_rate > 0, f"learning_rate = {self.learning_rate}: expected a number above 0, e.g. 0.001")


def autoencode(
    net: nn.Sequential,
    images: Tensor,
    *,
    config: AutoencoderConfig,
    rng: torch.Generator,
    state: State | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Train every hidden layer of `net`, from the pixels up and in place, so that a linear layer above it gives its input back.

    The same net that `backprop` fine-tunes; the last layer is left alone.

    Yields:
        Pass, with metric `reconstruction_cross_entropy`, nats a case.

    Raises:
        DataError: cases that do not fit.
    """
    images = inputs.for_feed_forward(net, images, rng=rng)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)][:-1]
    below, done = rows.as_probs(images), 0 if state is None else int(state["epoch"])
    for depth, layer in enumerate(layers):
        first = done - depth * config.passes
        if first < config.passes:
            for record in _autoencode(layer, below, config, rng, state if first > 0 else None, dtype):
                number = depth * config.passes + record.epoch
                yield record._replace(epoch=number, epochs=len(layers) * config.passes, state={**record.state, "epoch": number})
        with torch.no_grad():
            below = torch.cat([torch.sigmoid(layer(chunk)) for chunk in rows.chunks(below)])


def _autoencode(
    layer: nn.Linear, below: Tensor, config: AutoencoderConfig, rng: torch.Generator, state: State | None, dtype: torch.dtype | None
) -> Iterator[Pass]:
    """Train one layer and the one that gives its input back, which begins as its mirror image; `state` goes on after a pass of this layer."""
    back = nn.utils.skip_init(nn.Linear, layer.out_features, layer.in_features, device=below.device)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        back.weight.copy_(layer.weight.t() if state is None else state["back"]["weight"])
        back.bias.copy_(torch.zeros_like(back.bias) if state is None else state["back"]["bias"])
    both = nn.Sequential(layer, nn.Sigmoid(), back)
    optimizer = torch.optim.Adam(both.parameters(), lr=config.learning_rate, fused=True)
    restore(optimizer, both, {} if state is None else state["optimizer"])
    for epoch in range(0 if state is None else int(state["epoch"]) % config.passes, config.passes):
        loss_sum = torch.zeros((), device=below.device)
        for index in torch.split(rows.order(None, len(below), rng), config.batch_size):
            batch = below[index]
            with ops.of(batch).mixed_precision(dtype):
                logits = both(batch)
            loss = binary_cross_entropy_with_logits(logits.float(), batch, reduction="none").sum(1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.detach() * len(index)
        check_finite(dict(both.named_parameters()), config.learning_rate)
        metrics = {"reconstruction_cross_entropy": float(loss_sum) / len(below)}
        state = {"back": dict(back.state_dict()), "optimizer": optimizer_state(optimizer, both)}
        yield Pass("autoencoder", epoch + 1, config.passes, len(below), metrics, state)
