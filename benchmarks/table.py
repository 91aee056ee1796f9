"""Figures beside a peer's: a table for people, build/bench.json for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("metric", "ours", "peer", "", "ratio", "goal", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside a peer's, or beside a limit; the ratio should not be over the goal."""

    metric: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    goal: float

    @property
    def ratio(self) -> float:
        """Ours in the peer's terms: less is better."""
        return self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio <= self.goal

    def as_json(self) -> dict[str, object]:
        """The row of build/bench.json."""
        return {
            "metric": self.metric,
            "ours": round(self.ours, 3),
            "peer": round(self.peer, 3),
            "peer_name": self.peer_name,
            "unit": self.unit,
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "holds": self.holds,
        }

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        return (
            self.metric,
            f"{self.ours:.2f} {self.unit}",
            f"{self.peer:.2f} {self.unit}",
            self.peer_name,
            f"{self.ratio:.2f}x",
            f"<= {self.goal:.2f}x",
            "holds" if self.holds else "MISSED",
        )


def render(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """build/bench.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")


def add(rows: Sequence[Row], path: Path) -> None:
    """To build/bench.json, in the place of rows of the same metrics."""
    mine = {row.metric for row in rows}
    others = [row for row in json.loads(path.read_text()) if row["metric"] not in mine] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*others, *(row.as_json() for row in rows)], indent=2) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the others do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
