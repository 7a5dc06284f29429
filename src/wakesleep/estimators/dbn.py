"""What the estimators of deep belief nets share: pretraining, cases, dreams, predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from wakesleep.compute.precision import low_precision_copy
from wakesleep.compute.select import pick_device, pick_precision
from wakesleep.data.table_units import Asked, TableUnits
from wakesleep.estimators import persistence, pretraining, ranges, shared
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.evaluation import meanfield
from wakesleep.foundation.ranges import require
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams, missing
from wakesleep.sources.arrays import UNLABELLED

NO_CHAINS = ChainsConfig(share=0.0)
"""Of the memory: predictions come from the net fine-tuned from it, or from features, and chains
take time.
"""
EPOCHS = 30
"""Epochs of pretraining a layer, at most; with the other defaults chosen on parts of the training
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


class DBNEstimator(persistence.Saved, BaseEstimator):
    """What the estimators of deep belief nets share: parameters of pretraining, cases, dreams,
    persistence.
    """

    hidden_layer_sizes: int | Sequence[int]
    n_iter: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate: float
    final_learning_rate: float
    momentum: float
    weight_decay: float
    n_gibbs_steps: int
    persistent: bool
    sparsity_target: float
    sparsity_cost: float
    units: Asked | None
    units_: TableUnits
    n_bins: int | Literal["auto"]
    scale: Literal["auto", "warn"] | None
    missing: Literal["error", "sample"]
    warm_start: bool
    device: str
    precision: str
    verbose: bool | int
    random_state: Any

    def score_samples(self, X: Any) -> Array:
        """Return how typical each case of X (N, D) is for the net, nats up to a constant: (N,).

        It is the lower bound on log p(v) with means in place of samples, log Z left out: an order
        of cases, from outliers to the ordinary, and no likelihood (`evaluation.meanfield`). Missing
        values are averaged over. Values outside the range of the data that came to `fit` are
        clipped to it first, so it does not tell such cases from those at its ends. Of a table with
        `units`, real numbers count with their density.
        """
        check_is_fitted(self)
        scores = self._average(
            X, lambda dbn, net, images: meanfield.score(dbn, images, checked=True)
        )
        return (
            scores if self.units is None else scores - self.units_.log_widths(self.units_.encode(X))
        )

    def sample(
        self, n_samples: int = 1, *, random_state: Any = None, n_gibbs_steps: int = 1000
    ) -> Any:
        """Return what the net dreams: `n_samples` cases (n_samples, D) after `n_gibbs_steps` Gibbs
        steps of the memory from random states.

        Values are the visible units' probabilities, in the units of the data. With `units` they are
        rows of a table like the one that came to `fit`, a frame with its columns and types, drawn.
        """
        check_is_fitted(self)
        return self._dream(random_state, count=n_samples, steps=n_gibbs_steps)

    def _dream(self, random_state: Any, **options: Any) -> Any:
        """Return what the net dreams with these options of `dreams.dream`, as the data came."""
        source = shared.random_source(random_state)
        rng = shared.fresh_rng(source, self._device)
        pixels = dreams.dream(self.dbn_, rng=rng, **options).pixels.cpu().numpy()
        return self._as_data(pixels, source)

    def _as_data(self, cases: Array, source: np.random.RandomState | None = None) -> Any:
        """Return means of the visible units (N, D) as the data came to `fit`: a table is drawn from
        them with a `source` of randomness.
        """
        if self.units is None:
            return ranges.from_range(self, cases)
        return self.units_.decode(cases, source)

    def impute(
        self,
        X: Any,
        *,
        how: Literal["sample", "mean"] = "sample",
        random_state: Any = None,
        n_sweeps: int = 50,
    ) -> Any:
        """Return X (N, D) with NaN filled in from the net given the known values of each case.

        Without `units` a real number is the probability of one binary unit, which says little of
        the other columns: of five Gaussian columns of correlation 0.83, what this fills in is no
        nearer to the truth than the column's mean. With `units` X is a table, and comes back as it
        came.

        Args:
            X: cases (N, D), NaN where a value is missing.
            how: "sample", a state of the visible unit (its lowest or highest value), or "mean", its
                probability, averaged over ten chains. Of a table with `units`: a draw, or the most
                probable category and the expected number.
            random_state: seed of the chains.
            n_sweeps: sweeps up and down the net, known values put back each time.
        """
        check_is_fitted(self)
        shared.check_choice("how", how, ("sample", "mean"))
        cases, source = shared.check_dense(self, X), shared.random_source(random_state)
        rng = shared.fresh_rng(source, self._device)
        in_range = ranges.to_range(self, cases)
        images = torch.tensor(in_range, dtype=torch.float32, device=self._device)
        known = ~torch.isnan(images)
        draws = [
            dreams.inpaint(self.dbn_, images, known, rng=rng, sweeps=n_sweeps, checked=True)
            for _ in range(DRAWS if how == "mean" else 1)
        ]
        filled = torch.stack(draws).mean(0)
        if how == "sample":
            filled = self.dbn_.visible.sample_from_mean(filled, rng)
        values = self._as_data(filled.cpu().numpy(), source if how == "sample" else None)
        if self.units is not None:
            return self.units_.format.fill(X, values)
        return np.where(np.isnan(cases), values, cases)

    @property
    def _device(self) -> torch.device:
        return self.dbn_.memory.weight.device

    def _epochs(self, cases: int) -> int:
        """Return how many epochs over that many cases each layer is pretrained for."""
        return epochs_for(cases, EPOCHS, SHOWN, 10) if self.n_iter == "auto" else self.n_iter

    def _memory_epochs(self, cases: int, labels: Tensor | None) -> int:
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
        ranges.settle_range(self, X)
        self._source = source
        if self.units is None and hasattr(self, "units_"):
            del self.units_
        visible = X.shape[1] if self.units is None else self.units_.units()
        self.dbn_ = DBN(
            (visible, *sizes),
            labels=labels,
            rng=shared.fresh_rng(source, pick_device(self.device)),
        )
        self.n_iter_ = 0
        self.history_: list[dict[str, Any]] = []
        self._chunks: dict[int, CDState] = {}
        self._range: ranges.Range | None = None

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
            self._range = ranges.column_range(ranges.unskew(self, X))
        else:
            self._check_goes_on()
            ranges.widen_range(self, X)

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
        X = shared.dense(ranges.to_range(self, X))
        if not np.isnan(np.sum(X)):
            return shared.tensor(X, self._device).to(dtype), None
        images = torch.tensor(X, dtype=dtype, device=self._device)
        return images, missing.init_missing(images, rng, self.dbn_.visible)

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
            config, memory=replace(config.memory, epochs=self._memory_epochs(len(images), labels))
        )
        epochs = pretraining.epochs(
            self.dbn_, images, known, labels, weights, config=config, rng=rng, dtype=self._dtype()
        )
        for record in self._watch(
            epochs, config.layer.epochs * (self.dbn_.depth - 1) + config.memory.epochs
        ):
            self._chunks[record.state.layer] = record.state.inner

    def _fill(self, images: Tensor, known: Tensor | None, rng: torch.Generator) -> Tensor:
        """Return images (N, D) with what is not `known` drawn from the whole net as it stands."""
        if known is None:
            return images
        filled = dreams.inpaint(self.dbn_, images, known, rng=rng, sweeps=SWEEPS, checked=True)
        return torch.where(known, images, dreams.draw_visible(self.dbn_, filled, rng))

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
            pretraining.refill(self.dbn_, images, known, labels, rng)
        self.n_iter_ += 1

    def _average(self, X: Any, function: Function) -> Array:
        """Return `function` of net and new cases X (N, D), in the type of X, averaged over draws of
        missing values from the net.
        """
        X = shared.check_cases(self, X, reset=False, sparse=True)
        dtype = torch.float64 if X.dtype == np.float64 else torch.float32
        dbn, net = (
            low_precision_copy(self.dbn_, dtype),
            low_precision_copy(self.net_, dtype) if hasattr(self, "net_") else None,
        )

        def whole(part: Any) -> Tensor:
            return function(dbn, net, self._images(part, generator(0, self._device), dtype)[0])

        def filled(case: Any) -> Tensor:
            rng = generator(0, self._device)
            images, known = self._images(case, rng, dtype)
            assert known is not None
            several = (rows.expand(DRAWS, -1) for rows in (images, known))
            draws = dreams.inpaint(dbn, *several, rng=rng, sweeps=SWEEPS, checked=True)
            return function(dbn, net, draws).mean(0, keepdim=True)

        return shared.apart(X, whole, filled).cpu().numpy()

    def _nets(self) -> tuple[DBN, nn.Sequential | None]:
        """Return what a model file holds."""
        check_is_fitted(self)
        return self.dbn_, getattr(self, "net_", None)

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        """Take over what a model file held."""
        self.dbn_, self._chunks, self._range = model.dbn, {}, None
        self._source = shared.random_source(self.random_state)
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
        tags.input_tags.allow_nan = self.missing == "sample" or self.units is not None
        tags.input_tags.sparse = self.units is None
        tags.input_tags.categorical = tags.input_tags.string = self.units is not None
        return tags
