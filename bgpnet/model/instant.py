"""Instants: seconds since 1970 inside, RFC 3339 in UTC in everything written down."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def stamp(seconds: float) -> str:
    """1763690823.5 -> `2025-11-21T02:07:03.500Z` (milliseconds)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=8192)
def seconds(text: str) -> float:
    """The way back; raises ValueError."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except OverflowError:  # the year 1 in local time
        raise ValueError(f"{text!r} is out of range") from None


def readable(text: str) -> bool:
    """Whether it is an instant."""
    try:
        seconds(text)
    except ValueError:
        return False
    return True
