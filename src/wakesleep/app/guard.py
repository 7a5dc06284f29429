"""What every request passes first: is it addressed to this server, from this server's own page, of
a bearable size?
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Guard:
    """Refuses foreign hosts (DNS rebinding), foreign origins, and bodies over the limit; adds
    security headers to every answer.

    `hosts` are the names the server answers to; None lets all pass, for a server that is bound to
    the whole network on purpose.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str] | None, body_bytes: int) -> None:
        self._app, self._hosts, self._most = app, hosts, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        status, reason = self._refusal(scope, headers)
        if status:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": reason})
            else:
                await _refuse(_with_headers(send), status, reason)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        body = await self._body(receive)
        if body is None:
            await _refuse(
                _with_headers(send),
                413,
                f"the request is larger than {self._most:,} bytes; send a smaller picture",
            )
            return
        try:
            await self._app(scope, _replay(body, receive), _with_headers(send))
        except asyncio.CancelledError:  # the server ends and can wait no longer
            with contextlib.suppress(RuntimeError):
                await _refuse(_with_headers(send), 503, "the server is ending; start it again")

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str]:
        host = headers.get("host", "")
        if self._hosts is not None and (urlsplit(f"//{host}").hostname or "") not in self._hosts:
            return 400, (
                f"this server does not answer to {host!r}; expected one of "
                f"{', '.join(sorted(self._hosts))}"
            )
        if "\0" in scope["path"]:
            # older Starlette (0.52 still) fails on it with 500
            return 400, "the path holds a NUL byte"
        origin = headers.get("origin")
        if origin is None:
            return (
                (403, "no Origin came; expected the page's own")
                if scope["type"] == "websocket"
                else (0, "")
            )
        if urlsplit(origin).netloc != host:
            return 403, "this request comes from another page; expected this server's own"
        if int(headers.get("content-length") or 0) > self._most:
            return 413, f"the request is larger than {self._most:,} bytes; send a smaller picture"
        return 0, ""

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body; None where it is over the limit."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._most:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the body once, then whatever comes."""
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


async def _refuse(send: Send, status: int, reason: str) -> None:
    content = json.dumps({"error": reason}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})
