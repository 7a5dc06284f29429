"""Where a loop of learning stands, kept in one file: stopped after any epoch, it goes on to the
same bits; and the best of its epochs.

NAME/TENSOR    the models that learn, by name
state/...      what the loop needs to go on (`EpochResult.state`)
best/net/...   weights of the best epoch so far; best/score and best/epoch are in the header
rng            the generator
rank-N/...     of rank N > 0, what differs: its generator, and what it sampled

The header holds whatever else the caller wants kept. The file is written after each epoch, whole or
not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed
from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.rng import generator
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import State
from wakesleep.runs import checkpoint, tensor_files

Models = Mapping[str, nn.Module]
OF_A_RANK = ("rng", "chains", "chain_labels", "activity")
"""What differs between ranks in a state: their generators, and what they sampled."""


@dataclass
class Best(State):
    """The best epoch so far."""

    score: list[Any]
    """Errors, and the cross-entropy in nats a case."""
    net: dict[str, Tensor]
    epoch: int = 0
    """Which one it was, from 1."""


@dataclass
class Progress:
    """Where a loop stands between two epochs, and the file that keeps it."""

    path: Path
    rng: torch.Generator
    state: Any = None
    """What the loop needs to go on; None before its first epoch."""
    best: Best | None = None
    """None where nothing was scored."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What else is kept, as JSON can hold it."""
    kind: str = "checkpoint"
    """What the file is called in its header and in errors."""

    def save(self, models: Models) -> None:
        """Write all of it and the models' weights; in ranks the first one writes, and each calls
        this.

        Raises:
            CheckpointError: the file cannot be written; what it held before it still holds.
        """
        parts = {} if self.state is None else {"state": self.state, "rng": self.rng.get_state()}
        tensors, values = tensor_files.flatten(
            parts if self.best is None else {**parts, "best": self.best}
        )
        for name, model in models.items():
            tensors |= {
                f"{name}/{inner}": tensor
                for inner, tensor in checkpoint.model_tensors(model).items()
            }
        if distributed.ranks() > 1:
            for name in sorted(name for name in tensors if name.rpartition("/")[2] in OF_A_RANK):
                tensors |= {
                    f"rank-{number}/{name}": theirs
                    for number, theirs in enumerate(distributed.gather(tensors[name]))
                    if number
                }
        if distributed.rank() == 0:
            header = {**self.notes, "values": values, "ranks": distributed.ranks()}
            tensor_files.save_tensors(self.path, tensors, header, self.kind)


def read(
    path: Path, device: torch.device, kind: str = "checkpoint"
) -> tuple[Progress, dict[str, Any]]:
    """Return what a file holds, this rank's part of it: where the loop stands, and the tensors of
    the models by their names.

    The notes are the whole header.

    Raises:
        CheckpointError: nothing there, damaged, foreign or of a newer format.
    """
    tensors, header = tensor_files.load_tensors(path, kind)
    mine = f"rank-{distributed.rank()}/"
    tensors |= {
        name.removeprefix(mine): tensor for name, tensor in tensors.items() if name.startswith(mine)
    }
    parts = tensor_files.unflatten(
        {name: tensor.to(device) for name, tensor in tensors.items()}, header["values"]
    )
    state, best, rng = parts.pop("state", None), parts.pop("best", None), generator(0, device)
    if "rng" in parts:
        rng.set_state(parts.pop("rng").cpu())
    return Progress(
        path, rng, state, None if best is None else Best.from_tensors(best), header, kind
    ), parts


def resumed(path: Path, rng: torch.Generator, models: Models, kind: str = "checkpoint") -> Progress:
    """Return where the loop of a file stands, the models put back to it in place; its beginning,
    with `rng`, where there is no file.

    Raises:
        CheckpointError: as `read`, or tensors that are not these models'.
    """
    if not path.exists():
        return Progress(path, rng, kind=kind)
    progress, parts = read(path, rng.device, kind)
    for name, model in models.items():
        if name not in parts:
            raise CheckpointError(
                f"{path} holds no {name}; expected a {kind} file of the same kind of run: remove "
                "it to start again"
            )
        checkpoint.fill(model, parts[name], [], path)
    return progress


def run(
    progress: Progress,
    records: Iterator[EpochResult],
    models: Models,
    net: nn.Module,
    *,
    score: Callable[[], tuple[int, float]] | None = None,
    keep_best: bool = True,
    note: Callable[[EpochResult], None] = lambda record: None,
) -> Iterator[EpochResult]:
    """Yield the epochs that are left of a loop, each once it is saved, and leave `net` at the best
    of all.

    Fewer errors win, and among equals the surer net. Where nothing is scored, or scores do not
    `keep_best`, the last epoch stays.

    Args:
        progress: where the loop stands; changed in place.
        records: the loop, begun at the state of `progress` with its generator.
        models: all that is saved after each epoch, by name.
        net: which of them is picked.
        score: returns errors and cross-entropy (nats a case) of the net on validation cases; both
            join the record's metrics.
        keep_best: whether scores say which epoch is best.
        note: called with each record before it is saved, e.g. to change the notes of `progress`.
    """
    for record in records:
        progress.state = record.state
        if score is not None:
            errors, loss = score()
            record.metrics["validation_errors"], record.metrics["validation_cross_entropy"] = (
                errors,
                loss,
            )
            if keep_best and (progress.best is None or [errors, loss] <= progress.best.score):
                weights = {
                    name: tensor.detach().clone()
                    for name, tensor in checkpoint.model_tensors(net).items()
                }
                progress.best = Best([errors, loss], weights, record.epoch)
        note(record)
        progress.save(models)
        yield record
    if progress.best is not None:
        checkpoint.fill(net, progress.best.net, [], progress.path)
