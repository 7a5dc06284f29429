"""Few labels, many cases: a net learns from the labels that are known, and from what it must say of
all other cases.

    loss = cross-entropy of the labelled cases
         + smooth_weight  * KL(answer || answer where it changes most within a radius)
         + entropy_weight * entropy of the answer
         + self_weight    * cross-entropy of labels that the net gives itself

The second and third term are means over all cases, the last over those that the net is sure of. A
minibatch holds labelled cases and as many of all cases, so that labels weigh the same however few
they are: ten times as much as entropy and labels of its own, by default, and as smoothness where
clusters are not classes (`suited`). The net has been pretrained
without labels and has learned from labels that spread among its codes (`spreading`), so that what
it is sure of is mostly right. Sources: smoothness, Miyato et al. (2018), "Virtual adversarial
training"; entropy, Grandvalet & Bengio (2005), "Semi-supervised learning by entropy minimization";
labels of its own, Lee (2013), "Pseudo-label".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from wakesleep.compute import ops
from wakesleep.compute.sgd import SGD
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import DataError
from wakesleep.learning import backprop, inputs, loop, robust
from wakesleep.learning.net_configs import SemiSupervisedConfig as SemiSupervisedConfig
from wakesleep.learning.records import (
    EpochResult,
    OptimizerState,
    optimizer_state,
    restore_optimizer,
)
from wakesleep.learning.state import EpochState, RunningMean, check_fit
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.axes import ImageRows, LogProbs, SomeLabels

CLUSTERED = 0.8
"""Share of the labelled cases whose label comes back, from which on clusters are classes."""


@check_arguments
def suited(config: SemiSupervisedConfig, agreement: float) -> SemiSupervisedConfig:
    """Return the config with the weight of smoothness that suits the data, unless it has one.

    Smoothness puts boundaries where cases are few, which are those of the classes where clusters
    are classes. So its weight is 1 where `agreement` (`spreading.agreement`) is 0.8 or more, else
    0.1.
    """
    if config.smooth_weight is not None:
        return config
    return replace(config, smooth_weight=1.0 if agreement >= CLUSTERED else 0.1)


@dataclass
class SemiSupervisedState(EpochState):
    """What this loop needs to go on after an epoch."""

    optimizer: OptimizerState = field(default_factory=dict)
    """What the optimizer knows of each parameter."""
    mean: RunningMean | None = None
    """The running mean of the weights."""


class Cases:
    """All cases, and which of them have a label: a source for `loop.run`, one chunk an epoch.

    A minibatch is (labelled images, labels, images of all cases, labels that the net gave these;
    UNLABELLED: none). An epoch goes once through all cases, and as often as it takes through the
    labelled ones, each in proportion to its weight.
    """

    capturable = True

    def __init__(self, images: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        self.images, self.labels = images, labels
        self.known = (labels != UNLABELLED).nonzero()[:, 0]
        self.weights = None if weights is None else weights.to(labels.device)[self.known]
        self.own_labels = labels.clone()

    def __len__(self) -> int:
        """How many cases an epoch has."""
        return len(self.images)

    def chunks(self, rng: torch.Generator) -> Iterator[Cases]:
        """Yield all cases at once."""
        yield self

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the minibatches of one epoch."""
        rounds = -(-len(self) // len(self.known))
        orders = [
            arrays.order(self.labels[self.known], len(self.known), rng, self.weights)
            for _ in range(rounds)
        ]
        known = self.known[torch.cat(orders)][: len(self)]
        for labelled, index in zip(
            torch.split(known, size),
            torch.split(arrays.order(None, len(self), rng), size),
            strict=True,
        ):
            yield (
                self._pictures(labelled),
                self.labels[labelled],
                self._pictures(index),
                self.own_labels[index],
            )

    def _pictures(self, index: Tensor) -> Tensor:
        return arrays.as_probs(self.images[index])


@check_arguments
def neighbour_distance(images: ImageRows, probes: int = 500) -> float:
    """Return the median distance of cases (N, D) to their nearest neighbour, of at most `probes`
    cases from all over the set.
    """
    chosen = torch.linspace(
        0, len(images) - 1, min(probes, len(images)), device=images.device
    ).long()
    probe, nearest = (
        arrays.as_probs(images[chosen]),
        torch.full((len(chosen),), math.inf, device=images.device),
    )
    for start in range(0, len(images), 2000):
        chunk = arrays.as_probs(images[start : start + 2000])
        itself = chosen[:, None] == torch.arange(start, start + len(chunk), device=images.device)
        nearest = torch.minimum(
            nearest, torch.cdist(probe, chunk).masked_fill(itself, math.inf).amin(1)
        )
    return float(nearest.median())


@check_arguments
def entropy(log_probs: LogProbs) -> Tensor:
    """Return the mean entropy -sum_y p(y) log p(y) of answers given as log p (N, labels), nats."""
    return -(log_probs.exp() * log_probs).sum(1).mean()


@check_arguments
def own_labels(log_probs: LogProbs, labels: SomeLabels, certainty: float) -> Tensor:
    """Return the label of each case: the known one, else the answer where its probability is
    `certainty` or more, else UNLABELLED, (N,).
    """
    best, answer = log_probs.max(1)
    own = torch.where(best.exp() >= certainty, answer, UNLABELLED)
    return torch.where(labels == UNLABELLED, own, labels)


class SemiSupervised(loop.Algorithm):
    """The sum of four losses, for `loop.run`."""

    differentiates = True
    net: nn.Sequential

    def __init__(
        self,
        net: nn.Sequential,
        config: SemiSupervisedConfig,
        state: SemiSupervisedState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
        radius: float,
    ) -> None:
        self.net, self.config, self.state, self.rng, self.dtype, self.radius = (
            net,
            config,
            state,
            rng,
            dtype,
            radius,
        )
        parameters = list(net.parameters())
        self.optimizer = SGD(
            [{"params": parameters}], lr=config.learning_rate, momentum=config.momentum
        )
        restore_optimizer(self.optimizer, net, state.optimizer)
        self.sums = torch.zeros(5, device=parameters[0].device)
        """Cross-entropy, smoothness, entropy, cross-entropy of own labels, minibatches."""
        self.weights = parameters[0].new_tensor(
            [1.0, config.smooth_weight or 0.0, config.entropy_weight, config.self_weight]
        )
        """Of the four losses; made here, for a step that is captured may copy nothing to a GPU."""
        self.epoch, self.sure = 0, 0.0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        self.epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(epoch)
        self.sums.zero_()
        return (self.config.learning_rate_at(epoch),)

    def begin_chunk(self, cases: Cases) -> None:
        """Let the net, its running mean where there is one, label the cases it is sure of."""
        mean = self.state.mean
        if mean is not None and mean.updates:
            mean.swap(self.net)  # the loop has put the weights that learn back
        answers = backprop.log_probs(self.net, cases.images, checked=True)
        if mean is not None and mean.updates:
            mean.swap(self.net)
        cases.own_labels = own_labels(answers, cases.labels, self.config.certainty)
        self.sure = float((cases.own_labels != UNLABELLED).float().mean())

    def step(self, cases: Cases, *batch: Tensor) -> None:
        """Descend the loss of a minibatch of `Cases`."""
        images, labels, others, own = batch
        with ops.of(images).mixed_precision(self.dtype):
            losses = self.losses(images, labels, others, own)
        self.optimizer.zero_grad(set_to_none=True)
        (losses * self.weights).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.sums.add_(torch.cat([losses.detach(), losses.new_ones(1)]))

    def losses(self, images: Tensor, labels: Tensor, others: Tensor, own: Tensor) -> Tensor:
        """Return cross-entropy, smoothness, entropy and cross-entropy of own labels, nats a case,
        (4,).
        """
        config = self.config
        answer, moved = robust.adversarial(self.net, others, self.radius, self.rng)
        every = torch.cat([images, others, moved])
        logits = robust.to_float32(
            robust.forward_with_dropout(
                self.net, every, config.dropout_visible, config.dropout_hidden, self.rng
            )
        )
        known, others_logits, moved_logits = (
            logits[: len(images)],
            logits[len(images) : -len(moved)],
            logits[-len(moved) :],
        )
        given = (own != UNLABELLED).sum()
        self_labelled = cross_entropy(
            others_logits, own, ignore_index=UNLABELLED, reduction="sum"
        ) / given.clamp(min=1)
        return torch.stack(
            [
                cross_entropy(known, labels),
                robust.divergence(answer, moved_logits),
                entropy(log_softmax(others_logits, 1)),
                self_labelled,
            ]
        )

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the means of the epoch; the optimizer's numbers go into the state."""
        self.state.optimizer = optimizer_state(self.optimizer, self.net)
        names = ("cross_entropy", "smoothness", "entropy", "own_cross_entropy")
        *losses, count = self.sums.tolist()
        metrics = {name: loss / count for name, loss in zip(names, losses, strict=True)}
        return metrics | {
            "labelled_percent": 100 * self.sure,
            "learning_rate": self.config.learning_rate_at(self.epoch),
        }


@check_arguments
def epochs(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    config: SemiSupervisedConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: SemiSupervisedState | Mapping[str, Any] | None = None,
    stage: str = "semi-supervised",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Fine-tune `net` on `images` (N, pixels) and labels (N,), UNLABELLED where unknown, in place,
    yielding a record after each epoch.

    `weights` (N,) say how often each labelled case is shown, relative to the others. Where the
    config names no weight of smoothness, it is that of data whose clusters are not known to be
    classes; `suited` finds it.

    Yields:
        EpochResult, with metrics `cross_entropy` (of the labelled cases), `smoothness`, `entropy`,
            `own_cross_entropy` (of the labels that the
        net gave itself; all nats a case, means over the epoch as it went), `labelled_percent`
            (cases with a label, known or its own) and
        `learning_rate`.

    Raises:
        DataError: cases or labels that do not fit, or no labels.
        DivergedError: NaN or infinite weights.
    """
    config = suited(config, 0.0)
    images = inputs.for_feed_forward(net, images, rng=rng, checked=checked)
    labels = arrays.as_labels(labels, len(images), inputs.outputs(net), lowest=UNLABELLED).to(
        images.device
    )
    if not bool((labels != UNLABELLED).any()):
        raise DataError(
            f"none of {len(labels)} cases has a label; give some (others: {UNLABELLED})"
        )
    fresh = SemiSupervisedState(mean=RunningMean.start(net) if config.mean_epochs else None)
    radius = config.vat_epsilon_relative * neighbour_distance(images)
    state = SemiSupervisedState.read(state) or fresh
    check_fit(state, {"mean": dict(net.named_parameters()) if config.mean_epochs else None}, "net")
    algorithm = SemiSupervised(net, config, state, rng, dtype, radius)
    yield from loop.run(
        algorithm,
        Cases(images, labels, arrays.as_weights(weights, len(images))),
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
        mean_epochs=config.mean_epochs,
        mean_every=robust.MEAN_EVERY,
    )
