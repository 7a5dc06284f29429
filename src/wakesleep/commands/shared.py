"""What several commands do alike."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wakesleep.foundation.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch

    from wakesleep.checkpoint import Model
    from wakesleep.data import Dataset
    from wakesleep.learning.records import Pass
    from wakesleep.recipe import Job


def load_set(name: str, folder: Path | None) -> Dataset:
    """Return the data set of that name or path."""
    from wakesleep.data import load

    return load(name, folder=folder)


def set_for(model: Model, data: str | None, folder: Path | None) -> Dataset:
    """Return the data set of that name or path, by default what the model learned from, its classes numbered as the model numbers them."""
    from wakesleep.data import match_classes

    dataset = load_set(data or str(model.header.get("data_path", "digits")), folder)
    classes = model.header.get("classes", ())
    return match_classes(dataset, classes) if classes else dataset


def is_own(model: Model, dataset: Dataset) -> bool:
    """Return whether the model learned from this very set, so that cases other than its test cases are not new to it."""
    return dataset.checksum == model.header.get("data_checksum") or dataset.origin == model.header.get("data_path")


def model(path: Path, device: str) -> Model:
    """Return the model of a run folder or model file."""
    from wakesleep.checkpoint import load_model
    from wakesleep.foundation.devices import pick_device

    return load_model(path, pick_device(device))


def free_folder(path: Path) -> Path:
    """Return `path`, or path-2, path-3, ... where it exists."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise CheckpointError where `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; choose another name, or say --overwrite")


def meet(threads: int, device: str, before: str = "") -> torch.device:
    """Set the threads, meet the other ranks where torchrun started several, and return the device to work on.

    Without a number of threads: that of the run that goes on, in `before`, its device in words, for sums in another order are other
    numbers; else PyTorch's choice, which follows the processors this process may use and OMP_NUM_THREADS.
    """
    import torch

    from wakesleep.foundation import devices, distributed

    set_threads(threads)
    found = devices.pick_device(device)
    if not threads and found.type == "cpu" and (told := re.fullmatch(r"cpu: (\d+) threads", before)):
        torch.set_num_threads(int(told[1]))
    return distributed.join(found)


def set_threads(threads: int) -> None:
    """Use that many CPU threads; 0 leaves the choice to PyTorch."""
    import torch

    if threads < 0:
        raise ConfigError(f"--threads {threads}: expected 0 (PyTorch's choice) or more")
    if threads:
        torch.set_num_threads(threads)


def work(job: Job, *, as_json: bool, tensorboard: bool = False) -> int:
    """Drive a job to its end with a progress bar (plain lines in a pipe), then show its table."""
    from wakesleep import recipe, report
    from wakesleep.checkpoint import read_json
    from wakesleep.foundation import distributed

    if distributed.rank():  # the first one speaks
        for _ in recipe.train(job):
            pass
        distributed.leave()
        return 0
    shown = sys.stderr if as_json else sys.stdout
    for line in report.announce(job):
        print(line, file=shown)
    records = to_tensorboard(recipe.train(job), job.folder / "tensorboard") if tensorboard else recipe.train(job)
    try:
        for line in _progress(records, job, shown):
            print(line, file=shown, flush=True)
    except KeyboardInterrupt:
        print(f"\nstopped; every finished pass is saved. Go on with: wakesleep train --resume {job.folder}", file=sys.stderr)
        return 130
    distributed.leave()
    result = read_json(job.folder / "evaluation.json") if job.dataset.train.labels is not None else {"rows": []}
    if as_json:
        print(json.dumps({"run": str(job.folder), **result}))
        return 0
    for line in report.table(job):
        print(line)
    return 0


def to_tensorboard(records: Iterator[Pass], folder: Path) -> Iterator[Pass]:
    """Hand records on, writing the metrics of each to `folder` as TensorBoard reads them.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError('--tensorboard needs a package that is not here: pip install "wakesleep[tensorboard]"') from error

    def handed_on() -> Iterator[Pass]:
        with SummaryWriter(str(folder)) as writer:
            for record in records:
                for name, value in record.metrics.items():
                    writer.add_scalar(f"{record.stage}/{name}", value, record.epoch)
                writer.flush()
                yield record

    return handed_on()


def _progress(records: Iterator[Pass], job: Job, shown: TextIO) -> Iterator[str]:
    """Show each pass: on a terminal as a bar with rate and time left, in a pipe as a line that is yielded."""
    from tqdm import tqdm

    from wakesleep import report

    work = report.plan(job)
    done = sum(work.get(stage, 0.0) * passes for stage, passes in report.passes_done(job).items())
    total = sum(work[stage] * passes for stage, passes in report.passes_planned(job).items())
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=total, initial=done, file=shown, disable=not shown.isatty(), bar_format=form, leave=False, smoothing=0.05) as bar:
        for record in records:
            rate = job.last_rate
            bar.set_description_str(f"{record.stage} {record.epoch}/{record.epochs}")
            bar.set_postfix_str(f"{rate:,.0f} cases/s")
            bar.update(work[record.stage])
            if not shown.isatty():
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
                yield f"{record.stage} {record.epoch}/{record.epochs}  {rate:,.0f} cases/s  {numbers}"


def say(as_json: bool) -> Callable[[str], None]:
    """Return what shows progress: one line that is written over on a terminal, nothing in a pipe."""
    shown = sys.stderr if as_json else sys.stdout

    def show(line: str) -> None:
        if shown.isatty():
            print(f"\r{line:<78}", end="\r", file=shown, flush=True)

    return show
