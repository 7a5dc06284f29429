"""What several commands do alike."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from wakesleep.data import Dataset, Split
    from wakesleep.foundation.options import PictureOptions
    from wakesleep.runs.checkpoint import DeepModel, Model
    from wakesleep.runs.settings import TrainConfig


def load_set(name: str, folder: Path | None, how: PictureOptions | None = None) -> Dataset:
    """Return the data set of that name or path, its pictures prepared as `how` says."""
    from wakesleep.data import load

    return load(name, folder=folder, how=how)


def same_set(name: str, folder: Path | None, recorded: dict[str, Any]) -> Dataset:
    """Return the data set of that name or path, prepared as a model's header or a run's provenance
    has `recorded` it for this very set.
    """
    from wakesleep.data import for_own_set, load

    return load(name, folder=folder, how=for_own_set(recorded), own=True)


def set_for(model: Model | DeepModel, data: str | None, folder: Path | None) -> Dataset:
    """Return the data set of that name or path, by default what the model learned from, as the
    model sees it.

    Pictures are prepared as the model's own were, and classes are numbered as the model numbers
    them.
    """
    from wakesleep.data import from_header, load, match_classes
    from wakesleep.data.unlabelled import without_unlabelled

    refuse_other_scale(model)
    if data is None and "estimator" in model.header:
        raise ConfigError(
            "an estimator's file does not say what it learned from; name a data set with --data"
        )
    path = str(model.header.get("data_path", "digits"))
    if (
        data is None
        or data == path
        or str(Path(data).expanduser().resolve()) == path
        or "preparation" not in model.header
    ):
        dataset = same_set(data or path, folder, model.header)
    else:
        dataset = load(data, folder=folder, how=from_header(model.header))
    classes = model.header.get("classes", ())
    return match_classes(without_unlabelled(dataset), classes) if classes else dataset


def is_own(model: Model | DeepModel, dataset: Dataset) -> bool:
    """Return whether the model learned from this very set, so that cases other than its test cases
    are not new to it.
    """
    return dataset.checksum == model.header.get(
        "data_checksum"
    ) or dataset.origin == model.header.get("data_path")


def held_out(path: Path, model: Model | DeepModel) -> float:
    """Return how many training cases the run held out, or which part of them; 0 where nothing says
    so.
    """
    from wakesleep.runs.settings import read_config

    if "validation" in model.header:
        return float(model.header["validation"])
    return read_config(path).validation if (path / "config.json").is_file() else 0.0


def cases_of(path: Path, model: Model | DeepModel, dataset: Dataset) -> tuple[str, Split]:
    """Return the cases of a set that a model is judged by, and which part they are: "test",
    "validation" or "train".

    All cases of a set that the model did not learn from are new to it.
    """
    from wakesleep.runs import scores

    if not is_own(model, dataset):
        return "test", dataset.test or dataset.train
    return scores.tested(dataset, held_out(path, model))


def model(path: Path, device: str) -> Model:
    """Return the model of a run folder or model file; of a run that has not finished, say so."""
    from wakesleep.compute.select import pick_device
    from wakesleep.data.pictures import SUFFIXES
    from wakesleep.runs.checkpoint import load_model

    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise ConfigError(
            f"{path} is a picture, and RUN comes first, a run folder or a model file: wakesleep "
            f"recognize RUN {path}"
        )
    loaded = load_model(path, pick_device(device))
    tell_unfinished(path, loaded)
    # its net predicts numbers, no classes
    regressor = loaded.net is not None and not loaded.header["classes"]
    return loaded._replace(net=None) if regressor else loaded


def tell_unfinished(path: Path, model: Model | DeepModel) -> None:
    """Say of the model of a run that has not finished that it is one, where it stands and how it
    goes on.
    """
    if model.header.get("kind") == "checkpoint":
        tell(
            f"{path} is unfinished: it stopped {_where(path, model.header)}, and this is its "
            f"model as it stands; {go_on(path)}"
        )


def go_on(run: Path) -> str:
    """Return in words how a run that was stopped goes on."""
    return f"go on with: wakesleep train --resume {run}"


def _where(run: Path, header: Mapping[str, Any]) -> str:
    """Return in words at which stage a run stands, by its checkpoint's header, and after which
    epoch of it, by its metrics.
    """
    from wakesleep.runs.settings import read_config

    if not (run / "config.json").is_file():
        return "before its end"
    stages, position = read_config(run).stages, int(header.get("position", 0))
    settled = files.read_metrics(run)[: int(header.get("lines", 0))]
    last = (
        f" (last saved epoch: {settled[-1]['stage']} "
        f"{settled[-1]['epoch']}/{settled[-1]['epochs']})"
        if settled
        else ", before its first epoch"
    )
    return f"in stage {stages[position]}, {position + 1} of {len(stages)}{last}"


def refuse_other_scale(model: Model | DeepModel) -> None:
    """Raise ConfigError where the model is an estimator's that scales its columns, for pictures and
    data sets come without that scaling.
    """
    estimator = model.header.get("estimator")
    if isinstance(estimator, dict) and estimator.get("fitted", {}).get("scaler_") is not None:
        kind = estimator.get("class", "the estimator")
        raise ConfigError(
            f"this model is a {kind} that scales its columns as those it was fitted on, which only "
            f"its own methods do: wakesleep.{kind}.load(...) in Python; wakesleep dream shows what "
            "it generates"
        )


def free_folder(path: Path) -> Path:
    """Return `path`, or path-2, path-3, ... where it exists."""
    names = (
        path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1)
    )
    return next(name for name in names if not name.exists())


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise CheckpointError where `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; choose another name, or say --overwrite")


def refuse_place(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, a picture that cannot be written to `path`.

    Raises:
        CheckpointError: it exists and may not be replaced, or its folder does not exist.
        ConfigError: its ending names no picture format.
    """
    from wakesleep.runs import grids

    refuse_existing(path, overwrite)
    grids.check_format(path)
    if not path.parent.is_dir():
        raise CheckpointError(
            f"{path} cannot be written: the folder {path.parent} does not exist; make it, or "
            "choose another"
        )


def tell(line: str) -> None:
    """Say something beside the answer, on the error stream, so that what reads the answer is not
    disturbed.
    """
    print(f"wakesleep: {line}", file=sys.stderr)


def tell_unused(args: Any, unused: Mapping[str, str]) -> None:
    """Say of each option in `unused` (name -> why) that is not at its default that it has no effect
    in this call.
    """
    usual = {option.name: option.default for option in dataclasses.fields(args)}
    for name, why in unused.items():
        if getattr(args, name) != usual[name]:
            tell(f"--{name.replace('_', '-')} has no effect {why}")


def differences(asked: Any, usual: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the options in which two instances of one dataclass differ, by their names on the
    command line: (asked, usual).
    """
    differing: dict[str, tuple[Any, Any]] = {}
    for option in dataclasses.fields(asked):
        name, values = (
            f"{prefix}{option.name.replace('_', '-')}",
            (getattr(asked, option.name), getattr(usual, option.name)),
        )
        if dataclasses.is_dataclass(values[0]):
            differing |= differences(*values, f"{name}.")
        elif values[0] != values[1]:
            differing[f"--{name}"] = values
    return differing


OF_A_STAGE = {
    "greedy": "pretrain",
    "updown": "updown",
    "hybrid": "hybrid",
    "backprop": "backprop",
    "semisupervised": "semisupervised",
    "random": "random",
    "dbm": "dbm",
}
"""Which stage each group of settings belongs to."""
OF_SGD = (
    "batch-size",
    "learning-rate",
    "final-learning-rate",
    "momentum",
    "weight-decay",
    "sample-pixels",
)


def tell_unused_settings(asked: TrainConfig, usual: TrainConfig) -> None:
    """Say which of the settings that differ from the usual ones have no effect in a run with the
    stages of `asked`.
    """
    for option in differences(asked, usual):
        group, _, rest = option.removeprefix("--").partition(".")
        stage = OF_A_STAGE.get(group)
        if stage is not None and stage not in asked.stages:
            tell(
                f"{option} has no effect in this run, which has no stage {stage} "
                f"({' '.join(asked.stages)})"
            )
        elif option.startswith(("--greedy.memory", "--greedy.chains")) and asked.model == "dbm":
            tell(f"{option} has no effect on a deep Boltzmann machine: --greedy.layer is for all")
        elif group in ("backprop", "random"):
            method = getattr(asked, group).method
            if rest in OF_SGD if method == "cg" else rest.startswith("cg-"):
                tell(f"{option} has no effect with --{group}.method {method}")
