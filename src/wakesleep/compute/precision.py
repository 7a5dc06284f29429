"""Reduced precision: products of states in bfloat16 where the processor is fast at them, the
weights themselves in float32.

States are bits and probabilities carry sampling noise far above bfloat16's eight bits, so products
may be less exact as long as the small changes of the weights add up in float32. A loop keeps a copy
of the net in lower precision for its products, and each update refreshes it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from wakesleep.compute import ops

Net = TypeVar("Net", bound=nn.Module)


def low_precision_copy(net: Net, dtype: torch.dtype | None) -> Net:
    """Return a copy of `net` in `dtype` for products, or `net` itself where it is of that type
    already or none is asked for.
    """
    same = dtype is None or all(parameter.dtype == dtype for parameter in net.parameters())
    return net if same else deepcopy(net).to(dtype)


def sync(copy: nn.Module, net: nn.Module) -> None:
    """Copy the weights of `net` into its copy of lower precision."""
    if copy is not net:
        targets = list(copy.parameters())
        ops.of(targets[0]).copy_all(targets, list(net.parameters()))
