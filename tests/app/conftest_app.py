"""What the socket's tests share."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from wakesleep.app import frames


def connect(client: TestClient) -> Any:
    return client.websocket_connect("ws://localhost/watch", headers={"origin": "http://localhost"})


def frame(socket: Any) -> frames.Frame:
    """The next frame, acknowledged."""
    found = frames.unpack(socket.receive_bytes())
    socket.send_json({"type": "ack", "number": found.number})
    return found
