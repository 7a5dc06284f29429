"""What the shipped model makes of pictures from elsewhere: photographs, and what is no digit.

    python -m benchmarks.recognition
    python -m benchmarks.recognition --other

Photographs and drawings are those of `benchmarks.photographs` and `benchmarks.drawings`; strokes
become pictures as on the page's pad (`static/pad.js`), garments are Fashion-MNIST's test cases.
"""

from __future__ import annotations

import io
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks import drawings, other_letters, photographs
from wakesleep import data
from wakesleep.app.loaded_model import LoadedModel, open_model
from wakesleep.data.pictures import Grey, grey_picture
from wakesleep.evaluation import classify, novelty
from wakesleep.foundation.errors import ConfigError
from wakesleep.paper import results
from wakesleep.sources.arrays import as_probs

SIDE, FIELD, WIDTH = 280, 20 / 28, 2.4 / 28
"""Of a drawing's picture: its side in pixels, and which parts of it the ink's longer side and the
pen take; as in pad.js.
"""
PHOTOGRAPHS, ODD, GARMENTS_SEED, OTHER_SEED = 60, 100, 9001, 9102


@dataclass(frozen=True)
class RecognitionOptions:
    """Show the model photographs and what is no digit, and save the rows."""

    out: Path = Path("results/page.json")
    """Where the rows go."""
    other: bool = False
    """Show other letters, scribbles, icons, garments and digits instead, by which the score was
    chosen; nothing is saved.
    """


def grey_of(strokes: list[drawings.Stroke]) -> Grey:
    """Return strokes as a picture of white ink on black, enlarged as the pad does it."""
    every = np.concatenate(strokes)
    low, high = every.min(0), every.max(0)
    scale = (FIELD - WIDTH) / max(float((high - low).max()), 0.02)
    fine, pen = 2 * SIDE, 2 * SIDE * WIDTH
    picture = Image.new("L", (fine, fine))
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        points = [(x, y) for x, y in fine * (0.5 + scale * (stroke - (low + high) / 2))]
        draw.line(points, fill=255, width=round(pen))
        for x, y in points:
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def cases(model: LoadedModel, pictures: Iterable[list[drawings.Stroke]]) -> Tensor:
    """Return drawings as cases (N, pixels)."""
    rows = [
        model.preparation.picture(grey_of(strokes), own="dark", centre=True).ravel()
        for strokes in pictures
    ]
    return torch.from_numpy(np.stack(rows))


def photographs_right(model: LoadedModel) -> dict[str, list[bool]]:
    """Return whether the digit in each photograph is named rightly, by its kind."""
    test = data.load("mnist").test
    assert test is not None
    assert test.labels is not None
    images = as_probs(test.images).numpy().reshape(-1, 28, 28)
    right: dict[str, list[bool]] = {kind: [] for kind in photographs.KINDS}
    for case, kind, file in photographs.photographs(images, PHOTOGRAPHS):
        prepared = model.preparation.picture(grey_picture(io.BytesIO(file))).reshape(1, -1)
        named = int(classify.predict(model.dbn, torch.from_numpy(prepared)))
        right[kind].append(named == int(test.labels[case]))
    return right


def no_digits(model: LoadedModel) -> dict[str, Tensor]:
    """Return pictures that are no digits, and digits that were drawn, as cases by kind."""
    return {
        "letters": cases(model, drawings.letters(ODD)),
        "scribbles": cases(model, drawings.scribbles(ODD)),
        "icons": cases(model, drawings.icons(ODD)),
        "garments": garments("test"),
        "drawn digits": cases(model, (strokes for _, strokes in drawings.accepted())),
    }


def others(model: LoadedModel) -> dict[str, Tensor]:
    """Return the same of other letters and other seeds."""
    rng, letters = np.random.default_rng(OTHER_SEED), list(other_letters.LETTERS.values())
    hand = drawings.Condition(width=0.85)
    drawn_letters = (drawings.by_hand(letter, hand, rng) for letter in 10 * letters)
    digits = (strokes for _, strokes in drawings.accepted(OTHER_SEED))
    return {
        "letters": cases(model, drawn_letters),
        "scribbles": cases(model, drawings.scribbles(ODD, OTHER_SEED)),
        "icons": cases(model, drawings.icons(ODD, OTHER_SEED)),
        "garments": garments("train"),
        "drawn digits": cases(model, digits),
    }


def garments(part: str) -> Tensor:
    """Return cases of Fashion-MNIST."""
    pictures = getattr(data.load("fashion-mnist"), part)
    chosen = np.random.default_rng(GARMENTS_SEED).choice(len(pictures.images), ODD, replace=False)
    return as_probs(pictures.images[torch.from_numpy(chosen)])


def unfamiliar(model: LoadedModel, shown: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return of each picture whether it is called unfamiliar."""
    calibration = model.novelty
    if calibration is None:
        raise ConfigError("the model records no novelty; run python -m benchmarks.calibrate")
    return {
        name: novelty.surprise(model.dbn, images, calibration) > calibration.threshold
        for name, images in shown.items()
    }


def main(argv: list[str]) -> None:
    """Measure, and save."""
    options = tyro.cli(RecognitionOptions, description=__doc__, args=argv)
    torch.set_grad_enabled(False)
    command = shlex.join(["python", "-m", "benchmarks.recognition", *argv])
    began, model = time.perf_counter(), open_model()

    def row(name: str, metric: str, share: float, seed: int, **notes: Any) -> results.Row:
        percent = [100 * share]
        return results.row("page", name, metric, percent, seeds=[seed], command=command, **notes)

    if options.other:
        for kind, strange in unfamiliar(model, others(model)).items():
            print(kind, round(100 * float(strange.float().mean()), 1))
        return
    right, odd = photographs_right(model), unfamiliar(model, no_digits(model))
    by_kind = {kind: sum(result) for kind, result in right.items()}
    share = sum(by_kind.values()) / PHOTOGRAPHS
    rows = [row("photographs", "accuracy_percent", share, photographs.SEED, right=by_kind)]
    refused = float(odd.pop("drawn digits").float().mean())
    caught = {kind: int(result.sum()) for kind, result in odd.items()}
    seed = drawings.SEEDS["letters"]
    together = float(torch.cat(list(odd.values())).float().mean())
    rows += [
        row("unknown-pictures", "caught_percent", together, seed, caught=caught),
        row(
            "unknown-pictures",
            "drawn_digits_refused_percent",
            refused,
            drawings.SEEDS["accepted"],
        ),
    ]
    minutes = round((time.perf_counter() - began) / 60, 2)
    for result in rows:
        result["minutes"] = minutes
        print(result["row"], result["metric"], result["value"])
    print(by_kind, caught)
    results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
