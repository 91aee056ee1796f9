"""The node's own address: each method over links as values, and the refusal of a tie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet.autodetect import Candidate, Choice, choose_address, parse_method
from bgpnet.errors import UsageError
from bgpnet.model import ip


def link(index: int, name: str, *addresses: str, up: bool = True, mtu: int = 1500, default: bool = False) -> Candidate:
    return Candidate(name, index, mtu, up, tuple(map(ip.interface, addresses)), default)


LO = link(1, "lo", "127.0.0.1/8", "::1/128", mtu=65536)
ETH0 = link(2, "eth0", "192.0.2.1/24", "192.0.2.2/24", "fd00::1/64", mtu=1400)
ETH1 = link(3, "eth1", "198.51.100.1/25")
ETH10 = link(4, "eth10", "203.0.113.1/24")
DOCKER = link(9, "docker0", "172.17.0.1/16")
ALL = [LO, ETH0, ETH1, ETH10, DOCKER]


def chosen(method: str, links: list[Candidate], address: str = "") -> str:
    choice = choose_address(method, links, address)
    return f"{choice.address} {choice.link} {choice.mtu}"


EXCLUDED = [
    *("docker0", "cbr0", "dummy0", "podman1", "virbr0", "lxcbr0", "veth1a2b", "lo", "br-lan", "cali123", "tunl0"),
    *("flannel.1", "kube-ipvs0", "cni0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali"),
    *("nodelocaldns", "vxlan.bgpnet"),
]


def test_what_somebody_else_named_is_found_on_its_link() -> None:
    for method in ("can-reach=192.0.2.9", "kubernetes-internal-ip"):
        assert str(choose_address(method, ALL, told=ip.address("198.51.100.1")).address) == "198.51.100.1/25"
        with pytest.raises(UsageError, match=f"'{method}' says 10.9.9.9, which is on no link of this host: choose"):
            choose_address(method, ALL, told=ip.address("10.9.9.9"))
        with pytest.raises(UsageError, match=f"'{method}' finds no address of this node: it is away; set --ip to one"):
            choose_address(method, ALL, told="it is away")


@pytest.mark.parametrize("name", EXCLUDED)
def test_first_found_passes_over_links_that_lead_nowhere(name: str) -> None:
    assert chosen("first-found", [link(1, name, "203.0.113.9/24"), ETH0]) == "192.0.2.1/24 eth0 1400"


@pytest.mark.parametrize("name", ["lo0x", "eth0", "ens3", "br0", "bond0", "slow0"])
def test_first_found_takes_others(name: str) -> None:
    assert chosen("", [link(1, name, "203.0.113.9/24")]) == f"203.0.113.9/24 {name} 1500"


@pytest.mark.parametrize(
    "bad", ["127.0.0.2/8", "169.254.3.4/16", "224.0.0.5/4", "255.255.255.255/32", "0.0.0.0/8", "fd00::2/64"]
)
def test_an_address_must_be_global_unicast_ipv4(bad: str) -> None:
    assert chosen("first-found", [link(2, "eth0", bad, "10.0.0.1/24")]) == "10.0.0.1/24 eth0 1500"


def test_a_link_that_is_down_does_not_count() -> None:
    assert chosen("first-found", [link(2, "eth0", "10.0.0.1/24", up=False), ETH1]) == "198.51.100.1/25 eth1 1500"


def test_the_default_route_decides() -> None:
    leaving = link(3, "eth1", "198.51.100.1/25", default=True)
    assert chosen("first-found", [ETH0, leaving, ETH10]) == "198.51.100.1/25 eth1 1500"


def test_a_tie_is_refused_with_the_flag_to_set() -> None:
    with pytest.raises(UsageError) as refused:
        choose_address("first-found", [ETH0, ETH1, DOCKER])
    assert str(refused.value) == (
        "ip_autodetection_method 'first-found' finds 2 addresses that are equally good "
        "(192.0.2.1/24 on eth0, 198.51.100.1/25 on eth1): choose one with "
        "--ip-autodetection-method interface=eth0 or --ip 192.0.2.1/24"
    )


def test_nothing_found_is_refused_with_what_there_is() -> None:
    with pytest.raises(UsageError) as refused:
        choose_address("first-found", [LO, DOCKER])
    assert str(refused.value) == (
        "ip_autodetection_method 'first-found' finds no address of this node: "
        "choose another method, or set --ip to one of 172.17.0.1/16 (docker0)"
    )
    with pytest.raises(UsageError, match=r"set --ip to one of this host's addresses \(it has none yet\)"):
        choose_address("first-found", [])


METHODS = [
    ("interface=eth1", "198.51.100.1/25 eth1 1500"),
    ("interface=eth10", "203.0.113.1/24 eth10 1500"),
    ("interface=bond0,eth0", "192.0.2.1/24 eth0 1400"),
    ("interface=eth1.+", "203.0.113.1/24 eth10 1500"),
    ("interface=docker.*", "172.17.0.1/16 docker0 1500"),
    ("skip-interface=eth1", "192.0.2.1/24 eth0 1400"),
    ("skip-interface=eth0,eth10", "198.51.100.1/25 eth1 1500"),
    ("cidr=192.0.2.0/24", "192.0.2.1/24 eth0 1400"),
    ("cidr=192.0.2.2/32", "192.0.2.2/24 eth0 1400"),
    ("cidr=10.0.0.0/8,203.0.113.0/24,192.0.2.0/24", "203.0.113.1/24 eth10 1500"),
]


@pytest.mark.parametrize(("method", "choice"), METHODS)
def test_methods(method: str, choice: str) -> None:
    assert chosen(method, ALL) == choice


TIES = [
    ("interface=eth.*", 3),
    ("skip-interface=eth0", 2),
    ("cidr=0.0.0.0/0", 3),
]


@pytest.mark.parametrize(("method", "count"), TIES)
def test_every_method_refuses_a_tie(method: str, count: int) -> None:
    with pytest.raises(UsageError, match=f"finds {count} addresses that are equally good"):
        choose_address(method, ALL)


@pytest.mark.parametrize(
    "method", ["interface=bond0", "skip-interface=eth", "cidr=10.0.0.0/8", "cidr=172.17.0.0/16", "cidr=fd00::/8"]
)
def test_every_method_may_find_nothing(method: str) -> None:
    with pytest.raises(UsageError, match="finds no address of this node"):
        choose_address(method, ALL)


WRONG = [
    ("can-reach=", "it must be first-found, interface="),
    ("can-reach=a,b", "can-reach= takes one IPv4 address or host name, such as can-reach=192.0.2.1"),
    ("kubernetes-internal-ip=x", "it must be first-found, interface="),
    ("interface=", "it must be first-found, interface="),
    ("interface", "it must be first-found, interface="),
    ("interface=(", r"'\(' is no regular expression \(.*\): use such as eth"),
    ("cidr=10.0.0.1/8", "10.0.0.1/8 has host bits set: cidr= takes networks such as 192.0.2.0/24"),
    ("cidr=", "it must be first-found"),
    ("first-found=eth0", "it must be first-found"),
    ("best", "it must be first-found"),
]


@pytest.mark.parametrize(("method", "message"), WRONG)
def test_methods_that_are_none(method: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_method(method)
    with pytest.raises(UsageError, match=r"^ip_autodetection_method "):
        choose_address(method, ALL)


def test_an_address_given_takes_its_length_from_its_link_unless_it_says_one() -> None:
    assert chosen("first-found", ALL, "198.51.100.1") == "198.51.100.1/25 eth1 1500"
    assert chosen("first-found", ALL, "198.51.100.1/24") == "198.51.100.1/24 eth1 1500"
    assert chosen("can-reach=x", ALL, "192.0.2.2") == "192.0.2.2/24 eth0 1400"


def test_an_address_given_may_be_on_a_link_that_is_down_but_rather_on_one_that_is_up() -> None:
    down = link(2, "eth0", "192.0.2.1/24", up=False)
    assert chosen("", [down], "192.0.2.1") == "192.0.2.1/24 eth0 1500"
    assert chosen("", [down, link(3, "eth1", "192.0.2.1/32")], "192.0.2.1") == "192.0.2.1/32 eth1 1500"


def test_an_address_on_the_loopback_has_the_mtu_of_the_narrowest_way_out() -> None:
    loopback = link(1, "lo", "127.0.0.1/8", "192.0.2.9/32", mtu=65536)
    assert (
        chosen("", [loopback, ETH0, ETH1, link(5, "eth5", up=False, mtu=500), DOCKER], "192.0.2.9")
        == "192.0.2.9/32 lo 1400"
    )


def test_an_address_given_that_nobody_has_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        choose_address("", [LO, ETH0], "10.9.9.9")
    assert str(refused.value) == (
        "ip '10.9.9.9' is on no link of this host: give it to one, "
        "or set ip to one of 192.0.2.1/24 (eth0), 192.0.2.2/24 (eth0)"
    )
    with pytest.raises(UsageError, match=r"ip 'x' is not an address: give one such as 192.0.2.1"):
        choose_address("", [LO, ETH0], "x")


@settings(deadline=None, max_examples=100)
@given(st.permutations(ALL))
def test_the_order_of_the_links_decides_nothing(links: list[Candidate]) -> None:
    assert choose_address("cidr=203.0.113.0/24", links) == Choice(ip.interface("203.0.113.1/24"), "eth10", 1500)
    with pytest.raises(UsageError):
        choose_address("first-found", links)
