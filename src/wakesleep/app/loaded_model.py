"""The network on show: what a model file or a run folder holds, as the page needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wakesleep.data import Preparation, for_own_set, from_header
from wakesleep.evaluation import novelty
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.foundation.options import PictureOptions
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.runs.checkpoint import Model, holds, load_deep, load_model
from wakesleep.units import Bernoulli

SHIPPED = Path(__file__).parent / "model" / "model.safetensors"


@dataclass(frozen=True)
class LoadedModel:
    """A network, what its labels are called, and how its pictures are laid out."""

    machine: DBN | DBM
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

    @property
    def dbn(self) -> DBN:
        """The network, where it is a deep belief net.

        Raises:
            ConfigError: it is not.
        """
        if not isinstance(self.machine, DBN):
            raise ConfigError(
                "this question is for deep belief nets, and a deep Boltzmann machine is on show: "
                "ask /api/recognize, /api/dream, /api/imagine or /api/fill, or look at the page"
            )
        return self.machine


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
    where = path or SHIPPED
    model = load_deep(where) if holds(where, "DBM") else load_model(where)
    machine = model.dbn if isinstance(model, Model) else model.dbm
    shape = tuple(model.header.get("shape", ()))
    if len(shape) != 2 or shape[0] * shape[1] != machine.sizes[0]:
        raise CheckpointError(
            f"{path} holds a net of {machine.sizes[0]} pixels and pictures of shape {shape}; "
            "expected rows and columns"
        )
    layers = machine.layers if isinstance(machine, DBN) else [machine.even["visible"]]
    others = [units for units in layers if not isinstance(units, Bernoulli)]
    if others:
        raise CheckpointError(
            f"{path} holds a net with {others[0]}, and the page knows binary units only; expected "
            "a net of numbers, e.g. DBN((784, 500, 500, 2000)): wakesleep.load reads this one"
        )
    names = tuple(str(name) for name in model.header["classes"])
    card = model.header.get("card", {})
    data = str(model.header.get("data_path", ""))
    return LoadedModel(
        machine,
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
    machine = model.machine
    return {
        "sizes": list(machine.sizes),
        "labels": machine.labels,
        "classes": list(model.classes),
        "shape": list(model.shape),
        "deep": isinstance(machine, DBM),
        "tied": isinstance(machine, DBN) and machine.tied,
        "parameters": sum(parameter.numel() for parameter in machine.parameters()),
        "recognises": bool(machine.labels or model.net),
        "version": model.version,
        "card": model.card,
    }
