"""The network on show: what a model file or a run folder holds, as the page needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wakesleep.data import Preparation, for_own_set, from_header
from wakesleep.evaluation import novelty
from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.options import PictureOptions
from wakesleep.models.dbn import DBN
from wakesleep.runs.checkpoint import load_model
from wakesleep.units import Bernoulli

SHIPPED = Path(__file__).parent / "model" / "model.safetensors"


@dataclass(frozen=True)
class LoadedModel:
    """A network, what its labels are called, and how its pictures are laid out."""

    dbn: DBN
    net: nn.Sequential | None
    classes: tuple[str, ...]
    shape: tuple[int, int]
    preparation: Preparation
    """How pictures become cases for it."""
    own: Preparation | PictureOptions
    """How the set that it learned from is loaded."""
    data: str
    card: dict[str, Any]
    novelty: novelty.Calibration | None
    """Which surprise is usual, where the model's file records it."""
    version: int = 1
    """Counts the networks that took this one's place while a run goes on."""
    fields: dict[int, Tensor] = field(default_factory=dict)
    """What the units of a layer look for, once somebody asked."""


def open_model(path: Path | None = None, version: int = 1) -> LoadedModel:
    """Return the network of a run folder or model file; by default the one that ships with the
    package.

    Raises:
        CheckpointError: nothing there, or no model of pictures.
    """
    if path is None and not SHIPPED.is_file():
        raise CheckpointError(
            "this installation came without a model; train one and show it: wakesleep train, "
            "wakesleep serve runs/digits"
        )
    model = load_model(path or SHIPPED)
    shape = tuple(model.header.get("shape", ()))
    if len(shape) != 2 or shape[0] * shape[1] != model.dbn.sizes[0]:
        raise CheckpointError(
            f"{path} holds a net of {model.dbn.sizes[0]} pixels and pictures of shape {shape}; "
            "expected rows and columns"
        )
    others = [units for units in model.dbn.layers if not isinstance(units, Bernoulli)]
    if others:
        raise CheckpointError(
            f"{path} holds a net with {others[0]}, and the page knows binary units only; expected "
            "a net of numbers, e.g. DBN((784, 500, 500, 2000)): wakesleep.load reads this one"
        )
    names = tuple(str(name) for name in model.header["classes"])
    card = model.header.get("card", {})
    data = str(model.header.get("data_path", ""))
    return LoadedModel(
        model.dbn,
        model.net,
        names,
        shape,
        from_header(model.header),
        for_own_set(model.header),
        data,
        card,
        novelty.from_header(model.header),
        version,
    )


def describe(model: LoadedModel) -> dict[str, Any]:
    """Return what a page has to know of the network."""
    return {
        "sizes": list(model.dbn.sizes),
        "labels": model.dbn.labels,
        "classes": list(model.classes),
        "shape": list(model.shape),
        "tied": model.dbn.tied,
        "parameters": sum(parameter.numel() for parameter in model.dbn.parameters()),
        "recognises": bool(model.dbn.labels or model.net),
        "version": model.version,
        "card": model.card,
    }
