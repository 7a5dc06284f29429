"""Whether a picture is unlike those that a net learned from, whatever label it is given.

A net that names digits names a house too, and is sure of it. Its score of the picture (the lower
bound on log p(v) with means, `meanfield`) and how sure it is of the label tell them apart, once two
things are taken out that make both differ among ordinary pictures: which label it shows, and how
much contour it has.

    surprise(v) = a_label + b contour(v) - score(v) - w log(p(label | v) / p(next label | v))
    contour(v)  = sum of |v_i - v_k| over pixels i, k beside or above one another

a and b are fitted by least squares to held-out cases. w lets the log odds vary as much as the score
does among them: its deviation from the line by theirs from their label's mean; 0 in a net without
labels. A picture is unfamiliar where its surprise is above that of 95 % of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from wakesleep.evaluation import classify, meanfield
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.models.dbn import DBN
from wakesleep.sources import arrays
from wakesleep.sources.axes import Rows

FEWEST = 100
"""Cases below which no threshold is estimated: of 100, five lie above it."""


@dataclass(frozen=True)
class Calibration:
    """What surprise is usual, from held-out cases."""

    shape: tuple[int, int]
    """(rows, columns) of a picture."""
    intercepts: tuple[float, ...]
    """a, nats, one a label; one alone where the memory holds none."""
    slope: float
    """b, nats for a unit of contour."""
    threshold: float
    """Nats; `percentile` of the cases are below."""
    percentile: float
    cases: int
    """How many it was fitted to."""
    odds_weight: float = 0.0
    """w, of the log odds of a picture's label against the next."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **asdict(self),
            "shape": list(self.shape),
            "intercepts": list(self.intercepts),
        }


def from_header(header: Mapping[str, Any]) -> Calibration | None:
    """Return what a model's header records; None where it records nothing.

    Raises:
        CheckpointError: it is damaged, or of a newer version.
    """
    if "novelty" not in header:
        return None
    try:
        values = dict(header["novelty"])
        rows, columns = values.pop("shape")
        intercepts = tuple(float(value) for value in values.pop("intercepts"))
        return Calibration((int(rows), int(columns)), intercepts, **values)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"what is recorded of novelty cannot be read ({error}): {header['novelty']}"
        ) from error


@check_arguments
def contour(images: Rows, shape: tuple[int, int]) -> Tensor:
    """Return the length of all contours of each image (N, rows * columns in [0, 1]), in pixels
    across or down: (N,).
    """
    arrays.check_pictures(images.shape[1], shape)
    pictures = images.reshape(-1, *shape)
    across, down = pictures.diff(dim=2).abs(), pictures.diff(dim=1).abs()
    return across.sum((1, 2)) + down.sum((1, 2))


@check_arguments
def surprise(dbn: DBN, images: Tensor, calibration: Calibration) -> Tensor:
    """Return how many nats the score of each image (N, pixels in [0, 1]) lies below what is usual
    for its label and contour: (N,); unfamiliar above `calibration.threshold`.

    Raises:
        ConfigError: a calibration of another net.
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    pixels = calibration.shape[0] * calibration.shape[1]
    if pixels != dbn.sizes[0] or len(calibration.intercepts) != max(dbn.labels, 1):
        raise ConfigError(
            f"the calibration is of pictures {calibration.shape} and "
            f"{len(calibration.intercepts)} labels, the net has {dbn.sizes[0]} pixels and "
            f"{dbn.labels} labels; calibrate it anew"
        )
    images = _cases(dbn, images)
    labels, odds = _labels(dbn, images)
    intercepts = images.new_tensor(calibration.intercepts)[labels]
    usual = calibration.slope * contour(images, calibration.shape) + intercepts
    return usual - _scores(dbn, images) - calibration.odds_weight * odds


@check_arguments
def calibrate(
    dbn: DBN, images: Tensor, shape: tuple[int, int], *, percentile: float = 95.0
) -> Calibration:
    """Return what surprise is usual among held-out `images` (N, rows * columns in [0, 1]), cases
    that the net did not learn from.

    Raises:
        ConfigError: a shape that does not fit, or a percentile outside 0 and 100.
        DataError: fewer than 100 images, or some that do not fit the net.
    """
    if not 0 < percentile < 100:
        raise ConfigError(f"percentile is {percentile}; expected a number between 0 and 100")
    if shape[0] * shape[1] != dbn.sizes[0]:
        raise ConfigError(
            f"shape is {shape} for a net of {dbn.sizes[0]} pixels; expected rows and columns that "
            f"make {dbn.sizes[0]}"
        )
    images = _cases(dbn, images)
    if len(images) < FEWEST:
        raise DataError(
            f"{len(images)} images came to calibrate with; expected at least {FEWEST} that the "
            "net did not learn from"
        )
    score, length = _scores(dbn, images).double(), contour(images, shape).double()
    labels, odds = _labels(dbn, images)
    odds = odds.double()
    members = torch.nn.functional.one_hot(labels, max(dbn.labels, 1)).double()
    slope, intercepts = _line(length, score, members)
    rest, apart = (
        score - slope * length - intercepts[labels],
        odds - members @ _means(odds, members),
    )
    weight = float(rest.std() / apart.std()) if apart.any() else 0.0
    slope, intercepts = _line(length, score + weight * odds, members)
    surprises = slope * length + intercepts[labels] - score - weight * odds
    return Calibration(
        shape,
        tuple(float(value) for value in intercepts),
        slope,
        float(torch.quantile(surprises, percentile / 100)),
        percentile,
        len(images),
        weight,
    )


def _line(x: Tensor, y: Tensor, members: Tensor) -> tuple[float, Tensor]:
    """Return slope and intercepts (labels,) of y = slope x + intercept of the label, by least
    squares, for x and y (N,) and labels one-hot (N, labels).
    """
    within = x - members @ _means(x, members)
    slope = float(within @ y / (within @ within).clamp(min=1e-12))
    return slope, _means(y - slope * x, members)


def _means(values: Tensor, members: Tensor) -> Tensor:
    """Return the mean of values (N,) in each label, (labels,); of a label that nobody shows, the
    mean of all.
    """
    sizes = members.sum(0)
    return torch.where(sizes > 0, members.T @ values / sizes.clamp(min=1), values.mean())


def _cases(dbn: DBN, images: Tensor) -> Tensor:
    return dbn.as_cases(images)


def _scores(dbn: DBN, images: Tensor) -> Tensor:
    return torch.cat([meanfield.score(dbn, part, checked=True) for part in arrays.chunks(images)])


def _labels(dbn: DBN, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable label of each image, and its log odds against the next, nats: (N,)
    each; zeros where the memory holds no labels.
    """
    if not dbn.labels:
        none = images.new_zeros(len(images))
        return none.long(), none
    log_probs = classify.log_probs(dbn, images)
    best = log_probs.topk(2, 1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]
