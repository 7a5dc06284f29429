"""Learning from cases that no memory holds: each epoch streams through the files, and what lies
below a layer is computed on the way.

`greedy.epochs` and `backprop.epochs` take `Shards` as they take tensors; these are their former
names. Contrastive wake-sleep does not stream: its chains and running means count in epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from wakesleep.foundation import renamed
from wakesleep.learning import backprop, greedy
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.sources.shards import Shards


def epochs(dbn: DBN, shards: Shards, **settings: Any) -> Iterator[EpochResult]:
    """Return `greedy.epochs` of the cases of `shards`, which replaces this."""
    renamed.warn("streaming.epochs", "greedy.epochs")
    return greedy.epochs(dbn, shards, **settings)


def fine_tune(net: nn.Sequential, shards: Shards, **settings: Any) -> Iterator[EpochResult]:
    """Return `backprop.epochs` of the labelled cases of `shards`, which replaces this."""
    renamed.warn("streaming.fine_tune", "backprop.epochs")
    return backprop.epochs(net, shards, **settings)
