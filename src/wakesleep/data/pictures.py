"""Ordinary picture files become cases: any size, mode and polarity in, bright ink on black out."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from wakesleep.data.grey import Grey as Grey
from wakesleep.data.grey import border as border
from wakesleep.data.grey import paper_level as paper_level
from wakesleep.data.grey import resize as resize
from wakesleep.data.photographs import ink_on_paper, is_photograph
from wakesleep.foundation.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

# A closed list: some of Pillow's other readers start foreign programs (EPS runs Ghostscript).
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
)
# beyond it a small file that unpacks to gigabytes is likelier than a photograph
MOST_PIXELS = 1 << 26
FIELD = 20 / 28  # MNIST: the ink's longer side is 20 pixels of a field of 28 (LeCun et al., 1998)
FAINTEST = 0.05  # of the way from black to white: less contrast than this is an empty page
INK = 0.2  # of full ink: what counts for the bounding box; paper grain stays below it


def is_picture(path: Path) -> bool:
    """Return whether a file begins as a picture of a known format does."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # Pillow's readers raise far more kinds of errors than they document
        return False


def grey_picture(source: str | Path | IO[bytes], most_pixels: int = MOST_PIXELS) -> Grey:
    """Return a picture file as grey levels.

    Transparent parts take black or white, whichever the opaque parts stand out from. Of an
    animation the first frame is taken.

    Returns:
        (rows, columns) float32 in [0, 1], 1 is white.

    Raises:
        DataError: no picture, corrupt, or with more than `most_pixels` pixels.
    """
    name = source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
    try:
        with Image.open(source, formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > most_pixels:
                raise DataError(
                    f"{name} has {pixels:,} pixels; at most {most_pixels:,} are read: "
                    "make it smaller"
                )
            return _grey(ImageOps.exif_transpose(picture))
    except DataError:
        raise
    except IsADirectoryError as error:
        raise DataError(
            f"{name} cannot be read: it is a folder; expected one picture file: "
            f"{', '.join(FORMATS)}"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{name} cannot be read: it does not exist; expected a picture file"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} cannot be read as a picture: it is in no known format; expected one of "
            f"{', '.join(FORMATS)}"
        ) from error
    except Exception as error:
        # Whatever a corrupt file provokes: Pillow's readers raise far more kinds of errors than
        # they document.
        raise DataError(
            f"{name} cannot be read as a picture ({error}); expected one of {', '.join(FORMATS)}"
        ) from error


def read_picture(
    source: str | Path | IO[bytes],
    shape: tuple[int, int] = (28, 28),
    *,
    centre: bool = True,
    field: float = FIELD,
    most_pixels: int = MOST_PIXELS,
) -> torch.Tensor:
    """Read one picture of ink on paper (or light on dark) as a case a network trained on MNIST's
    like understands.

    The border tells paper from ink, and ink becomes bright on black. It is then cropped to its
    bounding box, scaled until its longer side takes `field` of the field, and laid with its centre
    of mass on the field's centre, as MNIST was made (LeCun et al., 1998). A picture that has the
    wanted shape and a dark border is taken as it is.

    Args:
        source: a picture file, or an open binary one.
        shape: (rows, columns) of the field.
        centre: False only turns the polarity and resizes.
        field: the part of the field that the ink's longer side takes: 20/28 in MNIST; `ink_field`
            measures it for other sets.
        most_pixels: what is refused unread; a server reads less than a person does.

    Returns:
        (1, rows * columns) float32 in [0, 1], 1 is full ink.

    Raises:
        DataError: no readable picture, or a blank one.
        ConfigError: a shape that is not two positive numbers, or a field outside (0, 1].
    """
    rows, columns = shape
    if rows < 1 or columns < 1:
        raise ConfigError(f"shape is {shape}; expected (rows, columns), both positive")
    if not 0 < field <= 1:
        raise ConfigError(f"field is {field}; expected a number above 0 and at most 1, e.g. 20/28")
    grey = grey_picture(source, most_pixels)
    low, high = float(grey.min()), float(grey.max())
    if high - low < FAINTEST:
        raise DataError(
            f"the picture is blank: its grey levels run from {low:.2f} to {high:.2f}; expected "
            "ink that differs from the paper"
        )
    bright = paper_level(grey) > (low + high) / 2
    if grey.shape != (rows, columns) or bright:
        photographed = centre and grey.shape != (rows, columns) and is_photograph(grey)
        ink = ink_on_paper(grey) if photographed else None
        if ink is None:
            ink = ink_of(grey, light=bright)
        grey = centred(ink, (rows, columns), field) if centre else resize(ink, (rows, columns))
    import torch

    return torch.from_numpy(np.require(grey.reshape(1, -1), np.float32, ["C", "W"]))


def ink_of(grey: Grey, *, light: bool) -> Grey:
    """Return bright ink on black, paper 0 and the strongest ink 1, of ink on `light` or on dark
    paper.
    """
    paper, low, high = paper_level(grey), float(grey.min()), float(grey.max())
    ink = (
        (paper - grey) / max(paper - low, 1e-6)
        if light
        else (grey - paper) / max(high - paper, 1e-6)
    )
    clipped: Grey = ink.clip(0, 1).astype(np.float32)
    return clipped


def ink_field(images: torch.Tensor | NDArray[Any], shape: tuple[int, int]) -> float:
    """Return which part of the field the ink's longer side takes, the median over cases (N, D) in
    [0, 1]; 20/28 for MNIST.

    1 where there is no ink to measure.
    """
    inked = np.asarray(images).reshape(-1, *shape) > np.float32(INK)
    sides = []
    for axis, size in ((1, shape[1]), (2, shape[0])):
        line, positions = inked.any(axis), np.arange(size)
        span = np.where(line, positions, -1).max(1) - np.where(line, positions, size).min(1) + 1
        sides.append(span.clip(0).astype(np.float32) / np.float32(size))
    longest = np.maximum(*sides)
    measured = np.sort(longest[longest > 0])
    return float(measured[(len(measured) - 1) // 2]) if len(measured) else 1.0


def centred(ink: Grey, shape: tuple[int, int], field_part: float) -> Grey:
    """Return bright ink on black (rows, columns), some of it above INK, laid in a field of `shape`
    as MNIST was made.
    """
    across, down = (np.flatnonzero((ink > INK).any(axis)) for axis in (0, 1))
    ink = ink[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    scale = field_part * min(shape[0] / ink.shape[0], shape[1] / ink.shape[1])
    ink = resize(ink, (max(1, round(scale * ink.shape[0])), max(1, round(scale * ink.shape[1]))))
    ink = ink / ink.max()  # a thin pen on a large page would otherwise average away
    corner = []
    for axis in (0, 1):
        weight = ink.sum(1 - axis)
        mass = float(weight @ np.arange(len(weight)) / weight.sum())
        room = shape[axis] - len(weight)
        # MNIST's centres of mass lie within half a pixel of index 14 of 0..27 (measured), not of
        # the exact middle, 13.5.
        corner.append(min(max(round(shape[axis] / 2 - mass), 0), room))
    field = np.zeros(shape, np.float32)
    field[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return field


def _grey(picture: Image.Image) -> Grey:
    if picture.mode == "F" or picture.mode.startswith("I"):
        # Pillow would cut 16-bit and float levels off at 255 instead of scaling them.
        levels = np.asarray(picture).astype(np.float32)
        if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 65535:
            raise DataError(
                f"grey levels run from {levels.min():g} to {levels.max():g}; expected 0..1, "
                "0..255 or 0..65535"
            )
        if picture.mode.startswith("I;16"):
            return levels / np.float32(65535)
        white = (
            1
            if picture.mode == "F" and levels.max() <= 1
            else 255
            if levels.max() <= 255
            else 65535
        )
        return levels / np.float32(white)
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"), np.float32) / np.float32(255)
    rgba = picture.convert("RGBA")
    grey = np.asarray(rgba.convert("L"), np.float32) / np.float32(255)
    opaque = np.asarray(rgba.getchannel("A"), np.float32) / np.float32(255)
    background = 0 if (grey * opaque).sum() > opaque.sum() / 2 else 1
    blended: Grey = grey * opaque + background * (1 - opaque)
    return blended
