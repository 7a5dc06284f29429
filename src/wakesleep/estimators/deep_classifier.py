"""The deep Boltzmann machine as a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.compute.select import pick_device, pick_precision
from wakesleep.estimators import persistence, ranges, shared
from wakesleep.estimators.class_labels import check_labelled, encode
from wakesleep.estimators.shared import Array
from wakesleep.learning import backprop, deep_boltzmann
from wakesleep.learning.configs import CDConfig, DBMConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.models.dbm import DBM
from wakesleep.runs import checkpoint, scores
from wakesleep.samplers import deep
from wakesleep.sources.arrays import UNLABELLED

OF_MACHINE = {
    "epochs": "n_iter",
    "gibbs_steps": "n_gibbs_steps",
}
OF_PRETRAINING = {"epochs": "pretrain_n_iter", "learning_rate": "pretrain_learning_rate"}
OF_NET = {"epochs": "fine_tune_n_iter", "learning_rate": "fine_tune_learning_rate"}
"""The parameters of fields of settings where the two differ."""


class DBMClassifier(ClassifierMixin, persistence.Saved, BaseEstimator):
    """A deep Boltzmann machine that learns to generate the cases with their classes, and a net that
    goes on from its mean field to tell the classes.

    Every layer is joined to the one below and the one above. p(class | case) is that of the mean
    field, in which the class is one of the hidden units, or, fine-tuned, of a feed-forward net
    whose first layer takes the case and the means of the even hidden layers. The machine is
    pretrained a pair of layers at a time, then learns centred. Source: Salakhutdinov & Hinton
    (2009); Montavon & Muller (2012).

    Args:
        hidden_layer_sizes: units of each hidden layer, at least two, from the visible units up.
        fine_tune: "backprop", from the machine's weights; None: the machine alone.
        fine_tune_n_iter: epochs of fine-tuning.
        fine_tune_learning_rate: rate of fine-tuning in the first epoch.
        unlabeled: the value of y that marks a case whose class nobody knows, as in `DBNClassifier`:
            its class is one more hidden unit. None: every value is a class.
        pretrain_n_iter: epochs of each pair of layers before; 0: none.
        pretrain_learning_rate: rate of pretraining.
        n_iter: epochs of the machine.
        batch_size: cases in a minibatch, and persistent chains.
        learning_rate: rate of the machine in the first epoch.
        final_learning_rate: rate in the last epoch, reached in a straight line.
        weight_decay: L2 penalty on the machine's weights.
        n_gibbs_steps: Gibbs steps of the chains between two updates.
        mean_field_steps: steps of mean field a minibatch.
        missing: "error" refuses NaN; "sample" takes missing values for unknown states of visible
            units: drawn from the bottom pair while it is pretrained, then hidden units of mean
            field, in learning and in predictions.
        scale: "auto" maps columns to [0, 1] as `DBNClassifier` does, if any value lies outside;
            "warn" uses values as they are and says so; None refuses them.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:0".
        precision: of matrix products while the machine learns: "float32", "bfloat16", or "auto".
        verbose: 1 shows a progress bar, 2 adds a line an epoch.
        random_state: seed, RandomState or None.

    Attributes:
        dbm_: the machine, a `wakesleep.DBM`.
        net_: the fine-tuned feed-forward net, a `torch.nn.Sequential`.
        classes_: the classes, in the order of the columns of `predict_proba`.
        n_iter_: epochs of the machine that were done.
        n_features_in_: D, and `feature_names_in_` where X had names.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> net = DBMClassifier((20, 20), n_iter=30, learning_rate=0.1, random_state=0).fit(X / 16, y)
    >>> bool(net.score(X / 16, y) > 0.95), net.sample(3, label=1, n_gibbs_steps=10).shape
    (True, (3, 64))
    """

    classes_: Array
    net_: nn.Sequential

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (200, 200),
        *,
        fine_tune: Literal["backprop"] | None = "backprop",
        fine_tune_n_iter: int = 20,
        fine_tune_learning_rate: float = 0.1,
        unlabeled: Any = None,
        pretrain_n_iter: int = 30,
        pretrain_learning_rate: float = 0.05,
        n_iter: int = 20,
        batch_size: int = 20,
        learning_rate: float = 0.01,
        final_learning_rate: float = 0.0003,
        weight_decay: float = 0.0003,
        n_gibbs_steps: int = 1,
        mean_field_steps: int = 5,
        missing: Literal["error", "sample"] = "error",
        scale: Literal["auto", "warn"] | None = "auto",
        device: str = "auto",
        precision: str = "float32",
        verbose: bool | int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.fine_tune = fine_tune
        self.fine_tune_n_iter = fine_tune_n_iter
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.unlabeled = unlabeled
        self.pretrain_n_iter = pretrain_n_iter
        self.pretrain_learning_rate = pretrain_learning_rate
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.weight_decay = weight_decay
        self.n_gibbs_steps = n_gibbs_steps
        self.mean_field_steps = mean_field_steps
        self.missing = missing
        self.scale = scale
        self.device = device
        self.precision = precision
        self.verbose = verbose
        self.random_state = random_state

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBMClassifier:
        """Learn to generate the cases X (N, D) with their classes y (N,), then fine-tune;
        `sample_weight` (N,) says how often each is shown.

        Raises:
            DataError: values out of range, NaN that `missing` does not allow, a single class (each
                with its fix). ConfigError: parameters that cannot work.
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        shared.check_choice("missing", self.missing, ("error", "sample"))
        source = shared.random_source(self.random_state)
        X, y = check_labelled(self, X, y, reset=True)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, y = shared.take(X, taking_part), y[taking_part]
        numbers, self.classes_ = encode(y, self.unlabeled)
        ranges.settle_range(self, X)
        cases, labels = self._cases(X), torch.from_numpy(numbers).to(self._device)
        rng = shared.fresh_rng(source, self._device)
        sizes = (cases.shape[1], *self.hidden_layer_sizes)
        self.dbm_ = DBM(sizes, labels=len(self.classes_), rng=rng)
        self._pretrain(cases, labels, weights, rng)
        config = self._config()
        records = deep_boltzmann.epochs(
            self.dbm_,
            cases,
            labels,
            config=config,
            rng=rng,
            weights=weights,
            dtype=pick_precision(self.precision, self._device),
        )
        name = type(self).__name__
        for record in shared.watch(records, config.epochs, int(self.verbose), name):
            self.n_iter_ = record.epoch
        self.n_iter_ = config.epochs
        self._fine_tune(cases, labels, weights, rng)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each case of X (N, D): (N,)."""
        probs = self.predict_proba(X)
        return self.classes_[probs.argmax(1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Return p(class | case) for X (N, D), (N, classes), in the order of `classes_`."""
        with np.errstate(under="ignore"):
            return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return log p(class | case) for X (N, D), (N, classes), nats."""
        check_is_fitted(self)
        X = shared.check_cases(self, X, reset=False, sparse=True)
        log_probs = scores.log_probs(self.dbm_, getattr(self, "net_", None), self._cases(X))
        # float32 adds up to 1 to six digits only
        return torch.log_softmax(log_probs.double(), 1).cpu().numpy()

    def sample(
        self,
        n_samples: int = 1,
        *,
        label: Any = None,
        random_state: Any = None,
        n_gibbs_steps: int = 1000,
    ) -> Array:
        """Return what the machine dreams, E[v | h] after `n_gibbs_steps` Gibbs steps from random
        states, in the units of the data, (n_samples, D): with `label`, a class, held, or free.

        Raises:
            DataError: a label that is no class of this machine.
        """
        check_is_fitted(self)
        rng = shared.fresh_rng(shared.random_source(random_state), self._device)
        if label is None:
            cases = deep.dream(self.dbm_, count=n_samples, steps=n_gibbs_steps, rng=rng)
        else:
            numbers, _ = encode(np.full(n_samples, label), self.unlabeled, self.classes_)
            labels = torch.from_numpy(numbers).to(self._device)
            cases = deep.dream(self.dbm_, labels, steps=n_gibbs_steps, rng=rng)
        return ranges.from_range(self, cases.cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return pick_device(self.device)

    def _cases(self, X: Any) -> Tensor:
        """Return cases in range, (N, D), float32."""
        return shared.tensor(
            np.asarray(ranges.to_range(self, shared.dense(X)), dtype=np.float32), self._device
        )

    def _config(self) -> DBMConfig:
        """Return the settings of the machine."""
        return shared.settings(
            DBMConfig,
            OF_MACHINE,
            epochs=self.n_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            weight_decay=self.weight_decay,
            momentum=0.0,
            initial_momentum=0.0,
            gibbs_steps=self.n_gibbs_steps,
            mean_field_steps=self.mean_field_steps,
            centred=True,
        )

    def _pretrain(
        self, cases: Tensor, labels: Tensor, weights: Tensor | None, rng: torch.Generator
    ) -> None:
        """Give the machine its start: pairs of layers in turn, or the base rates alone."""
        if not self.pretrain_n_iter:
            deep_boltzmann.init_visible_bias(self.dbm_, cases)
            return
        config = shared.settings(
            CDConfig,
            OF_PRETRAINING,
            epochs=self.pretrain_n_iter,
            batch_size=self.batch_size,
            learning_rate=self.pretrain_learning_rate,
            centred=True,
        )
        for _ in deep_boltzmann.pretrain(
            self.dbm_, cases, labels, config=config, rng=rng, weights=weights
        ):
            pass

    def _fine_tune(
        self, cases: Tensor, labels: Tensor, weights: Tensor | None, rng: torch.Generator
    ) -> None:
        """Let a net go on from the mean field of the labelled cases, where that is asked for."""
        if self.fine_tune is None:
            if hasattr(self, "net_"):
                del self.net_
            return
        known = labels != UNLABELLED
        self.net_ = deep_boltzmann.classifier(self.dbm_, rng=rng)
        config = shared.settings(
            BackpropConfig,
            OF_NET,
            epochs=self.fine_tune_n_iter,
            batch_size=self.batch_size,
            learning_rate=self.fine_tune_learning_rate,
            sample_pixels=False,
        )
        records = backprop.epochs(
            self.net_,
            deep_boltzmann.features(self.dbm_, cases[known]),
            labels[known],
            config=config,
            rng=rng,
            weights=None if weights is None else weights[known.cpu()],
        )
        for _ in shared.watch(records, config.epochs, int(self.verbose), type(self).__name__):
            pass

    def _nets(self) -> tuple[DBM, nn.Sequential | None]:
        """Return what a model file holds."""
        check_is_fitted(self)
        return self.dbm_, getattr(self, "net_", None)

    def _set_nets(self, model: checkpoint.DeepModel, tensors: dict[str, Tensor]) -> None:
        """Take over what a model file held."""
        self.dbm_ = model.dbm.to(self._device)
        if model.net is not None:
            self.net_ = model.net.to(self._device)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with nets as numpy arrays, which load on any device."""
        state = super().__getstate__()
        return {name: persistence.to_plain(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: persistence.from_plain(value) for name, value in state.items()})

    def __sklearn_tags__(self) -> Any:
        """Say that sparse cases are welcome, and NaN where they are hidden units."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "sample"
        tags.input_tags.sparse = True
        return tags
