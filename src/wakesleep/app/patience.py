"""How long a connection may take to say what it wants."""

from __future__ import annotations

import asyncio
from typing import Any


def patient_protocol(seconds: float) -> type:
    """Return uvicorn's protocol, which also closes a connection whose request's head is not whole
    after `seconds`.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel()

        def _watch(self) -> None:
            # from the first byte of a head, or the connection, to the head's last
            waiting = self.cycle is None or self.cycle.response_complete
            if not waiting:
                self._cancel()
            elif self.deadline is None:
                self.deadline = self.loop.call_later(seconds, self.transport.close)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._cancel()  # between two requests uvicorn's own limit counts

        def _cancel(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Patient
