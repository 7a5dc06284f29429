"""The deep belief net: what its estimators share, and the net as a transformer to features of any
depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.compute.precision import low_precision_copy
from wakesleep.compute.select import pick_device, pick_precision
from wakesleep.estimators import persistence, shared
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.evaluation import meanfield
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.configs import require
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.runs.settings import preset
from wakesleep.samplers import dreams, missing
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.units import Bernoulli

_DIGITS = preset("digits")
NO_CHAINS = ChainsConfig(share=0.0)
"""Of the memory: predictions come from the net fine-tuned from it, or from features, and chains
take time.
"""
LAYER = replace(_DIGITS.greedy.layer, epochs=30)
DEFAULTS = replace(
    _DIGITS,
    hidden=(200, 300),
    greedy=GreedyConfig(LAYER, LAYER, chains=NO_CHAINS),
    backprop=replace(_DIGITS.backprop, epochs=20, learning_rate=0.3),
)
"""Where defaults come from: the settings of `make train` for small sets, with fewer epochs and
units, and the rate of backpropagation that centred values allow; chosen on parts of the training
cases of six sets (docs/scikit-learn.md).
"""
SHOWN = 45_000
"""Cases that pretraining of a layer shows at most, unless ten epochs show more."""
Function = Callable[[DBN, nn.Sequential | None, Tensor], Tensor]
"""What a prediction does: net, the net fine-tuned from it, images (N, D) -> (N, ...)."""
DRAWS, SWEEPS = 10, 20
"""Over how many fillings of missing values a prediction is averaged, and sweeps of the net to
each.
"""


def epochs_for(cases: int, most: int, shown: int, least: int) -> int:
    """Return how many epochs over `cases` cases show `shown` of them, at most `most` and at least
    `least`.
    """
    return max(least, min(most, -(-shown // max(cases, 1))))


class DBNEstimator(BaseEstimator):
    """What the estimators of deep belief nets share: parameters of pretraining, cases, dreams,
    persistence.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (200, 300),
        *,
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
        self.hidden_layer_sizes = hidden_layer_sizes
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
        self.scale = scale
        self.missing = missing
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.verbose = verbose
        self.random_state = random_state

    def score_samples(self, X: Any) -> Array:
        """Return how typical each case of X (N, D) is for the net, nats up to a constant: (N,).

        It is the lower bound on log p(v) with means in place of samples, log Z left out: an order
        of cases, from outliers to the ordinary, and no likelihood (`evaluation.meanfield`). Missing
        values are averaged over. Values outside the range of the data that came to `fit` are
        clipped to it first, so it does not tell such cases from those at its ends.
        """
        check_is_fitted(self)
        return self._average(X, lambda dbn, net, images: meanfield.score(dbn, images, checked=True))

    def sample(
        self, n_samples: int = 1, *, random_state: Any = None, n_gibbs_steps: int = 1000
    ) -> Array:
        """Return what the net dreams: `n_samples` cases (n_samples, D) after `n_gibbs_steps` Gibbs
        steps of the memory from random states.

        Values are the visible units' probabilities, in the units of the data.
        """
        check_is_fitted(self)
        rng = shared.fresh_rng(shared.random_source(random_state), self._device)
        return shared.from_range(
            self,
            dreams.dream(self.dbn_, rng=rng, count=n_samples, steps=n_gibbs_steps)
            .pixels.cpu()
            .numpy(),
        )

    def impute(
        self,
        X: Any,
        *,
        how: Literal["sample", "mean"] = "sample",
        random_state: Any = None,
        n_sweeps: int = 50,
    ) -> Array:
        """Return X (N, D) with NaN filled in from the net given the known values of each case.

        A real number is the probability of one binary unit here, which says little of the other
        columns: of five Gaussian columns of correlation 0.83, what this fills in is no nearer to
        the truth than the column's mean. `make_dbn_pipeline(numbers="bins")` takes a unit a bin,
        and halves the error.

        Args:
            X: cases (N, D), NaN where a value is missing.
            how: "sample", a state of the visible unit (its lowest or highest value), or "mean", its
                probability, averaged over ten chains.
            random_state: seed of the chains.
            n_sweeps: sweeps up and down the net, known values put back each time.
        """
        check_is_fitted(self)
        shared.check_choice("how", how, ("sample", "mean"))
        X = shared.check_dense(self, X)
        rng = shared.fresh_rng(shared.random_source(random_state), self._device)
        images = torch.tensor(shared.to_range(self, X), dtype=torch.float32, device=self._device)
        known = ~torch.isnan(images)
        draws = [
            dreams.inpaint(self.dbn_, images, known, rng=rng, sweeps=n_sweeps, checked=True)
            for _ in range(DRAWS if how == "mean" else 1)
        ]
        filled = torch.stack(draws).mean(0)
        if how == "sample":
            filled = Bernoulli(filled.shape[1]).sample_from_mean(filled, rng)
        return np.where(np.isnan(X), shared.from_range(self, filled.cpu().numpy()), X)

    def save(self, path: Any) -> None:
        """Write the fitted estimator into one safetensors file: weights, parameters and classes, no
        pickle. `load` reads it.
        """
        persistence.save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Return the estimator that `save` wrote to `path`."""
        return persistence.load(cls, path)

    @property
    def _device(self) -> torch.device:
        return self.dbn_.memory.weight.device

    def _epochs(self, cases: int) -> int:
        """Return how many epochs over that many cases each layer is pretrained for."""
        return epochs_for(cases, LAYER.epochs, SHOWN, 10) if self.n_iter == "auto" else self.n_iter

    def _memory_passes(self, cases: int, labels: Tensor | None) -> int:
        """Return how many epochs the memory is pretrained for."""
        return self._epochs(cases)

    def _batch(self, cases: int) -> int:
        """Return how many of that many cases make a minibatch."""
        return (20 if cases <= 5000 else 50) if self.batch_size == "auto" else self.batch_size

    @property
    def _streams(self) -> bool:
        """Whether this estimator began with `partial_fit`."""
        return self._range is not None

    def _greedy_config(self, cases: int = 0) -> GreedyConfig:
        """Return the settings of pretraining on that many cases, the same for all layers."""
        layer = shared.settings(
            CDConfig,
            shared.PRETRAINING,
            epochs=self._epochs(cases),
            batch_size=self._batch(cases),
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            gibbs_steps=self.n_gibbs_steps,
            persistent=self.persistent,
            sparsity_target=self.sparsity_target,
            sparsity_cost=self.sparsity_cost,
        )
        return GreedyConfig(layer, layer, chains=NO_CHAINS)

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        """Start afresh for cases like X (N, D): a net of random weights with room for `labels`."""
        shared.check_choice("missing", self.missing, ("error", "sample"))
        sizes = self._hidden_sizes()
        shared.settle_range(self, X)
        self._source = source
        self.dbn_ = DBN(
            (X.shape[1], *sizes),
            labels=labels,
            rng=shared.fresh_rng(source, pick_device(self.device)),
        )
        self.n_iter_ = 0
        self.history_: list[dict[str, Any]] = []
        self._chunks: dict[int, CDState] = {}
        self._range: shared.Range | None = None

    def _hidden_sizes(self) -> tuple[int, ...]:
        """Return the units of each hidden layer that the parameters ask for."""
        sizes = (
            tuple(self.hidden_layer_sizes)
            if np.iterable(self.hidden_layer_sizes)
            else (self.hidden_layer_sizes,)
        )
        require(
            len(sizes) > 0 and all(isinstance(size, Integral) and size >= 1 for size in sizes),
            f"hidden_layer_sizes = {self.hidden_layer_sizes!r}: expected whole numbers of at "
            "least 1, e.g. (200, 200, 500)",
        )
        return tuple(int(size) for size in sizes)

    def _begin_or_go_on(self, first: bool, X: Array, labels: int) -> None:
        """Begin a stream with its first chunk X (N, D), or see that a later one can go on."""
        if first:
            self._begin(X, labels, shared.random_source(self.random_state))
            self._range = shared.column_range(shared.unskew(self, X))
        else:
            self._check_goes_on()
            shared.widen_range(self, X)

    def _check_goes_on(self) -> None:
        """Refuse to go on with a net of other sizes than the parameters say.

        Raises:
            ConfigError: hidden_layer_sizes were changed since the net was made.
        """
        sizes, asked = self.dbn_.sizes[1:], self._hidden_sizes()
        require(
            sizes == asked,
            f"hidden_layer_sizes = {asked}, and the net that warm_start or partial_fit would go on "
            f"with has {sizes}: set them back, or fit a new net (warm_start=False)",
        )

    def _images(
        self, X: Array, rng: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        """Return X in range on the device, and what of it is known (N, D), None where all is;
        unknown values hold a first guess.
        """
        X = shared.dense(shared.to_range(self, X))
        if not np.isnan(np.sum(X)):
            return shared.tensor(X, self._device).to(dtype), None
        images = torch.tensor(X, dtype=dtype, device=self._device)
        return images, missing.init_missing(images, rng)

    def _pretrain(
        self,
        images: Tensor,
        known: Tensor | None,
        labels: Tensor | None,
        weights: Tensor | None,
        rng: torch.Generator,
    ) -> None:
        """Let the core pretrain layer by layer; missing pixels are drawn anew after each epoch of
        the first layer.
        """
        config = self._greedy_config(len(images))
        config = replace(
            config, memory=replace(config.memory, epochs=self._memory_passes(len(images), labels))
        )
        epochs = self._layer_by_layer(images, known, labels, weights, rng, config)
        for record in self._watch(
            epochs, config.layer.epochs * (self.dbn_.depth - 1) + config.memory.epochs
        ):
            self._chunks[record.state.layer] = record.state.inner

    def _layer_by_layer(
        self,
        images: Tensor,
        known: Tensor | None,
        labels: Tensor | None,
        weights: Tensor | None,
        rng: torch.Generator,
        config: GreedyConfig,
    ) -> Iterator[EpochResult]:
        """Yield the epochs of pretraining; where values are missing, each epoch of the first layer
        sees what was drawn after the last.
        """
        settings: dict[str, Any] = {
            "config": config,
            "rng": rng,
            "weights": weights,
            "dtype": self._dtype(),
            "checked": True,
        }
        state: Any = None
        if known is not None:
            first = config.layer if self.dbn_.depth > 1 else config.memory
            for _ in range(first.epochs):
                record = next(greedy.epochs(self.dbn_, images, labels, state=state, **settings))
                state = record.state
                yield record
                self._refill(images, known, labels, rng)
        yield from greedy.epochs(self.dbn_, images, labels, state=state, **settings)

    def _refill(
        self, images: Tensor, known: Tensor, labels: Tensor | None, rng: torch.Generator
    ) -> None:
        """Draw what is not `known` of images (N, D) anew from the first layer, in place, given the
        rest and the label it may hold.
        """
        first = self.dbn_.rbm(0)
        if self.dbn_.depth > 1 or labels is None or not self.dbn_.labels:
            missing.refill(first, images, known, rng)
            return
        labelled = labels != UNLABELLED
        cases = greedy.memory_cases(self.dbn_, images[labelled], labels[labelled], checked=True)
        mask = torch.cat([known[labelled], known.new_ones(len(cases), self.dbn_.labels)], 1)
        missing.refill(first, cases, mask, rng)
        images[labelled] = cases[:, : images.shape[1]]

    def _fill(self, images: Tensor, known: Tensor | None, rng: torch.Generator) -> Tensor:
        """Return images (N, D) with what is not `known` drawn from the whole net as it stands."""
        if known is None:
            return images
        filled = dreams.inpaint(self.dbn_, images, known, rng=rng, sweeps=SWEEPS, checked=True)
        return torch.where(known, images, torch.bernoulli(filled, generator=rng))

    def _watch(self, epochs: Iterator[EpochResult], total: int) -> Iterator[EpochResult]:
        """Yield the records of a loop, count and note them."""
        for record in shared.watch(epochs, total, self.verbose, type(self).__name__):
            self.n_iter_ += 1
            self.history_.append({"stage": record.stage, "pass": record.epoch, **record.metrics})
            yield record

    def _epoch_over_chunk(
        self,
        images: Tensor,
        known: Tensor | None,
        labels: Tensor | None,
        weights: Tensor | None,
        rng: torch.Generator,
    ) -> None:
        """Give each layer one epoch over a chunk; momentum and chains live on between chunks."""
        config = self._greedy_config()
        layer, memory = (
            replace(each, initial_momentum=each.momentum) for each in (config.layer, config.memory)
        )
        config = replace(config, layer=layer, memory=memory)
        settings: dict[str, Any] = {
            "config": config,
            "rng": rng,
            "weights": weights,
            "dtype": self._dtype(),
            "checked": True,
        }
        settings["states"] = self._chunks
        # nothing the memory could learn from
        unlabelled = labels is not None and not bool((labels != UNLABELLED).any())
        self._chunks = greedy.chunk(
            self.dbn_,
            images,
            labels,
            layers=range(self.dbn_.depth - 1) if unlabelled else None,
            **settings,
        )
        if known is not None:
            self._refill(images, known, labels, rng)
        self.n_iter_ += 1

    def _average(self, X: Any, function: Function) -> Array:
        """Return `function` of net and new cases X (N, D), in the type of X, averaged over draws of
        missing values from the net.
        """
        X = shared.check_cases(self, X, reset=False, sparse=True)
        rng, dtype = (
            generator(0, self._device),
            torch.float64 if X.dtype == np.float64 else torch.float32,
        )
        dbn, net = (
            low_precision_copy(self.dbn_, dtype),
            low_precision_copy(self.net_, dtype) if hasattr(self, "net_") else None,
        )
        results = []
        for start in range(0, X.shape[0], missing.CHUNK):
            part = X[start : start + missing.CHUNK]
            images, known = self._images(part, rng, dtype)
            if known is None:
                results.append(function(dbn, net, images))
                continue
            draws = (
                dreams.inpaint(dbn, images, known, rng=rng, sweeps=SWEEPS, checked=True)
                for _ in range(DRAWS)
            )
            results.append(torch.stack([function(dbn, net, filled) for filled in draws]).mean(0))
        return torch.cat(results).cpu().numpy()

    def _nets(self) -> tuple[DBN, nn.Sequential | None]:
        """Return what a model file holds."""
        check_is_fitted(self)
        return self.dbn_, getattr(self, "net_", None)

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        """Take over what a model file held."""
        self.dbn_, self._chunks, self._source = (
            model.dbn,
            {},
            shared.random_source(self.random_state),
        )
        self._range = None
        self.history_ = []
        if model.net is not None:
            self.net_ = model.net

    def _recognition_layers(self) -> list[nn.Module]:
        """Return the way up from cases in range, as modules to export."""
        layers = [
            layer
            for up in self.dbn_.recognition
            for layer in (Affine(up.weight, up.bias), nn.Sigmoid())
        ]
        return [
            *layers,
            Affine(self.dbn_.memory.weight, self.dbn_.memory.hidden_bias),
            nn.Sigmoid(),
        ]

    def _dtype(self) -> torch.dtype:
        """Return the type of products."""
        return pick_precision(self.precision, self._device)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with nets as numpy arrays: it loads on any device, and skops can read
        it.
        """
        state = super().__getstate__()
        return {name: persistence.to_plain(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: persistence.from_plain(value) for name, value in state.items()})

    def __sklearn_tags__(self) -> Any:
        """Say that sparse cases are welcome, and NaN where it is to be drawn from the net."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing == "sample"
        return tags


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
        self.layer = layer

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

    def inverse_transform(self, H: Any) -> Array:
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
        return shared.from_range(self, states.cpu().numpy())

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
