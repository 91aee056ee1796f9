"""When marked links are deleted: gathered, after a burst of pods, and never kept waiting for long."""

from __future__ import annotations

import pytest

from bgpnet.agent.pods import GATHER, STILL, YIELD, reap_at

MARKED = 100.0


@pytest.mark.parametrize(
    ("wired", "expected"),
    [
        (0.0, MARKED + GATHER),
        (MARKED, MARKED + GATHER),
        (MARKED + 0.2, MARKED + 0.2 + STILL),
        (MARKED + YIELD, MARKED + YIELD),
        (MARKED + 10.0, MARKED + YIELD),
    ],
)
def test_links_wait_for_pods_that_are_being_wired(wired: float, expected: float) -> None:
    assert reap_at(MARKED, wired) == pytest.approx(expected)
