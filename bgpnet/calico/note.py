"""What an import from Calico says about each thing that is not carried over as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of it."""

    LEFT_OUT = "not imported"
    CHANGED = "changed"
    IDLE = "kept, not acted on yet"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing of Calico's. key: where it stood, such as `/calico/ipam/v2/config`; about: `IPPool(blue)`."""

    key: str
    kind: str
    about: str
    outcome: Outcome
    reason: str

    def __str__(self) -> str:
        return f"{self.about}: {self.outcome}: {self.reason}"


def summary(notes: Iterable[Note]) -> list[str]:
    """`not imported: NetworkPolicy 3, Profile 7`: one line for each outcome."""
    found: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in Outcome}
    for note in notes:
        found[note.outcome][note.kind] += 1
    return [
        f"{outcome}: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}"
        for outcome, kinds in found.items()
        if kinds
    ]
