"""What a trained net knows, as arrays for `plots`: fields by kind, codes on a map, cases it confuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.dbn import DBN
from wakesleep.sources import cases as rows

Array = NDArray[Any]
KINDS = ("on-centre", "stroke", "high-frequency")
"""What a receptive field may be: one compact spot, bright (or dark) in the middle; a longer piece of line or edge; a fine pattern all over."""


def field_measures(fields: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Return mean spatial frequency (0 to 0.5 cycles a pixel), elongation (1 is round) and size (pixels) of fields (N, pixels), each (N,).

    The frequency is the centre of mass of the power spectrum. Elongation and size are the ratio of the axes, and the length of the longer
    one, of the second moments of the field's fourth power, so that the peak counts and the noise around it does not.
    """
    pictures = fields.reshape(-1, *shape).astype(np.float64)
    power = np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdims=True))) ** 2
    vertical, horizontal = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    radius = np.sqrt(vertical**2 + horizontal**2)
    frequency = (power * radius).sum((1, 2)) / np.maximum(power.sum((1, 2)), 1e-30)
    energy = pictures**4
    energy = energy / np.maximum(energy.sum((1, 2), keepdims=True), 1e-30)
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    centre = (energy * rows).sum((1, 2))[:, None, None], (energy * columns).sum((1, 2))[:, None, None]
    spread = [
        (energy * one * other).sum((1, 2))
        for one, other in (
            (rows - centre[0], rows - centre[0]),
            (columns - centre[1], columns - centre[1]),
            (rows - centre[0], columns - centre[1]),
        )
    ]
    middle, apart = (spread[0] + spread[1]) / 2, np.sqrt(((spread[0] - spread[1]) / 2) ** 2 + spread[2] ** 2)
    elongation = np.sqrt((middle + apart + 1e-12) / np.maximum(middle - apart, 1e-3))
    return frequency, elongation, np.sqrt(middle + apart)


def sort_fields(fields: Array, shape: tuple[int, int]) -> dict[str, Array]:
    """Return which fields (N, pixels) are of which kind, as indices, the clearest of each kind first.

    A third with the finest pattern (highest mean spatial frequency) are high-frequency; of the others, the more compact half are on-centre
    (bright ones first) and the larger half strokes (longest first). The kinds are relative: they sort a net's own units, and say nothing
    between nets.
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


def codes(dbn: DBN, images: Tensor) -> Tensor:
    """Return the top-level code of each image (N, pixels): the log-odds of the top units after an up-pass, labels absent, (N, top)."""
    images = rows.as_probs(rows.as_cases(images, dbn.sizes[0], dbn.memory.weight)).to(dbn.memory.weight.dtype)
    return dbn.top_input(dbn.up(images)[-1])


@check_arguments
def flat_map(points: Array, *, seed: int = 0) -> Array:
    """Return a 2-D map of points (N, features) in which neighbours stay neighbours, (N, 2): t-SNE of the first 50 principal components.

    Raises:
        ConfigError: fewer than 10 points.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(points) < 10:
        raise ConfigError(f"{len(points)} cases: expected at least 10 for a map")
    reduced = PCA(min(50, *points.shape), random_state=seed).fit_transform(points)
    made = TSNE(2, init="pca", perplexity=min(30.0, (len(points) - 1) / 3), random_state=seed).fit_transform(reduced)
    return np.asarray(made)


@check_arguments
def most_confused(log_probs: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the `count` cases whose true label is least probable, as indices, worst first; `log_probs` (N, labels), `labels` (N,)."""
    labels = rows.as_labels(labels, *log_probs.shape).to(log_probs.device)
    return torch.argsort(log_probs.gather(1, labels[:, None]).squeeze(1), stable=True)[:count]
