"""When what is written behind the pods goes out: a burst in few writes, none of them late. By a clock of the test's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.agent.loop import LATEST as PLANNED
from bgpnet.agent.loop import QUIET as REST
from bgpnet.agent.records import LATEST, QUIET, Gathered, gathered

SECOND = 1.0
SLOW = 0.1
"""Seconds that a plan and a write may take on a busy machine."""


def plans(changes: Sequence[float]) -> list[tuple[float, float]]:
    """When the loop plans these changes, and the oldest change in each plan; see loop.py."""
    made: list[tuple[float, float]] = []
    oldest: float | None = None
    for change, after in zip(changes, [*changes[1:], float("inf")], strict=True):
        oldest = change if oldest is None else oldest
        if after - change > REST:
            made.append((change + REST, oldest))
            oldest = None
        elif after - oldest > PLANNED:
            made.append((after, oldest))
            oldest = None
    return made


def writes(changes: Sequence[float]) -> list[tuple[float, float]]:
    """When it is written, and the oldest change in each write."""
    made: list[tuple[float, float]] = []
    waiting: Gathered | None = None
    for now, since in plans(changes):
        if waiting is not None and waiting.due <= now:
            made.append((waiting.due, waiting.oldest))
            waiting = None
        waiting = gathered(waiting, since, now)
    return made + ([(waiting.due, waiting.oldest)] if waiting else [])


def burst(lasts: float) -> list[float]:
    return [lasts * number / 63 for number in range(64)]


def test_the_model_of_the_loop_plans_a_burst_a_few_times() -> None:
    assert [round(now, 2) for now, _ in plans(burst(0.6))] == [0.26, 0.51, 0.63]
    assert len(plans([0.0, 1.0, 2.0])) == 3


@pytest.mark.parametrize("lasts", [0.01, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_burst_is_at_most_two_writes_of_a_block(lasts: float) -> None:
    """Two blocks are three, for only one of the two windows has both, and the claim is the fourth."""
    assert len(writes(burst(lasts))) <= 2


@given(st.lists(st.floats(0.0, QUIET - PLANNED - 0.01), min_size=8, max_size=64))
def test_so_is_an_uneven_burst(gaps: list[float]) -> None:
    assert len(writes([0.0, *(at for at in accumulate(gaps) if at <= SECOND)])) <= 2


def test_changes_far_apart_do_not_wait_for_each_other() -> None:
    assert len(writes([0.0, 0.5, 1.0])) == 3


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200).map(sorted))
def test_nothing_is_late_and_nothing_is_forgotten(changes: list[float]) -> None:
    made = writes(changes)
    for written, oldest in made:
        assert written - oldest <= SECOND - SLOW
    assert made[-1][0] >= changes[-1]


def test_a_wish_goes_out_when_it_has_come_to_rest_or_is_getting_old() -> None:
    first = gathered(None, 10.0, 10.2)
    assert first.due == 10.2 + QUIET
    assert gathered(first, 10.3, 10.5).due == 10.0 + LATEST
    assert QUIET > PLANNED + REST  # else a burst's next wish may come too late
