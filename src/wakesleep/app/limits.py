"""What one page, one message and one picture may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; the defaults serve a class room from one laptop."""

    body_bytes: int = 2_000_000
    """A request's body or a socket's message: a drawing is a few thousand bytes, a movie of ten
    dreams a million.
    """
    picture_pixels: int = 4_000_000
    """A picture unpacked; the page sends at most 512 x 512, and a small file can hide gigabytes."""
    sessions: int = 64
    """Pages connected at once; each holds its chains, some 100 kB."""
    idle_seconds: float = 900.0
    """A page that says nothing for so long is let go; one that watches a dream says at every frame
    that it is there.
    """
    lifetime_seconds: float = 6 * 3600.0
    """After so long every page is let go, and may come back with new chains."""
    messages_per_second: float = 250.0
    """A page acknowledges each frame, so this is above the frames it can draw."""
    burst: int = 500
    """How many messages may come at once before the rate counts."""
    mistakes: int = 20
    """Malformed messages before a page is let go."""
    unread: int = 100
    """Frames and messages a page has not taken before it is let go; frames alone stop at three."""
    waiting: int = 64
    """Questions that wait for an answer; one more is told to come back."""
    count: int = 20
    """Dreams in one answer."""
    steps: int = 2_000
    """Gibbs steps for one answer."""
    frames: int = 240
    """Frames of a movie."""
