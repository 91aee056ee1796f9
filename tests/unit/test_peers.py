"""Peerings in the World: what is planned, told, waited for and said of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import yaml
from msgspec import convert
from worlds import OTHER, block, found, later, node, pool, routes, run, state, synced, told, up

from bgpnet.agent import events, peers, secrets, status
from bgpnet.agent.plan import Plan, plan
from bgpnet.agent.world import World
from bgpnet.bgp import causes
from bgpnet.bgp.conf import SpeakerConf, render
from bgpnet.bgp.lines import Failed
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.secret import Secret, Secrets
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.kinds import Resource
from bgpnet.model.resource import Metadata

TOR = ip.address("198.51.100.1")
WORD = "geheim"
SECRETS = Secrets("/run/bgpnet/secrets", {"bgp/tor": Secret(WORD)})
RELAY = ("/usr/bin/python3", "-m", "bgpnet.bgp.relay", "/run/bgpnet/speaker.sock")


def peer(name: str, spec: str) -> BGPPeer:
    return BGPPeer(metadata=Metadata(name=name), spec=convert(yaml.safe_load(spec), BGPPeerSpec))


def configured(spec: str, name: str = "default") -> BGPConfiguration:
    return BGPConfiguration(metadata=Metadata(name=name), spec=convert(yaml.safe_load(spec), BGPConfigurationSpec))


def world(*resources: Resource) -> World:
    """Two nodes in mesh, and these objects besides."""
    start = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")])
    changed = (events.Changed(kinds.kind_of(one), one) for one in resources)
    return run(start, *changed)


def conf(of: World) -> SpeakerConf:
    said = plan(of).speaker
    assert said is not None
    return said


def sessions(of: World) -> list[str]:
    return [f"{one.name} {one.kind} {one.address} {one.local_as}>{one.peer_as}" for one in conf(of).neighbours]


def test_a_peering_is_beside_the_mesh_or_in_its_place() -> None:
    tor = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001}}")
    assert sessions(world(tor)) == ["node2 node-to-node mesh 192.0.2.2 64512>64512", f"tor global {TOR} 64512>65001"]
    off = configured("{nodeToNodeMeshEnabled: false, asNumber: 64999}")
    assert sessions(world(tor, off)) == [f"tor global {TOR} 64999>65001"]
    assert sessions(world(off)) == []


def test_every_peer_is_told_our_blocks() -> None:
    tor = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001}}")
    announced = plan(world(tor)).announcements or {}
    assert {str(one): len(adverts) for one, adverts in announced.items()} == {"192.0.2.2": 1, str(TOR): 1}


def test_nothing_is_said_to_the_speaker_before_the_peerings_are_known() -> None:
    unheard = run(
        later(synced(blocks=[block()]), 0),
        events.Listed(kinds.BGPPEER, ()),
    )
    assert plan(unheard).speaker is not None
    early = World(me=unheard.me, now=unheard.now, clock=unheard.clock)
    for kind in (kinds.NODE, kinds.BGPCONFIGURATION, kinds.IPPOOL):
        early = run(early, events.Listed(kind, (pool(),) if kind is kinds.IPPOOL else ()))
    assert plan(early).speaker is None
    assert plan(early).announcements is None
    assert plan(run(early, events.Listed(kinds.BGPPEER, ()))).speaker is not None


def test_a_password_is_waited_for_until_somebody_has_looked() -> None:
    guarded = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001, password: {{secretKeyRef: {{name: bgp, key: tor}}}}}}")
    unknown = world(guarded)
    assert plan(unknown).speaker is None
    known = run(unknown, events.SecretsLooked(SECRETS))
    assert [one.password for one in conf(known).neighbours] == [None, WORD]
    assert WORD not in repr(known)
    assert WORD not in repr(plan(known))
    missing = run(known, events.SecretsLooked(Secrets("/run/bgpnet/secrets")))
    assert sessions(missing) == ["node2 node-to-node mesh 192.0.2.2 64512>64512"]
    (warning,) = status.status(missing, plan(missing))["warnings"]  # type: ignore[misc]  # a list
    assert warning == (
        "BGPPeer tor: no session with 198.51.100.1: its password is in neither /run/bgpnet/secrets/bgp/tor nor "
        "BGPNET_SECRET_BGP_TOR: write it there"
    )


def test_another_peer_leaves_the_text_of_the_first_as_it_is() -> None:
    def texts(of: World) -> dict[str, str]:
        parts = render(conf(of), RELAY).split("\nneighbor ")[1:]
        return {part.split(" ", 1)[0]: part.rstrip() for part in parts}

    one = texts(world())
    both = texts(world(peer("tor", f"{{peerIP: {TOR}, asNumber: 65001}}"), configured("{logSeverityScreen: Debug}")))
    assert set(both) == {"192.0.2.2", str(TOR)}
    assert both["192.0.2.2"] == one["192.0.2.2"]


def test_the_nodes_own_settings_go_before_the_clusters() -> None:
    both = world(
        configured("{listenPort: 1179, logSeverityScreen: Warning}"),
        configured("{listenPort: 2179, logSeverityScreen: Debug}", "node.node1"),
        configured("{listenPort: 3179}", "node.node2"),
    )
    said = conf(both)
    assert (said.listen_port, said.log_level, [one.port for one in said.neighbours]) == (2179, "DEBUG", [3179])
    assert conf(world()).log_level == "WARNING"


@pytest.mark.parametrize(
    ("source", "bind", "anywhere"),
    [("UseNodeIP", "None", False), ("None", "None", True), ("None", "NodeIP", False)],
)
def test_it_listens_everywhere_only_where_a_peer_may_come_from_anywhere(source: str, bind: str, anywhere: bool) -> None:
    tor = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001, sourceAddress: {source}}}")
    assert conf(world(tor, configured(f"{{bindMode: {bind}}}"))).anywhere is anywhere


def test_reachable_by_is_a_route_of_ours() -> None:
    way = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001, reachableBy: 192.0.2.254}}")
    assert f"{TOR} via 192.0.2.254 dev eth1 proto bgpnet-bgp" in " ".join(routes(world(way)))
    far = world(peer("tor", f"{{peerIP: {TOR}, asNumber: 65001, reachableBy: 203.0.113.1}}"))
    assert str(TOR) not in " ".join(routes(far))
    assert peers.warnings(far, peers.of(far)) == [
        "peer 198.51.100.1: spec.reachableBy = 203.0.113.1 is outside 192.0.2.0/24, so no route is made; write the "
        "address of a gateway in the node's subnet"
    ]


def test_the_status_has_what_each_session_comes_from() -> None:
    tor = peer("tor", f"{{peerIP: {TOR}, asNumber: 65001, node: node1}}")
    heard = run(world(tor), found(state(TOR)), up(TOR), told("10.244.9.0/26", peer=TOR))
    rows = status.status(heard, plan(heard))["peers"]
    assert isinstance(rows, list)
    assert [(row["address"], row["type"], row["name"], row["state"], row["received"]) for row in rows] == [
        ("192.0.2.2", "node-to-node mesh", "node2", "start", 0),
        (str(TOR), "node specific", "tor", "up", 1),
    ]
    assert status.status(heard, Plan(plan(heard).kernel))["peers"] == []


def info(of: World, address: ip.Address) -> str:
    rows = status.status(of, plan(of))["peers"]
    assert isinstance(rows, list)
    return str(next(row["info"] for row in rows if row["address"] == str(address)))


def test_a_peer_that_gives_no_sign_is_said_to_give_none() -> None:
    before = run(
        world(peer("tor", f"{{peerIP: {TOR}, asNumber: 65001}}")), found(state(up=False), state(TOR, up=False))
    )
    assert (info(before, TOR), info(before, ip.address("192.0.2.2"))) == ("Connect", "Passive")
    silent = later(before, 10.0)
    assert (info(silent, TOR), info(silent, ip.address("192.0.2.2"))) == (causes.NO_ANSWER, "Passive")
    wrong = run(silent, Failed(TOR, "notification sent (2,2)"))
    assert info(wrong, TOR) == "wrong AS number: the peer's is not the one that is configured"


def test_a_deleted_peering_lingers_like_a_deleted_node() -> None:
    tor = peer("tor", f"{{peerIP: {OTHER}, asNumber: 65001}}")
    deleted = run(world(tor), events.Gone(kinds.BGPPEER, "tor"))
    assert f"tor global {OTHER} 64512>65001" in sessions(deleted)
    assert f"tor global {OTHER} 64512>65001" not in sessions(later(deleted, 4.0))


def test_a_reflector_is_in_no_mesh_but_has_its_peerings() -> None:
    start = world(peer("rr", "{nodeSelector: all(), peerSelector: has(rr)}"))
    known = start.of_kind(kinds.NODE)["node1"]
    spec = convert({"bgp": {"ipv4Address": "192.0.2.1/24", "routeReflectorClusterID": "1.1.1.1"}}, type(known.spec))
    labelled = type(known)(metadata=Metadata(name="node1", labels={"rr": ""}), spec=spec, status=known.status)
    assert sessions(run(start, events.Changed(kinds.NODE, labelled))) == [
        "rr node specific 192.0.2.2 64512>64512",
    ]


def test_secrets_are_read_from_files_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "bgp" / "..data").mkdir(parents=True)
    (tmp_path / "bgp" / "tor").write_text("one\n")
    (tmp_path / "bgp" / "folder").mkdir()
    (tmp_path / "file").write_text("no folder")
    said = secrets.look(tmp_path, {"BGPNET_SECRET_BGP_RR": "two", "PATH": "/bin"})
    assert said.found["bgp/tor"] == Secret("one")
    assert said.found["BGPNET_SECRET_BGP_RR"] == Secret("two")
    assert "Is a directory" in said.found["bgp/folder"].problem
    assert set(said.found) == {"bgp/tor", "BGPNET_SECRET_BGP_RR", "bgp/folder"}
    assert secrets.look(tmp_path / "none", {}) == Secrets(str(tmp_path / "none"))


def test_secrets_are_told_once_and_again_when_they_change(tmp_path: Path) -> None:
    heard: list[events.SecretsLooked] = []
    news, stop = threading.Event(), threading.Event()

    def emit(event: events.SecretsLooked) -> None:
        heard.append(event)
        news.set()

    thread = threading.Thread(target=secrets.follow, args=(tmp_path, dict(os.environ), emit, stop, 0.01))
    thread.start()
    assert news.wait(60)
    news.clear()
    (tmp_path / "bgp").mkdir()
    (tmp_path / "bgp" / "new").write_text(WORD)
    (tmp_path / "bgp" / "new").rename(tmp_path / "bgp" / "tor")
    while heard[-1].secrets.found.get("bgp/tor") != Secret(WORD):
        assert news.wait(60)
        news.clear()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_no_peerings_no_neighbours() -> None:
    assert Peerings().of(TOR) is None
