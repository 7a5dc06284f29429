"""The deep Boltzmann machine: every layer is joined to the one below and to the one above."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.cases import as_numbers, check_cases
from wakesleep.models.layers import conditional_mean
from wakesleep.models.rbm import RBM
from wakesleep.sources.arrays import UNLABELLED, one_hot
from wakesleep.sources.axes import (
    Even,
    EvenOddWritten,
    Odd,
    ShareMask,
    Shares,
    SomeLabels,
    Visible,
    VisibleMask,
)
from wakesleep.units import Bernoulli, Categorical, Groups, Units, as_units, from_spec

STEPS = 30
"""Steps of mean-field recognition, as many as Salakhutdinov & Hinton (2009) take at most."""


class MeanField(NamedTuple):
    """The means of a factorial q(h | v), of N cases."""

    even: Tensor
    """Of the even layers, the given visible one first, (N, even)."""
    odd: Tensor
    """Of the odd layers, (N, odd)."""
    change: Tensor
    """The largest change of a mean in the last step, a scalar: large where steps were too few."""


class Label(NamedTuple):
    """What is known of the label units of N cases."""

    states: Shares
    """(N, labels): one-hot, or even shares where the label is not known."""
    known: ShareMask
    """(N, 1)."""

    def put(self, means: Tensor, units: Groups) -> Tensor:
        """Return means (N, units) of a side with the labels that are known, written in place
        where no graph is kept, if it has them.
        """
        if "label" in units.names:
            columns = units.columns("label")
            means = means.clone() if means.requires_grad else means
            means[:, columns] = torch.where(self.known, self.states, means[:, columns])
        return means


@check_methods
class DBM(nn.Module):
    """A deep Boltzmann machine, p(v, h) = exp(-E) / Z with E = -v'W1 h1 - h1'W2 h2 - ... - biases.

    `sizes` runs from the visible layer to the top, e.g. (784, 500, 1000); units may stand in place
    of the first number. With `labels=10` a categorical group stands beside the layer below the top,
    joined to the top, as in a `DBN`.

    Given the odd layers (h1, h3, ...) the even ones (v, h2, ...) are independent, and the other way
    round. So the net is one RBM between them, `rbm`, whose visible units are the even layers and
    whose weights are zero between layers that are no neighbours; of it only v and the label are
    ever observed. Whatever samples, anneals or enumerates an RBM does so with a DBM. Weights start
    as N(0, weight_std^2), biases at zero. Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann
    machines".

    Raises:
        ConfigError: fewer than three layers, a size below 1, or a single label.
    """

    @check_arguments
    def __init__(
        self,
        sizes: Sequence[int | Units],
        *,
        labels: int = 0,
        rng: torch.Generator,
        weight_std: float = 0.01,
    ) -> None:
        super().__init__()
        hidden_sizes = [size for size in sizes[1:] if isinstance(size, int) and size >= 1]
        if len(sizes) < 3 or len(hidden_sizes) < len(sizes) - 1:
            raise ConfigError(
                f"layer sizes {tuple(sizes)}: expected at least three, each at least 1, e.g. (784, "
                "500, 1000); a machine with one hidden layer is an RBM"
            )
        if labels < 0 or labels == 1:
            raise ConfigError(f"a label group of {labels}: expected 0 (no labels) or at least 2")
        visible = as_units(sizes[0])
        self.sizes, self.labels = (visible.size, *hidden_sizes), labels
        sides: tuple[dict[str, Units], dict[str, Units]] = {"visible": visible}, {}
        for layer in range(1, len(self.sizes)):
            sides[layer % 2][f"layer{layer}"] = Bernoulli(self.sizes[layer])
        if labels:
            sides[(self.depth - 1) % 2]["label"] = Categorical(labels)
        self.rbm = RBM(Groups(**sides[0]), Groups(**sides[1]), rng=rng, weight_std=weight_std)
        self.clear_gaps(self.rbm.weight)

    @property
    def depth(self) -> int:
        """How many hidden layers there are."""
        return len(self.sizes) - 1

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        sides = {"even": self.even.size, "odd": self.odd.size}
        return {**sides, "visible": self.sizes[0], "labels": self.labels}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.rbm.weight

    @property
    def even(self) -> Groups:
        """The units of the layers 0, 2, ...: groups "visible", "layer2", ..."""
        return cast(Groups, self.rbm.visible)

    @property
    def odd(self) -> Groups:
        """The units of the layers 1, 3, ...: groups "layer1", "layer3", ..."""
        return cast(Groups, self.rbm.hidden)

    @property
    def even_hidden(self) -> Groups:
        """The units of the layers 2, 4, ..., and the label where it is among them: the columns of
        `even` after the visible ones.
        """
        return Groups(**dict(zip(self.even.names[1:], self.even.parts[1:], strict=True)))

    @property
    def layers(self) -> list[str]:
        """The groups from the visible layer to the top, without the label."""
        return ["visible", *(f"layer{layer}" for layer in range(1, self.depth + 1))]

    @property
    def neighbours(self) -> list[tuple[str, str]]:
        """The pairs of groups that are joined, the lower first."""
        return [*pairwise(self.layers), *([("label", self.layers[-1])] if self.labels else [])]

    def block(self, lower: str, upper: str) -> Tensor:
        """Return the weights between two groups, (lower, upper): a view into those of `rbm`.

        Raises:
            ConfigError: no such groups, or two that are not joined.
        """
        if (lower, upper) not in self.neighbours:
            raise ConfigError(
                f"weights between {lower!r} and {upper!r}: expected one of {self.neighbours}"
            )
        if lower in self.even.names:
            return self.rbm.weight[self.even.columns(lower), self.odd.columns(upper)]
        return self.rbm.weight[self.even.columns(upper), self.odd.columns(lower)].t()

    def bias(self, group: str) -> Tensor:
        """Return the biases of a group, (its size,): a view into those of `rbm`."""
        if group in self.even.names:
            return self.rbm.visible_bias[self.even.columns(group)]
        return self.rbm.hidden_bias[self.odd.columns(group)]

    def clear_gaps(self, weight: EvenOddWritten) -> None:
        """Put zeros where `weight` (even, odd) joins groups that are no neighbours, in place."""
        joined = {frozenset(pair) for pair in self.neighbours}
        for below, rows in zip(self.even.names, self.even.slices, strict=True):
            for above, columns in zip(self.odd.names, self.odd.slices, strict=True):
                if {below, above} not in joined:
                    weight[rows, columns] = 0

    def check_cases(
        self,
        cases: Any,
        *,
        rng: torch.Generator | None = None,
        states: bool = False,
        missing: bool = False,
    ) -> Tensor:
        """Return cases (N, visible) as a tensor, once they are seen to be data, or `states`, of the
        visible units; uint8 are pixels, and NaN pass where `missing`.

        Raises:
            DataError: another shape or device, no cases, NaN (unless `missing`), infinity, or
                values that the units do not take.
        """
        checked = check_cases(
            self.even["visible"],
            cases,
            self.rbm.weight,
            rng=rng,
            states=states,
            missing=missing,
        )
        return cast(Tensor, checked)

    def as_numbers(self, cases: Tensor) -> Tensor:
        """Return checked cases (N, visible) in the machine's type, pixels as probabilities."""
        return as_numbers(self.even["visible"], cases, self.rbm.weight)

    def label(self, labels: SomeLabels | None, visible: Visible) -> Label | None:
        """Return what `labels` (N,), UNLABELLED where unknown, say of the label units beside
        visible states (N, visible); None where there is no label group.
        """
        if not self.labels:
            return None
        if labels is None:
            labels = torch.full((len(visible),), UNLABELLED, device=visible.device)
        known = (labels != UNLABELLED)[:, None]
        states = one_hot(labels.clamp(min=0), self.labels, visible.dtype)
        return Label(torch.where(known, states, 1 / self.labels), known)

    def mean_field(
        self,
        visible: Visible,
        labels: SomeLabels | None = None,
        *,
        steps: int = STEPS,
        known: VisibleMask | None = None,
    ) -> MeanField:
        """Return the means of the factorial q(h) that `steps` steps of coordinate ascent find for
        visible states (N, visible): log p(v) >= E_q[-E] + H(q) - log Z.

        A step sets the odd layers to E[odd | even means] and the even ones to E[even | odd means];
        each half raises the bound, or leaves it. It begins with an upward pass whose weights are
        doubled, for there is nothing from above yet. The label is one of the hidden units, but
        where `labels` (N,) has it, and so are visible units that are not `known` ((N,) visible):
        these begin at their base rates, move with the even layers, and bound log p(known). Source:
        Salakhutdinov & Hinton (2009), section 2.2.
        """
        rbm, label = self.rbm, self.label(labels, visible)
        seen = self.even.columns("visible")
        if known is not None:
            base = self.even["visible"].mean(self.bias("visible")[None])
            visible = torch.where(known, visible, base)
        hidden = slice(seen.stop, self.even.size)
        units = self.even_hidden
        weight, bias = rbm.weight[hidden], rbm.visible_bias[hidden]
        from_visible = affine(visible, rbm.weight[seen], rbm.hidden_bias)

        def odd_means(even: Tensor) -> Tensor:
            total = torch.addmm(from_visible, even, weight)
            odd = self.odd.mean(total, out=None if total.requires_grad else total)
            return odd if label is None else label.put(odd, self.odd)

        def even_means(odd: Tensor) -> Tensor:
            total = affine(odd, weight.t(), bias)
            even = units.mean(total, out=None if total.requires_grad else total)
            return even if label is None else label.put(even, units)

        even = before = self._upward_pass(visible, from_visible, label)[:, hidden]
        change = even.new_zeros(())
        for _ in range(steps):
            odd = odd_means(even)
            if known is not None:
                filled = torch.where(known, visible, self.visible_means(odd))
                change = (filled - visible).abs().max()
                visible, from_visible = filled, affine(filled, rbm.weight[seen], rbm.hidden_bias)
            before, even = even, even_means(odd)
        change = torch.maximum(change, (even - before).abs().max())
        return MeanField(torch.cat([visible, even], 1), odd_means(even), change)

    def _upward_pass(self, visible: Tensor, from_visible: Tensor, label: Label | None) -> Tensor:
        """Return even means (N, even) after one pass from the visible layer to the top, weights
        doubled but into the top; `from_visible` (N, odd) is the odd layers' input without doubling.
        """
        first = self.odd.columns("layer1")
        doubled = 2 * from_visible[:, first] - self.bias("layer1")
        means = {"visible": visible, "layer1": torch.sigmoid(doubled)}
        for below, above in pairwise(self.layers[1:]):
            top = above == self.layers[-1]
            doubled = means[below] if top else 2 * means[below]
            total = affine(doubled, self.block(below, above), self.bias(above))
            if top and label is not None:
                means["label"] = label.states
                total += label.states @ self.block("label", above)
            means[above] = torch.sigmoid(total)
        return self.even.join(means)

    def free_energy(self, even: Even, label: Label | None = None) -> Tensor:
        """Return F = -log sum over the odd layers of exp(-E) at even states (N, even), or at their
        means; a label of an odd layer is summed over unless it is known. (N,), nats per case.
        """
        free_energy = self.rbm.free_energy(even)
        if label is None or "label" not in self.odd.names:
            return free_energy
        total = self.rbm.hidden_input(even)[:, self.odd.columns("label")]
        of_label = torch.logsumexp(total, 1) - (label.states * total).sum(1)
        return free_energy + torch.where(label.known[:, 0], of_label, 0.0)

    def visible_means(self, odd: Odd) -> Tensor:
        """Return E[v | odd], (N, visible), given states of the odd layers (N, odd) or means."""
        weight = self.rbm.weight[self.even.columns("visible")]
        return conditional_mean(self.even["visible"], odd, weight.t(), self.bias("visible"))

    def sample_even(
        self, means: Even, rng: torch.Generator, known: VisibleMask | None = None
    ) -> Tensor:
        """Return states of the even hidden layers drawn from their means (N, even); visible states
        are left as they are, but those that are not `known` (N, visible).
        """
        states = means.clone()
        for part, columns in zip(self.even.parts, self.even.slices, strict=True):
            own = means[:, columns].contiguous()
            if columns.start:
                states[:, columns] = part.sample_from_mean(own, rng)
            elif known is not None:
                states[:, columns] = torch.where(known, own, part.sample_from_mean(own, rng))
        return states

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a machine like this one, as JSON can hold it."""
        return {
            "class": "DBM",
            "sizes": list(self.sizes),
            "labels": self.labels,
            "visible": self.even["visible"].spec(),
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> DBM:
        """Return a machine like the one that `spec` described, its parameters yet to be filled."""
        sizes = [from_spec(spec["visible"]), *spec["sizes"][1:]]
        return cls(sizes, labels=spec["labels"], rng=torch.Generator())
