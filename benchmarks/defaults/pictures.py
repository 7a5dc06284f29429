"""Are the defaults good for a few hundred pictures of one's own? By the command line, as anybody
would, at its default settings.

    python -m benchmarks.defaults.pictures --seeds 1 2 3

scikit-learn's digits drawn dark on white at 28 x 28, 70 a class, drawn anew for each seed, to learn
from, the others to test. Dreams are judged by a net trained on the pictures that were not learned
from.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from PIL import Image
from torch import Tensor

from benchmarks import judge
from wakesleep.data import load
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams
from wakesleep.sources.arrays import as_probs

SHOWN = 28
"""Side of a picture, pixels."""


@dataclass(frozen=True)
class PicturesMeasureOptions:
    """Train on a folder of pictures, count errors on the others, judge the dreams."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """A run for each."""
    a_class: int = 70
    """Pictures of each class to learn from."""
    folder: Path = Path("runs/own-pictures")
    """Where pictures, runs and the judge go; a run that is there is read."""
    out: Path | None = Path("results/defaults-pictures.json")
    """Where the rows go; None only prints."""


def draw(folder: Path, a_class: int, rng: torch.Generator) -> None:
    """Write the digits as PNG files, dark on white, `a_class` of each class, at random, under
    train/ and the others under test/.
    """
    digits = load("digits")
    assert digits.train.labels is not None
    assert digits.test is not None
    assert digits.test.labels is not None
    images = as_probs(torch.cat([digits.train.images, digits.test.images]))
    labels = torch.cat([digits.train.labels, digits.test.labels])
    for label in range(10):
        mine = images[labels == label]
        for number, image in enumerate(mine[torch.randperm(len(mine), generator=rng)]):
            home = folder / ("train" if number < a_class else "test") / str(label)
            home.mkdir(parents=True, exist_ok=True)
            _picture(image.view(digits.shape)).save(home / f"{number}.png")


def _picture(ink: Tensor) -> Image.Image:
    """Return ink (rows, columns) in [0, 1] as a picture, dark on white."""
    grey = Image.fromarray((255 * (1 - ink)).to(torch.uint8).numpy())
    return grey.resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)


def main(argv: list[str]) -> None:
    """Draw, train, judge, and save the rows."""
    options = tyro.cli(PicturesMeasureOptions, description=__doc__, args=argv)
    errors: dict[str, list[float]] = {}
    agree, minutes = [], 0.0
    for seed in options.seeds:
        run, pictures = options.folder / f"seed-{seed}", options.folder / f"pictures-{seed}"
        if not pictures.exists():
            draw(pictures, options.a_class, generator(seed))
        if not (run / "model.safetensors").exists():
            call = [
                sys.executable,
                "-m",
                "wakesleep",
                "train",
                "--data",
                str(pictures),
                "--out",
                str(run),
                "--seed",
                str(seed),
            ]
            subprocess.run(call, check=True)
        for row in files.read_json(run / "evaluation.json")["rows"]:
            errors.setdefault(row["method"], []).append(row["test_error_percent"])
        minutes += sum(files.read_json(run / "provenance.json")["minutes"].values())
        agree.append(agreement(run, options.folder / f"judge-{seed}.safetensors"))
    print(errors, agree, f"{minutes:.1f} min")
    if options.out is None:
        return
    command = shlex.join(["python", "-m", "benchmarks.defaults.pictures", *argv])
    notes: dict[str, Any] = {
        "seeds": list(options.seeds),
        "command": command,
        "minutes": round(minutes, 2),
    }
    name = f"own-pictures-{10 * options.a_class}"
    metrics = {
        "test_error_percent": errors["backprop"],
        "dreams_agree_percent": agree,
        "random_test_error_percent": errors["random"],
    }
    metrics["free_energy_test_error_percent"] = errors["free-energy"]
    results.save(
        options.out,
        [
            results.row("defaults", name, metric, values, **notes)
            for metric, values in metrics.items()
        ],
    )


def agreement(run: Path, judged_by: Path, count: int = 100) -> float:
    """Return which percentage of label-clamped dreams, `count` a class, carry their label by the
    word of a net trained on the other cases.
    """
    model = checkpoint.load_model(run)
    other = load(str(model.header["data_path"])).test
    assert other is not None
    assert other.labels is not None
    net = judge.get(judged_by, other.images, other.labels, tuple(model.header["shape"]), epochs=30)
    clamped = torch.arange(model.dbn.labels).repeat_interleave(count)
    fantasies = dreams.dream(model.dbn, labels=clamped, steps=1000, rng=generator(0)).pixels
    return round(100 * float((judge.says(net, fantasies) == clamped).float().mean()), 2)


if __name__ == "__main__":
    main(sys.argv[1:])
