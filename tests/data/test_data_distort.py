"""Distorted pictures: what is asked for, and no more."""

import pytest
import torch

from wakesleep.data import Dataset
from wakesleep.data.distort import Distortion, distort, translations
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator

NOTHING = Distortion(0.0, 0.0, 0.0, 0.0, 0.0)


def blot(height: int = 21, width: int = 21) -> torch.Tensor:
    """A blot in the middle, wider than high."""
    rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    return torch.exp(-((rows[:, None] / 2.0) ** 2) - (columns[None] / 4.0) ** 2).flatten()


def middle(pictures: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Centre of mass of each picture in pixels from the middle, (N, 2): down, across."""
    ink = pictures.view(-1, *shape)
    rows, columns = torch.arange(shape[0]) - shape[0] // 2, torch.arange(shape[1]) - shape[1] // 2
    return (
        torch.stack([(ink * rows[:, None]).sum((1, 2)), (ink * columns).sum((1, 2))], 1)
        / ink.sum((1, 2))[:, None]
    )


def test_nothing_asked_nothing_changed(digits: Dataset) -> None:
    images = digits.train.images[:5].float() / 255
    torch.testing.assert_close(
        distort(images, (8, 8), generator(0), NOTHING), images, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("shape", [(21, 21), (21, 31), (31, 21)])
def test_translations_move_by_at_most_what_is_said_and_keep_the_ink(shape: tuple[int, int]) -> None:
    moved = distort(blot(*shape).expand(500, -1), shape, generator(1), translations(3.0))
    where = middle(moved, shape)
    assert float(where.abs().max()) <= 3.02
    assert where.abs().amax(0).tolist() == pytest.approx([3.0, 3.0], abs=0.1)
    assert abs(float(where.mean())) < 0.2
    torch.testing.assert_close(moved.sum(1), blot(*shape).sum().expand(500), rtol=0.02, atol=0)


def test_turning_and_stretching_leave_the_middle_where_it_is() -> None:
    made = distort(
        blot().expand(200, -1), (21, 21), generator(2), Distortion(0.0, 30.0, 0.2, 0.2, 0.0)
    )
    assert float(middle(made, (21, 21)).abs().max()) < 0.1
    assert float(made.std(0).max()) > 0.05


def test_turns_have_the_size_they_are_said_to_have() -> None:
    made = distort(
        blot(41, 41).expand(400, -1), (41, 41), generator(2), Distortion(0.0, 20.0, 0.0, 0.0, 0.0)
    ).view(-1, 41, 41)
    place = torch.arange(41) - 20.0
    along = (made * place[:, None] * place).sum((1, 2))
    spread = (made * place**2).sum((1, 2)) - (made * place[:, None] ** 2).sum((1, 2))
    angles = torch.rad2deg(0.5 * torch.atan2(2 * along, spread))
    assert (float(angles.min()), float(angles.max())) == pytest.approx((-20, 20), abs=0.4)


def test_every_case_is_bent_in_its_own_way_and_the_same_seed_bends_alike() -> None:
    pictures = blot().expand(6, -1)
    one, other = (distort(pictures, (21, 21), generator(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert float(torch.cdist(one, one).fill_diagonal_(9).min()) > 0.3
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_smoother_bending_is_smoother() -> None:
    def roughness(sigma: float) -> float:
        ramp = torch.linspace(0, 1, 41).expand(41, 41).reshape(1, -1).expand(50, -1)
        # the same size of displacement
        how = Distortion(0.0, 0.0, 0.0, 0.0, alpha=10.0 * sigma, sigma=sigma)
        made = distort(ramp, (41, 41), generator(4), how).view(-1, 41, 41)[:, 10:-10, 10:-10]
        return float(made.diff(dim=1).std() / made.std(0).mean())

    assert roughness(6.0) < roughness(2.0) / 2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(8, 8\).*10 pixels"):
        distort(torch.zeros(2, 10), (8, 8), generator(0))
    with pytest.raises(ConfigError, match="scale"):
        Distortion(scale=1.0)
    with pytest.raises(ConfigError, match="sigma"):
        Distortion(sigma=0.0)
