"""Runs that are done once: each has a folder named by its settings, goes on after its last epoch,
and is read when it is finished.

FOLDER/NAME-seed-S-DIGEST/key.json                the settings the digest is of
FOLDER/NAME-seed-S-DIGEST/checkpoint.safetensors  while it runs: all that is needed to go on
FOLDER/NAME-seed-S-DIGEST/result.json             when it is done: a line an epoch, minutes, errors
FOLDER/NAME-seed-S-DIGEST/net.safetensors         its weights
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from wakesleep.compute.machine import describe
from wakesleep.compute.select import pick_precision
from wakesleep.data import Dataset, Split
from wakesleep.evaluation import classify
from wakesleep.foundation import files
from wakesleep.foundation.rng import stream
from wakesleep.learning import backprop
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper.results import Row, row
from wakesleep.runs import checkpoint, tensor_files
from wakesleep.runs.progress import resumed, run
from wakesleep.runs.settings import TrainConfig

Module = TypeVar("Module", bound=nn.Module)
Loop = Callable[[Module, torch.Generator, Any], Iterator[EpochResult]]
LogProbs = Callable[[Module, Tensor], Tensor]


@dataclass(frozen=True)
class TableSetup:
    """What every table works with."""

    dataset: Dataset
    folder: Path
    """Where finished and unfinished runs lie."""
    seeds: tuple[int, ...]
    config: TrainConfig
    """Sizes, epochs and rates of the recipe; of toy size in a smoke run."""
    device: torch.device
    command: str
    data_folder: Path | None = None
    """Where another data set may lie."""
    measured: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    """Table and name of the rows that need not be measured again, with their seeds."""
    only: tuple[str, ...] = ()
    """Names of the rows that are wanted; none: all."""
    smoke: bool = False
    """Whether this only shows that everything runs: no figures come of it."""
    times: float = 1.0
    """How many times as long each method of `descendants` may take as for that table."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of products."""
        return pick_precision(self.config.precision, self.device)

    @property
    def where(self) -> dict[str, str]:
        """What a row says of its device where that is not the processor, which it says by
        itself.
        """
        return {} if str(self.device).startswith("cpu") else {"device": describe(self.device)}

    def wants(self, table: str, name: str, seeds: Sequence[int]) -> bool:
        """Return whether a row is wanted that is not measured already for these seeds."""
        there = set(seeds) <= set(self.measured.get((table, name), ()))
        return not there and (not self.only or name in self.only)

    def epochs(self, count: int) -> int:
        """Return how many epochs to make where the table asks for `count`: two in a smoke run."""
        return min(count, 2) if self.smoke else count


@dataclass(frozen=True)
class Done(Generic[Module]):
    """A finished run."""

    net: Module
    digest: str
    """What its settings are called; part of the settings of a run that starts from it."""
    epochs: list[dict[str, Any]]
    """What each epoch measured, with its `seconds`."""
    minutes: float
    """Time spent learning."""
    cpu_minutes: float
    """Of the process, all its threads: what others on the machine do not stretch."""
    errors: dict[str, float]
    """`test_error_percent`, and `validation_errors` of the epoch that was kept, where they were
    asked for.
    """


def toy(config: TrainConfig) -> TrainConfig:
    """Return the settings of the digits made so small that every table runs in seconds; 300 cases
    are held out.
    """
    layer = replace(config.greedy.layer, epochs=2)
    updown = replace(config.updown, epochs=4, gibbs_steps=(1, 2))
    return replace(
        config,
        hidden=(32, 32, 64),
        validation=300,
        greedy=GreedyConfig(layer, layer),
        updown=updown,
        hybrid=HybridConfig(updown),
        backprop=replace(config.backprop, epochs=2),
        random=replace(config.random, epochs=2),
    )


def digest(key: dict[str, Any]) -> str:
    """Return a short name for settings."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:10]


def learn(
    setup: TableSetup,
    name: str,
    seed: int,
    settings: Any,
    *,
    make: Callable[[torch.Generator], Module],
    loop: Loop[Module],
    log_probs: LogProbs[Module] | None = None,
    validation: Split | None = None,
) -> Done[Module]:
    """Return the run of these settings, finished: read it, go on with it, or do it from the start,
    printing a line an epoch.

    With `validation` cases the epoch with the fewest errors there is kept (and among equals the
    surer one), else the last. Test cases are looked at once, when the run is over, and only here,
    so that they can choose nothing.
    """
    plain = json.loads(json.dumps(settings, default=dataclasses.asdict))
    held_out = 0 if validation is None else len(validation)
    key = {
        "run": name,
        "seed": seed,
        "data": setup.dataset.checksum,
        "held_out": held_out,
        "precision": str(setup.dtype),
        "settings": plain,
    }
    run_folder = setup.folder / f"{name}-seed-{seed}-{digest(key)}"
    rng = stream(seed, name, setup.device)
    net = make(rng)
    if not (run_folder / "result.json").exists():
        run_folder.mkdir(parents=True, exist_ok=True)
        files.write_json(run_folder / "key.json", key)
        _work(setup, run_folder, net, rng, loop, log_probs, validation)
    tensors, _ = tensor_files.load_tensors(run_folder / "net.safetensors", "net")
    checkpoint.fill(
        net, {at: tensor.to(setup.device) for at, tensor in tensors.items()}, [], run_folder
    )
    result = files.read_json(run_folder / "result.json")
    busy = sum(line.get("cpu_seconds", line["seconds"]) for line in result["passes"]) / 60
    return Done(
        net, digest(key), result["passes"], result["minutes"], round(busy, 3), result["errors"]
    )


def _work(
    setup: TableSetup,
    run_folder: Path,
    net: Module,
    rng: torch.Generator,
    loop: Loop[Module],
    log_probs: LogProbs[Module] | None,
    validation: Split | None,
) -> None:
    """Do what is left of a run, saving after each epoch; then write its weights and its result."""
    models = {"net": net}
    progress = resumed(run_folder / "checkpoint.safetensors", rng, models)
    lines = progress.notes.setdefault("lines", [])
    score = None
    if log_probs is not None and validation is not None:
        score = partial(_score, net, log_probs, validation, setup.device)

    def note(record: EpochResult) -> None:
        lines.append({"stage": record.stage, "epoch": record.epoch, **record.metrics})

    records = _timed(loop(net, progress.rng, progress.state))
    for record in run(progress, records, models, net, score=score, note=note):
        numbers = (
            (what, value)
            for what, value in record.metrics.items()
            if isinstance(value, float | int)
        )
        shown = "  ".join(f"{what} {value:.4g}" for what, value in numbers)
        print(
            f"{run_folder.name}  {record.stage} {record.epoch}/{record.epochs}  {shown}", flush=True
        )
    errors: dict[str, float] = {}
    if progress.best is not None:
        errors["validation_errors"] = progress.best.score[0]
    tested = setup.dataset.test
    if log_probs is not None and tested is not None:
        wrong, loss = _score(net, log_probs, tested, setup.device)
        errors |= {"test_error_percent": 100 * wrong / len(tested), "test_cross_entropy": loss}
    tensor_files.save_tensors(
        run_folder / "net.safetensors", checkpoint.model_tensors(net), {}, "net"
    )
    minutes = round(sum(line["seconds"] for line in lines) / 60, 3)
    files.write_json(
        run_folder / "result.json", {"passes": lines, "minutes": minutes, "errors": errors}
    )
    (run_folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _timed(records: Iterator[EpochResult]) -> Iterator[EpochResult]:
    """Yield records with the `seconds` and `cpu_seconds` that the loop took for each, scoring and
    saving left out.
    """
    began, busy = time.perf_counter(), time.process_time()
    for record in records:
        record.metrics["seconds"] = round(time.perf_counter() - began, 3)
        record.metrics["cpu_seconds"] = round(time.process_time() - busy, 3)
        yield record
        began, busy = time.perf_counter(), time.process_time()


def _score(
    net: Module, log_probs: LogProbs[Module], split: Split, device: torch.device
) -> tuple[int, float]:
    """Return errors and cross-entropy (nats a case) on labelled cases."""
    assert split.labels is not None
    return classify.errors_and_loss(
        log_probs(net, split.images.to(device)), split.labels.to(device)
    )


def fine_tune(
    setup: TableSetup,
    name: str,
    seed: int,
    config: BackpropConfig,
    cases: Split,
    make: Callable[[torch.Generator], nn.Sequential],
    origin: dict[str, Any],
    validation: Split | None = None,
) -> Done[nn.Sequential]:
    """Return the finished run of backpropagation on labelled cases, from the net that `make`
    returns; `origin` holds the settings it came of.

    The cases may be features, any numbers: they are not checked again.
    """
    labels = cases.labels
    assert labels is not None
    settings: dict[str, Any] = {"config": config, "dtype": setup.dtype, "checked": True}
    return learn(
        setup,
        name,
        seed,
        {"backprop": config, **origin},
        make=make,
        loop=lambda net, rng, state: backprop.epochs(
            net, cases.images, labels, rng=rng, state=state, **settings
        ),
        log_probs=partial(backprop.log_probs, checked=True),
        validation=validation,
    )


def take_layers(dbn: DBN, below: DBN, count: int) -> None:
    """Give `dbn` the first `count` layers of `below`, recognition and generative weights in one, in
    place.
    """
    for layer in range(count):
        dbn.rbm(layer).load_state_dict(below.rbm(layer).state_dict())


def collect(
    setup: TableSetup, name: str, done: list[Done[Any]], reported: str = "", **notes: Any
) -> list[Row]:
    """Return the rows of finished runs, one a seed: test errors, and validation errors where there
    are some.
    """
    rows = []
    for metric, published in (("test_error_percent", reported), ("validation_errors", "")):
        values = [run.errors[metric] for run in done if metric in run.errors]
        if values:
            rows.append(
                row_of(
                    setup,
                    name,
                    metric,
                    values,
                    done,
                    seeds=setup.seeds,
                    reported=published,
                    **notes,
                )
            )
    return rows


def row_of(
    setup: TableSetup,
    name: str,
    metric: str,
    values: list[float],
    done: Sequence[Done[Any]],
    **notes: Any,
) -> Row:
    """Return the row of finished runs, one a seed, with the median of their minutes: a run that was
    disturbed says nothing of the others.
    """
    minutes, precision = (
        round(statistics.median(run.minutes for run in done), 2),
        str(setup.dtype).removeprefix("torch."),
    )
    notes = {"minutes": minutes, "each": values, "precision": precision, **setup.where, **notes}
    return row(setup.dataset.name, name, metric, values, command=setup.command, **notes)
