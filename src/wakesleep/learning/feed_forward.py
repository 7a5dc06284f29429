"""Feed-forward nets: from the recognition layers of a deep belief net, or from random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import CURES
from wakesleep.learning import inputs
from wakesleep.models.dbn import DBN
from wakesleep.sources import arrays
from wakesleep.units import Bernoulli, Gaussian, ReLU, Spin, Units
from wakesleep.units.quadratic import Quadratic

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "Identity": nn.Identity,
}
"""What a layer of a feed-forward net may do with its total input."""


MEANS: dict[type[Units], str] = {
    Bernoulli: "Sigmoid",
    Spin: "Tanh",
    ReLU: "ReLU",
    Gaussian: "Identity",
}
"""Which stands for the mean of which hidden units: of truncated normal ones the mean is ReLU's far
from 0, and a smooth bend at 0.
"""


@check_arguments
def feed_forward(
    sizes: Sequence[int],
    device: torch.device | str = "cpu",
    activations: Sequence[str] | None = None,
) -> nn.Sequential:
    """Return a net of logistic layers with a linear label layer on top, Linear, Sigmoid, ...,
    Linear; its weights are yet to be filled.

    `activations` are the names of other ones (`ACTIVATIONS`), one a hidden layer.
    """
    names = ["Sigmoid"] * (len(sizes) - 2) if activations is None else activations
    layers: list[nn.Module] = []
    for number, (below, above) in enumerate(pairwise(sizes)):
        layers.append(nn.utils.skip_init(nn.Linear, below, above, device=device))  # type: ignore[no-untyped-call]
        if number < len(names):
            layers.append(ACTIVATIONS[names[number]]())
    return nn.Sequential(*layers)


def activations_of(dbn: DBN) -> list[str]:
    """Return what stands for the means of each layer of hidden units in a feed-forward net.

    Raises:
        ConfigError: units of another family than `MEANS` has.
    """
    for units in dbn.layers[1:]:
        if type(units) not in MEANS:
            raise ConfigError(
                f"backpropagation through {units}: expected hidden units of the families "
                f"{', '.join(family.__name__ for family in MEANS)}"
            )
    return [MEANS[type(units)] for units in dbn.layers[1:]]


@check_arguments
def classifier(
    dbn: DBN,
    classes: int,
    *,
    rng: torch.Generator,
    start: Literal["memory", "small"] = "memory",
    weight_std: float = 0.01,
) -> nn.Sequential:
    """Return `dbn`'s recognition pathway and memory as a feed-forward net with `classes` outputs
    (logits), with weights of its own.

    The label layer starts from the memory's label weights (`start="memory"`), or from N(0,
    weight_std^2), as after pretraining without labels. The top layer loses its label input; its
    bias takes up what an even guess would have sent. Hidden units of other families than binary
    ones become what `MEANS` says: ReLU units ReLU, spins tanh, Gaussian ones linear.

    Raises:
        ConfigError: `start="memory"` and the memory holds another number of labels than `classes`,
            or none are asked for; hidden units of another family.
    """
    if classes < 1:
        raise ConfigError(f"classes = {classes}: expected at least 1, an output each")
    if start == "memory" and dbn.labels != classes:
        raise ConfigError(
            f"the memory holds {dbn.labels} labels, not {classes}; start the label layer small "
            "instead: start='small'"
        )
    net = feed_forward((*dbn.sizes, classes), dbn.memory.weight.device, activations_of(dbn))
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    penultimate, memory = dbn.sizes[-2], dbn.memory
    with torch.no_grad():
        for layer, up in zip(linear, dbn.recognition, strict=False):
            layer.weight.copy_(up.weight.t())
            layer.bias.copy_(up.bias)
        linear[-2].weight.copy_(memory.weight[:penultimate].t())
        linear[-2].bias.copy_(memory.hidden_bias)
        if dbn.labels:
            linear[-2].bias.add_(memory.weight[penultimate:].mean(0))
        for layer, units in zip(linear, dbn.layers[1:], strict=False):
            if isinstance(units, Quadratic):  # E[s] is that of x / g
                layer.weight.div_(units.precision[:, None])
                layer.bias.div_(units.precision)
        if start == "memory":
            linear[-1].weight.copy_(memory.weight[penultimate:])
            linear[-1].bias.copy_(memory.visible_bias[penultimate:])
        else:
            linear[-1].weight.normal_(0.0, weight_std, generator=rng)
            linear[-1].bias.zero_()
    return net


@check_arguments
def random_classifier(
    sizes: Sequence[int], *, rng: torch.Generator, gain: float = 4.0
) -> nn.Sequential:
    """Return the same net from random weights, given a fair start: weights N(0, gain^2 2/(in+out)),
    every unit centred.

    A gain of 4 undoes the logistic unit's slope of 1/4 (Glorot & Bengio 2010); biases cancel the
    mean activity of 1/2 below, without which deep logistic nets sit at chance for many epochs. The
    label layer has a gain of 1.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ConfigError(
            f"layer sizes {tuple(sizes)}: expected at least two, each at least 1, e.g. "
            "(784, 500, 10)"
        )
    net = feed_forward(sizes, rng.device)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for depth, layer in enumerate(linear):
            scale = 1.0 if layer is linear[-1] else gain
            std = scale * (2.0 / (layer.in_features + layer.out_features)) ** 0.5
            layer.weight.normal_(0.0, std, generator=rng)
            layer.bias.zero_() if depth == 0 else layer.bias.copy_(-0.5 * layer.weight.sum(1))
    return net


@check_arguments
def log_probs(net: nn.Module, images: Tensor, checked: bool = False) -> Tensor:
    """Return log p(label | image) of each image (N, pixels), (N, classes), nats; with `checked`
    inputs may be any numbers, as in `epochs`.

    Raises:
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    if type(net).forward is nn.Module.forward:
        raise ConfigError(
            f"net of type {type(net).__name__} came, which has no outputs; expected "
            f"{CURES['Sequential']}"
        )
    if isinstance(net, nn.Sequential):
        images = inputs.for_feed_forward(net, images, checked=checked)
    dtype = next(net.parameters()).dtype
    with torch.inference_mode():
        return torch.cat(
            [torch.log_softmax(net(chunk.to(dtype)), 1) for chunk in arrays.chunks(images)]
        )
