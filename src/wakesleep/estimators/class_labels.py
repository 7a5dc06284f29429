"""The classes of cases, some of them not known: y checked, and as numbers."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from wakesleep.estimators import shared
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.ranges import require
from wakesleep.sources.arrays import UNLABELLED


def is_missing(label: Any) -> bool:
    """Return whether a label is None, NaN, or pandas' NA or NaT."""
    return (
        label is None
        or type(label).__name__ in ("NAType", "NaTType")
        or (isinstance(label, float | np.floating) and bool(np.isnan(label)))
    )


def check_labelled(estimator: Any, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:
    """Return checked cases X (N, D) and y (N,), None where the estimator's `unlabeled` is a missing
    value and y holds one, of whichever kind.

    Raises:
        DataError: missing values in y that `unlabeled` does not allow. ConfigError: a mark that y
            cannot hold.
    """
    if y is None or not _marks_missing(estimator.unlabeled):
        given = np.asarray(y)
        if (
            y is not None
            and given.dtype.kind in "fO"
            and any(map(is_missing, given.ravel().tolist()))
        ):
            raise DataError(
                "Input y contains NaN or None; where the class of a case is not known, "
                "unlabeled=np.nan says so: it takes NaN, None and pandas' NA in y for that"
            )
        X, y = shared.check_cases(estimator, X, y, reset=reset, sparse=True)
        _check_mark(y, estimator.unlabeled)
        return X, y
    given = np.asarray(y, dtype=object)
    missing = np.array([is_missing(label) for label in given.ravel().tolist()], dtype=bool).reshape(
        given.shape
    )
    known = given[~missing].tolist()
    filled = given.copy()
    filled[missing] = known[0] if known else 0
    X, filled = shared.check_cases(
        estimator, X, np.array(filled.tolist()), reset=reset, sparse=True
    )
    filled = filled.astype(object)
    filled[missing.ravel()] = None
    return X, filled


def split_labelled(y: Array, unlabeled: Any) -> tuple[Array, Array]:
    """Return which of y (N,) are classes, (N,), and these in their own type."""
    if unlabeled is None:
        return np.ones(len(y), dtype=bool), y
    if not _marks_missing(unlabeled):
        labelled = np.asarray(y != unlabeled)
        return labelled, y[labelled]
    labelled = np.array([not is_missing(label) for label in y.tolist()], dtype=bool)
    return labelled, np.array(y[labelled].tolist())


def known_classes(classes: Any, unlabeled: Any) -> Array:
    """Return `classes` in order, without the mark of cases whose class nobody knows."""
    if _marks_missing(unlabeled):
        return np.unique(split_labelled(np.asarray(classes, dtype=object), unlabeled)[1])
    named = np.unique(classes)
    _check_mark(named, unlabeled)
    return split_labelled(named, unlabeled)[1]


def encode(y: Array, unlabeled: Any, classes: Array | None = None) -> tuple[Array, Array]:
    """Return y (N,) as numbers of classes, UNLABELLED where the class is not known, and the
    classes, those of y unless given.

    Raises:
        DataError: a single class, or a class that is none of `classes`.
    """
    numbers = np.full(len(y), UNLABELLED, dtype=np.int64)
    labelled, known = split_labelled(y, unlabeled)
    if labelled.any():
        check_classification_targets(known)
    classes = np.unique(known) if classes is None else classes
    if len(classes) < 2:
        raise DataError(
            f"y holds {len(classes)} class(es) ({classes.tolist()}); expected at least 2 classes "
            "to tell apart"
        )
    unknown = ~np.isin(known, classes)
    if unknown.any():
        raise DataError(
            f"{np.unique(known[unknown])[:5].tolist()} came as classes; this net knows "
            f"{classes.tolist()}"
        )
    numbers[labelled] = np.searchsorted(classes, known)
    return numbers, classes


def _marks_missing(unlabeled: Any) -> bool:
    """Return whether missing values stand for classes that nobody knows; None, the default, says
    that all are known.
    """
    return unlabeled is not None and is_missing(unlabeled)


def _check_mark(y: Array, unlabeled: Any) -> None:
    """Raise ConfigError where `unlabeled` is a word and y (N,) holds numbers, or the other way
    round.
    """
    other_kinds = (
        "biuf" if isinstance(unlabeled, str) else "US" if isinstance(unlabeled, Number) else ""
    )
    require(
        y.dtype.kind not in other_kinds,
        f"unlabeled = {unlabeled!r} is a {type(unlabeled).__name__}; y of type {y.dtype} cannot "
        "hold one: give it in its type",
    )
