"""What classifier and regressor share: fine-tuning of a pretrained net, heeding cases held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from wakesleep import checkpoint
from wakesleep.estimators.dbn import DEFAULTS, DBNEstimator
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import DataError
from wakesleep.learning import backprop
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.configs import require
from wakesleep.learning.records import Pass, State


class TunedEstimator(DBNEstimator):
    """What classifier and regressor share: parameters of fine-tuning, a part held out to stop early, and the loop that heeds it."""

    _backprop_defaults = DEFAULTS.backprop

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
        return self._tuning(replace(self._backprop_defaults, sample_pixels=self.sample_visible), once)  # type: ignore[no-any-return]

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
        images = images.clamp(0, 1) if config.sample_pixels and self.scale == "warn" else images
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


def net_outputs(net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return the feed-forward net's outputs for images (N, D), (N, outputs)."""
    assert net is not None
    with torch.inference_mode():
        return net(images)  # type: ignore[no-any-return]
