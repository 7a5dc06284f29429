"""A run in words: what is about to be done, how much work it is, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from wakesleep.compute import machine, select
from wakesleep.compute.machine import product_rate
from wakesleep.foundation import files
from wakesleep.learning import greedy
from wakesleep.runs import figures
from wakesleep.runs.settings import TrainConfig
from wakesleep.runs.training import Job


def work_per_epoch(job: Job) -> dict[str, float]:
    """Return the work of one epoch of each stage, in multiplications: what a progress bar
    counts.
    """
    work: dict[str, float] = {}
    sizes, cases = job.model.sizes, job.cases
    # CD-1: up, down, up, and two statistics; each further Gibbs step adds two, an epoch with chains
    # one
    products = 5 * cases
    deep = job.config.model == "dbm"  # whose pairs of layers all learn as layers do
    for layer in range(job.model.depth if "pretrain" in job.config.stages else 0):
        top = layer == job.model.depth - 1 and not deep
        config = job.config.greedy.memory if top else job.config.greedy.layer
        visible = sizes[layer] + (job.model.labels if top else 0)
        name = "memory" if top else f"layer {layer + 1}"
        chained = (
            greedy.chained_epochs(job.config.greedy) / max(config.epochs, 1)
            if top and job.model.labels
            else 0.0
        )
        work[name] = (
            (products + cases * (2 * (config.gibbs_steps - 1) + chained))
            * visible
            * sizes[layer + 1]
        )
    parameters = sum(below * above for below, above in pairwise(sizes))
    for name in job.config.stages:
        if name in ("backprop", "random"):
            work[name] = 3 * cases * parameters
        elif name == "dbm":
            # a product with every weight: both ways a Gibbs step, both phases, and of hidden ones
            # both ways a step of mean field
            upper, how = parameters - sizes[0] * sizes[1], job.config.dbm
            gibbs = (2 * how.gibbs_steps + 4) * parameters
            work[name] = cases * (gibbs + 2 * how.mean_field_steps * upper)
        elif name == "semisupervised":
            # labelled cases, all cases and those moved; and where to move them
            work[name] = (3 * 3 + 4) * cases * parameters
        elif name in ("updown", "hybrid"):
            updown = job.config.updown if name == "updown" else job.config.hybrid.updown
            work[name] = cases * _up_down_work(
                parameters, sizes[-2] * sizes[-1], sum(updown.gibbs_steps) / len(updown.gibbs_steps)
            )
            work[name] += 3 * cases * parameters if name == "hybrid" else 0
    return work


def _up_down_work(parameters: int, memory: int, steps: float) -> float:
    """Return a case's multiplications; directed layers: up, down, two predictions, two statistics;
    memory: up, K rounds, two statistics.
    """
    return 6 * (parameters - memory) + (3 + 2 * steps) * memory


UPDATE = {
    "layer": 0.15e-3,
    "memory": 0.6e-3,
    "updown": 0.4e-3,
    "hybrid": 0.55e-3,
    "backprop": 0.14e-3,
    "random": 0.14e-3,
    "semisupervised": 0.4e-3,
    "dbm": 0.6e-3,
}
"""Seconds that an update costs beside its products: of a layer's RBM, of the memory, and for each
layer of weights elsewhere.
"""
WRITTEN = {
    "layer": 1,
    "memory": 1,
    "updown": 4,
    "hybrid": 4,
    "backprop": 3.5,
    "semisupervised": 3.5,
    "random": 4,
    "dbm": 3,
}
"""How many times the net's weights are saved after an epoch: the nets so far, their momentum and
the best epoch.
"""
PASS, A_BYTE, CLOSING = 3e-3, 1 / 600e6, 1.5
"""Seconds of an epoch beside its updates, of saving a byte, and of drawing figures beside the
dreams.

Fitted to sets of 60 to 5,000 pictures (benchmarks/defaults/minutes.py) on one thread of an AMD
EPYC, with a local disk.
"""


def seconds_per_epoch(job: Job) -> dict[str, float]:
    """Return about how many seconds an epoch of each stage takes: its products, as fast as they are
    here and now, its updates, and saving.
    """
    # sampling and moving weights cost about as much again
    rate = product_rate(str(job.device), job.dtype) / 2
    sizes, seconds = job.model.sizes, {}
    saved = 4 * A_BYTE * sum(below * above for below, above in pairwise(sizes))
    for name, work in work_per_epoch(job).items():
        stage = (
            "layer"
            if name.startswith("layer") or (name == "memory" and not job.model.labels)
            else name
        )
        layers = 1 if stage in ("layer", "memory") else job.model.depth
        updates = -(-job.cases // _minibatch(job.config, name))
        seconds[name] = (
            work / rate + updates * layers * UPDATE[stage] + PASS + saved * WRITTEN[stage]
        )
    return seconds


def _minibatch(config: TrainConfig, name: str) -> int:
    """Return how many cases an update of a stage has."""
    settings = {"memory": config.greedy.memory, "hybrid": config.hybrid.updown}
    own: Any = (
        config.greedy.layer
        if name.startswith("layer")
        else settings.get(name) or getattr(config, name)
    )
    return int(own.cg_batch_size if getattr(own, "method", "") == "cg" else own.batch_size)


def minutes(job: Job) -> dict[str, float]:
    """Return about how many minutes each stage will take, and at the end `figures`: counting errors
    and drawing, dreams above all.
    """
    done, planned = epochs_done(job), epochs_planned(job)
    minutes_by_stage = {
        stage: seconds * (planned[stage] - done.get(stage, 0)) / 60
        for stage, seconds in seconds_per_epoch(job).items()
    }
    return {**minutes_by_stage, "figures": _closing_seconds(job) / 60}


def _closing_seconds(job: Job) -> float:
    """Return about how many seconds the model, its evaluation and its pictures take once it is
    trained.
    """
    fantasies = (
        figures.DREAMS_A_LABEL * min(job.model.labels, figures.DREAM_CLASSES) or figures.FREE_DREAMS
    )
    sizes = job.model.sizes
    top = (sizes[-2] + job.model.labels) * sizes[-1]
    if job.config.model == "dbm":  # all layers move
        top += sum(below * above for below, above in pairwise(sizes[:-1]))
    rate = product_rate(str(job.device), job.dtype) / 2
    return CLOSING + figures.DREAM_STEPS * fantasies * 2 * top / rate


def epochs_planned(job: Job) -> dict[str, int]:
    """Return how many epochs each stage has, in order."""
    greedy_config = job.config.greedy
    planned: dict[str, int] = {}
    for name in work_per_epoch(job):
        if name.startswith("layer"):
            planned[name] = greedy_config.layer.epochs
        else:
            settings: dict[str, Any] = {
                "memory": greedy_config.memory,
                "hybrid": job.config.hybrid.updown,
            }
            planned[name] = (
                settings[name] if name in settings else getattr(job.config, name)
            ).epochs
    return planned


def epochs_done(job: Job) -> dict[str, int]:
    """Return how many epochs of each stage the settled metrics show."""
    stages = [line["stage"] for line in files.read_metrics(job.folder)[: job.lines]]
    return {stage: stages.count(stage) for stage in dict.fromkeys(stages)}


def announce(job: Job) -> Iterator[str]:
    """Yield what is about to be done, in words."""
    cases, held_out = (
        job.cases // 9 if job.config.shifted else job.cases,
        0 if job.validation is None else len(job.validation),
    )
    yield f"{job.dataset.name}: {cases:,} training cases, {held_out:,} held out"
    if job.config.shifted:
        yield (
            "each is shown in nine places, as it is and a pixel aside (--no-shifted shows "
            "them as they are)"
        )
    yield from job.dataset.findings
    labels = f" <- {job.model.labels} labels" if job.model.labels else ""
    where = (
        f"{machine.describe(job.device)}, products in {job.config.precision}, backend "
        f"{select.backend()}"
    )
    kind = "net" if job.config.model == "dbn" else "deep Boltzmann machine"
    layers = "-".join(map(str, job.model.sizes))
    yield f"{kind}: {layers}{labels}, on {where}, seed {job.config.seed}"
    yield f"minibatches and learning rates: {', '.join(_steps(job))}"
    ahead = minutes(job)
    spans = (
        f"{name} {epochs} ({_span(ahead[name])})" for name, epochs in epochs_planned(job).items()
    )
    closing = f"then errors and figures ({_span(ahead['figures'])})"
    yield (
        f"epochs: {', '.join(spans)}, {closing}; in all {_span(sum(ahead.values()))} on a "
        "quiet machine"
    )
    yield f"run folder: {job.folder}"


def _steps(job: Job) -> Iterator[str]:
    """Yield the size of minibatches and the rates, first to last, of each stage."""
    config = job.config
    for name in config.stages:
        pretrain, hybrid = name == "pretrain", name == "hybrid"
        each: Any = (
            config.greedy.layer
            if pretrain
            else config.hybrid.updown
            if hybrid
            else getattr(config, name)
        )
        last = getattr(each, "final_learning_rate", None) or each.learning_rate
        yield f"{name} {each.batch_size} cases, {each.learning_rate:g} to {last:g}"


def _span(minutes: float) -> str:
    return f"about {minutes:.0f} min" if minutes >= 1.5 else f"about {max(60 * minutes, 1):.0f} s"


METHODS = {
    "free-energy": "generative model, label free energies",
    "mean-field": "generative model, mean field of labels",
    "backprop": "pretrained, then backpropagation",
    "random": "same net from random weights",
}


TRY = (
    "Try a net of one layer (--hidden 300), smaller pictures (--size 16) or more pictures "
    "of each class"
)
"""What to do where pretraining did not help: of 90 photographs the usual net got 44 % wrong, one
layer 33 %, and at 12 x 16 pixels 27 %.
"""
PARTS = {"test": "test", "validation": "validation", "train": "training"}
"""The parts of a set, in words."""


def table(job: Job) -> Iterator[str]:
    """Yield the run's outcome: a short table of errors, and where the figures are."""
    if (job.folder / "evaluation.json").exists():
        evaluation = files.read_json(job.folder / "evaluation.json")
        yield ""
        part = evaluation["part"]
        yield (
            f"{job.dataset.name}: errors on {evaluation['rows'][0][f'n_{part}']:,} "
            f"{PARTS[part]} cases"
            if evaluation["rows"]
            else ""
        )
        for row in evaluation["rows"]:
            yield (
                f"  {METHODS[row['method']]:<40} {row[f'{part}_errors']:>6}  "
                f"{row[f'{part}_error_percent']:6.2f} %"
            )
        best = min(evaluation["rows"], key=lambda row: row[f"{part}_errors"], default=None)
        yield from [] if best is None else hardly_better_than_guessing(best)
        yield from random_is_better(evaluation)
        yield from updown_is_worse(evaluation, files.read_metrics(job.folder))
    yield ""
    for name in sorted((job.folder / "figures").glob("*.png")):
        yield f"figure  {name}"
    yield f"minutes {sum(job.seconds.values()) / 60:.1f}"


def hardly_better_than_guessing(row: dict[str, Any]) -> list[str]:
    """Return a sentence where a method makes at least three quarters of the errors on new cases
    that the most frequent class for all would make; `row` is what `scores.score` returns.
    """
    part, guessing = row["part"], row.get("guessing_errors", 0)  # runs of earlier versions: none
    errors = row[f"{part}_errors"]
    if part == "train" or not guessing or errors < 0.75 * guessing:
        return []
    return [
        f"warning: of {row[f'n_{part}']:,} {PARTS[part]} cases {errors:,} are wrong, and the most "
        f"frequent class for all would get {guessing:,} wrong: these classes are hardly told "
        "apart. More pictures of each class help, and pictures of one thing at one place and in "
        "one light: a net that sees pixels without their places needs many photographs"
    ]


def random_is_better(evaluation: dict[str, Any]) -> list[str]:
    """Return a sentence where the net from random weights made clearly fewer errors than the
    pretrained one on cases that were not learned.

    `evaluation` is what RUN/evaluation.json holds.
    """
    part, rows = (
        evaluation.get("part", "train"),
        {row["method"]: row for row in evaluation.get("rows", [])},
    )
    if part == "train" or not {"backprop", "random"} <= rows.keys():
        return []
    pretrained, random = (rows[method][f"{part}_errors"] for method in ("backprop", "random"))
    if not clearly_more(pretrained, random):
        return []
    return [
        f"warning: pretraining did not help: of {rows['random'][f'n_{part}']:,} {PARTS[part]} "
        f"cases the pretrained net gets {pretrained:,} wrong and the same net from random weights "
        f"{random:,}. {TRY}"
    ]


def updown_is_worse(evaluation: dict[str, Any], lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence where contrastive wake-sleep left the label free energies clearly more
    errors on validation cases than pretraining had.

    `evaluation` is what RUN/evaluation.json holds, `lines` are those of RUN/metrics.jsonl.
    """
    stages = {line["stage"]: line for line in lines}
    pretrained = stages.get("memory", {}).get("validation_errors")
    rows = {row["method"]: row for row in evaluation.get("rows", [])}
    after = rows.get("free-energy", {}).get("validation_errors")
    if pretrained is None or after is None or "updown" not in stages or "hybrid" in stages:
        return []
    if not clearly_more(after, pretrained):
        return []
    return [
        f"warning: contrastive wake-sleep spoilt recognition by label free energies: of "
        f"{rows['free-energy']['n_validation']:,} validation cases they get {after:,} wrong, and "
        f"{pretrained:,} before it. --stages without updown leaves it out; --updown.label-weight "
        "40 heeds the labels more"
    ]


def clearly_more(errors: int, fewer: int) -> bool:
    """Return whether one count of errors is above another by more than sqrt(2 E), for E errors in
    all: 1.4 standard deviations of the difference if each error fell to either side alike.
    """
    return errors - fewer > math.sqrt(2 * (errors + fewer))
