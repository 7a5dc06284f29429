"""Cases on the device: uint8 until used, probabilities in [0, 1] once gathered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import permutation
from wakesleep.foundation.tensors import UINT8, read

UNLABELLED = -1
"""The label of a case whose label nobody knows."""
SLACK = 1e-6
"""How far beyond [0, 1] values may lie: interpolation and division overshoot by about a rounding
error.
"""


@runtime_checkable
class Rows(Protocol):
    """Cases that are no tensor, such as a sparse matrix: rows come as one, dense and on the device,
    when they are asked for.
    """

    dtype: torch.dtype

    def __len__(self) -> int:
        """How many cases there are."""
        ...

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return the cases of `index`, (n, D)."""
        ...


def as_probs(cases: Tensor) -> Tensor:
    """Return cases as float32 in [0, 1], same shape: uint8 pixels are divided by 255, floats pass
    through.
    """
    return (
        cases.to(torch.float32).div_(255.0)
        if cases.dtype == torch.uint8
        else cases.to(torch.float32)
    )


def gather(cases: Tensor | Rows, index: Tensor, out: Tensor) -> Tensor:
    """Write rows `index` (n,) of `cases` (N, D) into `out` (n, D) as probabilities; the only copy a
    minibatch makes.
    """
    if isinstance(cases, Tensor):
        return ops.of(out).gather(cases, index, out)
    return out.copy_(as_probs(cases[index]))


def take(cases: Tensor | Rows, index: Tensor) -> Tensor:
    """Return rows `index` (n,) of `cases` as they are, (n, D); for tensors a tenth of what indexing
    costs, which looks at each element.
    """
    return torch.index_select(cases, 0, index) if isinstance(cases, Tensor) else cases[index]


BINARISE = (
    "draw binary cases from their intensities (wakesleep.sources.arrays.draw_binary, on the "
    "command line --binarise sample), or round them (--binarise round)"
)
"""How grey values become states."""


def require_binary(cases: Tensor, units: str = "binary units", fix: str = BINARISE) -> None:
    """Raise DataError unless every value of `cases` is 0 or 1 (0 or 255 in uint8 pictures counts as
    that too), as states of the `units` are; `fix` says what to do.
    """
    for chunk in chunks(cases):
        other = (chunk != 0) & (chunk != 1)
        if bool(other.any()):
            column = int(other.any(0).int().argmax())
            raise DataError(
                f"cases with a value of {float(chunk[:, column][other[:, column]][0]):.4g} in "
                f"column {column} came, and the likelihood of {units} expects only 0 and 1; {fix}"
            )


def draw_binary(cases: Tensor, rng: torch.Generator) -> Tensor:
    """Return binary cases drawn with intensities (N, D) in [0, 1] as probabilities, float32: what
    those mean to the model.
    """
    probs = as_probs(cases)
    return torch.rand(probs.shape, generator=rng, device=rng.device).to(probs.device).lt_(probs)


def as_cases(
    cases: Any,
    width: int,
    like: Tensor,
    *,
    rng: torch.Generator | None = None,
    missing: bool = False,
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Any:
    """Return cases (N, width) as a tensor, or as the `Rows` that came, once they are seen to be fit
    for a model with the parameter `like`.

    uint8 are pixels from 0 to 255; all other kinds of numbers must lie in [0, 1], unless `limits`
    is None. Arrays of NumPy, and whatever it makes an array of, go to the model's device; tensors
    must be there, and `rng` too.

    Raises:
        DataError: another shape or device, no cases, numbers that are not real, NaN (unless
            `missing`), infinity, or values out of range.
    """
    if rng is not None and rng.device != like.device:
        raise DataError(
            f"a generator on {rng.device} came to a model on {like.device}; expected one device: "
            f"rng of {like.device}"
        )
    if not isinstance(getattr(cases, "dtype", None), torch.dtype):
        cases = from_array(cases, "cases", like)
    elif isinstance(cases, Tensor):
        read("cases", cases)
    some = cases if isinstance(cases, Tensor) else cases[0:1]
    shape = (len(cases), *some.shape[1:]) if some.ndim else ()
    if len(shape) != 2 or shape[1] != width or not shape[0]:
        rows = len(shape) != 2 and math.prod(shape) % width == 0
        fix = f"; a row a case: cases.reshape(-1, {width})" if rows else ""
        raise DataError(
            f"cases of shape {shape} came to a model of {width} visible units; expected (N, "
            f"{width}), at least one case{fix}"
        )
    if some.device != like.device:
        raise DataError(
            f"cases on {some.device} came to a model on {like.device}; move them: "
            f"cases.to({str(like.device)!r})"
        )
    _check_values(cases, missing, limits is not None)
    return cases


def from_array(values: object, what: str, like: Tensor | None = None) -> Tensor:
    """Return a tensor as it is, and whatever NumPy can make an array of real numbers of as one,
    floats in the type and all where `like` is.

    Raises:
        DataError: it is no array of real numbers.
    """
    tensor = read(what, values)
    if tensor.is_meta:
        raise DataError(f"{what} on meta came, which holds no values; expected those of a device")
    if like is None or isinstance(values, Tensor):
        return tensor
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)


def _check_values(cases: Any, missing: bool, limited: bool = True) -> None:
    """Raise DataError unless cases (N, D) hold pixels, uint8, or numbers (in [0, 1] where
    `limited`); NaN pass where `missing`.
    """
    if cases.dtype == torch.bool:
        return
    pieces = (
        [cases]
        if isinstance(cases, Tensor)
        else [cases[start : start + 2000] for start in range(0, len(cases), 2000)]
    )
    low, high = (
        float(edge)
        for edge in _edges(
            [torch.nan_to_num(piece, nan=0.5) if missing else piece for piece in pieces]
        )
    )
    if not math.isfinite(low) or not math.isfinite(high):
        wrong = torch.stack([(~piece.isfinite()).sum(0) for piece in pieces]).sum(0)
        every = len(cases) * pieces[0].shape[1]
        raise DataError(
            f"{int(wrong.sum())} of {every} values of the cases are NaN or infinite, the first in "
            f"column {int((wrong > 0).int().argmax())}; expected "
            f"{'numbers in [0, 1]' if limited else 'finite numbers'}: leave such cases out, or "
            "fill them in (wakesleep.missing.impute draws what is missing from a trained RBM)"
        )
    if cases.dtype == torch.uint8:
        if high == 1:  # read as 0 to 255, binary cases would be all but black
            raise DataError(UINT8.format(name="cases"))
    elif limited and (low < -SLACK or high > 1 + SLACK):
        fix = (
            "divide by 255"
            if low >= 0 and high <= 255
            else ("scale them with (cases - cases.min()) / (cases.max() - cases.min())")
        )
        beyond = [((piece < -SLACK) | (piece > 1 + SLACK)).any(0) for piece in pieces]
        column = int(torch.stack(beyond).any(0).int().argmax())
        raise DataError(
            f"cases run from {low:.7g} to {high:.7g}; expected [0, 1], or uint8 for 0 to 255, and "
            f"column {column} is the first beyond: {fix}"
        )


def _edges(pieces: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value; NaN where one is NaN."""
    edges = [torch.aminmax(piece) for piece in pieces]
    return torch.stack([low for low, _ in edges]).min(), torch.stack(
        [high for _, high in edges]
    ).max()


def as_labels(labels: Tensor, cases: int, classes: int | None, lowest: int = 0) -> Tensor:
    """Return labels (N,) as int64, once they are seen to be one a case, whole numbers, and from
    `lowest` to classes - 1 (None: any number).

    Raises:
        DataError: they are not.
    """
    labels = from_array(labels, "labels")
    if (
        labels.ndim != 1
        or len(labels) != cases
        or not cases
        or labels.is_floating_point()
        or labels.is_complex()
    ):
        raise DataError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} came for {cases} "
            "cases; expected one whole number a case"
        )
    labels = labels.long()
    low, high = int(labels.min()), int(labels.max())
    if low < lowest or (classes is not None and high >= classes):
        expected = f"{lowest} or more" if classes is None else f"{lowest} to {classes - 1}"
        raise DataError(
            f"{len(labels)} labels from {low} to {high} for {cases} cases; expected {expected}"
        )
    return labels


def as_weights(weights: Tensor | None, cases: int) -> Tensor | None:
    """Return what says how often each case is shown, (N,), once it is seen to be one number a case,
    none below 0, some above; None as it is.

    Raises:
        DataError: it is not.
    """
    if weights is None:
        return None
    weights = from_array(weights, "weights of cases")
    if weights.shape != (cases,) or weights.is_complex():
        raise DataError(
            f"weights of shape {tuple(weights.shape)} came for {cases} cases; expected "
            f"({cases},), one number a case"
        )
    total = float(weights.double().sum())
    if not 0 < total < math.inf or bool((weights < 0).any()):
        raise DataError(
            f"weights of cases that sum to {total:g} came; expected numbers of 0 or more, at "
            "least one above 0"
        )
    return weights


def check_pictures(width: int, shape: tuple[int, int]) -> None:
    """Raise DataError unless cases of so many columns are pictures of `shape`, (rows, columns)."""
    if min(shape) < 1 or shape[0] * shape[1] != width:
        raise DataError(
            f"shape = {shape}: expected rows and columns, at least 1 each, that make the {width} "
            "pixels of a picture"
        )


def labels_in_proportion(labels: Tensor, count: int) -> Tensor:
    """Return `count` labels in ascending order, (count,), in the proportions of `labels` (N,)."""
    position = (torch.arange(count, device=labels.device) + 0.5) * (len(labels) / count)
    return labels.sort().values[position.long()]


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a row a label with a 1 in the label's column, (N, classes); unlike PyTorch's it looks
    at no label, so it waits for no device.
    """
    return torch.zeros(*labels.shape, classes, dtype=dtype, device=labels.device).scatter_(
        -1, labels.unsqueeze(-1), 1.0
    )


def chunks(cases: Tensor | Rows, size: int = 2000) -> Iterator[Tensor]:
    """Yield `cases` in consecutive pieces of at most `size` rows, as probabilities, so that memory
    stays flat.
    """
    for start in range(0, len(cases), size):
        yield as_probs(cases[start : start + size])


def moments(
    cases: Tensor | Rows, weights: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of each column of `cases` (N, D) as probabilities or
    numbers: (D,) each, float64.

    Each case counts as its weight (N,) says, and in the columns that a mask, (N, D) or (1, D), says
    are there; of those that never are, both are 0.
    """
    total = square = count = torch.zeros((), dtype=torch.float64)
    start = 0
    for chunk in chunks(cases):
        rows = slice(start, start + len(chunk))
        start += len(chunk)
        count, total, square = (
            part.to(chunk.device) + more
            for part, more in zip(
                (count, total, square), _sums(chunk, weights, mask, rows), strict=True
            )
        )
    count = count.clamp(min=1e-300)
    mean = total / count
    return mean, (square / count - mean.square()).clamp(min=0)


def mean_of(
    function: Callable[[Tensor], Tensor], cases: Tensor | Rows, weights: Tensor | None = None
) -> Tensor:
    """Return the mean over cases of what `function` makes of each chunk (n, D), (n, M): (M,),
    float64; each case counts as its weight (N,) says.
    """
    total, start = torch.zeros((), dtype=torch.float64), 0
    for chunk in chunks(cases):
        rows = slice(start, start + len(chunk))
        start += len(chunk)
        values = function(chunk).double()
        values = values if weights is None else values * weights[rows].to(values)[:, None]
        total = total.to(chunk.device) + values.sum(0)
    return total / (len(cases) if weights is None else float(weights.double().sum()))


def _sums(
    chunk: Tensor, weights: Tensor | None, mask: Tensor | None, rows: slice
) -> tuple[Tensor | int, Tensor, Tensor]:
    """Return how many cases each column has, its sum and the sum of its squares, float64."""
    if weights is None and mask is None:
        return len(chunk), chunk.sum(0).double(), chunk.double().square().sum(0)
    shares = torch.ones_like(chunk, dtype=torch.float64)
    if weights is not None:
        shares *= weights[rows].to(shares)[:, None]
    if mask is not None:
        shares *= (mask if len(mask) == 1 else mask[rows]).to(shares)
    values = chunk.double()
    return shares.sum(0), (shares * values).sum(0), (shares * values.square()).sum(0)


def order(
    labels: Tensor | None, n: int, rng: torch.Generator, weights: Tensor | None = None
) -> Tensor:
    """Return a random order of n cases, shape (n,), in which every run of consecutive cases is
    balanced by class.

    Each class is shuffled and spread evenly over the epoch: the r-th of n_c cases gets a place
    drawn from [r, r+1)/n_c. Every case comes once an epoch; where each class has as many cases as
    there are minibatches times ten, each minibatch holds exactly ten of each (Hinton, Osindero &
    Teh 2006, section 6.1). Without labels: a plain random order. With `weights` (n,), a case comes
    in proportion to its weight: n w_i / sum w times, rounded up or down at random, so that weights
    change what is shown and no gradient.
    """
    shuffled = permutation(n, rng)
    if weights is not None:
        shuffled = shuffled[_in_proportion(weights.to(rng.device)[shuffled], rng)][
            permutation(n, rng)
        ]
    if labels is None:
        return shuffled
    label = labels.to(rng.device)[shuffled]
    by_class = torch.argsort(label, stable=True)
    counts = torch.bincount(label)
    starts = torch.cumsum(counts, 0) - counts
    sorted_label = label[by_class]
    rank = torch.arange(n, device=rng.device) - starts[sorted_label]
    jitter = torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)
    position = (rank + jitter) / counts[sorted_label]
    return shuffled[by_class[torch.argsort(position)]]


def _in_proportion(weights: Tensor, rng: torch.Generator) -> Tensor:
    """Return n case numbers in ascending order, (n,), each drawn n w_i / sum w times, rounded up or
    down (systematic sampling).
    """
    ends = torch.cumsum(weights.double(), 0)
    places = torch.arange(len(weights), device=rng.device) + torch.rand(
        (), generator=rng, device=rng.device, dtype=torch.float64
    )
    return torch.searchsorted(ends, places * (ends[-1] / len(weights)), right=True).clamp_(
        max=len(weights) - 1
    )
