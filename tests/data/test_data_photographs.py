import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import photographs as made
from wakesleep.data import photographs, pictures, read_picture
from wakesleep.data.preparation import before

MNIST = before((28, 28), 20 / 28)


def ring_and_bar(kind="0"):
    """A digit of 28 x 28: a ring, or two strokes that do not touch."""
    down, across = np.mgrid[0:28, 0:28] - 13.5
    if kind == "0":
        return (np.abs(np.hypot(across / 0.7, down) - 7.5) < 1.6).astype(np.float32)
    bar = (np.abs(across - 2) < 1.5) & (np.abs(down) < 9)
    return (bar | ((np.abs(down + 2) < 1.5) & (across > -7) & (across < -1.5))).astype(np.float32)


def alike(one, other):
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("kind", made.KINDS)
@pytest.mark.parametrize("digit", ["0", "two pieces"])
@pytest.mark.parametrize("seed", range(4))
def test_the_digit_is_found_in_a_photograph(kind, digit, seed):
    drawn = ring_and_bar(digit)
    photograph = made.photograph(drawn, kind, np.random.default_rng(seed))
    grey = pictures.grey_picture(io.BytesIO(photograph))
    assert photographs.is_photograph(grey)
    case = MNIST.picture(grey)
    # it was turned by up to eight degrees
    assert alike(case, pictures.centred(drawn, (28, 28), 20 / 28)) > 0.6
    np.testing.assert_array_equal(read_picture(io.BytesIO(photograph))[0], case.ravel())


def test_chalk_on_a_board_in_uneven_light():
    drawn = np.kron(ring_and_bar(), np.ones((6, 6), np.float32))
    light = np.linspace(0.5, 1, drawn.shape[1], dtype=np.float32)
    actual = photographs.ink_on_paper((0.2 + 0.6 * drawn) * light)
    assert alike(actual, drawn) > 0.95


def test_nothing_stands_out_from_a_bare_sheet():
    light = np.linspace(0.4, 1, 200, dtype=np.float32) * np.ones((150, 1), np.float32)
    assert photographs.is_photograph(light)
    assert photographs.ink_on_paper(light) is None


@pytest.mark.parametrize("reach", [1, 4])
def test_closing_removes_what_is_narrower_than_its_window(reach):
    grey = np.ones((40, 40), np.float32)
    grey[:, 10 : 10 + 2 * reach] = 0.2
    np.testing.assert_array_equal(photographs.closing(grey, reach), 1)
    grey[:, 25:] = 0.3  # a table is wider, and stays
    np.testing.assert_allclose(photographs.closing(grey, reach)[:, 25:], 0.3)


def test_small_pictures_and_even_paper_are_no_photographs():
    light = np.linspace(0, 1, 28, dtype=np.float32) * np.ones((28, 1), np.float32)
    assert not photographs.is_photograph(light)
    page = np.full((100, 100), 0.9, np.float32)
    page[30:60, 40:50] = 0.1
    assert not photographs.is_photograph(page)


def test_where_all_pieces_touch_the_edge_the_largest_counts():
    grey = np.full((100, 100), 0.9, np.float32)
    grey[40:, 45:55] = 0.2
    grey[0:6, 0:6] = 0.2
    actual = photographs.ink_on_paper(grey)
    assert actual[80, 50] == pytest.approx(1, abs=0.05)
    assert not actual[:8, :8].any()
    assert Image.fromarray(actual).size == (100, 100)
