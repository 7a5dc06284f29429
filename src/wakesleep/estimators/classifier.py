"""The deep belief net as a classifier: it first learns to generate and then to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.data.table_units import Asked
from wakesleep.estimators import shared
from wakesleep.estimators.class_labels import check_labelled, encode, known_classes, split_labelled
from wakesleep.estimators.export import Affine, LabelProbs
from wakesleep.estimators.fine_tuning import Cases, fine_tune
from wakesleep.estimators.shared import Array
from wakesleep.estimators.tuned import Scorer, TunedEstimator, net_outputs
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.ranges import require
from wakesleep.learning import backprop
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.sources.arrays import UNLABELLED

MOST_PASSES = 300
"""Epochs of a memory that few labels teach, at most: with 20 labels of breast cancer 600 are no
better (90 % of validation cases right), and 30 leave it at 83 %, at times with one answer for
all.
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

    The parameters of pretraining, `n_iter` to `random_state`, are those of `DBNTransformer`. With
    n_iter="auto", a memory without layers below that is to tell the classes (fine_tune=None) from
    few labels makes as many updates as if all cases had one, in up to 300 epochs.

    Attributes:
        classes_: the classes, in the order of the columns of `predict_proba`.
        net_: the fine-tuned feed-forward net, a `torch.nn.Sequential`, after "backprop".
        sample_visible_: whether backpropagation saw values as bits drawn anew.
        validation_scores_: accuracy on the held-out cases, one an epoch, and
            `best_validation_score_`, with early stopping; of the last epochs where backpropagation
            was repeated, as it is while a net tells classes hardly better than by the most frequent
            one.

    It also has what `DBNTransformer` has: `dbn_`, the generative model, to `feature_names_in_`.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> net = DBNClassifier((20, 30), n_iter=5, random_state=0).fit(X / 16, y)
    >>> bool(net.score(X / 16, y) > 0.95), net.sample(3, label=1, n_gibbs_steps=10).shape
    (True, (3, 64))
    """

    classes_: Array

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
        self.unlabeled = unlabeled
        self.class_weight = class_weight
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
        X, y = check_labelled(self, X, y, reset=not goes_on)
        taking_part, weights = shared.check_weights(self._weigh_classes(y, sample_weight), X)
        X, y = shared.take(X, taking_part), y[taking_part]
        classes = self.classes_ if goes_on else None
        numbers, self.classes_ = encode(y, self.unlabeled, classes)
        labelled = np.flatnonzero(numbers != UNLABELLED)
        held_out = self._held_out(labelled, numbers[labelled], source)
        learned = np.setdiff1d(np.arange(len(numbers)), held_out)
        if goes_on:
            self._check_goes_on()
        else:
            self._begin(shared.take(X, learned), len(self.classes_), source)
        rng = shared.fresh_rng(source, self._device)
        images, known = self._images(shared.take(X, learned), rng)
        targets = torch.from_numpy(numbers[learned]).to(self._device)
        weights = None if weights is None else weights[learned]
        if not goes_on:
            self._pretrain(images, known, targets, weights, rng)
        elif self.fine_tune is None:
            for _ in range(self._epochs(len(images))):
                self._epoch_over_chunk(images, known, targets, weights, rng)
        else:
            images = self._fill(images, known, rng)
        self._labels_seen = True
        score = self._accuracy(X[held_out], numbers[held_out])
        fine_tune(self, Cases(images, targets, weights), rng, score)
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
        X, y = check_labelled(self, X, y, reset=first)
        taking_part, weights = shared.check_weights(self._weigh_classes(y, sample_weight), X)
        named = self.classes_ if classes is None else known_classes(classes, self.unlabeled)
        if not first and not np.array_equal(named, self.classes_):
            raise DataError(
                f"classes = {named.tolist()} came, and this net learned with "
                f"{self.classes_.tolist()}: name the same, or none"
            )
        X = shared.take(X, taking_part)
        numbers, self.classes_ = encode(y[taking_part], self.unlabeled, named)
        self._begin_or_go_on(first, X, len(self.classes_))
        rng = shared.fresh_rng(self._source, self._device)
        images, known = self._images(X, rng)
        targets = torch.from_numpy(numbers).to(self._device)
        labelled = bool((numbers != UNLABELLED).any())
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
            fine_tune(self, Cases(images, targets, weights), rng, None, once=True)
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
    ) -> Any:
        """Return what the net dreams, (n_samples, D), with `label` clamped: one class for all, or
        one a sample; free without.

        `n_samples` is by default the number of labels. Values are the visible units' probabilities
        after `n_gibbs_steps` Gibbs steps, in the units of the data; with `units`, rows of a table
        like the one that came to `fit`.

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
        numbers, _ = encode(wanted, self.unlabeled, self.classes_)
        clamped = torch.from_numpy(numbers).to(self._device)
        return self._dream(random_state, labels=clamped, steps=n_gibbs_steps)

    def _check_method(self) -> None:
        """Refuse ways to fine-tune that are not there."""
        shared.check_choice("fine_tune", self.fine_tune, ("backprop", "updown", "hybrid", None))

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        self._labels_seen = False

    def _memory_epochs(self, cases: int, labels: Tensor | None) -> int:
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
        labelled, known = split_labelled(y, self.unlabeled)
        weights = np.ones(len(y))
        weights[labelled] = compute_sample_weight(self.class_weight, known)
        return weights if sample_weight is None else weights * np.asarray(sample_weight)

    def _accuracy(self, X: Array, labels: Array) -> Scorer | None:
        """Return a function that tells accuracy and mean log p(class) of held-out cases as the net
        stands, None where there are none.
        """
        if not len(labels):
            return None
        images, _ = self._images(X, shared.fresh_rng(np.random.RandomState(0), self._device))
        truth = torch.from_numpy(labels).to(self._device)

        def score() -> tuple[float, float]:
            log_probs = _log_probs(self.dbn_, getattr(self, "net_", None), images)
            right = (log_probs.argmax(1) == truth).float().mean()
            return float(right), float(log_probs.gather(1, truth[:, None]).mean())

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
