"""Other pictures of the same thing, made on the fly: moved, turned, stretched, and bent like
rubber.

Source: Simard, Steinkraus & Platt (2003), "Best practices for convolutional neural networks applied
to visual document analysis".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.sources.arrays import check_pictures
from wakesleep.sources.axes import ImageRows, Rows


@renamed.fields(turn="rotation", stretch="scale", bend="alpha", smooth="sigma")
@dataclass(frozen=True)
class Distortion:
    """How far a picture may be taken from where it was: each case draws its own, evenly between
    nothing and these bounds.

    The defaults suit digits of 28 x 28 pixels: what they make is still read by everyone.
    """

    shift: float = 1.0
    """Pixels up, down and sideways."""
    rotation: float = 10.0
    """Degrees either way; beyond 30 a 6 begins to be a 9."""
    scale: float = 0.1
    """Share by which height and width each grow or shrink."""
    shear: float = 0.1
    """Pixels sideways for each pixel up: how much the writing slants."""
    alpha: float = 34.0
    """Size of the elastic displacements before they are smoothed, in pixels."""
    sigma: float = 4.0
    """Standard deviation of the Gaussian that smooths them, in pixels: small ones crumple, large
    ones only shift.
    """

    def __post_init__(self) -> None:
        if (
            not all(0 <= value < math.inf for value in vars(self).values())
            or self.sigma == 0
            or self.scale >= 1
        ):
            raise ConfigError(
                f"{self}: expected numbers of 0 and more, sigma above 0 and scale below 1"
            )


@check_arguments
def shifted(images: ImageRows, shape: tuple[int, int]) -> Tensor:
    """Return `images` (N, rows * columns) in nine places, (9 N, rows * columns), first as they are;
    what moves in repeats the edge.

    The others are a pixel up, down, to the sides and along the diagonals, N of each.
    """
    check_pictures(images.shape[1], shape)
    rows, columns = (torch.arange(size, device=images.device) for size in shape)
    pictures = images.reshape(-1, *shape)
    moves = sorted(((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)), key=any)
    there = [
        pictures[:, (rows - down).clamp(0, shape[0] - 1)][
            :, :, (columns - right).clamp(0, shape[1] - 1)
        ]
        for down, right in moves
    ]
    return torch.cat(there).reshape(-1, shape[0] * shape[1])


@check_arguments
def translations(pixels: float = 2.0) -> Distortion:
    """Return what only moves pictures."""
    return Distortion(shift=pixels, rotation=0.0, scale=0.0, shear=0.0, alpha=0.0)


@check_arguments
def distort(
    images: Rows, shape: tuple[int, int], rng: torch.Generator, how: Distortion | None = None
) -> Tensor:
    """Return a new picture of each of `images` (N, rows * columns) in [0, 1], each distorted in a
    way of its own, same shape.

    Every pixel takes its value from the place A p + d(p) of the old picture, between pixels by
    bilinear interpolation and 0 outside: A the case's affine map about the middle, d its field of
    displacements, uniform in [-alpha, alpha] and smoothed by a Gaussian.

    Raises:
        DataError: pictures of another size than `shape`.
    """
    how = Distortion() if how is None else how
    height, width = shape
    check_pictures(images.shape[1], shape)
    rows = torch.arange(height, device=images.device) - (height - 1) / 2
    columns = torch.arange(width, device=images.device) - (width - 1) / 2
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).view(-1, 2)
    matrix, shift = _affine(len(images), how, rng)
    places = torch.baddbmm(
        shift[:, None], places.expand(len(images), -1, -1), matrix.transpose(1, 2)
    )
    if how.alpha:
        places = places + _elastic(len(images), shape, how, rng)
    # grid_sample counts from -1 to 1 between the outer edges
    half = torch.tensor([width / 2, height / 2], device=images.device)
    grid = (places / half).view(-1, height, width, 2)
    pictures = images.to(grid.dtype).reshape(-1, 1, height, width)
    moved = grid_sample(pictures, grid, align_corners=False)
    return moved.view(images.shape).clamp_(0.0, 1.0).to(images.dtype)


def _even(shape: tuple[int, ...], bound: float, rng: torch.Generator) -> Tensor:
    """Return numbers drawn evenly from [-bound, bound]."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(2 * bound).sub_(bound)


def _affine(count: int, how: Distortion, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a matrix (count, 2, 2) and a shift (count, 2), in pixels, for each case: rotation
    times slant times scale.
    """
    rotation, slant = (
        _even((count,), math.radians(how.rotation), rng),
        _even((count,), how.shear, rng),
    )
    scale = 1 + _even((count, 2), how.scale, rng)
    cos, sin = rotation.cos(), rotation.sin()
    rotated = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    sheared = torch.eye(2, device=rng.device).repeat(count, 1, 1)
    sheared[:, 0, 1] = slant
    return rotated @ sheared * scale[:, None], _even((count, 2), how.shift, rng)


def _elastic(count: int, shape: tuple[int, int], how: Distortion, rng: torch.Generator) -> Tensor:
    """Return a smooth field of displacements for each case, (count, rows * columns, 2), in
    pixels.
    """
    field = _even((count, 2, *shape), how.alpha, rng)
    down, across = (_gaussian(size, how.sigma, rng.device) for size in shape)
    return (down @ field @ across).flatten(2).transpose(1, 2)


def _gaussian(size: int, sigma: float, device: torch.device) -> Tensor:
    """Return the matrix (size, size) that smooths along one side of a picture; its kernel sums to
    1, outside is 0.
    """
    offsets = torch.arange(size, device=device)
    reach = torch.arange(-3 * math.ceil(sigma), 3 * math.ceil(sigma) + 1, device=device)
    kernel = torch.exp(-0.5 * ((offsets[:, None] - offsets[None]) / sigma) ** 2)
    return kernel / torch.exp(-0.5 * (reach / sigma) ** 2).sum()
