"""The model that ships with the package: a run's generative model at half precision, with a card
that says where it comes from.

    wakesleep train --data mnist --stages pretrain updown --out runs/mnist
    python -m benchmarks.ship runs/mnist

The error is counted before and after; rounding that costs more than a few cases in ten thousand is
refused.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

from wakesleep import data
from wakesleep.app.loaded_model import SHIPPED
from wakesleep.data import KNOWN
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.paper import results
from wakesleep.runs import checkpoint, scores

MOST_BYTES = 5_000_000
MOST_CHANGE = 0.0005
"""Of all test cases: how many more or fewer may be wrong after rounding."""


@dataclass(frozen=True)
class ShipMeasureOptions:
    """Turn a finished run into the model file that ships with the package."""

    run: Positional[Path]
    """The run folder."""
    out: Path = SHIPPED
    """The file to write; its card goes beside it as MODEL.md."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie, as in wakesleep train."""


def ship(options: ShipMeasureOptions, command: str) -> dict[str, Any]:
    """Write the file and its card; return the card.

    Raises:
        CheckpointError: the file would be larger than 5 MB.
        ConfigError: the model names no labels, or rounding changes its errors.
    """
    model = checkpoint.load_model(options.run)
    notes, config = (
        files.read_json(options.run / "provenance.json"),
        files.read_json(options.run / "config.json"),
    )
    dataset = data.load(notes["data_path"], folder=options.data_folder)
    tested = dataset.test or dataset.train
    before = scores.evaluate(model.dbn, None, tested, dataset.name, "free-energy")
    half = {name: tensor.half() for name, tensor in model.dbn.state_dict().items()}
    model.dbn.load_state_dict(half)  # rounded, and again single precision
    after = scores.evaluate(model.dbn, None, tested, dataset.name, "free-energy")
    if abs(after["test_errors"] - before["test_errors"]) > max(1, MOST_CHANGE * len(tested)):
        raise ConfigError(
            f"half precision changes the errors from {before['test_errors']} to "
            f"{after['test_errors']}; ship single precision"
        )
    card = {
        "data": dataset.name,
        "data_checksum": dataset.checksum,
        "command": _anywhere(notes["command"]),
        "seed": notes["seed"],
        "stages": config["stages"],
        "test_error_percent": after["test_error_percent"],
        "test_errors": after["test_errors"],
        "test_errors_before_rounding": before["test_errors"],
        "test_cases": after["n_test"],
        "method": "exact label free energies, deterministic up-pass",
        "trained": notes.get("finished", ""),
        "commit": results.commit(),
        "shipped_with": _anywhere(command),
        "date": datetime.now(UTC).date().isoformat(),
    }
    header = {
        name: value
        for name, value in model.header.items()
        if name in ("shape", "classes", "ink_field", "preparation", "novelty", "seed")
    }
    header |= {"data_path": notes["data_path"] if notes["data_path"] in KNOWN else "", "card": card}
    rounded = model.dbn.half()
    size = sum(tensor.numel() * 2 for tensor in checkpoint.model_tensors(rounded).values())
    if size > MOST_BYTES:
        raise CheckpointError(
            f"{size:,} bytes of weights; at most {MOST_BYTES:,} ship with the package: take "
            "a smaller net"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_models(options.out, {"dbn": rounded}, header)
    options.out.chmod(0o644)
    options.out.with_name("MODEL.md").write_text(
        _words(card, model.dbn.sizes, model.dbn.labels, size), encoding="utf-8"
    )
    return card


def _anywhere(command: str) -> str:
    """Return a command without the absolute paths of the machine it ran on."""
    return shlex.join(
        f"runs/{Path(word).name}" if word.startswith("/") else word for word in shlex.split(command)
    )


def _words(card: dict[str, Any], sizes: tuple[int, ...], labels: int, size: int) -> str:
    """Return the card as Markdown."""
    net = "-".join(map(str, sizes)) + (f" with {labels} labels" if labels else "")
    return f"""# The model that ships with wakesleep

A deep belief net, {net}, half-precision weights, {size / 1e6:.1f} MB. It was trained on
{card["data"]} (sha256 {card["data_checksum"][:16]}...) with seed {card["seed"]} by

    {card["command"]}

and makes {card["test_errors"]} errors on {card["test_cases"]:,} test cases,
{card["test_error_percent"]:.2f} % ({card["method"]});
{card["test_errors_before_rounding"]} before its weights were rounded. Written by

    {card["shipped_with"]}

It knows pictures like those it learned from, and nothing else: whatever it is shown, it sees one of
its labels in it.
"""


def main(argv: list[str]) -> None:
    """Ship a run's model."""
    options = tyro.cli(ShipMeasureOptions, description=__doc__, args=argv)
    torch.set_grad_enabled(False)
    card = ship(options, shlex.join(["python", "-m", "benchmarks.ship", *argv]))
    print(
        f"{options.out}  {card['test_errors']} errors on {card['test_cases']:,} test cases "
        f"({card['test_errors_before_rounding']} before)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
