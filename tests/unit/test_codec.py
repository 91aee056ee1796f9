"""YAML and JSON both ways, stored bytes both ways, and what is said about broken text."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_table import findings, one, text

from bgpnet import codec
from bgpnet.errors import Invalid
from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, LogSeverity
from bgpnet.model.bgpfilter import (
    Action,
    AddCommunity,
    BGPFilter,
    BGPFilterSpec,
    FilterRule,
    MatchOperator,
    Operation,
    PrefixLength,
)
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec, NextHopMode, SourceAddress
from bgpnet.model.clusterinformation import ClusterInformation, ClusterInformationSpec
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import AllowedUse, AssignmentMode, Encap, IPPool, IPPoolSpec, IPPoolStatus
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.resource import Condition, Metadata, Password, SecretKeyRef

POOL = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata:
  name: blue
  labels:
    zone: 'yes'
spec:
  cidr: 10.244.0.0/16
  ipipMode: Always
  vxlanMode: Never
  natOutgoing: false
  disabled: false
  disableBGPExport: false
  blockSize: 26
  nodeSelector: all()
  allowedUses:
  - Workload
  - Tunnel
  assignmentMode: Automatic
"""

LABEL = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,10}[A-Za-z0-9])?", fullmatch=True)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AS = st.none() | st.integers(1, 2**32 - 1)


def metadata(names: st.SearchStrategy[str]) -> st.SearchStrategy[Metadata]:
    values = LABEL | st.sampled_from(["", "yes", "null", "1e3", "1.10", "2026-01-01", "0x1"])
    return st.builds(
        Metadata,
        name=names,
        labels=st.dictionaries(LABEL, values, max_size=3),
        annotations=st.dictionaries(LABEL, ANY_TEXT, max_size=3),
        uid=ANY_TEXT,
        creationTimestamp=st.sampled_from(["", "2026-01-01T00:00:00.000Z"]),
        resourceVersion=st.sampled_from(["", "17"]),
    )


NAME = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8})?", fullmatch=True)
POOLS = st.builds(
    IPPool,
    metadata=metadata(NAME),
    spec=st.builds(
        IPPoolSpec,
        cidr=st.sampled_from(["10.0.0.0/16", "10.244.0.0/20", "0.0.0.0/1"]),
        ipipMode=st.sampled_from(Encap),
        natOutgoing=st.booleans(),
        disabled=st.booleans(),
        blockSize=st.integers(20, 32),
        nodeSelector=st.sampled_from(["all()", "has(a)", "zone == 'a: b # c'"]),
        allowedUses=st.sampled_from([(AllowedUse.WORKLOAD,), (AllowedUse.WORKLOAD, AllowedUse.TUNNEL)]),
        assignmentMode=st.sampled_from(AssignmentMode),
    ),
    status=st.none()
    | st.builds(
        IPPoolStatus,
        conditions=st.lists(st.builds(Condition, type=ANY_TEXT, status=ANY_TEXT, message=ANY_TEXT), max_size=2).map(
            tuple
        ),
    ),
)
CONFIGS = st.builds(
    BGPConfiguration,
    metadata=metadata(st.just("default")),
    spec=st.builds(
        BGPConfigurationSpec,
        asNumber=AS,
        nodeToNodeMeshEnabled=st.none() | st.booleans(),
        listenPort=st.none() | st.integers(1, 65535),
        logSeverityScreen=st.none() | st.sampled_from(LogSeverity),
    ),
)
PEERS = st.builds(
    BGPPeer,
    metadata=metadata(NAME),
    spec=st.builds(
        BGPPeerSpec,
        peerIP=st.sampled_from(["192.0.2.1", "192.0.2.1:179", "2001:db8::1", "[2001:db8::1]:179"]),
        asNumber=AS,
        node=st.just("") | NAME,
        nextHopMode=st.none() | st.sampled_from(NextHopMode),
        sourceAddress=st.none() | st.sampled_from(SourceAddress),
        password=st.none() | st.just(Password(secretKeyRef=SecretKeyRef(name="s", key="k"))),
        maxRestartTime=st.none() | st.sampled_from(["0", "90s", "1h"]),
        ttlSecurity=st.none() | st.integers(0, 255),
        filters=st.lists(NAME, max_size=2).map(tuple),
    ),
)
NODES = st.builds(
    Node,
    metadata=metadata(NAME),
    spec=st.builds(NodeSpec, bgp=st.none() | st.builds(NodeBGP, asNumber=AS, ipv4Address=st.just("10.0.0.5/24"))),
    status=st.none()
    | st.builds(
        NodeStatus,
        identity=st.none() | st.just(Identity(uuid="0b5a", heartbeat="2026-01-01T00:00:00.000Z")),
        podCIDRs=st.sampled_from([(), ("10.0.0.0/24",)]),
    ),
)
BLOCKS = st.builds(
    IPAMBlock,
    metadata=metadata(st.just("10-0-0-0-26")),
    spec=st.builds(
        IPAMBlockSpec,
        cidr=st.just("10.0.0.0/26"),
        owner=st.none() | st.builds(Owner, name=NAME, uid=ANY_TEXT),
        claimedAt=st.sampled_from(["", "2026-01-01T00:00:00.000Z"]),
        state=st.sampled_from(BlockState),
        sequence=st.integers(0, 2**53),
        allocations=st.dictionaries(
            st.integers(0, 31),
            st.builds(
                Allocation, pod=ANY_TEXT, use=st.sampled_from(Use), since=ANY_TEXT, sequence=st.integers(0, 2**53)
            ),
            max_size=3,
        ),
        free=st.lists(st.integers(32, 63), unique=True, max_size=5).map(tuple),
    ),
)
FILTER_RULES = st.builds(
    FilterRule,
    action=st.just(Action.ACCEPT),
    cidr=st.just("10.0.0.0/8"),
    matchOperator=st.sampled_from(MatchOperator),
    prefixLength=st.none() | st.builds(PrefixLength, min=st.none() | st.integers(0, 8), max=st.integers(8, 32)),
    asPathPrefix=st.lists(st.integers(1, 2**32 - 1), max_size=3).map(tuple),
    operations=st.lists(st.just(Operation(addCommunity=AddCommunity(value="65001:1"))), max_size=2).map(tuple),
)
RULE_LISTS = st.lists(FILTER_RULES, max_size=2).map(tuple)
FILTERS = st.builds(
    BGPFilter, metadata=metadata(NAME), spec=st.builds(BGPFilterSpec, exportV4=RULE_LISTS, importV4=RULE_LISTS)
)
SETTINGS = st.builds(
    IPAMConfiguration,
    metadata=metadata(st.just("default")),
    spec=st.builds(
        IPAMConfigurationSpec,
        strictAffinity=st.just(True),
        maxBlocksPerHost=st.integers(0, 1_000_000),
        ipCooldownSeconds=st.none() | st.integers(0, 1200),
    ),
)
RESERVATIONS = st.builds(
    IPReservation,
    metadata=metadata(NAME),
    spec=st.builds(IPReservationSpec, reservedCIDRs=st.sampled_from([(), ("10.0.0.1/32", "fd00::/64")])),
)
CLUSTERS = st.builds(
    ClusterInformation,
    metadata=metadata(st.just("default")),
    spec=st.builds(ClusterInformationSpec, calicoVersion=ANY_TEXT, datastoreReady=st.none() | st.booleans()),
)
RESOURCES = POOLS | CONFIGS | PEERS | NODES | BLOCKS | FILTERS | SETTINGS | RESERVATIONS | CLUSTERS


@settings(deadline=None)
@given(st.lists(RESOURCES, max_size=3))
def test_text_round_trips(resources: list[Resource]) -> None:
    assert codec.decode(codec.to_yaml(resources)) == resources
    assert codec.decode(codec.to_json(resources)) == resources


@settings(deadline=None)
@given(RESOURCES)
def test_stored_bytes_round_trip_without_the_revision(resource: Resource) -> None:
    value = codec.encode(resource)
    assert b"resourceVersion" not in value
    kind = kinds.kind_of(resource)
    stored = codec.decode_stored(kind, value, resource.metadata.resourceVersion)
    assert stored == resource
    assert codec.encode(stored) == value


@settings(deadline=None)
@given(st.lists(RESOURCES, min_size=1, max_size=2))
def test_what_we_write_is_plain_yaml_and_json_for_anybody(resources: list[Resource]) -> None:
    assert yaml.safe_load(codec.to_yaml(resources)) == json.loads(codec.to_json(resources))


def resources_or_findings(written: str) -> bool:
    """Whether exactly one of the two came out: what decodes must round-trip, what is refused must say why."""
    found = findings(written)
    return bool(found) or codec.decode(codec.to_yaml(codec.decode(written))) == codec.decode(written)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["apiVersion", "kind", "metadata", "spec", "items", "name", "labels", "cidr", "bgp"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.sampled_from([*kinds.BY_NAME, "List", "IPPoolList"]), TREES, TREES)
def test_any_json_is_resources_or_invalid(kind: str, metadata: object, spec: object) -> None:
    tree = {"apiVersion": "bgpnet.io/v1", "kind": kind, "metadata": metadata, "spec": spec, "items": [spec]}
    assert resources_or_findings(json.dumps(tree))


@settings(deadline=None)
@given(st.text(st.sampled_from("abk: -{}[]\"'#&*!|>\n\t%@`,?0\x00\ud800") | st.characters(), max_size=40))
def test_any_text_is_resources_or_invalid(written: str) -> None:
    assert resources_or_findings(written)
    assert resources_or_findings(POOL + written)


def test_yaml_reads_as_people_expect() -> None:
    pool = one("IPPool", "{cidr: 10.244.0.0/16, ipipMode: Always}")
    assert codec.to_yaml([pool]).replace("name: x", "name: blue\n  labels:\n    zone: 'yes'") == POOL


def test_order_is_fixed_and_what_is_not_said_is_left_out() -> None:
    node = Node(metadata=Metadata(name="n1"), status=NodeStatus(podCIDRs=("10.0.0.0/24",)))
    plain = codec.plain(node)
    assert list(plain) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert plain["metadata"] == {"name": "n1"}
    assert list(codec.plain(one("Node", "{}"))) == ["apiVersion", "kind", "metadata", "spec"]


def test_one_object_is_itself_and_several_are_a_list() -> None:
    pool = one("IPPool", "{cidr: 10.0.0.0/16}")
    assert json.loads(codec.to_json([pool]))["kind"] == "IPPool"
    both = json.loads(codec.to_json([pool, pool]))
    assert (both["kind"], len(both["items"])) == ("List", 2)
    assert json.loads(codec.to_json([]))["items"] == []


def test_equal_values_are_written_out_twice() -> None:
    password = Password(secretKeyRef=SecretKeyRef(name="s", key="k"))
    peer = BGPPeer(metadata=Metadata(name="x"), spec=BGPPeerSpec(peerIP="192.0.2.1", password=password))
    assert "&" not in codec.to_yaml([peer, peer])


NODE = text("Node", "{}", "n1")
SHAPES = {
    "one document": (NODE, 1),
    "v3 is accepted": (NODE.replace("bgpnet.io/v1", "projectcalico.org/v3"), 1),
    "two documents": (f"{NODE}\n---\n{NODE}", 2),
    "empty documents": (f"---\n---\n{NODE}\n---\n# nothing\n", 1),
    "nothing": ("", 0),
    "only comments": ("# nothing\n", 0),
    "a List": (f"{{kind: List, apiVersion: v1, items: [{NODE}, {NODE}]}}", 2),
    "a NodeList": (f"{{kind: NodeList, items: [{NODE}]}}", 1),
    "an empty List": ("{kind: List, items: null}", 0),
    "an array": (f"[{NODE}, {NODE}]", 2),
    "arrays in documents": (f"- {NODE}\n---\n- {NODE}\n", 2),
    "a byte order mark": (f"\ufeff{NODE}", 1),
    "JSON with tabs": ('{\n\t"apiVersion": "bgpnet.io/v1", "kind": "Node",\n\t"metadata": {"name": "n1"}}', 1),
    "JSON with a pair of surrogates": (
        '{"apiVersion": "bgpnet.io/v1", "kind": "Node",'
        ' "metadata": {"name": "a", "annotations": {"a": "\\ud83d\\ude00"}}}',
        1,
    ),
    "an anchor and its alias": (
        "apiVersion: bgpnet.io/v1\nkind: Node\nmetadata: {name: a, labels: &l {b: c}, annotations: *l}\n",
        1,
    ),
    "null means not said": (text("IPPool", "{cidr: 10.0.0.0/16, blockSize: null, nodeSelector: ~}"), 1),
}


@pytest.mark.parametrize(("written", "count"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes_of_input(written: str, count: int) -> None:
    assert len(codec.decode(written)) == count


BROKEN = {
    "no colon": (
        "kind IPPool\nspec: {}",
        "pools.yaml: line 2, column 5: is not YAML: mapping values are not allowed in this context; check",
    ),
    "an open bracket": (
        "a: [1, 2\nb: 3",
        "pools.yaml: line 2, column 2: is not YAML: did not find expected ',' or ']'",
    ),
    "broken JSON": ('{"kind": "IPPool",\n "spec" {}}', "pools.yaml: line 2, column 9: is not YAML: "),
    "a control character": (
        "a: \x07",
        "pools.yaml: the text: is not YAML: control characters are not allowed; save it as UTF-8",
    ),
    "half a character": ("a: \ud800", "pools.yaml: the text: is not YAML: surrogates not allowed; save it as UTF-8"),
    "a key twice": (
        POOL + "  cidr: 10.0.0.0/8\n",
        "pools.yaml: line 20, column 3: the key 'cidr' is written twice in one mapping",
    ),
    "a key twice in JSON": (
        '{"kind": "Node", "apiVersion": "bgpnet.io/v1",\n "metadata": {"name": "a",\n  "name": "b"}}',
        "pools.yaml: line 3, column 3: the key 'name' is written twice in one mapping; keep one of them",
    ),
    "an alias of nothing": ("a: *b", "pools.yaml: line 1, column 4: *b has no &b before it; write the value out"),
    "an alias of itself": ("a: &b [*b]", "pools.yaml: line 1, column 8: *b has no &b before it"),
    "a list as a key": ("[a]: b", "pools.yaml: line 1, column 1: a key is a list or a mapping; write keys as text"),
    "an alias of a list as a key": ("a: &b [c]\n*b : d", "pools.yaml: line 2, column 1: a key is a list or a mapping"),
    "nested without end": ("[" * 100_000, "pools.yaml: line 1, column 65: is nested deeper than 64 levels"),
    "a text": ("hello", "pools.yaml: the object: is not a mapping; write apiVersion, kind, metadata and spec"),
    "a text in an array": ("[hello]", "pools.yaml, item 1: the object: is not a mapping"),
    "items of text": ("{kind: List, items: hello}", "pools.yaml: items: must be a list"),
    "no kind": (
        "{apiVersion: bgpnet.io/v1}",
        "pools.yaml: kind: is missing; known kinds are IPPool, BGPConfiguration, BGPPeer, ",
    ),
    "another kind": (
        "{apiVersion: bgpnet.io/v1, kind: Deployment}",
        "pools.yaml: kind = 'Deployment': unknown kind; known kinds are IPPool, BGPConfiguration",
    ),
    "a kind of Calico's": (
        "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy}",
        "pools.yaml: kind = 'GlobalNetworkPolicy': is a kind of Calico's only: this network routes and has no policy",
    ),
    "a kind in another spelling": (
        "{apiVersion: bgpnet.io/v1, kind: ippools}",
        "pools.yaml: kind = 'ippools': unknown kind; write IPPool",
    ),
    "another version": (
        NODE.replace("bgpnet.io/v1", "projectcalico.org/v1"),
        "Node(n1): apiVersion = 'projectcalico.org/v1': must be bgpnet.io/v1, projectcalico.org/v3 or crd.projectcal",
    ),
    "no version": (
        "{kind: Node, metadata: {name: n1}}",
        "Node(n1): apiVersion: must be bgpnet.io/v1, projectcalico.org/v3 or",
    ),
    "no metadata": ("{apiVersion: bgpnet.io/v1, kind: Node}", "pools.yaml: metadata.name: is required"),
    "no spec": (
        "{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: a}}",
        "IPPool(a): spec: is required and not there",
    ),
    "an unknown part": (
        "{apiVersion: bgpnet.io/v1, kind: Node, metadata: {name: a}, sepc: {}}",
        "Node(a): sepc: unknown field; did you mean spec?",
    ),
    "half a character in JSON": (
        '{"apiVersion": "bgpnet.io/v1", "kind": "Node", "metadata": {"name": "a", "annotations": {"a": "\\ud800"}}}',
        "Node(a): metadata.annotations[a]: holds half of a character",
    ),
    "a number for text in JSON": (
        '{"apiVersion": "bgpnet.io/v1", "kind": "Node", "metadata": {"name": 5}}',
        "pools.yaml: metadata.name = 5: must be text, not a number; write it in quotes",
    ),
}


@pytest.mark.parametrize(("written", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_text_is_refused_in_one_sentence(written: str, expected: str) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(written, "pools.yaml")
    assert str(caught.value).startswith(expected)


def test_all_findings_of_all_documents_come_at_once() -> None:
    blue = text("IPPool", "{cidr: 10.0.0.1/16, blockSize: 40}", "blue")
    rack = text("BGPPeer", "{peerIP: rack, colour: red}", "rack")
    good = text("Node", "{}", "n1")
    with pytest.raises(Invalid) as caught:
        codec.decode(f"{blue}\n---\n{good}\n---\n{rack}\n---\n{{kind: Nonsense}}\n", "all.yaml")
    assert caught.value.subject == "all.yaml"
    assert [finding.path for finding in caught.value.findings] == [
        "IPPool(blue) spec.cidr",
        "IPPool(blue) spec.blockSize",
        "BGPPeer(rack) spec.colour",
        "BGPPeer(rack) spec.peerIP",
        "document 4 apiVersion",
        "document 4 kind",
    ]


def test_one_wrong_object_is_the_subject() -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(f"{NODE}\n---\n{text('IPPool', '{cidr: 10.0.0.0/16, blockSize: 40}', 'blue')}")
    assert str(caught.value) == "IPPool(blue): spec.blockSize = 40: must be 20 to 32 for an IPv4 pool"


def test_findings_carry_the_value() -> None:
    (finding,) = findings(text("IPPool", "{cidr: 10.0.0.0/16, blockSize: 1e3}"))
    assert (finding.path, finding.value) == ("spec.blockSize", "1e3")


def stored(apiversion: str, kind: str, rest: str) -> bytes:
    return f'{{"apiVersion":"bgpnet.io/{apiversion}","kind":"{kind}","metadata":{{"name":"a"}}{rest}}}'.encode()


STORED = {
    "no JSON": b"{",
    "not UTF-8": b'{"apiVersion":"bgpnet.io/v1","kind":"IPPool","metadata":{"name":"\xff"}}',
    "empty": b"",
    "another kind": stored("v1", "Node", ',"spec":{"cidr":"10.0.0.0/8"}'),
    "another version": stored("v2", "IPPool", ',"spec":{"cidr":"10.0.0.0/8"}'),
    "an unknown field": stored("v1", "IPPool", ',"spec":{"cidr":"10.0.0.0/8","x":1}'),
    "a wrong type": stored("v1", "IPPool", ',"spec":{"cidr":8}'),
    "no spec": stored("v1", "IPPool", ""),
    "no network": stored("v1", "IPPool", ',"spec":{"cidr":"10.0.0.1/8"}'),
}


@pytest.mark.parametrize("value", STORED.values(), ids=STORED.keys())
def test_broken_stored_bytes_name_the_key(value: bytes) -> None:
    with pytest.raises(
        Invalid, match=r"^/bgpnet/v1/ippools/a: value: the stored object cannot be read \(.*\); delete it"
    ):
        codec.decode_stored(kinds.IPPOOL, value, "1", "/bgpnet/v1/ippools/a")
