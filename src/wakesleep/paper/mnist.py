"""The figures on MNIST: greedy, fine-tuned by backpropagation, by contrastive wake-sleep and by
both, and the same net from random weights.

    python -m wakesleep.paper.mnist --seeds 1 2 3 --folder runs/mnist-figures

Each seed and part makes a run folder, which goes on where it was stopped. The 50k runs learn from
the first 50,000 training cases, and the last 10,000 pick the epoch of fine-tuning; the 60k runs
learn from all and keep the last epoch. Test images choose nothing.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import tyro

from wakesleep.compute.select import pick_device
from wakesleep.data import Dataset, load
from wakesleep.evaluation import classify, ensemble
from wakesleep.foundation import files
from wakesleep.learning import backprop
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.paper import results
from wakesleep.runs import checkpoint, scores, training
from wakesleep.runs.settings import Precision, StageName, TrainConfig, preset


class Part(NamedTuple):
    """One run of a seed: what it does, from whose weights, and the figures that are read from
    it.
    """

    stage: StageName
    after: str | None
    """The part whose model it starts from."""
    figures: dict[str, tuple[str, str]]
    """The row's name and the figure reported elsewhere, by metric."""


PARTS: dict[str, Part] = {
    "pretrain-50k": Part("pretrain", None, {"test_error_percent": ("greedy", "2.49 (2006)")}),
    "long-50k": Part(
        "pretrain",
        None,
        {"test_error_percent": ("greedy-long", ""), "validation_errors": ("greedy-long", "")},
    ),
    "pretrain-60k": Part("pretrain", None, {"test_error_percent": ("greedy-60k", "")}),
    "backprop-50k": Part(
        "backprop",
        "pretrain-50k",
        {
            "test_error_percent": ("backprop-50k", "1.16-1.24"),
            "validation_errors": ("backprop-50k", "116-124"),
        },
    ),
    "backprop-60k": Part(
        "backprop", "pretrain-60k", {"test_error_percent": ("backprop-60k", "1.12")}
    ),
    "random-50k": Part(
        "random",
        None,
        {
            "test_error_percent": ("backprop-random", "1.6"),
            "validation_errors": ("backprop-random", "227"),
        },
    ),
    "updown-50k": Part(
        "updown",
        "long-50k",
        {
            "test_error_percent": ("updown-50k", "1.39 (2006)"),
            "validation_errors": ("updown-50k", ""),
        },
    ),
    "updown-60k": Part(
        "updown", "updown-50k", {"test_error_percent": ("updown-60k", "1.25 (2006)")}
    ),
    "hybrid-50k": Part(
        "hybrid",
        "updown-50k",
        {"test_error_percent": ("hybrid-50k", ""), "validation_errors": ("hybrid-50k", "")},
    ),
    "hybrid-60k": Part("hybrid", "updown-60k", {"test_error_percent": ("hybrid", "0.97")}),
}
"""The parts in an order in which they build on each other."""

END_TO_END = ("pretrain-50k", "pretrain-60k", "backprop-50k", "backprop-60k", "random-50k")


HOW: tuple[ensemble.Average, ...] = ("probs", "log-probs")
COMBINED = ("backprop-50k", "backprop-60k", "hybrid-60k")
"""The parts whose nets of several seeds are also asked together."""


@dataclass(frozen=True)
class MnistTablesOptions:
    """Measure the figures on MNIST; resumable."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; the figures are medians over them."""
    folder: Path = Path("runs/mnist-figures")
    """Where the run folders go; those that are there are gone on with, or read if they are
    finished.
    """
    parts: tuple[str, ...] = END_TO_END
    """Which parts to do, each after the one it starts from; also long-50k, updown-50k, updown-60k,
    hybrid-50k and hybrid-60k.
    """
    out: Path | None = Path("results/mnist.json")
    """Where the rows of these parts go once all their seeds are there; None only does the runs."""
    data: str = "mnist"
    """The data set."""
    device: str = "auto"
    """Where to run."""
    precision: Precision = "auto"
    """Of matrix products; auto takes bfloat16 where the processor is fast at it."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""


PUBLISHED: dict[str, Any] = {
    "persistent": 0.0,
    "gibbs_steps": (3,),
    "learning_rate": 0.015,
    "weight_decay": 0.0,
}
"""The negative phase as published: every chain starts at the up-pass. It recognises better than
with chains that persist, and dreams worse. Without decay, because the net fits its training labels
no better than its validation labels.
"""
LONG = 100
"""Epochs a layer before contrastive wake-sleep, which changes features little: what the greedy
stage has not learned stays unlearned.
"""
LOW_EPOCHS = 8
"""Epochs over all 60,000 cases, once the epochs over 50,000 are done."""


def longer(greedy: GreedyConfig) -> GreedyConfig:
    """Return the settings of a greedy stage with 100 epochs a layer where they have 30."""
    layer, memory = (
        replace(each, epochs=LONG * each.epochs // 30) for each in (greedy.layer, greedy.memory)
    )
    return replace(greedy, layer=layer, memory=memory)


def settings(part: str, seed: int, base: TrainConfig) -> TrainConfig:
    """Return the settings of one part: those on 60k hold out nothing, and go on from the 50k net at
    the low rates it ended with.
    """
    config = replace(
        base,
        seed=seed,
        stages=(PARTS[part].stage,),
        validation=0 if part.endswith("60k") else base.validation,
    )
    if part.startswith("long"):
        config = replace(config, greedy=longer(base.greedy))
    if part.startswith("updown"):
        config = replace(config, updown=replace(base.updown, **PUBLISHED))
    if part == "updown-60k":
        before = config.updown
        low, few = before.learning_rate_at(before.epochs * 3 // 4), min(LOW_EPOCHS, before.epochs)
        config = replace(
            config,
            updown=replace(
                before, epochs=few, learning_rate=low, gibbs_steps=before.gibbs_steps[-1:]
            ),
        )
    return config


def run(
    folder: Path,
    seed: int,
    part: str,
    options: MnistTablesOptions,
    dataset: Dataset,
    command: str,
    base: TrainConfig | None = None,
) -> None:
    """Do one part of one seed, or what is left of it, printing a line an epoch; `base` replaces the
    settings that suit the data.
    """
    run_folder, device = folder / f"seed-{seed}-{part}", pick_device(options.device)
    if (run_folder / "model.safetensors").exists():
        return
    if (run_folder / "checkpoint.safetensors").exists():
        job = training.resume_run(run_folder, dataset, device)
    else:
        after = PARTS[part].after
        dbn = checkpoint.load(folder / f"seed-{seed}-{after}", device) if after else None
        job = training.new_run(
            run_folder,
            settings(
                part, seed, replace(base or preset(options.data), precision=options.precision)
            ),
            dataset,
            device,
            command,
            model=dbn,
        )
    for record in training.train(job):
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        print(
            f"{run_folder.name}  {record.stage} {record.epoch}/{record.epochs}  {numbers}",
            flush=True,
        )


def collect(
    folder: Path, parts: tuple[str, ...], seeds: tuple[int, ...], command: str, data: str = "mnist"
) -> list[results.Row]:
    """Return the rows for the run folders of all seeds; figures reported elsewhere are those on
    MNIST.
    """
    rows = []
    for part in parts:
        for metric, (name, reported) in PARTS[part].figures.items():
            values, minutes, notes = [], [], {}
            for seed in seeds:
                run_folder = folder / f"seed-{seed}-{part}"
                provenance = files.read_json(run_folder / "provenance.json")
                minutes.append(sum(provenance["minutes"].values()))
                precision = files.read_json(run_folder / "config.json")["precision"]
                notes = {
                    "run_device": provenance["device"],
                    "data_checksum": provenance["data_checksum"],
                    "precision": precision,
                    **_where(provenance),
                }
                method = (
                    PARTS[part].stage
                    if PARTS[part].stage in ("backprop", "random")
                    else "free-energy"
                )
                scored = files.read_json(run_folder / "evaluation.json")["rows"]
                tested = next(row for row in scored if row["method"] == method)
                picked = [
                    line["validation_errors"]
                    for line in files.read_metrics(run_folder)
                    if "validation_errors" in line
                ]
                values.append(tested[metric] if metric in tested else min(picked))
            took, published = (
                round(statistics.median(minutes), 2),
                reported if data == "mnist" else "",
            )
            rows.append(
                results.row(
                    data,
                    name,
                    metric,
                    values,
                    seeds=seeds,
                    reported=published,
                    command=command,
                    minutes=took,
                    each=values,
                    **notes,
                )
            )
    return rows


def _where(provenance: dict[str, Any]) -> dict[str, str]:
    """Return what a row says of the device of a run where that is not the processor, which it says
    by itself.
    """
    return {"device": provenance["device"]} if provenance["device"].startswith("cuda") else {}


def combine(
    folder: Path, part: str, seeds: tuple[int, ...], dataset: Dataset, command: str
) -> results.Row:
    """Return the row of the nets of all seeds combined: probabilities averaged, with the average of
    log-probabilities beside it.
    """
    assert dataset.test is not None
    predictions, minutes, provenance = [], 0.0, {}
    for seed in seeds:
        run_folder = folder / f"seed-{seed}-{part}"
        model = checkpoint.load_model(run_folder)
        images, labels = scores.cases_for(model.dbn, dataset.test, dataset.name)
        predictions.append(
            classify.log_probs(model.dbn, images)
            if model.net is None
            else backprop.log_probs(model.net, images)
        )
        provenance = files.read_json(run_folder / "provenance.json")
        minutes += sum(provenance["minutes"].values())
    errors = {
        how: scores.score(ensemble.average(predictions, how), labels, dataset.name, how)[
            "test_error_percent"
        ]
        for how in HOW
    }
    of_one = PARTS[part].figures["test_error_percent"][0]
    name = f"combined-{len(seeds)}" if part == "backprop-60k" else f"{of_one}-combined-{len(seeds)}"
    notes = {
        "minutes": round(minutes, 2),
        "data_checksum": dataset.checksum,
        "log_probs_averaged": errors["log-probs"],
        **_where(provenance),
    }
    reported = "1.10" if dataset.name == "mnist" and part.startswith("backprop") else ""
    return results.row(
        dataset.name,
        name,
        "test_error_percent",
        [errors["probs"]],
        seeds=seeds,
        reported=reported,
        command=command,
        **notes,
    )


def measure(
    options: MnistTablesOptions, dataset: Dataset, command: str, base: TrainConfig | None = None
) -> list[results.Row]:
    """Do the runs that are asked for, or what is left of them, and return their rows; `base`
    replaces the settings that suit the data.
    """
    for part in options.parts:
        for seed in options.seeds:
            run(options.folder, seed, part, options, dataset, command, base)
    rows = collect(options.folder, options.parts, options.seeds, command, dataset.name)
    # three, as in 2006, and all
    together = {seeds for seeds in (options.seeds[:3], options.seeds) if len(seeds) > 1}
    joined = [part for part in options.parts if part in COMBINED]
    return rows + [
        combine(options.folder, part, seeds, dataset, command)
        for part in joined
        for seeds in sorted(together)
    ]


def main(argv: list[str]) -> None:
    """Do the runs that are asked for, then collect their rows."""
    options = tyro.cli(MnistTablesOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "wakesleep.paper.mnist", *argv])
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = load(options.data)
    rows = measure(options, dataset, command)
    if options.out is not None:
        results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
