"""Two mappings in, the smallest change out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """What to put (new or different) and what to drop (no longer wanted)."""

    put: dict[K, V]
    drop: dict[K, V]

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


def diff(want: Mapping[K, V], have: Mapping[K, V]) -> Delta[K, V]:
    """The change that turns `have` into `want`; an equal value is left alone."""
    return Delta(
        put={key: value for key, value in want.items() if have.get(key) != value},
        drop={key: value for key, value in have.items() if key not in want},
    )
