"""Wait for something to become true, with a deadline and the reason why it did not."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic

from bgpnet.errors import UsageError

POLL = 0.05
"""Seconds between two looks at what no descriptor announces."""


def until(missing: Callable[[], str], seconds: float) -> None:
    """Return when nothing is missing; raises UsageError with what is when the time is over."""
    deadline = monotonic() + seconds
    pause = Event()
    while lacking := missing():
        if monotonic() >= deadline:
            raise UsageError(f"{lacking} (after {seconds:g} s)")
        pause.wait(POLL)
