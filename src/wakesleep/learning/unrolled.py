"""The mean field of a deep Boltzmann machine as a net that learns labels: backpropagation goes
through every step of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.learning.feed_forward import unfilled_linear
from wakesleep.models.dbm import DBM


class MeanFieldLayers(nn.Module):
    """What `DBM.mean_field` makes of the top layer, (N, top), given visible states (N, visible):
    an upward pass with doubled weights, then `steps` steps of odd and even layers in turn.

    Layer l takes part from below and from above by one weight matrix, that of `joined[l - 1]`,
    (size of l, size of l - 1), with the biases of l.
    """

    def __init__(self, sizes: Sequence[int], steps: int) -> None:
        super().__init__()
        self.in_features, self.steps = sizes[0], steps
        self.joined = nn.ModuleList(
            unfilled_linear(below, above) for below, above in pairwise(sizes)
        )

    def layers(self) -> list[nn.Linear]:
        """Return the layers of `joined`, the lowest first."""
        return [layer for layer in self.joined if isinstance(layer, nn.Linear)]

    def forward(self, visible: Tensor) -> Tensor:
        """Return the means of the top layer, (N, top)."""
        joined = self.layers()
        depth = len(joined)
        from_visible = joined[0](visible)
        means = [visible, torch.sigmoid(2 * from_visible - joined[0].bias)]
        for layer in range(2, depth + 1):
            below = means[-1] if layer == depth else 2 * means[-1]
            means.append(torch.sigmoid(joined[layer - 1](below)))
        for half_step in range(2 * self.steps + depth % 2):
            for layer in range(1 + half_step % 2, depth + 1, 2):
                total = from_visible if layer == 1 else joined[layer - 1](means[layer - 1])
                if layer < depth:
                    total = total + linear(means[layer + 1], joined[layer].weight.t())
                means[layer] = torch.sigmoid(total)
        return means[-1]


class MeanFieldNet(nn.Sequential):
    """`MeanFieldLayers` and a linear label layer on the top; from `mean_field_classifier`."""

    def __init__(self, sizes: Sequence[int], classes: int, steps: int) -> None:
        super().__init__(MeanFieldLayers(sizes, steps), unfilled_linear(sizes[-1], classes))
        self.sizes, self.classes, self.steps = tuple(sizes), classes, steps

    def __getitem__(self, index: Any) -> Any:
        """Return a layer, or some as a plain net that shares their weights."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else list(self)[index]

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a net like this one, as JSON can hold it."""
        return {
            "class": "MeanFieldNet",
            "sizes": list(self.sizes),
            "classes": self.classes,
            "steps": self.steps,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> MeanFieldNet:
        """Return a net like the one that `spec` described, its weights yet to be filled."""
        return cls(spec["sizes"], spec["classes"], spec["steps"])


@check_arguments
def mean_field_classifier(
    dbm: DBM, *, rng: torch.Generator, classes: int = 0, steps: int = 3
) -> MeanFieldNet:
    """Return a net of the images (N, visible) themselves whose hidden layers are `steps` steps of
    mean field, for `backprop.epochs`: the weights that a layer shares between its steps learn from
    all of them, and what the layers above say below goes on changing as the net learns.

    It has weights of its own, which start at the machine's. The label layer starts as that of
    `deep_boltzmann.classifier`; a label that the machine has sends the top what an even guess
    would.

    Raises:
        ConfigError: no labels and no `classes`, two numbers that differ, or no steps.
    """
    classes, steps = label_count(dbm, classes), whole("steps", steps, 1)
    net = MeanFieldNet(dbm.sizes, classes, steps).to(dbm.rbm.weight)
    *layers, label = (layer for layer in net.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        for layer, (lower, upper) in zip(layers, pairwise(dbm.layers), strict=True):
            layer.weight.copy_(dbm.block(lower, upper).t())
            layer.bias.copy_(dbm.bias(upper))
        init_label_layer(label, dbm, rng)
        if dbm.labels:
            layers[-1].bias.add_(dbm.block("label", dbm.layers[-1]).mean(0))
    return net


def label_count(dbm: DBM, classes: int) -> int:
    """Return how many labels a classifier from `dbm` has.

    Raises:
        ConfigError: no labels and no `classes`, or two numbers that differ.
    """
    labels = dbm.labels or classes
    if labels < 2 or (classes and classes != labels):
        raise ConfigError(
            f"classes = {classes} for a machine of {dbm.labels} labels: expected the number of "
            "classes of a machine without labels, at least 2"
        )
    return labels


def init_label_layer(label: nn.Linear, dbm: DBM, rng: torch.Generator) -> None:
    """Start the label layer at the machine's, on the last of its inputs, those of the top; or,
    where that has no labels, with N(0, 0.01^2). In place.
    """
    label.weight.normal_(0.0, 0.01, generator=rng)
    label.bias.zero_()
    if dbm.labels:
        label.weight[:, -dbm.sizes[-1] :].copy_(dbm.block("label", dbm.layers[-1]))
        label.bias.copy_(dbm.bias("label"))
