"""The range of columns: what is mapped to [0, 1] for binary units, outliers and skewed columns
included, and the way back.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import MinMaxScaler

from wakesleep.estimators.shared import Array, check_choice, dense, values_of
from wakesleep.foundation.errors import DataError

Range = tuple[Array, Array]
"""The lowest and the highest value of each column, (D,) each."""


FIX = (
    "scale='auto' maps each column to [0, 1] by the smallest and largest value seen in fit; "
    "wakesleep.make_dbn_pipeline also makes categories one-hot and numbers binary; scikit-learn's "
    "MinMaxScaler in front does it by hand"
)


class RangeWarning(UserWarning):
    """Values outside [0, 1] are used as they are, though binary units take them for
    probabilities.
    """


def check_range(scale: str | None, X: Array) -> bool:
    """Return whether X (N, D) is to be brought into [0, 1]: not where it lies there, nor where it
    is used as it is (`scale="warn"`).

    Raises:
        DataError: values outside [0, 1] and `scale=None`, or negative sparse ones and
            `scale="auto"`.
    """
    check_choice("scale", scale, ("auto", "warn", None))
    if in_range(X):
        return False
    low, high = (X.min(), X.max()) if sp.issparse(X) else (np.nanmin(X), np.nanmax(X))
    message = (
        f"values run from {low:g} to {high:g}; binary units take them for probabilities in [0, 1]"
    )
    if scale == "warn":
        warnings.warn(f"{message}, so they are used as they are. {FIX}", RangeWarning, stacklevel=4)
        return False
    if scale is None:
        raise DataError(f"{message}. {FIX}")
    if sp.issparse(X) and low < 0:
        raise DataError(
            f"{message}. Sparse columns are scaled by their largest value, zeros staying zeros: "
            "scale negative ones first"
        )
    return True


def settle_range(estimator: Any, X: Array) -> None:
    """Choose how the columns of X (N, D), the first cases of an estimator, are mapped to [0, 1],
    and say so with `verbose`.

    Sets `scaler_`, `skewed_columns_`, `skew_` (centre and spread of each skewed column, (2, K)) and
    `outlier_columns_`.
    """
    none = np.zeros(0, dtype=int)
    estimator.scaler_, estimator.skewed_columns_, estimator.skew_, estimator.outlier_columns_ = (
        None,
        none,
        np.zeros((2, 0)),
        none,
    )
    if not check_range(estimator.scale, X):
        return
    ends, estimator.skewed_columns_, estimator.skew_ = _survey(X)
    unskewed = unskew(estimator, X)
    estimator.scaler_ = _scaler(column_range(unskewed) if len(estimator.skewed_columns_) else ends)
    estimator.outlier_columns_ = _outlier_columns(estimator.scaler_, unskewed)
    if estimator.verbose:
        notes = {
            "outliers are clipped": estimator.outlier_columns_,
            "skewed, mapped by asinh": estimator.skewed_columns_,
        }
        for what, columns in notes.items():
            if len(columns):
                print(
                    f"{type(estimator).__name__}: {what}: columns {', '.join(map(str, columns))}",
                    file=sys.stderr,
                )


def _scaler(of: Range) -> MinMaxScaler:
    """Return the scaler that maps the range of each column to [0, 1] and clips what lies
    outside.
    """
    return MinMaxScaler(clip=True).fit(np.stack(of))


def to_symmetric(values: Array, skew: Array) -> Array:
    """Return asinh((x - centre) / spread), skew = (centre, spread): linear about the centre,
    logarithmic far from it on both sides.
    """
    return np.arcsinh((values - skew[0]) / skew[1])  # type: ignore[no-any-return]


def from_symmetric(values: Array, skew: Array) -> Array:
    """Return what `to_symmetric` was given."""
    return np.sinh(values) * skew[1] + skew[0]  # type: ignore[no-any-return]


def unskew(estimator: Any, X: Array, way: Callable[[Array, Array], Array] = to_symmetric) -> Array:
    """Return X (N, D) with the skewed columns of an estimator mapped by asinh, or `way` back; X
    itself where none is.
    """
    columns = getattr(estimator, "skewed_columns_", ())  # files of earlier versions have none
    if not len(columns):
        return X
    mapped = np.array(dense(X))
    mapped[:, columns] = way(mapped[:, columns], estimator.skew_)
    return mapped


def column_range(X: Array) -> Range:
    """Return the lowest and the highest value of each column of X (N, D), outliers left out.

    A value is an outlier beyond Tukey's outer fences, three times the distance of the quartiles
    away from them; a column ends at its fences where outliers would take more than half of its
    range and are at most one case in twenty (or one of fewer): more are no outliers but the tail of
    a skewed column. Where the quartiles are one value, as in a column of many zeros, the fences are
    those of the other values. Sparse columns run from zero to their largest value.
    """
    return _survey(X)[0]


def column_skew(values: Array) -> Array | None:
    """Return centre and spread (2,) for `to_symmetric` of one column of values (N,), None where it
    is not skewed.
    """
    _, columns, skew = _survey(values[:, None])
    return skew[:, 0] if len(columns) else None


def _survey(X: Array) -> tuple[Range, Array, Array]:
    """Return the range of each column of X (N, D), the numbers of the skewed ones (K,), and their
    median and quartile distance (2, K).

    Skewed are columns in which more than one case in twenty lie beyond fences that leave out more
    than half of the range.
    """
    none = np.zeros(0, dtype=int)
    if sp.issparse(X):
        high = np.maximum(dense(X.max(axis=0)).ravel(), 0)
        return (np.zeros_like(high), high), none, np.zeros((2, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
        if in_range(X):
            return (low, high), none, np.zeros((2, 0))
        some = X[:: -(-len(X) // 10_000)]  # quartiles of that many cases are sharp enough
        first, third = _quartiles(some)
    lowest, highest = (
        np.fmax(low, first - 3 * (third - first)),
        np.fmin(high, third + 3 * (third - first)),
    )
    wide = np.flatnonzero((high - low) > 2 * (highest - lowest))
    beyond = np.array(
        [
            np.count_nonzero((X[:, each] < lowest[each]) | (X[:, each] > highest[each]))
            for each in wide
        ],
        dtype=int,
    )
    few = beyond <= max(1, len(X) // 20)
    fenced = wide[few]
    low[fenced], high[fenced] = lowest[fenced], highest[fenced]
    skewed = wide[~few & (third > first)[wide]]
    skew = (
        np.stack([np.nanmedian(some[:, skewed], axis=0), (third - first)[skewed]])
        if len(skewed)
        else np.zeros((2, 0))
    )
    return (low, high), skewed, skew.astype(np.float64)


def _quartiles(X: Array) -> Range:
    """Return the first and the third quartile of each column of X (N, D); where they are one value,
    those of the others take it in.
    """
    quantile = np.nanquantile if np.isnan(np.sum(X)) else np.quantile
    first, third = quantile(X, (0.25, 0.75), axis=0)
    for column in np.flatnonzero(first == third):
        others = X[(X[:, column] != first[column]) & ~np.isnan(X[:, column]), column]
        if len(others):
            first[column], third[column] = (
                min(first[column], np.quantile(others, 0.25)),
                max(third[column], np.quantile(others, 0.75)),
            )
    return first, third


def widen_range(estimator: Any, X: Array) -> None:
    """Let the range that a stream of chunks settled on take in another chunk X (N, D): the first
    chunk may have been blank.

    After `fit` or `load` the range stays, for the net was tuned to it; a chunk that lies outside is
    clipped, and a RangeWarning says so.
    """
    if estimator.scale != "auto":
        return
    if estimator._range is None:
        _warn_outside(estimator, X)
        return
    low, high = column_range(unskew(estimator, X))
    estimator._range = np.fmin(estimator._range[0], low), np.fmax(estimator._range[1], high)
    if estimator.scaler_ is not None or not in_range(X):
        estimator.scaler_ = _scaler(estimator._range)


def _warn_outside(estimator: Any, X: Array) -> None:
    """Warn where more than a tenth of the cases of a chunk X (N, D), and more than one, lie outside
    the settled range of a column.
    """
    scaler, X = estimator.scaler_, dense(unskew(estimator, X))
    low, high = (0.0, 1.0) if scaler is None else (scaler.data_min_, scaler.data_max_)
    rounding = 1e-6 * np.maximum(np.abs(low), np.abs(high))  # float32 after float64
    outside = np.fmax(low - X, X - high) > rounding
    columns = np.flatnonzero(np.count_nonzero(outside, axis=0) > max(1, len(X) // 10))
    if len(columns):
        more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
        warnings.warn(
            f"more than a tenth of the values of columns {', '.join(map(str, columns[:10]))}{more} "
            "lie outside the range that fit settled on, and are clipped: fit anew, or begin with "
            "partial_fit, whose range grows",
            RangeWarning,
            stacklevel=5,
        )


def _outlier_columns(scaler: MinMaxScaler, X: Array) -> Array:
    """Return the numbers of the columns of X (N, D), the first cases, in which `scaler` clips
    outliers.
    """
    if sp.issparse(X):
        return np.zeros(0, dtype=int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    return np.flatnonzero((low < scaler.data_min_) | (high > scaler.data_max_))


def in_range(X: Array) -> bool:
    """Return whether all values, missing ones apart, lie in [0, 1]."""
    values = values_of(X)
    return not values.size or bool(
        np.fmin.reduce(values, axis=None) >= 0 and np.fmax.reduce(values, axis=None) <= 1
    )


def to_range(estimator: Any, X: Array) -> Array:
    """Return new cases X (N, D) in the range that `fit` settled on.

    Raises:
        DataError: values outside [0, 1] and `scale=None`.
    """
    if sp.issparse(X) and not len(getattr(estimator, "skewed_columns_", ())):
        return _sparse_to_range(estimator, X)  # type: ignore[no-any-return]
    if estimator.scaler_ is not None:
        return estimator.scaler_.transform(unskew(estimator, X))  # type: ignore[no-any-return]
    if estimator.scale == "warn" or in_range(X):
        return X
    if estimator.scale is None:
        check_range(None, X)
    return np.clip(X, 0, 1)


def _sparse_to_range(estimator: Any, X: Any) -> Any:
    """Return new sparse cases X (N, D), none below zero, in the range that `fit` settled on."""
    if estimator.scaler_ is None and (estimator.scale == "warn" or in_range(X)):
        return X
    if estimator.scale is None:
        check_range(None, X)
    scaled = (
        sp.csr_matrix(X)
        if estimator.scaler_ is None
        else sp.csr_matrix(X.multiply(estimator.scaler_.scale_))
    )
    scaled.data = np.clip(scaled.data, 0, 1)
    return scaled


def from_range(estimator: Any, cases: Array) -> Array:
    """Return cases (N, D) of the model in the units of the data that came to `fit`."""
    return (
        cases
        if estimator.scaler_ is None
        else unskew(estimator, estimator.scaler_.inverse_transform(cases), from_symmetric)
    )


NO_NOISE = 1e-6
"""Up to this much noise the values of a column are two, the ends of its range."""


def resembles_bits(estimator: Any, X: Array) -> bool:
    """Return whether the values of X (N, D) may be drawn anew as bits, each with its value v in [0,
    1] as probability.

    The draws have the variance p(1 - p) in a column of mean p, of which E[v (1 - v)] is noise. In
    pictures dominated by ink and paper there is little; in evenly spread real numbers it is two
    thirds. As much noise as signal is the limit. Columns of two values have no noise: a draw leaves
    them as they are, so they say nothing about the others and do not count.
    """
    values = to_range(estimator, X[:: -(-X.shape[0] // 2000)])
    values = np.clip(dense(values), 0, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice|Degrees of freedom")
        noise, signal = np.nanmean(values * (1 - values), axis=0), np.nanvar(values, axis=0)
    noisy = ~(noise <= NO_NOISE)
    return bool(np.nansum(noise[noisy]) <= np.nansum(signal[noisy]))
