"""Two mappings in, the smallest change out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from bgpnet.pieces import Pause, never, pieces

K = TypeVar("K")
V = TypeVar("V")

LOOKS = 256
"""How many comparisons are a piece of work."""


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """What to put (new or different) and what to drop (no longer wanted)."""

    put: dict[K, V]
    drop: dict[K, V]

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


def diff(want: Mapping[K, V], have: Mapping[K, V], pause: Pause = never) -> Delta[K, V]:
    """The change that turns `have` into `want`; an equal value is left alone."""
    return Delta(
        put={key: value for key, value in pieces(want.items(), pause, LOOKS) if have.get(key) != value},
        drop={key: value for key, value in pieces(have.items(), pause, LOOKS) if key not in want},
    )
