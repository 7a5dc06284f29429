"""What is done to every picture before a net sees it: decided once for a set, recorded with the
model, done again wherever it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from wakesleep.data.checks import Array
from wakesleep.data.photographs import ink_on_paper, is_photograph
from wakesleep.data.pictures import (
    FAINTEST,
    FIELD,
    INK,
    MOST_PIXELS,
    Grey,
    border,
    centred,
    grey_picture,
    ink_of,
    paper_level,
    resize,
)
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.foundation.options import RAW, PictureOptions

if TYPE_CHECKING:
    import torch

Paper = Literal["light", "dark"]
MOST_TRAINED = 64 * 64
"""Pixels beyond which pictures in files are scaled down unless a size is given: a net learns from
thumbnails, not from photographs.
"""
SMALL_SET, MOST_OF_SMALL = 10_000, 32 * 32
"""Fewer pictures than SMALL_SET are scaled down beyond so many pixels: a few hundred do not say
what each of thousands of weights of a hidden unit should be. 300 letters of five classes at 48 x 48
gave 12 % errors and dreams of which 67 % were of their class, worse than a logistic regression (10
%) and the same net from random weights (9 %); at 28 x 28 5 % and 93 % (9 % and 8 %).
"""
SIDE = 28
"""Their longer side then, MNIST's."""
CLEAR = 0.25
"""Of the way from a picture's darkest to its brightest pixel: how far from either end a border
pixel may lie to count as paper.
"""
ON_PAPER = 0.75
"""Part of the pictures that must lie on paper for a set to be ink on paper; photographs seldom have
an even border.
"""
MIN_SHARE = 0.1
"""Part of the pictures that must be blank, or on the other paper, for a warning: a few are so in
every set.
"""
SMALLEST = 3
"""Rows and columns below which arrays are no pictures: tables are one row a case."""
BLANK, LIGHT, DARK, CLEAR_LIGHT, CLEAR_DARK = range(5)


@dataclass(frozen=True)
class Preparation:
    """How pictures became the cases of a model, and how others become cases like them: `read` does
    it to a file.
    """

    shape: tuple[int, int]
    """(rows, columns) of a case."""
    paper: Paper | None = None
    """The paper of the pictures as they came; None for photographs, tables, and whatever else has
    no even border.
    """
    inverted: bool = False
    """Whether the training pictures were turned round."""
    unanimous: bool = False
    """Whether the border of every training picture showed the set's paper: a picture that shows the
    other one comes from elsewhere, and is turned so that it looks like them.
    """
    centring: Literal["none", "all", "others"] = "none"
    """Which pictures are centred: "others" are those that cannot be cases of the set, for their
    size or their paper is another.
    """
    field: float = FIELD
    """The part of the field that the longer side of the ink takes in the training cases."""
    came: tuple[int, int] | None = None
    """(rows, columns) of the pictures as they came, where they are scaled; arrays of other sizes
    than that and `shape` are not.
    """
    transposed: bool = False
    """Whether rows and columns of the training arrays were swapped."""

    def read(
        self,
        source: str | Path | IO[bytes],
        *,
        centre: bool | None = None,
        drawing: bool = False,
        most_pixels: int = MOST_PIXELS,
    ) -> torch.Tensor:
        """Return a picture file as a case, (1, rows * columns) float32 in [0, 1], prepared as the
        training pictures were.

        Args:
            source: a picture file, or an open binary one.
            centre: whether to centre it; None as recorded.
            drawing: it is light ink on black, drawn by hand: it is turned as that needs, and
                centred with the training cases' size of ink.
            most_pixels: what is refused unread.

        Raises:
            DataError: no readable picture, or a blank one.
        """
        import torch

        grey = grey_picture(source, most_pixels)
        low, high = float(grey.min()), float(grey.max())
        if high - low < FAINTEST:
            raise DataError(
                f"the picture is blank: its grey levels run from {low:.2f} to {high:.2f}; "
                "expected something to be on it"
            )
        # photographs have no ink whose size a drawing could take
        is_ink = drawing and self.paper is not None
        case = (
            self.picture(grey, own="dark", centre=True)
            if is_ink
            else self.picture(grey, centre=centre)
        )
        return torch.from_numpy(np.require(case.reshape(1, -1), np.float32, ["C", "W"]))

    def picture(self, grey: Grey, *, own: Paper | None = None, centre: bool | None = None) -> Grey:
        """Return grey levels in [0, 1] as a case of `shape`; `own` is the picture's paper where
        that is known.
        """
        fits, blank = (
            grey.shape in (self.shape, self.came),
            float(grey.max() - grey.min()) < FAINTEST,
        )
        photographed = own is None and not fits and self.paper is not None and is_photograph(grey)
        if own is None:
            trusted = self.unanimous or (self.centring == "others" and not fits)
            own = _paper(grey) if trusted and self.paper is not None and not blank else self.paper
        foreign = not fits or own != self.paper
        if centre is None:
            centre = self.centring == "all" or (self.centring == "others" and foreign)
        turned = self.inverted if self.paper is None else (own == "dark") != self.dark
        if not centre:
            return _as_float(_turned(_as_bytes(resize(grey, self.shape)), turned))
        if blank:
            laid = np.zeros(self.shape, np.float32)
        else:
            ink = ink_on_paper(grey) if photographed else None
            if ink is None:
                ink = ink_of(grey, light=own == "light" if self.paper is not None else turned)
            laid = (
                centred(ink, self.shape, self.field)
                if bool((ink > INK).any())
                else resize(ink, self.shape)
            )
        laid = laid if self.dark else 1 - laid
        return laid if self.centring == "others" else _as_float(_as_bytes(laid))

    @property
    def dark(self) -> bool:
        """Whether a prepared case is light on dark."""
        return self.paper is None or (self.paper == "dark") != self.inverted

    def for_other(self, images: Array) -> Preparation:
        """Return this preparation for another set of arrays (N, rows, columns): its own polarity,
        upright, and cases that look alike.
        """
        paper_there = (
            settle(votes(images))[0]
            if self.paper is not None and min(images.shape[1:]) >= SMALLEST
            else None
        )
        paper = paper_there or self.paper
        return replace(
            self,
            transposed=False,
            paper=paper,
            inverted=self.inverted if paper is None else (paper == "dark") != self.dark,
        )

    def arrays(self, images: Array) -> Array:
        """Return pictures (N, rows, columns), uint8 or float, as cases; of a size that the training
        pictures did not have they stay in it.
        """
        images = images.transpose(0, 2, 1) if self.transposed else images
        if self.centring == "all":
            cases = [self.picture(_as_float(image), own=self.paper) for image in images]
            return np.stack([_like(case, images.dtype) for case in cases])
        if images.shape[1:] == self.came:
            images = np.stack(
                [_like(resize(_as_float(image), self.shape), images.dtype) for image in images]
            )
        return _turned(images, self.inverted)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **asdict(self),
            "shape": list(self.shape),
            "came": None if self.came is None else list(self.came),
        }


def from_header(header: dict[str, Any]) -> Preparation:
    """Return what is recorded in a model's header.

    Of a model that records nothing, what was done to picture files then: ink of either kind becomes
    bright on black and is centred, unless the picture has the right size and a dark border.

    Raises:
        CheckpointError: it is damaged, or of a newer version; the model learned from sounds.
    """
    try:
        if "preparation" not in header:
            rows, columns = header["shape"]
            return before((int(rows), int(columns)), float(header.get("ink_field", FIELD)))
        values = dict(header["preparation"])
        if values.get("kind") == "log-mel":
            raise CheckpointError(
                "this model learned from sounds, and is asked about pictures; expected a model of "
                "pictures, or a sound: wakesleep.sound.LogMel.from_json(header['preparation'])"
            )
        rows, columns = values.pop("shape")
        came = (
            None if values.get("came") is None else (int(values["came"][0]), int(values["came"][1]))
        )
        return Preparation((int(rows), int(columns)), **{**values, "came": came})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"what is recorded of the preparation of pictures cannot be read ({error}): "
            f"{header.get('preparation')}"
        ) from error


def for_own_set(header: dict[str, Any]) -> Preparation | PictureOptions:
    """Return how the set is to be loaded that a model learned from: as its header records it, else
    as it is, which was the custom then.
    """
    return from_header(header) if "preparation" in header else RAW


def before(shape: tuple[int, int], field: float) -> Preparation:
    """Return the preparation that suits sets of light ink on black which came as arrays: MNIST and
    its kin.
    """
    return Preparation(shape, paper="dark", unanimous=True, centring="others", field=field)


def votes(images: Array) -> Array:
    """Return what the borders of pictures (N, rows, columns) say, (N,): CLEAR_LIGHT, CLEAR_DARK,
    rather LIGHT or DARK, or BLANK.
    """
    ballots = [np.zeros(0, np.int8)]
    for start in range(0, len(images), 5000):
        some = images[start : start + 5000]
        white = np.float32(255 if some.dtype == np.uint8 else 1)
        flat, edge = some.reshape(len(some), -1), border(some)
        low, high, level = flat.min(1) / white, flat.max(1) / white, np.median(edge, 1) / white
        margin = CLEAR * (high - low)
        even = (np.abs(edge / white - level[:, None]) <= margin[:, None]).mean(1) >= 0.5
        ballot = np.where(level > (low + high) / 2, LIGHT, DARK)
        ballot[even & (level >= high - margin)] = CLEAR_LIGHT
        ballot[even & (level <= low + margin)] = CLEAR_DARK
        ballot[high - low < FAINTEST] = BLANK
        ballots.append(ballot.astype(np.int8))
    return np.concatenate(ballots)


def settle(ballots: Array) -> tuple[Paper | None, bool]:
    """Return on which paper the pictures of a set lie by their `votes`, and whether every one says
    so; None where few have an even border.
    """
    light, dark = int((ballots == CLEAR_LIGHT).sum()), int((ballots == CLEAR_DARK).sum())
    count = int((ballots != BLANK).sum())
    if not count or light + dark < ON_PAPER * count:
        return None, False
    if light > dark:
        return "light", not np.isin(ballots, (DARK, CLEAR_DARK)).any()
    return "dark", not np.isin(ballots, (LIGHT, CLEAR_LIGHT)).any()


def of_arrays(
    train: Array, test: Array | None, options: PictureOptions
) -> tuple[Preparation, list[str]]:
    """Return how pictures (N, rows, columns), uint8 or float in [0, 1], are to be prepared, and
    what was found, in words.
    """
    if options.transpose:
        train, test = train.transpose(0, 2, 1), None if test is None else test.transpose(0, 2, 1)
    shape = (train.shape[1], train.shape[2])
    pictures = min(shape) >= SMALLEST
    parts = [part for part in (train, test) if part is not None and pictures]
    ballots = np.concatenate([votes(part) for part in parts]) if parts else np.zeros(0, np.int8)
    paper, unanimous = settle(ballots)
    inverted = options.polarity == "invert" or (options.polarity == "auto" and paper == "light")
    wanted = _scaled(shape, options, most=None)
    centring: Literal["none", "all", "others"] = (
        "all" if options.centre else "others" if paper is not None else "none"
    )
    preparation = Preparation(
        wanted,
        paper,
        inverted,
        unanimous,
        centring,
        FIELD,
        shape if wanted != shape else None,
        options.transpose,
    )
    words = [_polarity(paper, inverted, options)] if inverted or options.polarity != "auto" else []
    words += _doubts(ballots, paper)
    if wanted != shape:
        words.append(f"pictures of {shape[0]} x {shape[1]} are scaled to {wanted[0]} x {wanted[1]}")
    elif (
        pictures
        and options.size is None
        and len(train) < SMALL_SET
        and shape[0] * shape[1] > MOST_OF_SMALL
    ):
        words.append(
            f"{len(train):,} pictures are few for {shape[0]} x {shape[1]} pixels: with --size "
            f"{SIDE} a net learns better from them, and sooner"
        )
    return preparation, words


def of_files(
    ballots: Array, shapes: Sequence[tuple[int, int]], options: PictureOptions
) -> tuple[Preparation, list[str]]:
    """Return how pictures in files are to be prepared, from their `votes` and their (rows,
    columns), and what was found, in words.
    """
    if options.transpose:
        raise ConfigError(
            "transpose is for arrays, such as EMNIST's; pictures in files are upright: leave it out"
        )
    paper, unanimous = settle(ballots)
    inverted = options.polarity == "invert" or (options.polarity == "auto" and paper == "light")
    wanted, kinds = (
        _scaled(shapes[0], options, MOST_OF_SMALL if len(ballots) < SMALL_SET else MOST_TRAINED),
        len(set(shapes)),
    )
    words = [_polarity(paper, inverted, options), *_doubts(ballots, paper)]
    if kinds > 1 or wanted != shapes[0]:
        came = (f"{shapes[0][0]} x {shapes[0][1]}") + (
            f" and of {kinds - 1} other size{'s' * (kinds > 2)}" if kinds > 1 else ""
        )
        words.append(f"pictures of {came} are scaled to {wanted[0]} x {wanted[1]} (--size decides)")
    if options.centre:
        words.append("each is cropped to its ink and centred")
    return Preparation(
        wanted,
        paper,
        inverted,
        unanimous,
        "all" if options.centre else "none",
        FIELD,
        shapes[0] if wanted != shapes[0] else None,
    ), words


def _doubts(ballots: Array, paper: Paper | None) -> list[str]:
    """Return warnings of pictures that are blank or lie on two kinds of paper, by their `votes`,
    where they are many.
    """
    blank, light, dark = (
        int(np.isin(ballots, kinds).sum())
        for kinds in ((BLANK,), (LIGHT, CLEAR_LIGHT), (DARK, CLEAR_DARK))
    )
    words = []
    if blank and blank >= MIN_SHARE * len(ballots):
        which = f"all {blank:,}" if blank == len(ballots) else f"{blank:,} of {len(ballots):,}"
        words.append(f"warning: {which} pictures are blank: there is nothing on them to learn")
    if paper is not None and min(light, dark) >= MIN_SHARE * (light + dark):
        words.append(
            f"warning: {light:,} pictures are dark on light and {dark:,} light on dark, and all "
            "are treated alike: make them alike first"
        )
    return words


def _scaled(shape: tuple[int, int], options: PictureOptions, most: int | None) -> tuple[int, int]:
    """Return the (rows, columns) that cases of pictures of `shape` get: as chosen, else theirs, or
    a thumbnail where they have too many.
    """
    size = options.size or 0
    if options.size is None and most is not None and shape[0] * shape[1] > most:
        size = SIDE
    if options.centre:
        return (size or max(shape),) * 2
    scale = size / max(shape) if size else 1
    return max(1, round(scale * shape[0])), max(1, round(scale * shape[1]))


def _polarity(paper: Paper | None, inverted: bool, options: PictureOptions) -> str:
    """Return in words what was found, and what follows."""
    finding = {
        "light": "dark on light",
        "dark": "light on dark",
        None: "no even border, as photographs have none",
    }[paper]
    asked = "" if options.polarity == "auto" else f" (--polarity {options.polarity})"
    return f"{finding}: {'turned round' if inverted else 'kept'}{asked}"


def _paper(grey: Grey) -> Paper:
    return "light" if paper_level(grey) > (float(grey.min()) + float(grey.max())) / 2 else "dark"


def _turned(images: Array, turned: bool) -> Array:
    if not turned:
        return images
    return 255 - images if images.dtype == np.uint8 else 1 - images


def _as_bytes(grey: Grey) -> Array:
    levels: Array = (grey * 255).round().astype(np.uint8)
    return levels


def _as_float(images: Array) -> Grey:
    return (
        images.astype(np.float32) / np.float32(255)
        if images.dtype == np.uint8
        else images.astype(np.float32)
    )


def _like(grey: Grey, dtype: Any) -> Array:
    return _as_bytes(grey) if dtype == np.uint8 else grey
