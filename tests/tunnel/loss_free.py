"""The loss-free gate over tunl0, for tests/chaos/test_loss_free.py, which runs this file where the kernel has ipip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agents import cluster, eventually
from restarts import DIRECT, OVER_TUNNEL, OVER_VXLAN, Gate, Kind, learned

pytestmark = [pytest.mark.root, pytest.mark.uml]

RATE = 200
PATIENCE = 200.0


@pytest.mark.timeout(0)
def test_nothing_is_lost_over_tunl0(tmp_path: Path) -> None:
    kinds = [Kind(kind) for kind in os.environ["BGPNET_KINDS"].split(",")]
    singles, doubles = int(os.environ["BGPNET_SINGLES"]), int(os.environ["BGPNET_DOUBLES"])
    with cluster(tmp_path, 3, "losstunnel", mode="Always") as made:
        gate = Gate.of(made, RATE, PATIENCE)
        for machine in made.machines:
            eventually(lambda m=machine: all("dev tunl0" in line for line in learned(m)), machine.routes, PATIENCE)
        outcome = gate.restarted(kinds, singles, doubles)
        modes = gate.switched([OVER_VXLAN, DIRECT, OVER_TUNNEL])
    print(outcome.figures())
    assert outcome.problems() == []
    print(modes.figures())
    assert modes.problems() == []
    assert len(modes.changed) == 3 * 6
