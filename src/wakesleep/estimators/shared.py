"""What all estimators share: checks of cases, weights and parameters, seeds, progress."""

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
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_X_y, validate_data
from torch import Tensor, nn

from wakesleep.data.table_units import TableUnits
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.ranges import require
from wakesleep.foundation.rng import generator
from wakesleep.foundation.values import as_kind
from wakesleep.learning.records import EpochResult
from wakesleep.samplers import missing

Array = NDArray[Any]
Settings = TypeVar("Settings")
PRETRAINING = {"epochs": "n_iter", "gibbs_steps": "n_gibbs_steps"}
"""What fields of the settings of pretraining are called as parameters, where that differs."""


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
    (`missing="sample"`); with y, the pair of both. Where the estimator has `units`, X is a table,
    and comes back as the states of its columns.

    Raises:
        DataError: NaN where `missing` does not allow it. ValueError of scikit-learn: infinity, no
            rows, another number of columns.
    """
    y = _check_numbers(y) if numeric else y
    if getattr(estimator, "units", None) is not None:
        return _check_table(estimator, X, y, reset=reset, numeric=numeric)
    options: dict[str, Any] = {"accept_sparse": "csr"} if sparse else {}
    if not isinstance(y, str):
        options |= {"multi_output": numeric, "y_numeric": numeric}
    try:
        checked = validate_data(
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
                f"learns from numbers: {_way_out(estimator)} makes columns of both fit for it"
            ) from error
        raise
    cases = checked if isinstance(y, str) else checked[0]
    values = values_of(cases)
    if estimator.missing == "error" and has_missing(cases):
        raise DataError(
            f"Input X contains NaN: {int(np.isnan(values).sum())} of {values.size} values. "
            f"{type(estimator).__name__} can treat missing values as unknown states of its visible "
            "units and draw them from the model: missing='sample'; or fill them first "
            "(SimpleImputer)"
        )
    return checked


def _check_numbers(y: Any) -> Any:
    """Return targets as they are, once they are seen to be numbers.

    Raises:
        DataError: words, dates, or truth values among words.
    """
    kind = np.asarray(y).dtype.kind
    if y is None or isinstance(y, str) or kind in "biufc":
        return y  # scikit-learn refuses complex ones
    try:
        if kind != "O":
            raise ValueError(f"values of type {np.asarray(y).dtype}")
        np.asarray(y).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"y holds no numbers ({error}); expected what a regressor predicts, numbers: "
            "DBNClassifier tells words, and y.astype(float) makes numbers of written ones"
        ) from error
    return y


def _way_out(estimator: Any) -> str:
    """Return what takes a table as it is, in words."""
    kind = type(estimator).__name__
    own = hasattr(estimator, "units")
    return f"{kind}(units='auto')" if own else f"wakesleep.make_dbn_pipeline({kind}())"


def _check_table(estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool) -> Any:
    """Return a table X as the states of its columns (N, units), NaN where a value is missing; with
    y, the pair of both. On `reset` the columns are looked at first, and `units_` says what they
    were taken for.

    Raises:
        DataError: tables that do not fit, in words. ConfigError: the estimator learned without
            `units`.
    """
    if reset:
        estimator.units_ = TableUnits(X, estimator.units, estimator.n_bins)
        names = estimator.units_.format.names
        estimator.n_features_in_ = len(names)
        if estimator.units_.format.frame is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        if estimator.verbose:
            print(estimator.units_, file=sys.stderr)
    require(
        hasattr(estimator, "units_"),
        f"units = {estimator.units!r}, and this {type(estimator).__name__} learned without units: "
        "fit a new one (warm_start=False), or set units=None",
    )
    cases = estimator.units_.encode(X)
    if getattr(X, "dtype", None) == np.float32:
        cases = cases.astype(np.float32)
    if isinstance(y, str):
        return cases
    return check_X_y(
        cases,
        y,
        ensure_all_finite="allow-nan",
        multi_output=numeric,
        y_numeric=numeric,
        estimator=estimator,
    )


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
    if getattr(estimator, "units", None) is not None:
        return _check_table(  # type: ignore[no-any-return]
            estimator, X, "no_validation", reset=False, numeric=False
        )
    return validate_data(  # type: ignore[no-any-return]
        estimator, X, reset=False, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan"
    )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    require(
        any(value is choice or value == choice for choice in choices),
        f"{name} = {value!r}: expected {' or '.join(map(repr, choices))}",
    )


def values_of(X: Any) -> Array:
    """Return the values that are stored: all of an array, those of a sparse matrix."""
    return X.data if sp.issparse(X) else X  # type: ignore[no-any-return,attr-defined]


def has_missing(X: Array) -> bool:
    """Return whether a value is NaN."""
    return bool(np.isnan(np.sum(values_of(X))))


def dense(X: Any) -> Array:
    """Return cases (N, D) as an array."""
    return X.toarray() if hasattr(X, "toarray") else X  # type: ignore[no-any-return]


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


def apart(X: Any, whole: Callable[[Any], Tensor], filled: Callable[[Any], Tensor]) -> Tensor:
    """Return what is said of each case of X (N, D), (N, ...): by `whole` of those without holes, a
    chunk at a time, by `filled` of each with holes alone, (1, D).

    So what is said of a case does not depend on the cases beside it.
    """
    holes = _with_holes(X)
    if not holes.any():
        starts = range(0, X.shape[0], missing.CHUNK)
        return torch.cat([whole(X[start : start + missing.CHUNK]) for start in starts])
    values: list[Any] = [None] * X.shape[0]
    for number in np.flatnonzero(holes).tolist():
        values[number] = filled(X[number : number + 1])[0]
    rest = np.flatnonzero(~holes)
    for start in range(0, len(rest), missing.CHUNK):
        chosen = rest[start : start + missing.CHUNK]
        for number, value in zip(chosen.tolist(), whole(X[chosen]), strict=True):
            values[number] = value
    return torch.stack(values)


def _with_holes(X: Any) -> Array:
    """Return which cases of X (N, D), dense or sparse, have missing values, (N,)."""
    if hasattr(X, "indptr"):
        rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        return np.bincount(rows[np.isnan(X.data)], minlength=X.shape[0]) > 0
    return np.isnan(X).any(axis=1)  # type: ignore[no-any-return]


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
    (`verbose=2`) on standard error; in a pipe or a file a line a stage in place of the bar.
    """
    if not verbose:
        yield from epochs
        return
    from tqdm.auto import tqdm

    plain = not sys.stderr.isatty() and "ipykernel" not in sys.modules
    with tqdm(total=total, desc=name, unit="epoch", disable=plain) as bar:
        for record in epochs:
            metrics = ", ".join(f"{key} {value:.4g}" for key, value in record.metrics.items())
            bar.set_description(f"{name}, {record.stage}")
            bar.set_postfix_str(metrics)
            bar.update()
            if verbose > 1 or (plain and record.epoch == record.epochs):
                bar.write(
                    f"{name}, {record.stage}, epoch {record.epoch} of {record.epochs}: {metrics}",
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
