"""`bgp explain`, from the datastore's objects and from an agent that has a World of its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import worlds
from click.testing import CliRunner, Result

from bgpnet import wire
from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.status import answer
from bgpnet.agent.world import World
from bgpnet.bgp.rib import Path as Learned
from bgpnet.bgp.rib import Update
from bgpnet.model import ip, kinds
from bgpnet.model.bgpfilter import Action, BGPFilter, BGPFilterSpec, FilterRule, MatchOperator
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli

Run = Callable[..., Result]

RESOURCES = """
{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: pods}, spec: {cidr: 10.244.0.0/16}}
---
{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: dark}, spec: {cidr: 10.245.0.0/16, disableBGPExport: true}}
---
{apiVersion: bgpnet.io/v1, kind: Node, metadata: {name: node1}, spec: {bgp: {ipv4Address: 192.0.2.1/24}}}
---
{apiVersion: bgpnet.io/v1, kind: Node, metadata: {name: node2}, spec: {bgp: {ipv4Address: 192.0.2.2/24}}}
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {name: tor}
spec:
  importV4:
    - {action: Accept, cidr: 0.0.0.0/0, matchOperator: Equal, communities: {values: ["65001:100"]}}
    - {action: Reject, asPathPrefix: [65001, 65002]}
  exportV4:
    - action: Accept
      peerType: eBGP
      operations:
        - {addCommunity: {value: "65001:7"}}
        - {prependASPath: {prefix: [64512]}}
        - {setPriority: {value: 512}}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.0.2.201, asNumber: 65001, filters: [tor], password: {secretKeyRef: {name: bgp, key: tor}}}
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    url = f"sqlite://{tmp_path}/store.db"
    env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": str(tmp_path)}

    def run(*args: str, stdin: str | None = None) -> Result:
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    made = run("create", "-f", "-", stdin=RESOURCES)
    assert made.exit_code == 0, made.output
    store = open_store(url)
    for cidr in ("10.244.0.0/26", "10.245.0.0/26"):
        Repo(store).write(worlds.block(cidr))
    Repo(store).write(worlds.block("10.244.9.0/26", "node2", "uuid-2"))
    store.close()
    return run


def explained(run: Run, *args: str) -> dict[str, Any]:
    shown = run("bgp", "explain", *args, "-o", "json")
    assert shown.exit_code == 0, shown.output
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_an_own_block_and_the_rule_that_changes_it(run: Run) -> None:
    shown = run("bgp", "explain", "10.244.0.0/26", "--peer", "tor", "--node", "node1")
    assert (shown.exit_code, shown.stdout) == (
        0,
        "Node node1, as the datastore's objects say:\n"
        "peer 192.0.2.201 (tor, global), AS 65001, eBGP, outside the cluster, filters: tor\n"
        "\n"
        "Import: 10.244.0.0/26 would be not taken, if the peer sent it\n"
        "  because: 10.244.0.0/26 from 192.0.2.201 lies in a block of this node's own, 10.244.0.0/26: it is not taken\n"
        "  next hop 192.0.2.201, AS path 65001, communities none\n"
        "\n"
        "Export: the peer is told of 10.244.0.0/26\n"
        "  because: decided by BGPFilter(tor) spec.exportV4[0], action Accept\n"
        "  the rule adds communities 65001:7\n"
        "  the rule prepends 64512\n"
        "  the rule sets the priority 512\n"
        "  next hop self, AS path 64512 64512, communities 65001:7\n"
        "  MED: 512\n",
    )


def test_a_supposed_route_and_each_rule(run: Run) -> None:
    ask = ("0.0.0.0/0", "--peer", "192.0.2.201", "--node", "node1")
    (plain,) = explained(run, *ask)["import"]["paths"]
    assert (plain["accepted"], plain["reason"], plain["rule"]) == (False, "default route", None)
    (marked,) = explained(run, *ask, "--community", "65001:100")["import"]["paths"]
    assert (marked["accepted"], marked["rule"]["filter"], marked["rule"]["index"]) == (True, "tor", 0)
    assert marked["route"] == "0.0.0.0/0 via 192.0.2.201"
    (long,) = explained(run, *ask, "--as-path", "65001 65002")["import"]["paths"]
    assert (long["reason"], long["rule"]["list"], long["rule"]["index"]) == ("filter", "importV4", 1)
    (far,) = explained(run, *ask, "--community", "65001:100", "--next-hop", "203.0.113.1")["import"]["paths"]
    assert far["reason"] == "impossible next hop"


def test_a_node_of_the_mesh_and_a_pool_that_is_not_told(run: Run) -> None:
    found = explained(run, "10.245.0.0/26", "--peer", "node2", "--node", "node1")
    assert (found["from"], found["peer"]["type"], found["peer"]["session"]) == (
        "datastore",
        "node-to-node mesh",
        "iBGP",
    )
    assert (found["export"]["told"], found["export"]["reason"]) == (False, "disableBGPExport")
    mesh = explained(run, "10.244.0.0/26", "--peer", "192.0.2.1", "--node", "node2")
    assert (mesh["import"]["paths"][0]["accepted"], mesh["export"]["reason"]) == (True, "not here")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("10.0.0.1/8", "--peer", "tor", "--node", "node1"), 2, "10.0.0.1/8 has host bits set: write a prefix"),
        (("10.0.0.0/8", "--peer", "x", "--node", "node1"), 1, "192.0.2.2 (node2), 192.0.2.201 (tor)"),
        (("10.0.0.0/8", "--peer", "tor", "--node", "node9"), 1, "node9"),
        (("10.0.0.0/8", "--peer", "tor"), 2, "name the node whose peer it is with --node"),
        (("10.0.0.0/8", "--peer", "tor", "--node", "node1", "--community", "1"), 2, "65001:100"),
        (("10.0.0.0/8", "--peer", "tor", "--node", "node1", "--as-path", "x"), 2, "'65001 65002'"),
        (("10.0.0.0/8", "--peer", "tor", "--node", "node1", "--next-hop", "x"), 2, "192.0.2.1"),
    ],
)
def test_refusals(run: Run, args: tuple[str, ...], code: int, said: str) -> None:
    shown = run("bgp", "explain", *args)
    assert (shown.exit_code, said in shown.stderr, len(shown.stderr.splitlines())) == (code, True, 1)


def world() -> World:
    """node1 with two switches, one of which sends a default route that the other sends, too."""
    rule = FilterRule(action=Action.ACCEPT, cidr="0.0.0.0/0", matchOperator=MatchOperator.EQUAL)
    made = worlds.synced(blocks=[worlds.block()], nodes=[worlds.node("node2", "192.0.2.2/24")])
    tors = ("192.0.2.201", "192.0.2.202")
    for name, address in zip(("tor", "other"), tors, strict=True):
        spec = BGPPeerSpec(peerIP=address, asNumber=65001, filters=("tor",))
        made = worlds.run(made, events.Changed(kinds.BGPPEER, BGPPeer(metadata=Metadata(name=name), spec=spec)))
    spec_of = BGPFilterSpec(importV4=(rule,))
    made = worlds.run(made, events.Changed(kinds.BGPFILTER, BGPFilter(metadata=Metadata(name="tor"), spec=spec_of)))
    made = worlds.run(made, worlds.found(worlds.state(), *(worlds.state(ip.address(one)) for one in tors)))
    for address in map(ip.address, tors):
        path = Learned(
            prefix=ip.network("0.0.0.0/0"), next_hop=address, peer=address, as_path=(65001, (65007,)), external=True
        )
        made = worlds.run(made, Update(address, (path,)))
    return made


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[None]:
    """An agent with that World, which answers until the test is over."""
    made = world()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "agent.sock"))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as stream:
                client.settimeout(30)
                _, length = wire.request_head(stream.read(wire.REQUEST.size))
                client.sendall(wire.answer(*answer(made, plan(made), json.loads(stream.read(length)))))

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(30)


def test_the_agent_says_what_the_peer_really_sends(run: Run, agent: None) -> None:
    shown = run("bgp", "explain", "0.0.0.0/0", "--peer", "tor")
    assert (shown.exit_code, shown.stdout) == (
        0,
        "Node node1, as its agent says:\n"
        "peer 192.0.2.201 (tor, global), AS 65001, eBGP, outside the cluster, filters: tor\n"
        "\n"
        "Import: 0.0.0.0/0, which the peer sends, is taken\n"
        "  because: decided by BGPFilter(tor) spec.importV4[0], action Accept\n"
        "  next hop 192.0.2.201, AS path 65001 {65007}, communities none\n"
        "  route: 0.0.0.0/0 via 192.0.2.201 dev eth1\n"
        "  used together with the path of 192.0.2.202\n"
        "\n"
        "Export: the peer is not told of 0.0.0.0/0\n"
        "  because: 0.0.0.0/0 is in no pool: nothing outside the pools is told to anybody\n",
    )
    assert explained(run, "10.99.0.0/24", "--peer", "tor", "--node", "node1")["import"]["learned"] is False


def test_for_another_node_the_datastore_is_asked(run: Run, agent: None) -> None:
    assert explained(run, "10.244.9.0/26", "--peer", "tor", "--node", "node2")["from"] == "datastore"


def test_the_agents_refusal_is_one_sentence(run: Run, agent: None) -> None:
    shown = run("bgp", "explain", "0.0.0.0/0", "--peer", "nobody")
    assert (shown.exit_code, "'nobody': is no peer of node node1; write the name" in shown.stderr) == (1, True)
    assert run("bgp", "explain", "--help").stdout.count("bgpnetctl bgp explain") >= 4
