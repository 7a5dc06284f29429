"""Frames: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakesleep.app import frames
from wakesleep.foundation.errors import DataError


@settings(deadline=None)
@given(chains=st.integers(1, 12), units=st.integers(1, 70), step=st.integers(0, 2**32 - 1))
def test_a_frame_comes_back_as_it_went(chains: int, units: int, step: int) -> None:
    rng = torch.Generator().manual_seed(units)
    grey = torch.randint(0, 256, (chains, units), generator=rng) / 255
    bits = torch.rand(1, units, generator=rng) > 0.5
    found = frames.unpack(frames.pack([grey, bits], step=step, number=7, focus=chains - 1))
    assert (found.step, found.number, found.focus) == (step, 7, chains - 1)
    torch.testing.assert_close(torch.from_numpy(found.layers[0]), grey, rtol=0, atol=1e-6)
    assert torch.equal(torch.from_numpy(found.layers[1]) > 0.5, bits)


def test_states_take_a_bit_each() -> None:
    layers = [
        torch.zeros(1, 784),
        *(torch.zeros(1, units, dtype=torch.bool) for units in (500, 500, 2000)),
        torch.zeros(1, 10),
    ]
    assert len(frames.pack(layers, step=0, number=0)) < 1300


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_other_bytes_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(DataError, match=r"no frame|version|too many"):
        frames.unpack(content)


def test_a_frame_cut_short_or_lengthened_is_refused() -> None:
    whole = frames.pack([torch.rand(2, 30), torch.rand(1, 30) > 0.5], step=1, number=1)
    for wrong in (whole[:-1], whole + b"\0", b"\2" + whole[1:]):
        with pytest.raises(DataError):
            frames.unpack(wrong)
