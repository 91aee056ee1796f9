"""The packed rtnetlink messages, decoded by pyroute2, which never saw the code that packs them."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from bgpnet.kernel import encode, refusals, rtnl
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Wiring
from bgpnet.kernel.table import read_link
from bgpnet.model import ip
from bgpnet.names import Alias

INDEXES = {"tunl0": 7, "eth1": 3}
NAMES = {index: name for name, index in INDEXES.items()}
KINDS: Mapping[int, type[nlmsg]] = {
    rtnl.RTM_NEWLINK: ifinfmsg,
    rtnl.RTM_GETLINK: ifinfmsg,
    rtnl.RTM_DELLINK: ifinfmsg,
    rtnl.RTM_NEWADDR: ifaddrmsg,
    rtnl.RTM_DELADDR: ifaddrmsg,
    rtnl.RTM_NEWROUTE: rtmsg,
    rtnl.RTM_DELROUTE: rtmsg,
    rtnl.RTM_NEWNEIGH: ndmsg,
    rtnl.RTM_DELNEIGH: ndmsg,
    rtnl.RTM_GETROUTE: rtmsg,
    rtnl.RTM_NEWRULE: fibmsg,
    rtnl.RTM_DELRULE: fibmsg,
}
WIRING = Wiring(
    link="cali0123456789a",
    ifname="eth0",
    netns=9,
    address=ip.address("10.0.0.5"),
    mac="0a:58:0a:00:00:05",
    mtu=1480,
    alias=Alias("c1", "eth0", "2026-01-01T00:00:00Z"),
)


def decoded(raw: bytes) -> nlmsg:
    """The message as pyroute2 understands it."""
    kind = rtnl.HEADER.unpack_from(raw)[1]
    found = KINDS[kind](raw)
    found.decode()
    assert found["header"]["length"] == len(raw)
    return found


def received(raw: bytes) -> rtnl.Message:
    """The message as if the kernel had sent it."""
    (one,) = rtnl.messages(raw)
    return one


def test_a_learned_route() -> None:
    route = Route(ip.network("10.0.1.0/26"), (Hop("tunl0", ip.address("192.0.2.2"), onlink=True),))
    found = decoded(encode.put_route(Owner.LEARNED, route, INDEXES.__getitem__, new=True))
    assert found["header"]["flags"] == 0x1 | 0x400 | 0x200  # REQUEST, CREATE, EXCL
    assert (found["family"], found["dst_len"], found["table"], found["proto"]) == (2, 26, 254, 145)
    assert (found["scope"], found["type"], found["flags"]) == (0, 1, 4)
    assert (found.get("dst"), found.get("gateway"), found.get("oif")) == ("10.0.1.0", "192.0.2.2", 7)


def test_a_pods_route() -> None:
    route = Route(ip.network("10.0.0.5/32"), (Hop("eth1"),))
    found = decoded(encode.put_route(Owner.LOCAL, route, INDEXES.__getitem__, new=False))
    assert found["header"]["flags"] == 0x1 | 0x400 | 0x100  # REQUEST, CREATE, REPLACE
    assert (found["dst_len"], found["proto"], found["scope"], found["type"]) == (32, 144, 253, 1)
    assert (found.get("dst"), found.get("gateway"), found.get("oif")) == ("10.0.0.5", None, 3)


@pytest.mark.parametrize("text", ["10.0.0.5", "255.255.255.255", "192.0.2.0"])
def test_what_every_add_packs_is_a_pods_route(text: str) -> None:
    address = ip.address(text)
    route = Route(ip.host(address), (Hop("tunl0"),))
    packed = encode.put_route(Owner.LOCAL, route, INDEXES.__getitem__, new=True)
    assert encode.to_pod(address, INDEXES["tunl0"]) == packed


def test_a_blackhole() -> None:
    found = decoded(encode.put_route(Owner.LOCAL, Route(ip.network("10.0.0.0/26")), INDEXES.__getitem__, new=True))
    assert (found["type"], found["scope"], found.get("oif")) == (6, 0, None)


def test_a_multipath_route() -> None:
    hops = (Hop("eth1", ip.address("192.0.2.2")), Hop("tunl0", ip.address("192.0.2.3"), onlink=True))
    found = decoded(
        encode.put_route(Owner.LEARNED, Route(ip.network("10.0.1.0/26"), hops), INDEXES.__getitem__, new=True)
    )
    seen = [(hop["oif"], hop["flags"], hop.get_attr("RTA_GATEWAY")) for hop in found.get("multipath")]
    assert seen == [(3, 0, "192.0.2.2"), (7, 4, "192.0.2.3")]


def test_an_ipv6_route() -> None:
    route = Route(ip.network("fd00:1::/122"), (Hop("eth1", ip.address("fe80::1")),))
    found = decoded(encode.put_route(Owner.LEARNED, route, INDEXES.__getitem__, new=True))
    assert (found["family"], found["dst_len"], found.get("dst"), found.get("gateway")) == (
        10,
        122,
        "fd00:1::",
        "fe80::1",
    )


@pytest.mark.parametrize("text", ["10.0.1.0/26", "fd00:1::/122"])
def test_a_drop_names_destination_and_protocol_only(text: str) -> None:
    found = decoded(encode.drop_route(Owner.LEARNED, ip.network(text)))
    assert (found["header"]["type"], found["proto"], found["table"]) == (25, 145, 254)
    assert (found["scope"], found["type"]) == (255, 0)  # any
    assert [name for name, _ in found["attrs"]] == ["RTA_DST"]


@st.composite
def any_route(draw: st.DrawFn) -> Route:
    four = draw(st.booleans())
    addresses = st.ip_addresses(v=4 if four else 6)
    length = draw(st.integers(0, 32 if four else 128))
    dst = ip.interface(f"{draw(addresses)}/{length}").network
    hop = st.builds(Hop, st.sampled_from(sorted(INDEXES)), addresses, st.booleans())
    hops = draw(st.lists(hop, max_size=4, unique=True))
    if len(hops) == 1 and draw(st.booleans()):
        hops = [Hop(hops[0].dev)]
    return Route(dst, tuple(sorted(hops)))


@given(any_route(), st.sampled_from(list(Owner)))
def test_every_route_is_read_as_it_was_packed(route: Route, owner: Owner) -> None:
    one = received(encode.put_route(owner, route, INDEXES.__getitem__, new=True))
    assert encode.read_route(one, NAMES) == (owner, route)
    assert encode.read_place(one) == (encode.place(route.dst), owner)
    assert encode.show(encode.place(route.dst)) == str(route.dst)


def test_a_route_of_another_table_or_sort_is_not_read() -> None:
    raw = bytearray(encode.put_route(Owner.LOCAL, Route(ip.network("10.0.0.0/26")), INDEXES.__getitem__, new=True))
    other_table, unreachable = bytearray(raw), bytearray(raw)
    other_table[16 + 4], unreachable[16 + 7] = 100, 7
    assert encode.read_route(received(bytes(raw)), NAMES) is not None
    assert encode.read_route(received(bytes(other_table)), NAMES) is None
    assert encode.read_route(received(bytes(unreachable)), NAMES) is None


def test_a_route_over_a_link_that_came_meanwhile_is_not_read() -> None:
    route = Route(ip.network("10.0.0.5/32"), (Hop("eth1"),))
    assert encode.read_route(received(encode.put_route(Owner.LOCAL, route, lambda _: 99, new=True)), NAMES) is None


@pytest.mark.parametrize("text", ["10.0.0.5", "fd00::5"])
def test_a_neighbour(text: str) -> None:
    key = NeighbourKey("eth1", ip.address(text))
    raw = encode.neighbour(rtnl.RTM_NEWNEIGH, key, "0a:58:0a:00:00:05", 3)
    found = decoded(raw)
    assert (found["ifindex"], found["state"], found["header"]["flags"]) == (3, 0x80, 0x1 | 0x400 | 0x100)
    assert (found.get("dst"), found.get("lladdr")) == (text, "0a:58:0a:00:00:05")
    assert found.get_attr("NDA_PROTOCOL") == 144
    assert encode.read_neighbour(received(raw), NAMES) == (key, "0a:58:0a:00:00:05")


def test_a_neighbour_without_our_mark_is_not_read() -> None:
    raw = encode.neighbour(rtnl.RTM_NEWNEIGH, NeighbourKey("eth1", ip.address("10.0.0.5")), "0a:58:0a:00:00:05", 3)
    assert encode.read_neighbour(received(raw.replace(b"\x90\0\0\0", b"\x02\0\0\0")), NAMES) is None


def test_an_address() -> None:
    raw = encode.address(rtnl.RTM_NEWADDR, encode.NEW, 7, ip.interface("10.0.0.1/32"))
    found = decoded(raw)
    assert (found["family"], found["prefixlen"], found["index"]) == (2, 32, 7)
    assert (found.get("local"), found.get("address")) == ("10.0.0.1", "10.0.0.1")
    assert encode.read_address(received(raw)) == (7, ip.interface("10.0.0.1/32"))


def test_a_veth_whose_peer_is_born_in_the_pod() -> None:
    found = decoded(encode.veth(WIRING, 1000, 1001))
    assert found["header"]["flags"] == 0x1 | 0x400 | 0x200
    assert (found["index"], found["flags"], found["change"]) == (1000, 0, 0)  # not up: it is not deaf yet
    assert (found.get("ifname"), found.get("address"), found.get("mtu")) == (WIRING.link, "ee:ee:ee:ee:ee:ee", 1480)
    assert (found.get("num_tx_queues"), found.get("num_rx_queues")) == (1, 1)
    assert found.get("group") == encode.MAKING
    info = found.get("linkinfo")
    assert info.get("kind") == "veth"
    peer = info.get("data").get_attr("VETH_INFO_PEER")
    assert (peer["index"], peer["flags"]) == (1001, 0)  # not up: its other end does not exist yet
    assert (peer.get("ifname"), peer.get("address"), peer.get("mtu")) == ("eth0", WIRING.mac, 1480)
    assert (peer.get("net_ns_fd"), peer.get("num_tx_queues"), peer.get("num_rx_queues")) == (9, 1, 1)


def test_the_mark_of_a_link_is_read_back() -> None:
    raw = encode.mark(1000, WIRING.alias)
    found = decoded(raw)
    assert (found["index"], found.get("ifalias"), found.get("group")) == (1000, str(WIRING.alias), 0)
    assert read_link(received(raw)).alias == str(WIRING.alias)


def test_the_sysctls_of_a_pod_link() -> None:
    """pyroute2 does not decode IFLA_INET_CONF as it is sent: number, value pairs nested in IFLA_AF_SPEC/AF_INET."""
    found = decoded(encode.inet_conf(1000))
    assert (found["index"], found["flags"], found["change"]) == (1000, 1, 1)
    body = encode.inet_conf(1000)[16 + 16 :]
    family = rtnl.attributes(rtnl.attributes(body, 0)[rtnl.IFLA_AF_SPEC], 0)[rtnl.AF_INET]
    conf = rtnl.attributes(rtnl.attributes(family, 0)[rtnl.IFLA_INET_CONF], 0)
    assert {number: rtnl.number(value) for number, value in conf.items()} == {1: 1, 3: 1, 8: 1}


def test_the_pods_side() -> None:
    steps = [decoded(raw) for raw in (encode.pod_side(1001, WIRING) | encode.main_ways(1001)).values()]
    assert [one["header"]["type"] for one in steps] == [16, 16, 20, 28, 24, 24]
    lo, interface, address, neighbour, gateway, default = steps
    assert [(one["index"], one["flags"]) for one in (lo, interface)] == [(1, 1), (1001, 1)]
    assert (address.get("local"), address["prefixlen"]) == ("10.0.0.5", 32)
    assert (gateway.get("dst"), gateway["dst_len"], gateway["scope"]) == ("169.254.1.1", 32, 253)
    assert (default.get("dst"), default["dst_len"], default.get("gateway")) == (None, 0, "169.254.1.1")
    assert (neighbour.get("dst"), neighbour.get("lladdr")) == ("169.254.1.1", "ee:ee:ee:ee:ee:ee")
    assert [(one["table"], one.get("oif"), one["header"]["flags"]) for one in (gateway, default)] == [
        (254, 1001, 0x1 | 0x400 | 0x200)
    ] * 2


def test_the_ways_out_in_a_table_of_the_interfaces_own() -> None:
    rule, gateway, default = [decoded(raw) for raw in encode.own_ways(1 << 20, WIRING.address).values()]
    assert (rule["header"]["type"], rule["header"]["flags"]) == (32, 0x1 | 0x400 | 0x200)
    assert (rule["family"], rule["src_len"], rule["dst_len"], rule["table"], rule["action"]) == (2, 32, 0, 0, 1)
    assert (rule.get("src"), rule.get("table"), rule.get("priority")) == ("10.0.0.5", 1 << 20, 32765)
    assert rule.get("protocol") == 144
    assert (gateway.get("dst"), gateway["dst_len"], gateway["scope"]) == ("169.254.1.1", 32, 253)
    assert (default.get("dst"), default["dst_len"], default.get("gateway")) == (None, 0, "169.254.1.1")
    assert [(one["table"], one.get("table"), one.get("oif")) for one in (gateway, default)] == [
        (0, 1 << 20, 1 << 20)
    ] * 2


def test_the_ways_out_of_the_main_table_are_taken_back_by_what_they_lead_over() -> None:
    default, gateway = [decoded(raw) for raw in encode.leave_main(1001)]
    assert [(one["header"]["type"], one["table"], one.get("oif")) for one in (default, gateway)] == [
        (25, 254, 1001)
    ] * 2
    assert (default["dst_len"], default.get("gateway")) == (0, "169.254.1.1")
    assert (gateway["dst_len"], gateway.get("dst")) == (32, "169.254.1.1")


def test_a_way_out_is_looked_for_and_not_listed() -> None:
    found = decoded(encode.WAY_OUT)
    assert (found["header"]["type"], found["header"]["flags"]) == (26, 0x1)
    assert (found["dst_len"], found.get("dst")) == (32, "192.0.0.8")


def test_a_rule_is_read_as_it_was_put_and_a_strangers_is_not() -> None:
    raw = encode.pod_rule(rtnl.RTM_NEWRULE, WIRING.address, 1 << 20)
    assert encode.read_pod_rule(received(raw)) == (WIRING.address, 1 << 20)
    mark = rtnl.attr(rtnl.FRA_PROTOCOL, b"\x90")
    assert raw.endswith(mark)
    assert encode.read_pod_rule(received(raw[: -len(mark)] + rtnl.attr(rtnl.FRA_PROTOCOL, b"\3"))) is None
    every = rtnl.message(rtnl.RTM_NEWRULE, 0, bytes(rtnl.ROUTE.size) + mark)  # "from all"
    assert encode.read_pod_rule(received(every)) is None
    assert decoded(encode.pod_rule(rtnl.RTM_DELRULE, WIRING.address, 5))["header"]["flags"] == 0x1


def test_a_route_is_read_of_the_table_that_is_meant() -> None:
    links = {1001: "eth0"}
    dst, out = ip.network("0.0.0.0/0"), Hop("eth0", ip.address("169.254.1.1"))
    main, own = [*encode.main_ways(1001).values()][1], [*encode.own_ways(1001, WIRING.address).values()][2]
    assert encode.read_route(received(main), links) == (3, Route(dst, (out,)))
    assert encode.read_route(received(own), links, 1001) == (3, Route(dst, (out,)))
    assert encode.read_route(received(main), links, 1001) is None
    assert encode.read_route(received(own), links) is None
    assert encode.read_route(received(own), links, 1002) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EOPNOTSUPP, "it has no policy routing (CONFIG_IP_MULTIPLE_TABLES): run one that has, or give the pod"),
        (errno.EAFNOSUPPORT, "it has no policy routing (CONFIG_IP_MULTIPLE_TABLES): run one that has, or give the pod"),
        (errno.EEXIST, "the kernel did not add the rule for eth0: File exists"),
    ],
)
def test_a_kernel_without_policy_routing_is_called_so(code: int, said: str) -> None:
    assert said in str(refusals.no_own_table(WIRING, code, "add the rule", "File exists"))


def test_links_are_reaped_by_their_group() -> None:
    assert decoded(encode.reaping(1000)).get("group") == encode.REAPING
    found = decoded(encode.delete_group(encode.REAPING))
    assert (found["header"]["type"], found["index"], found.get("group")) == (17, 0, encode.REAPING)
    assert decoded(encode.delete_link(1000))["index"] == 1000


def test_a_link_is_asked_for_by_name_or_index() -> None:
    assert decoded(encode.get_link(name="eth1")).get("ifname") == "eth1"
    assert decoded(encode.get_link(index=3))["index"] == 3


@given(st.binary(max_size=200))
def test_garbage_is_survived(data: bytes) -> None:
    for one in rtnl.messages(data):
        rtnl.attributes(one.body, 0)
    rtnl.attributes(data, 0)


def test_numbering_keeps_the_message() -> None:
    raw = encode.delete_link(5)
    (one,) = rtnl.messages(rtnl.numbered(raw, 42, rtnl.NLM_F_ACK))
    assert (one.seq, one.flags, one.body) == (42, rtnl.NLM_F_REQUEST | rtnl.NLM_F_ACK, raw[16:])


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_with_the_kernels_words(capped: bool) -> None:
    flags = rtnl.NLM_F_ACK_TLVS | (rtnl.NLM_F_CAPPED if capped else 0)
    asked = rtnl.HEADER.pack(16 if capped else 24, rtnl.RTM_NEWROUTE, 0, 1, 0) + (b"" if capped else b"\1" * 8)
    body = (-22).to_bytes(4, "little", signed=True) + asked + rtnl.text(rtnl.NLMSGERR_ATTR_MSG, "Nexthop has gone")
    assert rtnl.failure(rtnl.Message(rtnl.NLMSG_ERROR, flags, 1, 0, body)) == (22, "Nexthop has gone")
