"""The deep belief net as a classifier: it first learns to generate and then to tell."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Number
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.estimators import shared
from wakesleep.estimators.dbn import DEFAULTS
from wakesleep.estimators.export import Affine, LabelProbs
from wakesleep.estimators.shared import Array
from wakesleep.estimators.tuned import Scorer, TunedEstimator, net_outputs
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import DataError
from wakesleep.learning import backprop, greedy, hybrid, semi_supervised, spreading, up_down
from wakesleep.learning.configs import SemiSupervisedConfig, UpDownConfig, require
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams
from wakesleep.sources.arrays import UNLABELLED

PLATEAU, LEARNED = 0.8, 0.25
"""Shares of the errors that the most frequent class makes: above the first a net has not begun to
learn, below the second it has learned.
"""
MOST_UPDATES = 5000
"""Updates of backpropagation up to which a net that has not begun to learn goes on: some
seconds.
"""
MOST_PASSES = 300
"""Epochs of a memory that few labels teach, at most: with 20 labels of breast cancer 600 are no
better (90 % of validation cases right), and 30 leave it at 83 %, at times with one answer for
all.
"""
FEW_UPDATES, LEAST_FEW, MOST_FEW = 3000, 15, 100
"""Updates from few labels that a net makes once it has learned those that spread; and what that may
be in epochs.
"""


class DBNClassifier(ClassifierMixin, TunedEstimator):
    """A deep belief net that learns to generate the cases with their classes, and is then
    fine-tuned to tell the classes.

    Directed layers are pretrained one by one, classes join as a softmax group of the memory on top.
    p(class | case) is the softmax of minus the memory's free energies, exact, or what the net
    fine-tuned by backpropagation says. The generative model stays: `sample` dreams a class,
    `impute` fills in what is missing, `score_samples` says how ordinary a case is. Source: Hinton,
    Osindero & Teh (2006); Hinton (2007).

    Args:
        hidden_layer_sizes: units of each hidden layer, from the visible units up; the last one is
            the top of the memory.
        fine_tune: "backprop", from the pretrained weights; "updown", contrastive wake-sleep: a
            better generative model, also from unlabelled cases; "hybrid", both at once on the same
            weights; None, pretraining alone.
        fine_tune_n_iter: epochs of fine-tuning; None: 20 of backprop, 40 where it sees bits drawn
            anew, and 30 of updown and of hybrid.
        fine_tune_learning_rate: rate of fine-tuning in the first epoch; None: the method's own.
        sample_visible: backpropagation sees each visible unit as a binary state drawn anew with its
            value as probability, so that it overfits less; right for bits and for ink on paper,
            fatal for real numbers. "auto" does so where the draws would have no more noise than the
            values have variance.
        early_stopping: hold cases out, stop fine-tuning when neither accuracy nor likelihood on
            them gets better, let the rate fall in a few last epochs, and keep the best of all.
        validation_fraction: part of the labelled cases that is held out, from pretraining too.
        n_iter_no_change: epochs without a better score after which fine-tuning stops, and epochs in
            which the rate then falls.
        unlabeled: the value of y that marks a case whose class nobody knows, e.g. -1 as elsewhere
            in scikit-learn; directed layers learn from these cases too, and with two hidden layers
            or more the memory from labels that spread among codes, and fine-tuning from what the
            net says of them (`fine_tune_n_iter` epochs from spread labels, as many after). np.nan
            or pandas' NA: all missing values of y, None too. None: every value is a class.
        class_weight: weights of the classes, which multiply `sample_weight`: a dictionary, or
            "balanced", N / (classes x cases of the class).
        n_iter: epochs over the cases for each layer of pretraining; "auto": 30, beyond 1,500 cases
            as many as show 45,000, at least 10; a memory without layers below that is to tell the
            classes (fine_tune=None) from few labels makes as many updates as if all cases had one,
            in up to 300.
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
        classes_: the classes, in the order of the columns of `predict_proba`.
        net_: the fine-tuned feed-forward net, a `torch.nn.Sequential`, after "backprop".
        sample_visible_: whether backpropagation saw values as bits drawn anew.
        validation_scores_: accuracy on the held-out cases, one an epoch, and
            `best_validation_score_`, with early stopping; of the last epochs where backpropagation
            was repeated, as it is while a net tells classes hardly better than by the most frequent
            one.
        dbn_: the generative model, a `wakesleep.DBN`, for everything the core can do with it.
        n_iter_: epochs done in all stages.
        history_: a dictionary an epoch: stage, pass and what was measured.
        scaler_: the MinMaxScaler in use, or None.
        outlier_columns_: the numbers of the columns in which outliers were clipped.
        skewed_columns_: the numbers of the columns mapped by asinh((x - centre) / spread) before
            `scaler_`, (K,).
        skew_: their centre, the median, and their spread, the distance of the quartiles, (2, K).
        n_features_in_: D, and `feature_names_in_` where X had names.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> net = DBNClassifier((20, 30), n_iter=5, random_state=0).fit(X / 16, y)
    >>> bool(net.score(X / 16, y) > 0.95), net.sample(3, label=1, n_gibbs_steps=10).shape
    (True, (3, 64))
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (200, 300),
        *,
        fine_tune: Literal["backprop", "updown", "hybrid"] | None = "backprop",
        fine_tune_n_iter: int | None = None,
        fine_tune_learning_rate: float | None = None,
        sample_visible: bool | Literal["auto"] = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        unlabeled: Any = None,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
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
        scale: Literal["auto", "warn"] | None = "auto",
        missing: Literal["error", "sample"] = "error",
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        verbose: bool | int = 0,
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
        self.class_weight = class_weight

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DBNClassifier:
        """Learn to generate the cases X (N, D) with their classes y (N,), then fine-tune;
        `sample_weight` (N,) says how often each is shown.

        Raises:
            DataError: values out of range, NaN, a single class (each with its fix). ConfigError:
                parameters that cannot work.
        """
        self._check_method()
        source = shared.random_source(self.random_state)
        goes_on = self.warm_start and shared.is_fitted(self)
        X, y = self._check_labelled(X, y, reset=not goes_on)
        taking_part, weights = shared.check_weights(self._weigh_classes(y, sample_weight), X)
        X, labels = (
            shared.take(X, taking_part),
            self._encode(y[taking_part], self.classes_ if goes_on else None),
        )
        labelled = np.flatnonzero(labels != UNLABELLED)
        held_out = self._held_out(labelled, labels[labelled], source)
        learned = np.setdiff1d(np.arange(len(labels)), held_out)
        if goes_on:
            self._check_goes_on()
        else:
            self._begin(shared.take(X, learned), len(self.classes_), source)
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(shared.take(X, learned), rng)
        targets = torch.from_numpy(labels[learned]).to(self._device)
        weights = None if weights is None else weights[learned]
        if not goes_on:
            self._pretrain(images, known, targets, weights, rng)
        elif self.fine_tune is None:
            for _ in range(self._epochs(len(images))):
                self._epoch_over_chunk(images, known, targets, weights, rng)
        else:
            images = self._fill(images, known, rng)
        self._labels_seen = True
        self._fine_tune(
            images, targets, weights, rng, self._accuracy(X[held_out], labels[held_out])
        )
        return self

    @shared.all_or_nothing
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> DBNClassifier:
        """Learn from a chunk X (N, D), y (N,) of a larger set; the first call names all `classes`,
        `unlabeled` is none of them.

        Later calls name the same classes, or none. From a chunk without labels the directed layers
        learn. The range of the columns grows with what comes; after `fit` or `load` it stays, and a
        RangeWarning says when a chunk lies outside. A new estimator learns to generate: each layer
        gets one epoch. With `fine_tune="backprop"` a feed-forward net beside it gets one epoch of
        backpropagation, at the first rate, and tells the classes; it begins from random weights,
        or, where chunks without labels came before, from the layers as they are. Otherwise the
        memory's label free energies tell them, which learn real numbers badly. After `fit`, a call
        is one epoch of its last stage: `fit` on a first part begins a stream with a net that is
        pretrained.
        """
        self._check_method()
        first = not shared.is_fitted(self)
        if first and classes is None:
            raise DataError(
                "the first call of partial_fit needs `classes`, all that will ever come, e.g. "
                "classes=np.unique(y)"
            )
        if isinstance(self.class_weight, str):
            raise DataError(
                "class_weight = 'balanced' needs all cases at once; give partial_fit a "
                "dictionary, a weight a class"
            )
        X, y = self._check_labelled(X, y, reset=first)
        taking_part, weights = shared.check_weights(self._weigh_classes(y, sample_weight), X)
        named = self.classes_ if classes is None else self._known_classes(classes)
        if not first and not np.array_equal(named, self.classes_):
            raise DataError(
                f"classes = {named.tolist()} came, and this net learned with "
                f"{self.classes_.tolist()}: name the same, or none"
            )
        X, labels = shared.take(X, taking_part), self._encode(y[taking_part], named)
        self._begin_or_go_on(first, X, len(self.classes_))
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(X, rng)
        targets = torch.from_numpy(labels).to(self._device)
        labelled = bool((labels != UNLABELLED).any())
        self._labels_seen |= labelled
        if self.dbn_.tied and (self._streams or not hasattr(self, "net_")):
            self._epoch_over_chunk(images, known, targets, weights, rng)
        # nothing is pretrained, and weights near zero learn late
        if first and labelled and self.fine_tune == "backprop":
            self.net_ = backprop.random_classifier((*self.dbn_.sizes, len(self.classes_)), rng=rng)
        begins = self._streams and labelled and self.fine_tune == "backprop"
        if begins or hasattr(self, "net_") or not self.dbn_.tied:
            images = self._fill(images, known, rng)
            if self._streams:
                self._count_chunk(images)
            self._fine_tune(images, targets, weights, rng, None, once=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each case of X (N, D): (N,)."""
        probs = self.predict_proba(X)
        return self.classes_[probs.argmax(1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Return p(class | case) for X (N, D), (N, classes), in the order of `classes_`; averaged
        over draws of missing values.
        """
        check_is_fitted(self)
        if not self._labels_seen:
            raise NotFittedError(
                "no chunk that partial_fit was given held a label yet, so this net knows no "
                "class from another"
            )
        return self._average(
            X, lambda dbn, net, images: _log_probs(dbn, net, images).double().exp()
        )

    def predict_log_proba(self, X: Any) -> Array:
        """Return log p(class | case) for X (N, D), (N, classes), nats."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def sample(
        self,
        n_samples: int | None = None,
        *,
        label: Any = None,
        random_state: Any = None,
        n_gibbs_steps: int = 1000,
    ) -> Array:
        """Return what the net dreams, (n_samples, D), with `label` clamped: one class for all, or
        one a sample; free without.

        `n_samples` is by default the number of labels. Values are the visible units' probabilities
        after `n_gibbs_steps` Gibbs steps, in the units of the data.

        Raises:
            DataError: a label that is no class of this net, or another number of labels than 1 or
                `n_samples`.
        """
        check_is_fitted(self)
        if n_samples is None:
            n_samples = len(label) if np.ndim(label) == 1 else 1
        if label is None:
            return super().sample(n_samples, random_state=random_state, n_gibbs_steps=n_gibbs_steps)
        if np.ndim(label) > 0 and np.shape(label) != (n_samples,):
            raise DataError(
                f"label of shape {np.shape(label)} came for n_samples = {n_samples}; expected one "
                "class for all, or one a sample"
            )
        wanted = np.full(n_samples, label) if np.ndim(label) == 0 else np.asarray(label)
        labels = torch.from_numpy(self._encode(wanted, self.classes_)).to(self._device)
        rng = shared.fresh_rng(shared.random_source(random_state), self._device)
        return shared.from_range(
            self,
            dreams.dream(self.dbn_, rng=rng, labels=labels, steps=n_gibbs_steps)
            .pixels.cpu()
            .numpy(),
        )

    def _check_method(self) -> None:
        """Refuse ways to fine-tune that are not there."""
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", "updown", "hybrid", None))

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        self._labels_seen = False

    def _memory_passes(self, cases: int, labels: Tensor | None) -> int:
        """Return how many epochs the memory is pretrained for: where it is all there is and few
        cases have a class, more.

        Without a layer below, it learns from these cases alone, and gets as many updates as if the
        class of every case were known, in at most 300 epochs.
        """
        epochs = self._epochs(cases)
        if (
            self.n_iter != "auto"
            or self.fine_tune is not None
            or labels is None
            or len(self._hidden_sizes()) > 1
        ):
            return epochs
        named = int((labels != UNLABELLED).sum())
        return max(epochs, min(MOST_PASSES, epochs * cases // max(named, 1)))

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        super()._set_nets(model, tensors)
        self._labels_seen = True

    def _check_goes_on(self) -> None:
        """Refuse to go on with another net than the parameters say; a feed-forward net that
        `fine_tune` no longer asks for is dropped.

        Raises:
            ConfigError: hidden_layer_sizes were changed, or `fine_tune` to None, after wake and
                sleep phases had untied the weights.
        """
        super()._check_goes_on()
        require(
            self.fine_tune is not None or self.dbn_.tied,
            "fine_tune = None goes on with pretraining, and fine-tuning has untied the weights "
            "of this net: fit a new one (warm_start=False)",
        )
        if hasattr(self, "net_") and self.fine_tune != "backprop":
            del self.net_
            self._tuned = None

    def _weigh_classes(self, y: Array, sample_weight: Any) -> Any:
        """Return the weights of cases with labels y (N,) once those of the classes are in; a case
        without a label keeps its own.
        """
        if self.class_weight is None:
            return sample_weight
        labelled, known = self._labelled(y)
        weights = np.ones(len(y))
        weights[labelled] = compute_sample_weight(self.class_weight, known)
        return weights if sample_weight is None else weights * np.asarray(sample_weight)

    def _check_labelled(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:
        """Return checked cases X (N, D) and y (N,), None where `unlabeled` is a missing value and y
        holds one, of whichever kind.

        Raises:
            DataError: missing values in y that `unlabeled` does not allow. ConfigError: a mark that
                y cannot hold.
        """
        if y is None or not self._missing_marks():
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
            X, y = shared.check_cases(self, X, y, reset=reset, sparse=True)
            self._check_mark(y)
            return X, y
        given = np.asarray(y, dtype=object)
        missing = np.array(
            [is_missing(label) for label in given.ravel().tolist()], dtype=bool
        ).reshape(given.shape)
        known = given[~missing].tolist()
        filled = given.copy()
        filled[missing] = known[0] if known else 0
        X, filled = shared.check_cases(self, X, np.array(filled.tolist()), reset=reset, sparse=True)
        filled = filled.astype(object)
        filled[missing.ravel()] = None
        return X, filled

    def _missing_marks(self) -> bool:
        """Return whether missing values stand for classes that nobody knows; None, the default,
        says that all are known.
        """
        return self.unlabeled is not None and is_missing(self.unlabeled)

    def _check_mark(self, y: Array) -> None:
        """Raise ConfigError where `unlabeled` is a word and y (N,) holds numbers, or the other way
        round.
        """
        other_kinds = (
            "biuf"
            if isinstance(self.unlabeled, str)
            else "US"
            if isinstance(self.unlabeled, Number)
            else ""
        )
        require(
            y.dtype.kind not in other_kinds,
            f"unlabeled = {self.unlabeled!r} is a {type(self.unlabeled).__name__}; y of type "
            f"{y.dtype} cannot hold one: give it in its type",
        )

    def _labelled(self, y: Array) -> tuple[Array, Array]:
        """Return which of y (N,) are classes, (N,), and these in their own type."""
        if self.unlabeled is None:
            return np.ones(len(y), dtype=bool), y
        if not self._missing_marks():
            labelled = np.asarray(y != self.unlabeled)
            return labelled, y[labelled]
        labelled = np.array([not is_missing(label) for label in y.tolist()], dtype=bool)
        return labelled, np.array(y[labelled].tolist())

    def _known_classes(self, classes: Any) -> Array:
        """Return `classes` in order, without the mark of cases whose class nobody knows."""
        if self._missing_marks():
            return np.unique(self._labelled(np.asarray(classes, dtype=object))[1])
        named = np.unique(classes)
        self._check_mark(named)
        return self._labelled(named)[1]

    def _encode(self, y: Array, classes: Array | None) -> Array:
        """Return classes as numbers (N,), UNLABELLED where y says so; they are those of y unless
        given.

        Raises:
            DataError: a single class, or a class that is none of `classes`.
        """
        labels = np.full(len(y), UNLABELLED, dtype=np.int64)
        labelled, known = self._labelled(y)
        if labelled.any():
            check_classification_targets(known)
        self.classes_ = np.unique(known) if classes is None else classes
        if len(self.classes_) < 2:
            raise DataError(
                f"y holds {len(self.classes_)} class(es) ({self.classes_.tolist()}); expected at "
                "least 2 classes to tell apart"
            )
        unknown = ~np.isin(known, self.classes_)
        if unknown.any():
            raise DataError(
                f"{np.unique(known[unknown])[:5].tolist()} came as classes; this net knows "
                f"{self.classes_.tolist()}"
            )
        labels[labelled] = np.searchsorted(self.classes_, known)
        return labels

    def _fine_tune(
        self,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        score: Scorer | None,
        once: bool = False,
    ) -> None:
        """Hand the pretrained net to the way of fine-tuning that was asked for."""
        labelled = labels != UNLABELLED
        if self.fine_tune == "updown":
            self._tune(
                self.dbn_,
                self._wake_sleep(images, labels, weights, rng),
                self._tuning(DEFAULTS.updown, once, len(images)),
                score,
            )
        elif self.fine_tune == "hybrid":
            both = (
                self._hybrid(images, labels, weights, rng)
                if labelled.any()
                else self._wake_sleep(images, labels, weights, rng)
            )
            self._tune(
                self.dbn_, both, self._tuning(DEFAULTS.hybrid.updown, once, len(images)), score
            )
        elif self.fine_tune == "backprop":
            if not hasattr(self, "net_"):
                self.net_ = backprop.classifier(self.dbn_, len(self.classes_), rng=rng)
            if (
                not once
                and self.dbn_.depth > 1
                and bool(labelled.any())
                and not bool(labelled.all())
            ):
                self._learn_from_few(images, labels, weights, rng, score)
                return
            if not bool(labelled.all()):
                images, labels, weights = (
                    images[labelled],
                    labels[labelled],
                    None if weights is None else weights[labelled.cpu()],
                )
            if len(images):
                self._backprop(self.net_, images, labels, weights, rng, score=score, once=once)
                if not once:
                    self._insist(images, labels, weights, rng, score)

    def _learn_from_few(
        self,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        score: Scorer | None,
    ) -> None:
        """Fine-tune by backpropagation where some classes are not known: from labels that spread,
        then from what the net says itself.
        """
        found = spreading.spread_labels(
            greedy.features(self.dbn_, images, self.dbn_.depth - 1, checked=True), labels
        )
        shown = found.weights.cpu() if weights is None else found.weights.cpu() * weights
        self._backprop(self.net_, images, found.labels, shown, rng)
        self._insist(images, found.labels, shown, rng, None)
        size = self._batch(len(images))
        epochs = min(max(LEAST_FEW, -(-FEW_UPDATES * size // len(images))), MOST_FEW)
        epochs = epochs if self.fine_tune_n_iter is None else self.fine_tune_n_iter
        config = SemiSupervisedConfig(epochs=epochs, batch_size=size)
        settings: dict[str, Any] = {
            "config": config,
            "rng": rng,
            "weights": weights,
            "dtype": self._dtype(),
            "checked": True,
        }
        records = semi_supervised.epochs(self.net_, images, labels, **settings)
        self._tune(self.net_, lambda config: records, config, score, stops=False)
        self._tuned = None  # backpropagation cannot go on with it

    def _insist(
        self,
        images: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        score: Scorer | None,
    ) -> None:
        """Repeat backpropagation where the net is hardly better than the most frequent class; warn
        where it stays so.

        A deep net of sigmoids may rest on that plateau for hundreds of updates, and a small set has
        few an epoch. Nothing is repeated where `fine_tune_n_iter` says how many epochs are wanted.
        What held-out cases say (`score`) is heeded once the net has left the plateau: there every
        epoch is as good as the last, and the best of them no step on the way.
        """
        shown = torch.bincount(labels.cpu(), weights, minlength=len(self.classes_))
        at_chance = 100 * (1 - float(shown.max() / shown.sum()))

        def share() -> float:
            """Return the share of the errors of the most frequent class that the last epoch of
            learning had.
            """
            return (
                float(self.history_[-1].get("train_error_percent", 0.0)) / at_chance
                if at_chance
                else 0.0
            )

        if share() <= PLATEAU:
            return
        epochs = self._backprop_config(False, len(images)).epochs
        updates = epochs * -(-len(images) // self._batch(len(images)))
        rounds = 0 if self.fine_tune_n_iter is not None else max(0, MOST_UPDATES // updates - 1)
        repeats = rounds > 0
        while rounds and share() > LEARNED:
            self._backprop(self.net_, images, labels, weights, rng)
            rounds -= 1
        if repeats and score is not None:
            self._backprop(self.net_, images, labels, weights, rng, score=score)
        if share() > PLATEAU:
            warnings.warn(
                f"the net has hardly learned: {self.history_[-1]['train_error_percent']:.1f} % of "
                "the training cases are wrong, and naming the most frequent class gets "
                f"{at_chance:.1f} % wrong. Try one layer (hidden_layer_sizes=(200,)), more epochs "
                "(fine_tune_n_iter) or another rate (fine_tune_learning_rate); or the columns say "
                "nothing of the classes",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _wake_sleep(
        self, images: Tensor, labels: Tensor, weights: Tensor | None, rng: torch.Generator
    ) -> Callable[[UpDownConfig], Iterator[EpochResult]]:
        """Return the loop of contrastive wake-sleep over these cases, once it is told its
        settings.
        """
        settings: dict[str, Any] = {
            "rng": rng,
            "weights": weights,
            "dtype": self._dtype(),
            "checked": True,
        }
        return lambda config: up_down.epochs(self.dbn_, images, labels, config=config, **settings)

    def _hybrid(
        self, images: Tensor, labels: Tensor, weights: Tensor | None, rng: torch.Generator
    ) -> Callable[[UpDownConfig], Iterator[EpochResult]]:
        """Return the loop of the hybrid over these cases, once it is told its settings."""
        own = replace(DEFAULTS.hybrid, sample_pixels=self.sample_visible_)
        settings: dict[str, Any] = {
            "rng": rng,
            "weights": weights,
            "dtype": self._dtype(),
            "checked": True,
        }
        return lambda config: hybrid.epochs(
            self.dbn_, images, labels, config=replace(own, updown=config), **settings
        )

    def _accuracy(self, X: Array, labels: Array) -> Scorer | None:
        """Return a function that tells accuracy and mean log p(class) of held-out cases as the net
        stands, None where there are none.
        """
        if not len(labels):
            return None
        images, _ = self._images(X, shared.fresh_rng(np.random.RandomState(0), self._device))
        truth = torch.from_numpy(labels).to(self._device)

        def score() -> tuple[float, float]:
            told = _log_probs(self.dbn_, getattr(self, "net_", None), images)
            return float((told.argmax(1) == truth).float().mean()), float(
                told.gather(1, truth[:, None]).mean()
            )

        return score

    def _recognition_layers(self) -> list[nn.Module]:
        if hasattr(self, "net_"):
            return [*self._net_layers(), nn.Softmax(1)]
        memory, penultimate = self.dbn_.memory, self.dbn_.sizes[-2]
        total_input = Affine(memory.weight[:penultimate], memory.hidden_bias)
        return [
            *super()._recognition_layers()[:-2],
            LabelProbs(total_input, memory.weight[penultimate:], memory.visible_bias[penultimate:]),
        ]


def is_missing(label: Any) -> bool:
    """Return whether a label is None, NaN, or pandas' NA or NaT."""
    return (
        label is None
        or type(label).__name__ in ("NAType", "NaTType")
        or (isinstance(label, float | np.floating) and bool(np.isnan(label)))
    )


def _log_probs(dbn: DBN, net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return log p(class | image), (N, classes): of the fine-tuned net, or of the memory by its
    label free energies.
    """
    return torch.log_softmax(
        classify.memory_label_scores(dbn, dbn.up(images)[-1])
        if net is None
        else net_outputs(net, images),
        1,
    )
