"""Backpropagation from the pretrained weights: the net that learned to generate now learns to tell.

The only file that differentiates. Two ways down the cross-entropy (the squared error of real
targets): stochastic gradient descent with momentum, and conjugate gradient on large minibatches,
three line searches each, as in Hinton & Salakhutdinov's MATLAB code (Science 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wakesleep.compute import distributed, ops
from wakesleep.compute.ops import accumulation_dtype
from wakesleep.compute.sgd import SGD
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning import inputs, loop
from wakesleep.learning.feed_forward import ACTIVATIONS as ACTIVATIONS
from wakesleep.learning.feed_forward import EncodeSenses as EncodeSenses
from wakesleep.learning.feed_forward import activations_of as activations_of
from wakesleep.learning.feed_forward import classifier as classifier
from wakesleep.learning.feed_forward import feed_forward as feed_forward
from wakesleep.learning.feed_forward import log_probs as log_probs
from wakesleep.learning.feed_forward import random_classifier as random_classifier
from wakesleep.learning.net_configs import BackpropConfig as BackpropConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import EpochState, check_fit
from wakesleep.sources import arrays
from wakesleep.sources.axes import Labels, Shares
from wakesleep.sources.minibatches import Resident, Source, Streamed
from wakesleep.sources.paired import SenseCases, SideBySide
from wakesleep.sources.shards import Shards
from wakesleep.units import Bernoulli


@dataclass
class BackpropState(EpochState):
    """What backpropagation needs to go on after an epoch."""

    velocity: dict[str, Tensor] = field(default_factory=dict)
    """Of each parameter, by its name."""


@check_arguments
def init_state(net: nn.Module) -> BackpropState:
    """Return the state before the first epoch: no velocity."""
    return BackpropState(
        velocity={name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    )


@check_arguments
def epochs(
    net: nn.Sequential,
    images: Tensor | Shards | SenseCases | Mapping[str, Any],
    labels: Tensor | None = None,
    *,
    config: BackpropConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: BackpropState | Mapping[str, Any] | None = None,
    stage: str = "backprop",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Fine-tune `net` on `images` (N, pixels) with `labels` (N,), in place, yielding a record after
    each epoch.

    Targets of a floating type, (N, outputs), are numbers to predict: the loss is then half their
    squared error, summed over outputs. `weights` (N,) say how often each case is shown, relative to
    the others. `dtype` is the precision of the matrix products of SGD, by default that of the
    weights; weights and velocities keep theirs. Images may be `Shards` on the disk, which bring
    their labels. `checked` says that the cases were looked at already, as in `cd.epochs`: inputs
    may then be any numbers but with `sample_pixels`. A net of several senses takes cases by sense,
    or those of `pair_by_class`, which bring their labels; where values are no probabilities, it
    needs sample_pixels=False.

    Yields:
        EpochResult, with metrics `cross_entropy` (nats a case, mean over the epoch as it went) and
            `train_error_percent` (likewise), or
        `squared_error` (half the squared error a case), and, for SGD, `learning_rate`.

    Raises:
        DataError: cases, labels, targets or weights that do not fit.
        DivergedError: NaN or infinite weights.
    """

    def prepare(images: Tensor, labels: Tensor | None) -> Resident:
        if labels is None:
            raise DataError(
                "the cases came without labels, which backpropagation needs; give labels (N,), or "
                "targets (N, outputs)"
            )
        images, labels = checked_cases(net, images, labels, config, rng=rng, checked=checked)
        shown = arrays.as_weights(weights, len(images))
        return Resident(
            images, labels, classes=None if labels.is_floating_point() else labels, weights=shown
        )

    device = next(net.parameters()).device
    source: Source
    if isinstance(images, Shards):
        source = Streamed(images, device, prepare)
    elif isinstance(images, SenseCases):
        source = _paired(net, images, config)
    else:
        source = prepare(images, labels)  # type: ignore[arg-type]
    state = BackpropState.read(state) or init_state(net)
    check_fit(state, {"velocity": dict(net.named_parameters())}, "net")
    if config.method == "sgd":
        algorithm: Backprop = Backprop(net, config, state, rng, dtype)
        yield from loop.run(
            algorithm,
            source,
            epochs=config.epochs,
            batch_size=config.batch_size,
            rng=rng,
            stage=stage,
        )
    else:
        algorithm = ConjugateGradient(net, config, state, rng, dtype)
        yield from loop.run(
            algorithm,
            source,
            epochs=config.epochs,
            batch_size=config.cg_batch_size,
            rng=rng,
            stage=stage,
            replays=False,
        )


def _paired(net: nn.Sequential, cases: SenseCases, config: BackpropConfig) -> SideBySide:
    """Return labelled cases that are paired anew in each epoch, once they are seen to fit."""
    first, given = net[0], {}
    if not isinstance(first, EncodeSenses) or set(cases.cases) != set(first.sizes):
        raise DataError(
            f"cases of the senses {', '.join(cases.cases)} came to another net; expected one of "
            "backprop.classifier of DBN(senses=...) with these senses"
        )
    for columns, name in zip(first.columns, first.sizes, strict=True):
        labels = cases.labels[name]
        assert labels is not None
        side_by_side = first.side_by_side({name: cases.cases[name]})
        checked_cases(net, side_by_side, labels.clamp(min=0), config, rng=None)
        given[name] = side_by_side[:, columns]
    return SideBySide(list(first.sizes), SenseCases(given, cases.labels, by_class=cases.by_class))


@check_arguments
def checked_cases(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    config: BackpropConfig,
    *,
    rng: torch.Generator | None,
    checked: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return images, and labels as int64 (N,) or real targets as float32 (N, outputs), once they
    are seen to be fit for `epochs`.
    """
    images = inputs.for_feed_forward(net, images, rng=rng, checked=checked)
    labels = _as_targets(labels, len(images), inputs.outputs(net)).to(images.device)
    if config.method == "sgd" and config.sample_pixels and images.is_floating_point():
        # NaN is an absent sense, where there are several
        known = images.nan_to_num() if isinstance(next(net.children()), EncodeSenses) else images
        if not bool(((known >= 0) & (known <= 1)).all()):
            raise DataError(
                f"values run from {float(known.min()):g} to {float(known.max()):g}; expected "
                "probabilities in [0, 1] to draw pixels from, or sample_pixels=False"
            )
    return images, labels


def _as_targets(labels: Tensor, cases: int, outputs: int) -> Tensor:
    """Return labels as int64 (N,), or real targets as float32 (N, outputs), once they are seen to
    fit the net.
    """
    labels = arrays.from_array(labels, "labels or targets")
    if labels.ndim != 2 or not labels.is_floating_point():
        return arrays.as_labels(labels, cases, outputs)
    if labels.shape != (cases, outputs):
        raise DataError(
            f"targets of shape {tuple(labels.shape)} for {cases} cases; expected ({cases}, "
            f"{outputs}), a column an output"
        )
    if not bool(labels.isfinite().all()):
        raise DataError(
            f"{int((~labels.isfinite()).sum())} of {labels.numel()} targets are NaN or infinite; "
            "leave out cases without a target"
        )
    return labels.float()


@check_arguments
def mean_loss(outputs: Shares, target: Labels | Shares) -> Tensor:
    """Return the mean over cases of the cross-entropy of labels, or of half the squared error of
    real targets.
    """
    if target.is_floating_point():
        return 0.5 * (outputs - target).square().sum(1).mean()
    return cross_entropy(outputs, target)


@check_arguments
def count_errors(outputs: Shares, target: Labels | Shares) -> Tensor:
    """Return how many labels the largest output misses; none where targets are real."""
    return (
        outputs.new_zeros(()) if target.is_floating_point() else (outputs.argmax(1) != target).sum()
    )


class Backprop(loop.Algorithm):
    """Stochastic gradient descent with momentum, for `loop.run`."""

    differentiates = True
    net: nn.Sequential

    def __init__(
        self,
        net: nn.Sequential,
        config: BackpropConfig,
        state: BackpropState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
    ) -> None:
        self.net, self.config, self.state, self.rng, self.dtype = net, config, state, rng, dtype
        device, inputs = next(net.parameters()).device, _inputs(net)
        self.buffers = [torch.empty(0, inputs, device=device) for _ in range(2)]
        self.pixels, self.real = Bernoulli(inputs), False
        self.loss, self.errors = torch.zeros((), device=device), torch.zeros((), device=device)
        self.optimizer = self._optimizer()
        self.epoch = 0

    def _optimizer(self) -> SGD:
        """Return the optimizer, which moves the velocities of the state; weights decay, biases do
        not.
        """
        named = dict(self.net.named_parameters())
        weights = [parameter for name, parameter in named.items() if name.endswith("weight")]
        biases = [parameter for name, parameter in named.items() if not name.endswith("weight")]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self.config.weight_decay},
            {"params": biases},
        ]
        optimizer = SGD(groups, lr=self.config.learning_rate, momentum=self.config.momentum)
        for name, parameter in named.items():
            optimizer.state[parameter]["momentum_buffer"] = self.state.velocity[name]
        return optimizer

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate of the epoch."""
        self.epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(epoch)
        self.loss.zero_()
        self.errors.zero_()
        return (self.config.learning_rate_at(epoch),)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Descend the mean loss of the cases `index` (n,); sum loss and errors."""
        (index,) = batch
        assert cases.labels is not None
        # two tensors: where products lie in memory must not depend on how large the first minibatch
        # was
        if len(index) > len(self.buffers[0]):
            self.buffers = [
                buffer.new_empty(len(index), buffer.shape[1]) for buffer in self.buffers
            ]
        images, target = cases.gather(index, self.buffers[0][: len(index)]), cases.labels[index]
        self.real = target.is_floating_point()
        if self.config.sample_pixels:
            images = self.pixels.sample_from_mean(
                images, self.rng, out=self.buffers[1][: len(index)]
            )
        if self.config.leave_out:
            images = self._senses().leave_out(images, self.config.leave_out, self.rng)
        with ops.of(images).mixed_precision(self.dtype):
            outputs = self.net(images)
        outputs = outputs.to(accumulation_dtype(outputs.dtype))
        loss = mean_loss(outputs, target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.all_reduce_mean_of_each(
            [parameter.grad for parameter in self.net.parameters() if parameter.grad is not None]
        )
        self.optimizer.step()
        self.loss.add_(loss.detach() * len(index))
        self.errors.add_(count_errors(outputs.detach(), target))

    def _senses(self) -> EncodeSenses:
        """Return the first layer of a net of several senses.

        Raises:
            ConfigError: another net.
        """
        first = self.net[0]
        if not isinstance(first, EncodeSenses):
            raise ConfigError(
                f"leave_out = {self.config.leave_out}: only a net of several senses, e.g. "
                "backprop.classifier of DBN(senses=...), has senses to leave out; expected 0"
            )
        return first

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return cross-entropy and errors, or the squared error of real targets; and the rate."""
        metrics = {
            "cross_entropy": float(self.loss) / cases,
            "train_error_percent": 100 * int(self.errors) / cases,
        }
        if self.real:
            metrics = {"squared_error": float(self.loss) / cases}
        return metrics | {"learning_rate": self.config.learning_rate_at(self.epoch)}


class ConjugateGradient(Backprop):
    """Conjugate gradient on large minibatches, each a fresh start of SciPy's; in the first epochs
    the label layer moves alone.
    """

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Make some line searches on the cases `index` (n,)."""
        from scipy.optimize import minimize  # here, so that importing wakesleep stays light

        (index,) = batch
        assert cases.labels is not None
        top_only = self.epoch < self.config.cg_top_epochs
        below, moving = (self.net[:-1], self.net[-1:]) if top_only else (self.net[:0], self.net)
        parameters = list(moving.parameters())
        images, target = arrays.as_probs(arrays.take(cases.cases, index)), cases.labels[index]
        self.real = target.is_floating_point()
        with torch.no_grad():
            images = below(images)
            outputs = moving(images)
            self.loss += mean_loss(outputs, target) * len(index)
            self.errors += count_errors(outputs, target)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            _write(parameters, flat)
            loss = mean_loss(moving(images), target)
            gradients = torch.autograd.grad(loss, parameters)
            mean = distributed.all_reduce_mean(
                torch.cat([loss.detach().view(1), *[gradient.flatten() for gradient in gradients]])
            )
            return float(mean[0]), mean[1:].cpu().numpy().astype(np.float64)

        now = (
            torch.cat([parameter.detach().flatten() for parameter in parameters])
            .cpu()
            .numpy()
            .astype(np.float64)
        )
        result = minimize(
            objective, now, jac=True, method="CG", options={"maxiter": self.config.cg_line_searches}
        )
        _write(parameters, result.x)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the same without a rate, for there is none."""
        return {
            name: value
            for name, value in super().end_epoch(cases).items()
            if name != "learning_rate"
        }


def _inputs(net: nn.Sequential) -> int:
    """Return how many inputs a feed-forward net has."""
    first: Any = next(layer for layer in net if hasattr(layer, "in_features"))
    return int(first.in_features)


def _write(parameters: list[nn.Parameter], flat: np.ndarray) -> None:
    """Copy a flat vector back into the parameters."""
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.from_numpy(flat).to(parameters[0]), parameters)


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, start="init_state")
