"""The deep belief net as a regressor: it first learns to generate and then to predict numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.data.table_units import Asked
from wakesleep.estimators import shared
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.estimators.tuned import BACKPROP, Scorer, TunedEstimator, net_outputs
from wakesleep.foundation.errors import DataError
from wakesleep.learning import backprop
from wakesleep.runs import checkpoint

RATE = 0.03
"""Of backpropagation. Squared errors add up over the units of a layer: at the classifier's rate,
0.1, a single layer of 300 diverges. One layer of 100 units, the default, does as well on parts of
four tables' training cases as (300, 600), in a third of the time.
"""


class DBNRegressor(RegressorMixin, TunedEstimator):
    """A deep belief net that learns to generate the cases, and is then fine-tuned to predict
    numbers.

    Pretraining is that of DBNTransformer; a linear readout starts from small weights on top,
    targets are standardised inside, the loss is the squared error. Source of the way: Hinton &
    Salakhutdinov (2006).

    Args:
        hidden_layer_sizes: units of each hidden layer, from the visible units up.
        fine_tune: "backprop", through the whole net; None, the readout alone, from features as they
            are.
        fine_tune_n_iter: epochs of fine-tuning; None: 80.
        fine_tune_learning_rate: rate of fine-tuning in the first epoch; None: 0.03, for wide layers
            diverge at more.
        sample_visible: backpropagation sees each visible unit as a binary state drawn anew with its
            value as probability, so that it overfits less; "auto" does so where the draws would
            have no more noise than the values have variance.
        early_stopping: hold cases out, stop fine-tuning when the error on them no longer gets
            smaller, let the rate fall in a few last epochs, and keep the best of all.
        validation_fraction: part of the cases that is held out, from pretraining too.
        n_iter_no_change: epochs without a better score after which fine-tuning stops, and epochs in
            which the rate then falls.

    The parameters of pretraining, `n_iter` to `random_state`, are those of `DBNTransformer`.

    Attributes:
        net_: the fine-tuned feed-forward net, a `torch.nn.Sequential`; its outputs are y,
            standardised.
        target_mean_: the mean of y that standardises it, (outputs,), and `target_scale_` its
            standard deviation.
        sample_visible_: whether backpropagation saw values as bits drawn anew.
        validation_scores_: minus the mean squared error on the held-out cases, y standardised, one
            an epoch, with early stopping.

    It also has what `DBNTransformer` has: `dbn_`, the generative model, to `feature_names_in_`.

    >>> import numpy as np
    >>> X = np.random.RandomState(0).rand(100, 5)
    >>> DBNRegressor((10,), n_iter=2, random_state=0).fit(X, X[:, 0]).predict(X).shape
    (100,)
    """

    target_mean_: Array
    target_scale_: Array
    _target_variance: Array
    _backprop_defaults = replace(BACKPROP, learning_rate=RATE, epochs=80)
    _epochs_drawn = 80

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        fine_tune: Literal["backprop"] | None = "backprop",
        fine_tune_n_iter: int | None = None,
        fine_tune_learning_rate: float | None = None,
        sample_visible: bool | Literal["auto"] = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_iter: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = 20,
        learning_rate: float = 0.1,
        final_learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0002,
        n_gibbs_steps: int = 1,
        persistent: bool = False,
        sparsity_target: float = 0.1,
        sparsity_cost: float = 0.0,
        units: Asked | None = None,
        n_bins: int | Literal["auto"] = "auto",
        scale: Literal["auto", "warn"] | None = "auto",
        missing: Literal["error", "sample"] = "error",
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        verbose: bool | int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.fine_tune = fine_tune
        self.fine_tune_n_iter = fine_tune_n_iter
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.sample_visible = sample_visible
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.n_gibbs_steps = n_gibbs_steps
        self.persistent = persistent
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.units = units
        self.n_bins = n_bins
        self.scale = scale
        self.missing = missing
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.verbose = verbose
        self.random_state = random_state

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNRegressor:
        """Learn to generate the cases X (N, D), then to predict y (N,) or (N, outputs), which is
        standardised inside.

        Raises:
            DataError: values out of range or NaN (each with its fix). ConfigError: parameters that
                cannot work.
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X, y = shared.check_cases(self, X, y, reset=not goes_on, numeric=True, sparse=True)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, y = shared.take(X, taking_part), y[taking_part]
        held_out = self._held_out(np.arange(len(y)), None, source)
        learned = np.setdiff1d(np.arange(len(y)), held_out)
        if goes_on:
            self._check_goes_on()
            self._check_outputs(y)
        else:
            self._begin(shared.take(X, learned), 0, source)
            self._count_targets(y[learned])
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(shared.take(X, learned), rng)
        targets = self._targets(y[learned])
        weights = None if weights is None else weights[learned]
        if not goes_on:
            self._pretrain(images, known, None, weights, rng)
            self.net_ = backprop.classifier(self.dbn_, targets.shape[1], rng=rng, start="small")
        else:
            images = self._fill(images, known, rng)
        score = self._minus_squared_error(X[held_out], y[held_out])
        if self.fine_tune is None:
            self._learn_readout(images, targets, weights, rng, score=score)
        else:
            self._backprop(self.net_, images, targets, weights, rng, score=score)
        return self

    @shared.all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNRegressor:
        """Learn from a chunk X (N, D), y (N,) or (N, outputs) of a larger set; y is standardised by
        all that came.

        The range of the columns grows with what comes; after `fit` or `load` it stays, and a
        RangeWarning says when a chunk lies outside. A new estimator gives each layer one epoch and
        then, features as they are, the linear readout one. After `fit`, a call is one epoch of
        backpropagation through the whole net (of the readout, with `fine_tune=None`).
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        first = not shared.is_fitted(self)
        X, y = shared.check_cases(self, X, y, reset=first, numeric=True, sparse=True)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, y = shared.take(X, taking_part), y[taking_part]
        self._begin_or_go_on(first, X, 0)
        if not first:
            self._check_outputs(y)
        if self._streams:
            self._count_targets(y)
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(X, rng)
        targets = self._targets(y)
        if self._streams:
            self._epoch_over_chunk(images, known, None, weights, rng)
            fresh = backprop.classifier(self.dbn_, targets.shape[1], rng=rng, start="small")
            self.net_ = fresh if first else nn.Sequential(*list(fresh)[:-1], self.net_[-1])
        if self._streams or self.fine_tune is None:
            self._learn_readout(images, targets, weights, rng, once=True)
        else:
            self._backprop(
                self.net_, self._fill(images, known, rng), targets, weights, rng, once=True
            )
        return self

    def predict(self, X: Any) -> Array:
        """Return the prediction for each case of X (N, D), (N,) or (N, outputs); averaged over
        draws of missing values.
        """
        check_is_fitted(self)
        outputs = (
            self._average(X, lambda dbn, net, images: net_outputs(net, images)).astype(np.float64)
            * self.target_scale_
            + self.target_mean_
        )
        predicted: Array = outputs if self.target_columns_ else outputs[:, 0]
        return predicted

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        self._targets_seen = 0

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        super()._set_nets(model, tensors)
        self._targets_seen = 0

    def _check_outputs(self, y: Array) -> None:
        """Refuse targets of another number of columns than the net has outputs."""
        columns = 0 if y.ndim == 1 else y.shape[1]
        if columns != self.target_columns_:
            expected = f"(N, {self.target_columns_})" if self.target_columns_ else "(N,)"
            raise DataError(
                f"y of shape {y.shape} came, and this net predicts y of shape {expected}"
            )

    def _count_targets(self, y: Array) -> None:
        """Standardise targets by the mean and the deviation of all that came, column by column, a
        constant one left at its scale.

        Where later targets move these, the readout is moved too, so that the net goes on predicting
        what it did.
        """
        columns = y.reshape(len(y), -1).astype(np.float64)
        self.target_columns_ = 0 if y.ndim == 1 else y.shape[1]
        mean, variance, seen = columns.mean(0), columns.var(0), self._targets_seen
        if seen:
            share, gap = len(y) / (seen + len(y)), mean - self.target_mean_
            variance = (
                (1 - share) * self._target_variance
                + share * variance
                + share * (1 - share) * gap**2
            )
            mean = self.target_mean_ + share * gap
        scale = np.where(variance > 0, np.sqrt(variance), 1.0)
        if seen:
            ratio = torch.from_numpy(self.target_scale_ / scale).to(self._device, torch.float32)
            shift = torch.from_numpy((self.target_mean_ - mean) / scale).to(
                self._device, torch.float32
            )
            readout = self.net_[-1]
            assert isinstance(readout, nn.Linear)
            with torch.no_grad():
                readout.weight.mul_(ratio[:, None])
                readout.bias.mul_(ratio).add_(shift)
        self.target_mean_, self.target_scale_, self._target_variance = mean, scale, variance
        self._targets_seen = seen + len(y)

    def _targets(self, y: Array) -> Tensor:
        """Return targets as the net learns them, (N, outputs), float32, on the device."""
        return torch.from_numpy(
            ((y.reshape(len(y), -1) - self.target_mean_) / self.target_scale_).astype(np.float32)
        ).to(self._device)

    def _learn_readout(
        self,
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        **how: Any,
    ) -> None:
        """Learn the linear readout alone, from features as the pretrained layers give them."""
        with torch.inference_mode():
            features = self.net_[:-1](images)
        self._backprop(nn.Sequential(self.net_[-1]), features.clone(), targets, weights, rng, **how)

    def _minus_squared_error(self, X: Array, y: Array) -> Scorer | None:
        """Return a function that tells minus the mean squared error on held-out cases, y
        standardised; None where there are none.
        """
        if not len(y):
            return None
        images, _ = self._images(X, shared.fresh_rng(np.random.RandomState(0), self._device))
        targets = self._targets(y)

        def score() -> tuple[float, float]:
            error = float((net_outputs(self.net_, images) - targets).square().mean())
            return -error, -error

        return score

    def _recognition_layers(self) -> list[nn.Module]:
        scale, mean = (
            torch.from_numpy(np.atleast_1d(each)).float()
            for each in (self.target_scale_, self.target_mean_)
        )
        return [*self._net_layers(), Affine(torch.diag(scale), mean)]

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
