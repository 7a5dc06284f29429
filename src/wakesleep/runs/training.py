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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed, machine, select
from wakesleep.compute.select import pick_precision
from wakesleep.data import KNOWN, Dataset, Split, distort, hold_out, match_classes, prepared, some
from wakesleep.data.unlabelled import has_unlabelled, labelled
from wakesleep.evaluation import classify, monitor
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.foundation.rng import generator, stream
from wakesleep.learning import backprop, greedy, hybrid, semi_supervised, spreading, up_down
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint, progress
from wakesleep.runs.progress import Progress
from wakesleep.runs.settings import TrainConfig, for_this_rank, read_config, to_json
from wakesleep.sources.arrays import order
from wakesleep.sources.shards import Shards

Say = Callable[[str], None]
PICKING = 1000
"""Validation cases from which they pick the epoch of contrastive wake-sleep. A few dozen tell
epochs apart by chance: they took the first one in 4 of 8 runs on 300 to 700 pictures, at the
highest rate and before its chains had gone anywhere, whose dreams were one smudge.
"""


@dataclass
class Job:
    """A run in progress: the data, the nets so far, and where it stands."""

    folder: Path
    config: TrainConfig
    dataset: Dataset
    train: Split
    validation: Split | None
    dbn: DBN
    nets: dict[str, nn.Sequential]
    about: dict[str, Any]
    position: int = 0
    """The stage that is being worked on."""
    progress: Progress = field(init=False, repr=False)
    """Where it stands in that stage."""
    began: float = 0.0
    """When the epoch that is being worked on did, on the clock of `time.perf_counter`."""
    lines: int = 0
    """How many lines of metrics are settled."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent learning, by stage."""
    last_rate: float = 0.0
    """Cases per second of the last epoch."""
    shards: Shards | None = None
    """The training cases where they stay on the disk; `train` is a sample of them then, and
    `validation` the test cases, which pick nothing.
    """

    lock: files.Lock | None = field(default=None, repr=False)
    """What keeps other processes out of the folder."""

    @property
    def cases(self) -> int:
        """How many cases this rank sees in an epoch."""
        return len(self.train) if self.shards is None else len(self.shards) // distributed.ranks()

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return self.dbn.memory.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of matrix products."""
        return pick_precision(self.config.precision, self.device)


class Stage(NamedTuple):
    """What is left of a stage."""

    net: nn.Module
    """What it trains."""
    records: Iterator[EpochResult]
    log_probs: Callable[[Tensor], Tensor] | None = None
    """log p(label | image) of images (N, pixels), (N, labels); None where the net tells no
    labels.
    """
    pick: bool = True
    """Whether validation cases say after which epoch the net is left; else it is the last."""


def _on(split: Split, device: torch.device) -> Split:
    return Split(split.images.to(device), None if split.labels is None else split.labels.to(device))


def _parts(dataset: Dataset, validation: float) -> tuple[Split, Split | None]:
    """Return the cases to train on and those held out: the last ones of the published sets, as is
    the custom, a balanced draw of others.

    A set of one's own may well be sorted by class, so its order is not trusted.
    """
    if dataset.files is not None:
        if validation:
            raise ConfigError(
                f"{dataset.name} stays on the disk and holds out its last "
                f"{dataset.files.spare:,} cases by itself: --validation 0"
            )
        return dataset.train, dataset.test
    if not validation:
        return dataset.train, None
    cases = dataset.train
    if not dataset.published:
        place = order(cases.labels, len(cases), generator(0))
        cases = Split(cases.images[place], None if cases.labels is None else cases.labels[place])
    return hold_out(
        cases, int(validation) if validation >= 1 else max(1, round(validation * len(cases)))
    )


def _new_job(
    folder: Path, config: TrainConfig, dataset: Dataset, device: torch.device, about: dict[str, Any]
) -> Job:
    labelled = dataset.train.labels is not None
    supervised = [stage for stage in config.stages if stage in ("hybrid", "backprop", "random")]
    if not labelled and (supervised or config.label_memory):
        raise ConfigError(
            f"{dataset.name} has no labels, so it cannot serve {supervised or 'a label memory'}; "
            "use --stages pretrain --no-label-memory to learn to generate only"
        )
    if labelled and (supervised or config.label_memory) and len(dataset.classes) < 2:
        raise ConfigError(
            f"only one class was found in {dataset.name}, {dataset.classes[0]}: there is nothing "
            "to tell apart; add cases of a second class, or use --stages pretrain "
            "--no-label-memory to learn to generate only"
        )
    if "hybrid" in config.stages and not config.label_memory:
        raise ConfigError(
            "the hybrid recognises by the labels of its memory: leave out --no-label-memory, or "
            "the stage hybrid"
        )
    whole = [stage for stage in config.stages if stage in ("updown", "hybrid", "semisupervised")]
    if dataset.files is not None and whole:
        raise ConfigError(
            f"{dataset.name} stays on the disk, and {' and '.join(whole)} want all cases in "
            "memory: use --stages pretrain backprop; or save what memory holds as one .npz"
        )
    if dataset.files is not None and config.shifted:
        raise ConfigError(
            f"{dataset.name} stays on the disk, where its pictures cannot be shown in nine "
            "places: use --no-shifted"
        )
    if has_unlabelled(dataset.train):
        _check_few_labels(dataset, config)
    train, validation = _parts(dataset, config.validation)
    if config.shifted:
        train = Split(
            distort.shifted(train.images, dataset.shape),
            None if train.labels is None else train.labels.repeat(9),
        )
    shards = None
    if dataset.files is not None:
        shards = Shards(
            dataset.files.images,
            dataset.files.labels,
            chunk=config.chunk,
            spare=dataset.files.spare,
        )
    sizes = (dataset.train.images.shape[1], *config.hidden)
    labels = len(dataset.classes) if config.label_memory else 0
    dbn = DBN(sizes, labels=labels, rng=stream(config.seed, "init", device))
    on_device = None if validation is None else _on(validation, device)
    own = Split(
        distributed.share(train.images),
        None if train.labels is None else distributed.share(train.labels),
    )
    return Job(
        folder,
        for_this_rank(config),
        dataset,
        _on(own, device),
        on_device,
        dbn,
        {},
        about,
        shards=shards,
    )


def _check_few_labels(dataset: Dataset, config: TrainConfig) -> None:
    """Raise ConfigError where settings do not suit a set most of whose cases have no label."""
    if config.validation:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, and the few that have one are learned "
            "from: use --validation 0"
        )
    if config.shifted:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, and labels spread among cases as they "
            "are: use --no-shifted"
        )
    if distributed.ranks() > 1:
        raise ConfigError(
            f"most cases of {dataset.name} have no label, which one process learns from; start it "
            "without torchrun"
        )


def new_run(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    device: torch.device,
    command: str,
    *,
    data_path: str | None = None,
    labels_from: Path | None = None,
    dbn: DBN | None = None,
) -> Job:
    """Make a new run folder and the job that fills it, starting from `dbn` where one is given.

    `data_path` is the name or path by which the data can be loaded again, by default the data set's
    name; `labels_from` is the file of its labels where they came from one.

    Raises:
        CheckpointError: the folder exists and is not empty, or cannot be made.
        ConfigError: settings that do not fit the data.
    """
    writes = distributed.rank() == 0
    if writes and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(
            f"{folder} exists; choose another folder, or go on with it: wakesleep train "
            f"--resume {folder}"
        )
    # settled once, so that a resumed run goes on with the same numbers
    if config.precision == "auto":
        reduced = distributed.broadcast_scalar(pick_precision("auto", device) == torch.bfloat16)
        config = replace(config, precision="bfloat16" if reduced else "float32")
    about = {
        "data": dataset.name,
        "data_path": _absolute(data_path or dataset.origin or dataset.name),
        "labels_from": "" if labels_from is None else str(labels_from.expanduser().resolve()),
        "data_checksum": dataset.checksum,
        "preparation": prepared(dataset).as_json(),
        "seed": config.seed,
        "device": machine.describe(device),
        "backend": select.describe(),
        "ranks": distributed.ranks(),
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": machine.versions(),
    }
    job = _new_job(folder, config, dataset, device, about)
    if dbn is not None:
        if dbn.sizes != job.dbn.sizes or dbn.labels not in (0, len(dataset.classes)):
            raise ConfigError(
                f"the model has layers {dbn.sizes} and {dbn.labels} labels, the data and settings "
                f"ask for {job.dbn.sizes} and {len(dataset.classes)}; give it data of the same kind"
            )
        job.dbn = dbn
    if writes:
        try:
            (folder / "figures").mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(
                f"{folder} cannot be made ({error}); choose another folder"
            ) from error
        files.write_json(folder / "config.json", {"format": checkpoint.FORMAT, **to_json(config)})
        files.write_json(folder / "provenance.json", about)
        job.lock = _locked(folder)
    job.progress = _at_the_beginning(job)
    job.progress.notes = _notes(job)
    job.progress.save(_models(job))
    return job


def _at_the_beginning(job: Job) -> Progress:
    """Return where the job stands before the first epoch of its stage."""
    name, rank = job.config.stages[job.position], distributed.rank()
    return Progress(
        job.folder / "checkpoint.safetensors",
        stream(job.config.seed, f"{name}/rank {rank}" if rank else name, job.device),
    )


def _models(job: Job) -> dict[str, nn.Module]:
    return {"dbn": job.dbn, **{f"net/{name}": net for name, net in job.nets.items()}}


def _notes(job: Job) -> dict[str, Any]:
    """Return what a checkpoint says besides where the stage stands: how to build the models, and
    how far stages and metrics go.
    """
    models: dict[str, nn.Module] = {"dbn": job.dbn} | (
        {"net": job.nets["backprop"]} if "backprop" in job.nets else {}
    )
    specs = {name: checkpoint.model_spec(model) for name, model in models.items()}
    picked = {name: epoch for name, epoch in job.about.items() if name.endswith("_pass")}
    return {
        "position": job.position,
        "lines": job.lines,
        "seconds": job.seconds,
        "picked": picked,
        "models": specs,
        **_header(job),
    }


def _locked(folder: Path) -> files.Lock | None:
    """Return the lock of a run folder, held until it is closed or the process ends: two that train
    one run spoil it.
    """
    try:
        return files.lock(folder / "config.json")
    except BlockingIOError as error:
        raise CheckpointError(
            f"{folder} is in use: it is being trained already; wait until that ends, or "
            "stop it first"
        ) from error


def _absolute(data: str) -> str:
    """Return a path of the user's own as an absolute one, so that the run finds it from anywhere;
    names stay names.
    """
    return data if data in KNOWN else str(Path(data).expanduser().resolve())


def resume_run(folder: Path, dataset: Dataset, device: torch.device) -> Job:
    """Return the job of a run folder, to go on after its last saved epoch.

    Raises:
        CheckpointError: no run there, one that is finished, one that is being trained, or one that
            learned from other data.
        DataError: the classes have other names than then.
    """
    about, config = files.read_json(folder / "provenance.json"), read_config(folder)
    if (folder / "model.safetensors").exists() and not (folder / "checkpoint.safetensors").exists():
        raise CheckpointError(
            f"{folder} is finished; nothing is left to resume. Look at it: wakesleep "
            f"evaluate {folder}"
        )
    if about.get("data_checksum") != dataset.checksum:
        raise CheckpointError(
            f"{folder} learned from other data than {dataset.name} is now (checksums differ); "
            "give it the same data"
        )
    lock = _locked(folder) if distributed.rank() == 0 else None
    files.remove_abandoned(folder)
    path = folder / "checkpoint.safetensors"
    found, parts = progress.read(path, device)
    header = found.notes
    dataset = match_classes(dataset, header["classes"], str(folder))
    job = _new_job(folder, config, dataset, device, about)
    job.lock = lock
    if header.get("ranks", 1) != distributed.ranks():
        raise CheckpointError(
            f"{folder} was left by {header.get('ranks', 1)} ranks, now there are "
            f"{distributed.ranks()}; go on with as many"
        )
    job.dbn = cast(
        DBN,
        checkpoint.build(
            checkpoint.specs(header, {}, path).get("dbn", {}), parts.get("dbn", {}), path
        ).to(device),
    )
    for name, net_tensors in parts.get("net", {}).items():
        job.nets[name] = backprop.feed_forward((*job.dbn.sizes, len(dataset.classes)), device)
        checkpoint.fill(job.nets[name], net_tensors, [], path)
    job.position, job.lines = header["position"], header["lines"]
    job.seconds = dict(header["seconds"])
    job.about |= header.get("picked", {})
    job.progress = _at_the_beginning(job) if found.state is None else found
    return job


def _header(job: Job) -> dict[str, Any]:
    return {
        "shape": list(job.dataset.shape),
        "classes": list(job.dataset.classes),
        "preparation": prepared(job.dataset).as_json(),
        "data_path": job.about["data_path"],
        "data_checksum": job.dataset.checksum,
        "validation": job.config.validation,
        "seed": job.config.seed,
    }


def train(job: Job, say: Say = lambda line: None) -> Iterator[EpochResult]:
    """Do what is left of the job, yielding a record after each epoch, once it is saved; then write
    model, evaluation and figures.

    `say` is told what is being done after the last epoch. The folder is locked until the end, or
    until the iterator is closed.
    """
    if distributed.rank() == 0 and job.lock is None:
        job.lock = _locked(job.folder)
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
            job.progress = _at_the_beginning(job)
        distributed.broadcast_parameters(job.dbn, *job.nets.values())
        job.began = time.perf_counter()
        stage = STAGES[name](job)
        score, note = _validation_score(stage, job.validation), partial(_note, job, name)
        for record in progress.run(
            job.progress,
            stage.records,
            _models(job),
            stage.net,
            score=score,
            pick=stage.pick,
            note=note,
        ):
            yield record
            job.began = time.perf_counter()
        if job.progress.best is not None:
            job.about[f"{name}_pass"] = job.progress.best.epoch
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
    job.progress.notes = _notes(job)


def _keep_lines(path: Path, count: int) -> int:
    """Keep at most `count` whole lines of metrics and return how many there are.

    Dropped are a line that was never finished and that of an epoch that was never saved: a kill may
    fall within or after it.
    """
    kept = "".join(files.whole_lines(path)[:count])
    if path.exists() and path.stat().st_size != len(kept.encode()):
        files.write_atomically(path, lambda temporary: temporary.write_text(kept, encoding="utf-8"))
    return kept.count("\n")


def _pretrain(job: Job) -> Stage:
    """Greedy pretraining, watched."""
    settings: dict[str, Any] = {
        "config": job.config.greedy,
        "rng": job.progress.rng,
        "state": job.progress.state,
        "dtype": job.dtype,
    }
    images, labels = (
        (job.train.images, job.train.labels) if job.shards is None else (job.shards, None)
    )
    return Stage(job.dbn, _watch(job, greedy.epochs(job.dbn, images, labels, **settings)))


def _watch(job: Job, records: Iterator[EpochResult]) -> Iterator[EpochResult]:
    """Yield the records of pretraining with what the monitors say; the memory's also how many
    validation cases its free energies get wrong.
    """
    watched: dict[int, tuple[Tensor, Tensor | None]] = {}
    for record in records:
        layer = record.state.layer
        if layer not in watched:
            watched = {
                layer: (
                    _watched(job, job.train, layer),
                    None if job.validation is None else _watched(job, job.validation, layer),
                )
            }
        increment = record.state.inner.velocity.get("weight")
        # the same draws in each epoch, so that epochs compare
        rng_here = stream(job.config.seed, f"monitor {record.stage}", job.device)
        record.metrics.update(
            monitor.measure(
                job.dbn.rbm(layer), *watched[layer], rng=rng_here, increment=increment, checked=True
            )
        )
        if (
            record.stage == "memory"
            and job.dbn.labels
            and job.validation is not None
            and job.validation.labels is not None
        ):
            errors = classify.count_errors(
                classify.predict(job.dbn, job.validation.images), job.validation.labels
            )
            record.metrics["validation_errors"] = errors
        yield record


def _watched(job: Job, split: Split, layer: int) -> Tensor:
    """Return what the RBM of a layer sees of some cases: as many training as validation cases, so
    that their free energies compare.

    A thirtieth of the training cases at most, so that watching costs little beside learning.
    """
    count = min(
        monitor.CASES,
        max(len(job.train) // 30, 20),
        len(job.train),
        len(job.validation or job.train),
    )
    images, labels = (seen := some(job.dataset, labelled(split), count)).images, seen.labels
    if layer == job.dbn.depth - 1:
        return greedy.memory_cases(job.dbn, images, labels, checked=True)
    return greedy.features(job.dbn, images, layer, checked=True)


def _fine_tune(
    name: str, make: Callable[[Job, torch.Generator], nn.Sequential]
) -> Callable[[Job], Stage]:
    """Return the stage that trains a feed-forward net."""

    def stage(job: Job) -> Stage:
        rng, state = job.progress.rng, job.progress.state
        if state is None:
            job.nets[name] = make(job, rng)
            distributed.broadcast_parameters(job.nets[name])
        net = job.nets[name]
        assert job.train.labels is not None
        settings: dict[str, Any] = {
            "config": getattr(job.config, name),
            "rng": rng,
            "state": state,
            "stage": name,
            "dtype": job.dtype,
        }
        if job.shards is not None:
            return Stage(net, backprop.epochs(net, job.shards, **settings))
        if has_unlabelled(job.train):
            images, labels, settings["weights"] = (
                _known_or_spread(job)
                if name == "backprop"
                else (*_tensors(labelled(job.train)), None)
            )
        else:
            images, labels = job.train.images, job.train.labels
        return Stage(
            net,
            backprop.epochs(net, images, labels, **settings),
            lambda images: backprop.log_probs(net, images),
        )

    return stage


def _tensors(split: Split) -> tuple[Tensor, Tensor]:
    assert split.labels is not None
    return split.images, split.labels


def _known_or_spread(job: Job) -> tuple[Tensor, Tensor, Tensor]:
    """Return all cases, a label for each, known or spread among the codes below the memory, and how
    sure it is.
    """
    images, labels = _tensors(job.train)
    return images, *spreading.spread_labels(
        greedy.features(job.dbn, images, job.dbn.depth - 1, checked=True), labels
    )


def _semisupervised(job: Job) -> Stage:
    """The net that backpropagation left goes on with known labels and with what it says of all
    cases.
    """
    net, rng, state = job.nets["backprop"], job.progress.rng, job.progress.state
    settings: dict[str, Any] = {
        "config": job.config.semisupervised,
        "rng": rng,
        "state": state,
        "stage": "semisupervised",
    }
    records = semi_supervised.epochs(net, *_tensors(job.train), dtype=job.dtype, **settings)
    return Stage(net, records, lambda images: backprop.log_probs(net, images))


def _updown(job: Job) -> Stage:
    """Contrastive wake-sleep."""
    images, labels = job.train.images, job.train.labels if job.dbn.labels else None
    rng, state = job.progress.rng, job.progress.state
    records = up_down.epochs(
        job.dbn, images, labels, config=job.config.updown, rng=rng, state=state, dtype=job.dtype
    )
    log_probs = (lambda images: classify.log_probs(job.dbn, images)) if job.dbn.labels else None
    enough = job.validation is not None and len(job.validation) >= PICKING
    return Stage(job.dbn, records, log_probs, enough)


def _hybrid(job: Job) -> Stage:
    """Contrastive wake-sleep and backpropagation on the same weights."""
    rng, state = job.progress.rng, job.progress.state
    records = hybrid.epochs(
        job.dbn,
        *_tensors(job.train),
        config=job.config.hybrid,
        rng=rng,
        state=state,
        dtype=job.dtype,
    )
    return Stage(job.dbn, records, lambda images: classify.log_probs(job.dbn, images))


def _pretrained_net(job: Job, rng: torch.Generator) -> nn.Sequential:
    return backprop.classifier(
        job.dbn, len(job.dataset.classes), rng=rng, start="memory" if job.dbn.labels else "small"
    )


def _random_net(job: Job, rng: torch.Generator) -> nn.Sequential:
    return backprop.random_classifier((*job.dbn.sizes, len(job.dataset.classes)), rng=rng)


STAGES: dict[str, Callable[[Job], Stage]] = {
    "pretrain": _pretrain,
    "updown": _updown,
    "hybrid": _hybrid,
    "backprop": _fine_tune("backprop", _pretrained_net),
    "semisupervised": _semisupervised,
    "random": _fine_tune("random", _random_net),
}


def tested(dataset: Dataset, validation: float) -> tuple[str, Split]:
    """Return what a run's errors are counted on, and what it is: "test", else "validation", which
    picked the epoch, else "train".
    """
    if dataset.test is not None:
        return "test", dataset.test
    held_out = _parts(dataset, validation)[1]
    return ("train", labelled(dataset.train)) if held_out is None else ("validation", held_out)


def evaluate(
    dbn: DBN, net: nn.Sequential | None, split: Split, name: str, method: str, part: str = "test"
) -> dict[str, Any]:
    """Return the errors of one method on labelled cases: `method` is "free-energy" (the generative
    model) or the name of a net.

    `part` says what cases they are: "test", "validation" or "train".

    Raises:
        ConfigError: the cases have no labels, or do not fit the net.
    """
    images, labels = cases_for(dbn, split, name)
    return score(
        classify.log_probs(dbn, images) if net is None else backprop.log_probs(net, images),
        labels,
        name,
        method,
        part,
    )


def cases_for(dbn: DBN, split: Split, name: str) -> tuple[Tensor, Tensor]:
    """Return images and labels on the net's device.

    Raises:
        ConfigError: the cases have no labels, or do not fit the net.
    """
    if split.labels is None:
        raise ConfigError(f"{name} has no labels, so errors cannot be counted")
    if split.images.shape[1] != dbn.sizes[0]:
        raise ConfigError(
            f"{name} has pictures of {split.images.shape[1]} pixels, the net expects {dbn.sizes[0]}"
        )
    device = dbn.memory.weight.device
    return split.images.to(device), split.labels.to(device)


def score(
    log_probs: Tensor, labels: Tensor, name: str, method: str, part: str = "test"
) -> dict[str, Any]:
    """Return the errors of log p(label | image), (N, labels), as a row of an evaluation: n_test,
    test_errors, test_error_percent.

    Of cases that were no test cases the names say so: n_validation, validation_errors, ...;
    n_train, train_errors, ...
    """
    errors, loss = classify.errors_and_loss(log_probs, labels)
    return {
        "dataset": name,
        "part": part,
        f"n_{part}": len(labels),
        f"{part}_errors": errors,
        f"{part}_error_percent": round(100 * errors / len(labels), 4),
        "cross_entropy_nats": loss,
        "method": method,
    }


def _finish(job: Job, say: Say) -> None:
    """Write the model, then the evaluation of every method and the figures.

    The checkpoint stays until all is written, so that a run killed on the way can be gone on with.
    """
    from wakesleep.runs import figures

    minutes = {name: round(seconds / 60, 3) for name, seconds in job.seconds.items()}
    done = datetime.now(UTC).isoformat(timespec="seconds")
    job.about |= {"finished": done, "minutes": minutes, "peak_memory_gb": machine.peak_memory_gb()}
    files.write_json(job.folder / "provenance.json", job.about)
    model = job.folder / "model.safetensors"
    checkpoint.save_model(model, job.dbn, job.nets.get("backprop"), _header(job))
    say(f"model saved: {model}")
    if job.dataset.train.labels is not None:
        part, cases = tested(job.dataset, job.config.validation)
        rows = (
            [evaluate(job.dbn, None, cases, job.dataset.name, "free-energy", part)]
            if job.dbn.labels
            else []
        )
        rows += [
            evaluate(job.dbn, net, cases, job.dataset.name, name, part)
            for name, net in job.nets.items()
        ]
        files.write_json(job.folder / "evaluation.json", {"part": part, "rows": rows})
    figures.draw_run(job.folder, job.dbn, job.dataset, seed=job.config.seed, say=say)
    (job.folder / "checkpoint.safetensors").unlink(missing_ok=True)
