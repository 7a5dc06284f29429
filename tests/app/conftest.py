"""A server in this process, on the model of the small run: fast, and of unusual size, so that
nothing leans on 784-500-500-2000.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip(
    "fastapi", reason="the page's packages are not installed: pip install 'wakesleep[app]'"
)

from fastapi.testclient import TestClient

from wakesleep.app.limits import Limits
from wakesleep.app.loaded_model import LoadedModel, open_model
from wakesleep.app.server import create_app
from wakesleep.app.service import Service

ORIGIN = {"origin": "http://localhost"}


@pytest.fixture
def model(run_folder: Path) -> LoadedModel:
    return open_model(run_folder)


@pytest.fixture
def service(model: LoadedModel, run_folder: Path, tmp_path: Path) -> Service:
    return Service(model, tmp_path / "page", run=run_folder, limits=Limits(body_bytes=200_000))


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(
        create_app(service), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        yield client
