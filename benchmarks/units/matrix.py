"""What works with which family of units: each cell is run at toy size, or refused in words.

    python -m benchmarks.units.matrix docs/units.md

writes the tables of what is built between their marks. `tests/identities/test_identities_matrix.py`
runs each cell, and sees that those named in `REFUSED`, and no others, raise an error of ours.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wakesleep.evaluation import exact, interpretation, likelihood, monitor, pseudo
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy, hybrid, up_down
from wakesleep.learning.configs import (
    CDConfig,
    GreedyConfig,
    HybridConfig,
    UpDownConfig,
)
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.models import gauge
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams, gibbs, missing, tempering
from wakesleep.sources.shards import Shards
from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Thermometer,
    Units,
)

CASES = 40
FAMILIES: dict[str, Callable[[], Units]] = {
    "Bernoulli": lambda: Bernoulli(4),
    "Spin": lambda: Spin(4),
    "Categorical": lambda: Categorical(3, sites=2),
    "Thermometer": lambda: Thermometer(4, sites=2),
    "Binomial": lambda: Binomial(3, trials=3),
    "Multinomial": lambda: Multinomial(4),
    "Ordinal": lambda: Ordinal(3, levels=3),
    "Poisson": lambda: Poisson(3),
    "Gaussian": lambda: Gaussian(4),
    "ReLU": lambda: ReLU(4),
    "DReLU": lambda: DReLU(4),
    "Groups": lambda: Groups(numbers=Gaussian(2), kind=Categorical(3), grade=Ordinal(1, 3)),
}


class Toy:
    """A machine with a family on one side and four binary units on the other, and its cases."""

    def __init__(self, family: str, side: str) -> None:
        self.units, self.rng, self.side = FAMILIES[family](), generator(0), side
        pair = (self.units, 4) if side == "visible" else (4, self.units)
        self.rbm = RBM(*pair, rng=self.rng, weight_std=0.1)
        visible, count = self.rbm.visible, torch.full((CASES,), 5.0)
        self.context = Context(count=count) if visible.needs_count else None
        self.one = None if self.context is None else Context(count=count[:1])
        x = torch.randn(CASES, visible.size, generator=self.rng) / 2
        self.cases = visible.sample(x, self.rng, context=self.context)

    def learn(self, **settings: Any) -> None:
        """Two epochs of contrastive divergence; the weights move and stay finite."""
        config = CDConfig(
            epochs=2, batch_size=10, learning_rate=0.01, final_learning_rate=0.01, **settings
        )
        cd.init_visible_bias(self.rbm, self.cases, context=self.context)
        before = self.rbm.weight.clone()
        list(cd.epochs(self.rbm, self.cases, config=config, rng=self.rng, context=self.context))
        assert not torch.equal(before, self.rbm.weight)

    def net(self, labels: int = 0) -> DBN:
        """A pretrained net with the family as its pixels, or as its first hidden layer."""
        sizes: list[int | Units] = [self.units, 4, 3]
        if self.side == "hidden":
            sizes = [4, self.units, 3]
        dbn = DBN(sizes, labels=labels, rng=self.rng, weight_std=0.01)
        config = CDConfig(epochs=1, batch_size=20, learning_rate=0.01, final_learning_rate=0.01)
        targets = torch.arange(CASES) % labels if labels else None
        both = GreedyConfig(config, config)
        list(greedy.epochs(dbn, self.cases, targets, config=both, rng=self.rng))
        return dbn


def weights(toy: Toy) -> None:
    """Case weights."""
    shown = torch.rand(CASES, generator=toy.rng)
    cd.init_visible_bias(toy.rbm, toy.cases, shown, toy.context)
    config = CDConfig(epochs=1, batch_size=10, learning_rate=0.01, final_learning_rate=0.01)
    list(
        cd.epochs(
            toy.rbm, toy.cases, config=config, rng=toy.rng, weights=shown, context=toy.context
        )
    )


def absent(toy: Toy) -> None:
    """Absent columns: the last site, or column, of every other case."""
    visible = toy.rbm.visible
    mask = torch.ones(CASES, visible.size, dtype=torch.bool)
    last = visible.site_columns[-1] if visible.site_columns else slice(visible.size - 1, None)
    mask[::2, last] = False
    there = toy.cases * mask
    count = there.sum(1) if toy.context is not None else None
    toy.cases, toy.context = there, Context(count=count, mask=mask)
    toy.learn()


def unknown(toy: Toy) -> None:
    """Unknown values, filled in."""
    holes = toy.cases.clone()
    sites = toy.rbm.visible.site_columns
    holes[::2, sites[-1] if sites else slice(-1, None)] = torch.nan
    filled = missing.impute(toy.rbm, holes, toy.rng, steps=4)
    _finite(filled)


def sampled(toy: Toy) -> None:
    """Gibbs chains with a clamp."""
    mask = torch.zeros(toy.rbm.visible.size, dtype=torch.bool)
    if toy.context is None:
        mask[: (toy.rbm.visible.site_columns or [slice(0, 1)])[0].stop] = True
    clamp = gibbs.Clamp(mask, toy.cases)
    hidden = gibbs.random_hidden(toy.rbm, CASES, toy.rng)
    chains = gibbs.run(toy.rbm, hidden, 3, toy.rng, clamp, context=toy.context)
    assert torch.equal(chains.visible[:, mask], toy.cases[:, mask])
    _finite(chains.visible)


def tempered(toy: Toy) -> None:
    """Parallel tempering."""
    hidden = gibbs.random_hidden(toy.rbm, CASES, toy.rng)
    sampler = tempering.Tempered(torch.linspace(0, 1, 3))
    _finite(sampler(toy.rbm, hidden, 3, toy.rng, context=toy.context).visible)
    assert float(sampler.swap_rates.min()) > 0


def annealed(toy: Toy) -> None:
    """AIS both ways."""
    estimates = likelihood.log_partition(
        toy.rbm,
        toy.cases,
        rng=toy.rng,
        chains=50,
        betas=torch.linspace(0, 1, 100),
        reverse_steps=20,
        context=toy.one,
    )
    assert estimates.reverse is not None
    assert estimates.exact is not None
    for estimate in (estimates.forward, estimates.reverse):
        assert abs(estimate.log_z - estimates.exact) <= 5 * estimate.standard_error + 1e-3


def enumerated(toy: Toy) -> None:
    """Exact log-likelihood, gradient and samples."""
    cases = exact.sample(toy.rbm, CASES, toy.rng, toy.context)
    _finite(exact.log_likelihood(toy.rbm, cases, toy.one))
    _finite(exact.gradient(toy.rbm, cases, toy.one).weight)


def pseudo_likelihood(toy: Toy) -> None:
    """Pseudo-likelihood."""
    _finite(pseudo.pseudo_log_likelihood(toy.rbm, toy.cases))


def watched(toy: Toy) -> None:
    """Monitors."""
    values = monitor.measure(toy.rbm, toy.cases[:20], toy.cases[20:], rng=toy.rng)
    assert {"hidden_activity", "free_energy_gap"} <= set(values)
    _finite(torch.tensor(list(values.values())))


def saved(toy: Toy) -> None:
    """Save and load."""
    toy.learn()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rbm.safetensors"
        checkpoint.save(toy.rbm, path)
        again: Any = checkpoint.load(path)
    for one, other in zip(again.parameters(), toy.rbm.parameters(), strict=True):
        assert torch.equal(one, other)


def in_bfloat16(toy: Toy) -> None:
    """Products in bfloat16."""
    config = CDConfig(epochs=1, batch_size=10, learning_rate=0.01, final_learning_rate=0.01)
    list(
        cd.epochs(
            toy.rbm,
            toy.cases,
            config=config,
            rng=toy.rng,
            context=toy.context,
            dtype=torch.bfloat16,
        )
    )


def gauged(toy: Toy) -> None:
    """Zero-sum gauge."""
    before = toy.rbm.free_energy(toy.cases, toy.context)
    gauge.zero_sum(toy.rbm)
    after = toy.rbm.free_energy(toy.cases, toy.context)
    assert torch.allclose(before, after, atol=1e-4)


def stacked(toy: Toy) -> None:
    """A layer of a deep belief net: greedy pretraining, up-down, dreams."""
    dbn = toy.net(labels=2)
    config = UpDownConfig(epochs=1, batch_size=20)
    list(up_down.epochs(dbn, toy.cases, torch.arange(CASES) % 2, config=config, rng=toy.rng))
    _finite(dreams.dream(dbn, rng=toy.rng, count=5, steps=3).pixels)


def streamed(toy: Toy) -> None:
    """Pretraining from shards on the disk."""
    dbn = toy.net()
    shards = Shards([toy.cases.numpy()], chunk=20, join=1)
    config = CDConfig(epochs=1, batch_size=20, learning_rate=0.01, final_learning_rate=0.01)
    list(greedy.epochs(dbn, shards, config=GreedyConfig(config, config), rng=toy.rng))


def backpropagated(toy: Toy) -> None:
    """Backpropagation through the stack."""
    net = backprop.classifier(toy.net(), 2, rng=toy.rng, start="small")
    config = BackpropConfig(epochs=1, sample_pixels=False)
    targets = torch.arange(CASES) % 2
    list(backprop.epochs(net, toy.cases, targets, config=config, rng=toy.rng, checked=True))


def joined(toy: Toy) -> None:
    """Hybrid learning."""
    dbn = toy.net(labels=2)
    config = HybridConfig(UpDownConfig(epochs=1, batch_size=20))
    list(hybrid.epochs(dbn, toy.cases, torch.arange(CASES) % 2, config=config, rng=toy.rng))


def pictured(toy: Toy) -> None:
    """What units look for, as pictures."""
    assert interpretation.projective_field(toy.net(), 1, 0).shape == toy.cases.shape[1:]


def _finite(values: Tensor) -> None:
    assert bool(torch.isfinite(values).all())


FEATURES: dict[str, Callable[[Toy], None]] = {
    "contrastive divergence, CD-k": lambda toy: toy.learn(gibbs_steps=2, sample_visible=True),
    "persistent chains (PCD)": lambda toy: toy.learn(persistent=True),
    "persistent chains at several temperatures": lambda toy: toy.learn(
        persistent=True, temperatures=3
    ),
    "centred gradient": lambda toy: toy.learn(centred=True),
    "standardised gradient": lambda toy: toy.learn(centred=True, standardised=True),
    "sparsity": lambda toy: toy.learn(sparsity_cost=0.1),
    "L1, L2 and L2-L1 penalties": lambda toy: toy.learn(l1_penalty=0.01, l2l1_penalty=0.01),
    "case weights": weights,
    "absent columns": absent,
    "unknown values filled in": unknown,
    "Gibbs chains with clamps": sampled,
    "parallel tempering": tempered,
    "AIS both ways": annealed,
    "exact log Z, gradient, samples": enumerated,
    "pseudo-likelihood": pseudo_likelihood,
    "monitors": watched,
    "save and load": saved,
    "products in bfloat16": in_bfloat16,
    "zero-sum gauge": gauged,
    "layer of a deep belief net, up-down, dreams": stacked,
    "pretraining from shards on the disk": streamed,
    "pictures of what units look for": pictured,
    "backpropagation of the stack": backpropagated,
    "hybrid learning": joined,
}
"""What is run, in words; a side without binary units stands beside four binary ones."""
COUNT, RANGE, HIDDEN, LENGTH = "count", "range", "hidden", "length"
WORDS = {
    COUNT: "documents: the count of each case has to come along, and here it does not",
    RANGE: "the states cannot be listed",
    HIDDEN: "hidden units have no count of each case",
    LENGTH: "the length of a document is nothing that layers above could make",
    "signed": "states below 0 have no share of activity",
    "slope": "no activation of feed-forward nets is the mean",
    "binary": "the gradient is that of binary hidden units",
}
"""Why a cell is refused."""
ENDLESS = ("Poisson", "Gaussian", "ReLU", "DReLU", "Groups")
REFUSED: dict[tuple[str, str, str], str] = {}
"""Why, by side, feature and family; all others run."""
for _feature in FEATURES:
    REFUSED["hidden", _feature, "Multinomial"] = HIDDEN
for _feature in ("unknown values filled in", "pseudo-likelihood", "monitors"):
    REFUSED["visible", _feature, "Multinomial"] = COUNT
REFUSED["visible", "persistent chains at several temperatures", "Multinomial"] = COUNT
for _feature in list(FEATURES)[-5:]:
    REFUSED["visible", _feature, "Multinomial"] = LENGTH
for _family in ENDLESS:
    REFUSED["visible", "pseudo-likelihood", _family] = RANGE
for _family in ("Spin", "Gaussian", "DReLU", "Groups"):
    REFUSED["hidden", "sparsity", _family] = "signed"
for _family in FAMILIES:
    if _family not in ("Bernoulli", "Spin", "Gaussian", "ReLU", "Multinomial"):
        REFUSED["hidden", "backpropagation of the stack", _family] = "slope"
    if _family not in ("Bernoulli", "Multinomial"):
        REFUSED["hidden", "hybrid learning", _family] = "binary"


def run(side: str, feature: str, family: str) -> None:
    """Run a cell.

    Raises:
        ConfigError, DataError: it is refused.
    """
    FEATURES[feature](Toy(family, side))


def table(side: str) -> str:
    """Return the table of a side in Markdown, with the reasons below it."""
    there = {why for (on, _, _), why in REFUSED.items() if on == side}
    reasons = [why for why in WORDS if why in there]
    marks = {why: f"no ({number})" for number, why in enumerate(reasons, 1)}
    lines = [f"| as {side} units | {' | '.join(FAMILIES)} |", "|---|" + "---|" * len(FAMILIES)]
    for feature in FEATURES:
        cells = [marks.get(REFUSED.get((side, feature, family), ""), "yes") for family in FAMILIES]
        lines.append(f"| {feature} | {' | '.join(cells)} |")
    notes = [f"({number}) {WORDS[why]}." for number, why in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes]) + "\n"


MARK = re.compile(r"(<!-- units: (visible|hidden) -->\n).*?(<!-- end units -->)", re.DOTALL)


def written(text: str) -> str:
    """Return a page with its tables as they are now."""
    return MARK.sub(lambda match: match[1] + table(match[2]) + match[3], text)


def main(paths: list[str]) -> None:
    """Write the tables into pages."""
    for path in map(Path, paths):
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
