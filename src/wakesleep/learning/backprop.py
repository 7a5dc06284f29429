"""Backpropagation from the pretrained weights: the net that learned to generate now learns to tell.

The only file that differentiates. Two ways down the cross-entropy (the squared error of real targets): stochastic gradient descent with
momentum, and conjugate gradient on large minibatches, three line searches each, as in Hinton & Salakhutdinov's MATLAB code (Science 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wakesleep.compute import distributed, ops
from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning import inputs
from wakesleep.learning.configs import BackpropConfig as BackpropConfig
from wakesleep.learning.records import Pass, State, check_finite
from wakesleep.model.dbn import DBN
from wakesleep.model.units import Bernoulli
from wakesleep.sources import cases as rows


def feed_forward(sizes: Sequence[int], device: torch.device | str = "cpu") -> nn.Sequential:
    """Return a net of logistic layers with a linear label layer on top, Linear, Sigmoid, ..., Linear; its weights are yet to be filled."""
    layers: list[nn.Module] = []
    for below, above in pairwise(sizes):
        layers += [nn.utils.skip_init(nn.Linear, below, above, device=device), nn.Sigmoid()]  # type: ignore[no-untyped-call]
    return nn.Sequential(*layers[:-1])


def classifier(
    dbn: DBN, classes: int, *, rng: torch.Generator, start: Literal["memory", "small"] = "memory", weight_std: float = 0.01
) -> nn.Sequential:
    """Return `dbn`'s recognition pathway and memory as a feed-forward net with `classes` outputs (logits), with weights of its own.

    The label layer starts from the memory's label weights (`start="memory"`), or from N(0, weight_std^2), as after pretraining without
    labels. The top layer loses its label input; its bias takes up what an even guess would have sent.

    Raises:
        ConfigError: `start="memory"` and the memory holds another number of labels than `classes`.
    """
    if start == "memory" and dbn.labels != classes:
        raise ConfigError(f"the memory holds {dbn.labels} labels, not {classes}; start the label layer small instead: start='small'")
    net = feed_forward((*dbn.sizes, classes), dbn.memory.weight.device)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    pen, memory = dbn.sizes[-2], dbn.memory
    with torch.no_grad():
        for layer, up in zip(linear, dbn.recognition, strict=False):
            layer.weight.copy_(up.weight.t())
            layer.bias.copy_(up.bias)
        linear[-2].weight.copy_(memory.weight[:pen].t())
        linear[-2].bias.copy_(memory.hidden_bias)
        if dbn.labels:
            linear[-2].bias.add_(memory.weight[pen:].mean(0))
        if start == "memory":
            linear[-1].weight.copy_(memory.weight[pen:])
            linear[-1].bias.copy_(memory.visible_bias[pen:])
        else:
            linear[-1].weight.normal_(0.0, weight_std, generator=rng)
            linear[-1].bias.zero_()
    return net


def random_classifier(sizes: Sequence[int], *, rng: torch.Generator, gain: float = 4.0) -> nn.Sequential:
    """Return the same net from random weights, given a fair start: weights N(0, gain^2 2/(in+out)), every unit centred.

    A gain of 4 undoes the logistic unit's slope of 1/4 (Glorot & Bengio 2010); biases cancel the mean activity of 1/2 below, without
    which deep logistic nets sit at chance for many passes. The label layer has a gain of 1.
    """
    net = feed_forward(sizes, rng.device)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for depth, layer in enumerate(linear):
            scale = 1.0 if layer is linear[-1] else gain
            std = scale * (2.0 / (layer.in_features + layer.out_features)) ** 0.5
            layer.weight.normal_(0.0, std, generator=rng)
            layer.bias.zero_() if depth == 0 else layer.bias.copy_(-0.5 * layer.weight.sum(1))
    return net


def log_probs(net: nn.Module, images: Tensor, checked: bool = False) -> Tensor:
    """Return log p(label | image) of each image (N, pixels), (N, classes), nats; with `checked` inputs may be any numbers, as in `epochs`.

    Raises:
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    if isinstance(net, nn.Sequential):
        images = inputs.for_feed_forward(net, images, checked=checked)
    dtype = next(net.parameters()).dtype
    with torch.inference_mode():
        return torch.cat([torch.log_softmax(net(chunk.to(dtype)), 1) for chunk in rows.chunks(images)])


def start(net: nn.Module) -> State:
    """Return the state before the first pass: no velocity."""
    return {"epoch": 0} | {f"momentum.{name}": torch.zeros_like(parameter) for name, parameter in net.named_parameters()}


def epochs(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    config: BackpropConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: State | None = None,
    stage: str = "backprop",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[Pass]:
    """Fine-tune `net` on `images` (N, pixels) with `labels` (N,), in place, yielding a record after each pass.

    Targets of a floating type, (N, outputs), are numbers to predict: the loss is then half their squared error, summed over outputs.
    `weights` (N,) say how often each case is shown, relative to the others.
    `dtype` is the precision of the matrix products of SGD, by default that of the weights; weights and velocities keep theirs.
    `checked` says that the cases were looked at already, as in `cd.epochs`: inputs may then be any numbers but with `sample_pixels`.

    Yields:
        Pass, with metrics `cross_entropy` (nats a case, mean over the pass as it went) and `train_error_percent` (likewise), or
        `squared_error` (half the squared error a case), and, for SGD, `learning_rate`.

    Raises:
        DataError: cases, labels, targets or weights that do not fit.
        DivergedError: NaN or infinite weights.
    """
    images, labels = checked_cases(net, images, labels, config, rng=rng, checked=checked)
    weights = rows.as_weights(weights, len(images))
    classes = None if labels.is_floating_point() else labels
    state = start(net) if state is None else state
    for epoch in range(int(state["epoch"]), config.passes):
        order = rows.order(classes, len(images), rng, weights)
        if config.method == "sgd":
            loss, errors = _sgd_pass(net, images, labels, order, config, epoch, state, rng, dtype)
        else:
            loss, errors = _conjugate_gradient_pass(net, images, labels, order, config, epoch, state)
        check_finite(dict(net.named_parameters()), config.rate(epoch))
        state = {**state, "epoch": epoch + 1}
        metrics = {"cross_entropy": loss / len(images), "train_error_percent": 100 * errors / len(images)}
        if classes is None:
            metrics = {"squared_error": loss / len(images)}
        if config.method == "sgd":
            metrics["learning_rate"] = config.rate(epoch)
        yield Pass(stage, epoch + 1, config.passes, len(images), metrics, state)


def checked_cases(
    net: nn.Sequential, images: Tensor, labels: Tensor, config: BackpropConfig, *, rng: torch.Generator, checked: bool = False
) -> tuple[Tensor, Tensor]:
    """Return images, and labels as int64 (N,) or real targets as float32 (N, outputs), once they are seen to be fit for `epochs`."""
    images = inputs.for_feed_forward(net, images, rng=rng, checked=checked)
    labels = _as_targets(labels, len(images), inputs.outputs(net)).to(images.device)
    if config.method == "sgd" and config.sample_pixels and images.is_floating_point() and not bool(((images >= 0) & (images <= 1)).all()):
        low, high = float(images.min()), float(images.max())
        raise DataError(f"values run from {low:g} to {high:g}; expected probabilities in [0, 1] to draw pixels from, or sample_pixels=False")
    return images, labels


def _as_targets(labels: Tensor, cases: int, outputs: int) -> Tensor:
    """Return labels as int64 (N,), or real targets as float32 (N, outputs), once they are seen to fit the net."""
    labels = rows.from_array(labels, "labels or targets")
    if labels.ndim != 2 or not labels.is_floating_point():
        return rows.as_labels(labels, cases, outputs)
    if labels.shape != (cases, outputs):
        raise DataError(f"targets of shape {tuple(labels.shape)} for {cases} cases; expected ({cases}, {outputs}), a column an output")
    if not bool(labels.isfinite().all()):
        raise DataError(f"{int((~labels.isfinite()).sum())} of {labels.numel()} targets are NaN or infinite; leave out cases without a target")
    return labels.float()


def mean_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean over cases of the cross-entropy of labels, or of half the squared error of real targets."""
    if target.is_floating_point():
        return 0.5 * (outputs - target).square().sum(1).mean()
    return cross_entropy(outputs, target)


def count_errors(outputs: Tensor, target: Tensor) -> Tensor:
    """Return how many labels the largest output misses; none where targets are real."""
    return outputs.new_zeros(()) if target.is_floating_point() else (outputs.argmax(1) != target).sum()


def sgd(parameters: Mapping[str, nn.Parameter], config: BackpropConfig, epoch: int, state: State) -> torch.optim.SGD:
    """Return the optimizer of pass `epoch` of SGD, which moves the velocities of `state`; weights decay, biases do not."""
    weights = [parameter for name, parameter in parameters.items() if name.endswith("weight")]
    biases = [parameter for name, parameter in parameters.items() if not name.endswith("weight")]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": config.weight_decay}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=config.rate(epoch), momentum=config.momentum, fused=True)
    for name, parameter in parameters.items():
        optimizer.state[parameter]["momentum_buffer"] = state[f"momentum.{name}"]
    return optimizer


def _sgd_pass(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    order: Tensor,
    config: BackpropConfig,
    epoch: int,
    state: State,
    rng: torch.Generator,
    dtype: torch.dtype | None,
) -> tuple[float, int]:
    """Return the summed loss and the number of errors of a pass of SGD; the velocities are those of `state`, moved in place."""
    optimizer = sgd(dict(net.named_parameters()), config, epoch, state)
    loss_sum = torch.zeros((), device=images.device)
    errors = torch.zeros((), device=images.device)
    buffer = torch.empty(config.batch_size, images.shape[1], device=images.device)
    states, pixels = torch.empty_like(buffer), Bernoulli(images.shape[1])

    def learn(index: Tensor) -> None:
        batch, target = rows.gather(images, index, buffer[: len(index)]), labels[index]
        if config.sample_pixels:
            batch = pixels.sample(batch, rng, out=states[: len(index)])
        with ops.of(images).mixed_precision(dtype):
            logits = net(batch)
        logits = logits.to(accumulation_dtype(logits.dtype))
        loss = mean_loss(logits, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.average_all([parameter.grad for parameter in net.parameters() if parameter.grad is not None])
        optimizer.step()
        loss_sum.add_(loss.detach() * len(index))
        errors.add_(count_errors(logits.detach(), target))

    step = ops.of(images).replay(learn, rng, len(order) // config.batch_size)
    with ops.of(images).learning():
        for index in torch.split(order, config.batch_size):
            step(index)
    return float(loss_sum), int(errors)


def _conjugate_gradient_pass(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    order: Tensor,
    config: BackpropConfig,
    epoch: int,
    state: State,
) -> tuple[float, int]:
    """Return the summed loss and the number of errors of a pass of conjugate gradient, each minibatch a fresh start of SciPy's."""
    from scipy.optimize import minimize  # here, so that importing wakesleep stays light

    top_only = epoch < config.cg_top_passes
    below, moving = (net[:-1], net[-1:]) if top_only else (net[:0], net)
    parameters = list(moving.parameters())
    loss_sum, errors = 0.0, 0
    for index in torch.split(order, config.cg_batch_size):
        batch, target = rows.as_probs(images[index]), labels[index]
        with torch.no_grad():
            batch = below(batch)

        def objective(flat: np.ndarray, batch: Tensor = batch, target: Tensor = target) -> tuple[float, np.ndarray]:
            _write(parameters, flat)
            loss = mean_loss(moving(batch), target)
            gradients = torch.autograd.grad(loss, parameters)
            told = distributed.average(torch.cat([loss.detach().view(1), *[gradient.flatten() for gradient in gradients]]))
            return float(told[0]), told[1:].cpu().numpy().astype(np.float64)

        with torch.no_grad():
            logits = moving(batch)
            loss_sum += float(mean_loss(logits, target)) * len(index)
            errors += int(count_errors(logits, target))
        now = torch.cat([parameter.detach().flatten() for parameter in parameters]).cpu().numpy().astype(np.float64)
        found = minimize(objective, now, jac=True, method="CG", options={"maxiter": config.cg_line_searches})
        _write(parameters, found.x)
    return loss_sum, errors


def _write(parameters: list[nn.Parameter], flat: np.ndarray) -> None:
    """Copy a flat vector back into the parameters."""
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.from_numpy(flat).to(parameters[0]), parameters)
