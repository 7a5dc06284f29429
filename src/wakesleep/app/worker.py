"""One thread does all the thinking: questions and dreams take turns, so that nobody waits for ever
and memory stays bounded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

import torch

from wakesleep.foundation.errors import WakesleepError

log = logging.getLogger(__name__)


class BusyError(WakesleepError):
    """Too many questions wait already."""


class Dreamer(Protocol):
    """What takes turns."""

    def due(self) -> float | None:
        """Return when the next turn is wanted (time.perf_counter); None: not until something else
        happens.
        """

    def turn(self) -> None:
        """Take it: some milliseconds of work."""


class Question:
    """Work that is done slice by slice, and the future that waits for its outcome."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._slices: Generator[None, None, Any] | None = None
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def turn(self) -> bool:
        """Do a slice; return whether it is finished."""
        if self.future.cancelled():
            return True
        try:
            if self._slices is None:
                found = self._work()
                if not isinstance(found, Generator):
                    self._tell(self.future.set_result, found)
                    return True
                self._slices = found
            next(self._slices)
            return False
        except StopIteration as stop:
            self._tell(self.future.set_result, stop.value)
        except Exception as error:  # goes to whoever asked
            self._tell(self.future.set_exception, error)
        return True

    def _tell(self, settle: Callable[[Any], None], value: Any) -> None:
        def tell() -> None:
            if not self.future.done():
                settle(value)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("an answer came after the server was gone")


class Worker:
    """The thread, its questions and its dreamers: one slice of the first question, then one turn of
    the next dreamer that is due.
    """

    def __init__(self, *, threads: int = 1, most_waiting: int = 64) -> None:
        self._threads, self._most = threads, most_waiting
        self._questions: deque[Question] = deque()
        self._dreamers: deque[Dreamer] = deque()
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="thinking", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn that is being taken."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join(timeout=10)

    async def ask(self, work: Callable[[], Any]) -> Any:
        """Let the thread do `work`, a call or a generator of slices, and return its outcome.

        Raises:
            BusyError: too many questions wait.
        """
        with self._wake:
            if len(self._questions) >= self._most:
                raise BusyError(f"{self._most} questions wait already; try again in a moment")
            question = Question(work)
            self._questions.append(question)
            self._wake.notify()
        return await question.future

    def add(self, dreamer: Dreamer) -> None:
        """Give a dreamer its turns."""
        with self._wake:
            self._dreamers.append(dreamer)
            self._wake.notify()

    def remove(self, dreamer: Dreamer) -> None:
        """Take them away, and with them the last hold on its chains."""
        with self._wake:
            if dreamer in self._dreamers:
                self._dreamers.remove(dreamer)

    def nudge(self) -> None:
        """Look again who is due: a page has drawn its frame."""
        with self._wake:
            self._wake.notify()

    def _next(self) -> tuple[Question | None, Dreamer | None]:
        """Wait for something to do; return it."""
        with self._wake:
            while not self._stopped:
                now = time.perf_counter()
                dues = [dreamer.due() for dreamer in self._dreamers]
                place = next(
                    (place for place, due in enumerate(dues) if due is not None and due <= now),
                    None,
                )
                dreamer = None if place is None else self._dreamers[place]
                if place is not None:
                    self._dreamers.rotate(-place - 1)  # whoever has a turn goes to the end
                question = self._questions.popleft() if self._questions else None
                if question is not None or dreamer is not None:
                    return question, dreamer
                soonest = min((due for due in dues if due is not None), default=None)
                self._wake.wait(None if soonest is None else max(soonest - now, 0.0005))
        return None, None

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            while not self._stopped:
                self._once()

    def _once(self) -> None:
        """Wait, and take a turn; a method of its own, so that the thread holds on to nobody while
        it waits.
        """
        question, dreamer = self._next()
        if question is not None and not question.turn():
            with self._wake:
                self._questions.append(question)
        if dreamer is not None:
            try:
                dreamer.turn()
            except Exception:
                log.exception("a dream went wrong and was ended")
                self.remove(dreamer)
