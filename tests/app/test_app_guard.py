"""What passes the guard: the page's own requests, and nothing larger, foreign or outside the page's
folder.
"""

from __future__ import annotations

import pytest
from conftest_app import connect
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from wakesleep.app.server import create_app
from wakesleep.app.service import Service


def test_security_headers_on_everything(client: TestClient) -> None:
    for path in ("/", "/api/model", "/nowhere", "/style.css", "/api/units/99/99"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_nothing_of_other_servers(client: TestClient) -> None:
    for name in ("", "style.css", "app.js", "api.html", "link.js", "icon.svg"):
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


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", None])
def test_sockets_of_another_page_are_refused(client: TestClient, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://localhost/watch", headers=headers),
    ):
        pass


def test_the_own_page_gets_a_socket(client: TestClient) -> None:
    with connect(client):
        pass


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
        "/static/../../mind.py",
        "//etc/passwd",
        "/..\\server.py",
        "/%00",
    ],
)
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code in (400, 404)
    assert "import" not in reply.text


def test_a_server_for_the_whole_network_answers_to_any_name(service: Service) -> None:
    with TestClient(create_app(service, hosts=None), base_url="http://some-machine") as client:
        assert client.get("/api/model").status_code == 200
