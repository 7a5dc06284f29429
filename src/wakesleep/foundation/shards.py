"""Cases too many to hold: .npy files that stay on the disk, read a chunk at a time while the last one is learned from.

A pass takes chunks of consecutive cases in random order and joins a few of them, so that disks read long runs and minibatches, drawn at
random from what is in memory, still mix cases from all over. Several ranks read chunks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wakesleep.foundation import distributed
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator, permutation

Source = Path | str | np.ndarray


class Chunk(NamedTuple):
    """Some cases in memory: images (n, pixels), as they were saved, and their labels (n,), where there are any."""

    images: Tensor
    labels: Tensor | None


class Shards:
    """Images (N, pixels) in one or more .npy files or memory-mapped arrays, and labels (N,) in as many; none of it is held in memory."""

    def __init__(self, images: Sequence[Source], labels: Sequence[Source] | None = None, *, chunk: int = 4096, join: int = 8) -> None:
        """Open the files; `chunk` consecutive cases are read at once, and `join` such chunks are in memory together, twice over.

        Raises:
            DataError: no files, files that cannot be read, or shapes that do not fit each other.
        """
        self.images, self.labels = list(images), None if labels is None else list(labels)
        self.chunk, self.join, ranks = chunk, join, distributed.ranks()
        if not self.images or chunk < 1 or join < 1:
            raise DataError(f"{len(self.images)} files, chunks of {chunk}, {join} together: expected at least 1 of each")
        self.shapes = [_open(source).shape for source in self.images]
        if len(self.shapes[0]) != 2 or len({shape[1:] for shape in self.shapes}) > 1:
            raise DataError(f"cases of shapes {', '.join(map(str, self.shapes))} came; expected files of one shape, (cases, pixels)")
        if self.labels is not None and [_open(source).shape for source in self.labels] != [shape[:1] for shape in self.shapes]:
            raise DataError("images and labels differ in number; expected a file of labels for each file of images, a label a case")
        starts = [(shard, start) for shard, (cases, _) in enumerate(self.shapes) for start in range(0, cases, chunk)]
        if ranks > 1:  # they keep step: as many chunks each, all of one size
            starts = [(shard, start) for shard, start in starts if start + chunk <= self.shapes[shard][0]]
        self.places = starts[: len(starts) - len(starts) % ranks]
        if not self.places:
            raise DataError(f"{len(starts)} chunks of {chunk} cases for {ranks} ranks; take smaller chunks")

    def __len__(self) -> int:
        """How many cases all ranks see in a pass."""
        return sum(min(self.chunk, self.shapes[shard][0] - start) for shard, start in self.places)

    def chunks(self, rng: torch.Generator) -> Iterator[Chunk]:
        """Yield the joined chunks of one pass of this rank, in random order, the next of which is read meanwhile; all ranks get as many."""
        seed = distributed.first_rank_says(float(torch.randint(2**31, (), generator=rng, device=rng.device)))  # the ranks' order is one
        mine = permutation(len(self.places), generator(int(seed)))[distributed.rank() :: distributed.ranks()].tolist()
        together = [mine[start : start + self.join] for start in range(0, len(mine), self.join)]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self._read, together[0])
            for places in [*together[1:], None]:
                ready = waiting.result()
                if places is not None:
                    waiting = reader.submit(self._read, places)
                yield ready

    def _read(self, places: Sequence[int]) -> Chunk:
        """Return some chunks as one, copied from the disk."""
        found = [self.places[place] for place in places]

        def rows(sources: Sequence[Source]) -> np.ndarray:  # opened anew: a map that is dropped holds no memory
            return np.concatenate([_open(sources[shard])[start : start + self.chunk] for shard, start in found])

        labels = None if self.labels is None else torch.from_numpy(rows(self.labels).astype(np.int64))
        return Chunk(torch.from_numpy(rows(self.images)), labels)


def _open(source: Source) -> np.ndarray:
    """Return the array of a file, which stays on the disk until it is read, or the one that was given.

    Raises:
        DataError: no .npy file of numbers.
    """
    if isinstance(source, np.ndarray):
        return source
    try:
        found: np.ndarray = np.load(source, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read ({error}); expected a .npy file of numbers, as numpy.save writes it") from error
    return found
