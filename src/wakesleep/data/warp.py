"""Log-mel pictures bent a little in time and in frequency, as another speaker would have said the
word: few recordings become many.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from wakesleep.foundation.errors import ConfigError, DataError


def warped(
    pictures: Tensor,
    shape: tuple[int, int],
    *,
    rng: torch.Generator,
    frames: float = 1.5,
    bands: float = 1.0,
) -> Tensor:
    """Return log-mel pictures (N, bands * frames), each bent by chance and standardised anew.

    Beginning and end of a word each move by up to `frames`, what lies between by up to two thirds
    of it more, and its bands move by up to `bands` and stretch by up to one and a half times that,
    as the spectrum does with the length of a speaker's vocal tract. Source: Jaitly & Hinton (2013),
    "Vocal tract length perturbation improves speech recognition".

    Args:
        pictures: (N, bands * frames).
        shape: (bands, frames) of each.
        rng: what chance is drawn from.
        frames: columns that beginning and end move by at most.
        bands: rows that all move by at most.

    Raises:
        DataError: pictures of another size.
        ConfigError: a distance below 0.
    """
    rows, columns = shape
    if pictures.ndim != 2 or pictures.shape[1] != rows * columns:
        raise DataError(
            f"pictures of shape {tuple(pictures.shape)} came; expected (N, {rows * columns}), of "
            f"{rows} bands x {columns} frames"
        )
    if not min(frames, bands) >= 0:
        raise ConfigError(f"frames = {frames}, bands = {bands}: expected 0 or more")

    def chance(most: float) -> Tensor:
        uniform = torch.rand(len(pictures), 1, generator=rng, device=rng.device)
        return ((2 * uniform - 1) * most).to(pictures)

    time = torch.linspace(0, 1, columns).to(pictures)
    height = torch.linspace(0, 1, rows).to(pictures)
    moved = chance(frames) * (1 - time) + chance(frames) * time
    moved = moved + chance(frames * 2 / 3) * torch.sin(math.pi * time)
    raised = chance(bands) + chance(1.5 * bands) * height
    across = 2 * (time + moved / (columns - 1)) - 1
    along = 2 * (height + raised / (rows - 1)) - 1
    places = torch.stack(
        [
            across[:, None, :].expand(-1, rows, -1),
            along[:, :, None].expand(-1, -1, columns),
        ],
        dim=3,
    )
    bent = grid_sample(
        pictures.reshape(-1, 1, rows, columns), places, padding_mode="border", align_corners=True
    ).flatten(1)
    return (bent - bent.mean(1, keepdim=True)) / bent.std(1, correction=0, keepdim=True)
