"""The deep belief net as a transformer to features of any depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.data.table_units import Asked
from wakesleep.estimators import shared
from wakesleep.estimators.dbn import DBNEstimator
from wakesleep.estimators.shared import Array
from wakesleep.foundation.ranges import require
from wakesleep.models.dbn import DBN


class DBNTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DBNEstimator):
    """Features of a deep belief net, pretrained layer by layer without labels: the activities of
    any hidden layer.

    Each layer is an RBM that learns the activities of the layer below. Source: Hinton, Osindero &
    Teh (2006), section 4; Hinton & Salakhutdinov (2006).

    Args:
        hidden_layer_sizes: units of each hidden layer, from the visible units up.
        layer: which hidden layer's activities are the features, from 1; None: the top one.
        n_iter: epochs over the cases for each layer of pretraining; "auto": 30, beyond 1,500 cases
            as many as show 45,000, at least 10.
        batch_size: cases in a minibatch, of pretraining and of fine-tuning; "auto": 20, and 50 for
            more than 5,000 cases.
        learning_rate: rate of pretraining in the first epoch.
        final_learning_rate: rate of pretraining in the last epoch, reached in a straight line.
        momentum: momentum of pretraining after its first epochs.
        weight_decay: L2 penalty on the weights in pretraining.
        n_gibbs_steps: K, the Gibbs steps of the negative phase.
        persistent: persistent chains (PCD) in pretraining instead of chains that start at the data
            (CD).
        sparsity_target: wanted mean activity of a hidden unit; only used with a sparsity cost.
        sparsity_cost: weight of the cross-entropy between wanted and running mean activity; 0 turns
            it off.
        units: None: each column is a binary unit with the value as its probability. "auto": X is a
            table, a data frame or an array, of numbers, words and holes, and each column takes the
            units that fit it (`units_` says which); a list has a kind for each column, a dictionary
            the kinds of some: "binary", "categories", "levels", "counts", "real". Holes are unknown
            states then, whatever `missing` says.
        n_bins: of a table with `units`, intervals of a column of counts or real numbers; "auto":
            one for each 500 cases, at least 1 and at most 8, which is best for predictions. Rows
            that are to be made, filled in or scored want more: 8.
        scale: "auto" maps columns to [0, 1] by the smallest and largest value seen in fit, outliers
            left out, if any value lies outside [0, 1], skewed ones by asinh first, and clips what
            comes later; "warn" uses values as they are; None refuses values outside [0, 1].
        missing: "error" refuses NaN; "sample" takes missing values for unknown states of visible
            units, drawn anew from the first layer after each of its epochs, and averages
            predictions over ten fillings by the whole net.
        warm_start: let `fit` go on where the last one ended: with fine-tuning where there is any,
            else with pretraining.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:0".
        precision: of matrix products: "float32", "bfloat16", or "auto", which follows from the
            processor.
        verbose: 1 shows a progress bar, 2 adds a line an epoch.
        random_state: seed, RandomState or None.

    Attributes:
        dbn_: the generative model, a `wakesleep.DBN`, for everything the core can do with it.
        n_iter_: epochs done in all stages.
        history_: a dictionary an epoch: stage, pass and what was measured.
        units_: what each column was taken for, with `units`; its repr is a line a column.
        scaler_: the MinMaxScaler in use, or None.
        outlier_columns_: the numbers of the columns in which outliers were clipped.
        skewed_columns_: the numbers of the columns mapped by asinh((x - centre) / spread) before
            `scaler_`, (K,).
        skew_: their centre, the median, and their spread, the distance of the quartiles, (2, K).
        n_features_in_: D, and `feature_names_in_` where X had names.

    Raises:
        ConfigError: from `fit`, parameters that cannot work. DataError: values outside [0, 1] or
            NaN that are not allowed, with the fix.

    >>> import numpy as np
    >>> X = np.eye(6)
    >>> DBNTransformer((4, 3), layer=1, n_iter=2, random_state=0).fit_transform(X).shape
    (6, 4)
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (200, 300),
        *,
        layer: int | None = None,
        n_iter: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
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
        self.layer = layer
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
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DBNTransformer:
        """Learn from X (N, D), layer by layer, `n_iter` epochs each; `sample_weight` (N,) says how
        often each case is shown.
        """
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X = shared.check_cases(self, X, reset=not goes_on, sparse=True)
        if goes_on:
            self._check_goes_on()
        else:
            self._begin(X, 0, source)
        taking_part, weights = shared.check_weights(sample_weight, X)
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(shared.take(X, taking_part), rng)
        if goes_on:
            for _ in range(self._epochs(len(images))):
                self._epoch_over_chunk(images, known, None, weights, rng)
        else:
            self._pretrain(images, known, None, weights, rng)
        return self

    @shared.all_or_nothing
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DBNTransformer:
        """Learn from a chunk X (N, D) of a larger set: one epoch of each layer, on the activities
        of those below as they are now.

        The rate is `learning_rate`, for nobody knows which chunk is the last; momentum and chains
        live on between calls. The range of the columns grows with what comes; after `fit` or `load`
        it stays, and a RangeWarning says when a chunk lies outside.
        """
        first = not shared.is_fitted(self)
        X = shared.check_cases(self, X, reset=first, sparse=True)
        self._begin_or_go_on(first, X, 0)
        taking_part, weights = shared.check_weights(sample_weight, X)
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(shared.take(X, taking_part), rng)
        self._epoch_over_chunk(images, known, None, weights, rng)
        return self

    def transform(self, X: Any) -> Array:
        """Return the probabilities of the units of hidden layer `layer`, by default the top one:
        (N, units), in the type of X.
        """
        check_is_fitted(self)
        return self._average(X, lambda dbn, net, images: self._features(dbn, images))

    def inverse_transform(self, H: Any) -> Any:
        """Return what activities H (N, units) of hidden layer `layer` look like to the net: a way
        down in probabilities, (N, D).
        """
        check_is_fitted(self)
        depth = self._depth()
        states = torch.tensor(np.asarray(H), dtype=torch.float32, device=self._device)
        if depth == self.dbn_.depth:
            states = self.dbn_.memory.visible_probs(states)
            depth -= 1
        for layer in reversed(self.dbn_.generative[:depth]):
            states = layer.probs(states)
        return self._as_data(states.cpu().numpy())

    def _features(self, dbn: DBN, images: Tensor) -> Tensor:
        """Return the activities of hidden layer `layer` for images (N, D): (N, units)."""
        layers = dbn.up(images)
        depth = self._depth()
        return dbn.memory.hidden_probs(layers[-1]) if depth == dbn.depth else layers[depth]

    def _recognition_layers(self) -> list[nn.Module]:
        return super()._recognition_layers()[: 2 * self._depth()]

    def _depth(self) -> int:
        """Return which hidden layer is asked for, from 1."""
        depth = self.dbn_.depth if self.layer is None else self.layer
        require(
            1 <= depth <= self.dbn_.depth,
            f"layer = {self.layer}: expected 1 to {self.dbn_.depth}, or None for the top one",
        )
        return depth

    def __sklearn_tags__(self) -> Any:
        """Say that features come in the type of the cases."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.dbn_.sizes[self._depth()])
