"""What every loop asks of its cases, labels and weights, once, before its first epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute import distributed
from wakesleep.foundation.errors import DataError
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN, is_present
from wakesleep.samplers import missing
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.minibatches import Resident, Streamed
from wakesleep.sources.paired import SenseCases
from wakesleep.sources.shards import Shards
from wakesleep.units import Units


def for_net(
    dbn: DBN, images: Any, labels: Any, weights: Any, *, rng: torch.Generator, checked: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return images (N, pixels), labels (N,), UNLABELLED where unknown, and weights (N,), once they
    are seen to fit the net.

    With `checked`, the values of images and weights were looked at already.

    Raises:
        DataError: cases, labels or weights that do not fit; labels the memory does not hold.
    """
    if not checked:
        images = dbn.check_cases(images, rng=rng)
        weights = arrays.as_weights(weights, len(images))
    if labels is not None:
        labels = arrays.as_labels(labels, len(images), dbn.labels or None, lowest=UNLABELLED).to(
            dbn.memory.weight.device
        )
    return images, labels, weights


def for_dbm(
    dbm: DBM,
    cases: Any,
    labels: Any,
    *,
    rng: torch.Generator | None = None,
    holes: bool = False,
    checked: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return cases (N, visible) and labels (N,), UNLABELLED where unknown, once they are seen to
    fit a deep Boltzmann machine; NaN pass where there may be `holes`.

    Raises:
        DataError: they do not; or labels came and the machine holds none.
    """
    if not checked:
        cases = dbm.check_cases(cases, rng=rng, missing=holes)
    if labels is None:
        return cases, None
    if not dbm.labels:
        raise DataError(
            "labels came, but this machine holds none; leave them out, or build DBM(..., labels=10)"
        )
    labels = arrays.as_labels(labels, len(cases), dbm.labels, lowest=UNLABELLED)
    return cases, labels.to(dbm.rbm.weight.device)


def streamed(
    dbm: DBM,
    shards: Shards,
    labels: Any,
    weights: Any,
    prepare: Callable[[Tensor, Tensor | None], Resident],
) -> Streamed:
    """Return cases on the disk as a source for a deep Boltzmann machine: chunks made into cases of
    the loop by `prepare(images, labels)`.

    Raises:
        DataError: labels or weights beside them.
    """
    if labels is not None or weights is not None:
        raise DataError(
            "labels or weights came beside shards, which bring their labels and show each case "
            "once; leave them out"
        )
    return Streamed(shards, dbm.rbm.weight.device, prepare)


def filled(cases: Tensor, units: Units) -> tuple[Tensor, Tensor | None]:
    """Return checked cases (N, D) with some state of the `units` in the place of NaN, and what is
    known (N, D); None where all is.

    Raises:
        DataError: a categorical site that is known in part.
    """
    if not cases.is_floating_point() or not bool(torch.isnan(cases).any()):
        return cases, None
    cases = cases.clone()
    return cases, missing.init_missing(cases, torch.Generator(cases.device), units)


def for_memory(
    dbn: DBN, images: Any, labels: Any, weights: Any, *, rng: torch.Generator, checked: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the same for what learns with labels where the memory holds some, and without where it
    holds none.

    Raises:
        DataError: as `for_net`, and labels for a memory that holds none.
    """
    if labels is not None and not dbn.labels:
        raise DataError(
            "labels came, but the memory of this net holds none; leave them out, or build "
            "DBN(..., labels=10)"
        )
    return for_net(dbn, images, labels, weights, rng=rng, checked=checked)


def for_stack(
    dbn: DBN, images: Any, labels: Any, weights: Any, *, rng: torch.Generator, checked: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the same for greedy pretraining, whose memory needs labels where it holds some.

    Raises:
        DataError: as `for_net`, and a memory with labels for which none is known.
    """
    images, labels, weights = for_net(dbn, images, labels, weights, rng=rng, checked=checked)
    if dbn.labels and labels is None:
        raise DataError(
            f"the memory holds {dbn.labels} labels but the cases came without any; give labels, "
            "or build DBN(..., labels=0)"
        )
    if dbn.labels and labels is not None:
        unknown = int((labels == UNLABELLED).sum())
        if unknown == len(labels):
            raise DataError(
                f"the memory holds {dbn.labels} labels and none of {unknown} cases has one; give "
                "some, or build DBN(..., labels=0)"
            )
        if unknown and distributed.ranks() > 1:
            raise DataError(
                "cases without a label came to several ranks, whose minibatches would differ in "
                "number; leave them out"
            )
    return images, labels, weights


def for_senses(
    net: MultimodalDBN, cases: Any, labels: Any, weights: Any, *, rng: torch.Generator
) -> SenseCases:
    """Return cases (N, size) by sense with their labels (N,), once they are seen to fit the net.

    Raises:
        DataError: cases or labels that do not fit, a sense that no case has, a memory that holds
            labels and cases without, or weights, which such nets do not take.
    """
    if weights is not None:
        raise DataError("weights of cases came to a net of several senses; leave them out")
    if isinstance(cases, SenseCases):
        if labels is not None:
            raise DataError("labels came beside cases that bring their own; leave them out")
        net.check_senses(cases.cases)
        given = {
            name: net.as_cases({name: own}, rng=rng)[name] for name, own in cases.cases.items()
        }
        known, by_class = cases.labels, cases.by_class
    else:
        given = net.as_cases(cases, rng=rng)
        known, by_class = dict.fromkeys(given, labels), False
    for name in net.senses:
        if name not in given or not bool(is_present(given[name]).any()):
            raise DataError(
                f"no case has the sense {name}, and its layers would learn nothing; give some, or "
                "build the net without it"
            )
    return SenseCases(given, _checked_labels(net, given, known), by_class=by_class)


def _checked_labels(
    net: MultimodalDBN, cases: dict[str, Tensor], labels: Mapping[str, Any]
) -> dict[str, Tensor | None]:
    """Return the labels of each sense's cases, looked at once where all senses have the same."""
    device, checked = net.memory.weight.device, dict[int, Tensor]()
    for name, own in labels.items():
        if own is None and net.labels:
            raise DataError(
                f"the memory holds {net.labels} labels but the cases came without any; give "
                "labels, UNLABELLED where unknown, or build the net with labels=0"
            )
        if own is not None and id(own) not in checked:
            classes = net.labels or None
            checked[id(own)] = arrays.as_labels(
                own, len(cases[name]), classes, lowest=UNLABELLED
            ).to(device)
    return {name: None if own is None else checked[id(own)] for name, own in labels.items()}


def for_feed_forward(
    net: nn.Sequential, images: Any, *, rng: torch.Generator | None = None, checked: bool = False
) -> Any:
    """Return images (N, inputs) once they are seen to fit a feed-forward net; with `checked` they
    were looked at already.
    """
    first: Any = next(layer for layer in net if hasattr(layer, "in_features"))
    if hasattr(first, "side_by_side"):  # a net of several senses
        return first.side_by_side(images)
    like = next(first.parameters())
    return images if checked else arrays.as_cases(images, first.in_features, like, rng=rng)


def outputs(net: nn.Sequential) -> int:
    """Return how many outputs a feed-forward net has."""
    return next(layer.out_features for layer in reversed(net) if isinstance(layer, nn.Linear))
