"""What the network on show answers to questions about pictures."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import torch
from torch import Tensor

from wakesleep.app import deep_answers
from wakesleep.app.loaded_model import LoadedModel
from wakesleep.evaluation import classify, interpretation, novelty
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop
from wakesleep.models.dbm import DBM
from wakesleep.samplers import dreams, gibbs
from wakesleep.samplers.gibbs import Clamp

FAINTEST = 13
"""Levels of 255 by which pixels must differ to be a picture: less is a blank page."""
Held = None | int | dict[int, float]
"""The label that is held: none, one, or shares of several."""


def picture_from(
    model: LoadedModel,
    image: str | None,
    pixels: list[int] | None,
    *,
    centre: bool | None,
    drawing: bool = False,
    most_pixels: int,
) -> Tensor:
    """Return a picture file (base64, or a data URL) or pixels 0..255 as a case, (1, pixels) in [0,
    1].

    A file is prepared as the network's own pictures were; `centre` decides whether it is centred,
    and a `drawing` is light ink on black.

    Raises:
        DataError: both, neither, no picture, a blank one, or one of another size.
    """
    if pixels is not None and image is not None:
        raise DataError("image and pixels came; expected one of them")
    if pixels is not None:
        if len(pixels) != model.machine.sizes[0]:
            raise DataError(
                f"{len(pixels)} pixels came; expected {model.machine.sizes[0]}, row by row"
            )
        return torch.tensor([pixels], dtype=torch.float32) / 255
    if image is None:
        raise DataError("no picture came; expected image (a picture file in base64) or pixels")
    try:
        content = base64.b64decode(
            image.partition(",")[2] if image.startswith("data:") else image, validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise DataError(f"the image is no base64 ({error})") from error
    file = io.BytesIO(content)
    file.name = "the picture"
    return model.preparation.read(file, centre=centre, drawing=drawing, most_pixels=most_pixels)


def whole(values: Tensor) -> list[int]:
    """Return values in [0, 1] as whole numbers 0..255."""
    numbers: list[int] = (values.clamp(0, 1) * 255).round().to(torch.uint8).tolist()
    return numbers


def recognize(model: LoadedModel, picture: Tensor) -> dict[str, Any]:
    """Return what the network says and sees: label, probabilities, its reconstructions, its
    activities, who spoke for the answer.

    Raises:
        DataError: a blank picture, of which every answer would be made up.
    """
    if float(picture.max() - picture.min()) * 255 < FAINTEST:
        raise DataError("the picture is blank; expected something on it that can be named")
    if isinstance(model.machine, DBM):
        return _recognized_together(model, model.machine, picture)
    dbn = model.dbn
    up = dbn.up(picture)
    top_input = dbn.top_input(up[-1])
    known = (
        torch.log_softmax(classify.memory_label_scores(dbn, up[-1]), 1)
        if dbn.labels
        else _by_net(model, picture)
    )
    answer: dict[str, Any] = {
        "picture": whole(picture[0]),
        "seen": [whole(seen[0]) for seen in dreams.reconstruct_per_layer(dbn, picture)],
    }
    if model.novelty is not None:
        nats = float(novelty.surprise(dbn, picture, model.novelty))
        answer |= {
            "surprise": round(nats, 3),
            "usual_surprise": round(model.novelty.threshold, 3),
            "unfamiliar": nats > model.novelty.threshold,
        }
    if known is not None:
        answer |= _named(model, known[0])
        label, other = answer["label"], answer["runner_up"]
        if dbn.labels:
            top_input = top_input + dbn.memory.weight[dbn.label_columns.start + label]
            answer["evidence"] = [
                round(nats, 3)
                for nats in interpretation.evidence(dbn, up[-1], label, other)[0].tolist()
            ]
    answer["activities"] = [
        whole(layer[0]) for layer in [*up[1:], dbn.memory.hidden.mean(top_input)]
    ]
    return answer


def _recognized_together(model: LoadedModel, dbm: DBM, picture: Tensor) -> dict[str, Any]:
    """Return the same of a deep Boltzmann machine, all of whose layers settle together."""
    means, known, seen = deep_answers.look(model, dbm, picture)
    answer: dict[str, Any] = {"picture": whole(picture[0]), "seen": [whole(seen[0])]}
    if known is not None:
        answer |= _named(model, known[0])
        if dbm.labels:
            nats = deep_answers.evidence(dbm, means, answer["label"], answer["runner_up"])
            answer["evidence"] = [round(value, 3) for value in nats.tolist()]
    answer["activities"] = [whole(layer) for layer in deep_answers.activities(dbm, means)]
    return answer


def _named(model: LoadedModel, log_probs: Tensor) -> dict[str, Any]:
    """Return what is told of log p of each label, (labels,)."""
    best = log_probs.topk(2)
    label, other = best.indices.tolist()
    return {
        "label": label,
        "name": model.classes[label],
        "probs": [round(p, 5) for p in log_probs.exp().tolist()],
        "runner_up": other,
        "log_odds": round(float(best.values[0] - best.values[1]), 3),
    }


def _by_net(model: LoadedModel, picture: Tensor) -> Tensor | None:
    """Return log p(label | picture), (1, labels), of the fine-tuned net; None where there is
    none.
    """
    return backprop.log_probs(model.net, picture) if model.net is not None else None


def shares(model: LoadedModel, held: Held, count: int) -> Tensor | None:
    """Return label shares (count, labels) that hold what is asked for in every chain; None leaves
    the label free.

    Raises:
        ConfigError: no such label, or shares that do not sum to 1.
    """
    if held is None:
        return None
    given = {held: 1.0} if isinstance(held, int) else held
    if any(label not in range(model.machine.labels) for label in given):
        raise ConfigError(
            f"labels {sorted(given)}: this network holds {model.machine.labels}, from 0"
        )
    row = torch.zeros(model.machine.labels)
    for label, share in given.items():
        row[label] = share
    return row.repeat(count, 1)


def clamp_of(model: LoadedModel, given: Tensor | None) -> Clamp | None:
    """Return the clamp of label shares, or none."""
    return None if given is None else dreams.label_mixture(model.dbn, given)


def _settle(
    model: LoadedModel,
    hidden: Tensor,
    held: Tensor | None,
    steps: int,
    rng: torch.Generator,
    temperature: float,
) -> dict[str, Any]:
    """Let chains move `steps` Gibbs steps; return the pictures and labels they end
    with.
    """
    clamp = clamp_of(model, held)
    chains = gibbs.run(model.dbn.memory, hidden, steps, rng, clamp, temperature)
    shown = dreams.decode(model.dbn, chains, rng)
    return {
        "pictures": [whole(row) for row in shown.pixels],
        "labels": None if shown.labels is None else shown.labels.tolist(),
    }


def dream(
    model: LoadedModel, *, held: Held, count: int, steps: int, seed: int, temperature: float
) -> dict[str, Any]:
    """Dream from random states."""
    rng = generator(seed)
    if isinstance(model.machine, DBM):
        return _settled_together(model, model.machine, None, held, count, steps, rng, temperature)
    return _settle(
        model,
        gibbs.random_hidden(model.dbn.memory, count, rng),
        shares(model, held, count),
        steps,
        rng,
        temperature,
    )


def imagine(
    model: LoadedModel,
    picture: Tensor,
    *,
    held: Held,
    count: int,
    steps: int,
    seed: int,
    temperature: float,
) -> dict[str, Any]:
    """Go on from a picture: with a label held, or free to become something else."""
    rng, many = generator(seed), picture.repeat(count, 1)
    if isinstance(model.machine, DBM):
        return _settled_together(
            model, model.machine, picture, held, count, steps, rng, temperature
        )
    given = shares(model, held, count)
    hidden = dreams.top_states(
        model.dbn, many, first_shares(model, many) if given is None else given, rng
    )
    return _settle(model, hidden, given, steps, rng, temperature)


def first_shares(model: LoadedModel, pictures: Tensor) -> Tensor:
    """Return what the network takes pictures (N, pixels) for, as label shares (N, labels) to begin
    with.
    """
    return (
        classify.log_probs(model.dbn, pictures).exp()
        if model.dbn.labels
        else dreams.uniform_labels(model.dbn, len(pictures))
    )


def fill(
    model: LoadedModel,
    picture: Tensor,
    known: Tensor,
    *,
    held: Held,
    count: int,
    sweeps: int,
    seed: int,
    temperature: float,
) -> dict[str, Any]:
    """Fill in what is not known (pixels,) of a picture."""
    rng, images = generator(seed), picture.repeat(count, 1)
    if isinstance(model.machine, DBM):
        return _settled_together(
            model, model.machine, picture, held, count, sweeps, rng, temperature, known
        )
    given = shares(model, held, count)
    clamp, labels = (
        clamp_of(model, given),
        dreams.uniform_labels(model.dbn, count) if given is None else given,
    )
    canvas = torch.where(known, images, torch.rand(images.shape, generator=rng))
    for _ in range(sweeps):
        chains = dreams.fill_step(
            model.dbn, canvas, labels, rng=rng, clamp=clamp, temperature=temperature
        )
        labels = chains.visible[:, model.dbn.label_columns]
        canvas = torch.where(known, images, dreams.decode(model.dbn, chains, rng).pixels)
    return {
        "pictures": [whole(row) for row in canvas],
        "labels": labels.argmax(1).tolist() if model.dbn.labels else None,
    }


def _settled_together(
    model: LoadedModel,
    dbm: DBM,
    picture: Tensor | None,
    held: Held,
    count: int,
    steps: int,
    rng: torch.Generator,
    temperature: float,
    known: Tensor | None = None,
) -> dict[str, Any]:
    """Let chains of all layers of a deep Boltzmann machine move; return where they end."""
    pixels, labels = deep_answers.settle(
        dbm,
        picture,
        shares(model, held, count),
        count=count,
        steps=steps,
        rng=rng,
        temperature=temperature,
        known=known,
    )
    return {
        "pictures": [whole(row) for row in pixels],
        "labels": None if labels is None else labels.tolist(),
    }


def fields(model: LoadedModel, layer: int, start: int, count: int) -> bytes:
    """Return what units of a layer look for, a byte a pixel, unit by unit: 128 is nothing, 255 the
    strongest drive of that unit, 1 a veto.
    """
    content: bytes = _signed(_preferences(model, layer)[:, start : start + count].t()).tobytes()
    return content


def unit(model: LoadedModel, layer: int, number: int) -> dict[str, Any]:
    """Return what one unit prefers, what it contributes, and for a top unit how it is tied to the
    labels (nats).
    """
    added = interpretation.projective_field(model.dbn, layer, number)
    tied = (
        interpretation.label_weights(model.dbn, number)
        if layer == model.dbn.depth and model.dbn.labels
        else None
    )
    return {
        "layer": layer,
        "unit": number,
        "prefers": _signed(_preferences(model, layer)[:, number][None])[0].tolist(),
        "contributes": _signed(added[None])[0].tolist(),
        "largest_contribution": round(float(added.abs().max()), 4),
        "labels": None if tied is None else [round(nats, 3) for nats in tied.tolist()],
    }


def _preferences(model: LoadedModel, layer: int) -> Tensor:
    if layer not in model.fields:
        model.fields[layer] = interpretation.receptive_fields(model.dbn, layer)
    return model.fields[layer]


def _signed(rows: Tensor) -> Any:
    """Return rows of signed values as bytes, each row to its own largest."""
    largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-12)
    return (128 + 127 * rows / largest).round().to(torch.uint8).cpu().numpy()
