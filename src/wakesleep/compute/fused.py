"""The operations by PyTorch's own faster ways: products that add to what they move, and the fused
step of its optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense, Product, RowSum, Term, accumulation_dtype
from wakesleep.compute.reference import Reference


class Fused(Reference):
    """`reference.Reference` on any device, with fewer passes through memory."""

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
        """Add products to what they move, or form a single term and take one fused step."""
        if velocity is None:
            self._add_terms(parameter, terms, keep=1 - rate * decay, rate=rate)
        elif (
            momentum
            and len(terms) == 1
            and rate * terms[0].scale
            and (change := self._formed_alone(terms[0], velocity)) is not None
        ):
            fused_step(
                parameter,
                velocity,
                change,
                momentum=momentum,
                factor=rate * terms[0].scale,
                decayed=rate * decay,
            )
        else:
            self._add_terms(velocity, terms, keep=momentum, rate=rate)
            if decay:
                fused_step(
                    parameter, velocity, velocity, momentum=0.0, factor=1.0, decayed=rate * decay
                )
            else:
                parameter.add_(velocity)
        if copy is not None:
            copy.copy_(parameter)

    def sum_terms(self, terms: Sequence[Term], out: Tensor) -> Tensor:
        """Add the terms up where they go; what stood there is not read."""
        self._add_terms(out, terms, keep=0.0, rate=1.0)
        return out

    def copy_all(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """Copy all at once; the operation is private to PyTorch, and without it each is copied by
        itself.
        """
        if hasattr(torch, "_foreach_copy_"):
            torch._foreach_copy_(list(targets), list(sources))
        else:
            super().copy_all(targets, sources)

    def _add_terms(self, moved: Tensor, terms: Sequence[Term], *, keep: float, rate: float) -> None:
        """Keep `keep` of what is to be moved, and add the terms times the rate."""
        for term in terms:
            if isinstance(term, Product) and not self._is_formed_apart(term, moved):
                moved.addmm_(term.left.t(), term.right, beta=keep, alpha=rate * term.scale)
            else:
                _add(moved, self._unscaled(term, moved), keep=keep, factor=rate * term.scale)
            keep = 1.0

    def _formed_alone(self, term: Term, velocity: Tensor) -> Tensor | None:
        """Return a term that is formed before it is added anyway, without its scale and in the type
        of the velocity; else None.
        """
        if isinstance(term, Product) and not self._is_formed_apart(term, velocity):
            return None
        return self._unscaled(term, velocity).to(velocity.dtype)

    def _unscaled(self, term: Term, like: Tensor) -> Tensor:
        """Return a term without its scale; a product is laid out in memory as `like`, what it is to
        move.
        """
        if isinstance(term, Dense):
            return term.value
        if isinstance(term, RowSum):  # added up in float32, and rounded once, as products are
            return term.rows.sum(0).to(accumulation_dtype(term.rows.dtype))
        return (
            self.gram(term.left, term.right)
            if like.is_contiguous()
            else self.gram(term.right, term.left).t()
        )

    def _is_formed_apart(self, term: Product, moved: Tensor) -> bool:
        """Return whether a product cannot be added as it is formed: its rows are of lower precision
        than what it moves.
        """
        return term.left.dtype != moved.dtype


def _add(moved: Tensor, change: Tensor, *, keep: float, factor: float) -> None:
    """Keep `keep` of what is to be moved and add factor * change; where nothing is kept, what
    stands there is not read.
    """
    if keep:
        (moved if keep == 1 else moved.mul_(keep)).add_(change, alpha=factor)
    else:
        torch.mul(change.to(moved.dtype), factor, out=moved)


def fused_step(
    parameter: Tensor,
    velocity: Tensor,
    change: Tensor,
    *,
    momentum: float,
    factor: float,
    decayed: float,
) -> None:
    """Move both, each read and written once: v <- momentum v + factor change - decayed p, p <- p +
    v.

    PyTorch's fused step is v <- momentum v + (1 - dampening) (g + decay p), p <- p - rate v; a rate
    and a decay below zero turn it into Hinton's. Without momentum `change` may be the velocity
    itself. The operation is called without the optimizer around it, whose bookkeeping costs as much
    as the step of a small layer. It is private to PyTorch and reads memory in order, whatever the
    strides: where it is missing or layouts differ, plain steps do the same.
    """
    if not parameter.stride() == velocity.stride() == change.stride() or not hasattr(
        torch, "_fused_sgd_"
    ):
        if change is not velocity:
            velocity.mul_(momentum).add_(change, alpha=factor)
        parameter.add_(velocity.sub_(parameter, alpha=decayed))
        return
    torch._fused_sgd_(
        [parameter],
        [change],
        [velocity],
        weight_decay=-decayed / factor,
        momentum=momentum or 1.0,
        lr=-1.0,
        dampening=1.0 - factor,
        nesterov=False,
        maximize=False,
        is_first_step=not momentum,
    )
