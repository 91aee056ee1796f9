"""A plan for people, and for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bgpnet.controller.janitor import Plan

TITLES = ("ACTION", "OBJECT", "NODE", "WHEN", "WHY")
NOTHING = "Nothing is to be done."


def rows(plan: Plan, clock: float, outcomes: Mapping[int, str] | None = None) -> list[dict[str, object]]:
    """What is to be done, and what waits: `inSeconds` is 0, a number, or null where something else has to happen first.

    outcomes: of the actions that were carried out, by their place in the plan.
    """
    found: list[dict[str, object]] = []
    for place, action in enumerate(plan.actions):
        row: dict[str, object] = {"action": action.what, "object": action.object, "node": action.node, "inSeconds": 0}
        if outcomes is not None:
            row["outcome"] = outcomes.get(place, "")
        found.append({**row, "reason": action.why})
    for one in plan.waiting:
        left = None if one.at is None else round(max(one.at - clock, 0.0), 1)
        found.append({"action": one.what, "object": one.object, "node": one.node, "inSeconds": left, "reason": one.why})
    return found


def table(found: Sequence[Mapping[str, object]]) -> str:
    """The rows in columns, as wide as they need to be."""
    if not found:
        return NOTHING + "\n"
    lines = [TITLES, *map(_cells, found)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(TITLES))]
    padded = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _cells(row: Mapping[str, object]) -> tuple[str, ...]:
    return (str(row["action"]), str(row["object"]), str(row["node"]), _when(row), str(row["reason"]))


def _when(row: Mapping[str, object]) -> str:
    if row.get("outcome"):
        return str(row["outcome"])
    left = row["inSeconds"]
    if left is None:
        return "waits"
    return "now" if left == 0 else f"in {_time(float(str(left)))}"


def _time(seconds: float) -> str:
    """15m30s."""
    whole = max(round(seconds), 1)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)
