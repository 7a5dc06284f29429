"""Models in files: their tensors, and what is needed to build and use them.

A file (`tensor_files`) holds models by name ("dbn", "net", or "model"), the tensors of each as
NAME/TENSOR. Its header says of each model what `spec()` returns (class, units with their settings,
named groups, sizes), and what the writer knows besides: class names, the shape of pictures, how
cases were prepared. Files are written as `foundation.files` writes them: whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from wakesleep.data.preparation import Preparation
from wakesleep.data.sound import LogMel
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import CheckpointError, ConfigError, WakesleepError
from wakesleep.foundation.files import remove_abandoned, unreadable
from wakesleep.foundation.rng import known_device
from wakesleep.learning.net_spec import net_from_spec, net_spec
from wakesleep.learning.unrolled import MeanFieldNet
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.models.helmholtz import Helmholtz
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.models.rbm import RBM
from wakesleep.runs.tensor_files import load_header, load_tensors, save_tensors
from wakesleep.sources.axes import Stored


class Model(NamedTuple):
    """What the model file of a run or of an estimator holds."""

    dbn: DBN
    """The generative model, and its recognition pathway."""
    net: nn.Sequential | None
    """The feed-forward net fine-tuned from it, where there is one."""
    header: dict[str, Any]
    """The rest: picture shape, class names, and whatever the writer noted."""


class DeepModel(NamedTuple):
    """What the model file of a run of a deep Boltzmann machine holds."""

    dbm: DBM
    """The generative model."""
    net: nn.Sequential | None
    """The feed-forward net fine-tuned from it, where there is one: of its mean field."""
    header: dict[str, Any]
    """The rest, as in `Model`."""


class Specified(Protocol):
    """A class of models that can be built from a spec."""

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> nn.Module:
        """Return a model like the one that `spec` described, its parameters yet to be filled."""
        ...


MODELS: dict[str, type[Specified]] = {
    "RBM": RBM,
    "DBN": DBN,
    "MultimodalDBN": MultimodalDBN,
    "DBM": DBM,
    "Helmholtz": Helmholtz,
    "MeanFieldNet": MeanFieldNet,
}
"""The classes that a spec may name, besides "FeedForward", the nets that `backprop.classifier`
makes.
"""


@check_arguments
def model_spec(model: nn.Module) -> dict[str, Any]:
    """Return what is needed to build a model like this one, as JSON can hold it.

    Raises:
        ConfigError: a model of a class that no spec names.
    """
    if isinstance(model, nn.Sequential) and (spec := net_spec(model)) is not None:
        return spec
    if type(model).__name__ not in MODELS:
        raise ConfigError(
            f"a model of the class {type(model).__name__}: expected one of {', '.join(MODELS)}, or "
            "a net that backprop.classifier made; an estimator is saved by its own save(path), and "
            "of anything else torch.save keeps the state_dict()"
        )
    return cast(dict[str, Any], cast(Any, model).spec())


@check_arguments
def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors by name; tied weights once."""
    tied = _tied(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _tied(model: nn.Module) -> set[str]:
    """Return the names of tensors that are another tensor of the model as well."""
    pathways: dict[str, Any] = {}
    if isinstance(model, DBN):
        pathways = {"": model}
    elif isinstance(model, MultimodalDBN):
        pathways = {f"pathways.{name}.": model.pathways[name] for name in model.senses}
    return {
        f"{prefix}generative.{layer}.weight"
        for prefix, pathway in pathways.items()
        if pathway.tied
        for layer in range(len(pathway.generative))
    }


@check_arguments
def build(spec: Mapping[str, Any], tensors: Mapping[str, Stored], path: Path | str) -> nn.Module:
    """Return the model that `spec` describes, filled with `tensors`: float64 where they are, else
    float32.

    Raises:
        CheckpointError: an unknown class of models or family of units, or tensors that do not fit
            the spec.
    """
    if not isinstance(spec, Mapping):
        raise CheckpointError(
            f"{path} is damaged: a model is described by {spec!r}; expected a dictionary "
            "with its class"
        )
    name, values = spec.get("class"), dict(spec)
    if name != "FeedForward" and name not in MODELS:
        raise CheckpointError(
            f"{path} holds a model of the class {name!r}, and this wakesleep knows "
            f"{', '.join(MODELS)} and FeedForward: install a newer one"
        )
    try:
        model = net_from_spec(values) if name == "FeedForward" else MODELS[name].from_spec(values)
        if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
            model = model.double()
        missing = [name for name in model_tensors(model) if name not in tensors]
        fill(model, tensors, missing, path)
    except ConfigError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, WakesleepError) as error:
        raise CheckpointError(
            f"{path} is damaged: its tensors do not make the model its header describes ({error})"
        ) from error
    return model


@check_arguments
def fill(
    module: nn.Module, tensors: Mapping[str, Stored], missing: list[str], path: Path | str
) -> None:
    """Copy `tensors` into the module's own, in place, so that whatever shares them sees the
    change.
    """
    own = module.state_dict()
    unknown = [name for name in tensors if name not in own]
    wrong = [
        name for name, tensor in tensors.items() if name in own and own[name].shape != tensor.shape
    ]
    if missing or unknown or wrong:
        raise CheckpointError(
            f"{path}: missing {missing}, unknown {unknown}, of another shape {wrong}"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


@check_arguments
def save_models(
    path: Path | str, models: Mapping[str, nn.Module | None], header: Mapping[str, Any]
) -> None:
    """Write models by name (None ones are left out) and notes as one model file."""
    there = {name: model for name, model in models.items() if model is not None}
    # how version 0.1 said it
    header = {name: value for name, value in header.items() if name not in ("dbn", "net_classes")}
    tensors = {
        f"{name}/{inner}": tensor
        for name, model in there.items()
        for inner, tensor in model_tensors(model).items()
    }
    save_tensors(
        Path(path),
        tensors,
        {**header, "models": {name: model_spec(model) for name, model in there.items()}},
        "model",
    )


@check_arguments
def save(
    model: nn.Module,
    path: Path | str,
    *,
    classes: Sequence[object] | None = None,
    preparation: Preparation | LogMel | None = None,
    shape: tuple[int, int] | None = None,
    **notes: Any,
) -> None:
    """Write any model (RBM, DBN of one sense or several, DBM, Helmholtz, a net of
    `backprop.classifier`) with all that is needed to use it; `load` reads it.

    Args:
        model: its tensors are saved in their precision, its units with their settings.
        path: the file, .safetensors by custom.
        classes: the names of the labels, in order.
        preparation: what was done to pictures or sounds before the model saw them
            (`data.load(...).preparation`).
        shape: (rows, columns) of a case, where it is a picture; that of `preparation` where one is
            given.
        notes: whatever else is to be kept, as JSON can hold it.

    Raises:
        ConfigError: a model of another class.
        CheckpointError: the file cannot be written.
    """
    header: dict[str, Any] = dict(notes)
    labels, width = _labels_and_width(model)
    if classes is not None:
        header["classes"] = [str(name) for name in classes]
        if labels and len(header["classes"]) != labels:
            raise ConfigError(
                f"classes = {header['classes']} came for a model of {labels} labels; expected a "
                "name for each label"
            )
    if shape is not None and width is not None and math.prod(shape) != width:
        raise ConfigError(
            f"shape = {tuple(shape)} came for a model of {width} pixels; expected rows and "
            f"columns that make {width}"
        )
    if preparation is not None:
        header["preparation"] = preparation.as_json()
    if shape is not None or preparation is not None:
        header["shape"] = list(shape or cast(Preparation | LogMel, preparation).shape)
    try:
        json.dumps(header)
    except TypeError as error:
        raise ConfigError(
            f"notes of a model file: {error}; expected what JSON can hold: numbers, words, "
            "lists, dictionaries"
        ) from error
    spec = model_spec(model)
    save_models(
        Path(path),
        {{"DBN": "dbn", "FeedForward": "net"}.get(spec["class"], "model"): model},
        header,
    )


def _labels_and_width(model: nn.Module) -> tuple[int, int | None]:
    """Return how many labels a model tells, 0 where it tells none, and how many pixels a case has,
    None where that is unknown.
    """
    if isinstance(model, DBN | DBM):
        return model.labels, model.sizes[0]
    if isinstance(model, MultimodalDBN):
        return model.labels, None
    if isinstance(model, Helmholtz):
        return 0, model.sizes[0]
    linear = (
        [layer for layer in model.children() if isinstance(layer, nn.Linear)]
        if isinstance(model, nn.Sequential)
        else []
    )
    return (linear[-1].out_features, linear[0].in_features) if linear else (0, None)


@check_arguments
def read(
    path: Path | str, device: torch.device | str = "cpu"
) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Return the models of a run folder, finished or stopped on the way, or of a model file, by
    name, and its header.

    Raises:
        CheckpointError: nothing there, damaged, foreign, not to be read by this user, of a newer
            format or with classes unknown here.
    """
    device = known_device(device)
    file, kind = _model_file(Path(path))
    tensors, header = load_tensors(file, kind)
    models = {}
    for name, spec in specs(header, tensors, file).items():
        # the net from random weights is there too
        prefix = "net/backprop/" if kind == "checkpoint" and name == "net" else f"{name}/"
        own = {
            inner.removeprefix(prefix): tensor
            for inner, tensor in tensors.items()
            if inner.startswith(prefix)
        }
        if own or name != "net":
            models[name] = build(spec, own, file).to(device)
    return models, header


@check_arguments
def holds(path: Path | str, kind: str) -> bool:
    """Return whether a run folder or model file holds a model of the class that is called `kind`,
    by its header; False of what `read` refuses.
    """
    try:
        file, of_file = _model_file(Path(path))
        described = specs(load_header(file, of_file), {}, file).values()
    except CheckpointError:
        return False
    return any(isinstance(spec, Mapping) and spec.get("class") == kind for spec in described)


@check_arguments
def specs(
    header: Mapping[str, Any], tensors: Mapping[str, Stored], path: Path | str
) -> dict[str, dict[str, Any]]:
    """Return the specs of a file's models by name; of files of version 0.1, which have none, from
    what they say of the net.
    """
    header = header if isinstance(header, Mapping) else {}
    if isinstance(header.get("models"), dict) and header["models"]:
        return cast(dict[str, dict[str, Any]], header["models"])
    if not isinstance(header.get("dbn"), dict):
        raise CheckpointError(f"{path} is damaged: its header describes no model")
    model_specs: dict[str, dict[str, Any]] = {"dbn": {"class": "DBN", **header["dbn"]}}
    if any(name.startswith("net/") for name in tensors):
        try:
            outputs = int(header.get("net_classes") or len(header["classes"]))
            model_specs["net"] = {
                "class": "FeedForward",
                "sizes": [*header["dbn"]["sizes"], outputs],
            }
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged: its header says nothing of the net's classes"
            ) from error
    return model_specs


@check_arguments
def load_model(path: Path | str, device: torch.device | str = "cpu") -> Model:
    """Read a run folder, finished or stopped on the way, or a model file of a deep belief net,
    which may be that of an estimator.

    The header of what is returned names a picture's `shape` and the `classes` in any case: an
    estimator knows of no pictures, so its are taken for square where they can be.

    Raises:
        CheckpointError: as `read`, or a file that holds no deep belief net.
    """
    models, header = read(path, device)
    dbn, net = models.get("dbn"), models.get("net")
    if not isinstance(dbn, DBN):
        kinds = ", ".join(type(model).__name__ for model in models.values())
        raise CheckpointError(
            f"{path} holds no deep belief net but {kinds}: wakesleep.load reads it (and of a deep "
            "Boltzmann machine the commands evaluate, dream, recognize, likelihood, plot, mixing "
            "and finetune)"
        )
    return Model(dbn, cast(nn.Sequential | None, net), _with_shape(header, dbn))


@check_arguments
def load_deep(path: Path | str, device: torch.device | str = "cpu") -> DeepModel:
    """Read a run folder, finished or stopped on the way, or a model file of a deep Boltzmann
    machine, likewise.

    Raises:
        CheckpointError: as `read`, or a file that holds none.
    """
    models, header = read(path, device)
    machines = [model for model in models.values() if isinstance(model, DBM)]
    if not machines:
        kinds = ", ".join(type(model).__name__ for model in models.values())
        raise CheckpointError(f"{path} holds no deep Boltzmann machine but {kinds}")
    net = cast(nn.Sequential | None, models.get("net"))
    return DeepModel(machines[0], net, _with_shape(header, machines[0]))


def _with_shape(header: dict[str, Any], model: DBN | DBM) -> dict[str, Any]:
    """Return a header that names a picture's shape and the classes in any case."""
    return {
        "shape": list(square(model.sizes[0]) or (1, model.sizes[0])),
        "classes": [str(label) for label in range(model.labels)],
        **header,
    }


def _model_file(path: Path) -> tuple[Path, str]:
    """Return the file that holds the model of a run folder, or the model file `path` itself, and
    its kind.
    """
    try:
        if not path.is_dir():
            return path, "model"
        remove_abandoned(path)
        if not (path / "model.safetensors").exists() and (path / "checkpoint.safetensors").exists():
            # a run that was stopped: the model as it stands
            return path / "checkpoint.safetensors", "checkpoint"
    except OSError as error:
        raise unreadable(path, error, "expected a run folder or a model file") from error
    return path / "model.safetensors", "model"


def square(pixels: int) -> tuple[int, int] | None:
    """Return the rows and columns of a square picture with that many pixels; None where there is
    none.
    """
    side = math.isqrt(pixels)
    return (side, side) if side * side == pixels else None


@check_arguments
def load(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """Return the model of a file that `save` wrote, or the deep belief net of a run folder or an
    estimator's file.

    `load_model` also brings the net fine-tuned from it, and `read` everything with the header.

    Raises:
        CheckpointError: as `read`.
    """
    models, _ = read(path, device)
    return models[next((name for name in ("dbn", "dbm") if name in models), next(iter(models)))]
