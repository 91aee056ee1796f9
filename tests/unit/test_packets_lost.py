"""Whose fault a lost packet is, as the loss-free gates judge it (tests/support/packets.py)."""

from __future__ import annotations

from packets import Lost, Report, told_apart

PODS = {"10.244.0.1": "192.0.2.1", "10.244.0.65": "192.0.2.2", "10.244.0.2": "192.0.2.1"}


def lost(source: str, target: str, since: float) -> Lost:
    """One packet."""
    return Lost(source, target, 7, 1, since, since)


def test_only_what_the_nodes_lost_on_the_same_way_at_the_same_time_excuses() -> None:
    pods = [lost("10.244.0.1", "10.244.0.65", at) for at in (1.0, 2.0, 3.0)]
    back = lost("10.244.0.65", "10.244.0.1", 1.0)
    inside = lost("10.244.0.1", "10.244.0.2", 1.0)
    nodes = [lost("192.0.2.1", "192.0.2.2", 1.04), lost("192.0.2.1", "192.0.2.2", 2.2)]
    report = Report(lost=[*pods, back, inside, *nodes])
    assert told_apart(report, PODS) == ([*pods[1:], back, inside], pods[:1])
