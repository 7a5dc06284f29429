"""What a tensor that comes in must be, and tensors made of what may stand for one: an array of
NumPy, a list of numbers.

`Expected` goes into an annotation, `Annotated[Tensor, Expected("N visible")]`. The names of axes
mean the sizes that the models and units among the arguments tell (`axis_sizes`); any other name
means one length in all tensors of a call, and "_" any length.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import DataError

UINT8 = (
    "{name} are uint8 but run from 0 to 1; uint8 means pixels from 0 to 255: give binary cases as "
    "{name}.bool()"
)
_MOST = 2**62
Kind = Literal["numbers", "counts", "cases", "labels", "mask", "changed", "written", "any"]
"""Real numbers of the model's type; those that are whole and not below 0; numbers of any type,
whose values the function looks at; whole numbers of a whole type; True or False (or 1 and 0); a
tensor that the function moves on in place, and one that it only writes to: nothing else can stand
for these two; numbers of any type, as they are.
"""


class Sizes:
    """What the arguments of one call say of each other: the length of each axis, by its name, and
    the type and device of the model's numbers.
    """

    def __init__(self, arguments: Iterable[Any]) -> None:
        self.axes: dict[str, int] = {}
        self.like: Tensor | None = None
        self.first: Tensor | None = None
        """The first of the tensors that came."""
        self.batch: tuple[int, ...] | None = None
        """What "..." stands for."""
        self.models = False
        """Whether there are models or units of this package."""
        for owner in _owners(arguments):
            sizes = _linear_sizes(owner) if isinstance(owner, nn.Sequential) else None
            if sizes is None:
                sizes = getattr(owner, "axis_sizes", {})
                self.models |= bool(sizes)
            for name, length in sizes.items():
                self.axes.setdefault(name, length)
            if self.like is None and isinstance(owner, nn.Module) and not any_type(owner):
                own = getattr(owner, "like", None)
                self.like = next(owner.parameters(), None) if own is None else own

    def apart(self) -> Sizes:
        """Return a copy, so that what is learned of lengths from now on stays apart."""
        copied = copy(self)
        copied.axes = dict(self.axes)
        return copied

    def fits(self, shape: tuple[int, ...], axes: str) -> bool:
        """Return whether a tensor of this shape has these axes; if so, lengths that were not known
        are from now on.
        """
        if axes == "*":
            return True
        names, batch = _tokens(axes), None
        if names[0] == "...":
            names = names[1:]
            before = max(len(shape) - len(names), 0)
            batch, shape = shape[:before], shape[before:]
            if self.batch is not None and batch != self.batch:
                return False
        if len(names) != len(shape):
            return False
        new = {} if batch is None else {"N": batch[-1] if batch else 1}
        for token, length in zip(names, shape, strict=True):
            name = token if token[-1] not in "?+" else token[:-1]
            if token.endswith("?") and length == 1:
                continue
            known = int(name) if name.isdigit() else self.axes.get(name)
            if known is None and length == 0 and token != "N":
                return False
            if name != "_":
                new[name] = length
            elif length == 0:
                return False
            if known is not None and length != known:
                return False
        if any(self.axes.get(name, length) != length for name, length in new.items()):
            return False
        self.axes |= new
        self.batch = self.batch if batch is None else batch
        return True

    def words(self, axes: str) -> str:
        """Return axes as a shape, "(N, 784)"."""
        if axes == "*":
            return "of any shape"
        tokens = axes.split()
        names = [
            ", ".join(["...", *map(str, self.batch or ())][bool(self.batch) :])
            if token == "..."
            else str(self.axes.get(token.rstrip("?+"), token.rstrip("?+")))
            for token in tokens
        ]
        shape = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
        one = [token if not token.endswith("?") else "1" for token in tokens]
        return shape if one == tokens else f"{shape} or {self.words(' '.join(one))}"


@functools.cache
def _tokens(axes: str) -> list[str]:
    return axes.split()


def _linear_sizes(net: nn.Sequential) -> dict[str, int]:
    """Return the sizes of a feed-forward net's inputs and outputs."""
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    if not layers:
        return {}
    return {"pixels": layers[0].in_features, "labels": layers[-1].out_features}


def any_type(module: nn.Module) -> bool:
    """Return whether a module takes numbers of any floating type, as units do; models multiply
    them with weights, which takes one.
    """
    return bool(getattr(module, "any_type", False))


def _owners(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the models and units among the arguments, and those that records and replicas hold."""
    for value in values:
        if isinstance(value, nn.Module):
            if "_parameters" in value.__dict__:  # not in its own constructor
                yield value
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            yield from _owners(value)
        elif isinstance(machines := getattr(value, "machines", None), list):
            yield from _owners(machines[-1:])


@dataclass(frozen=True)
class Expected:
    """What the tensor of a parameter must be."""

    axes: str
    """The names of its axes, with a blank between; "..." first stands for any number of them, and
    "N?" may be 1, "N+" is at least 1; "*" is any shape. Several shapes are parted by " | ".
    """
    kind: Kind = "numbers"
    holes: bool = False
    """Whether NaN may come, for what is missing."""
    infinite: bool = False
    """Whether infinity may come, as in logarithms of 0."""
    most: float = math.inf
    """The largest value."""
    any_type: bool = False
    """Whether the type, if a floating one, and the device need not be the model's."""

    least: int = 0
    """The lowest number of a label."""
    array: bool = False
    """Whether the function takes an array of NumPy."""

    def convert(self, name: str, value: Any, sizes: Sizes) -> Any:
        """Return the value of the parameter `name` as a tensor (or array) of this kind.

        Raises:
            DataError: it is none, or has another shape, type, device or values.
        """
        tensor = self._read(name, value, sizes)
        if not any(sizes.fits(tuple(tensor.shape), axes) for axes in self.axes.split(" | ")):
            raise DataError(
                f"{name} of shape {tuple(tensor.shape)} came; expected {self.words(sizes)}"
                + ("" if tensor.ndim != 1 or "N" not in self.axes else ", a row a case")
            )
        like = None if self.any_type else sizes.like
        beside = like if like is not None else sizes.first
        if not self.any_type or tensor.is_meta:
            tensor = self._there(name, tensor, beside, came=isinstance(value, Tensor))
        if self.kind == "any":
            return tensor
        sizes.first = tensor if sizes.first is None else sizes.first
        if self.kind == "labels":
            return self._as_labels(name, tensor, sizes.axes.get("labels"))
        if self.kind == "mask":
            return self._as_mask(name, tensor)
        if self.kind in ("changed", "written") and like is None:
            like = beside if beside is not None and beside.is_floating_point() else tensor
        numbers = self._as_numbers(name, tensor, like)
        return numbers.detach().cpu().numpy() if self.array else numbers

    def _there(self, name: str, tensor: Tensor, beside: Tensor | None, came: bool) -> Tensor:
        """Return a tensor on the device of the one beside it: arrays, labels and single numbers
        move there, others must be there.
        """
        device = torch.device("cpu") if beside is None else beside.device
        if tensor.device == device or (beside is None and not tensor.is_meta):
            return tensor
        if tensor.is_meta or (came and tensor.ndim and self.kind != "labels"):
            raise DataError(
                f"{name} on {tensor.device} came to a model on {device}; move them: "
                f"{name}.to({str(device)!r})"
            )
        return tensor.to(device)

    def words(self, sizes: Sizes) -> str:
        """Return the shapes that may come."""
        return " or ".join(sizes.words(axes) for axes in self.axes.split(" | "))

    def _read(self, name: str, value: Any, sizes: Sizes) -> Tensor:
        """Return a tensor as it is, and an array or a list of numbers as one."""
        if self.kind in ("changed", "written") and not isinstance(value, Tensor):
            raise DataError(
                f"{name} of type {type(value).__name__} came, and is written to: expected a "
                f"tensor, {self.words(sizes)}"
            )
        expected = f"a dense tensor or array of real numbers, {self.words(sizes)}"
        tensor = read(name, value, expected)
        if isinstance(value, list | tuple) and tensor.dtype == torch.float64:
            return tensor.to(torch.get_default_dtype())
        return tensor

    def _as_labels(self, name: str, tensor: Tensor, count: int | None) -> Tensor:
        if tensor.is_floating_point():
            raise DataError(
                f"{name} of {tensor.dtype} came; expected whole numbers from 0: {name}.long()"
            )
        numbers = tensor.long()
        if tensor.is_cpu and _some((numbers < self.least) | (numbers >= (count or _MOST))):
            most = "" if count is None else f" to {count - 1}"
            raise DataError(
                f"{name} from {int(numbers.min())} to {int(numbers.max())} came; expected numbers "
                f"from {self.least}{most}"
            )
        return numbers

    def _as_mask(self, name: str, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool:
            return tensor
        if _some((tensor != 0) & (tensor != 1)):
            raise DataError(f"{name}: values other than 0 and 1 came; expected True and False")
        return tensor != 0

    def _as_numbers(self, name: str, tensor: Tensor, like: Tensor | None) -> Tensor:
        wanted = torch.get_default_dtype() if like is None else like.dtype
        if self.kind in ("changed", "written"):
            if tensor.dtype != wanted or not tensor.is_floating_point():
                raise DataError(
                    f"{name} of {tensor.dtype} came, and is written to: expected {wanted}"
                )
        elif self.kind != "cases":
            if not tensor.is_floating_point():
                tensor = self._from_whole(name, tensor, wanted)
            elif like is not None:
                tensor = tensor.to(wanted)
        if tensor.dtype == torch.uint8 and _some(tensor == 1) and not _some(tensor > 1):
            raise DataError(UINT8.format(name=name))
        if self.kind == "written" or not tensor.is_cpu:
            return tensor  # to look at its values would wait for the device
        if self.kind == "counts" and _some((tensor < 0) | (tensor != tensor.round())):
            raise DataError(f"{name}: expected whole numbers of 0 or more, as counts are")
        values = tensor.float() if self.kind == "cases" else tensor
        if not self._values_fit(values):
            bad = ~torch.isfinite(values)
            at = f", the first in column {int(bad.any(0).int().argmax())}" if bad.ndim == 2 else ""
            raise DataError(
                f"{name}: {int(bad.sum())} of {tensor.numel()} values are NaN or infinite{at}; "
                "expected numbers: leave such cases out, or fill them in "
                "(wakesleep.missing.impute)"
            )
        if self.most < math.inf and _some(values > self.most):
            raise DataError(
                f"{name}: a value of {float(values.max()):.4g} came; expected {self.most:g} at most"
            )
        return tensor

    def _from_whole(self, name: str, tensor: Tensor, wanted: torch.dtype) -> Tensor:
        if tensor.dtype == torch.uint8 and _some(tensor > 1):
            raise DataError(
                f"{name} of torch.uint8 with values above 1 came, which may be pixels or counts; "
                f"say which: {name} / 255, or {name}.float()"
            )
        numbers = tensor.to(wanted)
        if tensor.dtype.itemsize > 1 and _some(numbers.to(tensor.dtype) != tensor):
            raise DataError(
                f"{name}: whole numbers came that {wanted} does not hold; expected smaller ones"
            )
        return numbers

    def _values_fit(self, tensor: Tensor) -> bool:
        if tensor.is_meta:
            return True
        if self.holes and self.infinite:
            return True
        if self.holes:
            return not _some(torch.isinf(tensor))
        if type(tensor) is Tensor and not tensor.requires_grad and not self.infinite:
            return _sums_to_a_number(tensor) or not _some(~torch.isfinite(tensor))
        return not _some(torch.isnan(tensor) if self.infinite else ~torch.isfinite(tensor))


def read(
    name: str, value: object, expected: str = "a dense tensor or array of real numbers"
) -> Tensor:
    """Return a tensor as it is, and whatever NumPy reads as an array of real numbers as one.

    Raises:
        DataError: it is none.
    """
    if isinstance(value, Tensor):
        if value.dtype.is_complex or value.layout != torch.strided or value.is_quantized:
            kind = value.dtype if value.layout == torch.strided else value.layout
            raise DataError(f"{name} of type {kind} came; expected {expected}")
        return value
    try:
        rows = [_plain(each) for each in value] if isinstance(value, list | tuple) else value
        array = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} of type {type(value).__name__} cannot be read as an array ({error}); "
            f"expected {expected}"
        ) from error
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{name} of type {type(value).__name__} hold {array.dtype}; expected {expected}"
        )
    if array.dtype.kind in "ui" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def _plain(value: Any) -> Any:
    """Return a tensor in a list as an array, so that NumPy reads a list of tensors."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _sums_to_a_number(tensor: Tensor) -> bool:
    """Return whether the sum is finite, which is quick to see: then all numbers are."""
    try:
        return math.isfinite(float(tensor.sum()))
    except RuntimeError:  # as `_some`
        return True


def _some(condition: Tensor) -> bool:
    """Return whether something is True; False where values are not there to be looked at, as while
    PyTorch traces a function.
    """
    if type(condition) is not Tensor or condition.is_meta:
        return False
    try:
        return bool(condition.any())
    except RuntimeError:  # under torch.func.vmap
        return False
