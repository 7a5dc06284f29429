"""An RBM of a table: columns of different kinds side by side, with holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from wakesleep.compute.select import pick_device
from wakesleep.data.table_units import TableUnits
from wakesleep.estimators import persistence, shared
from wakesleep.estimators.shared import Array
from wakesleep.evaluation import likelihood
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.ranges import require
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.configs import CDConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import checkpoint
from wakesleep.samplers import gibbs, missing
from wakesleep.units import Context


class TableRBM(persistence.Saved, BaseEstimator):
    """A restricted Boltzmann machine of a table whose columns are of different kinds, with holes.

    Each column takes the units that fit it (`units_` says which): a binary unit where there are two
    values, a softmax site for categories and up to seven levels, and for other numbers a
    thermometer, whose states are the levels or, of counts and real numbers, values with about as
    many cases between any two; a number in between is the mean of its neighbours. p(row) is that
    of an RBM with binary hidden units; `sample`, `impute` and `score_samples` speak of the table as
    it came. Source: Hinton (2002); Salakhutdinov, Mnih & Hinton (2007), whose softmax sites may be
    absent.

    Args:
        n_components: binary hidden units.
        units: "auto" looks at the columns; a list has a kind for each column, a dictionary the
            kinds of some: "binary", "categories", "levels", "counts", "real" or "auto".
        n_bins: intervals of columns of counts and real numbers.
        missing: what a hole means in learning. "unknown": a state that nobody wrote down, drawn
            from the model after each epoch; "absent": a column that this row does not have, which
            takes no part in either phase.
        n_iter: epochs over the rows.
        batch_size: rows in a minibatch.
        learning_rate: rate in the first epoch.
        final_learning_rate: rate in the last epoch, reached in a straight line.
        momentum: momentum after the first epochs.
        weight_decay: L2 penalty on the weights.
        n_gibbs_steps: K, the Gibbs steps of the negative phase.
        persistent: persistent chains (PCD) instead of chains that start at the data (CD); not with
            missing="absent".
        verbose: 1 shows a progress bar, 2 adds a line an epoch.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:0".
        random_state: seed, RandomState or None.

    Attributes:
        units_: what each column was taken for; its repr is a line a column.
        rbm_: the `wakesleep.RBM`.
        base_rates_: the mean of each unit over the rows where it is known, (units,).
        log_partition_: log Z, nats, exact or by AIS; None until `score_samples` asks for it.
        n_iter_: epochs done.
        n_features_in_: D, and `feature_names_in_` where X had names.

    >>> X = np.array([["a", 0.0], ["b", 1.0]] * 20, dtype=object)
    >>> rbm = TableRBM(5, n_iter=20, random_state=0).fit(X)
    >>> rbm.units_
    0: binary, 'a', 'b'
    1: binary, 0, 1
    >>> rbm.sample(3, random_state=0).shape
    (3, 2)
    """

    def __init__(
        self,
        n_components: int = 100,
        *,
        units: str | Sequence[str] | Mapping[Any, str] = "auto",
        n_bins: int = 8,
        missing: Literal["unknown", "absent"] = "unknown",
        n_iter: int = 100,
        batch_size: int = 20,
        learning_rate: float = 0.05,
        final_learning_rate: float = 0.005,
        momentum: float = 0.9,
        weight_decay: float = 0.001,
        n_gibbs_steps: int = 1,
        persistent: bool = False,
        verbose: bool | int = 0,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.units = units
        self.n_bins = n_bins
        self.missing = missing
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.n_gibbs_steps = n_gibbs_steps
        self.persistent = persistent
        self.verbose = verbose
        self.device = device
        self.random_state = random_state

    @shared.all_or_nothing
    def fit(self, X: Any, y: Any = None) -> TableRBM:
        """Learn from the table X, a data frame or an array (N, D), with holes.

        Raises:
            ConfigError: parameters that cannot work, `units` that does not fit the table.
            DataError: a column without a value, infinity, and what else a column cannot hold, by
                its name.
        """
        shared.check_choice("missing", self.missing, ("unknown", "absent"))
        require(self.n_components >= 1, f"n_components = {self.n_components}: expected 1 or more")
        require(self.n_bins >= 1, f"n_bins = {self.n_bins}: expected 1 or more")
        require(
            not (self.persistent and self.missing == "absent"),
            "persistent = True goes on with chains of other rows, which other columns are absent "
            "from; expected persistent = False with missing = 'absent'",
        )
        self.units_ = TableUnits(X, self.units, self.n_bins)
        if self.verbose:
            print(self.units_)
        self.n_features_in_ = len(self.units_.format.names)
        if self.units_.format.frame is not None:
            self.feature_names_in_ = np.array(self.units_.format.names, dtype=object)
        rng = shared.fresh_rng(shared.random_source(self.random_state), pick_device(self.device))
        self.rbm_ = RBM(self.units_.units(), self.n_components, rng=rng, weight_std=0.01)
        cases = self._cases(X)
        known = ~torch.isnan(cases)
        mean = torch.where(known, cases, 0).sum(0) / known.sum(0)
        start = self.rbm_.visible.match(mean, cases=int(known.sum(0).min()))
        self.rbm_.visible_bias.copy_(start)
        context = None
        if self.missing == "absent" and not bool(known.all()):
            context = Context(mask=known)
            cases.nan_to_num_(nan=0.0)
        elif not bool(known.all()):
            missing.init_missing(cases, rng, self.rbm_.visible)
        epochs = cd.epochs(
            self.rbm_, cases, config=self._config(), rng=rng, context=context, checked=True
        )
        for _ in shared.watch(epochs, self.n_iter, self.verbose, type(self).__name__):
            if context is None and not bool(known.all()):
                missing.refill(self.rbm_, cases, known, rng)
        self.base_rates_ = mean.cpu().numpy()
        self.log_partition_: float | None = None
        self.n_iter_ = self.n_iter
        return self

    def sample(
        self, n_samples: int = 1, *, random_state: Any = None, n_gibbs_steps: int = 1000
    ) -> Any:
        """Return `n_samples` rows after `n_gibbs_steps` Gibbs steps from random hidden states, as
        the table came to `fit`: a frame with its columns and types, or an array.

        Counts and real numbers are drawn about the state of their column.
        """
        check_is_fitted(self)
        source = shared.random_source(random_state)
        rng = shared.fresh_rng(source, self.rbm_.weight.device)
        start = gibbs.random_hidden(self.rbm_, n_samples, rng)
        chains = gibbs.run(self.rbm_, start, n_gibbs_steps, rng)
        return self.units_.decode(chains.visible.cpu().numpy(), source)

    def impute(
        self,
        X: Any,
        *,
        how: Literal["mean", "sample"] = "mean",
        random_state: Any = None,
        n_gibbs_steps: int = 100,
    ) -> Any:
        """Return the table X with its holes filled in given what each row has; the rest stays.

        Args:
            X: rows like those that came to `fit`.
            how: "mean", the most probable category or level and the expected number; "sample", a
                draw from p(holes | rest).
            random_state: seed of the chains.
            n_gibbs_steps: Gibbs steps with the known columns clamped; a model that learned with
                `missing="absent"` needs none, for it says p(hidden | what is there).

        Raises:
            DataError: other columns than in `fit`, values that it did not see.
        """
        check_is_fitted(self)
        shared.check_choice("how", how, ("mean", "sample"))
        source = shared.random_source(random_state)
        rng = shared.fresh_rng(source, self.rbm_.weight.device)
        cases = self._cases(X)
        mean = how == "mean"
        if self.missing == "absent":
            filled = self._from_what_is_there(cases, rng, mean)
        else:
            filled = missing.impute(
                self.rbm_, cases, rng, steps=n_gibbs_steps, mean=mean, checked=True
            )
        table = self.units_.decode(filled.cpu().numpy(), None if mean else source)
        return self.units_.format.fill(X, table)

    def score_samples(self, X: Any) -> Array:
        """Return log p(row) of each row of X, nats: (N,), a lower bound where a count or a real
        number lies between two states.

        With q_k the share of state k in a number x, p(x | k) = q_k / w_k, and what is said is
        -F(E_q v) - log Z - sum_k q_k log w_k <= log sum_v p(v) p(x | v), by Jensen's inequality
        twice: -F is convex in v. log Z is exact where one side is small, and by annealed
        importance sampling else. With holes it is a lower bound, the mean over fillings drawn from
        the model of log p(row with its filling), without the widths of what is unknown.

        Raises:
            DataError: holes where the model learned with `missing="absent"`: the log Z of each
                pattern of holes is another.
        """
        check_is_fitted(self)
        encoded = self.units_.encode(X)
        holes = int(np.isnan(encoded).any(axis=1).sum())
        if holes and self.missing == "absent":
            raise DataError(
                f"{holes} rows have holes, and this model learned with missing='absent', where "
                "each pattern of holes has a log Z of its own; expected rows without holes. Leave "
                "those out, or fit with missing='unknown'"
            )

        def seeded() -> torch.Generator:
            return shared.fresh_rng(np.random.RandomState(0), self.rbm_.weight.device)

        def filled(row: Array) -> Tensor:
            rng, case = seeded(), self._tensor(row)
            known = missing.init_missing(case, rng, self.rbm_.visible)
            fillings = missing.draws(self.rbm_, case, known, rng)
            return torch.stack([self.rbm_.free_energy(filling) for filling in fillings]).mean(0)

        free = shared.apart(encoded, lambda rows: self.rbm_.free_energy(self._tensor(rows)), filled)
        if self.log_partition_ is None:
            estimate = likelihood.log_partition(
                self.rbm_, self._tensor(self.base_rates_[None]), rng=seeded()
            )
            forward, exact = estimate.forward.log_z, estimate.exact
            self.log_partition_ = forward if exact is None else exact
        log_p: Array = -free.double().cpu().numpy() - self.log_partition_
        return log_p - self.units_.log_widths(encoded)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log p(row) of X, nats a row: what a grid search compares."""
        return float(self.score_samples(X).mean())

    def _cases(self, X: Any) -> Tensor:
        """Return the table X as cases (N, units) on the device, NaN where a value is missing."""
        return self._tensor(self.units_.encode(X))

    def _tensor(self, cases: Array) -> Tensor:
        """Return cases (N, units) on the device."""
        weight = self.rbm_.weight
        return torch.tensor(cases, dtype=weight.dtype, device=weight.device)

    def _from_what_is_there(self, cases: Tensor, rng: torch.Generator, mean: bool) -> Tensor:
        """Return cases (N, units) with absent columns from p(v | h), h from the others."""
        known = ~torch.isnan(cases)
        there = cases.nan_to_num(nan=0.0)
        hidden = self.rbm_.hidden_probs(there, context=Context(mask=known))
        if mean:
            filled = self.rbm_.visible_probs(hidden)
        else:
            states = torch.bernoulli(hidden, generator=rng)
            filled = self.rbm_.sample_visible(states, rng)
        return torch.where(known, there, filled)

    def _nets(self) -> tuple[DBN, None]:
        """Return what a model file holds: a net of one layer."""
        check_is_fitted(self)
        dbn = DBN((self.units_.units(), self.n_components), rng=generator(0))
        dbn.memory = self.rbm_
        return dbn, None

    def _set_nets(self, model: checkpoint.Model, tensors: dict[str, Tensor]) -> None:
        """Take over what a model file held."""
        self.rbm_, self.log_partition_ = model.dbn.memory, None

    def _config(self) -> CDConfig:
        """Return the settings of the learning loop."""
        return shared.settings(
            CDConfig,
            shared.PRETRAINING,
            epochs=self.n_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            momentum=self.momentum,
            initial_momentum=min(0.5, self.momentum),
            weight_decay=self.weight_decay,
            gibbs_steps=self.n_gibbs_steps,
            persistent=self.persistent,
            sample_visible=True,
            label_first=False,
        )

    def __sklearn_tags__(self) -> Any:
        """Say that categories, words and NaN are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
