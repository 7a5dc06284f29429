"""The page as a folder that any static host can serve: its own files, the model, pictures to try.

The network runs in the browser (static/engine.js); this writes what it reads. The folder works
under any path and asks nothing of any other server.
"""

from __future__ import annotations

import base64
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from wakesleep.app import examples, loaded_senses
from wakesleep.app.loaded_model import LoadedModel
from wakesleep.app.loaded_senses import LoadedSenses
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.files import write_json
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.runs.checkpoint import model_spec, model_tensors
from wakesleep.runs.tensor_files import save_tensors

STATIC = Path(__file__).parent / "static"
MODEL, ABOUT, EXAMPLES = "model.safetensors", "page.json", "examples.json"
SHOWN = {"DBN": ("sizes", "labels", "tied"), "DBM": ("sizes", "labels")}
"""What the spec of a net says that the page can show, beside its class: static/model.js holds the
same.
"""
MOST_WEIGHTS = 20_000_000
"""Weights beyond which a browser is too slow and too small: an answer takes a tenth of a second,
and the weights 160 MB of memory. static/model.js holds the same.
"""
MOST_EXAMPLES = 120


def check(model: LoadedModel | LoadedSenses) -> None:
    """Raise ConfigError for a net that the page cannot show: other units, or too many weights."""
    if isinstance(model, LoadedSenses):
        loaded_senses.check(model)
        _check_weights(model.weights)
    else:
        _check_machine(model.machine)


def _check_machine(machine: DBN | DBM) -> None:
    spec = machine.spec()
    known = {"class", *SHOWN[type(machine).__name__]}
    further = {name: value for name, value in spec.items() if name not in known}
    if further.get("visible", {}).get("family") == "Bernoulli":
        del further["visible"]
    if further:
        raise ConfigError(
            "the page shows deep belief nets and deep Boltzmann machines of binary units with one "
            f"label group; this one has {further}: use it from Python, or with wakesleep dream and "
            "wakesleep recognize"
        )
    _check_weights(sum(below * above for below, above in pairwise(machine.sizes)))


def _check_weights(weights: int) -> None:
    if weights > MOST_WEIGHTS:
        raise ConfigError(
            f"this network has {weights:,} weights, and the page takes at most {MOST_WEIGHTS:,}: "
            "train a smaller one (wakesleep train --hidden 500 500 2000), or use this one with "
            "wakesleep dream and wakesleep recognize"
        )


def write(
    folder: Path,
    model: LoadedModel | LoadedSenses,
    *,
    pictures: examples.Examples | None = None,
    **served: Any,
) -> None:
    """Write the page with a network into `folder`, which may hold an earlier one.

    `pictures` are those to try (their file is left out without); `served` is told to the page:
    whether there is a server with an API, and the run it follows.

    Raises:
        ConfigError: a network that the page cannot show, or a folder that holds something else.
    """
    check(model)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; expected a folder to write the page into")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).exists():
        raise ConfigError(
            f"{folder} holds something else than an earlier page; expected a new or empty folder"
        )
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    write_model(folder, model)
    if pictures is not None:
        write_json(folder / EXAMPLES, as_json(pictures))
    write_json(folder / ABOUT, {"version": model.version, **served})


def write_model(folder: Path, model: LoadedModel | LoadedSenses) -> None:
    """Write the network's file: half precision where its numbers fit, and what the page says of it.

    The net fine-tuned from a deep belief net goes along only where the memory itself can name
    nothing; that of a deep Boltzmann machine always, for it is what tells its labels.
    """
    if isinstance(model, LoadedSenses):
        return _save(folder, {"model": model.net}, model.header())
    deep = isinstance(model.machine, DBM)
    models: dict[str, torch.nn.Module] = {"dbm" if deep else "dbn": model.machine}
    if (deep or not model.machine.labels) and model.net is not None:
        models["net"] = model.net
    header = {
        "classes": list(model.classes),
        "shape": list(model.shape),
        "preparation": model.preparation.as_json(),
        "card": model.card,
    }
    if model.novelty is not None:
        header["novelty"] = model.novelty.as_json()
    return _save(folder, models, header)


def _save(folder: Path, models: dict[str, torch.nn.Module], header: dict[str, Any]) -> None:
    tensors = {
        f"{name}/{inner}": _half(tensor)
        for name, module in models.items()
        for inner, tensor in model_tensors(module).items()
    }
    specs = {name: model_spec(module) for name, module in models.items()}
    save_tensors(folder / MODEL, tensors, {"models": specs, **header}, "model")


def _half(tensor: torch.Tensor) -> torch.Tensor:
    """Return numbers in half precision, in single where one is too large for it."""
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor.float()


def as_json(pictures: examples.Examples) -> dict[str, Any]:
    """Return pictures to try as JSON: where they come from, labels, pixels as bytes in base64."""
    chosen = pictures.pick(MOST_EXAMPLES, seed=0)
    pixels = b"".join(bytes(item["pixels"]) for item in chosen)
    return {
        "source": pictures.source,
        "labels": [item["label"] for item in chosen],
        "pixels": base64.b64encode(pixels).decode("ascii"),
    }
