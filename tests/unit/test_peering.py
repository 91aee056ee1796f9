"""Who speaks BGP with whom: one row a cluster, the sessions of one node as text."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from msgspec import convert

from bgpnet.bgp.conf import Neighbour, PeerKind
from bgpnet.bgp.member import Member
from bgpnet.bgp.peering import Net, Peerings, needs_secrets, peerings
from bgpnet.bgp.secret import Secret, Secrets, secret, variable
from bgpnet.model import ip
from bgpnet.model.bgpconfiguration import BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec, NextHopMode
from bgpnet.model.resource import Metadata

MEMBERS = {
    name: Member(name, ip.address(address), as_number, port, {"rack": rack, name: ""}, cluster)
    for name, address, as_number, port, rack, cluster in (
        ("a", "10.0.0.1", 64512, 179, "1", ""),
        ("b", "10.0.0.2", 64512, 1179, "1", ""),
        ("c", "10.0.0.3", 65003, 179, "2", ""),
        ("r", "10.0.0.9", 64512, 179, "2", "1.1.1.1"),
    )
}
GEHEIM = "geheim"
SECRETS = Secrets("/secrets", {"bgp/tor": Secret(GEHEIM), "bgp/empty": Secret(problem="is empty; write it")})
OFF = "{nodeToNodeMeshEnabled: false}"
TOR = "peerIP: 192.0.2.1, asNumber: 65001"


def found(me: str, *peers: str, configured: str = OFF, secrets: Secrets = SECRETS) -> Peerings:
    """peers: `name: spec` each; configured: the default BGPConfiguration's spec."""
    resources = []
    for text in peers:
        ((name, spec),) = yaml.safe_load(text).items()
        resources.append(BGPPeer(metadata=Metadata(name=name), spec=convert(spec, BGPPeerSpec)))
    default = convert(yaml.safe_load(configured), BGPConfigurationSpec)
    return peerings(Net(MEMBERS[me], tuple(MEMBERS.values()), {"default": default}, resources, secrets))


def line(one: Neighbour) -> str:
    kinds = {PeerKind.MESH: "mesh", PeerKind.NODE: "node", PeerKind.GLOBAL: "global"}
    way = "waits" if one.passive else "dials"
    return f"{one.name} {kinds[one.kind]} {one.address}:{one.port} {one.local_as}>{one.peer_as} {way}"


def lines(me: str, *peers: str, configured: str = OFF) -> list[str]:
    said = found(me, *peers, configured=configured)
    return [*map(line, said.neighbours), *said.warnings]


@pytest.mark.parametrize(
    ("me", "expected"),
    [
        ("a", ["b mesh 10.0.0.2:1179 64512>64512 waits", "c mesh 10.0.0.3:179 64512>65003 waits"]),
        ("c", ["a mesh 10.0.0.1:179 65003>64512 dials", "b mesh 10.0.0.2:1179 65003>64512 dials"]),
        ("r", []),
    ],
)
def test_the_mesh_is_all_nodes_that_reflect_nothing(me: str, expected: list[str]) -> None:
    assert lines(me, configured="{}") == expected
    assert lines(me) == []


SCOPES = """
global          | {peerIP: 192.0.2.1, asNumber: 65001}                                   | a b c r
one node        | {peerIP: 192.0.2.1, asNumber: 65001, node: b}                          | b
a rack          | {peerIP: 192.0.2.1, asNumber: 65001, nodeSelector: rack == '2'}        | c r
nobody          | {peerIP: 192.0.2.1, asNumber: 65001, nodeSelector: rack == '3'}        |
"""


@pytest.mark.parametrize("row", [line for line in SCOPES.splitlines() if line])
def test_whom_a_peering_is_for(row: str) -> None:
    _, spec, nodes = (cell.strip() for cell in row.split("|"))
    assert [name for name in MEMBERS if lines(name, f"tor: {spec}")] == nodes.split()


@pytest.mark.parametrize(
    ("me", "spec", "expected"),
    [
        ("a", f"{{{TOR}}}", "tor global 192.0.2.1:179 64512>65001 dials"),
        ("c", f"{{{TOR}}}", "tor global 192.0.2.1:179 65003>65001 dials"),
        ("a", '{peerIP: "192.0.2.1:1790", asNumber: 65001}', "tor global 192.0.2.1:1790 64512>65001 dials"),
        ("a", f"{{{TOR}, localASNumber: 64999, node: a}}", "tor node 192.0.2.1:179 64999>65001 dials"),
        # a node's address: its AS and port, and one of the two dials
        ("a", "{peerIP: 10.0.0.2, node: a}", "tor node 10.0.0.2:1179 64512>64512 waits"),
        ("a", "{peerIP: 10.0.0.3, asNumber: 65003, node: a}", "tor node 10.0.0.3:179 64512>65003 waits"),
        # another speaker on a node's machine
        ("a", '{peerIP: "10.0.0.2:5179", asNumber: 65099, node: a}', "tor node 10.0.0.2:5179 64512>65099 dials"),
    ],
)
def test_one_session(me: str, spec: str, expected: str) -> None:
    assert lines(me, f"tor: {spec}") == [expected]


def test_a_selected_peer_has_a_session_back_unless_it_is_manual() -> None:
    spec = "nodeSelector: rack == '1', peerSelector: has(r)"
    assert lines("a", f"rr: {{{spec}}}") == ["rr node 10.0.0.9:179 64512>64512 waits"]
    assert lines("c", f"rr: {{{spec}}}") == []
    back = ["rr node 10.0.0.1:179 64512>64512 dials", "rr node 10.0.0.2:1179 64512>64512 dials"]
    assert lines("r", f"rr: {{{spec}}}") == back
    assert lines("r", f"rr: {{{spec}, reversePeering: Manual}}") == []
    assert lines("c", "tor: {peerIP: 10.0.0.3, node: a, localASNumber: 64999}") == [
        "tor node 10.0.0.1:179 65003>64999 dials"
    ]


def test_everybody_with_everybody_is_a_mesh_of_global_sessions() -> None:
    assert lines("r", "all: {peerSelector: all()}") == [
        "all global 10.0.0.1:179 64512>64512 dials",
        "all global 10.0.0.2:1179 64512>64512 dials",
        "all global 10.0.0.3:179 64512>65003 dials",
    ]


def test_both_ends_agree_on_who_dials() -> None:
    for spec in ("{peerSelector: all()}", "{peerIP: 10.0.0.2}", "{node: c, peerSelector: has(r)}"):
        ends = {(MEMBERS[me].address, one.address): one for me in MEMBERS for one in found(me, f"x: {spec}").neighbours}
        assert ends
        for (here, there), one in ends.items():
            assert one.passive != ends[there, here].passive
            assert (one.local_as, one.peer_as) == (ends[there, here].peer_as, ends[there, here].local_as)


def test_of_two_definitions_one_wins_and_both_are_named() -> None:
    other = "z: {peerIP: 192.0.2.1, asNumber: 65002, node: a}"
    for order in ((f"tor: {{{TOR}}}", other), (other, f"tor: {{{TOR}}}")):
        assert lines("a", *order) == [
            "tor global 192.0.2.1:179 64512>65001 dials",
            "BGPPeer tor and BGPPeer z both define the session with 192.0.2.1, BGPPeer tor is used; delete one of them",
        ]
    assert lines("a", f"tor: {{{TOR}}}", f"same: {{{TOR}}}") == ["same global 192.0.2.1:179 64512>65001 dials"]
    assert lines("a", "x: {peerIP: 10.0.0.2, keepaliveTime: 5s, node: a}", configured="{}")[2:] == [
        "BGPPeer x and the node-to-node mesh both define the session with 10.0.0.2, BGPPeer x is used; make "
        "nodeToNodeMeshEnabled false in BGPConfiguration(default), or delete that BGPPeer"
    ]
    assert lines("a", "x: {peerIP: 10.0.0.2, node: a}", configured="{}")[:1] == [
        "x node 10.0.0.2:1179 64512>64512 waits"
    ]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{peerIP: 192.0.2.1}", "BGPPeer x: no session with 192.0.2.1: its AS is not known; set spec.asNumber"),
        (
            '{peerIP: "2001:db8::1", asNumber: 65001}',
            "BGPPeer x: no session with 2001:db8::1: this node speaks BGP over IPv4; write an IPv4 peerIP",
        ),
        (
            "{localWorkloadSelector: has(bgp), asNumber: 65001}",
            "BGPPeer x makes no session: spec.localWorkloadSelector is not built yet; name the peers by spec.peerIP",
        ),
        ("{peerIP: tor, asNumber: 65001}", "BGPPeer x makes no session: spec.peerIP = 'tor' is not a peer's address"),
        ("{peerSelector: role ==}", "BGPPeer x makes no session: at column 8: expected a string in quotes"),
        (
            f"{{{TOR}, password: {{secretKeyRef: {{name: bgp, key: gone}}}}}}",
            "BGPPeer x: no session with 192.0.2.1: its password is in neither /secrets/bgp/gone nor "
            "BGPNET_SECRET_BGP_GONE: write it there",
        ),
        (
            f"{{{TOR}, password: {{secretKeyRef: {{name: bgp, key: empty}}}}}}",
            "BGPPeer x: no session with 192.0.2.1: /secrets/bgp/empty is empty; write it",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(spec: str, says: str) -> None:
    (said,) = lines("a", f"x: {spec}")
    assert said.startswith(says)


def test_a_session_without_its_password_is_not_made_without_one() -> None:
    secure = "x: {peerIP: 10.0.0.2, node: a, password: {secretKeyRef: {name: bgp, key: gone}}}"
    assert [
        line for line in lines("a", secure, configured="{}") if "10.0.0.2:" in line and "no session" not in line
    ] == []
    meshed = "{nodeMeshPassword: {secretKeyRef: {name: bgp, key: gone}}}"
    assert lines("a", configured=meshed) == [
        "the node-to-node mesh makes no session: its password is in neither /secrets/bgp/gone nor "
        "BGPNET_SECRET_BGP_GONE: write it there"
    ]


def test_options_reach_both_ends() -> None:
    spec = (
        "node: a, peerIP: 10.0.0.2, maxRestartTime: 1m30.5s, keepaliveTime: 7s, ttlSecurity: 2, sourceAddress: None, "
        "nextHopMode: Self, numAllowedLocalASNumbers: 3, filters: [f, e], "
        "password: {secretKeyRef: {name: bgp, key: tor}}"
    )
    (here,), (there,) = found("a", f"x: {{{spec}}}").neighbours, found("b", f"x: {{{spec}}}").neighbours
    for one in (here, there):
        assert (one.restart_time, one.hold_time, one.hops, one.password) == (91, 21, 2, GEHEIM)
        assert (one.filters, one.allowed_own_as, one.in_cluster) == (("f", "e"), 3, True)
        assert (one.next_hop_mode, one.keep_next_hop) == (NextHopMode.SELF, False)
    assert here.local_address is None
    tor = found("a", f"tor: {{{TOR}, keepOriginalNextHop: true, reachableBy: 10.0.0.254}}")
    (outside,) = tor.neighbours
    assert (outside.in_cluster, outside.keep_next_hop, outside.hold_time, outside.restart_time) == (
        False,
        True,
        30,
        120,
    )
    assert outside.local_address == MEMBERS["a"].address
    assert tor.gateways == {ip.address("192.0.2.1"): ip.address("10.0.0.254")}
    assert tor.of(outside.address) is outside
    assert tor.of(ip.address("192.0.2.77")) is None


def test_the_mesh_has_its_password_and_restart_time() -> None:
    meshed = "{nodeMeshPassword: {secretKeyRef: {name: bgp, key: tor}}, nodeMeshMaxRestartTime: 0s}"
    assert {(one.password, one.restart_time) for one in found("a", configured=meshed).neighbours} == {(GEHEIM, 0)}
    assert GEHEIM not in repr(found("a", configured=meshed))


def test_secrets_are_files_or_variables_in_one_line() -> None:
    assert variable("bgp.tor-1", "k_y") == "BGPNET_SECRET_BGP_TOR_1_K_Y"
    assert secret(b"geheim\n") == Secret(GEHEIM)
    assert secret(b" x \r\n") == Secret(" x ")
    problems = [secret(data).problem for data in (b"", b"\n", b"\xff", b"a\nb", b"a\0", b"x" * 81)]
    assert all(problems)
    assert problems[-1] == "has 81 bytes; TCP MD5 takes 1 to 80"
    assert GEHEIM not in repr(Secrets("/s", {"a/b": Secret(GEHEIM)}))
    spec = f"{{{TOR}, password: {{secretKeyRef: {{name: bgp, key: env}}}}}}"
    by_variable = replace(SECRETS, found={variable("bgp", "env"): Secret(GEHEIM)})
    (one,) = found("a", f"tor: {spec}", secrets=by_variable).neighbours
    assert one.password == GEHEIM


def test_secrets_are_needed_where_something_refers_to_one() -> None:
    ref = {"secretKeyRef": {"name": "bgp", "key": "tor"}}
    peer = BGPPeer(spec=convert({"peerIP": "192.0.2.1", "password": ref}, BGPPeerSpec))
    assert needs_secrets([peer], {})
    assert needs_secrets([], {"default": convert({"nodeMeshPassword": ref}, BGPConfigurationSpec)})
    assert not needs_secrets([BGPPeer()], {})


def test_two_ports_of_one_address_are_one_session_and_that_is_said() -> None:
    two = ("p: {peerIP: '192.0.2.1:1179', asNumber: 65001}", "q: {peerIP: '192.0.2.1:1180', asNumber: 65001}")
    assert lines("a", *two) == [
        "p global 192.0.2.1:1179 64512>65001 dials",
        "BGPPeer p and BGPPeer q both define the session with 192.0.2.1, on ports 1179 and 1180: the speaker has one "
        "session with an address, BGPPeer p is used; give the peer a second address, or delete one of them",
    ]


@pytest.mark.parametrize(
    ("me", "expected"),
    [
        ("a", ["x node 10.0.0.2:1179 64999>64999 waits"]),
        ("b", ["x node 10.0.0.1:179 64999>64999 dials"]),
    ],
)
def test_nodes_of_one_bgppeer_call_themselves_the_same(me: str, expected: list[str]) -> None:
    spec = "x: {nodeSelector: \"rack == '1'\", peerSelector: \"rack == '1'\", localASNumber: 64999}"
    assert lines(me, spec) == expected


def test_one_end_calls_itself_another_number_and_the_other_end_expects_it() -> None:
    spec = "x: {node: a, peerSelector: has(c), localASNumber: 64999}"
    assert lines("a", spec) == ["x node 10.0.0.3:179 64999>65003 waits"]
    assert lines("c", spec) == ["x node 10.0.0.1:179 65003>64999 dials"]
