"""The loss-free gate: whatever restarts, and however often, no packet is lost and no route is touched.

Three nodes, a pod on each, packets between all pairs: natively without tunnels, and in User Mode Linux over tunl0. How
loss is measured, and told from that of an overloaded machine, is said in tests/support/restarts.py. `make soak`
restarts twenty times in each way, and as often twice within ten seconds, and prints the figures; with
BGPNET_SOAK=resume, ways whose figures stand in build/loss-free already are not run again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from agents import ROOT, Machine, cluster, eventually
from packets import NEAR, told_apart
from restarts import Gate, Kind, learned

from bgpnet.lab import uml

pytestmark = pytest.mark.root

SOAK = os.environ.get("BGPNET_SOAK", "")
SINGLES, DOUBLES = (20, 20) if SOAK else (1, 1)
"""Restarts of each kind, and pairs of them within ten seconds."""
RATE = 1000
WAYS = [[kind] for kind in Kind] if SOAK else [list(Kind)]
FIGURES = ROOT / "build" / "loss-free"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Three nodes with their pods."""
    with cluster(tmp_path_factory.mktemp("loss"), 3, f"loss{os.getpid()}") as made:
        yield Gate.of(made, RATE)


def test_the_gate_sees_a_route_that_is_away_for_a_moment(gate: Gate) -> None:
    """Otherwise it could not fail."""
    first: Machine = gate.made[0]
    route = next(line for line in learned(first) if f"via {gate.made[1].address} " in line)
    with first.monitor() as told, gate.flows() as report:
        since = monotonic()
        first.run("ip", "route", "del", *route.split())
        eventually(lambda: route in first.routes(), first.log)
        until = monotonic()
    pair = gate.pods[0].address, gate.pods[1].address
    every = [one for one in report.lost if (one.source, one.target) == pair]
    assert sum(one.count for one in every) == report.sent[pair] - report.received[pair] > 0
    nodes = {machine.name: machine.address for machine in gate.made.machines}
    lost, _ = told_apart(report, {pod.address: nodes[pod.node] for pod in gate.pods})  # a busy machine loses some, too
    mine = [one for one in lost if (one.source, one.target) == pair]
    assert all(since - NEAR <= one.since <= one.until <= until for one in mine)
    others = {(one.source, one.target) for one in lost} - {pair}
    assert others <= {pair[::-1]}  # whose packets the reverse path filter does not know
    assert report.unreachable.keys() <= {pair}  # the kernel sends such messages only now and then
    assert any(line.startswith(f"Deleted {route.split()[0]} ") and "proto bgpnet-bgp" in line for line in told)


@pytest.mark.timeout(3600 if SOAK else 900)
@pytest.mark.parametrize("kinds", WAYS, ids="+".join)
def test_nothing_is_lost_while_it_is_restarted(gate: Gate, kinds: list[Kind]) -> None:
    if had("native", kinds):
        return
    outcome = gate.restarted(kinds, SINGLES, DOUBLES)
    print(outcome.figures())
    assert outcome.problems() == []
    note("native", kinds, outcome.figures())


@pytest.mark.timeout(3600 if SOAK else 900)
@pytest.mark.parametrize("kinds", WAYS if SOAK else [[Kind.AGENT, Kind.ALL]], ids="+".join)
def test_nothing_is_lost_over_vxlan(tmp_path: Path, kinds: list[Kind]) -> None:
    if had("vxlan", kinds):
        return
    with cluster(tmp_path, 3, f"lossvx{os.getpid()}", vxlan="Always") as made:
        gate = Gate.of(made, RATE)
        for machine in made.machines:
            eventually(lambda machine=machine: _is_over_vxlan(machine), machine.routes)
        before = [_fdb(machine) for machine in made.machines]
        outcome = gate.restarted(kinds, SINGLES, DOUBLES)
        assert [_fdb(machine) for machine in made.machines] == before
        assert all(len(entries) == 2 for entries in before)
    print(outcome.figures())
    assert outcome.problems() == []
    note("vxlan", kinds, outcome.figures())


def _fdb(machine: Machine) -> list[str]:
    return sorted(machine.run("bridge", "fdb", "show", "dev", "vxlan.bgpnet").splitlines())


def _is_over_vxlan(machine: Machine) -> bool:
    return all("dev vxlan.bgpnet" in line for line in learned(machine))


@pytest.mark.uml
@pytest.mark.timeout(7200 if SOAK else 1200)
@pytest.mark.parametrize("kinds", WAYS, ids="+".join)
def test_nothing_is_lost_over_tunl0(kinds: list[Kind]) -> None:
    if had("tunl0", kinds):
        return
    run = [sys.executable, "-m", "pytest", "tests/tunnel/loss_free.py", "-q", "-s", "-p", "no:cacheprovider"]
    if not uml.has_ipip():
        inside = f"import sys; from bgpnet.lab import uml; sys.exit(uml.run_inside({run!r}))"
        run = [sys.executable, "-c", inside]
    wanted = {"KINDS": ",".join(kinds), "SINGLES": str(SINGLES), "DOUBLES": str(DOUBLES)}
    done = subprocess.run(
        run,
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {f"BGPNET_{name}": value for name, value in wanted.items()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = next(line for line in done.stdout.splitlines() if "packets between pods" in line)
    print(figures)
    note("tunl0", kinds, figures)


def had(where: str, kinds: list[Kind]) -> bool:
    """Whether a long run that is resumed has these figures already."""
    file = _file(where, kinds)
    if SOAK != "resume" or not file.exists():
        return False
    print(file.read_text(), end="")
    return True


def note(where: str, kinds: list[Kind], figures: str) -> None:
    """Figures of a long run, for the next one and for people."""
    if SOAK:
        FIGURES.mkdir(parents=True, exist_ok=True)
        _file(where, kinds).write_text(f"{where}, {figures}\n")


def _file(where: str, kinds: list[Kind]) -> Path:
    return FIGURES / f"{where}, {', '.join(kinds)}.txt"
