"""The restricted Boltzmann machine: a weight matrix, two biases, and what they say about two layers
of units.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import accumulation_dtype, affine, differentiates, require_fit
from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError
from wakesleep.models import normalisable
from wakesleep.models.cases import as_numbers, check_cases
from wakesleep.models.layers import conditional_mean, sample_conditional
from wakesleep.sources.axes import Hidden, HiddenOut, Visible, VisibleOut
from wakesleep.units import Context, Groups, Units, as_units, from_spec
from wakesleep.units.base import present


def check_spread(weight_std: float) -> None:
    """Raise ConfigError unless `weight_std` can be a standard deviation."""
    if weight_std < 0:
        raise ConfigError(f"weight_std = {weight_std}: expected 0 or more, e.g. 0.1")


class Statistics(NamedTuple):
    """What an RBM learns from: the mean over cases of the products v_i h_j, of v_i and of h_j."""

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor


@check_methods
class RBM(nn.Module):
    """A restricted Boltzmann machine, p(v, h) = exp(-E(v, h)) / Z with E(v, h) = U(v) + U(h) - v'Wh
    - a'v - b'h.

    The potentials U are those of the families of units, 0 for binary ones. A `context` says of each
    case what its visible units hold fixed.

    Weights are (visible, hidden) and start as N(0, weight_std^2), 0.1 as in Hinton's MATLAB code;
    biases start at zero. Source: Hinton, "To Recognize Shapes, First Learn to Generate Images"
    (2007); Hinton, Osindero & Teh (2006), section 2.

    Raises:
        ConfigError: units beside each other that no weights normalise, see `models.normalisable`.
    """

    visible: Units
    hidden: Units

    @check_arguments
    def __init__(
        self,
        visible: Units | int,
        hidden: Units | int,
        *,
        rng: torch.Generator,
        weight_std: float = 0.1,
    ) -> None:
        super().__init__()
        check_spread(weight_std)
        self.visible, self.hidden = as_units(visible), as_units(hidden)
        normalisable.check_pair(self.visible, self.hidden)
        weight = torch.empty(self.visible.size, self.hidden.size, device=rng.device).normal_(
            0.0, weight_std, generator=rng
        )
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.visible_bias = nn.Parameter(
            torch.zeros(self.visible.size, device=rng.device), requires_grad=False
        )
        self.hidden_bias = nn.Parameter(
            torch.zeros(self.hidden.size, device=rng.device), requires_grad=False
        )

    @classmethod
    def sharing(
        cls,
        visible: Units,
        hidden: Units,
        weight: nn.Parameter,
        visible_bias: nn.Parameter,
        hidden_bias: nn.Parameter,
    ) -> RBM:
        """Return a machine that stands on parameters of others, weight (visible, hidden) and two
        biases: training it moves theirs.
        """
        rbm = cls.__new__(cls)
        nn.Module.__init__(rbm)
        rbm.visible, rbm.hidden = visible, hidden
        rbm.weight, rbm.visible_bias, rbm.hidden_bias = weight, visible_bias, hidden_bias
        return rbm

    def turned(self) -> RBM:
        """Return the same machine seen from the other side, on the same parameters: its visible
        units are the hidden ones here. What clamps visible units clamps hidden ones with it.
        """
        weight = nn.Parameter(self.weight.t(), requires_grad=False)
        return RBM.sharing(self.hidden, self.visible, weight, self.hidden_bias, self.visible_bias)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        return {"visible": self.visible.size, "hidden": self.hidden.size}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.weight

    def hidden_input(
        self, visible: Visible, out: HiddenOut | None = None, context: Context | None = None
    ) -> Tensor:
        """Return vW + b, (N, hidden); b is multiplied by what the visible units' `bias_scale` says
        of each case.
        """
        scale = self._bias_scale(context)
        if scale is None:
            return affine(visible, self.weight, self.hidden_bias, out=out)
        return torch.addcmul(visible @ self.weight, scale, self.hidden_bias, out=out)

    def visible_input(self, hidden: Hidden, out: VisibleOut | None = None) -> Tensor:
        """Return hW' + a, (N, visible)."""
        return affine(hidden, self.weight.t(), self.visible_bias, out=out)

    def hidden_probs(
        self, visible: Visible, out: HiddenOut | None = None, context: Context | None = None
    ) -> Tensor:
        """Return E[h | v], for Bernoulli units sigm(vW + b), (N, hidden)."""
        if self._bias_scale(context) is None:
            return conditional_mean(self.hidden, visible, self.weight, self.hidden_bias, out=out)
        total_input = self.hidden_input(visible, out, context)
        return self.hidden.mean(
            total_input, out=None if differentiates(total_input) else total_input
        )

    def visible_probs(
        self, hidden: Hidden, out: VisibleOut | None = None, context: Context | None = None
    ) -> Tensor:
        """Return E[v | h], for Bernoulli units sigm(hW' + a), (N, visible)."""
        if context is None:
            return conditional_mean(
                self.visible, hidden, self.weight.t(), self.visible_bias, out=out
            )
        total_input = self.visible_input(hidden, out)
        into = None if differentiates(total_input) else total_input
        return self.visible.mean(total_input, context=context, out=into)

    def sample_hidden(
        self,
        visible: Visible,
        rng: torch.Generator,
        probs: HiddenOut | None = None,
        out: HiddenOut | None = None,
        context: Context | None = None,
    ) -> Tensor:
        """Return states drawn from p(h | v), (N, hidden), to `out` where given; E[h | v] is left in
        `probs` where given.
        """
        if self._bias_scale(context) is None:
            return sample_conditional(
                self.hidden, visible, self.weight, self.hidden_bias, rng, probs, out
            )
        return self.hidden.mean_and_sample(
            self.hidden_input(visible, context=context), rng, mean=probs, out=out
        )[1]

    def sample_visible(
        self,
        hidden: Hidden,
        rng: torch.Generator,
        probs: VisibleOut | None = None,
        out: VisibleOut | None = None,
        at_mean: Collection[str] = (),
        context: Context | None = None,
    ) -> Tensor:
        """Return states drawn from p(v | h), (N, visible), likewise; groups whose names are in
        `at_mean` are left at their mean.
        """
        if context is None:
            return sample_conditional(
                self.visible, hidden, self.weight.t(), self.visible_bias, rng, probs, out, at_mean
            )
        return self.visible.mean_and_sample(
            self.visible_input(hidden), rng, context=context, mean=probs, out=out
        )[1]

    def draw_hidden(
        self,
        visible: Visible,
        rng: torch.Generator,
        probs: HiddenOut | None = None,
        out: HiddenOut | None = None,
    ) -> Tensor:
        """Return `sample_hidden`, which older versions called so."""
        warnings.warn(
            "RBM.draw_hidden is called sample_hidden now", DeprecationWarning, stacklevel=2
        )
        return self.sample_hidden(visible, rng, probs, out)

    def draw_visible(
        self,
        hidden: Hidden,
        rng: torch.Generator,
        probs: VisibleOut | None = None,
        out: VisibleOut | None = None,
    ) -> Tensor:
        """Return `sample_visible`, which older versions called so."""
        warnings.warn(
            "RBM.draw_visible is called sample_visible now", DeprecationWarning, stacklevel=2
        )
        return self.sample_visible(hidden, rng, probs, out)

    def _bias_scale(self, context: Context | None) -> Tensor | None:
        """Return by what the hidden biases are multiplied in each case, (N, 1); None for 1."""
        return None if context is None else self.visible.bias_scale(context)

    def _hidden_bias_term(self, hidden: Tensor, context: Context | None) -> Tensor:
        """Return b'h, (N,)."""
        scale, term = self._bias_scale(context), hidden @ self.hidden_bias
        return term if scale is None else term * scale.squeeze(-1)

    def energy(self, visible: Visible, hidden: Hidden, context: Context | None = None) -> Tensor:
        """Return E(v, h) = U(v) + U(h) - v'Wh - a'v - b'h of each pair, (N,), nats."""
        require_fit(visible, self.weight)
        require_fit(hidden, self.weight.t())
        visible = present(visible, context)
        potentials = self.visible.potential(visible, context) + self.hidden.potential(hidden)
        terms = (
            -(visible @ self.weight * hidden).sum(-1)
            - visible @ self.visible_bias
            - self._hidden_bias_term(hidden, context)
        )
        return terms + potentials

    def free_energy(self, visible: Visible, context: Context | None = None) -> Tensor:
        """Return F(v) = U(v) - a'v - Gamma(vW + b), so that p(v) = exp(-F(v)) / Z; (N,), nats per
        case. Gamma is the hidden units'.
        """
        visible = present(visible, context)
        total_input = self.hidden_input(visible, context=context)
        return (
            self.visible.potential(visible, context)
            - visible @ self.visible_bias
            - self.hidden.log_partition(total_input)
        )

    def hidden_free_energy(self, hidden: Hidden, context: Context | None = None) -> Tensor:
        """Return F(h) = U(h) - b'h - Gamma(hW' + a), so that p(h) = exp(-F(h)) / Z; (N,), nats per
        case. Gamma is the visible units'.
        """
        total_input = self.visible_input(hidden)
        bias = self.hidden.potential(hidden) - self._hidden_bias_term(hidden, context)
        return bias - self.visible.log_partition(total_input, context)

    def columns(self, group: str | slice) -> slice:
        """Return the columns of the visible group of that name.

        Raises:
            ConfigError: there are no groups, none of that name, or a slice with steps.
        """
        if isinstance(group, slice):
            start, stop, step = group.indices(self.visible.size)
            if step != 1:
                raise ConfigError(f"columns {group}: expected consecutive ones, e.g. slice(0, 10)")
            return slice(start, stop)
        if not isinstance(self.visible, Groups):
            raise ConfigError(
                f"a group called {group!r} of {self.visible}, which has no named groups: make it "
                "with units.Groups(name=...)"
            )
        return self.visible.columns(group)

    def group_scores(self, total_input: Hidden, group: str | slice) -> Tensor:
        """Return log p(column on | the other visible units) up to a constant of the case, the
        hidden units summed out: (N, columns), nats.

        For a categorical group of visible units, its name or its columns; `total_input` (N, hidden)
        is the hidden units' input without the group's part. The score is -F = a_y + log sum_h
        exp(h'(x + W_y)), less the value that W_y = 0 would give, which all columns share.
        """
        columns = self.columns(group)
        total_input = total_input.to(accumulation_dtype(total_input.dtype))
        return (
            self.hidden.log_partition_delta(total_input, self.weight[columns])
            + self.visible_bias[columns]
        )

    def marginal_free_energy(self, visible: Visible, group: str | slice) -> Tensor:
        """Return -log sum_y exp(-F(v)) over the levels y of a categorical site, (N,), nats per
        case; what stands in the group's columns of visible states (N, visible) is not read.
        """
        columns = self.columns(group)
        rest = visible.clone()
        rest[:, columns] = 0
        total_input = self.hidden_input(rest)
        log_p = rest @ self.visible_bias + self.hidden.log_partition(total_input)
        scores = self.group_scores(total_input, columns)
        return self.visible.potential(rest) - log_p - torch.logsumexp(scores, 1)

    def score(self, visible: Visible, group: str | slice) -> Tensor:
        """Return log p(column on | all visible units outside its site) of a categorical group, (N,
        columns), nats.

        Each site adds up to 1 over its levels; what stands in it is not read, what stands in the
        group's other sites is.

        Raises:
            ConfigError: no group of that name, or columns that are not one categorical site or
                several whole ones.
        """
        columns = self.columns(group)
        sites = [
            site
            for site in self.visible.categorical_columns
            if columns.start <= site.start and site.stop <= columns.stop
        ]
        if (
            not sites
            or sum(site.stop - site.start for site in sites) != columns.stop - columns.start
        ):
            raise ConfigError(
                f"a score of {group!r}, columns {columns.start} to {columns.stop - 1} of "
                f"{self.visible}: expected one categorical site or several, whole; binary units "
                "have hidden_input, visible_probs and pseudo.pseudo_log_likelihood"
            )
        log_probs = []
        for site in sites:
            others = visible.clone()
            others[:, site] = 0
            log_probs.append(
                torch.log_softmax(self.group_scores(self.hidden_input(others), site), 1)
            )
        return torch.cat(log_probs, 1)

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a machine like this one, as JSON can hold it."""
        return {"class": "RBM", "visible": self.visible.spec(), "hidden": self.hidden.spec()}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> RBM:
        """Return a machine like the one that `spec` described, its parameters yet to be filled."""
        return cls(from_spec(spec["visible"]), from_spec(spec["hidden"]), rng=torch.Generator())

    def check_cases(
        self,
        cases: Any,
        *,
        rng: torch.Generator | None = None,
        missing: bool = False,
        context: Context | None = None,
        states: bool = False,
    ) -> Any:
        """Return cases (N, visible) as a tensor or the `Rows` that came, once they are seen to be
        data, or `states`, of the visible units.

        NaN pass where `missing`. The `context` is that of each case, (N, ...), or one of all, (1,
        ...).

        Raises:
            DataError: another shape or device, no cases, NaN (unless `missing`), infinity, or
                values that the units do not take; a context that does not fit, or absent columns
                that are not 0.
        """
        return check_cases(
            self.visible,
            cases,
            self.weight,
            rng=rng,
            missing=missing,
            context=context,
            states=states,
        )

    def as_cases(
        self,
        cases: Any,
        *,
        rng: torch.Generator | None = None,
        missing: bool = False,
        context: Context | None = None,
    ) -> Tensor:
        """Return cases (N, visible) in the machine's type, once they are seen to be what its
        visible units take; NaN pass where `missing`. The `context` is as in `check_cases`.

        Raises:
            DataError: another shape or device, no cases, NaN (unless `missing`), infinity, or
                values that the units do not take; a context that does not fit.
        """
        checked = self.check_cases(cases, rng=rng, missing=missing, context=context)
        checked = checked if isinstance(checked, Tensor) else checked[0 : len(checked)]
        return as_numbers(self.visible, checked, self.weight)

    def statistics(
        self, visible: Visible, hidden: Hidden, context: Context | None = None
    ) -> Statistics:
        """Return <v h'>, <v> and <h>, the means over N cases: (visible, hidden), (visible,),
        (hidden,).

        They are what -E is differentiated to: where a context multiplies the hidden biases, <h> is
        the mean of h times that.
        """
        scale = self._bias_scale(context)
        return Statistics(
            visible.t() @ hidden / len(visible),
            visible.mean(0),
            (hidden if scale is None else scale * hidden).mean(0),
        )
