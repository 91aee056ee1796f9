"""Workload endpoints and block affinities: what follows from the blocks."""

from __future__ import annotations

import pytest

from bgpnet import derived, names
from bgpnet.model import ip
from bgpnet.model.blockaffinity import AffinityState
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.resource import Metadata
from bgpnet.rules import table

SINCE = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-02T00:00:00.000Z"


def block(cidr: str, owner: str | None, allocations: dict[int, Allocation] | None = None) -> IPAMBlock:
    spec = IPAMBlockSpec(
        cidr=cidr,
        owner=Owner(name=owner, uid="u") if owner else None,
        claimedAt=SINCE,
        allocations=allocations or {},
    )
    return IPAMBlock(metadata=Metadata(name=names.block(ip.network(cidr))), spec=spec)


def held(pod: str = "default/web", container: str = "c1", ifname: str = "eth0", since: str = SINCE) -> Allocation:
    return Allocation(container=container, ifname=ifname, pod=pod, since=since, sequence=1)


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("n1", "web", "c1", "eth0"), "n1-k8s-web-eth0"),
        (("node-1", "web-7f-x", "c1", "eth0"), "node--1-k8s-web--7f--x-eth0"),
        (("n1", "", "c1", "net1"), "n1-cni-c1-net1"),
        (("n1", "web", "c1", "net-1"), "n1-k8s-web-net--1"),
        (("", "web", "c1", "eth0"), "k8s-web-eth0"),
    ],
)
def test_names_of_endpoints(args: tuple[str, str, str, str], name: str) -> None:
    assert names.workload_endpoint(*args) == name


def test_names_of_affinities_stay_names() -> None:
    net = ip.network("10.0.0.0/26")
    assert names.block_affinity("n1", net) == "n1-10-0-0-0-26"
    long = names.block_affinity("n" * 250, net)
    assert len(long) < 253
    assert names.is_subdomain(long)
    assert long != names.block_affinity("n" * 251, net)


def test_an_endpoint_tells_what_its_block_knows() -> None:
    (endpoint,) = derived.endpoints([block("10.0.0.64/26", "n1", {5: held()})])
    assert (endpoint.metadata.name, endpoint.metadata.namespace) == ("n1-k8s-web-eth0", "default")
    assert endpoint.metadata.creationTimestamp == SINCE
    spec = endpoint.spec
    assert (spec.orchestrator, spec.node, spec.pod, spec.containerID, spec.endpoint) == (
        "k8s",
        "n1",
        "web",
        "c1",
        "eth0",
    )
    assert spec.ipNetworks == ("10.0.0.69/32",)
    assert spec.interfaceName == names.pod_link("default/web", "c1", "eth0")


def test_without_a_pod_the_container_is_the_workload() -> None:
    (endpoint,) = derived.endpoints([block("10.0.0.0/26", "n1", {0: held(pod="")})])
    assert (endpoint.spec.orchestrator, endpoint.spec.pod, endpoint.metadata.name) == ("cni", "", "n1-cni-c1-eth0")


def test_tunnels_and_resting_addresses_are_nobodys() -> None:
    tunnel = Allocation(use=Use.TUNNEL, since=SINCE, sequence=1)
    resting = Allocation(container="c", ifname="eth0", pod="a/b", since=SINCE, sequence=1, freedAt=LATER)
    assert derived.endpoints([block("10.0.0.0/26", "n1", {0: tunnel, 1: resting})]) == []


def test_addresses_of_both_families_are_one_endpoint_and_interfaces_are_several() -> None:
    blocks = [
        block("fd00::/122", "n1", {3: held(since=LATER)}),
        block("10.0.0.0/26", "n1", {1: held(), 2: held(ifname="net1")}),
    ]
    first, second = derived.endpoints(blocks)
    assert first.spec.ipNetworks == ("10.0.0.1/32", "fd00::3/128")
    assert first.metadata.creationTimestamp == SINCE
    assert second.metadata.name == "n1-k8s-web-net1"
    assert first.spec.interfaceName != second.spec.interfaceName


def test_pods_of_one_name_in_two_namespaces_are_two_endpoints() -> None:
    found = derived.endpoints([block("10.0.0.0/26", "n1", {1: held("b/web", "c2"), 0: held("a/web", "c1")})])
    assert [(each.metadata.namespace, each.metadata.name) for each in found] == [
        ("a", "n1-k8s-web-eth0"),
        ("b", "n1-k8s-web-eth0"),
    ]


def test_affinities_are_the_blocks_that_have_an_owner() -> None:
    blocks = [block("10.0.1.0/26", "n2"), block("10.0.0.0/26", None), block("fd00::/122", "n1")]
    found = derived.affinities(blocks)
    assert [each.metadata.name for each in found] == ["n1-fd00---122", "n2-10-0-1-0-26"]
    assert [(each.spec.node, each.spec.cidr, each.spec.type) for each in found] == [
        ("n1", "fd00::/122", "host"),
        ("n2", "10.0.1.0/26", "host"),
    ]
    assert {each.spec.state for each in found} == {AffinityState.CONFIRMED}


def test_what_is_derived_obeys_the_rules() -> None:
    blocks = [block("10.0.0.0/26", "node-1", {0: held(), 1: held(pod="", container="0a1b")})]
    found = [*derived.endpoints(blocks), *derived.affinities(blocks)]
    assert len(found) == 3
    assert [list(table.check(each)) for each in found] == [[], [], []]
