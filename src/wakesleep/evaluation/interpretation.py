"""What a trained net knows: what each unit looks for and adds, which units spoke for an answer,
codes on a map, cases it confuses.

Layers are numbered from the pixels (0) up; the last is the top of the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.tensors import Expected
from wakesleep.foundation.values import whole
from wakesleep.models.dbn import DBN
from wakesleep.sources import arrays
from wakesleep.sources.axes import Features, LogProbs

Array = NDArray[Any]
Fields = Annotated[Array, Expected("N+ _", array=True)]
"""Pictures or points, one a row."""
KINDS = ("on-centre", "stroke", "high-frequency")
"""What a receptive field may be: one compact spot, bright (or dark) in the middle; a longer piece
of line or edge; a fine pattern all over.
"""


@check_arguments
def field_measures(fields: Fields, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Return mean spatial frequency (0 to 0.5 cycles a pixel), elongation (1 is round) and size
    (pixels) of fields (N, pixels), each (N,).

    The frequency is the centre of mass of the power spectrum. Elongation and size are the ratio of
    the axes, and the length of the longer one, of the second moments of the field's fourth power,
    so that the peak counts and the noise around it does not.
    """
    arrays.check_pictures(fields.shape[1], shape)
    pictures = fields.reshape(-1, *shape).astype(np.float64)
    power = np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdims=True))) ** 2
    vertical, horizontal = np.meshgrid(
        np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij"
    )
    radius = np.sqrt(vertical**2 + horizontal**2)
    frequency = (power * radius).sum((1, 2)) / np.maximum(power.sum((1, 2)), 1e-30)
    energy = pictures**4
    energy = energy / np.maximum(energy.sum((1, 2), keepdims=True), 1e-30)
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    centre = (
        (energy * rows).sum((1, 2))[:, None, None],
        (energy * columns).sum((1, 2))[:, None, None],
    )
    spread = [
        (energy * one * other).sum((1, 2))
        for one, other in (
            (rows - centre[0], rows - centre[0]),
            (columns - centre[1], columns - centre[1]),
            (rows - centre[0], columns - centre[1]),
        )
    ]
    middle, apart = (
        (spread[0] + spread[1]) / 2,
        np.sqrt(((spread[0] - spread[1]) / 2) ** 2 + spread[2] ** 2),
    )
    elongation = np.sqrt((middle + apart + 1e-12) / np.maximum(middle - apart, 1e-3))
    return frequency, elongation, np.sqrt(middle + apart)


@check_arguments
def sort_fields(fields: Fields, shape: tuple[int, int]) -> dict[str, Array]:
    """Return which fields (N, pixels) are of which kind, as indices, the clearest of each kind
    first.

    A third with the finest pattern (highest mean spatial frequency) are high-frequency; of the
    others, the more compact half are on-centre (bright ones first) and the larger half strokes
    (longest first). The kinds are relative: they sort a net's own units, and say nothing between
    nets.
    """
    frequency, elongation, size = field_measures(fields, shape)
    by_frequency = np.argsort(frequency, kind="stable")
    fine = by_frequency[len(fields) - len(fields) // 3 :][::-1]
    coarse = by_frequency[: len(fields) - len(fields) // 3]
    by_size = coarse[np.argsort(size[coarse], kind="stable")]
    half = (len(coarse) + 1) // 2
    spots, strokes = by_size[:half], by_size[half:]
    dark = np.abs(fields.min(1)) > fields.max(1)
    spots = spots[np.argsort(dark[spots], kind="stable")]
    strokes = strokes[np.argsort(-elongation[strokes], kind="stable")]
    return dict(zip(KINDS, (spots, strokes, fine), strict=True))


@check_arguments
def codes(dbn: DBN, images: Tensor) -> Tensor:
    """Return the top-level code of each image (N, pixels): the log-odds of the top units after an
    up-pass, labels absent, (N, top).
    """
    images = dbn.as_cases(images)
    return dbn.top_input(dbn.up(images)[-1])


@check_arguments
def flat_map(points: Fields, *, seed: int = 0) -> Array:
    """Return a 2-D map of points (N, features) in which neighbours stay neighbours, (N, 2): t-SNE
    of the first 50 principal components.

    Raises:
        ConfigError: fewer than 10 points.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(points) < 10:
        raise ConfigError(f"{len(points)} cases: expected at least 10 for a map")
    reduced = PCA(min(50, *points.shape), random_state=seed).fit_transform(points)
    embedding = TSNE(
        2, init="pca", perplexity=min(30.0, (len(points) - 1) / 3), random_state=seed
    ).fit_transform(reduced)
    return np.asarray(embedding)


@check_arguments
def most_confused(log_probs: LogProbs, labels: Tensor, count: int) -> Tensor:
    """Return the `count` cases whose true label is least probable, as indices, worst first;
    `log_probs` (N, labels), `labels` (N,).

    Raises:
        ConfigError: a count below 0.
        DataError: labels that do not fit.
    """
    whole("count", count, least=0)
    labels = arrays.as_labels(labels, *log_probs.shape).to(log_probs.device)
    return torch.argsort(log_probs.gather(1, labels[:, None]).squeeze(1), stable=True)[:count]


@check_arguments
def receptive_fields(dbn: DBN, layer: int) -> Tensor:
    """Return the picture each unit of `layer` looks for, its weights chained down to the pixels:
    (pixels, units), + drives it, - holds it back.

        R_1 = W_1      R_l = R_(l-1) W_l      (recognition weights)

    Exact for the first layer; above it, the weighted sum of what the units below look for. Source:
    Lee, Ekanadham & Ng (2008), section 4.

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
def projective_field(dbn: DBN, layer: int, unit: int) -> Tensor:
    """Return what a unit adds to the picture: pixel probabilities with it on, less those with it
    off, (pixels,) in [-1, 1].

    Every other unit of its layer fires at the rate that its bias alone gives; the way down is one
    of probabilities.

    Raises:
        ConfigError: no such layer or unit, or the pixels.
    """
    _check(dbn, layer)
    if not 0 <= unit < dbn.sizes[layer]:
        raise ConfigError(f"unit {unit} of layer {layer}: expected 0 to {dbn.sizes[layer] - 1}")
    memory = dbn.memory
    biases = [
        *(down.bias for down in dbn.generative),
        memory.visible_bias[: dbn.sizes[-2]],
        memory.hidden_bias,
    ]
    states = dbn.layers[layer].mean(biases[layer][None]).repeat(2, 1)
    states[0, unit], states[1, unit] = 1.0, 0.0
    if layer == dbn.depth:
        states = memory.visible_probs(states)[:, : dbn.sizes[-2]]
    for down in reversed(dbn.generative[: min(layer, dbn.depth - 1)]):
        states = down.probs(states)
    return states[0] - states[1]


@check_arguments
def label_weights(dbn: DBN, unit: int) -> Tensor:
    """Return how strongly a top unit is tied to each label, (labels,), nats it adds to -E when both
    are on.

    Raises:
        ConfigError: no such unit.
    """
    if not 0 <= unit < dbn.sizes[-1]:
        raise ConfigError(f"unit {unit} of the top layer: expected 0 to {dbn.sizes[-1] - 1}")
    return dbn.memory.weight[dbn.label_columns, unit]


@check_arguments
def evidence(dbn: DBN, features: Features, label: int, other: int) -> Tensor:
    """Return what each top unit says for `label` against `other`, given penultimate activities (N,
    features): (N, top), nats.

        e_j = softplus(x_j + W_label,j) - softplus(x_j + W_other,j),   x = topbias + penultimate W

    Exact: the sum over units and the difference of the two label biases is the log odds, log
    p(label | penultimate) - log p(other | penultimate).

    Raises:
        ConfigError: the memory holds no labels, or not these.
    """
    if not (0 <= label < dbn.labels and 0 <= other < dbn.labels):
        raise ConfigError(
            f"labels {label} and {other}: this net's memory holds {dbn.labels} of them"
        )
    memory, penultimate = dbn.memory, dbn.sizes[-2]
    total_input = dbn.top_input(features)
    return softplus(total_input + memory.weight[penultimate + label]) - softplus(
        total_input + memory.weight[penultimate + other]
    )


def _check(dbn: DBN, layer: int) -> None:
    if not 1 <= layer <= dbn.depth:
        raise ConfigError(
            f"layer {layer}: expected 1 to {dbn.depth}, from the first above the pixels to the "
            "top of the memory"
        )


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(
        __name__, prefers="receptive_fields", contributes="projective_field"
    )
