"""What all estimators share: checked cases on the device, their range, missing values, seeds,
weights and progress.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar, get_type_hints

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor, nn

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.foundation.values import as_kind
from wakesleep.learning.configs import require
from wakesleep.learning.records import EpochResult

Array = NDArray[Any]
Settings = TypeVar("Settings")
PRETRAINING = {"epochs": "n_iter", "gibbs_steps": "n_gibbs_steps"}
"""What fields of the settings of pretraining are called as parameters, where that differs."""
Range = tuple[Array, Array]
"""The lowest and the highest value of each column, (D,) each."""
CURE = (
    "scale='auto' maps each column to [0, 1] by the smallest and largest value seen in fit; "
    "wakesleep.make_dbn_pipeline also makes categories one-hot and numbers binary; scikit-learn's "
    "MinMaxScaler in front does it by hand"
)


class RangeWarning(UserWarning):
    """Values outside [0, 1] are used as they are, though binary units take them for
    probabilities.
    """


class SparseRows:
    """A scipy sparse matrix (N, D) as cases: minibatches come out dense."""

    def __init__(self, matrix: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.matrix, self.dtype, self.device = matrix, dtype, device

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self.matrix[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(rows.toarray()).to(self.device, self.dtype)


def check_cases(
    estimator: Any,
    X: Any,
    y: Any = "no_validation",
    *,
    reset: bool,
    sparse: bool = False,
    numeric: bool = False,
) -> Any:
    """Return X as a float array (N, D), NaN only where the estimator may fill it in
    (`missing="sample"`); with y, the pair of both.

    Raises:
        DataError: NaN where `missing` does not allow it. ValueError of scikit-learn: infinity, no
            rows, another number of columns.
    """
    options: dict[str, Any] = {"accept_sparse": "csr"} if sparse else {}
    if not isinstance(y, str):
        options |= {"multi_output": numeric, "y_numeric": numeric}
    try:
        found = validate_data(
            estimator,
            X,
            y,
            reset=reset,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
            **options,
        )
    except ValueError as error:
        words = categories_of(X) if "could not convert" in str(error) else []
        if words:
            raise DataError(
                f"the columns {', '.join(map(repr, words))} hold categories ({error}), and a net "
                f"learns from numbers: wakesleep.make_dbn_pipeline({type(estimator).__name__}()) "
                "makes columns of both fit for it"
            ) from error
        raise
    cases = found if isinstance(y, str) else found[0]
    values = _values(cases)
    if estimator.missing == "error" and has_missing(cases):
        raise DataError(
            f"Input X contains NaN: {int(np.isnan(values).sum())} of {values.size} values. "
            f"{type(estimator).__name__} can treat missing values as unknown states of its visible "
            "units and draw them from the model: missing='sample'; or fill them first "
            "(SimpleImputer)"
        )
    return found


def categories_of(X: Any) -> list[Any]:
    """Return the names of the columns of a data frame that hold no numbers; none of anything
    else.
    """
    if not hasattr(X, "dtypes") or not hasattr(X, "columns"):
        return []
    return [
        name
        for name, dtype in zip(X.columns, X.dtypes, strict=True)
        if getattr(dtype, "kind", "O") not in "biufc"
    ]


def check_dense(estimator: Any, X: Any) -> Array:
    """Return new cases X (N, D) in which values may be missing, whatever `missing` was for
    learning.
    """
    return validate_data(  # type: ignore[no-any-return]
        estimator, X, reset=False, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan"
    )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    require(
        any(value is choice or value == choice for choice in choices),
        f"{name} = {value!r}: expected {' or '.join(map(repr, choices))}",
    )


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
        warnings.warn(
            f"{message}, so they are used as they are. {CURE}", RangeWarning, stacklevel=4
        )
        return False
    if scale is None:
        raise DataError(f"{message}. {CURE}")
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


def _values(X: Any) -> Array:
    """Return the values that are stored: all of an array, those of a sparse matrix."""
    return X.data if sp.issparse(X) else X  # type: ignore[no-any-return,attr-defined]


def has_missing(X: Array) -> bool:
    """Return whether a value is NaN."""
    return bool(np.isnan(np.sum(_values(X))))


def in_range(X: Array) -> bool:
    """Return whether all values, missing ones apart, lie in [0, 1]."""
    values = _values(X)
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


def dense(X: Any) -> Array:
    """Return cases (N, D) as an array."""
    return X.toarray() if hasattr(X, "toarray") else X  # type: ignore[no-any-return]


NO_NOISE = 1e-6
"""Up to this much noise the values of a column are two, the ends of its range."""


def suits_drawing(estimator: Any, X: Array) -> bool:
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
    drawn = ~(noise <= NO_NOISE)
    return bool(np.nansum(noise[drawn]) <= np.nansum(signal[drawn]))


def from_range(estimator: Any, cases: Array) -> Array:
    """Return cases (N, D) of the model in the units of the data that came to `fit`."""
    return (
        cases
        if estimator.scaler_ is None
        else unskew(estimator, estimator.scaler_.inverse_transform(cases), from_symmetric)
    )


def tensor(array: Array, device: torch.device | str = "cpu") -> Tensor:
    """Return `array` as a tensor on `device`, without a copy where that is possible; whoever asks
    must not write into it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def parameter(array: Array, device: torch.device | str = "cpu") -> nn.Parameter:
    """Return `array` as a parameter on `device`; on the CPU it shares the array's memory, unless
    that is read-only.
    """
    return nn.Parameter(
        tensor(array if array.flags.writeable else array.copy(), device), requires_grad=False
    )


def fresh_rng(source: np.random.RandomState, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator whose seed is drawn from scikit-learn's kind of randomness."""
    return generator(int(source.randint(np.iinfo(np.int32).max)), device)


def random_source(random_state: Any) -> np.random.RandomState:
    """Return scikit-learn's kind of randomness for a seed, a RandomState or None."""
    return check_random_state(random_state)  # type: ignore[no-any-return]


def check_weights(sample_weight: Any, X: Array) -> tuple[Array, Tensor | None]:
    """Return which cases take part (N,), those of weight above zero, and their weights, None where
    all are equal.

    Only the proportions of the weights count: an epoch shows as many cases as take part, each in
    proportion to its weight.

    Raises:
        ValueError: negative weights, all weights zero, or another number than cases (scikit-learn's
            own message).
    """
    everyone = np.ones(X.shape[0], dtype=bool)
    if sample_weight is None:
        return everyone, None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    taking_part = weights > 0
    if not taking_part.any():
        raise DataError(
            "all values of sample_weight are zero: no case would take part; expected at least "
            "one above zero"
        )
    kept = weights[taking_part]
    return taking_part, None if bool((kept == kept[0]).all()) else torch.from_numpy(kept)


def settings(make: Callable[..., Settings], names: Mapping[str, str], **fields: Any) -> Settings:
    """Return the settings of a loop, `make(**fields)`; errors name the estimator's parameters:
    `names` has the parameter of a field where the two differ.

    Raises:
        ConfigError: a value that cannot work, by its parameter.
    """
    try:
        return make(**fields)
    except ConfigError as error:
        field, equals, rest = str(error).partition(" = ")
        raise ConfigError(f"{names.get(field, field)}{equals}{rest}") from error


def take(X: Array, chosen: Array) -> Array:
    """Return the rows `chosen`, a mask (N,) or row numbers without repeats; X itself where that is
    all, for it may lie on disk.
    """
    everyone = chosen.all() if chosen.dtype == bool else len(chosen) == X.shape[0]
    return X if everyone else X[chosen]


def watch(
    epochs: Iterator[EpochResult], total: int, verbose: int, name: str
) -> Iterator[EpochResult]:
    """Yield the records of a loop, with a progress bar (`verbose=1`) and a line an epoch
    (`verbose=2`) on standard error.
    """
    if not verbose:
        yield from epochs
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="epoch") as bar:
        for record in epochs:
            told = ", ".join(f"{key} {value:.4g}" for key, value in record.metrics.items())
            bar.set_description(f"{name}, {record.stage}")
            bar.set_postfix_str(told)
            bar.update()
            if verbose > 1:
                bar.write(
                    f"{name}, {record.stage}, epoch {record.epoch} of {record.epochs}: {told}",
                    file=sys.stderr,
                )
            yield record


def check_parameters(estimator: Any) -> None:
    """See that every parameter of an estimator is what its annotation says.

    Raises:
        ConfigError: one of another type, by its name.
    """
    for name, kind in get_type_hints(type(estimator).__init__).items():
        if name != "return":
            as_kind(name, getattr(estimator, name), kind)


Method = TypeVar("Method", bound=Callable[..., Any])


def all_or_nothing(method: Method) -> Method:
    """Let `fit` or `partial_fit` look at the parameters first, and leave the estimator with the
    attributes it had where it raises.
    """

    @wraps(method)
    def guarded(self: Any, *args: Any, **options: Any) -> Any:
        check_parameters(self)
        before = dict(vars(self))
        try:
            return method(self, *args, **options)
        except Exception:
            vars(self).clear()
            vars(self).update(before)
            raise

    return guarded  # type: ignore[return-value]


def is_fitted(estimator: Any) -> bool:
    """Return whether `fit` has left its mark."""
    return hasattr(estimator, "n_iter_")
