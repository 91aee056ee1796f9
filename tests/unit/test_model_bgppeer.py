"""BGPPeer: what is accepted, what is refused and in which words."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, one, rows, text

from bgpnet.model import ip
from bgpnet.rules.bgppeer import peer_address
from bgpnet.rules.table import not_built

CASES = """
# who the peer is
{peerIP: 192.0.2.1, asNumber: 65001}                          | ok
{peerIP: 192.0.2.1}                                           | ok
{peerIP: "192.0.2.1:1179", asNumber: 65001}                   | ok
{peerIP: "2001:db8::1", asNumber: 65001}                      | ok
{peerIP: "[2001:db8::1]:1179", asNumber: 65001}               | ok
{peerSelector: role == 'rr'}                                  | ok
{localWorkloadSelector: has(bgp), asNumber: 65001}            | ok
{asNumber: 65001}
    | spec.peerIP: is missing: set peerIP, peerSelector or localWorkloadSelector
{peerIP: peer.example.com}                                    | spec.peerIP: is not a peer's address; write it like
{peerIP: "192.0.2.1:0"}                                       | spec.peerIP: is not a peer's address
{peerIP: "192.0.2.1:65536"}                                   | spec.peerIP: is not a peer's address
{peerIP: 192.0.2.0/24}                                        | spec.peerIP: is not a peer's address
{peerIP: "[192.0.2.1]:179"}                                   | spec.peerIP: is not a peer's address
{peerIP: "[2001:db8::1]"}                                     | spec.peerIP: is not a peer's address
{peerIP: "fe80::1%eth0"}                                      | spec.peerIP: is not a peer's address
# one of two
{peerIP: 192.0.2.1, node: n1}                                 | ok
{peerIP: 192.0.2.1, nodeSelector: all()}                      | ok
{peerIP: 192.0.2.1, node: n1, nodeSelector: all()}
    | spec.node: cannot go with spec.nodeSelector: name the node or select nodes
{peerIP: 192.0.2.1, peerSelector: all()}                      | spec.peerIP: cannot go with spec.peerSelector
{asNumber: 65001, peerSelector: all()}                        | spec.asNumber: cannot go with spec.peerSelector
{asNumber: 0, peerSelector: all()}                            | ok
{peerIP: 192.0.2.1, localWorkloadSelector: all(), asNumber: 1} | spec.peerIP: cannot go with spec.localWorkloadSelector
{peerSelector: all(), localWorkloadSelector: has(a)}
    | spec.peerSelector: cannot go with spec.localWorkloadSelector ++ spec.asNumber: is required with
{localWorkloadSelector: has(a)}
    | spec.asNumber: is required with spec.localWorkloadSelector
{peerIP: 192.0.2.1, keepOriginalNextHop: true}                | ok
{peerIP: 192.0.2.1, nextHopMode: Keep}                        | ok
{peerIP: 192.0.2.1, keepOriginalNextHop: true, nextHopMode: Keep}
    | spec.keepOriginalNextHop: cannot go with spec.nextHopMode
# reachableBy
{peerIP: 192.0.2.1, reachableBy: 10.0.0.1}                    | ok
{peerIP: "[2001:db8::1]:179", reachableBy: "fd00::1"}         | ok
{peerIP: 192.0.2.1, reachableBy: "fd00::1"}
    | spec.reachableBy: must be of the family of spec.peerIP; write an IPv4 address
{peerSelector: all(), reachableBy: 10.0.0.1}
    | spec.reachableBy: is the way to spec.peerIP, which is empty
{peerIP: 192.0.2.1, reachableBy: gateway}                     | spec.reachableBy: is not an IP address
# numbers, times, names
{peerIP: 192.0.2.1, asNumber: "1.10", localASNumber: 1.11}    | ok
{peerIP: 192.0.2.1, localASNumber: 4294967296}                | spec.localASNumber: is not an AS number
{peerIP: 192.0.2.1, ttlSecurity: 0}                           | ok
{peerIP: 192.0.2.1, ttlSecurity: 255}                         | ok
{peerIP: 192.0.2.1, ttlSecurity: 256}                         | spec.ttlSecurity: must be 0 to 255
{peerIP: 192.0.2.1, ttlSecurity: -1}                          | spec.ttlSecurity: must be 0 to 255
{peerIP: 192.0.2.1, numAllowedLocalASNumbers: -1}             | spec.numAllowedLocalASNumbers: must be 0 to
{peerIP: 192.0.2.1, maxRestartTime: 1m30s, keepaliveTime: 1.5s} | ok
{peerIP: 192.0.2.1, maxRestartTime: "0"}                      | ok
{peerIP: 192.0.2.1, maxRestartTime: soon}
    | spec.maxRestartTime: is not a length of time; write it with a unit, like 120s
{peerIP: 192.0.2.1, maxRestartTime: -5s}                      | spec.maxRestartTime: is not a length of time
{peerIP: 192.0.2.1, maxRestartTime: 4096s}                    | spec.maxRestartTime: must be 0s to 4095s
{peerIP: 192.0.2.1, keepaliveTime: 500ms}                     | spec.keepaliveTime: must be 1s to 21845s
{peerIP: 192.0.2.1, node: Node_1}                             | spec.node: is not the name of a node
{peerIP: 192.0.2.1, filters: [a, b.c]}                        | ok
{peerIP: 192.0.2.1, filters: [a, B]}                          | spec.filters[1]: is not the name of a BGPFilter
{peerIP: 192.0.2.1, nodeSelector: "a =="}                     | spec.nodeSelector: is not a selector (
{peerSelector: "a =="}                                        | spec.peerSelector: is not a selector (
{peerSelector: global()}                                      | spec.peerSelector: global() is for policies only
{peerIP: 192.0.2.1, sourceAddress: None, reversePeering: Manual} | ok
{peerIP: 192.0.2.1, sourceAddress: eth0}                      | spec.sourceAddress: must be UseNodeIP or None
{peerIP: 192.0.2.1, nextHopMode: Peer}                        | spec.nextHopMode: must be Auto, Self or Keep
{peerIP: 192.0.2.1, reversePeering: manual}                   | spec.reversePeering: must be Manual, in this spelling
{peerIP: 192.0.2.1, password: {secretKeyRef: {name: s, key: k}}} | ok
{peerIP: 192.0.2.1, password: {secretKeyRef: {name: s, key: k, optional: true}}} | ok
{peerIP: 192.0.2.1, password: {secretKeyRef: {name: S, key: k}}}
    | spec.password.secretKeyRef.name: is not the name of a Secret
{peerip: 192.0.2.1}
    | spec.peerip: unknown field; did you mean peerIP? ++ spec.peerIP: is missing
"""


@pytest.mark.parametrize(("spec", "expected"), rows(CASES))
def test_peer(spec: str, expected: str) -> None:
    found = findings(text("BGPPeer", spec))
    assert agree(found, expected), found


ADDRESSES = """
192.0.2.1            | 192.0.2.1 None
192.0.2.1:1          | 192.0.2.1 1
2001:db8::1          | 2001:db8::1 None
2001:db8::1:179      | 2001:db8::1:179 None
[2001:db8::1]:65535  | 2001:db8::1 65535
"""


@pytest.mark.parametrize(("written", "expected"), rows(ADDRESSES))
def test_peer_address(written: str, expected: str) -> None:
    parsed = peer_address(written)
    assert parsed is not None
    addr, port = parsed
    assert f"{addr} {port}" == expected
    assert isinstance(addr, ip.Address)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{peerIP: 192.0.2.1, asNumber: 65001, ttlSecurity: 1}", []),
        ("{peerSelector: all()}", []),
        ("{localWorkloadSelector: has(bgp), asNumber: 65001}", ["no session is made from it yet"]),
        (
            '{peerIP: "2001:db8::1", asNumber: 65001}',
            ["the nodes speak BGP over IPv4 only, so no session is made from it"],
        ),
    ],
)
def test_what_is_not_built_is_said(spec: str, says: list[str]) -> None:
    assert [
        sentence.split(" is stored but not acted on yet: ")[1] for sentence in not_built(one("BGPPeer", spec))
    ] == says
