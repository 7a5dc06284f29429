"""Deep belief nets that first learn to generate and then to tell: a classifier and a regressor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep import checkpoint
from wakesleep.estimators import shared
from wakesleep.estimators.dbn import DEFAULTS, LAYER, DBNEstimator
from wakesleep.estimators.export import Affine, LabelProbs
from wakesleep.estimators.shared import Array
from wakesleep.foundation.cases import UNLABELLED
from wakesleep.foundation.errors import DataError
from wakesleep.judging import classify
from wakesleep.learning import backprop, hybrid, up_down
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.records import Pass, State, require
from wakesleep.model.dbn import DBN
from wakesleep.sampling import dreams


class TunedEstimator(DBNEstimator):
    """What classifier and regressor share: parameters of fine-tuning, a part held out to stop early, and the loop that heeds it."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = DEFAULTS.hidden,
        *,
        fine_tune: Literal["backprop", "updown", "hybrid"] | None = "backprop",
        fine_tune_n_iter: int | None = None,
        fine_tune_learning_rate: float | None = None,
        sample_visible: bool = DEFAULTS.backprop.sample_pixels,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        **pretraining: Any,
    ) -> None:
        super().__init__(hidden_layer_sizes, **pretraining)
        self.fine_tune = fine_tune
        self.fine_tune_n_iter = fine_tune_n_iter
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.sample_visible = sample_visible
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        for name in ("net_", "validation_scores_", "best_validation_score_"):
            if hasattr(self, name):
                delattr(self, name)
        self._tuned: State | None = None

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        super()._set_nets(model, tensors)
        self._tuned = None

    def _tuning(self, config: Any, once: bool) -> Any:
        """Return a loop's settings with what this estimator says of them; `once`: one pass at the first rate."""
        given = {"passes": self.fine_tune_n_iter, "learning_rate": self.fine_tune_learning_rate, "batch_size": self.batch_size}
        config = replace(config, **{name: value for name, value in given.items() if value is not None})
        return replace(config, passes=1) if once else config

    def _backprop_config(self, once: bool) -> BackpropConfig:
        """Return the settings of backpropagation."""
        return self._tuning(replace(DEFAULTS.backprop, sample_pixels=self.sample_visible), once)  # type: ignore[no-any-return]

    def _backprop(
        self,
        net: nn.Sequential,
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        *,
        score: Callable[[], float] | None = None,
        once: bool = False,
    ) -> None:
        """Let the core's backpropagation move `net`; `once`: one pass over a chunk, and the momentum lives on."""
        config = self._backprop_config(once)
        config = config if net is self.net_ else replace(config, sample_pixels=False)  # features are no pixels
        images = images.clamp(0, 1) if config.sample_pixels else images
        state = {**self._tuned, "epoch": 0} if once and self._tuned else None
        passes = backprop.epochs(net, images, targets, config=config, rng=rng, weights=weights, state=state, dtype=self._dtype())
        self._tune(net, passes, config.passes, score)

    def _tune(self, module: nn.Module, passes: Iterator[Pass], total: int, score: Callable[[], float] | None) -> None:
        """Exhaust a loop that moves `module`; with a `score` of held-out cases, keep the best pass and stop when it is long gone."""
        best: dict[str, Tensor] = {}
        self.validation_scores_: list[float] = []
        for number, record in enumerate(self._watch(passes, total)):
            self._tuned = record.state
            if score is None:
                continue
            self.validation_scores_.append(score())
            if self.validation_scores_[-1] == max(self.validation_scores_) and self.validation_scores_.count(max(self.validation_scores_)) == 1:
                best, best_number = deepcopy(module.state_dict()), number
            elif number - best_number >= self.n_iter_no_change:
                break
        if best:
            module.load_state_dict(best)
            self.best_validation_score_ = max(self.validation_scores_)

    def _held_out(self, cases: Array, stratify: Array | None, source: np.random.RandomState) -> Array:
        """Return which of `cases` (row numbers) are held out to stop early; none where that is not asked for.

        Raises:
            DataError: too few cases to hold any out.
        """
        if not self.early_stopping:
            return cases[:0]
        require(0 < self.validation_fraction < 1, f"validation_fraction = {self.validation_fraction}: expected a part in (0, 1)")
        require(self.n_iter_no_change >= 1, f"n_iter_no_change = {self.n_iter_no_change}: expected 1 or more")
        try:
            held_out = train_test_split(cases, test_size=self.validation_fraction, stratify=stratify, random_state=source)[1]
        except ValueError as error:
            raise DataError(f"early_stopping cannot hold out {self.validation_fraction:g} of {len(cases)} cases: {error}") from error
        return np.sort(held_out)

    def _net_layers(self) -> list[nn.Module]:
        """Return the feed-forward net as modules to export."""
        return [Affine(layer.weight.t(), layer.bias) if isinstance(layer, nn.Linear) else nn.Sigmoid() for layer in self.net_]


class DBNClassifier(ClassifierMixin, TunedEstimator):
    """TODO."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = DEFAULTS.hidden,
        *,
        fine_tune: Literal["backprop", "updown", "hybrid"] | None = "backprop",
        fine_tune_n_iter: int | None = None,
        fine_tune_learning_rate: float | None = None,
        sample_visible: bool = DEFAULTS.backprop.sample_pixels,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        unlabeled: Any = None,
        n_iter: int = LAYER.passes,
        batch_size: int = LAYER.batch_size,
        learning_rate: float = LAYER.learning_rate,
        final_learning_rate: float = LAYER.final_learning_rate,
        momentum: float = LAYER.momentum,
        weight_decay: float = LAYER.weight_decay,
        n_gibbs_steps: int = LAYER.gibbs_steps,
        persistent: bool = LAYER.persistent,
        sparsity_target: float = LAYER.sparsity_target,
        sparsity_cost: float = LAYER.sparsity_cost,
        scale: Literal["auto", "warn"] | None = "auto",
        missing: Literal["error", "sample"] = "error",
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            fine_tune=fine_tune,
            fine_tune_n_iter=fine_tune_n_iter,
            fine_tune_learning_rate=fine_tune_learning_rate,
            sample_visible=sample_visible,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_iter=n_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            final_learning_rate=final_learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            n_gibbs_steps=n_gibbs_steps,
            persistent=persistent,
            sparsity_target=sparsity_target,
            sparsity_cost=sparsity_cost,
            scale=scale,
            missing=missing,
            warm_start=warm_start,
            device=device,
            precision=precision,
            verbose=verbose,
            random_state=random_state,
        )
        self.unlabeled = unlabeled

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNClassifier:
        """Learn to generate the cases X (N, D) with their classes y (N,), then fine-tune; `sample_weight` (N,) says how often each is shown.

        Raises:
            DataError: values out of range, NaN, a single class (each with its cure). ConfigError: parameters that cannot work.
        """
        self._check_method()
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X, y = shared.check_cases(self, X, y, reset=not goes_on)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, labels = X[taking_part], self._encode(y[taking_part], self.classes_ if goes_on else None)
        labelled = np.flatnonzero(labels != UNLABELLED)
        held_out = self._held_out(labelled, labels[labelled], source)
        learned = np.setdiff1d(np.arange(len(labels)), held_out)
        if not goes_on:
            self._begin(X[learned], len(self.classes_), source)
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(X[learned], rng)
        targets = torch.from_numpy(labels[learned]).to(self._device)
        weights = None if weights is None else weights[learned]
        if not goes_on:
            self._pretrain(images, known, targets, weights, rng)
        elif self.fine_tune is None:
            for _ in range(self.n_iter):
                self._pass_over_chunk(images, known, targets, weights, rng)
        self._fine_tune(images, targets, weights, rng, self._accuracy(X[held_out], labels[held_out]))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> DBNClassifier:
        """Learn from a chunk X (N, D), y (N,) of a larger set; the first call names all `classes`.

        A new estimator learns to generate: each layer gets one pass, and classes are told by the memory's label free energies, whatever
        `fine_tune` says, for a net can be fine-tuned only once it is pretrained. After `fit`, a call is one pass of its last stage.
        """
        self._check_method()
        first = not shared.is_fitted(self)
        if first and classes is None:
            raise DataError("the first call of partial_fit needs `classes`, all that will ever come, e.g. classes=np.unique(y)")
        X, y = shared.check_cases(self, X, y, reset=first)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, labels = X[taking_part], self._encode(y[taking_part], np.unique(classes) if first else self.classes_)
        if first:
            self._begin(X, len(self.classes_), shared.random_source(self.random_state))
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(X, rng)
        targets = torch.from_numpy(labels).to(self._device)
        if hasattr(self, "net_") or not self.dbn_.tied:
            self._fine_tune(images, targets, weights, rng, None, once=True)
        else:
            self._pass_over_chunk(images, known, targets, weights, rng)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each case of X (N, D): (N,)."""
        probs = self.predict_proba(X)
        return self.classes_[probs.argmax(1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Return p(class | case) for X (N, D), (N, classes), in the order of `classes_`; averaged over draws of missing values."""
        check_is_fitted(self)
        return self._average(X, lambda dbn, net, images: _log_probs(dbn, net, images).double().exp())

    def predict_log_proba(self, X: Any) -> Array:
        """Return log p(class | case) for X (N, D), (N, classes), nats."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def sample(self, n_samples: int = 1, *, label: Any = None, random_state: Any = None, n_gibbs_steps: int = 1000) -> Array:
        """Return what the net dreams, (n_samples, D), with `label` clamped: one class for all, or one a sample; free without.

        Values are the visible units' probabilities after `n_gibbs_steps` Gibbs steps, in the units of the data.

        Raises:
            DataError: a label that is no class of this net.
        """
        check_is_fitted(self)
        if label is None:
            return super().sample(n_samples, random_state=random_state, n_gibbs_steps=n_gibbs_steps)
        wanted = np.full(n_samples, label) if np.ndim(label) == 0 else np.asarray(label)
        labels = torch.from_numpy(self._encode(wanted, self.classes_)).to(self._device)
        rng = shared.fresh_rng(shared.random_source(random_state), self._device)
        return shared.from_range(self, dreams.dream(self.dbn_, rng=rng, labels=labels, steps=n_gibbs_steps).pixels.cpu().numpy())

    def _check_method(self) -> None:
        """Refuse ways to fine-tune that are not there."""
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", "updown", "hybrid", None))

    def _encode(self, y: Array, classes: Array | None) -> Array:
        """Return classes as numbers (N,), UNLABELLED where y says so; they are those of y unless given.

        Raises:
            DataError: a single class, or a class that is none of `classes`.
        """
        labels = np.full(len(y), UNLABELLED, dtype=np.int64)
        labelled = np.ones(len(y), dtype=bool) if self.unlabeled is None else np.asarray(y != self.unlabeled)
        check_classification_targets(y[labelled])
        self.classes_ = np.unique(y[labelled]) if classes is None else classes
        if len(self.classes_) < 2:
            raise DataError(f"y holds {len(self.classes_)} class(es) ({self.classes_.tolist()}); expected at least 2 classes to tell apart")
        unknown = ~np.isin(y[labelled], self.classes_)
        if unknown.any():
            raise DataError(f"{np.unique(y[labelled][unknown])[:5].tolist()} came as classes; this net knows {self.classes_.tolist()}")
        labels[labelled] = np.searchsorted(self.classes_, y[labelled])
        return labels

    def _fine_tune(
        self,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        score: Callable[[], float] | None,
        once: bool = False,
    ) -> None:
        """Hand the pretrained net to the way of fine-tuning that was asked for."""
        if self.fine_tune == "updown":
            config = self._tuning(DEFAULTS.updown, once)
            passes = up_down.epochs(self.dbn_, images, labels, config=config, rng=rng, weights=weights, dtype=self._dtype())
            self._tune(self.dbn_, passes, config.passes, score)
        elif self.fine_tune == "hybrid":
            both = replace(DEFAULTS.hybrid, updown=self._tuning(DEFAULTS.hybrid.updown, once), sample_pixels=self.sample_visible)
            passes = hybrid.epochs(self.dbn_, images, labels, config=both, rng=rng, weights=weights, dtype=self._dtype())
            self._tune(self.dbn_, passes, both.updown.passes, score)
        elif self.fine_tune == "backprop":
            if not hasattr(self, "net_"):
                self.net_ = backprop.classifier(self.dbn_, len(self.classes_), rng=rng)
            known = labels != UNLABELLED
            self._backprop(
                self.net_, images[known], labels[known], None if weights is None else weights[known.cpu()], rng, score=score, once=once
            )

    def _accuracy(self, X: Array, labels: Array) -> Callable[[], float] | None:
        """Return a function that tells the accuracy on held-out cases as the net stands, None where there are none."""
        if not len(labels):
            return None
        images, _ = self._images(X, shared.fresh_rng(np.random.RandomState(0), self._device))
        truth = torch.from_numpy(labels).to(self._device)
        return lambda: float((_log_probs(self.dbn_, getattr(self, "net_", None), images).argmax(1) == truth).float().mean())

    def _recognition_layers(self) -> list[nn.Module]:
        if hasattr(self, "net_"):
            return [*self._net_layers(), nn.Softmax(1)]
        memory, pen = self.dbn_.memory, self.dbn_.sizes[-2]
        total_input = Affine(memory.weight[:pen], memory.hidden_bias)
        return [*super()._recognition_layers()[:-2], LabelProbs(total_input, memory.weight[pen:], memory.visible_bias[pen:])]


class DBNRegressor(RegressorMixin, TunedEstimator):
    """TODO."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = DEFAULTS.hidden,
        *,
        fine_tune: Literal["backprop"] | None = "backprop",
        fine_tune_n_iter: int | None = None,
        fine_tune_learning_rate: float | None = None,
        sample_visible: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_iter: int = LAYER.passes,
        batch_size: int = LAYER.batch_size,
        learning_rate: float = LAYER.learning_rate,
        final_learning_rate: float = LAYER.final_learning_rate,
        momentum: float = LAYER.momentum,
        weight_decay: float = LAYER.weight_decay,
        n_gibbs_steps: int = LAYER.gibbs_steps,
        persistent: bool = LAYER.persistent,
        sparsity_target: float = LAYER.sparsity_target,
        sparsity_cost: float = LAYER.sparsity_cost,
        scale: Literal["auto", "warn"] | None = "auto",
        missing: Literal["error", "sample"] = "error",
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            fine_tune=fine_tune,
            fine_tune_n_iter=fine_tune_n_iter,
            fine_tune_learning_rate=fine_tune_learning_rate,
            sample_visible=sample_visible,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_iter=n_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            final_learning_rate=final_learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            n_gibbs_steps=n_gibbs_steps,
            persistent=persistent,
            sparsity_target=sparsity_target,
            sparsity_cost=sparsity_cost,
            scale=scale,
            missing=missing,
            warm_start=warm_start,
            device=device,
            precision=precision,
            verbose=verbose,
            random_state=random_state,
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNRegressor:
        """Learn to generate the cases X (N, D), then to predict y (N,) or (N, outputs), which is standardised inside.

        Raises:
            DataError: values out of range or NaN (each with its cure). ConfigError: parameters that cannot work.
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X, y = shared.check_cases(self, X, y, reset=not goes_on, numeric=True)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, y = X[taking_part], y[taking_part]
        held_out = self._held_out(np.arange(len(y)), None, source)
        learned = np.setdiff1d(np.arange(len(y)), held_out)
        if not goes_on:
            self._begin(X[learned], 0, source)
            self._begin_targets(y[learned])
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(X[learned], rng)
        targets = self._targets(y[learned])
        weights = None if weights is None else weights[learned]
        if not goes_on:
            self._pretrain(images, known, None, weights, rng)
            self.net_ = backprop.classifier(self.dbn_, targets.shape[1], rng=rng, start="small")
        score = self._minus_squared_error(X[held_out], y[held_out])
        if self.fine_tune is None:
            self._learn_readout(images, targets, weights, rng, score=score)
        else:
            self._backprop(self.net_, images, targets, weights, rng, score=score)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNRegressor:
        """Learn from a chunk X (N, D), y (N,) or (N, outputs) of a larger set; y is standardised as the first chunk's.

        A new estimator gives each layer one pass and then, features as they are, the linear readout one. After `fit`, a call is one pass
        of backpropagation through the whole net (of the readout, with `fine_tune=None`).
        """
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", None))
        first = not shared.is_fitted(self)
        X, y = shared.check_cases(self, X, y, reset=first, numeric=True)
        taking_part, weights = shared.check_weights(sample_weight, X)
        X, y = X[taking_part], y[taking_part]
        if first:
            self._begin(X, 0, shared.random_source(self.random_state))
            self._begin_targets(y)
            self._streams = True
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(X, rng)
        targets = self._targets(y)
        if self._streams:
            self._pass_over_chunk(images, known, None, weights, rng)
            fresh = backprop.classifier(self.dbn_, targets.shape[1], rng=rng, start="small")
            self.net_ = fresh if first else nn.Sequential(*list(fresh)[:-1], self.net_[-1])
        if self._streams or self.fine_tune is None:
            self._learn_readout(images, targets, weights, rng, once=True)
        else:
            self._backprop(self.net_, images, targets, weights, rng, once=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the prediction for each case of X (N, D), (N,) or (N, outputs); averaged over draws of missing values."""
        check_is_fitted(self)
        outputs = self._average(X, lambda dbn, net, images: _outputs(net, images)).astype(np.float64) * self.target_scale_ + self.target_mean_
        predicted: Array = outputs if self.target_columns_ else outputs[:, 0]
        return predicted

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        self._streams = False

    def _begin_targets(self, y: Array) -> None:
        """Settle how targets are standardised: by column, a constant one left at its scale."""
        self.target_columns_ = 0 if y.ndim == 1 else y.shape[1]
        columns = y.reshape(len(y), -1)
        scale = columns.std(0)
        self.target_mean_, self.target_scale_ = columns.mean(0), np.where(scale > 0, scale, 1.0)

    def _targets(self, y: Array) -> Tensor:
        """Return targets as the net learns them, (N, outputs), float32, on the device."""
        return torch.from_numpy(((y.reshape(len(y), -1) - self.target_mean_) / self.target_scale_).astype(np.float32)).to(self._device)

    def _learn_readout(self, images: Tensor, targets: Tensor, weights: Tensor | None, rng: torch.Generator, **how: Any) -> None:
        """Learn the linear readout alone, from features as the pretrained layers give them."""
        with torch.inference_mode():
            features = self.net_[:-1](images)
        self._backprop(nn.Sequential(self.net_[-1]), features.clone(), targets, weights, rng, **how)

    def _minus_squared_error(self, X: Array, y: Array) -> Callable[[], float] | None:
        """Return a function that tells minus the mean squared error on held-out cases, y standardised; None where there are none."""
        if not len(y):
            return None
        images, _ = self._images(X, shared.fresh_rng(np.random.RandomState(0), self._device))
        targets = self._targets(y)
        return lambda: -float((_outputs(self.net_, images) - targets).square().mean())

    def _recognition_layers(self) -> list[nn.Module]:
        scale, mean = (torch.from_numpy(np.atleast_1d(each)).float() for each in (self.target_scale_, self.target_mean_))
        return [*self._net_layers(), Affine(torch.diag(scale), mean)]

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _log_probs(dbn: DBN, net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return log p(class | image), (N, classes): of the fine-tuned net, or of the memory by its label free energies."""
    return torch.log_softmax(classify.memory_label_scores(dbn, dbn.up(images)[-1]) if net is None else _outputs(net, images), 1)


def _outputs(net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return the feed-forward net's outputs for images (N, D), (N, outputs)."""
    assert net is not None
    with torch.inference_mode():
        return net(images)  # type: ignore[no-any-return]
