"""Contrastive divergence: an RBM learns by comparing the data with its own reconstructions of them.

    dW = <v h'>_data - <v h'>_reconstruction

CD-k starts its k Gibbs steps at the data (Hinton 2002); with `persistent=True` they go on from
where the last update left them (PCD, Tieleman 2008), at several `temperatures` if asked (Desjardins
et al. 2010). `epochs` is the loop; everything else is one minibatch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wakesleep.compute import distributed, precision
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import centring, loop, penalties, unit_parameters
from wakesleep.learning.cd_state import CDState as CDState
from wakesleep.learning.cd_state import adapted_state as adapted_state
from wakesleep.learning.cd_state import expected_state as expected_state
from wakesleep.learning.cd_state import init_state as init_state
from wakesleep.learning.configs import CDConfig as CDConfig
from wakesleep.learning.contrast import Contrast as Contrast
from wakesleep.learning.contrast import draw_labels as draw_labels
from wakesleep.learning.contrast import go_on_from_chains as go_on_from_chains
from wakesleep.learning.contrast import go_on_from_replicas as go_on_from_replicas
from wakesleep.learning.contrast import start_at_data as start_at_data
from wakesleep.learning.momentum import apply_update
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import check_fit
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.axes import Cases, Each
from wakesleep.sources.minibatches import Resident, Source
from wakesleep.units import Context
from wakesleep.units.matching import match_cases

log = logging.getLogger(__name__)
CONSTANT = 1e-6
"""The variance up to which a column is taken for one that does not vary."""


@check_arguments
@torch.no_grad()
def init_visible_bias(
    rbm: RBM,
    cases: Cases | arrays.Rows,
    weights: Each | None = None,
    context: Context | None = None,
) -> None:
    """Start the visible units as the independent model that fits the cases: biases, and a family's
    own parameters (`Units.match`).

    The bias of a binary unit is log p_i / (1 - p_i), p_i its mean, one case on and one off added,
    so that a pixel that is never on gets a finite bias. Cases count as their `weights` (N,) say,
    and columns where the mask of their `context` has them. Source: Hinton (2010), section 8.1.
    """
    ranks = distributed.ranks()
    bias = match_cases(
        rbm.visible,
        cases,
        weights=weights,
        context=context,
        mean_over_ranks=unit_parameters.mean_over_ranks if ranks > 1 else None,
        count=len(cases) * ranks,
    )
    rbm.visible_bias.copy_(bias)


@check_arguments
@torch.no_grad()
def init_low_rank(rbm: RBM, cases: Cases | arrays.Rows, rank: int, *, rng: torch.Generator) -> None:
    """Add to the weights of a fresh `rbm` what gives its visible units the variance of the cases
    (N, visible) along their first `rank` principal components: for cases in clusters.

        W += D^-1/2 V (1 - 1/l)^1/2 U' / s

    V and l are eigenvectors and eigenvalues of the cases' correlations, D their variances, s the
    standard deviation of a hidden unit without input and U orthogonal directions at random. As far
    as units are Gaussian that is the maximum of the likelihood over weights of this rank, and no
    component need grow from noise. Biases keep both layers where they were. Call it after
    `init_visible_bias`. Source: the simple part of Bereux, Decelle, Furtlehner, Rosset & Seoane
    (2024), arXiv 2405.15376, who train a machine exactly in these directions.

    Raises:
        ConfigError: a rank below 1 or above the number of units of a layer.
        DataError: cases that do not fit the machine.
    """
    cases = rbm.as_cases(cases, rng=rng)
    most = min(rbm.weight.shape)
    if not 1 <= rank <= most:
        raise ConfigError(f"rank = {rank}: expected 1 to {most}, the units of the smaller layer")
    mean = cases.mean(0, dtype=torch.float64)
    covariance = (cases.t() @ cases / len(cases)).double() - torch.outer(mean, mean)
    variance = covariance.diagonal()
    inverse = torch.where(variance > CONSTANT, variance.clamp(min=CONSTANT).rsqrt(), 0.0)[:, None]
    values, vectors = torch.linalg.eigh(inverse * covariance * inverse.t())
    size = (1 - 1 / values[-rank:].clamp(min=1)).sqrt()
    random = torch.randn(rbm.hidden.size, rank, generator=rng, device=rng.device).double()
    directions = torch.linalg.qr(random).Q
    alone = rbm.hidden_bias[None].double()
    spread = rbm.hidden.variance(alone)[0].sqrt()
    added = inverse * (vectors[:, -rank:] * size) @ directions.t() / spread
    rbm.hidden_bias.sub_(mean @ added)
    rbm.visible_bias.sub_(added @ rbm.hidden.mean(alone)[0])
    rbm.weight.add_(added)


@check_arguments
def update(
    rbm: RBM,
    contrast: Contrast,
    config: CDConfig,
    epoch: int,
    state: CDState,
    rng: torch.Generator,
    copy: RBM | None = None,
) -> None:
    """One minibatch: run both phases, then move the weights and both biases up the gradient. The
    data are in the first N rows of the contrast's `visible`.

    `copy` is the RBM in lower precision where the contrast was made for one; it moves along.
    """
    contrast.run_phases(copy or rbm, config, rng, state.chains)
    ascend(rbm, contrast, config, epoch, state, copy)


@check_arguments
def ascend(
    rbm: RBM,
    contrast: Contrast,
    config: CDConfig,
    epoch: int,
    state: CDState,
    copy: RBM | None = None,
    clear: Callable[[Tensor], None] | None = None,
) -> None:
    """Move the weights and both biases up the gradient of a contrast whose phases are there.

    `clear` puts zeros, in place, where weights (visible, hidden) are held at zero.
    """
    if config.sparsity_cost:
        penalties.add_sparsity_gradient(contrast, config, state)
    if config.centred:
        centring.update_means(contrast, copy or rbm, state)
        centring.centre(contrast, state)
    gradients, factors = contrast.gradients(), centring.precondition(contrast, state)
    if factors is not None:
        gradients["weight"] = [centring.divided(contrast, factors)]
    gradients["weight"] += penalties.weight_terms(rbm.weight, config, factors)
    rate, momentum = config.learning_rate_at(epoch), config.momentum_at(epoch)
    apply_update(
        rbm,
        gradients,
        state.velocity,
        rate=rate,
        momentum=momentum,
        decay={"weight": config.weight_decay} if factors is None else {},
        copy=copy,
    )
    if clear is not None:
        clear(rbm.weight)
        if "weight" in state.velocity:
            clear(state.velocity["weight"])
    learns_units = contrast.own and epoch >= config.units_frozen_epochs
    if learns_units:
        apply_update(
            rbm,
            contrast.own,
            state.velocity,
            rate=config.units_rate * rate,
            momentum=momentum,
            copy=copy,
        )
        rbm.visible.keep_in_range(state.visible_std)
        rbm.hidden.keep_in_range()
    if config.centred:
        centring.keep_biases(rbm, state)
    if clear is not None or learns_units or config.centred:
        precision.sync(copy or rbm, rbm)


class ContrastiveDivergence(loop.Algorithm):
    """CD or PCD of one RBM, for `loop.run`."""

    net: RBM

    def __init__(
        self, rbm: RBM, config: CDConfig, state: CDState, rng: torch.Generator, copy: RBM
    ) -> None:
        self.net, self.config, self.state, self.rng, self.copy = rbm, config, state, rng, copy
        self.contrasts: dict[int, Contrast] = {}
        self.error = torch.zeros((), device=rbm.weight.device)
        self.guard = normalisable.Guard(rbm, copy)
        self.warned = False
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return rate and momentum of the epoch."""
        self.epoch = epoch
        self.error.zero_()
        self.guard.begin_epoch()
        # a captured step holds whether the units' own parameters learn
        learns = any(map(unit_parameters.there_are, (self.net.visible, self.net.hidden)))
        frozen = learns and epoch < self.config.units_frozen_epochs
        return self.config.learning_rate_at(epoch), self.config.momentum_at(epoch), float(frozen)

    def begin_chunk(self, cases: Resident) -> None:
        """Look at the spread of the first cases where visible units have parameters of their
        own.
        """
        if self.state.visible_std is None and unit_parameters.there_are(self.net.visible):
            moments = unit_parameters.moments(cases.cases, cases.weights, cases.context)
            self.state.visible_std = unit_parameters.spread(*moments, self.net)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Learn from the cases `index` (n,)."""
        (index,) = batch
        if len(index) not in self.contrasts:
            self.contrasts[len(index)] = Contrast(self.copy, len(index), self.config)
        contrast = self.contrasts[len(index)]
        cases.gather(index, contrast.data)
        contrast.context = cases.context_of(index)
        contrast.given = cases.given_of(index)
        contrast.bias_scale = (
            None
            if contrast.context is None
            else self.net.visible.bias_scale(contrast.context.repeat(2))
        )
        update(self.net, contrast, self.config, self.epoch, self.state, self.rng, self.copy)
        self.guard.after_update()
        if not self.config.persistent:
            self.error += contrast.squared_error()

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the rate and, but for PCD, the mean squared error of reconstructions a visible
        unit.
        """
        metrics = {"learning_rate": self.config.learning_rate_at(self.epoch)}
        if not self.config.persistent:
            metrics["reconstruction_error"] = float(self.error) / (cases * self.net.visible.size)
        metrics |= self.state.exchange(self.net, self.config, self.rng)
        if self.guard.needed:
            metrics["scaled_back"] = crossed = self.guard.end_epoch()
            if crossed and not self.warned:
                self.warned = True
                log.warning(
                    "%d updates of epoch %d took the weights between %s and %s to where the model "
                    "has no normaliser; they were scaled back, which goes on without a word. Try a "
                    "third of the learning rate (%g)",
                    crossed,
                    self.epoch + 1,
                    self.net.visible,
                    self.net.hidden,
                    self.config.learning_rate,
                )
        return metrics


@check_arguments
def epochs(
    rbm: RBM,
    cases: Tensor | arrays.Rows,
    *,
    config: CDConfig,
    rng: torch.Generator,
    classes: Tensor | None = None,
    weights: Tensor | None = None,
    context: Context | None = None,
    state: CDState | Mapping[str, Any] | None = None,
    stage: str = "cd",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Train `rbm` on `cases` (N, visible; uint8 pixels or floats in [0, 1]), yielding a record
    after each epoch.

    Args:
        rbm: the machine that learns, in place.
        cases: data on the RBM's device, or `Rows` that put them there.
        config: rates, epochs and kind of negative phase.
        rng: where all random choices come from; its device is the RBM's.
        classes: labels (N,) by which minibatches are balanced; without them the order is plain
            random.
        weights: how often each case is shown, relative to the others (N,); by default once an
            epoch.
        context: what is fixed of each case besides its states, such as its count or which sites are
            absent (N, ...).
        state: the `state` of an earlier record, to go on after it (`rng` must stand where it stood
            then).
        stage: the name the records carry.
        dtype: the precision of products, e.g. torch.bfloat16
            (`compute.select.pick_precision("auto", device)` says whether it pays); by default that
            of the weights.
        checked: cases, classes and weights were looked at already: leave that out.

    Yields:
        EpochResult, with metrics `reconstruction_error` (mean squared error a pixel; not for PCD,
            and not to be trusted as a measure of the
        model) and `learning_rate`; with states unbounded in both layers `scaled_back`, how many
            updates would have left the models that can be normalised.

    Raises:
        DataError: cases, classes or weights that do not fit the machine or each other, NaN, or
            values out of range.
        ConfigError: weights with which the machine is not seen to be normalised, see
            `models.normalisable`.
        DivergedError: a weight is NaN or infinite after an epoch.
    """
    if not checked:
        cases = rbm.check_cases(cases, rng=rng, context=context)
        classes = None if classes is None else arrays.as_labels(classes, len(cases), None)
        weights = arrays.as_weights(weights, len(cases))
    yield from learn(
        rbm,
        Resident(cases, classes=classes, weights=weights, context=context),
        config,
        rng,
        state,
        stage,
        dtype,
    )


@check_arguments
def learn(
    rbm: RBM,
    source: Source,
    config: CDConfig,
    rng: torch.Generator,
    state: CDState | Mapping[str, Any] | None,
    stage: str,
    dtype: torch.dtype | None,
    epochs: int | None = None,
) -> Iterator[EpochResult]:
    """Train `rbm` on any source of cases (n, visible), in place: `epochs`, for cases that were
    looked at already.

    `epochs` says how many of the config's epochs are done here, by default all.
    """
    normalisable.check(rbm)
    penalties.check_sparsity(rbm, config)
    context = getattr(source, "context", None)
    if config.exchange_steps and (context is not None or distributed.ranks() > 1):
        raise ConfigError(
            f"exchange_steps = {config.exchange_steps}: chains trade places with those of earlier "
            "machines in one process and without a context of each case; expected "
            "exchange_steps=0 here"
        )
    copy = precision.low_precision_copy(rbm, dtype)
    state = CDState.read(state)
    if state is None:
        state = init_state(copy, config, rng)
    else:
        check_fit(state, expected_state(rbm, config, state), type(rbm).__name__)
    algorithm = ContrastiveDivergence(rbm, config, state, rng, copy)
    for record in loop.run(
        algorithm,
        source,
        epochs=config.epochs if epochs is None else epochs,
        batch_size=config.batch_size,
        rng=rng,
        stage=stage,
    ):
        yield record._replace(epochs=config.epochs)


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, start="init_state")
