"""Cases too many to hold: .npy files that stay on the disk, read a chunk at a time while the last
one is learned from.

An epoch takes chunks of consecutive cases in random order and joins a few of them, so that disks
read long runs and minibatches, drawn at random from what is in memory, still mix cases from all
over. Two arrays hold what is joined, in turn, so memory does not grow with the cases. Several ranks
read chunks of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator, permutation

Source = Path | str | np.ndarray
Place = tuple[int, int, int]
"""Consecutive cases: the number of their file, the first of them and the one after the last."""


class Chunk(NamedTuple):
    """Some cases in memory: images (n, pixels), as they were saved, and their labels (n,) int64,
    where there are any.
    """

    images: Tensor
    labels: Tensor | None

    def through(self, function: Callable[[Tensor], Tensor]) -> Chunk:
        """Return the chunk with a function of its images."""
        return Chunk(function(self.images), self.labels)


class Files(NamedTuple):
    """Where the cases are: files of images, a file of labels for each where there are labels, and
    how many cases at their end are spared.
    """

    images: Sequence[Source]
    labels: Sequence[Source] | None = None
    spare: int = 0
    """The last cases of the last files, which no epoch reads: held out."""


class Shards:
    """Images (N, pixels) or (N, rows, columns) in one or more .npy files or memory-mapped arrays,
    and labels (N,) in as many, on the disk.
    """

    def __init__(
        self,
        images: Sequence[Source],
        labels: Sequence[Source] | None = None,
        *,
        chunk: int = 4096,
        join: int = 8,
        spare: int = 0,
    ) -> None:
        """Open the files; `chunk` consecutive cases are read at once, and `join` such chunks are in
        memory together, twice over.

        The last `spare` cases are left alone. Of arrays that come mapped, the pages that were read
        count as this process's memory.

        Raises:
            DataError: no files, files that cannot be read, or shapes that do not fit each other or
                the ranks.
        """
        self.images, self.labels = list(images), None if labels is None else list(labels)
        self.function: Callable[[Tensor], Tensor] | None = None
        self.join, ranks = join, distributed.ranks()
        if not self.images or chunk < 1 or join < 1:
            raise DataError(
                f"{len(self.images)} files, chunks of {chunk}, {join} together: expected at "
                "least 1 of each"
            )
        ends = read_until(lengths(self.images, self.labels), spare)
        places = [
            (shard, start, min(start + chunk, end))
            for shard, end in enumerate(ends)
            for start in range(0, end, chunk)
        ]
        if ranks > 1:  # they keep step: as many chunks each, all of one size
            places = [
                (shard, start, stop) for shard, start, stop in places if stop - start == chunk
            ]
        self.places = places[: len(places) - len(places) % ranks]
        if not self.places:
            raise DataError(
                f"{len(places)} whole chunks of {chunk} cases in {len(ends)} files for {ranks} "
                "ranks, which need one each; take smaller chunks, e.g. --chunk "
                f"{max(1, max(ends) // ranks)}, or fewer ranks"
            )

    def __len__(self) -> int:
        """How many cases all ranks see in an epoch."""
        return sum(stop - start for _, start, stop in self.places)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Shards:
        """Return the same cases with `function` of the images (n, pixels) of each joined chunk in
        their place, made anew whenever the chunk is read.
        """
        made = copy(self)
        made.function = function
        return made

    def chunks(self, rng: torch.Generator) -> Iterator[Chunk]:
        """Yield the joined chunks of one epoch of this rank, in random order, the next of which is
        read meanwhile; all ranks get as many.

        A chunk holds until the next one is asked for: then its memory is read into anew. Who keeps
        it longer takes a copy.
        """
        # the ranks' order is one
        seed = distributed.broadcast_scalar(
            float(torch.randint(2**31, (), generator=rng, device=rng.device))
        )
        mine = permutation(len(self.places), generator(int(seed)))[
            distributed.rank() :: distributed.ranks()
        ].tolist()
        together = [
            [self.places[number] for number in mine[start : start + self.join]]
            for start in range(0, len(mine), self.join)
        ]
        windows = [self._window(together) for _ in range(2)]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self._read, together[0], windows[0])
            for number, places in enumerate([*together[1:], None], 1):
                ready = waiting.result()
                if places is not None:
                    waiting = reader.submit(self._read, places, windows[number % 2])
                yield ready if self.function is None else ready.through(self.function)

    def _window(self, together: Sequence[Sequence[Place]]) -> Chunk:
        """Return memory for the longest of some joined chunks."""
        longest = max(sum(stop - start for _, start, stop in places) for places in together)
        first = opened(self.images[0])
        # PyTorch knows the machine's byte order alone
        images = np.empty((longest, math.prod(first.shape[1:])), first.dtype.newbyteorder("="))
        return Chunk(
            torch.from_numpy(images),
            None if self.labels is None else torch.empty(longest, dtype=torch.int64),
        )

    def _read(self, places: Sequence[Place], window: Chunk) -> Chunk:
        """Return some chunks as one, copied from the disk into the window, which may be longer."""
        end = 0
        for shard, start, stop in places:
            begin, end = end, end + stop - start
            window.images.numpy()[begin:end] = read(self.images[shard], start, stop)
            if self.labels is not None and window.labels is not None:
                window.labels.numpy()[begin:end] = read(self.labels[shard], start, stop)[:, 0]
        return Chunk(window.images[:end], None if window.labels is None else window.labels[:end])


def lengths(images: Sequence[Source], labels: Sequence[Source] | None) -> list[int]:
    """Return how many cases each file holds, once the files are seen to fit each other.

    Raises:
        DataError: files that cannot be read, pictures of several shapes or types, or labels that
            are not one a case.
    """
    arrays = [opened(source) for source in images]
    shape, dtype = arrays[0].shape[1:], arrays[0].dtype
    for source, array in zip(images, arrays, strict=True):
        if array.ndim not in (2, 3) or array.shape[1:] != shape or array.dtype != dtype:
            raise DataError(
                f"{_name(source)} holds {array.dtype} of shape {array.shape}, {_name(images[0])} "
                f"{dtype} of {arrays[0].shape}; expected files of one type and one shape, (cases, "
                "pixels) or (cases, rows, columns): save them alike"
            )
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"{len(labels)} files of labels came for {len(images)} of images; expected one for "
            "each, a label a case"
        )
    for source, array, of in zip(labels or (), arrays, images, strict=False):
        numbers = opened(source)
        if numbers.shape != array.shape[:1] or numbers.dtype.kind not in "iu":
            raise DataError(
                f"{_name(source)} holds {numbers.dtype} of shape {numbers.shape} for the "
                f"{len(array)} cases of {_name(of)}; expected whole numbers of shape "
                f"({len(array)},), a label a case"
            )
    return [len(array) for array in arrays]


def read_until(counts: Sequence[int], spare: int) -> list[int]:
    """Return how many of its cases may be read of each file, where the last `spare` of all are left
    alone.
    """
    left, ends = sum(counts) - spare, []
    for count in counts:
        ends.append(min(count, max(left, 0)))
        left -= count
    return ends


def read(source: Source, start: int, stop: int) -> np.ndarray:
    """Return some consecutive cases of a file as rows (n, numbers of a case)."""
    rows = opened(source)[start:stop]  # opened anew: a map that is dropped holds no memory
    return rows.reshape(len(rows), -1)


def opened(source: Source) -> np.ndarray:
    """Return the array of a file, which stays on the disk until it is read, or the one that was
    given.

    Raises:
        DataError: no .npy file of numbers.
    """
    if isinstance(source, np.ndarray):
        return source
    try:
        array: np.ndarray = np.load(source, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source} cannot be read ({error}); expected a .npy file of numbers, as "
            "numpy.save writes it"
        ) from error
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{source} holds {array.dtype} values; expected a .npy file of numbers, as "
            "numpy.save writes it"
        )
    return array


def _name(source: Source) -> str:
    return "an array" if isinstance(source, np.ndarray) else str(source)
