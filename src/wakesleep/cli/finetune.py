"""wakesleep finetune: go on from a finished run, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from wakesleep.cli import driver, machine, shared
from wakesleep.cli.options import Backend, DataFolder, Device, TensorBoard, Threads
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning.configs import HybridConfig, UpDownConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.runs.settings import Precision, TrainConfig, read_config

USUAL = ("run", "method", "out", "data", "validation", "seed", "device", "threads", "json")
"""The options that --help explains; --help-all explains all."""


@dataclass(frozen=True)
class FinetuneOptions:
    """Train the network of a run further, into a run folder of its own. Settings are by default
    those of the run.
    """

    run: Positional[Path]
    """The run folder to start from; it stays as it is."""
    method: Literal["updown", "hybrid", "backprop"] = "backprop"
    """updown: contrastive wake-sleep, a better generative model; hybrid: that and backpropagation
    on the same weights, a model that recognises best and still dreams; backprop: a feed-forward net
    from the recognition weights, or from the mean field of a deep Boltzmann machine.
    """
    out: Path | None = None
    """The run folder to make; by default RUN-METHOD."""
    data: str | None = None
    """What to learn; by default what the run learned from."""
    data_folder: DataFolder = None
    validation: float = 10_000
    """How many training cases (or, below 1, which part of them) pick the epoch; 0 keeps the last
    epoch.
    """
    seed: int = 0
    """Seed of every random choice."""
    device: Device = "auto"
    backend: Backend = None
    threads: Threads = 0
    tensorboard: TensorBoard = False
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    precision: Precision = "auto"
    """Of matrix products while learning; auto takes bfloat16 where the processor is fast at it."""
    updown: UpDownConfig = field(default_factory=UpDownConfig)
    """Contrastive wake-sleep, with --method updown."""
    hybrid: HybridConfig = field(default_factory=HybridConfig)
    """Contrastive wake-sleep and backpropagation together, with --method hybrid."""
    backprop: BackpropConfig = field(default_factory=BackpropConfig)
    """Backpropagation, with --method backprop."""


def suited(args: FinetuneOptions) -> FinetuneOptions:
    """Return the defaults of a call: the settings of the run it starts from."""
    own = read_config(args.run)
    return FinetuneOptions(
        run=tyro.MISSING,
        validation=own.validation,
        seed=own.seed,
        precision=own.precision,
        updown=own.updown,
        hybrid=own.hybrid,
        backprop=own.backprop,
    )


def run(args: FinetuneOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.runs import checkpoint, training

    own = read_config(args.run)
    deep = checkpoint.holds(args.run, "DBM")
    if deep and args.method != "backprop":
        raise ConfigError(
            f"--method {args.method} of a deep Boltzmann machine: expected backprop, from its mean "
            "field; updown and hybrid untie the weights of a deep belief net"
        )
    config = settings(args, own)
    shared.tell_unused_settings(config, own)
    device = machine.setup(args.threads, args.device)
    model = (checkpoint.load_deep if deep else checkpoint.load_model)(args.run, device)
    shared.tell_unfinished(args.run, model)
    name = args.data or str(model.header.get("data_path", "digits"))
    out = args.out or shared.free_folder(args.run.with_name(f"{args.run.name}-{args.method}"))
    dataset = shared.set_for(model, args.data, args.data_folder)
    begun = model.dbm if isinstance(model, checkpoint.DeepModel) else model.dbn
    job = training.new_run(out, config, dataset, device, command, data_path=name, model=begun)
    return driver.run_job(job, as_json=args.json, tensorboard=args.tensorboard)


def settings(args: FinetuneOptions, own: TrainConfig) -> TrainConfig:
    """Return the settings of the new run: those of the run it starts from, `own`, with what the
    call says.
    """
    return replace(
        own,
        stages=(args.method,),
        validation=args.validation,
        seed=args.seed,
        precision=args.precision,
        updown=args.updown,
        hybrid=args.hybrid,
        backprop=args.backprop,
    )
