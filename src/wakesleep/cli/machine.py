"""The threads, device, ranks and backend that a command works with."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    import torch


from wakesleep.cli.shared import tell

MOST_THREADS = 1024
"""More than any machine gains from; the system refuses to start many more."""


def setup(threads: int, device: str, before: str = "") -> torch.device:
    """Set the threads, meet the other ranks where torchrun started several, and return the device
    to work on.

    Without a number of threads: that of the run that goes on, in `before`, its device in words, for
    sums in another order are other numbers; else PyTorch's choice, which follows the processors
    this process may use and OMP_NUM_THREADS.
    """
    import torch

    from wakesleep.compute import distributed
    from wakesleep.compute.select import pick_device

    set_threads(threads)
    chosen = pick_device(device)
    earlier = re.fullmatch(r"cpu: (\d+) threads", before)
    if earlier and not threads and chosen.type == "cpu":
        torch.set_num_threads(int(earlier[1]))
    return distributed.setup(chosen)


def keep_backend(asked: str | None, before: str) -> None:
    """Let a run that goes on compute by its own backend, which `before` describes, where neither
    the call nor the environment names one.
    """
    from wakesleep.compute import ops, select

    if asked is None and not os.environ.get(select.VARIABLE):
        ops.use_backend(select.recorded_backend(before))


def set_threads(threads: int) -> None:
    """Use that many CPU threads; 0 leaves the choice to PyTorch."""
    check_threads(threads)
    if threads:
        import torch

        torch.set_num_threads(threads)


def check_threads(threads: int) -> None:
    """Raise ConfigError for a number of threads that cannot be had; say where it is more than the
    processors that this process may use.
    """
    usable = processors()
    if not 0 <= threads <= MOST_THREADS:
        raise ConfigError(
            f"--threads {threads}: expected 1 to {MOST_THREADS}, best no more than the "
            f"{usable} processors this process may use; 0 leaves the choice to PyTorch"
        )
    if threads > usable:
        tell(f"--threads {threads} where this process may use {usable}: they wait for each other")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
