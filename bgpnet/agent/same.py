"""Values that never change, and what was made from them: kept without comparing what is in them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Same(Generic[T]):
    """A value as a key of a cache, equal to itself alone: comparing what is in it would cost more than it saves."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def latest(function: Callable[P, T]) -> Callable[P, T]:
    """Keeps what the function returned last, for the same arguments: compared, which is quick for the same objects,
    and not hashed, which for networks is not.
    """
    last: tuple[object, T] | None = None

    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal last
        kept = last  # in one piece: another thread may ask meanwhile
        if kept is None or kept[0] != (args, kwargs):
            kept = last = ((args, kwargs), function(*args, **kwargs))
        return kept[1]

    return ask
