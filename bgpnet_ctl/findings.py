"""What `ipam check` found, as text and as a report.

The report is one JSON object; fields are added, never renamed or taken away within a version:
  version          1
  clusterGUID      of ClusterInformation; empty where the cluster has none
  checkedAt        RFC 3339
  summary          pools, blocks, nodes, and in addresses: inUse, resting, reserved, free; errors, warnings
  sources          nodes: [{node, source: agent|published|unknown, at, reason}]; runtime: {sandboxes, reason}; notes
  problems         [{code, severity: error|warning|info, object, sentence, remedy, node, and where an allocation is
                   meant: address, sequence, container, ifname, pod, since}]
  allocations      [{ip, node, block, use, pod, container, ifname, sequence, since, inUse: true|false|null, state}];
                   inUse is null where its node says nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bgpnet import ipam
from bgpnet.ipamcheck import check, counts, vouched, words
from bgpnet.ipamcheck.picture import Picture, Problem, Runtime, Severity, Word
from bgpnet.model import instant, ip
from bgpnet_ctl import text
from bgpnet_ctl.ipamchecking import Checked

VERSION = 1


def tree(checked: Checked) -> dict[str, Any]:
    """The report."""
    picture, found = checked.picture, list(checked.found)
    runtime = picture.runtime
    return {
        "version": VERSION,
        "clusterGUID": checked.cluster,
        "checkedAt": instant.stamp(picture.now),
        "summary": {**_totals(picture), **_tally(found)},
        "sources": {
            "nodes": [
                {"node": word.node, "source": str(word.source), "at": word.at, "reason": word.reason}
                for word in _words(picture)
            ],
            "runtime": {"sandboxes": _seen(runtime), "reason": runtime.reason},
            "notes": list(picture.notes),
        },
        "problems": [_problem(one) for one in found],
        "allocations": [_allocation(one) for one in check.verdicts(picture, found)],
    }


def _words(picture: Picture) -> list[Word]:
    return sorted(picture.words.values(), key=lambda word: word.node)


def _seen(runtime: Runtime) -> int | None:
    return None if runtime.sandboxes is None else len(runtime.sandboxes)


def _tally(found: Sequence[Problem]) -> dict[str, int]:
    return {
        "errors": sum(one.severity is Severity.ERROR for one in found),
        "warnings": sum(one.severity is Severity.WARNING for one in found),
    }


def _totals(picture: Picture) -> dict[str, int]:
    kept = counts.reservations(picture.reservations)
    rest = _rest(picture)
    used = [
        counts.count(
            pool.network,
            [block for block in picture.blocks if ip.contains(pool.network, block.network)],
            kept,
            picture.now,
            rest,
        )
        for pool in picture.pools
    ]
    return {
        "pools": len(picture.pools),
        "blocks": len(picture.blocks),
        "nodes": len(picture.nodes),
        "inUse": sum(1 for _ in picture.slots()),
        "resting": sum(one.resting for one in used),
        "reserved": sum(one.reserved for one in used),
        "free": sum(one.free for one in used),
    }


def _rest(picture: Picture) -> float:
    told = picture.settings.ipCooldownSeconds
    return ipam.REST if told is None else float(told)


def _problem(one: Problem) -> dict[str, Any]:
    said: dict[str, Any] = {
        "code": one.code,
        "severity": str(one.severity),
        "object": one.subject,
        "sentence": one.sentence,
        "remedy": one.remedy,
        "node": one.node,
    }
    if (holder := one.holder) is not None:
        said |= {
            "address": holder.address,
            "sequence": holder.sequence,
            "container": holder.container,
            "ifname": holder.ifname,
            "pod": holder.pod,
            "since": holder.since,
        }
    return said


def _allocation(verdict: check.Verdict) -> dict[str, Any]:
    slot, one = verdict.slot, verdict.slot.allocation
    return {
        "ip": str(slot.address),
        "node": slot.owner,
        "block": slot.block.spec.cidr,
        "use": str(one.use),
        "pod": one.pod,
        "container": one.container,
        "ifname": one.ifname,
        "sequence": one.sequence,
        "since": one.since,
        "inUse": {check.IN_USE: True, check.UNKNOWN: None}.get(verdict.state, False),
        "state": verdict.state,
    }


def narrative(checked: Checked, show_all: bool, show_problems: bool) -> str:
    """What people read: what was looked at and whom was asked, each finding with its remedy, and the count."""
    picture, found = checked.picture, list(checked.found)
    parts = [f"{line}\n" for line in _looked(picture)]
    if show_all or show_problems:
        parts.append("\n" + _addresses(picture, found, show_all))
    for one in found:
        parts.append(f"\n{str(one.severity).capitalize()} {one.code}: {one.sentence}\n  Remedy: {one.remedy}\n")
    tally = _tally(found)
    wrong = tally["errors"] + tally["warnings"]
    parts.append(f"\nCheck complete; found {wrong} problem{'' if wrong == 1 else 's'}.\n")
    return "".join(parts)


def _looked(picture: Picture) -> Iterator[str]:
    one = _totals(picture)
    yield (
        f"IP pools: {one['pools']}, blocks: {one['blocks']}, nodes: {one['nodes']}; addresses: {one['inUse']} in use, "
        f"{one['resting']} resting, {one['reserved']} reserved, {one['free']} free."
    )
    for word in _words(picture):
        yield words.told(word, picture.now)
    runtime = picture.runtime
    if runtime.sandboxes is None:
        yield f"The container runtime was not asked: {runtime.reason}."
    elif runtime.node and not vouched.shares_pods(picture):
        yield f"The container runtime of this machine knows no pod of node {runtime.node}: it was not compared."
    else:
        yield f"The container runtime of this machine knows {len(runtime.sandboxes)} pod sandboxes."
    for note in picture.notes:
        yield f"Note: {note}"


def _addresses(picture: Picture, found: list[Problem], show_all: bool) -> str:
    """A table of the live allocations, or of those with problems."""
    rows = [
        (str(one.slot.address), one.slot.owner or "-", one.slot.allocation.pod or _short(one), str(one.state))
        for one in check.verdicts(picture, found)
        if show_all or one.state not in (check.IN_USE, check.UNKNOWN)
    ]
    return text.boxed(("IP", "NODE", "ALLOCATED TO", "STATE"), rows)


def _short(verdict: check.Verdict) -> str:
    return verdict.slot.allocation.container or verdict.slot.allocation.ifname or str(verdict.slot.allocation.use)
