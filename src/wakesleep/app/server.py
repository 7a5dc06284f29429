"""The server: the page's folder, questions, and errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import textwrap
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from wakesleep import __version__
from wakesleep.app import questions, site
from wakesleep.app.guard import Guard
from wakesleep.app.service import BusyError, Service
from wakesleep.foundation.errors import WakesleepError

log = logging.getLogger(__name__)
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
ABOUT = (
    "The operations of the page where you watch a deep belief net think. Pictures are whole "
    "numbers 0..255, row by row."
)


def create_app(service: Service, *, hosts: frozenset[str] = LOOPBACK) -> FastAPI:
    """Return the application that shows `service`; it answers to the host names `hosts`, and where
    these hold "*" to any address in numbers.
    """

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow()) if service.run is not None else None
        yield
        if following is not None:
            following.cancel()

    app = FastAPI(
        title="wakesleep",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    app.add_middleware(Guard, hosts=hosts, limits=service.limits)
    app.include_router(questions.router)
    app.add_api_route(f"/{site.EXAMPLES}", _examples, include_in_schema=False)
    app.add_exception_handler(WakesleepError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    app.mount("/", StaticFiles(directory=service.folder, html=True))
    return app


async def _examples(request: Request) -> FileResponse:
    """Return the pictures to try."""
    return FileResponse(await request.app.state.service.examples())


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
        return JSONResponse({"error": _in_words(error.errors()[0])}, 422)
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, BusyError) else 422)


def _in_words(error: Any) -> str:
    """Return what pydantic found wrong with a request."""
    where = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
    if error["type"] == "json_invalid":
        why = error.get("ctx", {}).get("error", "")
        return f"the body is no JSON: {why} at character {where}; expected an object"
    if not where:
        return f"the body: {error['msg']}; expected a JSON object, sent as application/json"
    came, wanted = error["input"], error["msg"].replace("Input should be", "expected it to be", 1)
    if error["type"] in ("missing", "extra_forbidden") or isinstance(came, dict | list):
        return f"{where}: {wanted}"
    return f"{where} is {textwrap.shorten(repr(came), 60)}; {wanted}"
