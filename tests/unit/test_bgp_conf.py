"""ExaBGP's configuration: golden text, what is refused, the settings' way back, the mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgpnet.bgp.conf import Neighbour, SpeakerConf, environment, read_environment, render
from bgpnet.bgp.mesh import mesh
from bgpnet.errors import Invalid
from bgpnet.model import ip
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


def node(name: str, address: str = "", as_number: int | None = None, cluster: str = "") -> Node:
    bgp = NodeBGP(ipv4Address=address, asNumber=as_number, routeReflectorClusterID=cluster)
    return Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=bgp if address or cluster else None))


def test_mesh() -> None:
    me = node("b", "10.0.0.10/24")
    others = [node("a", "10.0.0.9/24"), me, node("c", "10.0.0.100/24", 65001), node("d"), node("e", "10.0.0.10/24")]
    assert [(str(one.address), one.local_as, one.peer_as, one.passive) for one in mesh(me, others, 64512, 179)] == [
        ("10.0.0.9", 64512, 64512, False),
        ("10.0.0.100", 64512, 65001, True),
    ]


def test_of_each_pair_one_is_passive() -> None:
    nodes = [node(f"n{n}", f"10.0.{n}.{250 - n}/24") for n in range(9)]
    said = {(one.local_address, one.address): one for me in nodes for one in mesh(me, nodes, 64512, 1179)}
    assert len(said) == 9 * 8
    assert all(one.passive != said[there, here].passive and one.port == 1179 for (here, there), one in said.items())


def test_no_mesh_without_an_address_or_with_a_reflector() -> None:
    others = [node("a", "10.0.0.9/24")]
    assert mesh(node("b"), others, 64512, 179) == ()
    assert mesh(node("b", "10.0.0.1/24", cluster="1.1.1.1"), others, 64512, 179) == ()
    assert mesh(node("b", "10.0.0.1/24"), [node("a", "10.0.0.9/24", cluster="1.1.1.1")], 64512, 179) == ()


def test_one_address_at_two_nodes_is_one_session() -> None:
    twins = [node("z", "10.0.0.9/24", 2), node("a", "10.0.0.9/24", 1)]
    assert [one.peer_as for one in mesh(node("b", "10.0.0.1/24"), twins, 64512, 179)] == [1]
