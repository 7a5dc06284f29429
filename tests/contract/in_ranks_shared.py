"""Average by the memory that ranks share, some of them late, and say what came of it as a line of
JSON from each rank.

Called by test_distributed.py as a script under torchrun: in_ranks_shared.py PLAN, PLAN being
"shared", "refused" (the last rank cannot open what the first one made), "full" (there is no room
for it) or "dies" (the last rank does, in the midst).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from wakesleep.compute import distributed, shared_memory


def refuse(*_: object) -> int:
    raise OSError("not for you")


def main(plan: str, out: Path) -> None:
    device = distributed.setup(torch.device("cpu"))
    rank, ranks = distributed.rank(), distributed.ranks()
    last = rank == ranks - 1
    distributed.all_reduce_sum(torch.zeros(1))  # gloo opens sockets of its own
    before = len(os.listdir("/proc/self/fd"))
    if plan == "refused" and last:
        shared_memory._opened = refuse
    if plan == "dies":
        # torchrun stops the others at once, before they can tell what they saw
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if plan == "full" and rank == 0:
        os.posix_fallocate = refuse
    reported: dict[str, object] = {
        "shares": shared_memory.pages(1000) is not None,
        "handles": len(os.listdir("/proc/self/fd")) - before,
    }

    wrong, read = 0, shared_memory.Pages._wait

    def late(self: shared_memory.Pages) -> None:
        read(self)
        time.sleep(0.02 * (step % ranks == rank))  # all have written; this one has not read yet

    shared_memory.Pages._wait = late
    for step in range(12):
        # nothing written yet; the others would read what stood there
        time.sleep(0.02 * ((step + 1) % ranks == rank))
        if plan == "dies" and step == 6:
            if last:
                os._exit(1)
            time.sleep(0.5 * (rank == 0))  # one writes to whom is gone, the other one waits for it
        mine = torch.arange(1000.0) * (rank + 1) + step
        try:
            mean = distributed.all_reduce_mean_written(
                1000, mine, lambda page, mine=mine: page.copy_(mine)
            )
        except RuntimeError as error:
            reported["error"] = str(error)
            break
        wrong += not torch.allclose(mean, torch.arange(1000.0) * (ranks + 1) / 2 + step)
    if plan != "dies":
        few = torch.tensor([[float(rank), 1.0]], device=device)
        wrong += distributed.all_reduce_mean(few) is not few or few.tolist() != [
            [(ranks - 1) / 2, 1.0]
        ]
    (out / f"{rank}.json").write_text(json.dumps({**reported, "wrong": wrong}))
    if plan != "dies":
        distributed.shutdown()
        distributed.end_process(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
