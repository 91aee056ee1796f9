"""`bgpnetctl bgp topology` and `convert --dry-run`: what they show of a datastore, and advise."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import worlds
from click.testing import CliRunner, Result
from msgspec import structs

from bgpnet.bgp.peering import MESH
from bgpnet.model import ip
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec, ReversePeering
from bgpnet.model.instant import stamp
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeSession, NodeSessions, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.advising import advice
from bgpnet_ctl.main import cli
from bgpnet_ctl.topologies import shown
from bgpnet_ctl.topology import Picture, picture, rows

RR = "244.0.0.1"
OFF = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(nodeToNodeMeshEnabled=False))


def a_node(at: int, cluster: str = "", *sessions: NodeSession, now: float = worlds.NOW) -> Node:
    one = worlds.node(f"n{at}", f"192.0.{at // 200}.{at % 200 + 1}/16")
    assert one.spec.bgp is not None
    bgp = structs.replace(one.spec.bgp, routeReflectorClusterID=cluster)
    said = NodeSessions(checkedAt=stamp(now), sessions=sessions) if sessions else None
    status = NodeStatus(identity=Identity(uuid="u", heartbeat=stamp(now)), bgp=said)
    return structs.replace(one, spec=structs.replace(one.spec, bgp=bgp), status=status)


def peer(name: str, **spec: object) -> BGPPeer:
    return BGPPeer(metadata=Metadata(name=name), spec=BGPPeerSpec(**spec))  # type: ignore[arg-type]  # its fields


def seen(*resources: Resource) -> Picture:
    return picture(resources, worlds.NOW)


CLIENTS_OF_N0 = peer("rr", node="n0", peerSelector="all()")
SAID = (NodeSession(peer="192.0.0.2"), NodeSession(peer="192.0.0.3", state="start", info="refused or reset"))


def test_each_session_once_with_both_ends_word() -> None:
    made = seen(a_node(0, "", *SAID), a_node(1, "", NodeSession(peer="192.0.0.1")), a_node(2))
    assert [(row.node, row.peer, row.by, row.state) for row in rows(made)] == [
        ("n0", "n1", "mesh", "up"),
        ("n0", "n2", "mesh", "refused or reset"),
        ("n1", "n2", "mesh", "unknown"),
    ]
    late = picture([a_node(0, "", *SAID), a_node(1)], worlds.NOW + 300)
    assert {row.state for row in rows(late)} == {"unknown"}  # a word of yesterday is none
    assert made.made["n0"].sources[ip.address("192.0.0.2")] == (MESH,)


def test_the_table() -> None:
    made = seen(OFF, CLIENTS_OF_N0, a_node(0, RR), a_node(1), a_node(2))
    assert shown(made, "ps") == (
        "3 nodes, 2 sessions, 0 up, 2 unknown. The node-to-node mesh is off.\n\n"
        "REFLECTOR   CLUSTER     CLIENTS\n"
        "n0          244.0.0.1   2\n\n"
        "NODE   PEER   ADDRESS     BY           AS     CLIENT   STATE\n"
        "n0     n1     192.0.0.2   BGPPeer rr   iBGP   n1       unknown\n"
        "n0     n2     192.0.0.3   BGPPeer rr   iBGP   n2       unknown\n\n"
        "Advice: node n0 is the only route reflector of cluster 244.0.0.1: while it is away nobody hears of new "
        "blocks, and after its restart time routes go; give a second node the same routeReflectorClusterID\n"
    )


def test_a_long_mesh_is_a_line() -> None:
    told = [NodeSession(peer=f"192.0.0.{at + 1}") for at in range(12)]
    made = seen(*(a_node(at, "", *(one for one in told if one.peer != f"192.0.0.{at + 1}")) for at in range(12)))
    assert "66 sessions of the mesh that are up are left out; -o wide shows them.\n" in shown(made, "ps")
    assert shown(made, "wide").count(" up\n") == 66
    assert json.loads(shown(made, "json"))["sessions"][0] == {
        "node": "n0",
        "peer": "n1",
        "address": "192.0.0.2",
        "definedBy": "mesh",
        "session": "iBGP",
        "client": None,
        "oneSided": False,
        "state": "up",
    }


TWO = peer("two", node="n1", peerIP="192.0.0.3")
TOR = peer("tor", node="n0", peerIP="203.0.113.1", asNumber=65001)
HALF = peer("half", node="n1", peerSelector="has(x)", reversePeering=ReversePeering.MANUAL)


def labelled(one: Node) -> Node:
    return structs.replace(one, metadata=structs.replace(one.metadata, labels={"x": ""}))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([a_node(at) for at in range(3)], []),
        ([a_node(0), TOR, OFF], []),
        (
            [a_node(at) for at in range(70)],
            ["the mesh of 70 nodes has 2415 sessions, 69 at each node: use route reflectors, with bgpnetctl bgp"],
        ),
        ([a_node(at) for at in range(120)], ["the mesh of 120 nodes has 7140 sessions, 119 at each node: use route"]),
        ([OFF, a_node(0), a_node(1), TOR], ["nodes without any session, to whose pods no route leads: n1; switch the"]),
        (
            [OFF, HALF, labelled(a_node(0)), a_node(1)],
            ["nodes without any session", "n1 wants a session with n0 (by BGPPeer half), which does not want one"],
        ),
        ([a_node(0, RR), a_node(1), a_node(2)], ["node n0 is a route reflector without clients", "nodes without any"]),
        (
            [a_node(0, "", *SAID), a_node(1), a_node(2)],
            ["the session of n0 with n2 is not up: refused or reset"],
        ),
        (
            [OFF, CLIENTS_OF_N0, a_node(0, RR), *(a_node(at) for at in range(1, 103))],
            ["node n0 reflects to 102 clients, more than the 100 that it serves well", "node n0 is the only route"],
        ),
        (
            [OFF, CLIENTS_OF_N0, TWO, *map(a_node, (2, 3)), a_node(0, RR), a_node(1, RR)],
            ["n3 has no session with n1, which reflects in cluster 244.0.0.1 beside another that it has one with"],
        ),
    ],
)
def test_advice(made: list[Resource], expected: list[str]) -> None:
    said = seen(*made)
    found = advice(said, rows(said))
    assert [one[: len(start)] for one, start in zip(found, expected, strict=True)] == expected


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    url = f"sqlite://{tmp_path}/store.db"
    store = open_store(url)
    now = time.time()
    for at in range(3):
        one = a_node(at, "", NodeSession(peer="203.0.113.1"), now=now)
        Repo(store).write(structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion="")))
    store.close()

    def run(*args: str) -> Result:
        env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def test_the_commands(run: Callable[..., Result]) -> None:
    assert "3 nodes, 3 sessions, 0 up, 3 unknown. The node-to-node mesh is on.\n" in run("bgp", "topology").stdout
    assert json.loads(run("bgp", "topology", "-o", "json").stdout)["mesh"] is True
    assert run("bgp", "topology", "-o", "yaml").stdout.startswith("mesh: true\n")
    dry = run("bgp", "convert", "--to", "route-reflector", "--dry-run")
    assert dry.stdout == (
        "1. see what sessions every node has\n"
        "2. label n0, n1 bgpnet.io/route-reflector=true\n"
        "3. create BGPPeer route-reflectors: every node with every reflector\n"
        "4. wait until every node has its sessions with them\n"
        "5. give n0, n1 routeReflectorClusterID 244.0.0.1: they reflect\n"
        "6. wait until every node has every route from each of them\n"
        "7. switch the node-to-node mesh off\n"
        "8. wait until every node has done so\n"
    )
    late = run("bgp", "convert", "--to", "route-reflector", "--nodes", "n2", "--timeout", "1")
    assert late.exit_code == 1
    assert "step 1 (see what sessions every node has) is not done after 1 s: n0 has not heard of it; no" in late.stderr


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (["--to", "mesh", "--nodes", "n1"], "--nodes and --cluster-id are for --to route-reflector", 2),
        (["--to", "route-reflector", "--nodes", ","], "--nodes is given and empty: name nodes", 2),
        (["--to", "route-reflector", "--cluster-id", "1"], "--cluster-id 1 is not a cluster ID: write four numbers", 2),
        (["--to", "route-reflector", "--nodes", "n9"], "--nodes n9: there is no such node", 2),
    ],
)
def test_what_is_asked_wrongly(run: Callable[..., Result], words: list[str], text: str, code: int) -> None:
    done = run("bgp", "convert", *words)
    assert (done.exit_code, text in done.stderr) == (code, True), done.stderr
