"""What classifier and regressor share: fine-tuning of a pretrained net, heeding cases held out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from wakesleep.estimators import ranges, shared
from wakesleep.estimators.dbn import DBNEstimator
from wakesleep.estimators.export import Affine
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.ranges import require
from wakesleep.learning import backprop
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.configs import UpDownConfig
from wakesleep.learning.net_configs import SemiSupervisedConfig
from wakesleep.learning.records import EpochResult
from wakesleep.runs import checkpoint
from wakesleep.sources import arrays

Settings = TypeVar("Settings", BackpropConfig, SemiSupervisedConfig, UpDownConfig)
FINE_TUNING = {"epochs": "fine_tune_n_iter", "learning_rate": "fine_tune_learning_rate"}
"""What fields of the settings of fine-tuning are called as parameters."""
BACKPROP = BackpropConfig(epochs=20, batch_size=20, learning_rate=0.3, sample_pixels=False)
"""Of small sets; the rate is one that centred values allow."""
Scorer = Callable[[], tuple[float, float]]
"""What held-out cases say of the net as it stands: the score, and a likelihood; more is better."""
Best = tuple[tuple[float, float], dict[str, Tensor]]
"""The best score so far, and the weights it was reached with."""


def column_sums(images: Tensor) -> Tensor:
    """Return how many cases images (N, D) are, the sum of each column and that of its squares,
    float64, (3, D): sums of chunks add up.
    """
    sums = torch.zeros(3, images.shape[1], dtype=torch.float64, device=images.device)
    sums[0] = len(images)
    for chunk in arrays.chunks(images):
        sums[1] += chunk.sum(0, dtype=torch.float64)
        sums[2] += chunk.double().square().sum(0)
    return sums


def moments(sums: Tensor) -> dict[str, Tensor]:
    """Return the mean of each column, (D,), and the deviation from it, one number for all columns,
    from `column_sums` (3, D).
    """
    mean = sums[1] / sums[0]
    variance = (sums[2] / sums[0] - mean.square()).clamp(min=0).mean()
    return {"mean": mean.float(), "scale": variance.sqrt().clamp(min=1e-3).float()}


def noise_within_signal(sums: Tensor) -> bool:
    """Return what `ranges.resembles_bits` says of cases in [0, 1], from their `column_sums` (3,
    D).
    """
    mean, square = sums[1] / sums[0], sums[2] / sums[0]
    noise, signal = mean - square, square - mean.square()
    noisy = noise > ranges.NO_NOISE
    return bool(noise[noisy].sum() <= signal[noisy].sum())


class Centred(nn.Module):
    """Inputs less their mean over their deviation: (v - mean) / scale. Gradient descent on what
    follows is far better conditioned.

    The linear layer behind it takes that over, W (v - m) / s + b = (W / s) v + b - (W / s) m, and
    gives it back when it has learned, so that the net goes on taking values as they are. Source:
    LeCun, Bottou, Orr & Mueller (1998), "Efficient BackProp", section 4.3.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, cases: Tensor) -> Tensor:
        """Return centred cases, (N, D)."""
        return (cases - self.mean) / self.scale

    def take_over(self, linear: nn.Linear) -> None:
        """Let `linear` compute from centred cases what it computes from cases as they are."""
        with torch.no_grad():
            linear.bias.add_(linear.weight @ self.mean)
            linear.weight.mul_(self.scale)

    def give_back(self, linear: nn.Linear) -> None:
        """Undo `take_over`."""
        with torch.no_grad():
            linear.weight.div_(self.scale)
            linear.bias.sub_(linear.weight @ self.mean)

    def given_back(self, linear: nn.Linear, score: Scorer) -> Scorer:
        """Return `score` of the net with `linear` as it is outside learning."""

        def scored() -> tuple[float, float]:
            self.give_back(linear)
            value = score()
            self.take_over(linear)
            return value

        return scored


class TunedEstimator(DBNEstimator):
    """What classifier and regressor share: parameters of fine-tuning, a part held out to stop
    early, and the loop that heeds it.
    """

    _backprop_defaults = BACKPROP
    _epochs_drawn = 40

    fine_tune: Literal["backprop", "updown", "hybrid"] | None
    fine_tune_n_iter: int | None
    fine_tune_learning_rate: float | None
    sample_visible: bool | Literal["auto"]
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int

    def _begin(self, X: Array, labels: int, source: np.random.RandomState) -> None:
        super()._begin(X, labels, source)
        self._decide_drawing(X)
        # before minutes of pretraining, not after them
        self._backprop_config(False, X.shape[0])
        for name in ("net_", "validation_scores_", "best_validation_score_"):
            if hasattr(self, name):
                delattr(self, name)
        self._tuned: Any = None
        self._sums: Tensor | None = None

    def _decide_drawing(self, X: Array) -> None:
        """Settle whether backpropagation sees the values of X (N, D) as bits drawn anew, and say
        so.
        """
        shared.check_choice("sample_visible", self.sample_visible, ("auto", True, False))
        if self.sample_visible != "auto":
            self.sample_visible_ = bool(self.sample_visible)
        elif self.units is not None:  # numbers between two states would be drawn as one of them
            self.sample_visible_ = not any(column.dense for column in self.units_.columns)
        else:
            self.sample_visible_ = ranges.resembles_bits(self, X)
        if self.verbose:
            seen = "as bits drawn anew in each epoch" if self.sample_visible_ else "as they are"
            print(f"{type(self).__name__}: backpropagation sees values {seen}", file=sys.stderr)

    def _count_chunk(self, images: Tensor) -> None:
        """Take a chunk (N, D) of a stream into the columns' sums, by which inputs are centred, or
        drawn where that was not said.
        """
        sums = column_sums(images)
        self._sums = sums if self._sums is None else self._sums + sums
        sample_visible = (
            noise_within_signal(self._sums)
            if self.sample_visible == "auto" and self.units is None
            else self.sample_visible_
        )
        if sample_visible != self.sample_visible_:
            # velocities of inputs that are centred are none of inputs that are not
            self.sample_visible_, self._tuned = sample_visible, None

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        super()._set_nets(model, tensors)
        self._tuned = self._sums = None

    def _tuning(self, config: Any, once: bool, cases: int) -> Any:
        """Return a loop's settings with what this estimator says of them; `once`: one epoch at the
        first rate.
        """
        given = {
            "epochs": self.fine_tune_n_iter,
            "learning_rate": self.fine_tune_learning_rate,
            "batch_size": self._batch(cases),
        }
        given = {name: value for name, value in given.items() if value is not None}
        config = shared.settings(partial(replace, config), FINE_TUNING, **given)
        return replace(config, epochs=1) if once else config

    def _backprop_config(self, once: bool, cases: int) -> BackpropConfig:
        """Return the settings of backpropagation on that many cases."""
        own = replace(self._backprop_defaults, sample_pixels=self.sample_visible_)
        # each epoch shows other bits
        own = replace(own, epochs=self._epochs_drawn) if self.sample_visible_ else own
        return self._tuning(own, once, cases)  # type: ignore[no-any-return]

    def _backprop(
        self,
        net: nn.Sequential,
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        rng: torch.Generator,
        *,
        score: Scorer | None = None,
        once: bool = False,
    ) -> None:
        """Let the core's backpropagation move `net`; `once`: one epoch over a chunk, and the
        momentum lives on.
        """
        config = self._backprop_config(once, len(images))
        # features are no pixels
        config = config if net is self.net_ else replace(config, sample_pixels=False)
        images = images.clamp(0, 1) if config.sample_pixels and self.scale == "warn" else images
        state = replace(self._tuned, epoch=0) if once and self._tuned else None
        settings: dict[str, Any] = {
            "rng": rng,
            "weights": weights,
            "state": state,
            "dtype": self._dtype(),
            "checked": True,
        }

        def loop(learner: nn.Sequential) -> Callable[[BackpropConfig], Iterator[EpochResult]]:
            return lambda config: backprop.epochs(
                learner, images, targets, config=config, **settings
            )

        if net is not self.net_ or config.sample_pixels:
            self._tune(net, loop(net), config, score)
            return
        if self._sums is None or not once:
            self._sums = column_sums(images)
        centred, first = Centred(**moments(self._sums)), net[0]
        assert isinstance(first, nn.Linear)
        centred.take_over(first)
        try:
            self._tune(
                net,
                loop(nn.Sequential(centred, *net)),
                config,
                None if score is None else centred.given_back(first, score),
            )
        finally:
            centred.give_back(first)

    def _tune(
        self,
        module: nn.Module,
        learn: Callable[[Settings], Iterator[EpochResult]],
        config: Settings,
        score: Scorer | None,
        *,
        stops: bool = True,
    ) -> None:
        """Exhaust a loop that moves `module`; with a `score` of held-out cases, stop when it no
        longer gets better, and keep the best epoch.

        A high rate leaves the weights wandering, so what follows the stop are as many epochs as
        were waited for, in which the rate falls from where it stood to its last value.
        """
        if score is None:
            for record in self._watch(learn(config), config.epochs):
                self._tuned = record.state
            return
        self.validation_scores_: list[float] = []
        best = self._until_no_better(
            module, learn(config), config.epochs, score, ((-math.inf, -math.inf), {}), stops=stops
        )
        done = len(self.validation_scores_)
        if done < config.epochs:
            module.load_state_dict(best[1])
            falling = replace(
                config,
                epochs=self.n_iter_no_change,
                learning_rate=config.learning_rate_at(done - 1),
            )
            best = self._until_no_better(
                module, learn(falling), falling.epochs, score, best, stops=False
            )
        if best[1]:
            module.load_state_dict(best[1])
            self.best_validation_score_ = best[0][0]

    def _until_no_better(
        self,
        module: nn.Module,
        epochs: Iterator[EpochResult],
        total: int,
        score: Scorer,
        best: Best,
        *,
        stops: bool = True,
    ) -> Best:
        """Go on until neither the score nor the likelihood of held-out cases got better for
        `n_iter_no_change` epochs; return the best epoch.

        The likelihood goes on getting better where the share of right answers stands still, as it
        does while a net still says the same of all cases. Of epochs of the same score the last is
        the best: few held-out cases tell few apart, and its rate is the lowest.
        """
        highest, since = list(best[0]), 0
        for record in self._watch(epochs, total):
            self._tuned = record.state
            scored = score()
            self.validation_scores_.append(scored[0])
            since = (
                0 if any(new > old for new, old in zip(scored, highest, strict=True)) else since + 1
            )
            highest = [max(pair) for pair in zip(scored, highest, strict=True)]
            if scored[0] >= best[0][0]:
                best = scored, deepcopy(module.state_dict())
            if stops and since >= self.n_iter_no_change:
                break
        return best

    def _held_out(
        self, cases: Array, stratify: Array | None, source: np.random.RandomState
    ) -> Array:
        """Return which of `cases` (row numbers) are held out to stop early; none where that is not
        asked for.

        Raises:
            DataError: too few cases to hold any out.
        """
        if not self.early_stopping:
            return cases[:0]
        require(
            0 < self.validation_fraction < 1,
            f"validation_fraction = {self.validation_fraction}: expected a part in (0, 1)",
        )
        require(
            self.n_iter_no_change >= 1,
            f"n_iter_no_change = {self.n_iter_no_change}: expected 1 or more",
        )
        try:
            held_out = train_test_split(
                cases,
                test_size=float(self.validation_fraction),
                stratify=stratify,
                random_state=source,
            )[1]
        except ValueError as error:
            raise DataError(
                f"early_stopping cannot hold out {self.validation_fraction:g} of {len(cases)} "
                f"cases: {error}"
            ) from error
        return np.sort(held_out)

    def _net_layers(self) -> list[nn.Module]:
        """Return the feed-forward net as modules to export."""
        return [
            Affine(layer.weight.t(), layer.bias) if isinstance(layer, nn.Linear) else nn.Sigmoid()
            for layer in self.net_
        ]


def net_outputs(net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return the feed-forward net's outputs for images (N, D), (N, outputs)."""
    assert net is not None
    with torch.inference_mode():
        return net(images)  # type: ignore[no-any-return]
