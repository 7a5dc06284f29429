"""The server: static files, questions, sockets, and errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from wakesleep import __version__
from wakesleep.app import questions, socket
from wakesleep.app.guard import Guard
from wakesleep.app.service import Service
from wakesleep.app.worker import BusyError
from wakesleep.foundation.errors import WakesleepError

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
ABOUT = (
    "The operations of the page where you watch a deep belief net think. Pictures are whole "
    "numbers 0..255, row by row."
)


def create_app(service: Service, *, hosts: frozenset[str] | None = LOOPBACK) -> FastAPI:
    """Return the application that shows `service`; it answers to the host names `hosts`, or to any
    where that is None.
    """

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        following = asyncio.create_task(service.follow()) if service.run is not None else None
        yield
        if following is not None:
            following.cancel()
        service.worker.stop()

    app = FastAPI(
        title="wakesleep",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    app.add_middleware(Guard, hosts=hosts, body_bytes=service.limits.body_bytes)
    app.include_router(questions.router)
    app.add_api_websocket_route("/watch", socket.watch)
    app.add_exception_handler(WakesleepError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Return what nobody foresaw as an answer, and write it down."""
    log.error("%s went wrong", request.url.path, exc_info=error)
    return JSONResponse(
        {"error": "something went wrong in the server; its terminal says what"}, 500
    )


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Return an error as JSON, in words."""
    if isinstance(error, HTTPException):
        return JSONResponse(
            {"error": f"{request.url.path}: {error.detail}"},
            error.status_code,
            headers=error.headers,
        )
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return JSONResponse(
            {"error": f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"}, 422
        )
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, BusyError) else 422)
