"""Learning on several processes, on one machine or many: each rank keeps a share of the cases, and
gradients are averaged between ranks.

Under `torchrun --nproc-per-node N -m wakesleep train ...` every rank holds the same weights, draws
minibatches of 1/N of the batch size from its own cases, and averages its statistics with the
others' before they move the weights: one global minibatch, seen in parts. Without torchrun there is
one rank and nothing here does anything.

Source: synchronous data parallelism as in Goyal et al. (2017), "Accurate, large minibatch SGD".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch import distributed as dist

from wakesleep.compute import shared_memory
from wakesleep.foundation.errors import ConfigError

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others: evaluation on one rank may take minutes, and a rank that
died is told of by torchrun at once.
"""


def setup(device: torch.device) -> torch.device:
    """Meet the other ranks where torchrun started several, and return this rank's device: a GPU
    each where `device` is "cuda".
    """
    if (
        int(os.environ.get("WORLD_SIZE", "1")) > 1
        and "MASTER_ADDR" in os.environ
        and not dist.is_initialized()
    ):
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        agents, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=_fresh_store(agents, rank), rank=rank, world_size=size, timeout=PATIENCE
        )
    return device


def _fresh_store(agents: Any, rank: int) -> Any:
    """Return a store that only the ranks of this attempt know, opened by the first of them.

    torchrun keeps one store, `agents`, through its restarts, and ranks that believed the addresses
    which the dead left there would wait for ever. A port left there answers no more, so whoever
    reads it looks again.
    """
    host = os.environ["MASTER_ADDR"]
    if rank == 0:
        own = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)  # type: ignore[attr-defined]
        agents.set("wakesleep/port", str(own.port))
        return own
    while True:
        port = int(agents.get("wakesleep/port"))
        try:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=5)
            )
        except dist.DistError:
            continue
        store.set_timeout(PATIENCE)
        return store


def shutdown() -> None:
    """Part from the other ranks, once all are done: one that is gone early takes gloo's threads of
    the others with it.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        shared_memory.pages.cache_clear()


def end_process(status: int) -> NoReturn:
    """End this process at once, with what it has written flushed: a rank's last act.

    Python's own finalization would come while gloo's threads may still let go of tensors, which
    asks for the interpreter that is going: the process then aborts, "terminate called without an
    active exception" (pytorch/pytorch#179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def ranks() -> int:
    """Return the number of ranks; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which rank this is, from 0; the first one writes and speaks."""
    return dist.get_rank() if ranks() > 1 else 0


def restarted() -> bool:
    """Return whether torchrun started this process again after a rank had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def share(cases: Tensor) -> Tensor:
    """Return this rank's part of `cases` (N, ...): every n-th one, so that classes stay mixed as
    they are.

    All ranks get as many: where N does not divide by the number of ranks, the first cases come
    twice.
    """
    count = ranks()
    if count == 1:
        return cases
    each = -(-len(cases) // count)
    return cases[(torch.arange(each, device=cases.device) * count + rank()) % len(cases)]


def part_of_batch(size: int) -> int:
    """Return how many cases of a global minibatch of `size` this rank takes.

    Raises:
        ConfigError: the ranks cannot share it evenly.
    """
    if size % ranks():
        raise ConfigError(
            f"a minibatch of {size} cases cannot be shared evenly by {ranks()} ranks; take a "
            f"multiple of {ranks()}"
        )
    return size // ranks()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum `tensor` over the ranks, in place, and return it; every rank gets the same bits."""
    if ranks() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """Average `tensor` over the ranks, in place, and return it; every rank gets the same bits."""
    if pages := _shared(tensor.numel(), tensor):
        pages.own().copy_(tensor.flatten())
        return tensor.copy_(pages.mean().view_as(tensor))
    return all_reduce_sum(tensor).div_(ranks()) if ranks() > 1 else tensor


def all_reduce_mean_written(count: int, like: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    """Return the mean over the ranks of what `write` puts into a flat tensor (count,) of the type
    of `like`, in one message.

    Every rank gets the same bits. On one machine it is written where the other ranks read it, and
    not copied.
    """
    if pages := _shared(count, like):
        write(pages.own())
        return pages.mean()
    flat = like.new_empty(count)
    write(flat)
    return all_reduce_mean(flat)


def all_reduce_mean_of_each(tensors: Sequence[Tensor]) -> None:
    """Average tensors of one type over the ranks, in place, in one message: what a message costs
    beside its bytes is paid once.
    """
    if ranks() > 1:
        sizes = [tensor.numel() for tensor in tensors]
        flat = all_reduce_mean_written(
            sum(sizes),
            tensors[0],
            lambda page: torch.cat([tensor.flatten() for tensor in tensors], out=page),
        )
        for tensor, piece in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(piece.view_as(tensor))


def _shared(count: int, like: Tensor) -> shared_memory.Pages | None:
    """Return memory that the ranks share, where there are several and `count` numbers like these
    can be averaged there.
    """
    return (
        shared_memory.pages(count)
        if ranks() > 1 and like.dtype == torch.float32 and like.device.type == "cpu"
        else None
    )


def mean_of_each(metrics: dict[str, float], device: torch.device) -> dict[str, float]:
    """Return metrics, each the mean over the ranks, whose shares of the cases are of one size."""
    if ranks() == 1:
        return metrics
    means = all_reduce_mean(
        torch.tensor(
            [float(value) for value in metrics.values()], dtype=torch.float64, device=device
        )
    )
    return dict(zip(metrics, means.tolist(), strict=True))


def broadcast_scalar(value: float) -> float:
    """Return the value of the first rank: what is measured or chosen by one must hold for all."""
    if ranks() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=_device())
    dist.broadcast(tensor, 0)
    return float(tensor)


def broadcast_parameters(*nets: nn.Module) -> None:
    """Give every rank the first one's weights, in place."""
    if ranks() > 1:
        for net in nets:
            for tensor in net.state_dict().values():
                dist.broadcast(tensor, 0)


def gather(tensor: Tensor) -> list[Tensor]:
    """Return every rank's `tensor`, in the order of ranks; all have one shape."""
    if ranks() == 1:
        return [tensor]
    own = tensor.to(_device()).contiguous().view(torch.uint8)  # bytes travel whatever their type
    gathered = [torch.empty_like(own) for _ in range(ranks())]
    dist.all_gather(gathered, own)
    return [other.view(tensor.dtype) for other in gathered]


def _device() -> torch.device:
    return (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )
