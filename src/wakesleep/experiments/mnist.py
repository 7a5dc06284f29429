"""The end-to-end figures on MNIST: greedy only, pretrained and fine-tuned, on 50k and on 60k, and the same net from random weights.

    python -m wakesleep.experiments.mnist --seeds 1 2 3 --folder runs/mnist-figures

Each seed and part makes a run folder, which goes on where it was stopped. The 50k runs learn from the first 50,000 training cases, and the
last 10,000 pick the pass of fine-tuning; the 60k runs learn from all and keep the last pass. Test images choose nothing.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from wakesleep import checkpoint, recipe
from wakesleep.data import Dataset, load
from wakesleep.experiments import results
from wakesleep.foundation.devices import pick_device
from wakesleep.settings import StageName, TrainConfig, preset

STAGES: dict[str, StageName] = {
    "pretrain-50k": "pretrain",
    "pretrain-60k": "pretrain",
    "backprop-50k": "backprop",
    "backprop-60k": "backprop",
    "random-50k": "random",
}
"""The parts in the order in which they build on each other, and the one stage of each."""


@dataclass(frozen=True)
class Options:
    """Measure the end-to-end figures on MNIST; resumable."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; the figures are medians over them."""
    folder: Path = Path("runs/mnist-figures")
    """Where the run folders go; those that are there are gone on with, or read if they are finished."""
    parts: tuple[str, ...] = tuple(STAGES)
    """Which parts to do."""
    out: Path | None = Path("results/mnist.json")
    """Where the rows go once all parts of all seeds are there; None only does the runs."""
    data: str = "mnist"
    """The data set."""
    device: str = "auto"
    """Where to run."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""


def settings(part: str, seed: int, base: TrainConfig) -> TrainConfig:
    """Return the settings of one part: those on 60k hold out nothing."""
    return replace(base, seed=seed, stages=(STAGES[part],), validation=0 if part.endswith("60k") else base.validation)


def run(folder: Path, seed: int, part: str, options: Options, dataset: Dataset, command: str) -> None:
    """Do one part of one seed, or what is left of it, printing a line a pass."""
    here, device = folder / f"seed-{seed}-{part}", pick_device(options.device)
    if (here / "model.safetensors").exists():
        return
    if (here / "checkpoint.safetensors").exists():
        job = recipe.resume(here, dataset, device)
    else:
        before = folder / f"seed-{seed}-{part.replace('backprop', 'pretrain')}"
        dbn = checkpoint.load(before, device) if part.startswith("backprop") else None
        job = recipe.start(here, settings(part, seed, preset(options.data)), dataset, device, command, dbn=dbn)
    for record in recipe.train(job):
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        print(f"{here.name}  {record.stage} {record.epoch}/{record.epochs}  {numbers}", flush=True)


SHOWN = {
    ("pretrain-50k", "test_error_percent"): ("greedy", "2.49 (2006)"),
    ("pretrain-60k", "test_error_percent"): ("greedy-60k", ""),
    ("backprop-50k", "test_error_percent"): ("backprop-50k", "1.16-1.24"),
    ("backprop-50k", "validation_errors"): ("backprop-50k", "116-124"),
    ("backprop-60k", "test_error_percent"): ("backprop-60k", "1.12"),
    ("random-50k", "test_error_percent"): ("backprop-random", "1.6"),
    ("random-50k", "validation_errors"): ("backprop-random", "227"),
}
"""What becomes of each measurement: the row's name and the figure reported elsewhere."""


def collect(folder: Path, seeds: tuple[int, ...], command: str) -> list[results.Row]:
    """Return the rows for the run folders of all seeds."""
    rows = []
    for (part, metric), (name, reported) in SHOWN.items():
        values, minutes, notes = [], [], {}
        for seed in seeds:
            here = folder / f"seed-{seed}-{part}"
            about = checkpoint.read_json(here / "provenance.json")
            minutes.append(sum(about["minutes"].values()))
            notes = {"run_device": about["device"], "data_checksum": about["data_checksum"]}
            method = "free-energy" if part.startswith("pretrain") else STAGES[part]
            scored = checkpoint.read_json(here / "evaluation.json")["rows"]
            tested = next(found for found in scored if found["method"] == method)
            picked = [line["validation_errors"] for line in checkpoint.read_metrics(here) if "validation_errors" in line]
            values.append(tested[metric] if metric in tested else min(picked))
        took = round(statistics.median(minutes), 2)
        rows.append(
            results.row("mnist", name, metric, values, seeds=seeds, reported=reported, command=command, minutes=took, each=values, **notes)
        )
    return rows


def main(argv: list[str]) -> None:
    """Do the runs that are asked for, then collect the rows if every run is there."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "wakesleep.experiments.mnist", *argv])
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = load(options.data)
    for part in options.parts:
        for seed in options.seeds:
            run(options.folder, seed, part, options, dataset, command)
    wanted = [options.folder / f"seed-{seed}-{part}" / "model.safetensors" for seed in options.seeds for part in STAGES]
    if options.out is not None and all(path.exists() for path in wanted):
        results.save(options.out, collect(options.folder, options.seeds, command))


if __name__ == "__main__":
    main(sys.argv[1:])
