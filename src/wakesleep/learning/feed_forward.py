"""Feed-forward nets: from the recognition layers of a deep belief net, or from random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import IN_WORDS
from wakesleep.learning import inputs
from wakesleep.models.dbn import DBN
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.multimodal import MultimodalDBN
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


def unfilled_linear(inputs: int, outputs: int, device: torch.device | str = "cpu") -> nn.Linear:
    """Return a linear layer whose weights are yet to be filled: nothing is drawn for them.

    `nn.utils.skip_init` goes by way of the device "meta", whose first tensor imports PyTorch's
    compiler and sympy, a second in each process.
    """
    layer = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(layer)
    layer.in_features, layer.out_features = inputs, outputs
    layer.weight = nn.Parameter(torch.empty(outputs, inputs, device=device))
    layer.bias = nn.Parameter(torch.empty(outputs, device=device))
    return layer


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
        layers.append(unfilled_linear(below, above, device))
        if number < len(names):
            layers.append(ACTIVATIONS[names[number]]())
    return nn.Sequential(*layers)


class EncodeSenses(nn.Module):
    """The first layer of a feed-forward net of several senses: the codes of all, (N, features),
    from cases side by side, (N, in_features), each by a net of its own.

    A sense that is absent from a case, NaN, sends nothing: its code is left out.
    """

    sense_of_column: Tensor

    def __init__(self, nets: Mapping[str, nn.Sequential], sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(dict(nets))
        self.sizes = dict(sizes)
        ends = list(accumulate(self.sizes.values()))
        self.in_features = ends[-1]
        self.columns = [
            slice(end - size, end) for end, size in zip(ends, self.sizes.values(), strict=True)
        ]
        sense_of_column = torch.arange(len(ends)).repeat_interleave(torch.tensor([*sizes.values()]))
        self.register_buffer("sense_of_column", sense_of_column, persistent=False)

    def forward(self, cases: Tensor) -> Tensor:
        """Return the codes, (N, features)."""
        codes = []
        for net, columns in zip(self.nets.values(), self.columns, strict=True):
            part = cases[:, columns]
            present = ~torch.isnan(part[:, :1])
            codes.append(torch.where(present, net(torch.where(present, part, 0)), 0))
        return torch.cat(codes, 1)

    def side_by_side(self, cases: Any) -> Tensor:
        """Return cases (N, size) by sense side by side, (N, in_features), NaN where a sense is
        absent; a tensor (N, in_features) as it is.

        Raises:
            DataError: a sense that the net does not have, or cases of another shape.
        """
        like = next(self.parameters(), torch.zeros(()))
        if not isinstance(cases, Mapping):
            return cast(
                Tensor, arrays.as_cases(cases, self.in_features, like, missing=True, limits=None)
            ).to(like.dtype)
        unknown = [name for name in cases if name not in self.sizes]
        if unknown or not cases:
            raise DataError(
                f"cases of the senses {', '.join(map(repr, unknown)) or 'none'} came; expected "
                f"some of {', '.join(self.sizes)}"
            )
        given = {
            name: arrays.as_cases(own, self.sizes[name], like, missing=True, limits=None)
            for name, own in cases.items()
        }
        count = len(next(iter(given.values())))
        if any(len(own) != count for own in given.values()):
            raise DataError(
                "senses of different numbers of cases came; expected as many of each, a row of NaN "
                "where a sense is absent"
            )
        every = like.new_full((count, self.in_features), torch.nan)
        for name, columns in zip(self.sizes, self.columns, strict=True):
            if name in given:
                every[:, columns] = as_numbers(given[name], like)
        return every

    def leave_out(self, cases: Tensor, chance: float, rng: torch.Generator) -> Tensor:
        """Return cases (N, in_features) in which each sense is absent with that `chance`; a case
        that would have none left stays as it is.
        """
        present = torch.stack(
            [~torch.isnan(cases[:, columns.start]) for columns in self.columns], 1
        )
        kept = present & (torch.rand(present.shape, generator=rng, device=rng.device) >= chance)
        kept |= ~kept.any(1, keepdim=True)
        return torch.where(kept.index_select(1, self.sense_of_column), cases, torch.nan)


def as_numbers(cases: Tensor, like: Tensor) -> Tensor:
    """Return cases in the type of `like`; uint8 are pixels."""
    return (arrays.as_probs(cases) if cases.dtype == torch.uint8 else cases).to(like.dtype)


def activations_of(layers: Sequence[Units]) -> list[str]:
    """Return what stands for the means of layers of hidden units in a feed-forward net.

    Raises:
        ConfigError: units of another family than `MEANS` has.
    """
    for units in layers:
        if type(units) not in MEANS:
            raise ConfigError(
                f"backpropagation through {units}: expected hidden units of the families "
                f"{', '.join(family.__name__ for family in MEANS)}"
            )
    return [MEANS[type(units)] for units in layers]


@check_arguments
def classifier(
    dbn: DBN | MultimodalDBN,
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
    memory, features = dbn.memory, dbn.label_columns.start
    upper = feed_forward(
        (features, memory.hidden.size, classes),
        memory.weight.device,
        activations_of([memory.hidden]),
    )
    top, label = (layer for layer in upper if isinstance(layer, nn.Linear))
    with torch.no_grad():
        top.weight.copy_(memory.weight[:features].t())
        top.bias.copy_(memory.hidden_bias)
        if dbn.labels:
            top.bias.add_(memory.weight[features:].mean(0))
        _divide_by_precision(top, memory.hidden)
        if start == "memory":
            label.weight.copy_(memory.weight[features:])
            label.bias.copy_(memory.visible_bias[features:])
        else:
            label.weight.normal_(0.0, weight_std, generator=rng)
            label.bias.zero_()
    if isinstance(dbn, DBN):
        return nn.Sequential(*_recognition(dbn.recognition), *upper)
    nets = {
        name: nn.Sequential(*_recognition(dbn.pathways[name].recognition)) for name in dbn.senses
    }
    sizes = {name: dbn.sizes[name][0] for name in dbn.senses}
    return nn.Sequential(EncodeSenses(nets, sizes), *upper)


def _recognition(layers: Sequence[DirectedLayer]) -> list[nn.Module]:
    """Return directed layers as layers of a feed-forward net, with weights of their own."""
    sizes = [layer.units.size for layer in layers]
    names = activations_of([layer.units for layer in layers])
    modules: list[nn.Module] = []
    for layer, size, name in zip(layers, sizes, names, strict=True):
        net = feed_forward((len(layer.weight), size), layer.weight.device)
        (linear,) = (each for each in net if isinstance(each, nn.Linear))
        with torch.no_grad():
            linear.weight.copy_(layer.weight.t())
            linear.bias.copy_(layer.bias)
            _divide_by_precision(linear, layer.units)
        modules += [linear, ACTIVATIONS[name]()]
    return modules


def _divide_by_precision(linear: nn.Linear, units: Units) -> None:
    """Let the outputs be E[s] of units with a precision, that of x / g, in place."""
    if isinstance(units, Quadratic):
        linear.weight.div_(units.precision[:, None])
        linear.bias.div_(units.precision)


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
def log_probs(net: nn.Module, images: Tensor | Mapping[str, Any], checked: bool = False) -> Tensor:
    """Return log p(label | image) of each image (N, pixels), (N, classes), nats; with `checked`
    inputs may be any numbers, as in `epochs`. Of a net of several senses cases (N, size) come by
    sense, NaN or left out where absent.

    Raises:
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    if type(net).forward is nn.Module.forward:
        raise ConfigError(
            f"net of type {type(net).__name__} came, which has no outputs; expected "
            f"{IN_WORDS['Sequential']}"
        )
    cases: Any = images
    if isinstance(net, nn.Sequential):
        cases = inputs.for_feed_forward(net, images, checked=checked)
    dtype = next(net.parameters()).dtype
    with torch.inference_mode():
        return torch.cat(
            [torch.log_softmax(net(chunk.to(dtype)), 1) for chunk in arrays.chunks(cases)]
        )
