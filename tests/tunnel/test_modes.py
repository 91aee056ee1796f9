"""From tunl0 to vxlan.bgpnet, to no tunnel and back, under traffic: every route is replaced, none is dropped."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from agents import Machine, cluster, eventually
from restarts import Gate, Outcome, learned

pytestmark = [pytest.mark.root, pytest.mark.uml]

RATE = 100
PATIENCE = 100.0
POOL = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: pods}}
spec: {{cidr: 10.244.0.0/16, {modes}}}
"""


def leads_over(machine: Machine, dev: str) -> bool:
    return len(learned(machine)) == 1 and all(f" dev {dev} " in line for line in learned(machine))


def words(machine: Machine) -> str:
    """What there is to say when it does not come about."""
    return f"{machine.routes()} {machine.status()} {machine.log()}"


def test_modes_change_under_traffic_and_nothing_is_lost(tmp_path: Path) -> None:
    with cluster(tmp_path, 2, "modesuml", mode="Always") as made, ExitStack() as stack:
        gate = Gate.of(made, RATE, PATIENCE)
        told = [stack.enter_context(machine.monitor()) for machine in made.machines]
        with gate.flows() as report:
            for modes, dev in (
                ("vxlanMode: Always", "vxlan.bgpnet"),
                ("vxlanMode: Never", "eth1"),
                ("ipipMode: Always", "tunl0"),
            ):
                made[0].ctl("apply", "-f", "-", stdin=POOL.format(modes=modes))
                for machine in made.machines:
                    eventually(partial(leads_over, machine, dev), partial(words, machine), PATIENCE)
        stack.close()
    outcome = Outcome("modes")
    routes = [line for lines in told for line in lines if not re.search(r"lladdr|FAILED", line)]
    gate.count(outcome, report, routes)
    print(outcome.figures())
    assert outcome.problems() == []
    assert len(outcome.changed) == 3 * 2
