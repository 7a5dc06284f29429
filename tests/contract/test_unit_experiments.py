"""What the experiments with units are judged by: exact Ising models, alignments, DNA."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.units import conditionals, dna, ising, lattice, patches, pictures, proteins
from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM
from wakesleep.units import Gaussian, Spin

TEMPERATURE = 2.5


@pytest.fixture
def enumerated(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """A torus of 3 x 3: all its states and log p* of each."""
    monkeypatch.setattr(lattice, "SIDE", 3)
    states = Spin(9).states()
    return states, -lattice.energies(states) / TEMPERATURE


def test_transfer_matrices_give_what_enumeration_gives(enumerated: tuple[Tensor, Tensor]) -> None:
    states, logs = enumerated
    probs = torch.softmax(logs, 0)
    assert lattice.log_partition(TEMPERATURE) == pytest.approx(float(torch.logsumexp(logs, 0)))
    found = lattice.expectations(TEMPERATURE)
    assert found.energy == pytest.approx(float((probs * lattice.energies(states)).sum()) / 9)
    assert found.magnetisation == pytest.approx(float((probs * states.mean(1).abs()).sum()))


def test_samples_have_the_law_of_the_lattice(enumerated: tuple[Tensor, Tensor]) -> None:
    _, logs = enumerated
    drawn, count = lattice.sample(TEMPERATURE, 200_000, generator(0)), 200_000
    number = ((drawn > 0).long() << torch.arange(8, -1, -1)).sum(1)
    wanted = torch.softmax(logs, 0) * count
    chi_square = float(((number.bincount(minlength=512) - wanted).square() / wanted).sum())
    assert 511 - 5 * 32 < chi_square < 511 + 5 * 32  # of 511 degrees of freedom


def test_the_exact_values_of_eight_by_eight() -> None:
    """Those that the figures are judged by."""
    assert lattice.log_partition(2.27) == pytest.approx(60.1267, abs=1e-4)
    assert lattice.expectations(3.5) == pytest.approx((-0.6649, 0.2513), abs=1e-4)


def test_an_alignment_is_read_clustered_and_split(tmp_path: Path) -> None:
    texts = ["A" * 10, "A" * 8 + "CC", "A" * 6 + "CCCC", "-" * 10, "A" * 10]
    path = tmp_path / "some.fasta"
    path.write_text("".join(f">>S{n}\n{text}\n" for n, text in enumerate(texts)), encoding="ascii")
    alignment = proteins.read(path)
    assert alignment.sequences.shape == (4, 210)  # what comes twice is dropped
    assert alignment.clusters.tolist() == [0, 0, 0, 1]  # the third is linked by the second
    assert alignment.weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])

    many = proteins.Alignment(torch.rand(50, 21), torch.ones(50), torch.arange(50) // 2)
    train, held_out = proteins.split(many, 0)
    assert len(held_out.clusters.unique()) == 5
    assert not set(train.clusters.tolist()) & set(held_out.clusters.tolist())
    inner, validation = proteins.split(train, 0)  # as when settings are chosen
    assert len(validation.clusters.unique()) == 4
    assert len(inner.clusters.unique()) == 16


def test_connected_correlations_are_those_of_weighted_sequences() -> None:
    letters = torch.tensor([[0, 1], [0, 2], [3, 1]])
    sequences = torch.nn.functional.one_hot(letters, 21).flatten(1).float()
    weights = torch.tensor([1.0, 2.0, 1.0])
    found = proteins.connected(sequences, weights).view(21, 21)
    assert found[0, 1] == pytest.approx(1 / 4 - 3 / 4 * 1 / 2)
    assert found[3, 2] == pytest.approx(-1 / 4 * 1 / 2)
    repeated = sequences.repeat_interleave(weights.long(), 0)
    assert torch.allclose(found.flatten(), proteins.connected(repeated), atol=1e-6)


def test_what_stands_beside_dna_are_distributions() -> None:
    letters = torch.randint(4, (40, dna.SITES), generator=generator(0))
    cases = torch.nn.functional.one_hot(letters, 4).flatten(1).float()
    classes = (torch.arange(40) % 2).numpy()
    other = torch.nn.functional.one_hot((letters[:1] + 1) % 4, 4).flatten(1).float()
    counts = cases.view(40, dna.SITES, 4).sum(0)
    first = counts[torch.arange(dna.SITES), letters[0]]
    wanted = ((first + 1) / 44).log().sum()
    assert dna.independent(cases, cases)[0] == pytest.approx(float(wanted), rel=1e-5)
    half = torch.from_numpy(classes == 0)
    apart = torch.stack([dna.independent(cases[half], other), dna.independent(cases[~half], other)])
    mixture = dna.component_a_class(cases, classes, other)
    assert torch.allclose(mixture, torch.logsumexp(apart, 0) - torch.log(torch.tensor(2.0)))


@pytest.mark.parametrize("name", conditionals.families())
def test_what_is_drawn_of_a_family_are_probabilities(name: str) -> None:
    units, states = conditionals.families()[name]
    for total_input in (-1.0, 0.5):
        p = conditionals.law(units, states, total_input)
        step = float(states[1] - states[0])
        total = float(torch.trapezoid(p, dx=step)) if len(states) > 20 else float(p.sum())
        assert total == pytest.approx(1, abs=2e-3)


def test_a_logo_has_the_letters_of_large_weights_on_their_sides() -> None:
    weights = torch.zeros(3, len(proteins.LETTERS))
    weights[0, 0], weights[0, 1], weights[1, 2], weights[2, 3] = 1.0, 0.5, -0.8, 0.01
    axes = Figure().subplots()
    pictures.logo(axes, weights)
    boxes = [patch.get_path().get_extents() for patch in axes.patches]
    assert [(round(box.y0, 4), round(box.y1, 4)) for box in boxes] == [
        (0, 0.5),
        (0.5, 1.5),
        (-0.8, 0),
    ]
    assert [int(box.x0) for box in boxes] == [0, 0, 1]


def test_patches_are_white_and_filters_are_made_of_pixels() -> None:
    found = patches.read(2000)
    assert torch.allclose(found.train.t().cov(), torch.eye(found.train.shape[1]), atol=1e-4)
    assert found.components.shape == (found.train.shape[1], patches.SIDE**2)
    rbm = RBM(Gaussian(found.train.shape[1]), 3, rng=generator(0))
    rbm.weight[:, 1] *= 10
    assert patches.fields(rbm, found).shape == (3, patches.SIDE**2)
    largest = rbm.weight[:, 1] @ found.components
    assert torch.allclose(torch.from_numpy(patches.fields(rbm, found)[0]), largest, atol=1e-5)


def test_a_machine_with_a_hidden_spin_a_bond_is_the_ising_model() -> None:
    """2 cosh w(s + t) is exp(s t / T) up to a constant where cosh 2w = exp(2 / T)."""
    temperature, spins = 2.27, torch.arange(64).view(8, 8)
    weight = math.acosh(math.exp(2 / temperature)) / 2
    rbm = RBM(Spin(64), Spin(128), rng=generator(0), weight_std=0.0)
    ends = torch.stack([spins.roll(1, 0), spins.roll(1, 1)]).flatten()
    rbm.weight[spins.flatten().repeat(2), torch.arange(128)] = weight
    rbm.weight[ends, torch.arange(128)] = weight
    drawn = lattice.sample(temperature, 200, generator(1))
    ratios = ising.log_ratios(rbm, temperature, drawn)
    log_z = lattice.log_partition(temperature)
    constant = 128 * (math.log(2) + math.log(math.cosh(2 * weight)) - 1 / temperature)
    assert ratios.std() < 1e-4
    assert float(ratios.mean()) == pytest.approx(-(log_z + constant), abs=1e-3)
