"""Agents on an etcd cluster of three: members die, hang, are all away, and no pod waits for any of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agents import POOL, POOL_TEXT, SHARED, Cluster, Machine, Pod, Process, cluster, eventually
from etcd_servers import ETCDS, FAST

from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway

pytestmark = pytest.mark.root

ADDRESSES = ("192.0.2.201", "192.0.2.202", "192.0.2.203")
URL = f"etcd://{','.join(f'{address}:2379' for address in ADDRESSES)}"
QUICK = 6.0
"""Seconds that a pod's ADD may take: fewer than a call of the datastore tries; it takes a few milliseconds."""
BACKUP = f"{SHARED}/backup.yaml"
EMPTY = f"""
from bgpnet.store.factory import open_store
store = open_store({URL!r})
for entry in store.list("/bgpnet/").entries:
    store.delete(entry.key, None)
store.close()
"""
"""A program that deletes every key of ours; inside a node, from where the members are reached."""
BACK = 120.0
"""Seconds in which everything is written that waited for the datastore."""


class OnEtcd:
    """Nodes n1 and n2 and, on the switch between them, three members of an etcd."""

    def __init__(self, made: Cluster, program: str) -> None:
        self.made = made
        for machine in made.machines:
            machine.agent.env["BGPNET_DATASTORE"] = URL
        for address in ADDRESSES:
            made.lab.exec("switch", ["ip", "address", "add", f"{address}/24", "dev", "br0"])
        # Members are made here and not by EtcdCluster: they must be reached from inside the nodes.
        self.members = [self._member(program, number) for number in range(len(ADDRESSES))]
        for member in self.members:
            member.start()
        # Three servers that start and elect may take longer than one call goes on trying.
        eventually(lambda: self._get("ippool") is not None, self.members[0].log.read_text)
        text = POOL_TEXT.format(name="pods", cidr=POOL, size=26)
        made[0].ctl("--datastore", URL, "create", "-f", "-", stdin=text)

    def _member(self, program: str, number: int) -> Process:
        client, peer = (f"http://{ADDRESSES[number]}:{port}" for port in (2379, 2380))
        everyone = ",".join(f"m{one}=http://{address}:2380" for one, address in enumerate(ADDRESSES))
        folder = self.made.folder / f"m{number}"
        argv = [program, "--name", f"m{number}", "--data-dir", str(folder), *FAST]
        argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", everyone]
        return Process(self.made.lab, "switch", argv, folder.with_suffix(".log"))

    def _get(self, kind: str) -> dict[str, Any] | None:
        """What bgpnetctl gets; None when the datastore has not answered within the time of a call."""
        argv = [sys.executable, "-m", "bgpnet_ctl", "--datastore", URL, "get", kind, "-o", "json"]
        done = self.made.lab.exec("n1", argv)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None

    def live(self) -> dict[str, str] | None:
        """The live allocations of pods in the datastore: address to container; None while it has no leader."""
        said = self._get("ipamblock")
        if said is None:
            return None
        rows = said.get("items", [said])
        found = {}
        for block in rows:
            base, last = block["spec"]["cidr"].partition("/")[0].rsplit(".", 1)
            for ordinal, one in block["spec"].get("allocations", {}).items():  # an empty block has none
                if not one.get("freedAt"):
                    found[f"{base}.{int(last) + int(ordinal)}"] = one["container"]
        return found

    def recorded(self, *pods: Pod) -> None:
        """Wait until the datastore has exactly these."""
        wanted = {pod.address: pod.container for pod in pods}
        assert len(wanted) == len(pods), f"an address twice: {pods}"
        eventually(lambda: self.live() == wanted, lambda: f"{self.live()} is not {wanted}", BACK)

    @contextmanager
    def away(self) -> Iterator[None]:
        """No member runs, and all agents know."""
        for member in self.members:
            member.end(signal.SIGKILL)
        for machine in self.made.machines:
            eventually(lambda machine=machine: said(machine).startswith("away"), lambda: said(self.made[0]), BACK)
        yield
        for member in self.members:
            member.start()


@pytest.fixture(params=ETCDS)
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnEtcd]:
    """Two nodes up, on an etcd."""
    with cluster(tmp_path, 2, f"agetcd{os.getpid()}", pool="") as made:
        on_etcd = OnEtcd(made, ETCDS[request.param]())
        made.start()
        yield on_etcd
        for member in on_etcd.members:
            member.end(signal.SIGKILL)


@contextmanager
def hung(member: Process) -> Iterator[None]:
    """It does not run on. nsenter, its parent, stops with it, and wakes it once woken: not before it has stopped."""
    assert member.popen
    parent = Path(f"/proc/{member.popen.pid}/stat")
    os.kill(member.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        eventually(lambda: parent.read_text().rpartition(")")[2].split()[0] == "T", parent.read_text)
        os.kill(member.popen.pid, signal.SIGCONT)


def said(machine: Machine) -> str:
    """What the agent says of the datastore."""
    return str(AgentClient(machine.root / "run/bgpnet/agent.sock", timeout=QUICK).ask("status")["datastore"])


def answers(machine: Machine) -> bool:
    try:
        return bool(said(machine))
    except AgentAway:
        return False


def warnings(machine: Machine) -> list[str]:
    """What its status warns of."""
    found: list[str] = machine.status()["warnings"]
    return found


def ours(machine: Machine) -> list[str]:
    """The routes that are the agent's, learned ones included."""
    return sorted(line for line in machine.routes() if "proto bgpnet" in line)


def told(machine: Machine) -> list[str]:
    """What its log says of the datastore."""
    return [line for line in machine.log().splitlines() if "the datastore is " in line] or [""]


def test_pods_come_and_go_while_members_die_and_hang(nodes: OnEtcd) -> None:
    first, second = nodes.made.machines
    near, far = first.add("near"), second.add("far")
    pods = [near, far]
    nodes.recorded(*pods)
    with first.ping(near, far.address) as pings:
        for number, member in enumerate(nodes.members):
            member.end(signal.SIGKILL)
            pods.append(first.add(f"killed{number}", timeout=QUICK))
            nodes.recorded(*pods)
            member.start()
        for number, member in enumerate(nodes.members):
            with hung(member):
                pods.append(second.add(f"hung{number}", timeout=QUICK))
                nodes.recorded(*pods)
        for pod in pods[2:]:
            (first if pod.node == first.name else second).delete(pod, timeout=QUICK)
        nodes.recorded(near, far)
    assert pings.sent > 0
    assert pings.lost == 0
    for machine in nodes.made.machines:
        machine.ready(peers=1)


def test_pods_come_and_go_while_all_members_are_away(nodes: OnEtcd) -> None:
    first, second = nodes.made.machines
    near, gone, far = first.add("near"), first.add("gone"), second.add("far")
    nodes.recorded(near, gone, far)
    with first.ping(near, far.address) as pings:  # whose first reply says that both have their routes
        before = second.routes()
        with nodes.away():
            new, other = first.add("new", timeout=QUICK), second.add("other", timeout=QUICK)
            first.delete(gone, timeout=QUICK)
            assert {new.address, other.address}.isdisjoint({near.address, gone.address, far.address})
            assert [line for line in second.routes() if other.address not in line] == before
        nodes.recorded(near, far, new, other)
        for machine in nodes.made.machines:
            machine.ready(peers=1)
            eventually(lambda machine=machine: told(machine)[-1].endswith("the datastore is back"), machine.log)
            away = f"the datastore is away: etcd at {ADDRESSES[0]}:2379, "
            assert any(away in line for line in told(machine)), told(machine)
    assert pings.sent > 0
    assert pings.lost == 0


def test_an_agent_that_starts_while_all_members_are_away(nodes: OnEtcd) -> None:
    first, second = nodes.made.machines
    near, far = first.add("near"), second.add("far")
    nodes.recorded(near, far)
    with first.ping(near, far.address) as pings:
        with nodes.away():
            first.agent.end(signal.SIGKILL)
            first.agent.start()
            eventually(lambda: answers(first), first.log)
            again = first.cni("ADD", near.container, near.name, pod=near.name, timeout=QUICK)
            assert (again.code, again.said) == (0, near.result)
            new = first.add("new", timeout=QUICK)
        nodes.recorded(near, far, new)
        for machine in nodes.made.machines:
            machine.ready(peers=1)
    assert pings.sent > 0
    assert pings.lost == 0


def test_all_keys_are_deleted_under_running_agents_and_an_import_brings_them_back(nodes: OnEtcd) -> None:
    first, second = nodes.made.machines
    near, far = first.add("near"), second.add("far")
    nodes.recorded(near, far)
    for machine in nodes.made.machines:
        eventually(lambda machine=machine: len(ours(machine)) == 3, machine.routes, BACK)
    first.ctl("--datastore", URL, "datastore", "export", "-o", BACKUP)
    before = [ours(machine) for machine in nodes.made.machines]
    with first.ping(near, far.address) as pings:
        first.run(sys.executable, "-c", EMPTY)
        emptied = "the datastore has no IPPool, although pods of this node live in"
        for machine in nodes.made.machines:
            eventually(lambda machine=machine: any(emptied in one for one in warnings(machine)), machine.log, BACK)
        late = second.add("late", timeout=QUICK)
        nodes.recorded(near, far, late)  # the agents write what is theirs
        before[1] = sorted([*before[1], f"{late.address} dev {late.link} proto bgpnet scope link"])
        assert [ours(machine) for machine in nodes.made.machines] == before
        first.ctl("--datastore", URL, "datastore", "import", BACKUP)
        for machine in nodes.made.machines:
            eventually(lambda machine=machine: warnings(machine) == [], machine.status, BACK)
            machine.ready(peers=1)
        nodes.recorded(near, far, late)
        assert [ours(machine) for machine in nodes.made.machines] == before
    assert pings.sent > 0
    assert pings.lost == 0
    nodes.recorded(near, far, late, first.add("more1"), second.add("more2"))
    assert "pods" in first.ctl("--datastore", URL, "get", "ippool", "-o", "name")
