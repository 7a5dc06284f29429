"""The socket a page watches through: messages in (JSON), frames out (binary), with every limit on
the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from functools import partial
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from wakesleep.app.service import Service
from wakesleep.app.sessions import READER, Ack, Session
from wakesleep.foundation.errors import WakesleepError

POLICY_VIOLATION, TRY_LATER, GOING_AWAY = 1008, 1013, 1001

Content = bytes | dict[str, Any]
"""What a page is sent: a frame, or a message as plain values."""


class Rate:
    """A bucket of messages that fills with time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at = float(burst), time.perf_counter()

    def allows(self) -> bool:
        """Count one message; return whether it is within the rate."""
        now = time.perf_counter()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left -= 1
        return self._left >= 0


async def watch(socket: WebSocket) -> None:
    """Serve one page until it goes, breaks the rules, or has been here long enough; then free its
    chains.
    """
    service: Service = socket.app.state.service
    await socket.accept()
    if len(service.pages) >= service.limits.sessions:
        await socket.close(
            TRY_LATER,
            f"{service.limits.sessions} pages are open already; close one, or try again later",
        )
        return
    loop, outgoing = asyncio.get_running_loop(), asyncio.Queue[Content]()

    def post(content: Content) -> None:
        with contextlib.suppress(RuntimeError):  # the server is closing
            loop.call_soon_threadsafe(outgoing.put_nowait, content)

    session = Session(lambda: service.mind, post, crowd=lambda: len(service.pages))
    service.pages[session] = post
    service.worker.add(session)
    sending = asyncio.create_task(_send(socket, outgoing))
    try:
        code, reason = await _listen(socket, service, session, outgoing)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(code, reason)
    except WebSocketDisconnect:
        pass
    finally:
        service.worker.remove(session)
        del service.pages[session]
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sending


async def _send(socket: WebSocket, outgoing: asyncio.Queue[Content]) -> None:
    while True:
        content = await outgoing.get()
        if isinstance(content, bytes):
            await socket.send_bytes(content)
        else:
            await socket.send_text(json.dumps(content))


async def _listen(
    socket: WebSocket, service: Service, session: Session, outgoing: asyncio.Queue[Content]
) -> tuple[int, str]:
    """Do what the page asks until it has to go; return the code and the reason in words."""
    limits = service.limits
    rate, ends, mistakes = (
        Rate(limits.messages_per_second, limits.burst),
        time.perf_counter() + limits.lifetime_seconds,
        0,
    )
    while True:
        left = ends - time.perf_counter()
        try:
            received = await asyncio.wait_for(
                socket.receive(), max(0.0, min(limits.idle_seconds, left))
            )
        except TimeoutError:
            return GOING_AWAY, (
                "the page was quiet for long; it may come back"
            ) if left > limits.idle_seconds else "time is up; come back"
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1000))
        if not rate.allows():
            return POLICY_VIOLATION, f"more than {limits.messages_per_second:g} messages a second"
        if outgoing.qsize() > limits.unread:
            return POLICY_VIOLATION, "the page does not take what it is sent"
        try:
            message = READER.validate_json(received.get("text") or b"")
            if isinstance(message, Ack):
                session.acknowledge(message.number)
                service.worker.nudge()
            else:
                await service.worker.ask(partial(session.handle, message))
        except (ValidationError, WakesleepError) as error:
            outgoing.put_nowait({"type": "error", "error": in_words(error)})
            mistakes += isinstance(error, ValidationError)
            if mistakes > limits.mistakes:
                return POLICY_VIOLATION, "too many malformed messages"


def in_words(error: Exception) -> str:
    """Return an error as a sentence a person can use."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the message'}: {first['msg']}"
