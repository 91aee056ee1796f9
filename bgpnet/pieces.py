"""Long work in pieces, between which whoever calls may have others come first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

Pause = Callable[[], None]
"""What is called between two pieces; it may take its time."""

PIECE = 32
"""Items of a piece: a tenth of a millisecond, at some microseconds each."""


def never() -> None:
    """Nobody comes first."""


def pieces(items: Iterable[T], pause: Pause, size: int = PIECE) -> Iterator[T]:
    """The items, in their order, with a pause after so many."""
    rest = iter(items)
    while piece := tuple(islice(rest, size)):
        yield from piece
        pause()
