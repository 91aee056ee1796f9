"""A whole datastore as a stream of text, its checksum, and what is wrong or different in it."""

from __future__ import annotations

import random

import pytest
from full_store import block, everything
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from bgpnet import codec
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.model import kinds
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Owner, Use
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.model.resource import Metadata
from bgpnet.transfer import checks, compare, contents, stream

ROOT = "/bgpnet/v1/"


def text() -> str:
    return "".join(stream.write(everything()))


def pairs(resources: list[Resource]) -> list[tuple[str, bytes]]:
    return [(f"{ROOT}{kind_of(each).plural}/{each.metadata.name}", codec.encode(each)) for each in resources]


def test_every_stored_kind_has_a_place_in_the_order() -> None:
    assert set(contents.ORDER) == {kind for kind in kinds.KINDS if not kind.computed}
    assert {kind_of(each) for each in everything()} == set(contents.ORDER)


def test_what_is_written_is_read_again_exactly_and_its_bytes_are_always_the_same() -> None:
    read = stream.read(text(), "f")
    assert read.broken == []
    assert sorted(read.resources, key=repr) == sorted(everything(), key=repr)
    shuffled = everything()
    random.Random(3).shuffle(shuffled)  # noqa: S311 - not a secret
    assert "".join(stream.write(shuffled)) == text() == "".join(stream.write(read.resources))


def test_labels_in_another_order_are_the_same_bytes() -> None:
    def labelled(labels: dict[str, str]) -> str:
        pool = next(each for each in everything() if each.metadata.name == "blue")
        meta = structs.replace(pool.metadata, labels=labels, resourceVersion="local.7")
        return "".join(stream.write([structs.replace(pool, metadata=meta)]))

    assert labelled({"a": "1", "b": "2"}) == labelled({"b": "2", "a": "1"})
    assert "local.7" not in labelled({})


def test_a_stream_can_be_read_by_people_and_begins_with_what_must_be_in_it() -> None:
    first, second, *rest = text().splitlines()
    assert first == "# bgpnet datastore export, format 1"
    assert second == f"# 11 objects, sha256 {contents.checksum(everything())}"
    assert [line.removeprefix("kind: ") for line in rest if line.startswith("kind: ")] == [
        "ClusterInformation",
        "IPAMConfiguration",
        "BGPConfiguration",
        "IPPool",
        "IPPool",
        "IPReservation",
        "BGPFilter",
        "BGPPeer",
        "Node",
        "IPAMBlock",
        "ReleaseRequest",
    ]
    assert "  free: [7, 8, 10, 11, 12, 13, 14, 15, 4, 5, 6]" in rest
    assert (
        "    '0': {ifname: tunl0, use: Tunnel, since: '2025-11-21T02:07:03.500Z', sequence: 1763690823500001}" in rest
    )


def test_the_checksum_leaves_out_revisions_and_the_order_and_nothing_else() -> None:
    whole = contents.checksum(everything())
    revised = [
        structs.replace(each, metadata=structs.replace(each.metadata, resourceVersion="9")) for each in everything()
    ]
    assert contents.checksum(revised[::-1]) == whole
    for index, each in enumerate(everything()):
        others = everything()
        del others[index]
        assert contents.checksum(others) != whole
        others.append(structs.replace(each, metadata=structs.replace(each.metadata, uid="another")))
        assert contents.checksum(others) != whole


def test_a_default_that_is_said_or_not_makes_no_other_checksum() -> None:
    stored = b'{"apiVersion":"bgpnet.io/v1","kind":"IPPool","metadata":{"name":"a"},"spec":{"cidr":"10.0.0.0/16"%s}}'
    short, long = (
        contents.read([(f"{ROOT}ippools/a", stored % more)], ROOT).resources
        for more in (b"", b',"disabled":false,"nodeSelector":"all()"')
    )
    assert contents.checksum(short) == contents.checksum(long)
    assert contents.checksum([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
def test_a_stream_that_was_cut_off_is_refused_with_both_sums(share: float) -> None:
    cut = text()[: int(len(text()) * share)]
    with pytest.raises(BgpnetError) as refused:
        stream.read(cut, "f.yaml")
    said = str(refused.value)
    assert said.startswith("f.yaml is truncated or was changed: its header says 11 objects with sha256 ")
    assert contents.checksum(everything()) in said
    assert said.count("sha256") == 2


def test_a_stream_that_was_changed_is_refused_until_its_header_is_taken_out() -> None:
    changed = text().replace("ipv4Address: 192.0.2.1/24", "ipv4Address: 192.0.2.9/24")
    with pytest.raises(BgpnetError, match=r"was changed: its header says 11 objects .*what it holds is 11 objects"):
        stream.read(changed, "f")
    plain = stream.read(changed.split("\n", 2)[2], "f")
    assert (len(plain.resources), plain.broken) == (11, [])


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            "# bgpnet datastore export, format 2\n",
            "f is a datastore export of format '2', this bgpnetctl reads 1: upgrade",
        ),
        ("# bgpnet datastore export, format 1\n", "f is damaged: its second line says no number"),
        ("# bgpnet datastore export, format 1", "f is damaged: its second line says no number"),
    ],
)
def test_a_header_of_another_version_or_half_a_header_is_refused(head: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        stream.read(head, "f")
    assert str(refused.value).startswith(said)


def test_what_cannot_be_read_is_named_by_its_key() -> None:
    keys = [
        (f"{ROOT}marvels/x", b"{}"),
        ("/bgpnet/v2/ippools/x", b"{}"),
        (f"{ROOT}ippools/b", b"{"),
        (f"{ROOT}ippools/c", pairs([each for each in everything() if each.metadata.name == "blue"])[0][1]),
        (f"{ROOT}workloadendpoints/x", b"{}"),
    ]
    read = contents.read([*keys, *pairs(everything())], ROOT)
    assert len(read.resources) == 11
    assert [str(each).partition(";")[0][:75] for each in read.broken] == [
        "/bgpnet/v1/marvels/x: is of no kind that this version knows",
        "/bgpnet/v2/ippools/x: is of no kind that this version knows",
        "/bgpnet/v1/ippools/b: the stored object cannot be read (Input data was trun",
        "/bgpnet/v1/ippools/c: holds an object that says its name is 'blue'",
        "/bgpnet/v1/workloadendpoints/x: is of no kind that this version knows",
    ]


def changed(cidr: str = "10.0.0.0/28", owner: str | None = "node1", **spec: object) -> IPAMBlock:
    made = block()
    owned = Owner(name=owner, uid="") if owner else None
    name = Metadata(name=cidr.replace(".", "-").replace("/", "-"))
    return structs.replace(made, metadata=name, spec=structs.replace(made.spec, cidr=cidr, owner=owned, **spec))


def live(container: str, use: Use = Use.WORKLOAD) -> Allocation:
    return Allocation(container=container, ifname="eth0", use=use, since="2026-01-01T00:00:00Z", sequence=1)


def parsed(text: str) -> Resource:
    return codec.decode(f"apiVersion: bgpnet.io/v1\n{text}")[0]


FREE = tuple(range(1, 16))
FINDINGS = {
    "a pool inside another": (
        parsed("kind: IPPool\nmetadata: {name: red}\nspec: {cidr: 10.0.1.0/24}"),
        "IPPool(red): spec.cidr = '10.0.1.0/24': IPPool(red) CIDR 10.0.1.0/24 overlaps with IPPool(blue)",
    ),
    "a block outside": (
        changed("10.9.0.0/28", allocations={0: live("c5")}, free=FREE),
        "IPAMBlock(10-9-0-0-28): 10.9.0.0/28 lies in no IPPool",
    ),
    "a block of nobody known": (
        changed("10.0.1.0/28", "gone", allocations={0: live("c5")}, free=FREE),
        "IPAMBlock(10-0-1-0-28): is owned by node gone, which does not exist",
    ),
    "a block inside another": (
        changed("10.0.0.8/29", allocations={0: live("c5")}, free=tuple(range(1, 8))),
        "IPAMBlock(10-0-0-8-29): lies inside IPAMBlock(10-0-0-0-28): each of its addresses is there twice",
    ),
    "a leaked ordinal": (
        changed("10.0.1.0/28", allocations={0: live("c5")}, free=FREE[1:]),
        "IPAMBlock(10-0-1-0-28): ordinal 1 is neither free nor allocated",
    ),
    "one interface in two blocks": (
        changed("10.0.1.0/28", allocations={0: live("c1")}, free=FREE),
        "Node(node1): container c1 has 10.0.0.1, 10.0.1.0 for eth0",
    ),
    "two nodes at one address": (
        parsed("kind: Node\nmetadata: {name: twin}\nspec: {bgp: {ipv4Address: 192.0.2.1/24}}"),
        "Node(twin): has 192.0.2.1, and so has Node(node1)",
    ),
    "a tunnel address that is a pod's": (
        parsed("kind: Node\nmetadata: {name: twin}\nspec: {bgp: {ipv4IPIPTunnelAddr: 10.0.0.1}}"),
        "Node(twin): has the tunl0 address 10.0.0.1, which is not allocated to it in any block",
    ),
    "a VXLAN address that is a pod's": (
        parsed("kind: Node\nmetadata: {name: twin}\nspec: {ipv4VXLANTunnelAddr: 10.0.0.1}"),
        "Node(twin): has the vxlan.bgpnet address 10.0.0.1, which is not allocated to it in any block",
    ),
    "a tunnel address that is another node's": (
        parsed("kind: Node\nmetadata: {name: twin}\nspec: {bgp: {ipv4IPIPTunnelAddr: 10.0.0.5}}"),
        "Node(twin): has the tunl0 address 10.0.0.5, which is not allocated to it in any block",
    ),
    "a filter that is not there": (
        parsed("kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.7, filters: [absent]}"),
        "BGPPeer(p): spec.filters = ['absent']: BGPFilter(s) not found: absent",
    ),
    "a peer of a node that is not there": (
        parsed("kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.7, node: gone}"),
        "BGPPeer(p): spec.node = 'gone': there is no such Node",
    ),
    "settings of a node that is not there": (
        parsed("kind: BGPConfiguration\nmetadata: {name: node.gone}\nspec: {logSeverityScreen: Info}"),
        "BGPConfiguration(node.gone): is for node gone, which does not exist",
    ),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_contradictions_are_found_one_by_one(case: str) -> None:
    added, said = FINDINGS[case]
    assert list(checks.findings(everything())) == []
    found = [str(each) for each in checks.findings([*everything(), added]) if each.subject != "IPPool(blue)"]
    assert [each.startswith(said) for each in found] == [True], found


def test_reserved_slots_are_no_contradiction() -> None:
    twice = {0: live("c1", Use.RESERVED), 1: live("c1", Use.RESERVED)}
    lent = changed("10.0.1.0/28", None, allocations=twice, free=FREE[1:])
    assert list(checks.findings([*everything(), lent])) == []


def test_objects_that_break_their_own_rules_and_names_that_come_twice_are_broken() -> None:
    bad = changed("10.0.1.0/28", free=(0, 0, 99))
    found = [str(each) for each in checks.broken([*everything(), bad, everything()[0]])]
    assert [each.partition(";")[0] for each in found] == [
        "IPAMBlock(10-0-1-0-28): spec.free = [99]: are outside the block's 0 to 15",
        "IPAMBlock(10-0-1-0-28): spec.free = [0]: are allocated, too",
        "IPAMBlock(10-0-1-0-28): spec.free: names an ordinal twice",
        "IPPool(blue): occurs twice",
    ]


def test_differences_name_the_object_and_the_field() -> None:
    other = [each for each in everything() if each.metadata.name != "tor"]
    other = [changed() if isinstance(each, IPAMBlock) else each for each in other]
    other.append(parsed("kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.7}"))
    assert compare.compare(everything(), everything()[::-1]) == []
    assert [str(each) for each in compare.compare(everything(), other)] == [
        "BGPPeer(p): only in the second",
        "BGPPeer(tor): only in the first",
        "IPAMBlock(10-0-0-0-28): differs in metadata.uid, spec.owner.uid",
    ]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "",
        "~",
        "null",
        "yes",
        "1e3",
        "0x1f",
        "1.10",
        "2026-01-01",
        "- a",
        "a: b",
        "#",
        "'",
        '"',
        "\n",
        " a ",
        "\x85",
        "\ufeff",
    ]
)


@given(st.dictionaries(st.just("note") | st.just("other"), TEXTS), TEXTS)
@settings(max_examples=300, deadline=None)
def test_any_text_whatever_comes_back_as_it_was(annotations: dict[str, str], selector: str) -> None:
    meta = Metadata(name="a", annotations=annotations)
    pool = IPPool(metadata=meta, spec=IPPoolSpec(cidr="10.0.0.0/16", nodeSelector=selector or "all()"))
    assert stream.read("".join(stream.write([pool])), "f").resources == [pool]
