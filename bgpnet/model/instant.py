"""Instants: seconds since 1970 inside, RFC 3339 in UTC in everything written down."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """1763690823.5 -> `2025-11-21T02:07:03.500Z` (milliseconds)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """The way back; raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
