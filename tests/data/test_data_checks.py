import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wakesleep.data import DataError, check_images, check_labels
from wakesleep.data.checks import shape_of


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.array([[0, np.nan]]), "1 of 2 pixels are NaN"),
        (np.array([[0, np.inf]]), "infinite"),
        (np.array([[-0.3, 7.2]]), r"pixels run from -0\.3 to 7\.2; .*scale with"),
        (np.array([[0.0, 255.0]]), "divide by 255"),
        (np.array([[0, 200]]), "divide by 255"),
        (np.array([[-1, 1]]), "scale with"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[None, 1]]), "object"),
        (np.array([[1j]]), "complex128"),
        ([[1.0], [1.0, 2.0]], "rectangular"),
        (np.zeros(4), "reshape"),
        (np.zeros((2, 2, 2, 2)), "reshape"),
        (np.zeros((0, 4)), "nothing to learn"),
        (np.zeros((4, 0)), "nothing to learn"),
        (np.eye(3, dtype=np.uint8), "astype"),
        (torch.eye(2).to_sparse(), "dense"),
        (object(), "object"),
    ],
)
def test_refuses_images(images, match):
    with pytest.raises(DataError, match=match):
        check_images(images)


def test_accepts_images():
    pixels = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)
    pixels.setflags(write=False)
    assert check_images(pixels).dtype == torch.uint8
    assert check_images(pixels).shape == (2, 24)
    assert check_images(pixels[:, ::-1])[0, 0] == 18
    assert check_images(np.eye(3, dtype=bool)).tolist() == np.eye(3).tolist()
    assert check_images(np.eye(3, dtype=np.int64)).dtype == torch.float32
    assert check_images(np.eye(3, dtype=">f8")).dtype == torch.float32
    assert (
        check_images(torch.full((2, 2), 0.5, dtype=torch.bfloat16, requires_grad=True)).tolist()
        == [[0.5, 0.5]] * 2
    )
    over = check_images(np.array([[1 + 1e-7, -1e-9]]))
    assert over.min() == 0
    assert over.max() == 1


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i2", "u1", "?"]),
        hnp.array_shapes(max_dims=4, min_side=0, max_side=4),
    )
)
@settings(deadline=None)
def test_images_come_out_sound_or_not_at_all(images):
    try:
        cases = check_images(images)
    except DataError as error:
        message = str(error)
        assert re.search("expected|reshape|cast", message)
        return
    assert cases.shape == (len(images), images[0].size)
    if cases.dtype != torch.uint8:
        assert cases.dtype == torch.float32
        assert cases.min() >= 0
        assert cases.max() <= 1
    np.testing.assert_allclose(cases.numpy().reshape(images.shape), images.astype("f4"), atol=2e-6)


def test_shapes():
    assert shape_of(np.zeros((3, 2, 5))) == (2, 5)
    assert shape_of(np.zeros((3, 784))) == (28, 28)
    assert shape_of(np.zeros((3, 15))) == (1, 15)


@pytest.mark.parametrize(
    ("labels", "classes", "match"),
    [
        ([0, 1], None, "2 labels came for 3 images"),
        ([0, -1, 1], None, "run from -1 to 1"),
        ([0, 1, 3], 3, "expected 0 to 2"),
        ([0, 1, 10**6], None, "out of range"),
        ([0.0, 1.0, 2.0], None, "int64"),
        ([0.5, 1, 2], None, "integers"),
        (["a", "b", "c"], None, "number the classes"),
        (np.eye(3, dtype=int), None, "argmax"),
        (np.array([2**64 - 1, 0, 0], np.uint64), None, "out of range"),
    ],
)
def test_refuses_labels(labels, classes, match):
    with pytest.raises(DataError, match=match):
        check_labels(labels, 3, classes)


def test_accepts_labels():
    for dtype in (np.uint8, np.int64, ">i4", bool):
        labels = check_labels(np.array([0, 1, 0], dtype), 3, 2)
        assert labels.dtype == torch.int64
        assert labels.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="no labels"):
        check_labels(np.zeros(0, int), 0)
