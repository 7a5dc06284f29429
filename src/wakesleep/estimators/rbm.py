"""The restricted Boltzmann machine as a transformer: everything scikit-learn's BernoulliRBM takes
and has, and more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.compute.precision import low_precision_copy
from wakesleep.compute.select import pick_device, pick_precision
from wakesleep.estimators import persistence, ranges, shared
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.evaluation import likelihood
from wakesleep.evaluation.pseudo import pseudo_log_likelihood
from wakesleep.foundation.ranges import require
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import checkpoint
from wakesleep.samplers import gibbs, missing
from wakesleep.sources import arrays
from wakesleep.units import Bernoulli


class BernoulliRBM(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, persistence.Saved, BaseEstimator
):
    """A restricted Boltzmann machine of binary units, trained by persistent contrastive divergence:
    features, samples, missing values.

        E(v, h) = -v'Wh - a'v - b'h,   dW = <v h'>_data - <v h'>_chains

    It takes what scikit-learn's `neural_network.BernoulliRBM` takes, with the same defaults, and
    has what that has; code that imports that class runs with this one. What differs: the order of
    cases is random, chains start at random states, `score_samples` is exact. Source: Hinton (2002;
    2010); Tieleman (2008).

    Args:
        n_components: hidden units.
        learning_rate: rate of the first epoch, and of `partial_fit`.
        batch_size: cases in a minibatch, and persistent chains.
        n_iter: epochs over the cases.
        verbose: 1 shows a progress bar, 2 adds a line an epoch.
        random_state: seed, RandomState or None.
        persistent: chains go on from where the last update left them (PCD); False starts them at
            the data (CD).
        n_gibbs_steps: K, the Gibbs steps of the negative phase.
        final_learning_rate: rate of the last epoch, reached in a straight line; None:
            `learning_rate`.
        momentum: part of the last step that is added to the next.
        weight_decay: L2 penalty on the weights.
        sparsity_target: wanted mean activity of a hidden unit; only used with a sparsity cost.
        sparsity_cost: weight of the cross-entropy between wanted and running mean activity; 0 turns
            it off.
        scale: "warn" uses values outside [0, 1] as they are, as scikit-learn does, and says so;
            "auto" maps columns to [0, 1] by the smallest and largest value seen in fit, outliers
            left out, skewed columns by asinh first, if any value lies outside; None refuses them.
        missing: "error" refuses NaN; "sample" takes missing values for unknown states of visible
            units, drawn anew from the model after each epoch, and averages what `transform` and
            `score_samples` say over twenty fillings.
        warm_start: let `fit` go on where the last one ended.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:0".
        precision: of matrix products: "float32" (that of the cases), "bfloat16", or "auto", which
            follows from the processor; weights keep the type of the cases.

    Attributes:
        components_: W', the weights, (n_components, D), in the type of X.
        intercept_hidden_: b, biases of the hidden units, (n_components,).
        intercept_visible_: a, biases of the visible units, (D,).
        h_samples_: hidden states of the persistent chains, (batch_size, n_components).
        n_iter_: epochs done.
        scaler_: the MinMaxScaler in use, or None.
        outlier_columns_: the numbers of the columns in which outliers were clipped.
        skewed_columns_: the numbers of the columns mapped by asinh((x - centre) / spread) before
            `scaler_`, (K,).
        skew_: their centre, the median, and their spread, the distance of the quartiles, (2, K).
        n_features_in_: D, and `feature_names_in_` where X had names.

    >>> import numpy as np
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> BernoulliRBM(n_components=2, random_state=0).fit(X).transform(X).shape
    (4, 2)
    """

    _range: ranges.Range | None

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: bool | int = 0,
        random_state: Any = None,
        persistent: bool = True,
        n_gibbs_steps: int = CDConfig.gibbs_steps,
        final_learning_rate: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        sparsity_target: float = CDConfig.sparsity_target,
        sparsity_cost: float = CDConfig.sparsity_cost,
        scale: Literal["auto", "warn"] | None = "warn",
        missing: Literal["error", "sample"] = "error",
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.persistent = persistent
        self.n_gibbs_steps = n_gibbs_steps
        self.final_learning_rate = final_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.scale = scale
        self.missing = missing
        self.warm_start = warm_start
        self.device = device
        self.precision = precision

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BernoulliRBM:
        """Learn from X (N, D), dense or sparse, in `n_iter` epochs; `sample_weight` (N,) says how
        often each case is shown.
        """
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X = shared.check_cases(self, X, reset=not goes_on, sparse=True)
        if goes_on:
            self._check_goes_on()
        else:
            self._begin(X, source)
        self._learn(X, sample_weight, self._config(), source)
        return self

    @shared.all_or_nothing
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BernoulliRBM:
        """Learn from a chunk X (N, D) of a larger set in one epoch, and go on from where the last
        call or `fit` ended.

        Chains, momentum and the running activities live on between calls; the rate is
        `learning_rate`, for nobody knows which chunk is the last. With `scale="auto"` the range of
        the columns grows with what comes; after `fit` or `load` it stays, and a RangeWarning says
        when a chunk lies outside. With chunks of at most `batch_size` cases, each call is one
        update, as in scikit-learn.
        """
        first = not shared.is_fitted(self)
        X = shared.check_cases(self, X, reset=first, sparse=True)
        if first:
            self._begin(X, shared.random_source(self.random_state))
            self._range = ranges.column_range(ranges.unskew(self, X))
        else:
            self._check_goes_on()
            ranges.widen_range(self, X)
        self._learn(X, sample_weight, replace(self._config(), epochs=1), self.random_state_)
        return self

    def transform(self, X: Any) -> Array:
        """Return p(h = 1 | v) of each case of X (N, D): (N, n_components). Missing values are
        integrated out, with `missing="sample"`.
        """
        check_is_fitted(self)
        X = shared.check_cases(self, X, reset=False, sparse=True)
        rbm = self._machine(pick_device(self.device))
        return self._mean_over_missing(rbm, X, rbm.hidden_probs).astype(X.dtype, copy=False)

    def inverse_transform(self, H: Any) -> Array:
        """Return E[v | h] for hidden units H (N, n_components), in the units of the data: (N,
        D).
        """
        check_is_fitted(self)
        rbm = self._machine()
        hidden = shared.tensor(np.asarray(H, dtype=self.components_.dtype))
        return ranges.from_range(self, rbm.visible_probs(hidden).numpy())

    def score_samples(self, X: Any) -> Array:
        """Return the pseudo-log-likelihood of each case of X (N, D), nats: (N,).

        It is the exact sum over units of log p(v_i | all others), the expectation of what
        scikit-learn draws one unit a case of; so the same case always has the same score. With
        `scale="auto"`, values outside the range of the data that came to `fit` are clipped to it
        first, so it does not tell such cases from those at its ends.
        """
        check_is_fitted(self)
        X = shared.check_cases(self, X, reset=False, sparse=True)
        rbm = self._machine(pick_device(self.device))
        return self._mean_over_missing(
            rbm, X, lambda visible: pseudo_log_likelihood(rbm, visible, checked=True)
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean pseudo-log-likelihood of X (N, D), nats a case: what a grid search
        compares.
        """
        return float(self.score_samples(X).mean())

    def log_likelihood(self, X: Any, *, random_state: Any = None) -> Array:
        """Return log p(v) of each case of X (N, D), binary, nats: (N,).

        log Z is exact where one side has at most 20 units, and estimated by annealed importance
        sampling from the base rates of X where both are larger; `random_state` is the seed of that.
        """
        check_is_fitted(self)
        X = shared.check_cases(self, X, reset=False, sparse=True)
        rbm = self._machine(pick_device(self.device))
        rng = shared.fresh_rng(shared.random_source(random_state), rbm.weight.device)
        cases = self._cases(X, rbm, rng)[0][:]
        arrays.require_binary(cases)
        estimate = likelihood.log_partition(rbm, cases, rng=rng)
        log_z = estimate.forward.log_z if estimate.exact is None else estimate.exact
        log_p: Array = (-rbm.free_energy(cases) - log_z).cpu().numpy()
        return log_p

    def gibbs(self, v: Any) -> Array:
        """Return visible states one Gibbs step on from v (N, D), as booleans (N, D)."""
        check_is_fitted(self)
        rbm = self._machine()
        visible = torch.from_numpy(np.asarray(shared.dense(v), dtype=self.components_.dtype))
        rng = shared.fresh_rng(self.random_state_)
        hidden = rbm.sample_hidden(visible, rng)
        return gibbs.gibbs_step(rbm, hidden, rng).visible.numpy().astype(bool)

    def sample(
        self, n_samples: int = 1, *, random_state: Any = None, n_gibbs_steps: int = 1000
    ) -> Array:
        """Return `n_samples` visible states (n_samples, D) after `n_gibbs_steps` Gibbs steps from
        random hidden states.

        They are 0 or 1, mapped back to the units of the data where `scale="auto"` had mapped these.
        """
        check_is_fitted(self)
        rbm, rng = self._machine(), shared.fresh_rng(shared.random_source(random_state))
        chains = gibbs.run(rbm, gibbs.random_hidden(rbm, n_samples, rng), n_gibbs_steps, rng)
        return ranges.from_range(self, chains.visible.numpy())

    def impute(
        self,
        X: Any,
        *,
        how: Literal["sample", "mean"] = "sample",
        random_state: Any = None,
        n_gibbs_steps: int = 100,
    ) -> Array:
        """Return X (N, D) with NaN filled in from the model given the known values of each case.

        Args:
            X: cases (N, D), NaN where a value is missing.
            how: "sample", a state of the unit (its lowest or highest value), or "mean", its
                expectation, averaged over the second half of the steps.
            random_state: seed of the chains.
            n_gibbs_steps: Gibbs steps with the known units clamped.
        """
        check_is_fitted(self)
        shared.check_choice("how", how, ("sample", "mean"))
        X = shared.check_dense(self, X)
        rbm, rng = self._machine(), shared.fresh_rng(shared.random_source(random_state))
        cases = torch.tensor(ranges.to_range(self, X), dtype=rbm.weight.dtype)
        filled = missing.impute(
            rbm, cases, rng, steps=n_gibbs_steps, mean=how == "mean", checked=True
        )
        return np.where(np.isnan(X), ranges.from_range(self, filled.numpy()), X)

    def _config(self) -> CDConfig:
        """Return the settings of the learning loop."""
        return shared.settings(
            CDConfig,
            shared.PRETRAINING,
            epochs=self.n_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            final_learning_rate=self.learning_rate
            if self.final_learning_rate is None
            else self.final_learning_rate,
            momentum=self.momentum,
            initial_momentum=self.momentum,
            weight_decay=self.weight_decay,
            gibbs_steps=self.n_gibbs_steps,
            persistent=self.persistent,
            sparsity_target=self.sparsity_target,
            sparsity_cost=self.sparsity_cost,
        )

    def _begin(self, X: Array, source: np.random.RandomState) -> None:
        """Start afresh for cases like X: weights N(0, 0.01^2), biases at zero, no chains yet; all
        in the type of X.
        """
        require(
            isinstance(self.n_components, Integral) and self.n_components >= 1,
            f"n_components = {self.n_components}: expected 1 or more",
        )
        shared.check_choice("missing", self.missing, ("error", "sample"))
        ranges.settle_range(self, X)
        self._range = None
        self.components_ = source.normal(0, 0.01, (self.n_components, X.shape[1])).astype(X.dtype)
        self.intercept_hidden_ = np.zeros(self.n_components, dtype=X.dtype)
        self.intercept_visible_ = np.zeros(X.shape[1], dtype=X.dtype)
        self._state: dict[str, Array] = {}
        self.n_iter_ = 0
        self.random_state_ = source

    def _check_goes_on(self) -> None:
        """Refuse to go on with a machine of another size than `n_components` says.

        Raises:
            ConfigError: n_components was changed since the machine was made.
        """
        units = self.components_.shape[0]
        require(
            self.n_components == units,
            f"n_components = {self.n_components}, and the machine that warm_start or partial_fit "
            f"would go on with has {units} hidden units: set it back, or fit a new one "
            "(warm_start=False)",
        )

    def _learn(
        self, X: Array, sample_weight: Any, config: CDConfig, source: np.random.RandomState
    ) -> None:
        """Let the core's loop go `config.epochs` over X."""
        taking_part, weights = shared.check_weights(sample_weight, X)
        device = pick_device(self.device)
        rng, rbm = shared.fresh_rng(source, device), self._machine(device)
        cases, known = self._cases(shared.take(X, taking_part), rbm, rng)
        dtype = rbm.weight.dtype
        if self.precision != "float32":
            dtype = pick_precision(self.precision, device)
        state = cd.init_state(low_precision_copy(rbm, dtype), config, rng)
        persistence.restore(state, self._state)
        epochs = cd.epochs(
            rbm,
            cases,
            config=config,
            rng=rng,
            weights=weights,
            state=state,
            dtype=dtype,
            checked=True,
        )
        for record in shared.watch(epochs, config.epochs, self.verbose, type(self).__name__):
            state = record.state
            if known is not None and isinstance(cases, Tensor):
                missing.refill(rbm, cases, known, rng)
        self.n_iter_ += config.epochs
        self._keep(rbm, state)

    def _keep(self, rbm: RBM, state: CDState) -> None:
        """Store the machine, and of the loop's state what a later call goes on with."""
        self.components_ = rbm.weight.detach().cpu().numpy().T
        self.intercept_hidden_ = rbm.hidden_bias.detach().cpu().numpy()
        self.intercept_visible_ = rbm.visible_bias.detach().cpu().numpy()
        names = ["chains", "activity", *(["velocity"] if self.momentum else [])]
        self._state = persistence.lasting(state, names, rbm.weight.dtype)
        if self.persistent:
            self.h_samples_ = self._state["chains"]

    def _machine(self, device: torch.device | str = "cpu") -> RBM:
        """Return the core's machine; on the CPU it stands on this estimator's own arrays."""
        stored = (self.components_.T, self.intercept_visible_, self.intercept_hidden_)
        parameters = [shared.parameter(array, device) for array in stored]
        return RBM.sharing(
            Bernoulli(stored[0].shape[0]), Bernoulli(stored[0].shape[1]), *parameters
        )

    def _cases(
        self, X: Array, rbm: RBM, rng: torch.Generator
    ) -> tuple[Tensor | arrays.Rows, Tensor | None]:
        """Return X in range and on the device, and what of it is known, None where all is."""
        dtype, device = rbm.weight.dtype, rbm.weight.device
        X = ranges.to_range(self, X)
        if sp.issparse(X) and shared.has_missing(X):
            X = shared.dense(X)
        if sp.issparse(X):
            return shared.SparseRows(X, dtype, device), None
        if self.missing == "error" or not bool(np.isnan(X).any()):
            return shared.tensor(X, device).to(dtype), None
        cases = torch.tensor(X, dtype=dtype, device=device)
        return cases, missing.init_missing(cases, rng)

    def _mean_over_missing(self, rbm: RBM, X: Array, function: Callable[[Tensor], Tensor]) -> Array:
        """Return `function` of the cases X, a chunk at a time, averaged over draws of the missing
        values.
        """

        def seeded() -> torch.Generator:
            return shared.fresh_rng(np.random.RandomState(0), rbm.weight.device)

        def whole(part: Any) -> Tensor:
            return function(self._cases(part, rbm, seeded())[0][:])

        def filled(case: Any) -> Tensor:
            rng = seeded()
            cases, known = self._cases(case, rbm, rng)
            assert known is not None
            draws = missing.draws(rbm, cases[:], known, rng)
            return torch.stack([function(filling) for filling in draws]).mean(0)

        return shared.apart(X, whole, filled).cpu().numpy()

    def __sklearn_tags__(self) -> Any:
        """Say that sparse cases are welcome, and NaN where they are to be drawn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing == "sample"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _nets(self) -> tuple[DBN, None]:
        """Return what a model file holds: a net of one layer."""
        check_is_fitted(self)
        rbm = self._machine()
        return persistence.one_layer(rbm.weight, rbm.visible_bias, rbm.hidden_bias), None

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        """Take over what a model file held, in its own precision."""
        self.components_ = tensors["dbn/memory.weight"].numpy().T
        self.intercept_visible_ = tensors["dbn/memory.visible_bias"].numpy()
        self.intercept_hidden_ = tensors["dbn/memory.hidden_bias"].numpy()
        self._state, self._range = {}, None
        self.random_state_ = shared.random_source(self.random_state)

    def _recognition_layers(self) -> list[nn.Module]:
        rbm = self._machine()
        return [Affine(rbm.weight, rbm.hidden_bias), nn.Sigmoid()]

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])
