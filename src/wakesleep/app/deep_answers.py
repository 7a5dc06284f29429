"""What a deep Boltzmann machine on show answers: `answers` asks here where one is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.app.loaded_model import LoadedModel
from wakesleep.models.dbm import DBM, Label, MeanField
from wakesleep.runs import scores
from wakesleep.samplers import gibbs, tempering


def look(model: LoadedModel, dbm: DBM, picture: Tensor) -> tuple[MeanField, Tensor | None, Tensor]:
    """Return the mean field of a picture (1, pixels), log p of each label (1, labels) by the net
    fine-tuned from the machine or by the mean field, and what the machine sees, (1, pixels).
    """
    means = dbm.mean_field(picture)
    names = model.net is not None or dbm.labels
    known = scores.log_probs(dbm, model.net, picture) if names else None
    return means, known, dbm.visible_means(means.odd)


def activities(dbm: DBM, means: MeanField) -> list[Tensor]:
    """Return the means of the hidden layers, (units,) each, the lowest first."""
    return [_columns(dbm, name, means.even, means.odd)[0] for name in dbm.layers[1:]]


def evidence(dbm: DBM, means: MeanField, label: int, other: int) -> Tensor:
    """Return what each top unit says for a label against another given the means of the layer
    below, (top,), nats.
    """
    below, top = dbm.layers[-2:]
    total = _columns(dbm, below, means.even, means.odd) @ dbm.block(below, top) + dbm.bias(top)
    weights = dbm.block("label", top)
    return (softplus(total + weights[label]) - softplus(total + weights[other]))[0]


def settle(
    dbm: DBM,
    picture: Tensor | None,
    held: Tensor | None,
    *,
    count: int,
    steps: int,
    rng: torch.Generator,
    temperature: float,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return what `count` chains of all layers make of the pixels, E[v | h], (count, pixels), after
    `steps` Gibbs steps, and their labels (count,).

    They begin at random, or at the mean field of a picture (1, pixels); `held` (count, labels) are
    shares of labels, `known` (pixels,) says which pixels stay.
    """
    label = None if held is None else Label(held, held.new_ones(count, 1, dtype=torch.bool))
    machine, seen = tempering.divided(dbm.rbm, temperature), dbm.even.columns("visible")
    if picture is None:
        even, odd = None, gibbs.random_hidden(dbm.rbm, count, rng)
    else:
        base = dbm.even["visible"].mean(dbm.bias("visible")[None])
        given = picture if known is None else torch.where(known, picture, base)
        even = dbm.mean_field(given.repeat(count, 1)).even
        even = even if label is None else label.put(even, dbm.even)
        odd = machine.sample_hidden(even, rng)
    for _ in range(steps):
        odd = odd if label is None else label.put(odd, dbm.odd)
        even = machine.sample_visible(odd, rng)
        if known is not None and picture is not None:
            even[:, seen] = torch.where(known, picture, even[:, seen])
        even = even if label is None else label.put(even, dbm.even)
        odd = machine.sample_hidden(even, rng)
    pixels = dbm.visible_means(odd)
    if known is not None and picture is not None:
        pixels = torch.where(known, picture, pixels)
    if not dbm.labels:
        return pixels, None
    assert even is not None
    states = _columns(dbm, "label", even, odd) if held is None else held
    return pixels, states.argmax(1)


def _columns(dbm: DBM, name: str, even: Tensor, odd: Tensor) -> Tensor:
    """Return the states of a group, (N, its size)."""
    side, states = (dbm.even, even) if name in dbm.even.names else (dbm.odd, odd)
    return states[:, side.columns(name)]
