"""Write into a model file which surprise is usual among cases that it did not learn from.

    python -m benchmarks.calibrate
    python -m benchmarks.calibrate runs/digits/model.safetensors

The model that ships learned from all 60,000 training cases of MNIST: its 10,000 test cases are
those it has not seen. They choose nothing of the network, only when a picture is called unfamiliar.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

from wakesleep import data
from wakesleep.app.loaded_model import SHIPPED
from wakesleep.evaluation import novelty
from wakesleep.foundation.errors import ConfigError
from wakesleep.runs import checkpoint, tensor_files


@dataclass(frozen=True)
class CalibrateOptions:
    """Calibrate what a model calls unfamiliar."""

    model: Positional[Path] = SHIPPED
    """The model file."""
    percentile: float = 95.0
    """Part of the held-out cases that are to be familiar, %."""


def calibrate(options: CalibrateOptions) -> novelty.Calibration:
    """Write the calibration into the file's header; return it.

    Raises:
        ConfigError: the model's data have no test cases.
    """
    model = checkpoint.load_model(options.model)
    dataset = data.load(model.header["data_path"], how=data.for_own_set(model.header), own=True)
    if dataset.test is None:
        raise ConfigError(f"{dataset.name} has no test cases to calibrate with")
    shape: tuple[int, int] = tuple(model.header["shape"])
    calibration = novelty.calibrate(
        model.dbn, dataset.test.images, shape, percentile=options.percentile
    )
    tensors, header = tensor_files.load_tensors(options.model, "model")
    tensor_files.save_tensors(
        options.model, tensors, {**header, "novelty": calibration.as_json()}, "model"
    )
    options.model.chmod(0o644)
    return calibration


def main(argv: list[str]) -> None:
    """Calibrate, and say what was found."""
    torch.set_grad_enabled(False)
    print(calibrate(tyro.cli(CalibrateOptions, description=__doc__, args=argv)))


if __name__ == "__main__":
    main(sys.argv[1:])
