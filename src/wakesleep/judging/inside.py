"""Looking inside: what a unit prefers, what it contributes, and which units spoke for an answer.

Layers are numbered from the pixels (0) up; the last is the top of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.dbn import DBN


@check_arguments
def prefers(dbn: DBN, layer: int) -> Tensor:
    """Return the picture each unit of `layer` looks for, its weights chained down to the pixels: (pixels, units), + drives it, - holds it back.

        R_1 = W_1      R_l = R_(l-1) W_l      (recognition weights)

    Exact for the first layer; above it, the weighted sum of what the units below look for. Source: Lee, Ekanadham & Ng (2008), section 4.

    Raises:
        ConfigError: no such layer, or the pixels.
    """
    _check(dbn, layer)
    weights = [*(up.weight for up in dbn.recognition), dbn.memory.weight[: dbn.sizes[-2]]]
    field = weights[0]
    for weight in weights[1:layer]:
        field = field @ weight
    return field


@check_arguments
def contributes(dbn: DBN, layer: int, unit: int) -> Tensor:
    """Return what a unit adds to the picture: pixel probabilities with it on, less those with it off, (pixels,) in [-1, 1].

    Every other unit of its layer fires at the rate that its bias alone gives; the way down is one of probabilities.

    Raises:
        ConfigError: no such layer or unit, or the pixels.
    """
    _check(dbn, layer)
    if not 0 <= unit < dbn.sizes[layer]:
        raise ConfigError(f"unit {unit} of layer {layer}: expected 0 to {dbn.sizes[layer] - 1}")
    memory = dbn.memory
    biases = [*(down.bias for down in dbn.generative), memory.visible_bias[: dbn.sizes[-2]], memory.hidden_bias]
    states = torch.sigmoid(biases[layer]).repeat(2, 1)
    states[0, unit], states[1, unit] = 1.0, 0.0
    if layer == dbn.depth:
        states = memory.visible_probs(states)[:, : dbn.sizes[-2]]
    for down in reversed(dbn.generative[: min(layer, dbn.depth - 1)]):
        states = down.probs(states)
    return states[0] - states[1]


@check_arguments
def label_weights(dbn: DBN, unit: int) -> Tensor:
    """Return how strongly a top unit is tied to each label, (labels,), nats it adds to -E when both are on."""
    return dbn.memory.weight[dbn.label_columns, unit]


@check_arguments
def evidence(dbn: DBN, features: Tensor, label: int, other: int) -> Tensor:
    """Return what each top unit says for `label` against `other`, given penultimate activities (N, features): (N, top), nats.

        e_j = softplus(x_j + W_label,j) - softplus(x_j + W_other,j),   x = topbias + pen W

    Exact: the sum over units and the difference of the two label biases is the log odds, log p(label | pen) - log p(other | pen).

    Raises:
        ConfigError: the memory holds no labels, or not these.
    """
    if not (0 <= label < dbn.labels and 0 <= other < dbn.labels):
        raise ConfigError(f"labels {label} and {other}: this net's memory holds {dbn.labels} of them")
    memory, pen = dbn.memory, dbn.sizes[-2]
    heard = dbn.top_input(features)
    return softplus(heard + memory.weight[pen + label]) - softplus(heard + memory.weight[pen + other])


def _check(dbn: DBN, layer: int) -> None:
    if not 1 <= layer <= dbn.depth:
        raise ConfigError(f"layer {layer}: expected 1 to {dbn.depth}, from the first above the pixels to the top of the memory")
