"""Tables as text: without borders as Go's tabwriter sets them, and in boxes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

GAP = 3
NARROWEST = 5
Paint = Callable[[int, str], str]
"""A column's number and a cell's padded text in, what to print out."""


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart, at least five wide, and a blank line at the end, as calicoctl's."""
    widths = [max(width + GAP, NARROWEST) for width in _widths([header, *rows])]
    lines = ["".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]
    return "\n".join(lines) + "\n\n"


def boxed(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: frozenset[int] = frozenset(),
    paint: Paint = lambda _column, text: text,
) -> str:
    """A table in a box, its header centred; the columns `right` are set to the right."""
    widths = _widths([header, *rows])
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def body(row: Sequence[str]) -> str:
        return line(
            [
                paint(at, cell.rjust(width) if at in right else cell.ljust(width))
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
        )

    centred = line([cell.center(width) for cell, width in zip(header, widths, strict=True)])
    return "\n".join([rule, centred, rule, *map(body, rows), rule]) + "\n"
