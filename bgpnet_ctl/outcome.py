"""What `bgpnetctl datastore import` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bgpnet.calico import note
from bgpnet.transfer import contents
from bgpnet_ctl.copies import Copy
from bgpnet_ctl.importing import Plan
from bgpnet_ctl.text import plain as table

_SHOWN = 10
"""How many contradictions are named one by one."""


def warnings(plan: Plan) -> Iterator[str]:
    """What somebody should look at, and how much of Calico's is not as it was."""
    yield from map(str, plan.warnings[:_SHOWN])
    if len(plan.warnings) > _SHOWN:
        yield f"{len(plan.warnings) - _SHOWN} more contradictions: `bgpnetctl datastore check` lists them all"
    for line in note.summary(plan.source.notes):
        yield f"{line} (--report FILE lists each with its reason)"


def _counts(plan: Plan) -> str:
    """How many objects of each kind, without the kinds of which there is none."""
    tally = contents.counts(plan.source.contents.resources)
    return table(["KIND", "OBJECTS"], [[kind, str(count)] for kind, count in tally.items() if count])


def text(plan: Plan, result: Copy | None) -> str:
    """Counts, both checksums, and one sentence."""
    count = len(plan.source.contents.resources)
    before = f", {plan.there} of them there already" if plan.there else ""
    sums = [f"{side.name}: sha256 {side.checksum}\n" for side in (plan.source, result) if side is not None]
    if result is None:
        last = f"Nothing was written (--dry-run): {count} resource(s) can be imported{before}.\n"
    else:
        last = f"Successfully imported {count} resource(s){before}: both sides are equal.\n"
    return "".join([_counts(plan), *sums, last])


def tree(plan: Plan, result: Copy | None) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "from": plan.source.name,
        "to": plan.target,
        "dryRun": result is None,
        "objects": contents.counts(plan.source.contents.resources),
        "alreadyThere": plan.there,
        "checksum": {"from": plan.source.checksum, "to": result.checksum if result is not None else None},
        "warnings": [{"object": each.subject, "problem": each.problem} for each in plan.warnings],
        "notes": [
            {
                "key": each.key,
                "kind": each.kind,
                "object": each.about,
                "outcome": str(each.outcome),
                "reason": each.reason,
            }
            for each in plan.source.notes
        ],
    }
