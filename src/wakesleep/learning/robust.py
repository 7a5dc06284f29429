"""Backpropagation that is held to more than its labels: what came after 2006 to keep a net from
learning them by heart.

Dropout and max-norm (Srivastava et al. 2014), a running mean of the weights, cases that are changed
anew in every epoch, and smoothness around cases without labels (virtual adversarial training:
Miyato et al. 2018). The net is any feed-forward one of `backprop`: pretrained or not, so that what
generating first is worth beside them can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from wakesleep.compute import ops
from wakesleep.compute.ops import accumulation_dtype
from wakesleep.compute.sgd import SGD
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.ranges import at_least, below_one, positive, require
from wakesleep.foundation.values import check_fields
from wakesleep.learning import inputs, loop
from wakesleep.learning.configs import linear_schedule
from wakesleep.learning.records import (
    EpochResult,
    OptimizerState,
    optimizer_state,
    restore_optimizer,
)
from wakesleep.learning.state import EpochState, RunningMean, check_fit
from wakesleep.sources import arrays
from wakesleep.sources.axes import LogProbs, Pixels, Rows, Shares

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""What makes another picture of the same thing of each case: (N, pixels) -> (N, pixels)."""


@renamed.fields(
    passes="epochs", mean_passes="mean_epochs", smooth_radius="vat_epsilon", rate="learning_rate_at"
)
@dataclass(frozen=True)
class RobustConfig:
    """How the net is fine-tuned against overfitting."""

    epochs: int = 100
    """Epochs over the labelled cases, or over those without labels where there are some."""
    batch_size: int = 100
    """Cases in a minibatch; as many without labels beside them where there are some."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Stochastic gradient descent with momentum, or Adam (whose first decay is `momentum`)."""
    learning_rate: float = 0.2
    """Rate in the first epoch."""
    final_learning_rate: float = 0.001
    """Rate in the last epoch, reached in a straight line."""
    momentum: float = 0.9
    """Momentum."""
    sample_pixels: bool = False
    """Draw each pixel as a binary state with its intensity as probability, anew in every epoch."""
    dropout_visible: float = 0.0
    """Share of the pixels that are left out of each case; what stays is scaled up, so that
    recognition needs no other weights.
    """
    dropout_hidden: float = 0.0
    """Share of the units of each hidden layer that are left out."""
    max_norm: float = 0.0
    """Length that the incoming weights of a unit may have at most; 0 lets them grow."""
    mean_epochs: float = 1.0
    """How many epochs the running mean of the weights looks back, all updates weighing alike until
    there are as many; between epochs the net holds the mean. 0 takes the weights themselves.
    """
    vat_epsilon: float = 0.0
    """Euclidean distance in pixels' units around each case within which the answer should not
    change, in the direction where it changes most; 0 leaves this out.
    """
    smooth_weight: float = 1.0
    """Weight of smoothness beside the cross-entropy."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "final_learning_rate", "max_norm", "mean_epochs")
        at_least(0, self, "vat_epsilon", "smooth_weight")
        at_least(1, self, "batch_size")
        positive(self, "learning_rate")
        below_one(self, "momentum", "dropout_visible", "dropout_hidden")
        require(
            self.optimizer in ("sgd", "adam"),
            f"optimizer = {self.optimizer!r}: expected 'sgd' or 'adam'",
        )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)


MEAN_EVERY = 10
"""Updates between two steps of the running mean: it costs as much memory traffic as an update of
the weights.
"""


@dataclass
class RobustState(EpochState):
    """What this loop needs to go on after an epoch."""

    optimizer: OptimizerState = field(default_factory=dict)
    """What the optimizer knows of each parameter."""
    mean: RunningMean | None = None
    """The running mean of the weights."""


@check_arguments
def init_state(net: nn.Module, config: RobustConfig) -> RobustState:
    """Return the state before the first epoch: no velocity, and the mean where the weights are."""
    return RobustState(mean=RunningMean.start(net) if config.mean_epochs else None)


class Pictures:
    """Labelled cases and, where there are some, cases without labels beside them: a source for
    `loop.run`, one chunk an epoch.

    A minibatch is (images, labels) or (images, labels, images without labels). An epoch goes once
    through the larger set, and as often as it takes through the smaller one; `augment` makes new
    pictures of each minibatch.
    """

    capturable = True

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        unlabelled: Tensor | None,
        augment: Augment | None,
        sample_pixels: bool,
    ) -> None:
        self.images, self.labels, self.unlabelled = images, labels, unlabelled
        self.augment, self.sample_pixels = augment, sample_pixels

    def __len__(self) -> int:
        """How many cases an epoch has."""
        return max(len(self.images), 0 if self.unlabelled is None else len(self.unlabelled))

    def chunks(self, rng: torch.Generator) -> Iterator[Pictures]:
        """Yield all cases at once."""
        yield self

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield the minibatches of one epoch."""
        known = torch.split(self._order(self.labels, len(self.images), rng), size)
        if self.unlabelled is None:
            for index in known:
                yield self._pictures(self.images, index, rng), self.labels[index]
            return
        for index, other in zip(
            known, torch.split(self._order(None, len(self.unlabelled), rng), size), strict=True
        ):
            yield (
                self._pictures(self.images, index, rng),
                self.labels[index],
                self._pictures(self.unlabelled, other, rng),
            )

    def _order(self, labels: Tensor | None, n: int, rng: torch.Generator) -> Tensor:
        """Return the case numbers of an epoch: one random order of n cases after the other, each
        balanced by class.
        """
        return torch.cat([arrays.order(labels, n, rng) for _ in range(-(-len(self) // n))])[
            : len(self)
        ]

    def _pictures(self, images: Tensor, index: Tensor, rng: torch.Generator) -> Tensor:
        batch = arrays.as_probs(images[index])
        batch = batch if self.augment is None else self.augment(batch, rng)
        return (
            torch.rand(batch.shape, generator=rng, device=batch.device).lt(batch).float()
            if self.sample_pixels
            else batch
        )


class Robust(loop.Algorithm):
    """Cross-entropy with dropout, max-norm and smoothness, for `loop.run`."""

    differentiates = True
    net: nn.Sequential

    def __init__(
        self,
        net: nn.Sequential,
        config: RobustConfig,
        state: RobustState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
    ) -> None:
        self.net, self.config, self.state, self.rng, self.dtype = net, config, state, rng, dtype
        self.sums = torch.zeros(4, device=next(net.parameters()).device)
        """Cross-entropy, smoothness, errors and cases."""
        self.optimizer = _optimizer(net, config)
        restore_optimizer(self.optimizer, net, state.optimizer)
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        self.epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(epoch)
        self.sums.zero_()
        return (self.config.learning_rate_at(epoch),)

    def step(self, cases: Pictures, *batch: Tensor) -> None:
        """Descend the loss of a minibatch of `Pictures`."""
        images, labels, *others = batch
        with ops.of(images).mixed_precision(self.dtype):
            losses = _losses(
                self.net, images, labels, others[0] if others else None, self.config, self.rng
            )
        loss = losses[0] + self.config.smooth_weight * losses[1]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            limit_norms(self.net, self.config.max_norm)
            self.sums.add_(
                torch.cat(
                    [losses[:2] * len(labels), losses[2:], losses.new_full((1,), len(labels))]
                )
            )

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the means of the epoch; the optimizer's numbers go into the state."""
        self.state.optimizer = optimizer_state(self.optimizer, self.net)
        loss, smooth, errors, seen = self.sums.tolist()
        metrics = {
            "cross_entropy": loss / seen,
            "train_error_percent": 100 * errors / seen,
            "learning_rate": self.config.learning_rate_at(self.epoch),
        }
        return metrics | ({"smoothness": smooth / seen} if self.config.vat_epsilon else {})


@check_arguments
def epochs(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    config: RobustConfig,
    rng: torch.Generator,
    unlabelled: Tensor | None = None,
    change: Augment | None = None,
    state: RobustState | Mapping[str, Any] | None = None,
    stage: str = "robust",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Fine-tune `net` on `images` (N, pixels) with `labels` (N,), in place, yielding a record after
    each epoch.

    The loss is the cross-entropy of the labelled cases + smooth_weight * smoothness of the cases of
    `unlabelled` (M, pixels), or of the labelled ones where there are none. An epoch goes once
    through the larger set, and as often as it takes through the smaller one. `change` makes new
    pictures of each minibatch; `dtype` is the precision of products, and `checked` says that the
    cases were looked at already, as in `cd.epochs`.

    Yields:
        EpochResult, with metrics `cross_entropy` and `smoothness` (nats a case, means over the
            epoch as it went), `train_error_percent`, and
        `learning_rate`.

    Raises:
        ConfigError: cases without labels, and no smoothness asked of them.
        DataError: cases or labels that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images = inputs.for_feed_forward(net, images, rng=rng, checked=checked)
    labels = arrays.as_labels(labels, len(images), inputs.outputs(net)).to(images.device)
    unlabelled = (
        None
        if unlabelled is None
        else inputs.for_feed_forward(net, unlabelled, rng=rng, checked=checked)
    )
    if unlabelled is not None and not config.vat_epsilon:
        raise ConfigError(
            "cases without labels came, and vat_epsilon = 0 asks nothing of them; expected a "
            "radius, e.g. 2.0"
        )
    state = RobustState.read(state) or init_state(net, config)
    check_fit(state, {"mean": dict(net.named_parameters()) if config.mean_epochs else None}, "net")
    algorithm = Robust(net, config, state, rng, dtype)
    source = Pictures(images, labels, unlabelled, change, config.sample_pixels)
    yield from loop.run(
        algorithm,
        source,
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
        mean_epochs=config.mean_epochs,
        mean_every=MEAN_EVERY,
    )


def _optimizer(net: nn.Module, config: RobustConfig) -> torch.optim.Optimizer | SGD:
    """Return the optimizer that the config asks for."""
    parameters = list(net.parameters())
    if config.optimizer == "adam":
        capturable = ops.of(parameters[0]).capturable
        return torch.optim.Adam(
            parameters,
            lr=config.learning_rate,
            betas=(config.momentum, 0.999),
            fused=True,
            capturable=capturable,
        )
    return SGD([{"params": parameters}], lr=config.learning_rate, momentum=config.momentum)


def _losses(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    others: Tensor | None,
    config: RobustConfig,
    rng: torch.Generator,
) -> Tensor:
    """Return the cross-entropy and the smoothness of a minibatch, nats a case, and its number of
    errors, (3,).
    """
    if not config.vat_epsilon:
        logits, smooth = (
            to_float32(
                forward_with_dropout(
                    net, images, config.dropout_visible, config.dropout_hidden, rng
                )
            ),
            images.new_zeros(()),
        )
    else:
        free = images if others is None else others
        answer, moved = adversarial(net, free, config.vat_epsilon, rng)
        logits = to_float32(
            forward_with_dropout(
                net, torch.cat([images, moved]), config.dropout_visible, config.dropout_hidden, rng
            )
        )
        logits, there = logits[: len(images)], logits[len(images) :]
        smooth = divergence(answer, there)
    return torch.stack(
        [
            cross_entropy(logits, labels),
            smooth,
            (logits.detach().argmax(1) != labels).sum().to(logits.dtype),
        ]
    )


@check_arguments
def forward_with_dropout(
    net: nn.Sequential, images: Pixels, visible: float, hidden: float, rng: torch.Generator
) -> Tensor:
    """Return the logits of `images` (N, pixels) with a share `visible` of pixels and `hidden` of
    every hidden layer's units left out.

    What stays is divided by the share that stays, so that the net without dropout is the mean of
    those with it, to first order (Srivastava et al. 2014, section 10).
    """
    below, share = images, visible
    for layer in net:
        if isinstance(layer, nn.Linear):
            if share:
                mask = (
                    torch.rand(below.shape, generator=rng, device=below.device)
                    .ge_(share)
                    .div_(1 - share)
                )
                below = below * mask.to(below.dtype)
            share = hidden
        below = layer(below)
    return below


@check_arguments
@torch.no_grad()
def limit_norms(net: nn.Sequential, longest: float) -> None:
    """Shorten the incoming weights of every unit to at most `longest`, in place; 0 leaves them as
    they are.
    """
    for layer in net if longest else ():
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(
                layer.weight.norm(dim=1, keepdim=True)
                .clamp_(min=1e-12)
                .reciprocal_()
                .mul_(longest)
                .clamp_(max=1.0)
            )


@check_arguments
def adversarial(
    net: nn.Sequential, images: Pixels, radius: float, rng: torch.Generator, probe: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return log p(label | image) of `images` (N, pixels), and the images moved by `radius` where
    that changes it most, both without gradient.

    The direction is the gradient of KL(p(. | v) || p(. | v + probe * u)) by a random unit vector u:
    one step of the power method on its Hessian (Miyato et al. 2018, section 3.3). `probe` is as
    large as it is because products may be of low precision.
    """
    # not under no_grad: PyTorch before 2.10 would keep the weights that it casts there, which no
    # gradient reaches, for later products
    answer = log_softmax(to_float32(net(images).detach()), 1)
    towards = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    towards = towards.div_(towards.norm(dim=1, keepdim=True)).requires_grad_()
    with torch.enable_grad():
        apart = divergence(answer, to_float32(net(images + probe * towards)))
        (gradient,) = torch.autograd.grad(apart, towards)
    return answer, images + radius * gradient / gradient.norm(dim=1, keepdim=True).clamp_(min=1e-20)


@check_arguments
def to_float32(logits: Rows) -> Tensor:
    """Return logits in the precision in which probabilities are worth computing."""
    return logits.to(accumulation_dtype(logits.dtype))


@check_arguments
def divergence(answer: LogProbs, logits: Shares) -> Tensor:
    """Return the mean over cases of KL(answer || softmax(logits)), nats; `answer` are
    log-probabilities (N, labels) without gradient.
    """
    return (answer.exp() * (answer - log_softmax(logits, 1))).sum(1).mean()


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, start="init_state")
