"""Sorting, mapping and ranking of what a net knows, on cases where the answer is plain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wakesleep.evaluation import interpretation
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN

SIDE = 16
ROWS, COLUMNS = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")


def spot(row: int, column: int) -> np.ndarray:
    distance = (ROWS - row) ** 2 + (COLUMNS - column) ** 2
    return (np.exp(-distance / 8) - 0.3 * np.exp(-distance / 24)).ravel()


def stroke(column: int) -> np.ndarray:
    return (np.exp(-((COLUMNS - column) ** 2) / 6) * (abs(ROWS - 8) < 6)).ravel()


def grating(phase: int) -> np.ndarray:
    return np.sin(2.6 * (ROWS + phase) + 1.3 * COLUMNS).ravel()


def test_spots_strokes_and_gratings_are_told_apart() -> None:
    fields = np.stack(
        [
            *(spot(5 + k, 6 + k) for k in range(3)),
            *(stroke(5 + 2 * k) for k in range(3)),
            *(grating(k) for k in range(3)),
        ]
    )
    mixed = np.random.default_rng(0).permutation(9)
    kinds = interpretation.sort_fields(fields[mixed], (SIDE, SIDE))
    assert {name: sorted(mixed[index]) for name, index in kinds.items()} == {
        "on-centre": [0, 1, 2],
        "stroke": [3, 4, 5],
        "high-frequency": [6, 7, 8],
    }


def test_frequency_and_elongation_are_what_they_say() -> None:
    wave = np.sin(2 * np.pi * COLUMNS / 4).ravel()
    frequency, elongation, size = interpretation.field_measures(
        np.stack([wave, spot(8, 8), stroke(8)]), (SIDE, SIDE)
    )
    assert frequency[0] == pytest.approx(0.25, abs=1e-9)
    assert elongation[1] == pytest.approx(1.0, abs=0.05)
    assert elongation[2] > 2
    assert size[1] < size[2]


def test_a_map_keeps_far_groups_apart() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 1.0, (40, 20)) for centre in (-10, 10)])
    flat = interpretation.flat_map(points)
    first, second = flat[:40], flat[40:]
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 2 * max(first.std(), second.std())
    with pytest.raises(ConfigError, match="at least 10"):
        interpretation.flat_map(points[:5])


def test_codes_are_log_odds_without_a_label() -> None:
    dbn = DBN((5, 4, 3), labels=3, rng=generator(0))
    images = torch.rand(6, 5, generator=generator(1))
    penultimate = torch.cat([dbn.up(images)[-1], torch.zeros(6, 3)], 1)
    torch.testing.assert_close(
        torch.sigmoid(interpretation.codes(dbn, images)), dbn.memory.hidden_probs(penultimate)
    )


def test_the_most_confused_come_first() -> None:
    log_probs = torch.log(torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.01, 0.99], [0.5, 0.5]]))
    assert interpretation.most_confused(log_probs, torch.tensor([0, 0, 0, 1]), 3).tolist() == [
        2,
        1,
        3,
    ]
