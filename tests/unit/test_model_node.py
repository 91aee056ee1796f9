"""Node: what is accepted, what is refused and in which words, what is stored with a warning."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, one, rows, text

from bgpnet.model.node import Node
from bgpnet.rules.table import not_built

CASES = """
{}                                                            | ok
{bgp: {ipv4Address: 10.0.0.5/24}}                             | ok
{bgp: {ipv4Address: 10.0.0.5/32, ipv6Address: "fd00::5/64", asNumber: 65001}} | ok
{bgp: {}}                                                     | spec.bgp: is empty; remove it, or write
{bgp: {ipv4Address: ""}}                                      | spec.bgp: is empty; remove it, or write
{bgp: {ipv4Address: 10.0.0.5}}
    | spec.bgp.ipv4Address: has no valid prefix length; write it like 10.0.0.5/24
{bgp: {ipv4Address: 10.0.0.5/33}}                             | spec.bgp.ipv4Address: has no valid prefix length
{bgp: {ipv4Address: 10.0.0.5/255.255.255.0}}                  | spec.bgp.ipv4Address: has no valid prefix length
{bgp: {ipv4Address: "fd00::5/64"}}
    | spec.bgp.ipv4Address: is not an IPv4 address with its prefix length
{bgp: {ipv6Address: 10.0.0.5/24}}
    | spec.bgp.ipv6Address: is not an IPv6 address with its prefix length
{bgp: {ipv4Address: 127.0.0.1/8}}
    | spec.bgp.ipv4Address: cannot be reached from another node
{bgp: {ipv4Address: 0.0.0.0/0}}
    | spec.bgp.ipv4Address: cannot be reached from another node
{bgp: {ipv4Address: 10.0.0.5/24, asNumber: 0}}                | spec.bgp.asNumber: is not an AS number
{bgp: {ipv4Address: 10.0.0.5/24, asNumber: "0.64512"}}        | ok
{bgp: {ipv4IPIPTunnelAddr: 10.244.1.0}}                       | ok
{bgp: {ipv4IPIPTunnelAddr: 10.244.1.0/32}}                    | spec.bgp.ipv4IPIPTunnelAddr: is not an IPv4 address
{bgp: {routeReflectorClusterID: 244.0.0.1}}                   | ok
{bgp: {routeReflectorClusterID: "1"}}                         | spec.bgp.routeReflectorClusterID: is not a cluster ID
{bgp: {routeReflectorClusterID: "fd00::1"}}                   | spec.bgp.routeReflectorClusterID: is not a cluster ID
{ipv4VXLANTunnelAddr: 10.0.0.1, vxlanTunnelMACAddr: "66:3e:ca:a4:db:65"} | ok
{ipv4VXLANTunnelAddr: here}                                   | spec.ipv4VXLANTunnelAddr: is not an IPv4 address
{ipv6VXLANTunnelAddr: 10.0.0.1}                               | spec.ipv6VXLANTunnelAddr: is not an IPv6 address
{vxlanTunnelMACAddr: 66-3e}                                   | spec.vxlanTunnelMACAddr: is not a MAC address
{orchRefs: [{nodeName: n1, orchestrator: k8s}]}               | ok
{orchRefs: [{nodeName: n1, orchestrator: ""}]}                | spec.orchRefs[0].orchestrator: is empty
{orchRefs: [{orchestrator: k8s}], interfaces: [{addresses: [10.0.0.5]}]} | ok
{orchRefs: [{nodeName: n1}]}                                  | spec.orchRefs[0].orchestrator: is required
{addresses: [{address: 10.0.0.5/24, type: CalicoNodeIP}, {address: "fd00::5"}]} | ok
{addresses: [{address: 10.0.0.5/99}]}                         | spec.addresses[0].address: has no valid prefix length
{addresses: [{address: here}]}                                | spec.addresses[0].address: is not an address
{interfaces: [{name: eth0, addresses: [10.0.0.5, there]}]}    | spec.interfaces[0].addresses[1]: is not an address
{wireguard: {interfaceIPv4Address: 10.0.0.5}}                 | ok
{wireguard: {interfaceIPv4Address: x}}
    | spec.wireguard.interfaceIPv4Address: is not an IPv4 address
{bpg: {}}                                                     | spec.bpg: unknown field; did you mean bgp?
"""


@pytest.mark.parametrize(("spec", "expected"), rows(CASES))
def test_node(spec: str, expected: str) -> None:
    found = findings(text("Node", spec, "n1"))
    assert agree(found, expected), found


STATUS = """
{identity: {uuid: a, heartbeat: "2026-01-01T00:00:00.000Z"}, podCIDRs: [10.0.0.0/24]} | ok
{identity: {uuid: a, heartbeat: 2026-01-01T00:00:00Z}}        | ok
{identity: {uuid: "", heartbeat: yesterday}}
    | status.identity.uuid: is empty ++ status.identity.heartbeat: is not an instant
{podCIDRs: [10.0.0.1/24]}                                     | status.podCIDRs[0]: 10.0.0.1/24 is not a network address
"""


@pytest.mark.parametrize(("status", "expected"), rows(STATUS))
def test_status(status: str, expected: str) -> None:
    found = findings(text("Node", f"{{}}, status: {status}", "n1"))
    assert agree(found, expected), found


WARNINGS = """
{bgp: {ipv4Address: 10.0.0.5/24, asNumber: 1, ipv4IPIPTunnelAddr: 10.1.0.0}} | ok
{bgp: {routeReflectorClusterID: 244.0.0.1}}                   | ok
{ipv4VXLANTunnelAddr: 10.0.0.1, vxlanTunnelMACAddr: "66:62:c0:00:02:01"} | ok
{ipv6VXLANTunnelAddr: "fd00::1"}                              | spec.ipv6VXLANTunnelAddr = "fd00::1"
{wireguard: {interfaceIPv4Address: 10.0.0.5}}                 | spec.wireguard = {"interfaceIPv4Address":"10.0.0.5"}
"""


@pytest.mark.parametrize(("spec", "expected"), rows(WARNINGS))
def test_what_is_not_built_is_said(spec: str, expected: str) -> None:
    said = list(not_built(one("Node", spec, "n1")))
    if expected == "ok":
        assert said == []
    else:
        (sentence,) = said
        assert sentence.startswith(f"Node(n1): {expected} is stored but not acted on yet: ")


def test_addresses_are_spelled_as_usual() -> None:
    node = one("Node", "{bgp: {ipv4Address: 10.0.0.5/024, ipv6Address: 'FD00:0::5/64'}}")
    assert isinstance(node, Node)
    assert (str(node.ipv4), str(node.ipv6)) == ("10.0.0.5/24", "fd00::5/64")
