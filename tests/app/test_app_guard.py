"""What passes the guard: the page's own requests, and nothing larger, foreign or outside the page's
folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from wakesleep.app.guard import Guard
from wakesleep.app.limits import Limits
from wakesleep.app.loaded_model import LoadedModel
from wakesleep.app.server import LOOPBACK, create_app
from wakesleep.app.service import Service
from wakesleep.cli.serve import names


def test_security_headers_on_everything(client: TestClient) -> None:
    for path in ("/", "/api/model", "/nowhere", "/style.css", "/api/units/99/99"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self' 'wasm-unsafe-eval';" in policy
        assert "'unsafe-" not in policy  # WebAssembly apart, no text becomes code
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_nothing_of_other_servers(client: TestClient) -> None:
    for name in ("", "style.css", "app.js", "api.html", "link.js", "worker.js", "icon.svg"):
        text = client.get(f"/{name}").text.replace("http://www.w3.org/", "")
        assert "http://" not in text
        assert "https://" not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::2]"]
)
def test_foreign_host_names_are_refused(client: TestClient, host: str) -> None:
    reply = client.get("/api/model", headers={"host": host})
    assert reply.status_code == 400
    assert "does not answer to" in reply.json()["error"]


def test_own_host_names_pass(client: TestClient) -> None:
    for host in ("localhost", "127.0.0.1:8707", "[::1]:8707"):
        assert client.get("/api/model", headers={"host": host}).status_code == 200


def test_questions_from_another_page_are_refused(client: TestClient) -> None:
    assert (
        client.post(
            "/api/dream", json={"steps": 1}, headers={"origin": "http://evil.example"}
        ).status_code
        == 403
    )
    assert (
        client.post(
            "/api/dream", json={"steps": 1}, headers={"origin": "http://localhost"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize("host", ["[", "localhost:[", "[::1", "a:b:c"])
def test_a_malformed_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/model", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["null", "http://[", "http://localhost:1", "http://localhost."])
def test_a_foreign_or_malformed_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/api/model", headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_what_another_page_asks_for_is_not_computed(client: TestClient, site: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    for path in ("/api/units/1/0", "/api/model", "/model.safetensors"):
        assert client.get(path, headers=headers).status_code == 403
    document = {**headers, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=document).status_code == 200, (
        "a link to the page may be anywhere"
    )
    assert client.get("/api/units/1/0", headers=document).status_code == 403
    own = {"sec-fetch-site": "same-origin"}
    assert client.get("/api/units/1/0", headers=own).status_code == 200


def test_a_body_that_does_not_come_is_waited_for_no_longer_than_its_limit(
    model: LoadedModel, tmp_path: Path
) -> None:
    async def ask() -> int:
        service = Service(model, tmp_path / "page", limits=Limits(body_seconds=0.05))
        sent: list[Message] = []

        async def receive() -> Message:
            if not receive_calls:
                receive_calls.append(1)
                return {"type": "http.request", "body": b"{", "more_body": True}
            await asyncio.sleep(60)
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        receive_calls: list[int] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/dream",
            "headers": [(b"host", b"localhost")],
        }
        guard = Guard(create_app(service), hosts=LOOPBACK, limits=service.limits)
        await guard(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask()) == 408


def test_bodies_over_the_limit_are_refused_with_or_without_a_length(client: TestClient) -> None:
    large = b'{"image": "' + b"A" * 300_000 + b'"}'
    assert client.post("/api/recognize", content=large).status_code == 413
    reply = client.post(
        "/api/recognize", content=(large[at : at + 10_000] for at in range(0, len(large), 10_000))
    )
    assert reply.status_code == 413
    assert "smaller" in reply.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "/static/../../answers.py",
        "//etc/passwd",
        "/..\\server.py",
        "/%00",
    ],
)
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code in (400, 404)
    assert "import" not in reply.text


def test_a_server_for_the_whole_network_answers_to_addresses_and_the_names_it_is_given(
    service: Service,
) -> None:
    hosts = LOOPBACK | set(names("0.0.0.0", ["Pictures.example"]))
    with TestClient(create_app(service, hosts=frozenset(hosts))) as client:
        for host, status in {
            "192.168.1.7:8707": 200,
            "[fe80::1]:8707": 200,
            "pictures.example": 200,
            "evil.example": 400,
            "192.168.1.7.evil.example": 400,
        }.items():
            assert client.get("/api/model", headers={"host": host}).status_code == status, host
    assert names("127.0.0.1", ["pictures.example"]) == ["pictures.example"]
