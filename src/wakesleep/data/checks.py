"""What every case and label must satisfy before a network sees it; a refusal says what came, what
was expected, and the fix.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.errors import DataError

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]

# A stray huge label would otherwise claim a label group (and a tuple of class names) of that size.
MOST_CLASSES = 10_000


def as_array(values: object, what: str) -> Array:
    """Return any array-like or tensor as a numpy array of real numbers, without a copy where that
    is possible.

    Raises:
        DataError: ragged lists, strings, objects, complex numbers, sparse or otherwise unreadable
            input.
    """
    try:
        # without it there are none, and arrays need no PyTorch
        tensors: Any = sys.modules.get("torch")
        tensor: Any = values if tensors is not None and isinstance(values, tensors.Tensor) else None
        if tensor is not None:
            tensor = tensor.detach().cpu()
            values = (
                tensor.float()
                if tensor.is_floating_point() and tensor.dtype.itemsize < 4
                else tensor
            ).numpy()  # NumPy does not know all of these
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{what} cannot be read as an array ({error}); give a dense, rectangular numpy "
            "array or tensor"
        ) from error
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{what} hold {array.dtype} values; expected real numbers: convert them with "
            ".astype('float32') (images) or number the classes 0, 1, 2, ... (labels)"
        )
    return array


def shape_of(images: object) -> tuple[int, int]:
    """Return (rows, columns) of one picture: as given for (N, rows, columns), square where D allows
    it, otherwise (1, D).
    """
    array = as_array(images, "images")
    if array.ndim == 3:
        return array.shape[1], array.shape[2]
    if array.ndim != 2:
        fix = (
            "make their colours grey, images.mean(-1)"
            if array.ndim == 4 and array.shape[-1] in (3, 4)
            else "reshape them"
        )
        raise DataError(
            f"images have shape {array.shape}; expected (N, rows, columns) or (N, D): {fix}"
        )
    pixels = array.shape[1]
    side = int(pixels**0.5 + 0.5)
    return (side, side) if side * side == pixels else (1, pixels)


def check_images(images: object) -> torch.Tensor:
    """Return images as cases, one row each: uint8 stays uint8 (pixels 0..255), everything else
    becomes float32 in [0, 1].

    The result may share memory with what was given.

    Args:
        images: (N, D) or (N, rows, columns); uint8, or bool, integer or float within [0, 1].

    Returns:
        (N, D) torch.uint8 or torch.float32.

    Raises:
        DataError: empty, NaN, infinite or out of range, of a wrong dtype or number of dimensions.

    >>> check_images([[0.0, 0.5], [1.0, 0.25]]).shape
    torch.Size([2, 2])
    """
    import torch

    return torch.from_numpy(image_rows(images))


def image_rows(images: object) -> Array:
    """Return what `check_images` returns, as an array."""
    array = as_array(images, "images")
    shape_of(array)
    if array.size == 0:
        raise DataError(
            f"images have shape {array.shape}, so there is nothing to learn from; expected at "
            "least one case and one pixel"
        )
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f"{bad} of {array.size} pixels are NaN or infinite; expected [0, 1]: fill them, e.g. "
            "with np.nan_to_num(X)"
        )
    array = array.reshape(len(array), -1)
    if array.dtype == np.uint8:
        if high == 1:
            # Read as 0..255 a binary set would be all but black, and learning would fail without a
            # word.
            raise DataError(
                "pixels are uint8 but run from 0 to 1; uint8 means 0..255: cast binary pixels "
                "with X.astype(bool)"
            )
        return np.require(array, np.uint8, ["C", "W"])
    slack = 1e-6  # resampling and float32 division overshoot by about a rounding error
    if low < -slack or high > 1 + slack:
        fix = (
            "divide by 255"
            if low >= 0 and 1 < high <= 255
            else ("scale with (X - X.min()) / (X.max() - X.min())")
        )
        raise DataError(
            f"pixels run from {low:.7g} to {high:.7g}; expected [0, 1], or uint8 for 0..255: {fix}"
        )
    cases = np.require(array, np.float32, ["C", "W"])
    return cases.clip(0, 1) if low < 0 or high > 1 else cases


def check_labels(labels: object, n: int, classes: int | None = None) -> torch.Tensor:
    """Return the labels of n cases as int64.

    Args:
        labels: (n,) integers 0..classes-1.
        n: the number of cases they belong to.
        classes: the number of classes; None takes it from the labels.

    Returns:
        (n,) torch.int64.

    Raises:
        DataError: another length, fractions, labels below 0 or not below `classes`.

    >>> check_labels([0, 2, 1], 3).tolist()
    [0, 2, 1]
    """
    import torch

    return torch.from_numpy(label_numbers(labels, n, classes))


def label_numbers(labels: object, n: int, classes: int | None = None) -> Array:
    """Return what `check_labels` returns, as an array."""
    array = as_array(labels, "labels")
    if array.ndim != 1:
        raise DataError(
            f"labels have shape {array.shape}; expected ({n},): use labels.argmax(1) for "
            "one-of-C, labels.ravel() for a column"
        )
    if len(array) != n:
        raise DataError(
            f"{len(array)} labels came for {n} images; expected one label for each image"
        )
    if n == 0:
        raise DataError("there are no labels; expected at least one case")
    if array.dtype.kind == "f":
        raise DataError(
            f"labels are {array.dtype}; expected integers 0, 1, 2, ...: convert with "
            "labels.astype('int64')"
        )
    low, high, most = int(array.min()), int(array.max()), classes or MOST_CLASSES
    if low < 0 or high >= most:
        raise DataError(
            f"labels out of range: they run from {low} to {high}; expected 0 to {most - 1}: "
            "renumber with np.unique(labels, return_inverse=True)[1]"
        )
    return np.array(array, np.int64)
