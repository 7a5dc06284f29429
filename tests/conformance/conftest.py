"""A fixture that is each backend in turn."""

from __future__ import annotations

from collections.abc import Iterator

import backends
import pytest
import torch


@pytest.fixture(params=backends.NAMES)
def backend(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[backends.Backend]:
    """A backend whose kernels serve tensors of any size."""
    yield backends.made(request.param, monkeypatch)
    torch.set_num_threads(1)
