"""What every request passes first: is it addressed to this server, from this server's own page, of
a bearable size?
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wakesleep.app.limits import Limits

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
    """Refuses foreign hosts (DNS rebinding), requests of other pages, and bodies that are too large
    or too slow; adds security headers to every answer.

    `hosts` are the names the server answers to; any address in numbers passes where they hold "*",
    for a server that is bound to the whole network on purpose.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], limits: Limits) -> None:
        self._app, self._hosts, self._limits = app, hosts, limits
        self._most = limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        status, reason = self._refusal(scope, headers)
        if status:
            await _refuse(_with_headers(send), status, reason)
            return
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._body(receive)
        except TimeoutError:
            reason = f"the body did not come within {self._limits.body_seconds:g} seconds"
            await _refuse(_with_headers(send), 408, f"{reason}; send it at once")
            return
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
        if not self._answers_to(_name(host)):
            return 400, (
                f"this server does not answer to {host!r}; expected one of "
                f"{', '.join(sorted(self._hosts - {'*'}))} (wakesleep serve --allow-host adds one)"
            )
        if "\0" in scope["path"]:
            # older Starlette (0.52 still) fails on it with 500
            return 400, "the path holds a NUL byte"
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host.lower():
            return 403, "this request comes from another page; expected this server's own"
        # what browsers say of a request: a link to the page may stand anywhere, a question may not
        foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        document = headers.get("sec-fetch-dest") == "document" and not scope["path"].startswith(
            "/api"
        )
        if foreign and not document:
            return 403, "this request comes from another page; expected this server's own"
        length = headers.get("content-length") or "0"
        if not (length.isascii() and length.isdigit()):
            return 400, f"content-length {length!r}: expected a whole number"
        if int(length) > self._most:
            return 413, f"the request is larger than {self._most:,} bytes; send a smaller picture"
        return 0, ""

    def _answers_to(self, name: str) -> bool:
        return name in self._hosts or ("*" in self._hosts and _is_address(name))

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


def _name(host: str) -> str:
    """Return the name in a Host header, "" where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    """Return host and port of an Origin header, None where it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


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
