"""The way up as one module, for other programs: torch.export and ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.foundation.errors import ConfigError


class InRange(nn.Module):
    """The scaling an estimator learned, and its clipping to [0, 1]."""

    factor: Tensor
    offset: Tensor

    def __init__(self, scaler: Any) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(scaler.scale_, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(scaler.min_, dtype=torch.float32))

    def forward(self, cases: Tensor) -> Tensor:
        """Return cases (N, D) in [0, 1]."""
        return torch.clamp(cases * self.factor + self.offset, 0.0, 1.0)


class Unskewed(nn.Module):
    """The skewed columns of an estimator mapped by asinh((x - centre) / spread), the others as they
    are.
    """

    skewed: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        columns = torch.from_numpy(estimator.skewed_columns_)
        centre, spread = torch.zeros(estimator.n_features_in_), torch.ones(estimator.n_features_in_)
        centre[columns], spread[columns] = torch.from_numpy(estimator.skew_).float()
        self.register_buffer("skewed", torch.isin(torch.arange(estimator.n_features_in_), columns))
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)

    def forward(self, cases: Tensor) -> Tensor:
        """Return cases (N, D), (N, D)."""
        return torch.where(self.skewed, torch.asinh((cases - self.centre) / self.spread), cases)


class Affine(nn.Module):
    """A linear map with fixed weights, x W + b."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer(
            "weight", weight.detach().cpu().float().clone(memory_format=torch.contiguous_format)
        )
        self.register_buffer("bias", bias.detach().cpu().float().clone())

    def forward(self, states: Tensor) -> Tensor:
        """Return x W + b, (N, to)."""
        return states @ self.weight + self.bias


class LabelProbs(nn.Module):
    """The memory's exact p(label | penultimate activities), the top units summed out."""

    label_weight: Tensor
    label_bias: Tensor

    def __init__(self, total_input: Affine, label_weight: Tensor, label_bias: Tensor) -> None:
        super().__init__()
        self.total_input = total_input
        self.register_buffer(
            "label_weight", label_weight.detach().cpu().clone(memory_format=torch.contiguous_format)
        )
        self.register_buffer("label_bias", label_bias.detach().cpu().clone())

    def forward(self, features: Tensor) -> Tensor:
        """Return p(label | features), (N, labels)."""
        total_input = self.total_input(features)
        # not [:, None, :]: up to PyTorch 2.7 a slice bounds the number of cases of an exported
        # program
        total_input = total_input.unsqueeze(1)
        score = nn.functional.softplus(total_input + self.label_weight) - nn.functional.softplus(
            total_input
        )
        return torch.softmax(score.sum(-1) + self.label_bias, 1)


def recognition(estimator: Any) -> nn.Module:
    """Return what a fitted estimator computes from a case, as a module on the CPU, float32: (N, D)
    -> (N, outputs).

    Outputs are hidden probabilities of a transformer, class probabilities of a classifier,
    predictions of a regressor; scaling is part of it, drawing missing values is not.

    Raises:
        NotFittedError: nothing was learned yet.
    """
    check_is_fitted(estimator)
    scaling: list[nn.Module] = [] if estimator.scaler_ is None else [InRange(estimator.scaler_)]
    if len(getattr(estimator, "skewed_columns_", ())):
        scaling.insert(0, Unskewed(estimator))
    return nn.Sequential(*scaling, *estimator._recognition_layers()).eval()


def torch_program(estimator: Any) -> torch.export.ExportedProgram:
    """Return the recognition net as a torch.export program for any number of cases;
    torch.export.save writes it.
    """
    example = torch.zeros(2, estimator._nets()[0].sizes[0])
    shapes = ({0: torch.export.Dim("cases")},)
    # strict, the default before PyTorch 2.8, traces bytecode, and of one class only some eight
    # modules in a process
    return torch.export.export(
        recognition(estimator), (example,), dynamic_shapes=shapes, strict=False
    )


def onnx(estimator: Any, path: Path | str) -> None:
    """Write the recognition net to `path` as ONNX, float32, input "cases" (N, D), output "output"
    (N, outputs).

    Raises:
        ConfigError: the packages of the extra `onnx` are not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise ConfigError(
            "writing ONNX needs the packages onnx and onnxscript: pip install onnx onnxscript"
        ) from error
    program = torch_program(estimator)
    torch.onnx.export(
        program,
        (),
        str(path),
        dynamo=True,
        input_names=["cases"],
        output_names=["output"],
        verbose=False,
        external_data=False,
    )
