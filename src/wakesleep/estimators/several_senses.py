"""A classifier of tables whose columns fall into named blocks: each block is a sense of one deep
belief net, and any of them may be absent from a case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data
from torch import Tensor, nn

from wakesleep.compute.select import pick_device
from wakesleep.estimators import shared
from wakesleep.estimators.class_labels import encode
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.ranges import require
from wakesleep.foundation.rng import generator
from wakesleep.foundation.values import listed
from wakesleep.learning import backprop, greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import MultimodalConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.samplers.recalling import recall
from wakesleep.units import Bernoulli, Gaussian, Units

RATES = {"binary": 0.1, "gaussian": 0.01}
"""Learning rate of a view's first epoch, by its kind of units; a tenth of it in the last."""


class MultimodalDBNClassifier(ClassifierMixin, BaseEstimator):
    """A deep belief net of several senses that learns to generate the views of each case with its
    class, and is then fine-tuned to tell the class by all views, or by those that are there.

    A view is absent from a case where all its columns are NaN; one that is known in part is
    refused, so that scikit-learn's tag of missing values says no. Source: Hinton, Osindero & Teh
    (2006); Srivastava & Salakhutdinov (2012).

    Args:
        senses: the columns of each view, by its name: a list of column numbers, of names where X is
            a data frame, or a slice. None: all columns are one view.
        hidden_layer_sizes: units of each view's layers, from its columns up to its code: for all
            views, or by name.
        top_size: top units of the memory.
        units: "binary" for views of probabilities in [0, 1], "gaussian" for numbers, which are
            standardised: for all views, or by name. "auto": binary where all values are 0 or 1.
        fine_tune: "backprop", or None: the memory's free energies tell the class, views that are
            absent summed out by its Gibbs chains.
        leave_out: chance of a view to be left out of a case in fine-tuning, so that the net tells
            the class without it.
        n_iter: epochs of pretraining a layer, and the memory.
        fine_tune_n_iter: epochs of backpropagation.
        fine_tune_learning_rate: of its first epoch.
        batch_size: cases in a minibatch.
        n_gibbs_steps: of the memory, where views are recalled or summed out.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:0".
        random_state: seed of everything random.

    Attributes:
        classes_: the classes, in the order of the columns of `predict_proba`.
        dbn_: the generative model, a `MultimodalDBN`.
        net_: the fine-tuned feed-forward net, after "backprop".
        columns_: the column numbers of each view, by name.
        units_: the kind of each view's units, by name.
        n_iter_: epochs of pretraining and fine-tuning together.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> halves = {"upper": slice(0, 32), "lower": slice(32, 64)}
    >>> net = MultimodalDBNClassifier(halves, hidden_layer_sizes=20, top_size=30, n_iter=5,
    ...                               fine_tune_n_iter=10, random_state=0).fit(X, y)
    >>> X[:, :32] = np.nan
    >>> bool(net.score(X, y) > 0.9), net.recall(X).shape
    (True, (360, 64))
    """

    classes_: Array

    def __init__(
        self,
        senses: Mapping[str, Any] | None = None,
        *,
        hidden_layer_sizes: int | Sequence[int] | Mapping[str, Any] = 100,
        top_size: int = 400,
        units: str | Mapping[str, str] = "auto",
        fine_tune: Literal["backprop"] | None = "backprop",
        leave_out: float = 0.2,
        n_iter: int = 30,
        fine_tune_n_iter: int = 60,
        fine_tune_learning_rate: float = 0.05,
        batch_size: int = 20,
        n_gibbs_steps: int = 100,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.senses = senses
        self.hidden_layer_sizes = hidden_layer_sizes
        self.top_size = top_size
        self.units = units
        self.fine_tune = fine_tune
        self.leave_out = leave_out
        self.n_iter = n_iter
        self.fine_tune_n_iter = fine_tune_n_iter
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.batch_size = batch_size
        self.n_gibbs_steps = n_gibbs_steps
        self.device = device
        self.random_state = random_state

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any) -> MultimodalDBNClassifier:
        """Learn to generate the cases X (N, D) with their classes y (N,), then fine-tune.

        Raises:
            DataError: a view that is known in part of a case, that no case has, or a single class.
            ConfigError: parameters that cannot work.
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        X, y = self._checked(X, y, reset=True)
        numbers, self.classes_ = encode(y, None)
        self.columns_ = self._columns()
        self._settle_units(X)
        rng = shared.fresh_rng(shared.random_source(self.random_state), pick_device(self.device))
        self.dbn_ = MultimodalDBN(
            {name: (self._visible(name), *self._sizes(name)) for name in self.columns_},
            labels=len(self.classes_),
            top=self.top_size,
            rng=rng,
            weight_std=0.03,
        )
        cases, labels = self._views(X), torch.from_numpy(numbers).to(rng.device)
        self.n_iter_ = 0
        for _ in greedy.epochs(self.dbn_, cases, labels, config=self._pretraining(), rng=rng):
            self.n_iter_ += 1
        if hasattr(self, "net_"):
            del self.net_
        if self.fine_tune == "backprop":
            self.net_: nn.Sequential = backprop.classifier(self.dbn_, len(self.classes_), rng=rng)
            config = shared.settings(
                BackpropConfig,
                {"epochs": "fine_tune_n_iter", "learning_rate": "fine_tune_learning_rate"},
                epochs=self.fine_tune_n_iter,
                batch_size=self.batch_size,
                learning_rate=self.fine_tune_learning_rate,
                sample_pixels=False,
                leave_out=self.leave_out if len(cases) > 1 else 0.0,
            )
            for _ in backprop.epochs(self.net_, cases, labels, config=config, rng=rng):
                self.n_iter_ += 1
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each case of X (N, D), absent views NaN: (N,)."""
        probs = self.predict_proba(X)
        return self.classes_[probs.argmax(1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Return p(class | the views that are there) of X (N, D), (N, classes), in the order of
        `classes_`.
        """
        check_is_fitted(self)
        cases = self._views(self._checked(X))
        if hasattr(self, "net_"):
            return backprop.log_probs(self.net_, cases).double().exp().cpu().numpy()
        return self._recalled(cases, "label").double().cpu().numpy()

    def recall(self, X: Any) -> Array:
        """Return X (N, D) with each absent view as what the memory expects of it given those that
        are there, E[view | the others], by Gibbs chains, in the units of the data.
        """
        check_is_fitted(self)
        X = self._checked(X)
        cases = self._views(X)
        filled: Array = X.copy()
        for name, columns in self.columns_.items():
            absent = np.isnan(X[:, columns[0]])
            if absent.any():
                given = {other: view[absent] for other, view in cases.items() if other != name}
                recalled = self._recalled(given, name).double().cpu().numpy()
                filled[np.ix_(absent, columns)] = self._as_data(name, recalled)
        return filled

    def _recalled(self, cases: dict[str, Tensor], want: str) -> Tensor:
        rng = generator(0, self.dbn_.memory.weight.device)
        given: dict[str, Any] = cases
        return recall(self.dbn_, want=want, steps=self.n_gibbs_steps, rng=rng, **given)[want]

    def _checked(self, X: Any, y: Any = "no_validation", *, reset: bool = False) -> Any:
        """Return X as an array (N, D), with y the pair of both."""
        checked = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        if isinstance(y, str):
            return checked
        return check_X_y(checked, y, ensure_all_finite="allow-nan", estimator=self)

    def _columns(self) -> dict[str, Array]:
        """Return the column numbers of each view.

        Raises:
            ConfigError: columns that X does not have, or that two views share; a view without any.
        """
        every = np.arange(self.n_features_in_)
        if self.senses is None:
            return {"columns": every}
        names = list(getattr(self, "feature_names_in_", ()))
        columns_of: dict[str, Array] = {}
        taken: set[int] = set()
        for name, asked in self.senses.items():
            listing = every[asked] if isinstance(asked, slice) else np.asarray(list(asked))
            if listing.dtype.kind in "US":
                unknown = [column for column in listing.tolist() if column not in names]
                require(
                    not unknown,
                    f"senses[{name!r}] names the columns {listed(unknown)}, which X does not have"
                    + ("" if names else "; X came without names: give numbers"),
                )
                listing = np.array([names.index(column) for column in listing.tolist()])
            require(
                len(listing) > 0 and listing.dtype.kind in "iu" and set(listing) <= set(every),
                f"senses[{name!r}] = {asked!r}: expected columns of the {len(every)} of X, at "
                "least one",
            )
            require(
                taken.isdisjoint(listing.tolist()) and len(set(listing)) == len(listing),
                f"senses[{name!r}] has a column that came before; expected each at most once",
            )
            taken |= set(listing.tolist())
            columns_of[name] = listing
        return columns_of

    def _settle_units(self, X: Array) -> None:
        """Decide the units of each view, and learn where numbers lie."""
        self.units_: dict[str, str] = {}
        self._scalers: dict[str, StandardScaler] = {}
        for name, columns in self.columns_.items():
            asked = self.units if isinstance(self.units, str) else self.units.get(name, "auto")
            shared.check_choice(f"units of {name}", asked, ("auto", *RATES))
            part = X[:, columns]
            part = part[~np.isnan(part).any(1)]
            if not len(part):
                raise DataError(
                    f"no case has the view {name}; give some, or leave it out of senses"
                )
            binary = bool(np.isin(part, (0, 1)).all())
            self.units_[name] = asked if asked != "auto" else ("binary" if binary else "gaussian")
            if self.units_[name] == "gaussian":
                self._scalers[name] = StandardScaler().fit(part)

    def _visible(self, name: str) -> Units:
        size = len(self.columns_[name])
        return Bernoulli(size) if self.units_[name] == "binary" else Gaussian(size)

    def _sizes(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a view's layers above its columns."""
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, Mapping):
            if name not in sizes:
                raise ConfigError(
                    f"hidden_layer_sizes = {sizes!r}: expected sizes of the view {name} too"
                )
            sizes = sizes[name]
        return tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)

    def _views(self, X: Array) -> dict[str, Tensor]:
        """Return the views of X (N, D) as cases by sense, in the units of the net."""
        views = {}
        for name, columns in self.columns_.items():
            part = X[:, columns]
            if name in self._scalers:
                part = self._scalers[name].transform(part)
            views[name] = torch.from_numpy(part.astype(np.float32)).to(
                self.dbn_.memory.weight.device
            )
        return self.dbn_.as_cases(views)

    def _as_data(self, name: str, view: Array) -> Array:
        """Return a view in the units of the data."""
        scaler = self._scalers.get(name)
        return view if scaler is None else scaler.inverse_transform(view)

    def _pretraining(self) -> MultimodalConfig:
        """Return the settings of pretraining."""

        def layer(rate: float) -> CDConfig:
            return shared.settings(
                CDConfig,
                shared.PRETRAINING,
                epochs=self.n_iter,
                batch_size=self.batch_size,
                learning_rate=rate,
                final_learning_rate=rate / 10,
            )

        senses = {name: layer(RATES[kind]) for name, kind in self.units_.items()}
        return MultimodalConfig(layer(0.1), layer(0.05), senses=senses)
