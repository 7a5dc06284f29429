"""A network of several senses on show: pictures and sounds in one memory, for the screen Listen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from wakesleep.app.loaded_model import LoadedModel, open_model
from wakesleep.data.sound import LogMel
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.runs import senses
from wakesleep.runs.checkpoint import holds
from wakesleep.units import Bernoulli, Gaussian


@dataclass(frozen=True)
class LoadedSenses:
    """A network of several senses, and how the cases of each are made."""

    several: senses.Several
    version: int = 1
    """Counts as that of `LoadedModel`; a run of several senses is not followed."""

    @property
    def net(self) -> MultimodalDBN:
        """The network."""
        return self.several.net

    def header(self) -> dict[str, Any]:
        """Return what the page reads beside the network."""
        prepared = {name: how.as_json() for name, how in self.several.senses.items()}
        return {"classes": list(self.several.classes), "senses": prepared}

    @property
    def weights(self) -> int:
        """How many weights it has."""
        sizes = self.net.sizes.values()
        directed = sum(a * b for each in sizes for a, b in pairwise(each))
        return directed + self.net.memory.weight.numel()


def open_shown(path: Path | None) -> LoadedModel | LoadedSenses:
    """Return the network of a run folder or a model file, of one sense or several; by default the
    one that ships with the package.

    Raises:
        CheckpointError: as `open_model`, or a file that says nothing of its senses.
    """
    if path is not None and holds(path, "MultimodalDBN"):
        return LoadedSenses(senses.load(path))
    return open_model(path)


def check(model: LoadedSenses) -> None:
    """Raise ConfigError for a net of several senses that the page cannot show; static/senses.js
    says the same.
    """
    net, how = model.net, model.several.senses
    sounds = [name for name in net.senses if isinstance(how.get(name), LogMel)]
    fits = len(net.senses) == 2 and len(sounds) == 1 and net.labels > 0
    for name in net.senses:
        pathway, lowest = net.pathways[name], Gaussian if name in sounds else Bernoulli
        upper = [layer.units for layer in pathway.recognition]
        binary = bool(upper) and all(type(units) is Bernoulli for units in upper)
        fits &= binary and type(net.units(name)) is lowest
    if not fits or type(net.memory.hidden) is not Bernoulli:
        raise ConfigError(
            "of nets of several senses the page shows those of pictures and sounds with labels: "
            "binary units, the sounds as real numbers; this one has "
            f"{', '.join(net.senses)}: use it with wakesleep recall, or from Python"
        )
