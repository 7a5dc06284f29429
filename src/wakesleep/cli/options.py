"""Options that several commands have, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from wakesleep.foundation import options

DataFolder = Annotated[
    Path | None,
    arg(
        help="Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's "
        "cache, and only then a download."
    ),
]
Device = Annotated[str, arg(help="auto takes a GPU where there is one; or cpu, cuda, cuda:1.")]
Backend = Annotated[
    options.Backend | None,
    arg(
        help="What computes; by default what WAKESLEEP_BACKEND says, else auto. auto: the fastest "
        "the machine has, with kernels compiled where they pay; torch: what PyTorch brings, "
        "nothing is compiled; reference: the plain formulas, slowly."
    ),
]
Threads = Annotated[
    int,
    arg(
        help="CPU threads. 0: as many as PyTorch finds (the processors this process may use, or "
        "OMP_NUM_THREADS)."
    ),
]
TensorBoard = Annotated[
    bool,
    arg(
        help="Also write what is measured of each epoch to RUN/tensorboard (needs the package "
        "tensorboard); look with: tensorboard --logdir RUN."
    ),
]
