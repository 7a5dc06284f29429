"""A run driven to its end on the command line: a bar, plain lines in a pipe, TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from wakesleep.learning.records import EpochResult
    from wakesleep.runs.training import Job


from wakesleep.cli.shared import go_on


def run_job(job: Job, *, as_json: bool, tensorboard: bool = False) -> int:
    """Drive a job to its end with a progress bar (plain lines in a pipe), then show its table."""
    from tqdm import tqdm

    from wakesleep.compute import distributed
    from wakesleep.runs import report, training

    if distributed.rank():  # the first one speaks
        for _ in training.train(job):
            pass
        distributed.shutdown()
        return 0
    shown = sys.stderr if as_json else sys.stdout
    for line in report.announce(job):
        print(line, file=shown)
    records = training.train(job, lambda line: tqdm.write(line, file=shown))
    if tensorboard:
        records = to_tensorboard(records, job.folder / "tensorboard")
    try:
        for line in _progress(records, job, shown):
            print(line, file=shown, flush=True)
    except KeyboardInterrupt:
        print(f"\nstopped; every finished epoch is saved; {go_on(job.folder)}", file=sys.stderr)
        return 130
    distributed.shutdown()
    result = (
        files.read_json(job.folder / "evaluation.json")
        if job.dataset.train.labels is not None
        else {"rows": []}
    )
    if as_json:
        print(files.to_json({"run": str(job.folder), **result}))
        return 0
    for line in report.table(job):
        print(line)
    return 0


def to_tensorboard(records: Iterator[EpochResult], folder: Path) -> Iterator[EpochResult]:
    """Hand records on, writing the metrics of each to `folder` as TensorBoard reads them.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs a package that is not here: pip install tensorboard"
        ) from error

    def handed_on() -> Iterator[EpochResult]:
        with SummaryWriter(str(folder)) as writer:
            for record in records:
                for name, value in record.metrics.items():
                    writer.add_scalar(f"{record.stage}/{name}", value, record.epoch)
                writer.flush()
                yield record

    return handed_on()


def _progress(records: Iterator[EpochResult], job: Job, shown: TextIO) -> Iterator[str]:
    """Show each epoch: on a terminal as a bar with rate and time left, in a pipe as a line that is
    yielded.
    """
    from tqdm import tqdm

    from wakesleep.evaluation import monitor
    from wakesleep.runs import report

    seconds = report.seconds_per_epoch(job)
    done = sum(
        seconds.get(stage, 0.0) * epochs for stage, epochs in report.epochs_done(job).items()
    )
    total = sum(seconds[stage] * epochs for stage, epochs in report.epochs_planned(job).items())
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(
        total=total,
        initial=done,
        file=shown,
        disable=not shown.isatty(),
        bar_format=form,
        leave=False,
        smoothing=0.05,
    ) as bar:
        for record in records:
            rate = job.last_rate
            bar.set_description_str(f"{record.stage} {record.epoch}/{record.epochs}")
            bar.set_postfix_str(f"{rate:,.0f} cases/s")
            bar.update(seconds[record.stage])
            warning = (
                monitor.silent_units(record.stage, record.metrics)
                if record.epoch == min(monitor.WATCHED, record.epochs)
                else None
            )
            if warning:
                bar.clear()
                yield f"warning: {warning}"
            if not shown.isatty():
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
                yield (
                    f"{record.stage} {record.epoch}/{record.epochs}  {rate:,.0f} cases/s  {numbers}"
                )


def say(as_json: bool) -> Callable[[str], None]:
    """Return what shows progress: one line that is written over on a terminal, nothing in a
    pipe.
    """
    shown = sys.stderr if as_json else sys.stdout

    def show(line: str) -> None:
        if shown.isatty():
            print(f"\r{line:<78}", end="\r", file=shown, flush=True)

    return show
