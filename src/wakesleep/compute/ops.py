"""The operations everything is made of, as formulas and shapes, and which implementation serves a
tensor.

`reference.Reference` is what each operation means, in plain PyTorch. `fused.Fused`, `cpu.CPU` and
`cuda.CUDA` do the same faster; each falls back to the one before it for tensors that it does not
support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from wakesleep.compute import select
from wakesleep.foundation.errors import DataError


class Product(NamedTuple):
    """A term of the gradient of a weight (from, to): scale * left'right, for left (n, from) and
    right (n, to).
    """

    left: Tensor
    right: Tensor
    scale: float


class RowSum(NamedTuple):
    """A term of the gradient of a bias (units,): scale * the sum of `rows` (n, units)."""

    rows: Tensor
    scale: float


class Dense(NamedTuple):
    """A term of a gradient as it is: scale * value, in the shape of the parameter."""

    value: Tensor
    scale: float


Term = Product | RowSum | Dense
"""What a gradient is a sum of. Products and row sums stay unformed, so that an update can form them
where they are needed.
"""
Step = Callable[..., None]
"""What one minibatch does: tensors that say which cases -> changes, in place, of what it knows
of.
"""


class Operations(Protocol):
    """What a backend offers. All write to `out` where it is given, and return what they wrote."""

    synchronous: bool
    """Whether Python can look at a number without waiting for earlier operations: so on a CPU, not
    on a GPU.
    """
    capturable: bool
    """Whether steps may be captured, so that optimizers must keep their counts in tensors."""

    def affine(
        self, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Return states W + b, (n, to), for states (n, from), weight (from, to) and bias (to,)."""
        ...

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        """Return left'right, (l, r), for left (n, l) and right (n, r)."""
        ...

    def bernoulli_layer(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        n_bernoulli: int,
        *,
        mean: Tensor | None = None,
        sample: Tensor | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        """Write sigm(states W + b) to `mean`, and states drawn with these probabilities to
        `sample`, both (n, to); either may be None.

        Only the first `n_bernoulli` columns are binary units: the others get their total input,
        states W + b, in both.
        """
        ...

    def sample_bernoulli(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return 1 with probability `mean`, else 0, in the shape and type of `mean`; `out` is never
        `mean` itself.
        """
        ...

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return sum_j softplus(x_j + w_j) - softplus(x_j), (n, R), for each x of `total_input` (n,
        units) and w of `rows` (R, units).
        """
        ...

    def momentum_step(
        self,
        parameter: Tensor,
        velocity: Tensor | None,
        terms: Sequence[Term],
        *,
        rate: float,
        momentum: float,
        decay: float = 0.0,
        copy: Tensor | None = None,
    ) -> None:
        """Move a parameter up its gradient, the sum of `terms`, in place (Hinton 2010, sections 7,
        9 and 10).

        v <- momentum * v + rate * (gradient - decay * p);  p <- p + v;  copy <- p

        Without a velocity there is no momentum. `copy` is the parameter in lower precision, where
        there is one.
        """
        ...

    def sum_terms(self, terms: Sequence[Term], out: Tensor) -> Tensor:
        """Return the sum of `terms`, written to `out`."""
        ...

    def gather(self, cases: Tensor, index: Tensor, out: Tensor) -> Tensor:
        """Return rows `index` (n,) of `cases` (N, D), written to `out` (n, D); uint8 pixels are
        divided by 255.
        """
        ...

    def copy_all(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """Copy each source to its target, which may be of another type."""
        ...

    def learning(self) -> AbstractContextManager[None]:
        """Make the device ready for minibatches of learning, whose products may be less exact than
        those of a likelihood.
        """
        ...

    def mixed_precision(self, dtype: torch.dtype | None) -> AbstractContextManager[object]:
        """Let PyTorch's layers multiply in `dtype` and keep their weights; None and float32 change
        nothing.
        """
        ...

    def replay(self, step: Step, rng: torch.Generator, minibatches: int) -> Step:
        """Return what does the same as `step`, perhaps captured once and replayed; `minibatches` of
        the full size will come.
        """
        ...

    def synchronize(self) -> None:
        """Wait until all that was asked for is done: for measuring time."""
        ...


@cache
def operations(device_type: str) -> Operations:
    """Return what does the operations on a kind of device ("cpu", "cuda", ...) with the backend in
    use (`select.backend`).
    """
    backend = select.backend()
    if backend == "reference":
        from wakesleep.compute.reference import Reference

        return Reference(device_type)
    if device_type == "cpu":
        from wakesleep.compute.cpu import CPU

        return CPU(kernels=backend == "auto")
    if device_type == "cuda":
        from wakesleep.compute.cuda import CUDA

        return CUDA(kernels=backend == "auto")
    from wakesleep.compute.fused import Fused

    return Fused(device_type)


def of(tensor: Tensor) -> Operations:
    """Return what does the operations on the device of `tensor`."""
    return operations("cpu" if tensor.is_cpu else tensor.device.type)


def use_backend(name: str | None) -> None:
    """Take a backend of `select.BACKENDS` from now on in this process; with None, what
    WAKESLEEP_BACKEND asks for.

    Raises:
        ConfigError: an unknown name.
    """
    select.set_backend(name)
    operations.cache_clear()


@contextmanager
def backend(name: str | None) -> Iterator[None]:
    """Take a backend of `select.BACKENDS` meanwhile."""
    before = select.chosen_backend()
    use_backend(name)
    try:
        yield
    finally:
        use_backend(before)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type to sum numbers of `dtype` in: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


MISFITS = (RuntimeError, TypeError, AttributeError, IndexError)
"""What PyTorch raises when tensors do not fit each other; only then are they looked at, so that
good ones cost nothing.
"""


def differentiates(*tensors: Tensor) -> bool:
    """Return whether autograd follows what is made of these tensors, so that nothing may be written
    to a buffer.
    """
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def affine(states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `Operations.affine`, once the states are seen to fit.

    Raises:
        DataError: states of another shape, type or device than the weights ask for.
    """
    try:
        return of(weight).affine(states, weight, bias, out)
    except MISFITS:
        require_fit(states, weight)
        raise


def require_fit(states: object, weight: Tensor) -> None:
    """Raise DataError unless states are (n, from), of the type and on the device of weight (from,
    to).
    """
    if not isinstance(states, Tensor):
        raise DataError(
            f"states of type {type(states).__name__} came; expected a tensor (N, "
            f"{weight.shape[0]}): torch.as_tensor(states, dtype={weight.dtype})"
        )
    if states.ndim != 2 or states.shape[1] != weight.shape[0]:
        raise DataError(
            f"states of shape {tuple(states.shape)} came to {weight.shape[0]} units; expected (N, "
            f"{weight.shape[0]}), a row a case"
        )
    if states.device != weight.device:
        raise DataError(
            f"states on {states.device} came to a model on {weight.device}; move them: "
            f"states.to({str(weight.device)!r})"
        )
    if states.dtype != weight.dtype:
        raise DataError(
            f"states of {states.dtype} came to a model of {weight.dtype}; expected one type: "
            f"states.to({weight.dtype})"
        )
