"""The whole way in a run folder: pretrain, fine-tune, compare, evaluate. Every epoch is saved;
killing it loses at most one.

RUN/config.json             every setting
RUN/provenance.json         versions, seed, device, command, checksum of the data, minutes
RUN/metrics.jsonl           a line an epoch
RUN/checkpoint.safetensors  until all the rest is written: everything needed to go on
RUN/model.safetensors       when it is done: the generative model and the net fine-tuned from it
RUN/evaluation.json         test errors of each method
RUN/figures/                receptive fields, reconstructions, dreams, error curves

Under torchrun all ranks go the same way, each on its share of the cases; the first one writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from wakesleep.compute import distributed, machine
from wakesleep.data import Split
from wakesleep.evaluation import classify
from wakesleep.foundation import files
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbm import DBM
from wakesleep.runs import checkpoint, progress, scores
from wakesleep.runs.job import Job as Job
from wakesleep.runs.job import lock
from wakesleep.runs.job import new_run as new_run
from wakesleep.runs.job import resume_run as resume_run
from wakesleep.runs.scores import evaluate, tested
from wakesleep.runs.stages import Stage, begin

Say = Callable[[str], None]


def train(job: Job, say: Say = lambda line: None) -> Iterator[EpochResult]:
    """Do what is left of the job, yielding a record after each epoch, once it is saved; then write
    model, evaluation and figures.

    `say` is told what is being done after the last epoch. The folder is locked until the end, or
    until the iterator is closed.
    """
    if distributed.rank() == 0 and job.lock is None:
        job.lock = lock(job.folder)
    try:
        yield from _train(job, say)
    finally:
        if job.lock is not None:
            job.lock.close()
            job.lock = None


def _train(job: Job, say: Say) -> Iterator[EpochResult]:
    metrics = job.folder / "metrics.jsonl"
    if distributed.rank() == 0:
        job.lines = _keep_lines(metrics, job.lines)
    for position in range(job.position, len(job.config.stages)):
        name = job.config.stages[position]
        if position != job.position:
            job.position = position
            job.progress = job.at_the_beginning()
        distributed.broadcast_parameters(job.model, *job.nets.values())
        job.began = time.perf_counter()
        stage = begin(job)
        score, note = _validation_score(stage, job.validation), partial(_note, job, name)
        for record in progress.run(
            job.progress,
            stage.records,
            job.models(),
            stage.net,
            score=score,
            keep_best=stage.keep_best,
            note=note,
        ):
            yield record
            job.began = time.perf_counter()
        if job.progress.best is not None:
            job.provenance[f"{name}_pass"] = job.progress.best.epoch
    if distributed.rank() == 0:
        _finish(job, say)


def _validation_score(
    stage: Stage, validation: Split | None
) -> Callable[[], tuple[int, float]] | None:
    """Return what counts errors on validation cases and measures the cross-entropy; None without
    labelled ones, or of a net without labels.
    """
    if stage.log_probs is None or validation is None or validation.labels is None:
        return None
    log_probs, images, labels = stage.log_probs, validation.images, validation.labels
    return lambda: classify.errors_and_loss(log_probs(images), labels)


def _note(job: Job, name: str, record: EpochResult) -> None:
    """Take an epoch of the stage `name` into the job's times and metrics, before it is saved."""
    seconds = time.perf_counter() - job.began
    job.last_rate = record.cases * distributed.ranks() / seconds
    record.metrics.update(distributed.mean_of_each(record.metrics, job.device))
    job.lines += 1
    job.seconds[name] = job.seconds.get(name, 0.0) + seconds
    if distributed.rank() == 0:
        line = {
            "stage": record.stage,
            "epoch": record.epoch,
            "epochs": record.epochs,
            **record.metrics,
        }
        timed = {**line, "seconds": round(seconds, 3), "cases_per_second": round(job.last_rate)}
        files.append(job.folder / "metrics.jsonl", files.to_json(timed) + "\n")
    job.progress.notes = job.notes()


def _keep_lines(path: Path, count: int) -> int:
    """Keep at most `count` whole lines of metrics and return how many there are.

    Dropped are a line that was never finished and that of an epoch that was never saved: a kill may
    fall within or after it.
    """
    text = "".join(files.whole_lines(path)[:count])
    if path.exists() and path.stat().st_size != len(text.encode()):
        files.write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return text.count("\n")


def _finish(job: Job, say: Say) -> None:
    """Write the model, then the evaluation of every method and the figures.

    The checkpoint stays until all is written, so that a run killed on the way can be gone on with.
    """
    from wakesleep.runs import deep_figures, figures

    minutes = {name: round(seconds / 60, 3) for name, seconds in job.seconds.items()}
    done = datetime.now(UTC).isoformat(timespec="seconds")
    job.provenance |= {
        "finished": done,
        "minutes": minutes,
        "peak_memory_gb": machine.peak_memory_gb(),
    }
    files.write_json(job.folder / "provenance.json", job.provenance)
    model = job.folder / "model.safetensors"
    models = {job.config.model: job.model, "net": job.nets.get("backprop")}
    checkpoint.save_models(model, models, job.header())
    say(f"model saved: {model}")
    if job.dataset.train.labels is not None:
        part, cases = tested(job.dataset, job.config.validation)
        rows = (
            [evaluate(job.model, None, cases, job.dataset.name, scores.own_method(job.model), part)]
            if job.model.labels
            else []
        )
        rows += [
            evaluate(job.model, net, cases, job.dataset.name, name, part)
            for name, net in job.nets.items()
        ]
        files.write_json(job.folder / "evaluation.json", {"part": part, "rows": rows})
    if isinstance(job.model, DBM):
        deep_figures.draw_run(job.folder, job.model, job.dataset, seed=job.config.seed, say=say)
    else:
        figures.draw_run(job.folder, job.model, job.dataset, seed=job.config.seed, say=say)
    (job.folder / "checkpoint.safetensors").unlink(missing_ok=True)
