"""How a gradient becomes a change of weights: momentum, learning rate, decay. The only file that writes weights outside backprop.

Hinton's rule keeps the learning rate inside the velocity, so that a change of rate does not rescale the past (torch.optim.SGD does):

    increment <- momentum * increment + learning_rate * (gradient - weight_decay * parameter)
    parameter <- parameter + increment

Where several ranks learn together, this is where their gradients become one: their mean.

Source: Hinton (2010), "A practical guide to training restricted Boltzmann machines", sections 7, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation import distributed, native, products, tiles
from wakesleep.foundation.precision import fine

FEW = 64
"""Rows below which a product costs less than what it moves, so that it is better added at once, whichever library does that."""


class Lesson(NamedTuple):
    """What a minibatch teaches a net: gradients by the name of the parameter, those of weights as products yet to be formed."""

    cases: int
    """N, the number of cases the products sum over."""
    products: dict[str, tuple[Tensor, Tensor]]
    """(left, right) of any number of rows, whose product left'right / N is the gradient of a weight."""
    gradients: Mapping[str, Tensor] = MappingProxyType({})
    """Gradients as they are, in the shape of the parameter."""
    sums: Mapping[str, Tensor] = MappingProxyType({})
    """Rows, any number, whose sum / N is the gradient of a bias."""

    def tells(self, name: str) -> bool:
        """Return whether it says something of parameter `name`."""
        return name in self.products or name in self.gradients or name in self.sums

    def rest(self, name: str) -> tuple[Tensor, float] | None:
        """Return what it says of parameter `name` as far as it is no product, and the share of it that is a gradient."""
        if name in self.sums:
            rows = self.sums[name]
            return rows.sum(0).to(fine(rows.dtype)), 1 / self.cases  # added up finely, and rounded once, as products are
        return (self.gradients[name], 1.0) if name in self.gradients else None


def follow(
    net: nn.Module,
    lessons: Sequence[tuple[Lesson, float]],
    increments: Mapping[str, Any],
    *,
    rate: float,
    momentum: float,
    decay: Mapping[str, float] | None = None,
    coarse: nn.Module | None = None,
) -> None:
    """Move each parameter of `net` that the lessons name up the weighted sum of their gradients, in place, and its `coarse` twin with it.

    `increments` holds the increment of parameter "a" under "increment.a"; a parameter without one has no momentum and is read and written
    once. `decay` names the parameters that decay. No gradient of weights is kept: products are added to what they move, or formed for that
    moment. Rows of lower precision than the weights are multiplied as they are and added up finely.
    """
    if distributed.ranks() > 1:
        lessons = [(_mean_over_ranks(net, lessons), 1.0)]
    names = dict.fromkeys(name for lesson, _ in lessons for told in (lesson.products, lesson.gradients, lesson.sums) for name in told)
    behind: list[tuple[Tensor, Tensor]] = []
    for name in names:
        named = _named(name)
        parameter, increment = named(net), increments.get(f"increment.{name}")
        twin = None if coarse is None or coarse is net else named(coarse)
        teaching = [(lesson, weight) for lesson, weight in lessons if lesson.tells(name)]
        decayed = rate * decay.get(name, 0.0) if decay else 0.0
        along = _move(parameter, increment, twin, name, teaching, rate=rate, momentum=momentum, decayed=decayed)
        if twin is not None and not along:
            behind.append((twin, parameter))
    if behind:
        torch._foreach_copy_([twin for twin, _ in behind], [parameter for _, parameter in behind])


@cache
def _named(name: str) -> Callable[[nn.Module], Tensor]:
    """Return what gets the parameter of that name from a net; `get_parameter`, which looks at more, takes the time of a kernel."""
    return attrgetter(name)


def _move(
    parameter: Tensor,
    increment: Tensor | None,
    twin: Tensor | None,
    name: str,
    teaching: Sequence[tuple[Lesson, float]],
    *,
    rate: float,
    momentum: float,
    decayed: float,
) -> bool:
    """Move one parameter by all that is taught of it; return whether its twin moved along."""
    if len(teaching) == 1:
        ((lesson, weight),) = teaching
        along = _by_hand(parameter, increment, twin, name, lesson, momentum=momentum, decayed=decayed, factor=rate * weight / lesson.cases)
        if along is not None:
            return along
        if increment is not None and momentum and weight and (alone := _alone(increment, name, lesson)):
            change, share = alone
            how = {"momentum": momentum, "decayed": decayed, "factor": rate * weight * share}
            if twin is not None and _with_twin(parameter, increment, change, twin, **how):
                return True
            _step(parameter, increment, change.to(increment.dtype), **how)
            return False
    moved, kept = (parameter, 1 - decayed) if increment is None else (increment, momentum)
    _teach(moved, name, teaching, kept=kept, rate=rate)
    if increment is not None:
        if decayed:
            _step(parameter, increment, increment, momentum=0.0, decayed=decayed)
        else:
            parameter.add_(increment)
    return False


def _teach(moved: Tensor, name: str, lessons: Sequence[tuple[Lesson, float]], *, kept: float, rate: float) -> None:
    """Keep `kept` of what is to be moved, and add what the lessons say of parameter `name`; where they say nothing, nothing moves."""
    for lesson, weight in lessons:
        if name in lesson.products:
            _add_product(moved, *lesson.products[name], kept=kept, factor=rate * weight / lesson.cases)
            kept = 1.0
        if (rest := lesson.rest(name)) is not None:
            change, share = rest
            _add(moved, change, kept=kept, factor=rate * weight * share)
            kept = 1.0


def _add_product(moved: Tensor, left: Tensor, right: Tensor, *, kept: float, factor: float) -> None:
    if _apart(moved, left, right):
        _add(moved, _formed(moved, left, right), kept=kept, factor=factor)
    else:
        moved.addmm_(left.t(), right, beta=kept, alpha=factor)


def _add(moved: Tensor, change: Tensor, *, kept: float, factor: float) -> None:
    """Keep `kept` of what is to be moved and add factor * change; where nothing is kept, what stands there is not read."""
    if kept:
        (moved if kept == 1 else moved.mul_(kept)).add_(change, alpha=factor)
    else:
        torch.mul(change.to(moved.dtype), factor, out=moved)


def _apart(moved: Tensor, left: Tensor, right: Tensor) -> bool:
    """Return whether the product is formed by itself, because its rows are coarser than what it moves or the faster library cannot add."""
    return left.dtype != moved.dtype or (len(left) >= FEW and products.suits_onednn(left, right))


def _formed(moved: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return left'right, laid out in memory as what it is to move."""
    return products.correlation(left, right) if moved.is_contiguous() else products.correlation(right, left).t()


def _alone(increment: Tensor, name: str, lesson: Lesson) -> tuple[Tensor, float] | None:
    """Return all that a lesson says of a parameter as one change and its share, where that is formed apart anyway; else None."""
    rest = lesson.rest(name)
    if name not in lesson.products:
        return rest
    left, right = lesson.products[name]
    if rest is not None or not _apart(increment, left, right):
        return None
    return _formed(increment, left, right), 1 / lesson.cases


def _by_hand(
    parameter: Tensor,
    increment: Tensor | None,
    twin: Tensor | None,
    name: str,
    lesson: Lesson,
    *,
    momentum: float,
    decayed: float,
    factor: float,
) -> bool | None:
    """Let one kernel of ours move a parameter, where there is one for what the lesson says; return whether the twin moved along, or None."""
    pair, rows = lesson.products.get(name), lesson.sums.get(name)
    if parameter.dtype != torch.float32 or name in lesson.gradients or (pair is None) == (rows is None):
        return None
    if (
        pair is not None
        and twin is not None
        and _by_tiles(parameter, increment, twin, *pair, momentum=momentum, decayed=decayed, factor=factor)
    ):
        return True
    if increment is None or parameter.stride() != increment.stride():
        return None
    if pair is not None and products.suit_kernels(*pair):
        from wakesleep.foundation import kernels

        kernels.follow(parameter, increment, *pair, momentum=momentum, factor=factor, decayed=decayed)
        return False
    if rows is not None and not decayed and products.suit_kernels(rows):
        from wakesleep.foundation import kernels

        kernels.lean(parameter, increment, rows, momentum=momentum, factor=factor)
        return False
    coarse = () if twin is None else (twin,)
    typed = rows is not None and rows.dtype in native.TYPES and all(each.dtype == torch.bfloat16 for each in coarse)
    if rows is not None and not decayed and typed and native.suits(rows, parameter, increment, *coarse):
        native.lean(parameter, increment, twin, rows, momentum=momentum, factor=factor)
        return True
    return None


def _by_tiles(
    weight: Tensor, increment: Tensor | None, twin: Tensor, left: Tensor, right: Tensor, *, momentum: float, decayed: float, factor: float
) -> bool:
    """Let one kernel of ours multiply and move weight, increment and twin, where the processor multiplies tiles; return whether it did."""
    if not weight.is_contiguous():  # it lies the other way
        left, right, weight, twin = right, left, weight.t(), twin.t()
        increment = None if increment is None else increment.t()
    alike = weight.is_contiguous() and twin.is_contiguous() and (increment is None or increment.is_contiguous())
    if not (alike and tiles.suit(left, right, left, right, twin)):
        return False
    tiles.learn(weight, increment, twin, left, right, momentum=momentum, factor=factor, decayed=decayed)
    return True


def _with_twin(parameter: Tensor, increment: Tensor, change: Tensor, twin: Tensor, *, momentum: float, decayed: float, factor: float) -> bool:
    """Let one kernel of ours move a float32 weight by a bfloat16 change, and its twin with it, where they lie alike; return whether it did."""
    kinds = (torch.float32, torch.float32, torch.bfloat16, torch.bfloat16)
    all_four = (parameter, increment, change, twin)
    if tuple(each.dtype for each in all_four) != kinds or len({each.stride() for each in all_four}) > 1:
        return False
    flat = [each if each.is_contiguous() else each.t() for each in all_four]
    if not native.suits(*flat):
        return False
    native.follow(*flat, momentum=momentum, factor=factor, decayed=decayed)
    return True


def _step(parameter: Tensor, increment: Tensor, change: Tensor, *, momentum: float, decayed: float, factor: float = 1.0) -> None:
    """Move both, each read and written once: i <- momentum * i + factor * change - decayed * p, p <- p + i.

    PyTorch's fused step is v <- momentum v + (1 - dampening) (g + decay p), p <- p - rate v; a rate and a decay below zero turn it into
    Hinton's. Without momentum `change` may be the increment itself. The kernel is called without the optimizer around it, whose bookkeeping
    costs as much as the step of a small layer. It reads memory in order, whatever the strides: where layouts differ, plain steps do the same.
    """
    if not parameter.stride() == increment.stride() == change.stride():
        if change is not increment:
            increment.mul_(momentum).add_(change, alpha=factor)
        parameter.add_(increment.sub_(parameter, alpha=decayed))
        return
    torch._fused_sgd_(
        [parameter],
        [change],
        [increment],
        weight_decay=-decayed / factor,
        momentum=momentum or 1.0,
        lr=-1.0,
        dampening=1.0 - factor,
        nesterov=False,
        maximize=False,
        is_first_step=not momentum,
    )


def _mean_over_ranks(net: nn.Module, lessons: Sequence[tuple[Lesson, float]]) -> Lesson:
    """Return what all ranks' lessons teach together, with the gradients of weights formed: the mean of their weighted sums, in one message."""
    taught = {name: parameter for name, parameter in net.named_parameters() if any(lesson.tells(name) for lesson, _ in lessons)}
    sizes = [parameter.numel() for parameter in taught.values()]

    def write(flat: Tensor) -> None:
        for (name, parameter), piece in zip(taught.items(), torch.split(flat, sizes), strict=True):
            _teach(piece.view_as(parameter), name, lessons, kept=0.0, rate=1.0)

    mean = torch.split(distributed.average_written(sum(sizes), next(iter(taught.values())), write), sizes)
    return Lesson(1, {}, {name: piece.view_as(parameter) for (name, parameter), piece in zip(taught.items(), mean, strict=True)})
