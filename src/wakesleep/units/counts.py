"""What families of whole numbers share: a check of data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wakesleep.foundation.errors import DataError


def require_counts(cases: Tensor, what: str, most: float = math.inf, whole: bool = True) -> None:
    """Raise DataError unless every value of `cases` (N, size) lies from 0 to `most`, and is whole
    where that is asked for.
    """
    if cases.dtype == torch.uint8:
        raise DataError(
            f"{what}: cases are uint8, which means pixels from 0 to 255; give counts as "
            "cases.long()"
        )
    wrong = (cases < 0) | (cases > most)
    if whole and cases.is_floating_point():
        wrong |= cases != torch.round(cases)
    if bool(wrong.any()):
        column = int(wrong.any(0).int().argmax())
        value = float(cases[:, column][wrong[:, column]][0])
        numbers = "whole numbers" if whole else "numbers"
        limit = "of 0 or more" if most == math.inf else f"from 0 to {most:g}"
        raise DataError(
            f"{what}: a value of {value:.7g} in column {column}; expected {numbers} {limit}"
        )
