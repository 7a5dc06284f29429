"""Train in ranks with persistent chains and running means of weights, without a stop and stopped in
contrastive wake-sleep.

Called by test_distributed.py as a script under torchrun: in_ranks_resumed.py OUT. Leaves the run
folders OUT/whole and OUT/parts, and what was saved when the second one was stopped,
OUT/stopped.safetensors.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from torch import distributed as dist

from helpers import small_config
from wakesleep.compute import distributed
from wakesleep.data import load
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.runs import training

CPU = torch.device("cpu")


def main(out: Path) -> None:
    digits = load("digits")
    layer = CDConfig(epochs=2, batch_size=200, persistent=True)
    updown = UpDownConfig(
        epochs=3, batch_size=200, gibbs_steps=(1,), persistent=0.5, chain_pool=2, average=1.0
    )
    config = small_config(
        stages=("pretrain", "updown"),
        greedy=GreedyConfig(layer, layer),
        updown=updown,
        precision="bfloat16",
    )
    list(training.train(training.new_run(out / "whole", config, digits, CPU, "a test")))
    records = training.train(training.new_run(out / "parts", config, digits, CPU, "a test"))
    while next(records).stage != "updown":
        pass
    records.close()
    dist.barrier()  # the first rank has saved
    if distributed.rank() == 0:
        shutil.copy(out / "parts/checkpoint.safetensors", out / "stopped.safetensors")
    list(training.train(training.resume_run(out / "parts", digits, CPU)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(CPU)
    main(Path(sys.argv[1]))
    distributed.shutdown()
    distributed.end_process(0)
