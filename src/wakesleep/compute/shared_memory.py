"""Memory that the ranks of one machine share: each writes what is to be averaged where the others
read it, and tells them by a byte.

gloo takes a vector through sockets and threads of its own: copies cost more there than the average
itself, and waiting costs more than either. A byte in a pipe wakes whoever waits for it, and the
kernel orders it after what was written before.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch import distributed as dist

MOST_RANKS = 4
"""Ranks up to which this pays: each adds up the pages of all, and more of them move less in gloo's
ring.
"""


class Pages:
    """Room for `count` float32 numbers of each rank, (2, ranks, count): pages are written in turns,
    so that none is still being read.
    """

    def __init__(self, both: Tensor, inbound: Sequence[int], outbound: Sequence[int]) -> None:
        self.both, self.inbound, self.outbound, self.half = both, inbound, outbound, 0

    def own(self) -> Tensor:
        """Return the page (count,) that this rank is to write."""
        return self.both[self.half, dist.get_rank()]

    def mean(self) -> Tensor:
        """Return the mean (count,) of the pages, once every rank has written its own; every rank
        gets the same bits.

        Raises:
            RuntimeError: a rank is gone.
        """
        self._wait()
        first, *others = self.both[self.half]
        total: Tensor = first + others[0]
        for page in others[1:]:
            total += page
        # whoever writes this one again has waited for all once more, so none reads it now
        self.half = 1 - self.half
        return total.div_(1 + len(others))

    def _wait(self) -> None:
        try:
            for end in self.outbound:
                os.write(end, b"!")
            alive = all(os.read(end, 1) for end in self.inbound)
        except BrokenPipeError:
            alive = False
        if not alive:
            raise RuntimeError(
                "another rank is gone; torchrun --max-restarts N starts all of them again, from "
                "the last finished epoch"
            )


@cache
def pages(count: int) -> Pages | None:
    """Return room for `count` numbers of each rank; None, for all of them, where they cannot share
    memory. All ranks have to ask.

    The first rank makes a file that is only memory, and each a pipe from every other. None of these
    has a name: the others open them by their handles in /proc, and they are gone with the last
    rank, however it ends.
    """
    ranks, rank = dist.get_world_size(), dist.get_rank()
    together = (
        sys.platform == "linux"
        and dist.get_backend() == "gloo"
        and os.environ.get("LOCAL_WORLD_SIZE") == str(ranks)
    )
    if not together or ranks > MOST_RANKS:
        return None
    size = 2 * ranks * count * torch.float32.itemsize
    own = _memory(size) if rank == 0 else 0
    pipes = [os.pipe() for _ in range(ranks)]
    handles = torch.tensor([os.getpid(), own, *[into for _, into in pipes]])
    gathered = [torch.empty_like(handles) for _ in range(ranks)]
    dist.all_gather(gathered, handles)
    others = [other for other in range(ranks) if other != rank]
    memory, outbound = None, []
    try:
        if shared := int(gathered[0][1]):
            memory = _mapped(int(gathered[0][0]), shared, size)
            outbound = [
                _opened(int(gathered[other][0]), int(gathered[other][2 + rank]), os.O_WRONLY)
                for other in others
            ]
    except OSError:  # another user's process, or one whose /proc is not ours
        memory = None
    everywhere = torch.tensor(memory is not None, dtype=torch.int32)
    dist.all_reduce(everywhere, dist.ReduceOp.MIN)  # after this, all have opened what they can
    for handle in [*[into for _, into in pipes], pipes[rank][0], *([own] if own else [])]:
        os.close(handle)  # an end that nobody else holds says that the other rank is gone
    if memory is None or not everywhere:
        for handle in [*outbound, *[pipes[other][0] for other in others]]:
            os.close(handle)
        return None
    with torch.inference_mode(False):  # gradients may be written here as well
        both = torch.frombuffer(memory, dtype=torch.float32).view(2, ranks, count)
    return Pages(both, [pipes[other][0] for other in others], outbound)


def _memory(size: int) -> int:
    """Return this process's handle of a new file in memory whose bytes are there, 0 where there is
    no room.
    """
    try:
        handle = os.memfd_create("wakesleep")
    except OSError:
        return 0
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        os.close(handle)
        return 0
    return handle


def _mapped(process: int, handle: int, size: int) -> mmap.mmap:
    """Return the memory behind a handle of another process."""
    descriptor = _opened(process, handle, os.O_RDWR)
    try:
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _opened(process: int, handle: int, flags: int) -> int:
    """Return a handle here of what another process calls `handle`."""
    return os.open(f"/proc/{process}/fd/{handle}", flags)
