"""A run in progress: its folder, its data, the nets so far, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from wakesleep.compute import distributed, machine, select
from wakesleep.compute.select import pick_precision
from wakesleep.data import KNOWN, LOCAL, Dataset, Split, distort, match_classes, prepared
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.foundation.rng import generator, stream
from wakesleep.learning import backprop, deep_boltzmann, net_spec
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint, progress
from wakesleep.runs.cases import check_fit, on_device, parts
from wakesleep.runs.progress import Progress
from wakesleep.runs.settings import TrainConfig, for_this_rank, read_config, to_json
from wakesleep.sources.shards import Shards


@dataclass
class Job:
    """A run in progress: the data, the nets so far, and where it stands."""

    folder: Path
    config: TrainConfig
    dataset: Dataset
    train: Split
    validation: Split | None
    model: DBN | DBM
    nets: dict[str, nn.Sequential]
    provenance: dict[str, Any]
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

    neighbours: Any = field(default=None, repr=False)
    """The graph of neighbours among the codes, once a stage on few labels has made it."""
    lock: files.Lock | None = field(default=None, repr=False)
    """What keeps other processes out of the folder."""

    @property
    def dbn(self) -> DBN:
        """The deep belief net that learns."""
        assert isinstance(self.model, DBN)
        return self.model

    @property
    def dbm(self) -> DBM:
        """The deep Boltzmann machine that learns."""
        assert isinstance(self.model, DBM)
        return self.model

    @property
    def cases(self) -> int:
        """How many cases this rank sees in an epoch."""
        return len(self.train) if self.shards is None else len(self.shards) // distributed.ranks()

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of matrix products."""
        return pick_precision(self.config.precision, self.device)

    def models(self) -> dict[str, nn.Module]:
        """Return all that learns, by the names of a checkpoint."""
        nets = {f"net/{name}": net for name, net in self.nets.items()}
        return {self.config.model: self.model, **nets}

    def header(self) -> dict[str, Any]:
        """Return what files of the run say of its data."""
        return {
            "shape": list(self.dataset.shape),
            "classes": list(self.dataset.classes),
            "preparation": prepared(self.dataset).as_json(),
            "data_path": self.provenance["data_path"],
            "data_checksum": self.dataset.checksum,
            "validation": self.config.validation,
            "seed": self.config.seed,
        }

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint says besides where the stage stands: how to build the models,
        and how far stages and metrics go.
        """
        models: dict[str, nn.Module] = {self.config.model: self.model} | (
            {"net": self.nets["backprop"]} if "backprop" in self.nets else {}
        )
        return {
            "position": self.position,
            "lines": self.lines,
            "seconds": self.seconds,
            "picked": {
                name: epoch for name, epoch in self.provenance.items() if name.endswith("_pass")
            },
            "models": {name: checkpoint.model_spec(model) for name, model in models.items()},
            **self.header(),
        }

    def at_the_beginning(self) -> Progress:
        """Return where the job stands before the first epoch of its stage."""
        name, rank = self.config.stages[self.position], distributed.rank()
        return Progress(
            self.folder / "checkpoint.safetensors",
            stream(self.config.seed, f"{name}/rank {rank}" if rank else name, self.device),
        )


def _new_job(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    device: torch.device,
    provenance: dict[str, Any],
) -> Job:
    """Return a job before its first epoch, this rank's share of the cases on its device."""
    check_fit(dataset, config)
    train, validation = parts(dataset, config.validation)
    if config.shifted:
        train = Split(
            distort.shifted(train.images, dataset.shape),
            None if train.labels is None else train.labels.repeat(9),
        )
    shards, stored = None, dataset.files
    if stored is not None:
        shards = Shards(stored.images, stored.labels, chunk=config.chunk, spare=stored.spare)
    sizes = (dataset.train.images.shape[1], *config.hidden)
    labels = len(dataset.classes) if config.label_memory else 0
    rng = stream(config.seed, "init", device)
    model = (DBM if config.model == "dbm" else DBN)(sizes, labels=labels, rng=rng)
    own = Split(
        distributed.share(train.images),
        None if train.labels is None else distributed.share(train.labels),
    )
    return Job(
        folder,
        for_this_rank(config),
        dataset,
        on_device(own, device),
        None if validation is None else on_device(validation, device),
        model,
        {},
        provenance,
        shards=shards,
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
    model: DBN | DBM | None = None,
) -> Job:
    """Make a new run folder and the job that fills it, starting from `model` where one is given.

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
    provenance = _provenance(dataset, config, device, command, data_path, labels_from)
    job = _new_job(folder, config, dataset, device, provenance)
    if model is not None:
        if model.sizes != job.model.sizes or model.labels not in (0, len(dataset.classes)):
            raise ConfigError(
                f"the model has layers {model.sizes} and {model.labels} labels, the data and "
                f"settings ask for {job.model.sizes} and {len(dataset.classes)}; give it data of "
                "the same kind"
            )
        job.model = model
    elif config.model == "dbm" and config.stages == ("backprop",):
        raise ConfigError(
            "stages backprop of a deep Boltzmann machine that learned nothing: expected pretrain "
            "dbm backprop, or wakesleep finetune RUN"
        )
    if writes:
        try:
            (folder / "figures").mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(
                f"{folder} cannot be made ({error}); choose another folder"
            ) from error
        files.write_json(folder / "config.json", {"format": files.FORMAT, **to_json(config)})
        files.write_json(folder / "provenance.json", provenance)
        job.lock = lock(folder)
    job.progress = job.at_the_beginning()
    job.progress.notes = job.notes()
    job.progress.save(job.models())
    return job


def _provenance(
    dataset: Dataset,
    config: TrainConfig,
    device: torch.device,
    command: str,
    data_path: str | None,
    labels_from: Path | None,
) -> dict[str, Any]:
    """Return where a run comes from: its data, machine, versions and command."""
    return {
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


def resume_run(folder: Path, dataset: Dataset, device: torch.device) -> Job:
    """Return the job of a run folder, to go on after its last saved epoch.

    Raises:
        CheckpointError: no run there, one that is finished, one that is being trained, or one that
            learned from other data.
        DataError: the classes have other names than then.
    """
    provenance, config = files.read_json(folder / "provenance.json"), read_config(folder)
    if (folder / "model.safetensors").exists() and not (folder / "checkpoint.safetensors").exists():
        raise CheckpointError(
            f"{folder} is finished; nothing is left to resume. Look at it: wakesleep "
            f"evaluate {folder}"
        )
    if provenance.get("data_checksum") != dataset.checksum:
        raise CheckpointError(
            f"{folder} learned from other data than {dataset.name} is now (checksums differ); "
            "give it the same data"
        )
    held = lock(folder) if distributed.rank() == 0 else None
    files.remove_abandoned(folder)
    path = folder / "checkpoint.safetensors"
    stored, tensors = progress.read(path, device)
    header = stored.notes
    dataset = match_classes(dataset, header["classes"], str(folder))
    job = _new_job(folder, config, dataset, device, provenance)
    job.lock = held
    if header.get("ranks", 1) != distributed.ranks():
        raise CheckpointError(
            f"{folder} was left by {header.get('ranks', 1)} ranks, now there are "
            f"{distributed.ranks()}; go on with as many"
        )
    name = config.model
    spec = checkpoint.specs(header, {}, path).get(name, {})
    model = checkpoint.build(spec, tensors.get(name, {}), path).to(device)
    job.model = cast(DBN | DBM, model)
    for name, net_tensors in tensors.get("net", {}).items():
        job.nets[name] = backprop.feed_forward(net_sizes(job.model, len(dataset.classes)), device)
        checkpoint.fill(job.nets[name], net_tensors, [], path)
    job.position, job.lines = header["position"], header["lines"]
    job.seconds = dict(header["seconds"])
    job.provenance |= header.get("picked", {})
    job.progress = job.at_the_beginning() if stored.state is None else stored
    return job


def net_sizes(model: DBN | DBM, classes: int) -> Sequence[int]:
    """Return the layer sizes of the net fine-tuned from a model."""
    if isinstance(model, DBN):
        return (*model.sizes, classes)
    rng = generator(0, next(model.parameters()).device)
    net = deep_boltzmann.classifier(model, classes=classes, rng=rng)
    sizes = net_spec.net_sizes(net)
    assert sizes is not None
    return sizes


def lock(folder: Path) -> files.Lock | None:
    """Return the lock of a run folder, held until it is closed or the process ends: two that train
    one run spoil it.

    Raises:
        CheckpointError: another process trains it.
    """
    try:
        return files.lock(folder / "config.json")
    except BlockingIOError as error:
        raise CheckpointError(
            f"{folder} is in use: it is being trained already; wait until that ends, or stop it "
            "first"
        ) from error


def _absolute(data: str) -> str:
    """Return a path of the user's own as an absolute one, so that the run finds it from anywhere;
    names stay names.
    """
    return data if data in (*KNOWN, *LOCAL) else str(Path(data).expanduser().resolve())
