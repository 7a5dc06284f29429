"""Cases of several senses: which of them belong together, and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import permutation
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.minibatches import Resident


class SenseCases:
    """Cases (N, size) of each sense, with labels (N,) of each where there are some.

    Row n of all senses is one case; or, `by_class`, sets of different lengths belong together only
    by their labels, and `draw` pairs them anew each time.
    """

    def __init__(
        self,
        cases: Mapping[str, Any],
        labels: Mapping[str, Tensor | None],
        *,
        by_class: bool = False,
    ) -> None:
        self.cases, self.labels, self.by_class = dict(cases), dict(labels), by_class

    def __len__(self) -> int:
        """How many cases there are; by class, as many as the largest set has with a label."""
        if not self.by_class:
            return len(next(iter(self.cases.values())))
        return max(len(self._labelled(name)) for name in self.cases)

    def draw(self, rng: torch.Generator) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return which row of each sense makes each case, (N,), and the labels of the cases (N,).

        By class, each case of the largest set comes once, and beside it a case of its class of
        every other set, drawn so that those of a class come equally often.
        """
        if not self.by_class:
            device = next(iter(self.cases.values())).device
            rows = torch.arange(len(self), device=device)
            return dict.fromkeys(self.cases, rows), next(iter(self.labels.values()))
        largest = max(self.cases, key=lambda name: len(self._labelled(name)))
        rows = self._labelled(largest)
        labels = self._labels(largest)[rows]
        index = {name: rows if name == largest else torch.empty_like(rows) for name in self.cases}
        for label in sorted(set(labels.tolist())):
            wanted = torch.nonzero(labels == label).squeeze(1)
            for name in (name for name in self.cases if name != largest):
                members = torch.nonzero(self._labels(name) == label).squeeze(1)
                index[name][wanted] = members[_repeated(len(members), len(wanted), rng)]
        return index, labels

    def _labels(self, name: str) -> Tensor:
        labels = self.labels[name]
        assert labels is not None
        return labels

    def _labelled(self, name: str) -> Tensor:
        """Return the rows of a sense whose label is known."""
        return torch.nonzero(self._labels(name) != UNLABELLED).squeeze(1)


def _repeated(count: int, wanted: int, rng: torch.Generator) -> Tensor:
    """Return `wanted` of `count` rows in random order, each as often as any other but for one."""
    rounds = -(-wanted // count)
    return torch.cat([permutation(count, rng) for _ in range(rounds)])[:wanted]


class SideBySide:
    """Cases of several senses side by side, (N, size of all), in the order of `names`, as a source
    of minibatches; paired anew in each epoch where they belong together by class alone.
    """

    def __init__(self, names: Sequence[str], cases: SenseCases) -> None:
        self.names, self.cases = names, cases

    def __len__(self) -> int:
        """How many cases an epoch has."""
        return len(self.cases)

    def chunks(self, rng: torch.Generator) -> Iterator[Resident]:
        """Yield the cases of an epoch."""
        index, labels = self.cases.draw(rng)
        every = torch.cat([self.cases.cases[name][index[name]] for name in self.names], 1)
        resident = Resident(every, labels, classes=None if labels is None else labels - UNLABELLED)
        resident.capturable = False  # which senses are there decides what a step does
        yield resident


def pair_by_class(senses: Mapping[str, tuple[Any, Any]]) -> SenseCases:
    """Return sets of several senses that belong together only by class, each (cases (N, size),
    labels (N,)), e.g. {"image": (images, digits), "sound": (sounds, digits)}: learning pairs them
    anew in each epoch. A case whose label is UNLABELLED teaches its sense's layers alone.

    Raises:
        DataError: labels that do not fit, or a class that one set has and another has not.
    """
    labels: dict[str, Tensor | None] = {}
    for name, (cases, own) in senses.items():
        try:
            labels[name] = arrays.as_labels(own, len(cases), None, lowest=UNLABELLED)
        except DataError as error:
            raise DataError(f"sense {name}: {error}") from error
    classes = {
        name: set(own[own != UNLABELLED].tolist())
        for name, own in labels.items()
        if own is not None
    }
    every = set().union(*classes.values())
    for name, own in classes.items():
        if own != every:
            raise DataError(
                f"sense {name} has no case of class {min(every - own)}, which another sense has; "
                "give some, or leave that class out"
            )
    cases = {name: given for name, (given, _) in senses.items()}
    return SenseCases(cases, labels, by_class=True)
