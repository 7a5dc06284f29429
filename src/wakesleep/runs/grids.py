"""Grids of small pictures, and movies of them, from arrays to files. Nothing here knows of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.files import write_atomically

Array = NDArray[Any]
GAP = 2
"""Pixels between two pictures of a tile, before scaling."""


def tile(pictures: Array, shape: tuple[int, int], columns: int, background: float = 0.35) -> Array:
    """Return pictures (N, pixels) in [0, 1] laid out row by row in `columns`, as one grey picture
    (height, width) in [0, 1].

    Raises:
        ConfigError: no pictures, or pictures that are not of `shape`.
    """
    pictures = np.asarray(pictures, dtype=np.float32)
    if (
        pictures.ndim != 2
        or not len(pictures)
        or pictures.shape[1] != shape[0] * shape[1]
        or columns < 1
    ):
        raise ConfigError(
            f"pictures of shape {pictures.shape} in {columns} columns: expected (N, "
            f"{shape[0] * shape[1]}), N and columns >= 1"
        )
    rows = -(-len(pictures) // columns)
    height, width = shape
    sheet = np.full(
        (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP), background, dtype=np.float32
    )
    for number, picture in enumerate(pictures):
        top, left = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture.reshape(shape)
    return sheet


def save_picture(path: Path, sheet: Array, scale: int = 2) -> Path:
    """Write a grey picture (height, width) in [0, 1] as PNG (or what the ending says), each pixel
    `scale` pixels wide; return the path.

    Raises:
        ConfigError: the ending names no picture format.
        CheckpointError: the file cannot be written.
    """
    from PIL import Image

    check_format(path)
    grey = _bytes(sheet, scale)
    image_format = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(
        path, lambda temporary: Image.fromarray(grey).save(temporary, format=image_format)
    )
    return path


def check_format(path: Path) -> None:
    """Raise ConfigError where the ending of `path` names no picture format."""
    from PIL import Image

    if path.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(
            f"{path} ends in {path.suffix!r}, which names no picture format; use .png"
        )


def scale_for(shape: tuple[int, int], height: int = 56) -> int:
    """Return how many times to enlarge pictures of `shape` so that each is about `height` pixels
    high, and never smaller.
    """
    return max(1, round(height / shape[0]))


CELL = 84
"""Height of a picture in a captioned sheet, in pixels, about."""
BACKGROUND, INK = 0.3, 1.0
"""Grey levels behind the pictures of a captioned sheet, and of its words."""
LINE = 18
"""Height of a line of words, in pixels."""
WORDS = 150
"""Most pixels that the words below a picture or beside a row take; longer ones are cut short."""
WIDEST = 1300
"""About how wide a sheet may be, in pixels, whose number of columns follows from its words."""


def captioned(
    pictures: Array,
    shape: tuple[int, int],
    columns: int,
    *,
    below: Sequence[str] = (),
    left: Sequence[str] = (),
    title: str = "",
    height: int = CELL,
) -> Array:
    """Return pictures (N, pixels) in [0, 1] enlarged and laid out row by row in `columns`, with
    words, as grey (height, width) in [0, 1].

    `below` names each picture, in one line or several, `left` each row. Columns are as wide as
    their words, up to `WORDS`; longer ones are cut short.

    Raises:
        ConfigError: no pictures, or pictures that are not of `shape`.
    """
    tile(pictures, shape, columns)  # checks them
    scale = scale_for(shape, height)
    cells = [
        np.kron(np.asarray(picture, np.float32).reshape(shape), np.ones((scale, scale)))
        for picture in pictures
    ]
    return _sheet(cells, columns, below=below, left=left, title=title)


def _sheet(
    cells: Sequence[Array],
    columns: int,
    *,
    below: Sequence[str],
    left: Sequence[str],
    title: str,
    above: Sequence[str] = (),
) -> Array:
    """Return grey cells of one size, row by row, with words: `above` heads each column, `below`
    names each cell, `left` each row.
    """
    from PIL import Image, ImageDraw

    font = _font()
    gap, (high, wide) = 6, cells[0].shape
    margin = gap + (round(min(_width(left), WORDS)) + gap if left else 0)
    top = gap + LINE * (bool(title) + bool(above))
    broad = max(wide, round(min(_width(below), WORDS)))  # of a column, its picture in the middle
    step = high + gap + LINE * max((len(name.splitlines()) for name in below), default=0)
    rows = -(-len(cells) // columns)
    size = (
        top + rows * step,
        max(margin + columns * (broad + gap), round(font.getlength(title)) + 2 * gap),
    )
    canvas = np.full(size, BACKGROUND, np.float32)
    words: list[tuple[float, float, str, str, float]] = [(gap, LINE / 2 + 2, title, "lm", size[1])]
    for number, name in enumerate(above):
        words.append(
            (
                margin + number * (broad + gap) + broad / 2,
                top - LINE / 2 - 2,
                name,
                "mm",
                broad + gap,
            )
        )
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        y, x = top + row * step, margin + column * (broad + gap) + (broad - wide) // 2
        canvas[y : y + high, x : x + wide] = cell
        for line, text in enumerate(below[number].splitlines() if below else ()):
            words.append(
                (x + wide / 2, y + high + (line + 0.5) * LINE + 1, text, "mm", broad + gap)
            )
        if left and not column:
            words.append((margin - gap, y + high / 2, left[row], "rm", WORDS))
    image = Image.fromarray(_bytes(canvas, 1))
    draw = ImageDraw.Draw(image)
    for x, y, text, anchor, room in words:
        draw.text(
            (x, y), _shortened(text, font, room), fill=round(255 * INK), font=font, anchor=anchor
        )
    return np.asarray(image, np.float32) / 255


def _font() -> Any:
    """Return the typeface of captions: DejaVu Sans, which matplotlib brings along, for Pillow's own
    has ASCII alone.
    """
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12
    )


def _width(names: Sequence[str]) -> float:
    """Return the pixels that the widest line of `names` takes."""
    font = _font()
    return max((font.getlength(line) for name in names for line in name.splitlines()), default=0.0)


def columns_for(names: Sequence[str], count: int) -> int:
    """Return in how many columns `count` pictures with such words below stand, ten at most, so that
    the sheet is not too wide.
    """
    return max(1, min(10, count, int(WIDEST // (max(CELL, min(_width(names), WORDS)) + 6))))


def _shortened(text: str, font: Any, room: float) -> str:
    """Return `text` as far as it fits into `room` pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text.rstrip()}..."


def save_tile(
    path: Path,
    pictures: Array,
    shape: tuple[int, int],
    columns: int,
    *,
    below: Sequence[str] = (),
    left: Sequence[str] = (),
    title: str = "",
    height: int = CELL,
) -> Path:
    """Write pictures (N, pixels) in [0, 1] as one picture file, laid out and named as by
    `captioned`; return the path.
    """
    return save_picture(
        path,
        captioned(pictures, shape, columns, below=below, left=left, title=title, height=height),
        1,
    )


ROW = 96
"""Height of a case in a picture of all layers, in pixels."""


def brain(
    layers: Sequence[Array],
    shape: tuple[int, int],
    *,
    names: Sequence[str] = (),
    left: Sequence[str] = (),
    title: str = "",
) -> Array:
    """Return the activities of N cases as one grey picture (height, width) in [0, 1]: of each case
    the picture, then a block a layer.

    `layers` holds (N, pixels) pictures of `shape` and then (N, units) activities, all in [0, 1]; a
    unit is a square, columns are filled from the top. `names` heads the blocks, `left` names the
    cases. Cases stand side by side where they would make a tall strip.
    """
    cases = []
    for case in range(len(layers[0])):
        scale = scale_for(shape, ROW)
        blocks = [
            np.kron(np.asarray(layers[0][case], np.float32).reshape(shape), np.ones((scale, scale)))
        ]
        blocks += [
            _block(np.asarray(layer[case], np.float32), blocks[0].shape[0]) for layer in layers[1:]
        ]
        cases.append(blocks)
    widths = [max(block.shape[1], 56) for block in cases[0]]
    height = cases[0][0].shape[0]
    cells = []
    for blocks in cases:
        padded = [
            np.pad(
                block,
                ((0, height - block.shape[0]), (0, width - block.shape[1] + 3 * GAP)),
                constant_values=BACKGROUND,
            )
            for block, width in zip(blocks, widths, strict=True)
        ]
        cells.append(np.concatenate(padded, 1))
    columns = min(len(cells), math.ceil((len(cells) * height / cells[0].shape[1]) ** 0.5))
    heads = ", ".join(names)
    return _sheet(
        cells,
        columns,
        below=left,
        left=(),
        title=f"{title}{': ' if title and heads else ''}{heads}",
    )


def _block(units: Array, height: int) -> Array:
    """Return the activities of a layer as squares, columns filled from the top, at most `height`
    high and about twice as wide as high.
    """
    side = int(
        np.clip((2 * height * height / len(units)) ** 0.5, 2, max(2, height // min(len(units), 10)))
    )
    per_column = max(1, height // side)
    grid = np.full(-(-len(units) // per_column) * per_column, BACKGROUND, np.float32)
    grid[: len(units)] = units
    block: Array = np.kron(grid.reshape(-1, per_column).T, np.ones((side, side)))
    return block


def save_movie(
    path: Path, sheets: Sequence[Array], scale: int = 2, frames_per_second: float = 12
) -> Path:
    """Write grey pictures (height, width) in [0, 1] as an animated GIF that runs for ever; return
    the path.

    Raises:
        ConfigError: no pictures, or a name that does not end in .gif.
        CheckpointError: the file cannot be written.
    """
    if path.suffix.lower() != ".gif" or not sheets:
        raise ConfigError(
            f"{path} with {len(sheets)} frames: expected a name that ends in .gif and at "
            "least one frame"
        )
    write_atomically(
        path, lambda temporary: write_movie(temporary, sheets, scale, frames_per_second)
    )
    return path


def write_movie(
    file: Path | IO[bytes], sheets: Sequence[Array], scale: int, frames_per_second: float
) -> None:
    """Write at least one grey picture (height, width) in [0, 1] as an animated GIF that runs for
    ever.
    """
    from PIL import Image

    images = [Image.fromarray(_bytes(sheet, scale)) for sheet in sheets]
    wait = round(1000 / frames_per_second)
    images[0].save(
        file, format="GIF", save_all=True, append_images=images[1:], duration=wait, loop=0
    )


def _bytes(sheet: Array, scale: int) -> Array:
    """Return grey levels in [0, 1] as 0..255, each pixel `scale` pixels wide."""
    levels: Array = np.clip(np.rint(np.kron(sheet, np.ones((scale, scale))) * 255), 0, 255).astype(
        np.uint8
    )
    return levels


def receptive_fields(weight: Array, count: int = 100) -> Array:
    """Return the weights (visible, hidden) into the `count` strongest hidden units as pictures
    (count, visible): grey is zero, white +.
    """
    strongest = np.argsort(-np.linalg.norm(weight, axis=0))[:count]
    fields = weight[:, strongest].T
    largest = np.maximum(np.abs(fields).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(0.5 + 0.5 * fields / largest)
