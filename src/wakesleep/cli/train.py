"""wakesleep train: the whole way in a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from wakesleep.cli import driver, machine, senses, shared, tables
from wakesleep.cli.options import DataFolder, Device, TensorBoard
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.options import Backend, PictureOptions
from wakesleep.runs.settings import TrainConfig, for_dbm, for_few_labels, preset, read_config
from wakesleep.runs.settings import suited as by_number

if TYPE_CHECKING:
    from wakesleep.data import Dataset


USUAL = (
    "data",
    "sense",
    "label",
    "units",
    "without",
    "labels_from",
    "out",
    "resume",
    "model",
    "hidden",
    "stages",
    "seed",
    "size",
    "polarity",
    "centre",
    "device",
    "json",
)
"""The options that --help explains; --help-all explains all."""


@dataclass(frozen=True)
class TrainOptions:
    """Train a network on a data set: pretrain it layer by layer, fine-tune it, count its errors,
    let it dream; all in one run folder.
    """

    data: str = "digits"
    """What to learn: digits (embedded), mnist, fashion-mnist, or a path: .npz, .npy, a folder of
    IDX files, one of pictures with a folder a class, one of images-*.npy (with labels-*.npy), which
    stays on the disk and is streamed, or a table (.csv, .tsv, .parquet; `wakesleep data FILE` says
    what its columns are taken for).
    """
    sense: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Several senses in place of --data: --sense image=mnist --sense sound=a.zip (then wakesleep
    recall); an --out that is there goes on.
    """
    label: str | None = None
    """Of a table: the column to tell from the others, if any."""
    units: tuple[str, ...] = ()
    """Of a table: COLUMN=KIND each: binary, categories, levels, counts or real."""
    without: tuple[str, ...] = ()
    """Of a table: columns to leave out."""
    labels_from: Path | None = None
    """File of labels of the training cases, in order, where few are known: a .npy, or text, a
    label a line, -1 or nothing where unknown; a folder of pictures has a class unlabelled.
    """
    out: Path | None = None
    """The run folder to make; by default runs/DATA, or runs/DATA-2 where that exists."""
    resume: Path | None = None
    """Go on with this run folder after its last saved epoch, with its own settings; other settings
    are refused. Its data set may have moved (--data), device and threads may change.
    """
    data_folder: DataFolder = None
    device: Device = "auto"
    backend: Backend | None = None
    """What computes; by default what WAKESLEEP_BACKEND says, else auto; a run that goes on keeps
    its own. auto: the fastest the machine has, with kernels compiled where they pay; torch: what
    PyTorch brings, nothing is compiled; reference: the plain formulas, slowly.
    """
    threads: int = 0
    """CPU threads; 0: as many as PyTorch finds. A run that goes on keeps its number: sums in
    another order are other numbers.
    """
    tensorboard: TensorBoard = False
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    pictures: Annotated[PictureOptions, tyro.conf.arg(name="")] = field(
        default_factory=PictureOptions
    )
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def suited(args: TrainOptions) -> TrainOptions:
    """Return the defaults of a call: the settings that suit the data set it names, or those of the
    run it goes on with.
    """
    if args.sense:
        return TrainOptions(config=senses.config_of(args))
    if files.is_table(args.data):
        return TrainOptions(config=tables.defaults())
    if args.resume is None:
        return TrainOptions(config=settings_for(args))
    data = str(files.read_json(args.resume / "provenance.json").get("data_path", "digits"))
    return TrainOptions(data=data, config=read_config(args.resume))


_loaded: dict[tuple[Any, ...], Dataset] = {}
"""The set that the defaults of a call were made for, until `run` takes it: a folder of pictures
takes a while to read.
"""


def settings_for(args: TrainOptions, dataset: Dataset | None = None) -> TrainConfig:
    """Return the settings that suit the data set and the model of a call; cases of one's own are
    counted.
    """
    config = _for_set(args, dataset)
    if args.config.model != "dbm":
        return config
    return for_dbm(config, pretrained="pretrain" in args.config.stages)


def _for_set(args: TrainOptions, dataset: Dataset | None) -> TrainConfig:
    if args.data == "digits" and args.labels_from is None:
        return preset(args.data)
    from wakesleep.data import KNOWN, stays_on_disk

    if (args.data in KNOWN and args.labels_from is None) or stays_on_disk(args.data):
        return preset(args.data)
    if dataset is None:
        dataset = load(args)
        _loaded.clear()
        _loaded[_key(args)] = dataset
    from wakesleep.data.unlabelled import has_unlabelled

    config = (
        preset(args.data)
        if args.data in KNOWN
        else by_number(len(dataset.train), tested=dataset.test is not None, shape=dataset.shape)
    )
    return for_few_labels(config, len(dataset.train)) if has_unlabelled(dataset.train) else config


def load(args: TrainOptions) -> Dataset:
    """Return the data set of a call, with its labels."""
    return with_labels(
        shared.load_set(args.data, args.data_folder, args.pictures), args.labels_from
    )


def with_labels(dataset: Dataset, path: Path | None) -> Dataset:
    """Return a set with the labels of a file, where there is one, and without labels for the cases
    of a class called unlabelled.
    """
    from wakesleep.data.unlabelled import labels_from, set_aside

    return set_aside(dataset) if path is None else labels_from(dataset, path)


def _key(args: TrainOptions) -> tuple[Any, ...]:
    return args.data, args.data_folder, args.pictures, args.labels_from


def run(args: TrainOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.compute import distributed
    from wakesleep.runs import training

    if args.sense:
        return senses.train(args, command)
    if files.is_table(args.data):
        return tables.train(args, command)
    shared.tell_unused(args, dict.fromkeys(("label", "units", "without"), "without a table"))
    stopped, provenance = args.resume, {}
    if stopped is not None:
        refuse_changes(args)
    if (
        args.out is not None
        and distributed.restarted()
        and (args.out / "checkpoint.safetensors").exists()
    ):
        stopped = args.out  # a rank died, and torchrun started all of them again
    if stopped is not None:
        provenance = files.read_json(stopped / "provenance.json")
        machine.keep_backend(args.backend, str(provenance.get("backend", "")))
    device = machine.setup(args.threads, args.device, str(provenance.get("device", "")))
    if stopped is not None:
        path = args.labels_from or (
            Path(provenance["labels_from"]) if provenance.get("labels_from") else None
        )
        job = training.resume_run(
            stopped,
            with_labels(shared.same_set(args.data, args.data_folder, provenance), path),
            device,
        )
    else:
        dataset = _loaded.pop(_key(args), None) or load(args)
        shared.tell_unused_settings(args.config, settings_for(args, dataset))
        job = training.new_run(
            args.out or shared.free_folder(Path("runs") / dataset.name),
            args.config,
            dataset,
            device,
            command,
            data_path=args.data,
            labels_from=args.labels_from,
        )
    return driver.run_job(job, as_json=args.json, tensorboard=args.tensorboard)


def refuse_changes(args: TrainOptions) -> None:
    """Raise ConfigError where the call asks for other settings than those of the run it goes on
    with.
    """
    assert args.resume is not None
    if args.out is not None and args.out.resolve() != args.resume.resolve():
        raise ConfigError(
            f"--out {args.out} with --resume {args.resume}: a run goes on in its own folder; "
            "leave out --out"
        )
    own = read_config(args.resume)
    changed = shared.differences(args.config, own) | shared.differences(
        args.pictures, PictureOptions()
    )
    if changed:
        changes = ", ".join(
            f"{option} {asked} (the run has {had})" for option, (asked, had) in changed.items()
        )
        raise ConfigError(
            f"{changes}: a run that goes on keeps its settings; leave them out, or begin another "
            "run: wakesleep train --out FOLDER"
        )
