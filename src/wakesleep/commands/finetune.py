"""wakesleep finetune: go on from a finished run, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from wakesleep.commands import shared
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.settings import Precision, TrainConfig, read_config


@dataclass(frozen=True)
class Finetune:
    """Fine-tune the model of a finished run, into a run folder of its own."""

    run: Positional[Path]
    """The run folder to start from; it stays as it is."""
    method: Literal["updown", "hybrid", "backprop"] = "backprop"
    """updown: contrastive wake-sleep, a better generative model; hybrid: that and backpropagation on the same weights, a model that
    recognises best and still dreams; backprop: a feed-forward net from the recognition weights."""
    out: Path | None = None
    """The run folder to make; by default RUN-METHOD."""
    data: str | None = None
    """What to learn; by default what the run learned from."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    validation: int | None = None
    """How many of the last training cases pick the pass; by default as in the run."""
    seed: int | None = None
    """Seed of every random choice; by default that of the run."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    tensorboard: bool = False
    """Also write what is measured of each pass to RUN/tensorboard (needs wakesleep[tensorboard]); look with: tensorboard --logdir RUN."""
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    precision: Precision = "auto"
    """Of matrix products while learning; auto takes bfloat16 where the processor is fast at it."""
    updown: UpDownConfig = field(default_factory=UpDownConfig)
    hybrid: HybridConfig = field(default_factory=HybridConfig)
    backprop: BackpropConfig = field(default_factory=BackpropConfig)


def defaults(argv: list[str]) -> Finetune:
    """Return the defaults of a fine-tuning: the run's own settings, where the call names a run as its first word."""
    run = Path(argv[1]) if argv[:1] == ["finetune"] and len(argv) > 1 else Path()
    known = read_config(run) if (run / "config.json").is_file() else TrainConfig()
    return Finetune(run=tyro.MISSING, updown=known.updown, hybrid=known.hybrid, backprop=known.backprop)


def run(args: Finetune, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep import recipe
    from wakesleep.checkpoint import load_model

    device = shared.meet(args.threads, args.device)
    model = load_model(args.run, device)
    before = read_config(args.run)
    name = args.data or str(model.header.get("data_path", "digits"))
    config = replace(
        before,
        stages=(args.method,),
        precision=args.precision,
        updown=args.updown,
        hybrid=args.hybrid,
        backprop=args.backprop,
        validation=before.validation if args.validation is None else args.validation,
        seed=before.seed if args.seed is None else args.seed,
    )
    out = args.out or shared.free_folder(args.run.with_name(f"{args.run.name}-{args.method}"))
    dataset = shared.set_for(model, args.data, args.data_folder)
    job = recipe.start(out, config, dataset, device, command, data_path=name, dbn=model.dbn)
    return shared.work(job, as_json=args.json, tensorboard=args.tensorboard)
