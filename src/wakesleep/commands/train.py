"""wakesleep train: the whole way in a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from wakesleep.commands import shared
from wakesleep.settings import TrainConfig


@dataclass(frozen=True)
class Train:
    """Pretrain a deep belief net layer by layer, fine-tune it, compare, evaluate, and let it dream: one run folder."""

    data: str = "digits"
    """What to learn: digits (embedded), mnist, fashion-mnist, or the path of a .npz, .npy, a folder of IDX files, or a folder of pictures
    with a folder a class. A folder of images-*.npy, with labels-*.npy beside them, stays on the disk and is streamed from there."""
    out: Path | None = None
    """The run folder to make; by default runs/DATA (runs/DATA-2 where that exists). Nothing is ever overwritten."""
    resume: Path | None = None
    """Go on with this run folder after its last saved pass; all settings come from the folder."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    threads: int = 0
    """CPU threads; 0 tries one and all and takes the faster: on a machine that others use too, that is one. A run
    that goes on keeps its number."""
    tensorboard: bool = False
    """Also write what is measured of each pass to RUN/tensorboard (needs wakesleep[tensorboard]); look with: tensorboard --logdir RUN."""
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def run(args: Train, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep import recipe
    from wakesleep.checkpoint import read_json
    from wakesleep.foundation import distributed

    stopped, about = args.resume, {}
    if args.out is not None and distributed.restarted() and (args.out / "checkpoint.safetensors").exists():
        stopped = args.out  # a rank died, and torchrun started all of them again
    if stopped is not None:
        about = read_json(stopped / "provenance.json")
    device = shared.meet(args.threads, args.device, str(about.get("device", "")))
    if stopped is not None:
        name = str(about.get("data_path", "digits"))
        job = recipe.resume(stopped, shared.load_set(name, args.data_folder), device)
    else:
        dataset = shared.load_set(args.data, args.data_folder)
        job = recipe.start(
            args.out or shared.free_folder(Path("runs") / dataset.name), args.config, dataset, device, command, data_path=args.data
        )
    return shared.work(job, as_json=args.json, tensorboard=args.tensorboard)
