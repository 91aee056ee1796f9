"""IPPool: what is accepted, what is refused and in which words, what is stored with a warning."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_table import agree, findings, one, rows, text

from bgpnet.model import ip
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.resource import Metadata
from bgpnet.rules.table import check, normalise, not_built

CASES = """
# cidr
{cidr: 10.244.0.0/16}                                   | ok
{cidr: 10.244.0.0/26}                                   | ok
{cidr: 0.0.0.0/1}                                       | ok
{cidr: "fd00:10::/64"}                                  | ok
{cidr: "FD00:0010:0::/64"}                              | ok
{}                                                      | spec.cidr: is required and not there; write it
{cidr: null}                                            | spec.cidr: is required and not there; write it
{cidr: 10.0.0.1/16}
    | spec.cidr: 10.0.0.1/16 is not a network address; write 10.0.0.0/16
{cidr: "fd00::1/64"}
    | spec.cidr: fd00::1/64 is not a network address; write fd00::/64
{cidr: 10.0.0.0}                                        | spec.cidr: has no prefix length
{cidr: 10.0.0.0/33}                                     | spec.cidr: is not a CIDR; write one like
{cidr: 10.0.0.0/255.255.0.0}                            | spec.cidr: is not a CIDR; write one like
{cidr: 10.0.0/16}                                       | spec.cidr: is not a CIDR; write one like
{cidr: 010.0.0.0/16}                                    | spec.cidr: is not a CIDR; write one like
{cidr: "fe80::%eth0/64"}                                | spec.cidr: is not a CIDR; write one like
{cidr: ""}                                              | spec.cidr: has no prefix length
{cidr: 169.254.0.0/24}
    | spec.cidr: overlaps with the link-local 169.254.0.0/16; choose another range
{cidr: 169.0.0.0/8}                                     | spec.cidr: overlaps with the link-local 169.254.0.0/16
{cidr: 0.0.0.0/0}                                       | spec.cidr: overlaps with the link-local 169.254.0.0/16
{cidr: "fe80:1::/64"}                                   | spec.cidr: overlaps with the link-local fe80::/10
# blockSize
{cidr: 10.0.0.0/16, blockSize: 20}                      | ok
{cidr: 10.0.0.0/16, blockSize: 32}                      | ok
{cidr: 10.0.0.0/16, blockSize: 19}                      | spec.blockSize: must be 20 to 32 for an IPv4 pool
{cidr: 10.0.0.0/16, blockSize: 33}                      | spec.blockSize: must be 20 to 32 for an IPv4 pool
{cidr: 10.0.0.0/16, blockSize: -26}                     | spec.blockSize: must be 20 to 32 for an IPv4 pool
{cidr: "fd00::/64", blockSize: 116}                     | ok
{cidr: "fd00::/64", blockSize: 128}                     | ok
{cidr: "fd00::/64", blockSize: 115}                     | spec.blockSize: must be 116 to 128 for an IPv6 pool
{cidr: "fd00::/64", blockSize: 26}                      | spec.blockSize: must be 116 to 128 for an IPv6 pool
{cidr: 10.0.0.0/27}
    | spec.cidr: is smaller than one block (blockSize 26); write a cidr of /26 or larger, or a blockSize of 27 to 32
{cidr: 10.0.0.0/32}
    | spec.cidr: is smaller than one block (blockSize 26); write a cidr of /26 or larger, or a blockSize of 32
{cidr: 10.0.0.0/27, blockSize: 28}                      | ok
{cidr: 10.0.0.0/27, disabled: true}                     | ok
{cidr: 10.0.0.0/27, disabled: true, blockSize: 8}       | spec.blockSize: must be 20 to 32 for an IPv4 pool
{cidr: "fd00::/123"}                                    | spec.cidr: is smaller than one block (blockSize 122)
# encapsulation
{cidr: 10.0.0.0/16, ipipMode: Always}                   | ok
{cidr: 10.0.0.0/16, ipipMode: CrossSubnet}              | ok
{cidr: 10.0.0.0/16, vxlanMode: Always}                  | ok
{cidr: 10.0.0.0/16, ipipMode: always}                   | spec.ipipMode: must be Always, in this spelling
{cidr: 10.0.0.0/16, ipipMode: Sometimes}                | spec.ipipMode: must be Always, CrossSubnet or Never
{cidr: 10.0.0.0/16, ipipMode: Always, vxlanMode: Always}
    | spec.vxlanMode: cannot go with ipipMode; set one of the two to Never
{cidr: "fd00::/64", ipipMode: Always}                   | spec.ipipMode: cannot be used with an IPv6 cidr; write Never
{cidr: "fd00::/64", vxlanMode: Always}                  | ok
# selectors
{cidr: 10.0.0.0/16, nodeSelector: "rack == 'a'"}        | ok
{cidr: 10.0.0.0/16, nodeSelector: ""}                   | ok
{cidr: 10.0.0.0/16, nodeSelector: "a == 'global()'"}    | ok
{cidr: 10.0.0.0/16, nodeSelector: "rack =="}            | spec.nodeSelector: is not a selector (
{cidr: 10.0.0.0/16, nodeSelector: global()}             | spec.nodeSelector: global() is for policies only; write all()
{cidr: 10.0.0.0/16, nodeSelector: "!global( )"}         | spec.nodeSelector: global() is for policies only
{cidr: 10.0.0.0/16, namespaceSelector: "a == 'b'", allowedUses: [Workload]} | ok
{cidr: 10.0.0.0/16, namespaceSelector: "a == 'b'"}      | spec.namespaceSelector: cannot go with the use Tunnel
{cidr: 10.0.0.0/16, namespaceSelector: "a ==", allowedUses: [Workload]} | spec.namespaceSelector: is not a selector (
# allowedUses
{cidr: 10.0.0.0/16, allowedUses: [Tunnel]}              | ok
{cidr: 10.0.0.0/16, allowedUses: []}                    | ok
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer]}        | ok
{cidr: 10.0.0.0/16, allowedUses: [Pod]}                 | spec.allowedUses[0]: must be Workload, Tunnel or LoadBalancer
{cidr: 10.0.0.0/16, allowedUses: Workload}
    | spec.allowedUses: must be a list, not text; write it with - before each item
{cidr: 10.0.0.0/16, allowedUses: [Tunnel, Tunnel]}      | spec.allowedUses: names one use twice
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer, Workload]} | spec.allowedUses: LoadBalancer must stand alone
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], ipipMode: Always}
    | spec.ipipMode: a LoadBalancer pool is not encapsulated
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], vxlanMode: CrossSubnet}
    | spec.vxlanMode: a LoadBalancer pool is not encapsulated
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], nodeSelector: has(a)}
    | spec.nodeSelector: a LoadBalancer pool serves all nodes
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], disableBGPExport: true}
    | spec.disableBGPExport: a LoadBalancer pool must be exported
# the rest
{cidr: 10.0.0.0/16, assignmentMode: Manual}             | ok
{cidr: 10.0.0.0/16, assignmentMode: Auto}               | spec.assignmentMode: must be Automatic or Manual
{cidr: 10.0.0.0/16, natOutgoing: yes}                   | ok
{cidr: 10.0.0.0/16, natOutgoing: "yes"}                 | spec.natOutgoing: must be true or false, without quotes
{cidr: 10.0.0.0/16, natOutgoing: 1}                     | spec.natOutgoing: must be true or false
{cidr: 10.0.0.0/16, blocksize: 26}                      | spec.blocksize: unknown field; did you mean blockSize?
{cidr: 10.0.0.0/16, colour: red}
    | spec.colour: unknown field; IPPool spec has allowedUses, assignmentMode, blockSize, cidr,
# everything at once
{cidr: 10.0.0.1/16, blockSize: ten, nodeSelector: global()}
    | spec.blockSize: must be a whole ++ spec.cidr: 10.0.0.1/16 is ++ spec.nodeSelector: global()
{cidr: "fd00::/64", blockSize: 26, ipipMode: Always, vxlanMode: Always}
    | spec.blockSize: must be ++ spec.ipipMode: cannot ++ spec.vxlanMode: cannot
"""


@pytest.mark.parametrize(("spec", "expected"), rows(CASES))
def test_pool(spec: str, expected: str) -> None:
    found = findings(text("IPPool", spec))
    assert agree(found, expected), found


def test_a_namespace_selector_is_not_warned_of_where_agents_know_namespaces() -> None:
    spec = "{cidr: 10.0.0.0/16, namespaceSelector: has(a), allowedUses: [Workload]}"
    [said] = not_built(one("IPPool", spec))
    assert said.endswith(
        ": agents that are told of no Kubernetes give addresses of the pool only to pods that ask for it"
    )
    assert list(not_built(one("IPPool", spec), orchestrated=True)) == []
    assert list(not_built(one("IPPool", "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer]}"), orchestrated=True)) != []


WARNINGS = """
{cidr: 10.0.0.0/16, ipipMode: Always, disableBGPExport: true, disabled: true} | ok
{cidr: 10.0.0.0/16, nodeSelector: has(a), assignmentMode: Manual, blockSize: 28} | ok
{cidr: 10.0.0.0/16, natOutgoing: true}                  | ok
{cidr: 10.0.0.0/16, vxlanMode: CrossSubnet}             | ok
{cidr: 10.0.0.0/16, namespaceSelector: has(a), allowedUses: [Workload]} | spec.namespaceSelector = "has(a)"
{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer]}        | spec.allowedUses = ["LoadBalancer"]
{cidr: "fd00::/64"}                                     | spec.cidr = "fd00::/64"
"""


@pytest.mark.parametrize(("spec", "expected"), rows(WARNINGS))
def test_what_is_not_built_is_said(spec: str, expected: str) -> None:
    said = list(not_built(one("IPPool", spec)))
    if expected == "ok":
        assert said == []
    else:
        (sentence,) = said
        assert sentence.startswith(f"IPPool(x): {expected} is stored but not acted on yet: ")


def test_defaults_and_spelling_are_written_out() -> None:
    pool = normalise(
        IPPool(metadata=Metadata(name="x"), spec=IPPoolSpec(cidr="FD00:0::/64", nodeSelector="", allowedUses=()))
    )
    assert isinstance(pool, IPPool)
    assert (pool.spec.cidr, pool.spec.blockSize, pool.spec.nodeSelector) == ("fd00::/64", 122, "all()")
    assert pool.spec.allowedUses == ("Workload", "Tunnel")


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 40), st.booleans())
def test_a_pool_is_refused_exactly_when_a_rule_says_so(base: int, length: int, size: int, disabled: bool) -> None:
    cidr = f"{IPv4Address(base)}/{length}"
    net = ip.interface(cidr).network
    good = (
        base == int(net.network_address)
        and 20 <= size <= 32
        and (length <= size or disabled)
        and not net.overlaps(ip.network("169.254.0.0/16"))
    )
    pool = IPPool(metadata=Metadata(name="x"), spec=IPPoolSpec(cidr=cidr, blockSize=size, disabled=disabled))
    assert (list(check(pool)) == []) == good
