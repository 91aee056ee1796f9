"""Calico's datastore as ours: every shape of key and value, from etcd and from what calicoctl prints."""

from __future__ import annotations

import json
from typing import Any

import pytest
import worlds
from calico_store import IPAM, V3, block, exported, keys, pod, resource

from bgpnet import integrity, ipam
from bgpnet.agent import facts
from bgpnet.calico import convert, instants, note, raw
from bgpnet.calico.note import Note, Outcome
from bgpnet.model import ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Owner, Use
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Resource, subject
from bgpnet.transfer import checks, compare, contents


def converted(found: dict[str, str]) -> tuple[dict[str, Resource], list[Note]]:
    resources, notes = convert.convert(raw.from_etcd((key, value.encode()) for key, value in sorted(found.items())))
    return {subject(each): each for each in resources}, notes


def one_block(*args: Any, beside: dict[str, str] | None = None, **more: Any) -> tuple[IPAMBlock, list[str]]:
    """The block that comes of one, and what is said about its address or itself."""
    key, value = block(*args, **more)
    found, notes = converted({key: json.dumps(value), **(beside or {})})
    (made,) = (each for each in found.values() if isinstance(each, IPAMBlock))
    assert integrity.check(made) == []
    return made, [str(each) for each in notes if each.key == key]


def slots(made: IPAMBlock, use: Use) -> dict[int, str]:
    return {ordinal: slot.container for ordinal, slot in made.spec.allocations.items() if slot.use is use}


def test_everything_is_in_the_result_or_in_a_note() -> None:
    found, notes = converted(keys())
    assert sorted(found) == [
        "BGPConfiguration(default)",
        "BGPConfiguration(node.node1)",
        "BGPFilter(in)",
        "BGPPeer(tor)",
        "ClusterInformation(default)",
        "IPAMBlock(10-244-0-0-26)",
        "IPAMBlock(10-244-0-128-26)",
        "IPAMBlock(10-244-0-192-26)",
        "IPAMBlock(10-244-0-64-26)",
        "IPAMBlock(10-244-1-0-26)",
        "IPAMBlock(10-244-1-64-26)",
        "IPAMConfiguration(default)",
        "IPPool(default-ipv4-ippool)",
        "IPPool(v6)",
        "IPReservation(routers)",
        "Node(node1)",
        "Node(node2)",
        "Node(node3)",
    ]
    left_out = {each.key for each in notes if each.outcome is Outcome.LEFT_OUT}
    assert len(left_out) + len(found) == len(keys())
    assert left_out <= set(keys())
    assert list(checks.broken(found.values())) == []
    assert list(checks.findings(list(found.values()))) == []


def test_what_is_left_out_has_its_exact_reason() -> None:
    _, notes = converted(keys())
    said = {each.key.removeprefix(V3).removeprefix(IPAM): each for each in notes if each.outcome is Outcome.LEFT_OUT}
    reasons = {
        "ippools/odd": "spec.blockSize = 33: must be 20 to 32 for an IPv4 pool",
        "ippools/broken": "its value is not JSON (Expecting property name",
        "bgpfilters/deny": "spec.exportV4[0].action: is required and not there",
        "networkpolicies/default/default.deny": "bgpnet has no network policy",
        "felixconfigurations/default": "these are Felix's settings",
        "hostendpoints/node1-eth0": "bgpnet does not protect",
        "profiles/kns.default": "bgpnet has no network policy",
        "marvels/x": "bgpnet has no such kind",
        "workloadendpoints/default/node1-k8s-web--1-eth0": "follows from the blocks' allocations",
        "handle/k8s-pod-network.c1": "follows from the blocks' allocations",
        "host/node1": "says that a host uses IPAM",
        "host/node1/ipv4/block/10.244.0.0-26": "follows from the owner of its block",
        "host/node1/ipv4/block/10.244.7.0-26": "there is no block 10.244.7.0/26 behind it (state pending)",
        "host/node2/ipv4/block/10.244.0.128-26": "the block itself says that its owner is nobody",
        "assignment/ipv4/block/10.244.1.128-26": "is marked as deleted",
        "assignment/ipv6/block/fd00:10::-122": "is IPv6, which is not wired yet",
        "/calico/v1/Ready": "is no key of Calico's that this version knows",
    }
    assert {key: said[key].reason[: len(reason)] for key, reason in reasons.items()} == reasons


def test_resources_keep_what_identifies_them_and_their_values() -> None:
    found, _ = converted(keys())
    pool = contents.tree(found["IPPool(default-ipv4-ippool)"])
    assert pool["metadata"]["creationTimestamp"] == "2024-03-04T10:11:12Z"
    assert pool["metadata"]["uid"].startswith("00000000-0000-4000-8000-")
    assert "resourceVersion" not in pool["metadata"]
    assert (pool["spec"]["cidr"], pool["spec"]["ipipMode"], pool["spec"]["natOutgoing"]) == (
        "10.244.0.0/16",
        "Always",
        True,
    )
    assert contents.tree(found["Node(node2)"])["spec"]["bgp"]["ipv4Address"] == "192.0.2.2/32"
    assert contents.tree(found["Node(node3)"])["spec"] == {}
    assert contents.tree(found["IPAMConfiguration(default)"])["spec"]["strictAffinity"] is False


def test_values_that_are_not_acted_on_and_fields_that_are_not_known_are_said() -> None:
    _, notes = converted(keys())
    said = [str(each) for each in notes]
    assert "IPPool(v6): kept, not acted on yet: spec.cidr: no address is taken from an IPv6 pool" in "\n".join(said)
    assert "natOutgoing" not in "\n".join(said)
    assert "BGPFilter(in): changed: spec.importV4[0].futureField is not kept: bgpnet has no such field" in said
    assert any(each.startswith("Node(node2): changed: spec.bgp.ipv4Address = 192.0.2.2 had no prefix") for each in said)
    assert note.summary(notes)[-1] == "reserved: address 6"


def test_a_block_with_pods_a_tunnel_address_and_its_queue_in_order() -> None:
    found, _ = converted(keys())
    made = found["IPAMBlock(10-244-0-0-26)"]
    assert isinstance(made, IPAMBlock)
    spec = made.spec
    assert (spec.owner, spec.claimedAt) == (Owner(name="node1", uid=""), "2024-03-04T10:11:12.000Z")
    assert spec.free == (63, 3, 2, *range(13, 63), 4, 5, 6, 8)
    assert spec.sequence == 1_711_111_111_222_333
    assert spec.allocations[0] == Allocation(
        ifname="tunl0", use=Use.TUNNEL, since=instants.UNKNOWN, sequence=spec.sequence - 7
    )
    assert spec.allocations[1] == Allocation(
        container="c1",
        ifname="eth0",
        pod="default/web-1",
        since="2024-05-06T07:08:09.123Z",
        sequence=spec.sequence - 6,
    )
    assert spec.allocations[7] == Allocation(
        container="c7",
        ifname="net1",
        pod="legacy/old-1",
        since="2024-03-04T10:11:12.000Z",
        sequence=spec.sequence - 5,
    )
    assert spec.allocations[11].freedAt == "2024-05-06T07:00:00.000Z"
    assert slots(made, Use.RESERVED) == {9: "", 12: "c1"}
    assert (spec.allocations[10].ifname, spec.allocations[10].use) == ("vxlan.bgpnet", Use.TUNNEL)


RESERVED = {
    "borrowed": ("host:node2", pod("a", "node1", "c1"), "was borrowed by node node1 from a block of node node2"),
    "no owner": (None, pod("a", "node1", "c1"), "its block has no owner"),
    "virtual": ("virtual:lb", pod("a", "node1", "c1"), "its block has no owner but virtual:lb"),
    "service": ("host:node1", {"handle_id": "x", "secondary": {"service": "s"}}, "is a service's"),
    "wireguard": (
        "host:node1",
        {"handle_id": "w", "secondary": {"type": "wireguardTunnelAddress"}},
        "is a tunnel's address (wireguardTunnelAddress)",
    ),
    "windows": ("host:node1", {"handle_id": "windows-reserved-ipam-handle", "secondary": None}, "is kept from Windows"),
    "no handle": ("host:node1", {"handle_id": None, "secondary": None}, "has no handle"),
}


@pytest.mark.parametrize("case", RESERVED)
def test_what_the_owner_could_not_manage_is_reserved_until_it_ends(case: str) -> None:
    affinity, attribute, reason = RESERVED[case]
    made, said = one_block("10.0.0.0/30", affinity, {2: attribute})
    assert [each.partition(": ")[2].partition(": ")[2].partition(": ")[2].startswith(reason) for each in said] == [True]
    assert list(slots(made, Use.RESERVED)) == [2]
    full = made
    for number in range(3):
        given = ipam.assign(full, ipam.Claimant(f"n{number}", "eth0"), 2e9, pressed=True)
        assert given
        full = given[0]
    assert ipam.assign(full, ipam.Claimant("c1", "eth0"), 2e9, pressed=True) is None
    ended = ipam.end_reservation(full, made.network[2], made.spec.allocations[2].sequence, 2e9)
    given = ipam.assign(ended, ipam.Claimant("c1", "eth0"), 2e9 + 31)
    assert given
    assert str(given[1]) == "10.0.0.2"


def test_a_tunnel_address_that_the_node_no_longer_has_is_reserved() -> None:
    key, value = resource("Node", "nodes", "node1", {"bgp": {"ipv4IPIPTunnelAddr": "10.0.0.3"}})
    tunnels = {one: {"handle_id": "ipip-tunnel-addr-node1", "secondary": None} for one in (1, 3)}
    made, said = one_block("10.0.0.0/30", "host:node1", tunnels, beside={key: json.dumps(value)})
    assert (list(slots(made, Use.TUNNEL)), list(slots(made, Use.RESERVED))) == ([3], [1])
    assert said[0].endswith("is left over: the node's spec.bgp.ipv4IPIPTunnelAddr is 10.0.0.3")


def test_a_vxlan_address_that_the_node_no_longer_has_is_reserved() -> None:
    key, value = resource("Node", "nodes", "node1", {"ipv4VXLANTunnelAddr": "10.0.0.3"})
    tunnels = {one: {"handle_id": "vxlan-tunnel-addr-node1", "secondary": None} for one in (1, 3)}
    made, said = one_block("10.0.0.0/30", "host:node1", tunnels, beside={key: json.dumps(value)})
    assert (list(slots(made, Use.TUNNEL)), list(slots(made, Use.RESERVED))) == ([3], [1])
    assert said[0].endswith("is left over: the node's spec.ipv4VXLANTunnelAddr is 10.0.0.3")


def test_old_values_are_understood() -> None:
    value = {"handle_id": "k8s-pod-network.c1", "secondary": None}
    made, said = one_block("10.0.0.0/30", None, {0: value}, hostAffinity="node1", sequenceNumber=None, deleted=None)
    assert (made.spec.owner, said) == (Owner(name="node1", uid=""), [])
    assert made.spec.allocations[0].container == "c1"
    old = {"cidr": "10.0.0.0/31", "affinity": "host:n", "allocations": [None, 0], "unallocated": [0]}
    key = f"{IPAM}assignment/ipv4/block/10.0.0.0-31"
    attributes = [{"primary": "k8s-pod-network.c1", "secondary": {}}]
    found, _ = converted({key: json.dumps({**old, "attributes": attributes})})
    older = found["IPAMBlock(10-0-0-0-31)"]
    assert isinstance(older, IPAMBlock)
    assert (older.spec.sequence, older.spec.allocations[1].container) == (0, "c1")


MALFORMED = {
    "queue with what is allocated": (
        {0: pod("a", "n", "c")},
        [0, 1, 2, 3],
        "0 of the queue of free ordinals is allocated",
    ),
    "queue with one twice": ({}, [0, 1, 2, 3, 3], "3 of the queue of free ordinals is there twice"),
    "queue with one outside": ({}, [0, 1, 2, 3, 4, -1], "4 of the queue of free ordinals lies outside the block"),
    "queue that forgot some": ({}, [2], "ordinals [0, 1, 3] were neither free nor allocated"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_block_is_put_in_order_and_that_is_said(case: str) -> None:
    given, queue, said = MALFORMED[case]
    made, notes = one_block("10.0.0.0/30", "host:n", given, queue)
    assert notes[0].startswith(f"IPAMBlock(10.0.0.0/30): changed: {said}")
    assert made.spec.free[:1] == tuple(one for one in queue if one not in given)[:1]


def test_an_allocation_without_attributes_or_outside_the_block() -> None:
    made, notes = one_block("10.0.0.0/30", "host:n", {}, [0, 1], allocations=[None, None, 7, -1, None, 0])
    assert list(slots(made, Use.RESERVED)) == [2, 3]
    assert [each.partition(": ")[2] for each in notes] == [
        "changed: allocation 5 lies outside the block and is not kept",
        "reserved: no handle: has no attributes: nobody knows whose it is",
        "reserved: no handle: has no attributes: nobody knows whose it is",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"cidr": "10.0.0.0/8", "affinity": "host:n"}, "has 16777216 addresses"),
        ({"cidr": "10.0.0.1/26"}, "cidr = '10.0.0.1/26': 10.0.0.1/26 is not a network address"),
        ({"affinity": "host:n"}, "is not what Calico writes (Object missing required field `cidr`)"),
        ({"cidr": "10.0.0.0/26", "attributes": 3}, "is not what Calico writes (Expected `array | null`, got `int`"),
    ],
)
def test_a_block_that_cannot_be_had_is_named(value: dict[str, Any], said: str) -> None:
    found, (told,) = converted({f"{IPAM}assignment/ipv4/block/10.0.0.0-26": json.dumps(value)})
    assert (found, told.outcome) == ({}, Outcome.LEFT_OUT)
    assert told.reason.startswith(said)


def test_an_export_of_calicoctl_says_the_same_as_its_etcd() -> None:
    text = exported()
    assert "\n===\n" in text
    given = raw.from_text(text, "f.yaml")
    assert (given.is_calico, given.problems) == (True, [])
    from_file, notes = convert.convert(given)
    from_etcd = list(converted(keys())[0].values())
    where = {"metadata.uid", "metadata.creationTimestamp"}
    differences = {
        each.subject: set(each.how.removeprefix("differs in ").split(", "))
        for each in compare.compare(from_etcd, from_file)
    }
    lost = differences.pop("IPAMBlock(10-244-0-0-26)")  # an export has no WorkloadEndpoints
    assert lost == {"spec.allocations.7.container", "spec.allocations.7.ifname", "spec.allocations.7.pod", "and 1 more"}
    assert all(each <= where for each in differences.values()), differences
    assert "not imported: BGPFilter 1, BlockAffinity 4" in note.summary(notes)[0]


def test_what_calicoctl_get_prints_is_understood_in_yaml_and_json() -> None:
    get = """\
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {name: blue, uid: u, resourceVersion: "812", creationTimestamp: "2024-01-01T00:00:00Z"}
  spec: {cidr: 10.0.0.0/16, blockSize: 26, natOutgoing: false, vxlanMode: Never, somethingNew: 3}
- {apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: p}}
kind: List
"""
    spec = {"cidr": "10.0.0.0/16", "blockSize": 26, "somethingNew": 3}
    meta = {"name": "blue", "uid": "u", "creationTimestamp": "2024-01-01T00:00:00Z"}
    profile = {"apiVersion": "projectcalico.org/v3", "kind": "Profile", "metadata": {"name": "p"}}
    pool = {"kind": "IPPool", "apiVersion": "projectcalico.org/v3", "metadata": meta, "spec": spec}
    for text in (get, json.dumps({"kind": "List", "items": [pool, profile]}, indent=1), json.dumps([pool, profile])):
        given = raw.from_text(text, "f")
        assert given.is_calico
        resources, notes = convert.convert(given)
        assert [subject(each) for each in resources] == ["IPPool(blue)"]
        assert [(each.about, each.outcome) for each in notes] == [
            ("IPPool(blue)", Outcome.CHANGED),
            ("Profile(p)", Outcome.LEFT_OUT),
        ]
        assert resources[0].metadata.resourceVersion == ""
    quoted = 'kind: IPPool\nmetadata: {annotations: {last: \'{"apiVersion": "projectcalico.org/v3"}\'}}\n'
    assert not raw.from_text(f"apiVersion: bgpnet.io/v1\n{quoted}", "f").is_calico


def test_custom_resources_of_blocks_are_understood() -> None:
    text = """\
apiVersion: crd.projectcalico.org/v1
kind: IPAMBlock
metadata: {name: 10-0-0-0-30, uid: x}
spec:
  cidr: 10.0.0.0/30
  affinity: host:n
  allocations: [null, 0, null, null]
  unallocated: [0, 2, 3]
  attributes: [{handle_id: k8s-pod-network.c1, secondary: {pod: a, namespace: b, node: n}}]
  sequenceNumber: 7
  sequenceNumberForAllocation: {"1": 5}
  deleted: false
"""
    (made,), notes = convert.convert(raw.from_text(text, "f"))
    assert isinstance(made, IPAMBlock)
    assert (made.spec.allocations[1].pod, made.spec.allocations[1].sequence, made.spec.free) == ("b/a", 5, (0, 2, 3))
    assert notes == []


def test_the_same_import_gives_the_same_objects() -> None:
    first, again = (list(converted(keys())[0].values()) for _ in range(2))
    assert contents.checksum(first) == contents.checksum(again)
    assert len({each.metadata.uid for each in first}) == len(first)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09.000Z"),
        ("2024-05-06T07:08:09.5+02:00", "2024-05-06T05:08:09.500Z"),
        ("2024-05-06 07:08:09.123456789 +0000 UTC", "2024-05-06T07:08:09.123Z"),
        ("2024-05-06 07:08:09.1 +0000 UTC m=+0.012", "2024-05-06T07:08:09.100Z"),
        ("2024-13-06 07:08:09 +0000 UTC", "never"),
        ("0000-01-01T00:00:00Z", "never"),
        ("yesterday", "never"),
        (None, "never"),
        (7, "never"),
    ],
)
def test_instants(given: object, expected: str) -> None:
    assert instants.rfc3339(given, "never") == expected


def test_an_endpoint_whose_address_is_in_no_block_is_named() -> None:
    spec = {"node": "n", "pod": "p", "endpoint": "eth0", "ipNetworks": ["10.0.0.1/32", "10.0.0.2/32"]}
    wep, tree = resource("WorkloadEndpoint", "workloadendpoints", "n-k8s-p-eth0", spec, namespace="a")
    key, value = block("10.0.0.0/30", "host:n", {1: pod("p", "n", "c")})
    _, notes = converted({wep: json.dumps(tree), key: json.dumps(value)})
    assert [str(each) for each in notes] == [
        "WorkloadEndpoint(a/n-k8s-p-eth0): not imported: follows from the blocks' allocations",
        "WorkloadEndpoint(a/n-k8s-p-eth0): not imported: its address 10.0.0.2 is in no block that was imported, and"
        " may be given to another",
    ]


def test_an_agent_takes_over_its_imported_blocks_with_the_tunnel_address_and_what_is_reserved() -> None:
    found, _ = converted(keys())
    blocks = [each for each in found.values() if isinstance(each, IPAMBlock)]
    pools = [each for each in found.values() if isinstance(each, IPPool)]
    world = worlds.synced(*pools, blocks=blocks)
    assert sorted(map(str, world.blocks)) == ["10.244.0.0/26", "10.244.1.64/26"]
    mine = world.blocks[ip.network("10.244.0.0/26")]
    assert mine.spec.owner == Owner(name="node1", uid="uuid-1")
    assert str(facts.tunnel_address(world)) == "10.244.0.0"
    assert sorted(slots(mine, Use.RESERVED)) == [9, 12]
    in_use = {ordinal for ordinal, slot in mine.spec.allocations.items() if slot.freedAt is None}
    assert in_use == {0, 9, 10, 12}, "Calico's pods have no link of ours: their addresses rest"


HOSTILE: list[Any] = [None, 7, "x", [], {}, [None], {"a": [1]}, True, 1.5]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_value_whatever_ends_in_a_traceback(value: Any) -> None:
    for key in (*keys(), "/calico/", f"{V3}ippools", f"{V3}workloadendpoints/a/b/c", f"{IPAM}handle/"):
        _, notes = converted({**keys(), key: json.dumps(value)})
        assert notes
    for key, text in keys().items():
        tree = json.loads(text) if text.startswith("{") and text != "{not json" else {}
        for name in tree:
            converted({key: json.dumps({**tree, name: value})})
    for document in (
        {"blocks": value},
        {"config": value},
        {"kind": "IPAMBlock", "spec": value},
        {"items": value},
        value,
    ):
        for kind in ("List", "IPPool"):
            tree = {"apiVersion": value, "kind": kind, **document} if isinstance(document, dict) else document
            convert.convert(raw.from_text(json.dumps(tree), "f"))
            convert.convert(raw.from_text(json.dumps(document), "f"))
