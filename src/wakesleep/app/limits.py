"""What one request and one picture may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; the defaults serve a class room from one laptop."""

    body_bytes: int = 2_000_000
    """A request's body: a picture file of 1.5 MB in base64."""
    picture_pixels: int = 4_000_000
    """A picture unpacked; a small file can hide gigabytes."""
    head_seconds: float = 10.0
    """For the head of a request; a connection that is slower is closed."""
    body_seconds: float = 20.0
    """For the body of a request, then 408."""
    connections: int = 500
    """At once; one more gets 503."""
    waiting: int = 64
    """Questions that wait for an answer; one more is told to come back."""
    count: int = 20
    """Dreams in one answer."""
    steps: int = 2_000
    """Gibbs steps for one answer."""
