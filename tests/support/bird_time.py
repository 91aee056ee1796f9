"""When BIRD says that something happened."""

from __future__ import annotations

import re

JITTER = 0.5
"""Seconds by which two answers about one moment may differ: BIRD may lose the processor between its two clocks."""


class BirdTime(str):
    """Equal to the same moment told again: BIRD works it out anew for each answer, a millisecond up or down."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        mine, its = (re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", str(one)) for one in (self, other))
        if not (mine and its):
            return str(self) == str(other)
        return abs(_seconds(mine) - _seconds(its)) < JITTER

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return 0  # equal ones have to have the same


def _seconds(found: re.Match[str]) -> float:
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
