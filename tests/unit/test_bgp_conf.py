"""ExaBGP's configuration: golden text, what is refused, the settings' way back, the mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgpnet.bgp.conf import ANYWHERE, Neighbour, SpeakerConf, environment, read_environment, render
from bgpnet.bgp.member import Member, members
from bgpnet.bgp.mesh import mesh
from bgpnet.errors import Invalid
from bgpnet.model import ip
from bgpnet.model.bgpconfiguration import BGPConfigurationSpec
from bgpnet.model.node import Node, NodeBGP, NodeSpec
from bgpnet.model.resource import Metadata

GOLDEN = Path(__file__).parent / "golden"
RELAY = ("/usr/bin/python3", "-m", "bgpnet.bgp.relay", "/run/bgpnet/speaker.sock")
ME = ip.address("10.0.0.2")
AWKWARD = 's"e;c}r#et'


def conf(*neighbours: Neighbour) -> SpeakerConf:
    return SpeakerConf(ME, ME, 179, neighbours)


def neighbour(address: str, **changes: object) -> Neighbour:
    return Neighbour(
        **{"address": ip.address(address), "local_address": ME, "local_as": 64512, "peer_as": 64512} | changes
    )


@pytest.mark.parametrize(
    ("name", "neighbours"),
    [
        ("exabgp-alone.conf", ()),
        ("exabgp-mesh.conf", (neighbour("10.0.0.1"), neighbour("10.0.0.3", passive=True, port=1179))),
        (
            "exabgp-tor.conf",
            (neighbour("192.0.2.1", peer_as=65001, password=AWKWARD, hold_time=9, restart_time=0),),
        ),
        ("exabgp-far.conf", (neighbour("198.51.100.1", peer_as=65001, hops=2, local_address=None, port=1179),)),
        ("exabgp-ipv6.conf", (neighbour("fd00::1", local_address=ip.address("fd00::2"), families=("ipv6 unicast",)),)),
    ],
)
def test_golden(name: str, neighbours: tuple[Neighbour, ...]) -> None:
    assert render(conf(*neighbours), RELAY) == (GOLDEN / name).read_text()


def test_the_settings_come_back_from_the_text() -> None:
    for one in (conf(), conf(*(neighbour(f"10.1.0.{n}") for n in range(1, 60)))):
        assert read_environment(render(one, RELAY)) == environment(one)


def test_many_neighbours_slow_the_idle_loop_down() -> None:
    assert environment(conf())["exabgp_reactor_speed"] == "1.0"
    assert environment(conf(*(neighbour(f"10.1.0.{n}") for n in range(1, 60))))["exabgp_reactor_speed"] == "5.0"


def test_the_speaker_listens_where_and_says_what_it_is_told() -> None:
    quiet = environment(SpeakerConf(ME, ME, 1179, ()))
    assert (quiet["exabgp_tcp_bind"], quiet["exabgp_tcp_port"]) == ("10.0.0.2", "1179")
    loud = environment(SpeakerConf(ME, ME, 179, (), anywhere=True, log_level="DEBUG"))
    assert (loud["exabgp_tcp_bind"], loud["exabgp_log_level"]) == (ANYWHERE, "DEBUG")


def test_the_password_is_in_no_repr() -> None:
    assert AWKWARD not in repr(neighbour("10.0.0.1", password=AWKWARD))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"restart_time": 4096}, "restart_time = 4096: set 0 to 4095 seconds"),
        ({"hold_time": 2}, "hold_time = 2: set 0, or 3 to 65535 seconds"),
        ({"password": "x" * 81}, "password: has 81 bytes; set 1 to 80"),
        ({"password": ""}, "password: has 0 bytes"),
        ({"families": ()}, "families: is empty"),
        ({"hops": 256}, "hops = 256: set 0 (no check) to 255"),
    ],
)
def test_what_exabgp_would_cut_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=r"neighbours\[10.0.0.1\]") as refusal:
        render(conf(neighbour("10.0.0.1", **changes)), RELAY)
    assert says in str(refusal.value)


@pytest.mark.parametrize("relay", [(), ("python3", "x"), ("/a b/python3",), ("/python3", "x;y"), ("/python3", "")])
def test_a_relay_that_exabgp_could_not_start_is_refused(relay: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="relay"):
        render(conf(), relay)


def other(name: str, address: str, as_number: int = 64512, cluster: str = "", port: int = 179) -> Member:
    return Member(name, ip.address(address), as_number, port, cluster=cluster)


def test_mesh() -> None:
    me = other("b", "10.0.0.10")
    others = [other("a", "10.0.0.9"), me, other("c", "10.0.0.100", 65001), other("e", "10.0.0.10")]
    assert [(one.name, one.local_as, one.peer_as, one.passive) for one in mesh(me, others)] == [
        ("a", 64512, 64512, False),
        ("c", 64512, 65001, True),
    ]


def test_of_each_pair_one_is_passive() -> None:
    nodes = [other(f"n{n}", f"10.0.{n}.{250 - n}", port=1179) for n in range(9)]
    said = {(one.local_address, one.address): one for me in nodes for one in mesh(me, nodes)}
    assert len(said) == 9 * 8
    assert all(one.passive != said[there, here].passive and one.port == 1179 for (here, there), one in said.items())


def test_no_mesh_with_a_reflector() -> None:
    plain = other("a", "10.0.0.9")
    assert mesh(other("b", "10.0.0.1", cluster="1.1.1.1"), [plain]) == ()
    assert mesh(plain, [other("b", "10.0.0.1", cluster="1.1.1.1")]) == ()


def test_members_have_their_own_as_and_port_or_the_clusters() -> None:
    def node(name: str, address: str, as_number: int | None = None) -> Node:
        bgp = NodeBGP(ipv4Address=address, asNumber=as_number)
        return Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=bgp if address else None))

    nodes = [node("z", "10.0.0.9/24", 2), node("a", "10.0.0.9/24", 1), node("b", "10.0.0.8/24"), node("c", "")]
    configured = {
        "default": BGPConfigurationSpec(asNumber=65000, listenPort=1179),
        "node.a": BGPConfigurationSpec(listenPort=2179),
    }
    found = members(nodes, configured)
    assert [(one.name, one.as_number, one.port) for one in found] == [("a", 1, 2179), ("b", 65000, 1179)]
    assert [(one.as_number, one.port) for one in members(nodes[2:], {})] == [(64512, 179)]
