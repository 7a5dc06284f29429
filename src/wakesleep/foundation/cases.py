"""Cases on the device: uint8 until used, probabilities in [0, 1] once gathered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from wakesleep.foundation import native, products
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import permutation

UNLABELLED = -1
"""The label of a case whose label nobody knows."""


class Rows(Protocol):
    """Cases that are no tensor, such as a sparse matrix: rows come as one, dense and on the device, when they are asked for."""

    dtype: torch.dtype

    def __len__(self) -> int:
        """How many cases there are."""
        ...

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return the cases of `index`, (n, D)."""
        ...


def as_probs(cases: Tensor) -> Tensor:
    """Return cases as float32 in [0, 1], same shape: uint8 pixels are divided by 255, floats pass through."""
    return cases.to(torch.float32).div_(255.0) if cases.dtype == torch.uint8 else cases.to(torch.float32)


def gather(cases: Tensor | Rows, index: Tensor, out: Tensor) -> Tensor:
    """Write rows `index` (n,) of `cases` (N, D) into `out` (n, D) as probabilities; the only copy a minibatch makes."""
    if cases.dtype == torch.uint8:
        if isinstance(cases, Tensor) and products.suit_kernels(out) and cases.stride(1) == out.stride(1) == 1:
            from wakesleep.foundation import kernels

            kernels.gather(cases, index, out)
            return out
        if isinstance(cases, Tensor) and out.dtype in native.TYPES and index.dtype == torch.int64 and native.suits(out, cases, index):
            native.gather(cases, index, out)
            return out
        if out.is_cuda:
            return torch.div(take(cases, index), 255.0, out=out)
        pixels = take(cases, index)  # a processor is slow at steps of mixed types, and fast at turning one type into another
        return out.copy_(pixels).div_(255.0) if out.dtype == torch.float32 else out.copy_(pixels.float().div_(255.0))
    if isinstance(cases, Tensor) and cases.dtype == out.dtype:
        return torch.index_select(cases, 0, index, out=out)
    return out.copy_(take(cases, index))


def take(cases: Tensor | Rows, index: Tensor) -> Tensor:
    """Return rows `index` (n,) of `cases` as they are, (n, D); for tensors a tenth of what indexing costs, which looks at each element."""
    return torch.index_select(cases, 0, index) if isinstance(cases, Tensor) else cases[index]


def require_binary(cases: Tensor) -> None:
    """Raise DataError unless every value of `cases` is 0 or 1 (0 or 255 in uint8 pictures counts as that too)."""
    for chunk in chunks(cases):
        other = (chunk != 0) & (chunk != 1)
        if bool(other.any()):
            raise DataError(
                f"cases with a value of {float(chunk[other][0]):.4g} came, and the likelihood of binary units wants only 0 and 1; draw binary "
                "cases from their intensities (cases.draw_binary, on the command line --binarise sample), or round them (--binarise round)"
            )


def draw_binary(cases: Tensor, rng: torch.Generator) -> Tensor:
    """Return binary cases drawn with intensities (N, D) in [0, 1] as probabilities, float32: what those mean to the model."""
    probs = as_probs(cases)
    return torch.rand(probs.shape, generator=rng, device=rng.device).to(probs.device).lt_(probs)


def as_labels(labels: Tensor, cases: int, classes: int, lowest: int = 0) -> Tensor:
    """Return labels (N,) as int64, once they are seen to be one a case, whole numbers, and from `lowest` to classes - 1.

    Raises:
        DataError: they are not.
    """
    if labels.ndim != 1 or len(labels) != cases or not cases or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} came for {cases} cases; expected one whole number a case"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < lowest or high >= classes:
        raise DataError(f"{len(labels)} labels from {low} to {high} for {cases} cases; expected {lowest} to {classes - 1}")
    return labels.long()


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a row a label with a 1 in the label's column, (N, classes); unlike PyTorch's it looks at no label, so it waits for no device."""
    return torch.zeros(*labels.shape, classes, dtype=dtype, device=labels.device).scatter_(-1, labels.unsqueeze(-1), 1.0)


def chunks(cases: Tensor | Rows, size: int = 2000) -> Iterator[Tensor]:
    """Yield `cases` in consecutive pieces of at most `size` rows, as probabilities, so that memory stays flat."""
    for start in range(0, len(cases), size):
        yield as_probs(cases[start : start + size])


def order(labels: Tensor | None, n: int, rng: torch.Generator, weights: Tensor | None = None) -> Tensor:
    """Return a random order of n cases, shape (n,), in which every run of consecutive cases is balanced by class.

    Each class is shuffled and spread evenly over the pass: the r-th of n_c cases gets a place drawn from [r, r+1)/n_c. Every case
    comes once a pass; where each class has as many cases as there are minibatches times ten, each minibatch holds exactly ten of
    each (Hinton, Osindero & Teh 2006, section 6.1). Without labels: a plain random order. With `weights` (n,), a case comes in proportion
    to its weight: n w_i / sum w times, rounded up or down at random, so that weights change what is shown and no gradient.
    """
    shuffled = permutation(n, rng)
    if weights is not None:
        shuffled = shuffled[_in_proportion(weights.to(rng.device)[shuffled], rng)][permutation(n, rng)]
    if labels is None:
        return shuffled
    label = labels.to(rng.device)[shuffled]
    by_class = torch.argsort(label, stable=True)
    counts = torch.bincount(label)
    starts = torch.cumsum(counts, 0) - counts
    sorted_label = label[by_class]
    rank = torch.arange(n, device=rng.device) - starts[sorted_label]
    jitter = torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)
    place = (rank + jitter) / counts[sorted_label]
    return shuffled[by_class[torch.argsort(place)]]


def _in_proportion(weights: Tensor, rng: torch.Generator) -> Tensor:
    """Return n case numbers in ascending order, (n,), each drawn n w_i / sum w times, rounded up or down (systematic sampling)."""
    ends = torch.cumsum(weights.double(), 0)
    places = torch.arange(len(weights), device=rng.device) + torch.rand((), generator=rng, device=rng.device, dtype=torch.float64)
    return torch.searchsorted(ends, places * (ends[-1] / len(weights)), right=True).clamp_(max=len(weights) - 1)
