"""The end-to-end figures on MNIST: greedy only, pretrained and fine-tuned, on 50k and on 60k, and the same net from random weights.

    python -m wakesleep.experiments.mnist --seeds 1 2 3 --folder runs/mnist-figures

Each seed makes two run folders, which go on where they were stopped: one on the first 50,000 training cases, whose last 10,000 pick the
pass of fine-tuning, and one on all 60,000, which keeps the last pass. Test images choose nothing.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from wakesleep import checkpoint, recipe
from wakesleep.data import Dataset, load
from wakesleep.experiments import results
from wakesleep.foundation.devices import pick_device
from wakesleep.settings import TrainConfig, preset


@dataclass(frozen=True)
class Options:
    """Measure the end-to-end figures on MNIST; resumable."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; the figures are medians over them."""
    folder: Path = Path("runs/mnist-figures")
    """Where the run folders go; those that are there are gone on with, or read if they are finished."""
    parts: tuple[str, ...] = ("50k", "60k")
    """Which runs to do: 50k, 60k."""
    out: Path | None = Path("results/mnist.json")
    """Where the rows go once all runs of all seeds are there; None prints nothing but progress."""
    data: str = "mnist"
    """The data set."""
    device: str = "auto"
    """Where to run."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""


def settings(part: str, seed: int, base: TrainConfig) -> TrainConfig:
    """Return the settings of one run: "50k" holds out validation cases and has the rival from random weights, "60k" does neither."""
    if part == "50k":
        return replace(base, seed=seed)
    return replace(base, seed=seed, validation=0, stages=("pretrain", "backprop"))


def run(folder: Path, config: TrainConfig, dataset: Dataset, device: torch.device, command: str) -> None:
    """Do one run, or what is left of it, printing a line a pass."""
    if (folder / "model.safetensors").exists():
        return
    started = (folder / "checkpoint.safetensors").exists()
    job = recipe.resume(folder, dataset, device) if started else recipe.start(folder, config, dataset, device, command)
    for record in recipe.train(job):
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        print(f"{folder.name}  {record.stage} {record.epoch}/{record.epochs}  {numbers}", flush=True)


def collect(folder: Path, seeds: tuple[int, ...], command: str) -> list[results.Row]:
    """Return the rows for the run folders of all seeds."""
    found: dict[tuple[str, str], list[float]] = {}
    minutes: dict[str, list[float]] = {}
    about: dict[str, Any] = {}
    for seed in seeds:
        for part in ("50k", "60k"):
            path = folder / f"seed-{seed}-{part}"
            about = checkpoint.read_json(path / "provenance.json")
            lines = checkpoint.read_metrics(path)
            for scored in checkpoint.read_json(path / "evaluation.json")["rows"]:
                name = {"free-energy": f"greedy-{part}", "backprop": f"backprop-{part}", "random": "backprop-random"}[scored["method"]]
                found.setdefault((name, "test_error_percent"), []).append(scored["test_error_percent"])
                stages = ("pretrain",) if name.startswith("greedy") else ("pretrain", "backprop")
                stages = ("random",) if name == "backprop-random" else stages
                minutes.setdefault(name, []).append(sum(about["minutes"][stage] for stage in stages))
                if part == "50k" and scored["method"] != "free-energy":
                    errors = [line["validation_errors"] for line in lines if line["stage"] == scored["method"]]
                    found.setdefault((name, "validation_errors"), []).append(min(errors))
    rename = {"greedy-50k": "greedy"}
    reported = {"greedy": "2.49 (2006)", "backprop-50k": "1.16-1.24", "backprop-60k": "1.12", "backprop-random": "227"}
    rows = []
    for (name, metric), values in found.items():
        shown = rename.get(name, name)
        words = {"backprop-50k": "116-124"}.get(shown, "") if metric == "validation_errors" else reported.get(shown, "")
        if (shown, metric) == ("backprop-random", "test_error_percent"):
            words = "1.6"
        if (shown, metric) == ("backprop-random", "validation_errors"):
            words = "227"
        took = round(sorted(minutes[name])[len(minutes[name]) // 2], 2)
        rows.append(
            results.row(
                "mnist",
                shown,
                metric,
                values,
                seeds=seeds,
                reported=words,
                command=command,
                minutes=took,
                run_device=about["device"],
            )
        )
    return rows


def main(argv: list[str]) -> None:
    """Do the runs that are asked for, then collect the rows if every run is there."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "wakesleep.experiments.mnist", *argv])
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset, device = load(options.data), pick_device(options.device)
    for seed in options.seeds:
        for part in options.parts:
            config = settings(part, seed, preset(options.data))
            run(options.folder / f"seed-{seed}-{part}", config, dataset, device, command)
    wanted = [options.folder / f"seed-{seed}-{part}" / "model.safetensors" for seed in options.seeds for part in ("50k", "60k")]
    if options.out is not None and all(path.exists() for path in wanted):
        results.save(options.out, collect(options.folder, options.seeds, command))


if __name__ == "__main__":
    main(sys.argv[1:])
