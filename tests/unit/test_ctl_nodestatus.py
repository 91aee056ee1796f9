"""NodeStatus: what is known of every node, what only its own agent knows, and that nobody writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from bgpnet.errors import AgentAway
from bgpnet.model import instant
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSession, NodeSessions, NodeSpec
from bgpnet.model.node import NodeStatus as Word
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo
from bgpnet_ctl import nodestatuses, reading
from bgpnet_ctl.main import cli
from bgpnet_ctl.nodestatuses import statuses

NOW = 1_700_000_000.0
ANSWER: dict[str, Any] = {
    "node": "node1",
    "version": "9.8.7",
    "ready": False,
    "reasons": ["tunl0 has no address yet"],
    "address": "192.0.2.1/24",
    "peers": [
        {"address": "192.0.2.2", "type": "node-to-node mesh", "state": "up", "since": "2023-11-14T07:00:00.000Z",
         "info": "Established", "received": 3, "advertised": 2},
        {"address": "192.0.2.3", "type": "node-to-node mesh", "state": "start", "since": "", "info": "Passive"},
        {"address": "192.0.2.9", "type": "global", "state": "start", "since": "", "info": "the speaker is away"},
        {"address": "2001:db8::2", "type": "node specific", "state": "start", "info": "Connect"},
    ],
    "speaker": "connected",
    "datastore": "in sync",
}  # fmt: skip


def node(name: str, address: str, heartbeat: float | None) -> Node:
    identity = None if heartbeat is None else Identity(uuid=f"uuid-{name}", heartbeat=instant.stamp(heartbeat))
    bgp = NodeBGP(ipv4Address=address)
    return Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=bgp), status=Word(identity=identity))


NODES = [
    node("node1", "192.0.2.1/24", NOW - 5),
    node("node2", "192.0.2.2/24", NOW - 5),
    node("node3", "192.0.2.3/24", NOW - 90),
    node("node4", "192.0.2.4/24", None),
]


def block(cidr: str, owner: str | None, held: int, resting: int = 0) -> IPAMBlock:
    slots = {n: Allocation(since="s", sequence=1, freedAt="t" if n < resting else None) for n in range(held + resting)}
    spec = IPAMBlockSpec(cidr=cidr, owner=Owner(name=owner, uid="u") if owner else None, allocations=slots)
    return IPAMBlock(metadata=Metadata(name=cidr.replace(".", "-").replace("/", "-")), spec=spec)


BLOCKS = [block("10.0.0.0/26", "node1", 3, 1), block("10.0.0.64/26", "node1", 2), block("10.0.0.128/26", None, 1)]


def shown(answer: dict[str, Any] | None) -> list[tuple[str, ...]]:
    found = []
    for each in statuses(NODES, BLOCKS, answer, NOW):
        assert each.status is not None
        assert each.status.agent is not None
        assert each.status.ipam is not None
        held = f"{each.status.ipam.blocks} {each.status.ipam.addressesInUse}"
        found.append((each.metadata.name, str(each.status.agent.state), held, ",".join(each.spec.classes)))
    return found


def test_other_nodes_are_known_by_their_heartbeat_and_blocks() -> None:
    others = [("node2", "Alive", "0 0", "Agent"), ("node3", "Silent", "0 0", "Agent")]
    others.append(("node4", "Unknown", "0 0", "Agent"))
    assert shown(ANSWER) == [("node1", "NotReady", "2 5", "Agent,BGP,Routes"), *others]
    assert shown(None) == [("node1", "Alive", "2 5", "Agent"), *others]


def test_what_the_living_agents_of_other_nodes_published_is_theirs() -> None:
    sessions = (
        NodeSession(peer="192.0.2.1", received=3),
        NodeSession(peer="192.0.2.9", state="start", info="Passive", type="global"),
    )
    said = NodeSessions(checkedAt="t", sessions=sessions)
    nodes = [
        structs.replace(one, status=structs.replace(one.status, bgp=said)) for one in NODES if one.status is not None
    ]
    found = {each.metadata.name: each for each in statuses(nodes, [], None, NOW)}
    alive, silent = found["node2"].status, found["node3"].status
    assert alive is not None
    assert alive.bgp is not None
    assert [(one.peerIP, one.type, one.state) for one in alive.bgp.peersV4] == [
        ("192.0.2.1", "NodeMesh", "Established"),
        ("192.0.2.9", "GlobalPeer", "Active"),
    ]
    assert alive.routes is not None
    assert alive.routes.numberReceived == 3
    assert silent is not None
    assert silent.bgp is None


@pytest.mark.parametrize("change", [{"address": "198.51.100.1/24"}, {"node": "node9"}, {"peers": "none"}])
def test_the_agent_of_another_network_or_version_is_not_taken_for_this_node(change: dict[str, object]) -> None:
    assert shown(ANSWER | change) == shown(None)


def test_sessions_are_counted_and_named_as_in_v3() -> None:
    own, other, *_ = statuses(NODES, [], ANSWER, NOW)
    assert own.status is not None
    assert own.status.bgp is not None
    assert own.status.routes is not None
    bgp = own.status.bgp
    assert (bgp.numberEstablishedV4, bgp.numberNotEstablishedV4) == (1, 2)
    assert (bgp.numberEstablishedV6, bgp.numberNotEstablishedV6) == (0, 1)
    assert [(each.peerIP, each.type, each.state) for each in (*bgp.peersV4, *bgp.peersV6)] == [
        ("192.0.2.2", "NodeMesh", "Established"),
        ("192.0.2.3", "NodeMesh", "Active"),
        ("192.0.2.9", "GlobalPeer", "Idle"),
        ("2001:db8::2", "NodePeer", "Connect"),
    ]
    assert bgp.peersV4[0].since == "2023-11-14T07:00:00.000Z"
    assert (own.status.lastUpdated, own.status.routes.numberReceived) == (instant.stamp(NOW), 3)
    assert other.status is not None
    assert (other.status.bgp, other.status.routes) == (None, None)
    assert other.status.lastUpdated == instant.stamp(NOW - 5)


def test_get_asks_the_agent_and_goes_on_without_one() -> None:
    repo = Repo(MemoryStore())
    for each in (*NODES[:2], *BLOCKS):
        repo.write(each)

    def away() -> dict[str, object]:
        raise AgentAway("nobody answers")

    table = reading.get(repo, ("nodestatus",), (), "table", ask=lambda: ANSWER)
    assert table == (
        "NAME    NODE    AGENT      ESTABLISHED\nnode1   node1   NotReady   1/4\nnode2   node2   Silent     -\n\n"
    )
    wide = reading.get(repo, ("caliconodestatus", "node1"), (), "wide", ask=away)
    assert wide.splitlines()[0].split() == [
        *("NAME", "NODE", "AGENT", "ESTABLISHED", "CLASSES", "BLOCKS", "INUSE", "HEARTBEAT"),
    ]
    assert wide.splitlines()[1].split()[2:7] == ["Silent", "-", "Agent", "2", "5"]
    told = json.loads(reading.get(repo, ("nodestatus", "node1"), (), "json", ask=lambda: ANSWER))
    assert told["kind"] == "NodeStatus"
    assert told["status"]["agent"]["reasons"] == ["tunl0 has no address yet"]
    assert nodestatuses.all_of(Repo(MemoryStore()), away) == []


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    store = open_store(f"sqlite://{tmp_path}/store.db")
    Repo(store).write(NODES[0])
    store.close()

    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


CALICOS = """\
apiVersion: projectcalico.org/v3
kind: CalicoNodeStatus
metadata:
  name: my-caliconodestatus-1
spec:
  classes:
    - Agent
    - BGP
    - Routes
  node: my-kadm-node-0
  updatePeriodSeconds: 10
status:
  agent:
    birdV4:
      lastBootTime: '2021-09-19 20:48:51'
      lastReconfigurationTime: '2021-09-19 20:48:51'
      routerID: 172.17.0.0
      state: Ready
      version: v0.3.3+birdv1.6.8
    birdV6:
      state: Ready
  bgp:
    numberEstablishedV4: 1
    numberEstablishedV6: 0
    numberNotEstablishedV4: 0
    numberNotEstablishedV6: 0
    peersV4:
      - peerIP: 172.17.0.1
        since: '20:48:53'
        state: Established
        type: NodeMesh
  lastUpdated: '2021-09-19T20:49:34Z'
  routes:
    routesV4:
      - destination: 0.0.0.0/0
        gateway: 172.17.0.1
        interface: eth0
        learnedFrom:
          sourceType: Kernel
        type: FIB
"""


@pytest.mark.parametrize("verb", ["create", "apply", "replace", "delete"])
def test_nobody_writes_it_neither_as_ours_nor_as_calicos(run: Callable[..., Result], verb: str) -> None:
    for written in (run("get", "nodestatus", "-o", "yaml").stdout, CALICOS):
        refused = run(verb, "-f", "-", stdin=written)
        assert refused.exit_code == 1
        assert "is derived from the node's agent, its Node and its IPAMBlocks; " in refused.stderr
        assert "ask with `bgpnetctl get nodestatus`: every node has one" in refused.stderr
    assert run("delete", "nodestatus", "node1").exit_code == 1


def test_validate_says_so_and_finds_nothing_else(run: Callable[..., Result]) -> None:
    found = run("validate", "-f", "-", stdin=CALICOS)
    assert (found.exit_code, len(found.stderr.splitlines())) == (1, 1)
    assert found.stderr.startswith("standard input:2: NodeStatus(my-caliconodestatus-1): kind = 'NodeStatus': is deriv")


def test_one_that_does_not_exist(run: Callable[..., Result]) -> None:
    missing = run("get", "nodestatus", "node9")
    assert (missing.exit_code, "resource does not exist: NodeStatus(node9)" in missing.stderr) == (1, True)
