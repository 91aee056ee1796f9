"""Our kinds on a real API server: what it refuses by itself, what goes in, and what kubectl shows of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import kubernetes_store
import pytest
import yaml
from full_store import everything, fill
from msgspec import structs
from programs import built

from bgpnet import codec
from bgpnet.errors import Conflict, StoreError, StoreUnreachable
from bgpnet.kube.access import Access
from bgpnet.kube.client import Api, connect
from bgpnet.kube.errors import Refused
from bgpnet.model import kinds
from bgpnet.model.bgpfilter import Action, BGPFilter, BGPFilterSpec, FilterRule
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner
from bgpnet.model.ippool import IPPool, IPPoolStatus
from bgpnet.model.kinds import BY_NAME, kind_of
from bgpnet.model.node import Identity, Node, NodeAllocation, NodeIPAM, NodeSession, NodeSessions, NodeStatus
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestStatus
from bgpnet.model.resource import Condition, Metadata
from bgpnet.store import kubernetes_objects as objects
from bgpnet.store.kubernetes import KubernetesStore
from bgpnet.store.repo import Repo


@pytest.fixture
def store() -> Iterator[KubernetesStore]:
    made = kubernetes_store.empty_store()
    yield made
    made.close()


@pytest.fixture
def api(store: KubernetesStore) -> Api:
    return store.api


def manifest(text: str) -> dict[str, Any]:
    """`IPPool blue {cidr: …}` as kubectl sends it."""
    kind, name, spec = text.split(" ", 2)
    tree = {"apiVersion": "bgpnet.io/v1", "kind": kind, "metadata": {"name": name}, "spec": yaml.safe_load(spec)}
    return {key: value for key, value in tree.items() if value is not None}


def create(api: Api, text: str) -> dict[str, Any]:
    tree = manifest(text)
    return api.create(objects.collection(BY_NAME[tree["kind"]]), tree)


BAD = [
    ("IPPool x {cidr: 10.0.0.0/99}", "spec.cidr", "is not a network"),
    ("IPPool x {cidr: 10.0.0.1/16}", "spec.cidr", "is not a network"),
    ("IPPool x {cidr: '10.0.0.0'}", "spec.cidr", "is not a network"),
    ("IPPool x {cidr: 169.254.0.0/16}", "spec.cidr", "overlaps with the link-local"),
    ("IPPool x {cidr: 'fe80::/64'}", "spec.cidr", "overlaps with the link-local"),
    ("IPPool x {}", "spec.cidr", "Required value"),
    ("IPPool x {cidr: 10.0.0.0/16, blockSize: 19}", "spec.blockSize", "20"),
    ("IPPool x {cidr: 10.0.0.0/16, blockSize: 33}", "spec.blockSize", "must be 20 to 32 for an IPv4 pool"),
    ("IPPool x {cidr: 'fd00::/64', blockSize: 26}", "spec.blockSize", "116 to 128 for an IPv6 pool"),
    ("IPPool x {cidr: 10.0.0.0/27}", "spec.cidr", "is smaller than one block"),
    ("IPPool x {cidr: 10.0.0.0/16, ipipMode: Always, vxlanMode: CrossSubnet}", "spec.vxlanMode", "one of the two"),
    ("IPPool x {cidr: 'fd00::/64', ipipMode: Always}", "spec.ipipMode", "cannot be used with an IPv6 cidr"),
    ("IPPool x {cidr: 10.0.0.0/16, ipipMode: Sometimes}", "spec.ipipMode", "Always"),
    ("IPPool x {cidr: 10.0.0.0/16, natOutgoing: 'yes'}", "spec.natOutgoing", "boolean"),
    ("IPPool x {cidr: 10.0.0.0/16, allowedUses: [Workload, Workload]}", "spec.allowedUses[1]", "Duplicate"),
    ("IPPool x {cidr: 10.0.0.0/16, allowedUses: [Workload, LoadBalancer]}", "spec.allowedUses", "must stand alone"),
    ("IPPool x {cidr: 10.0.0.0/16, namespaceSelector: all()}", "spec.namespaceSelector", "Tunnel"),
    (
        "IPPool x {cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], disableBGPExport: true}",
        "spec.disableBGPExport",
        "must be exported",
    ),
    ("BGPPeer x {peerIP: 10.0.0.1, asNumber: 4294967296}", "spec.asNumber", "4294967295"),
    ("BGPPeer x {peerIP: 10.0.0.1, asNumber: -1}", "spec.asNumber", "0"),
    ("BGPPeer x {peerIP: '10.0.0.1:0'}", "spec.peerIP", "is not a peer's address"),
    ("BGPPeer x {peerIP: '[fd00::1:179'}", "spec.peerIP", "is not a peer's address"),
    ("BGPPeer x {peerIP: tor.example.org}", "spec.peerIP", "is not a peer's address"),
    ("BGPPeer x {}", "spec.peerIP", "is missing"),
    ("BGPPeer x {peerIP: 10.0.0.1, peerSelector: all()}", "spec.peerIP", "cannot go with spec.peerSelector"),
    ("BGPPeer x {peerIP: 10.0.0.1, maxRestartTime: 5000s}", "spec.maxRestartTime", "must be 0s to 4095s"),
    ("BGPPeer x {peerIP: 10.0.0.1, keepaliveTime: soon}", "spec.keepaliveTime", "is not a length of time"),
    ("BGPPeer x {peerIP: 10.0.0.1, ttlSecurity: 256}", "spec.ttlSecurity", "255"),
    ("BGPPeer x {peerIP: 10.0.0.1, filters: [Bad]}", "spec.filters[0]", "should match"),
    ("BGPPeer x {peerIP: 10.0.0.1, password: {secretKeyRef: {name: a}}}", "spec.password.secretKeyRef.key", "Required"),
    ("BGPConfiguration default {asNumber: 0}", "spec.asNumber", "1"),
    ("BGPConfiguration default {listenPort: 0}", "spec.listenPort", "1"),
    ("BGPConfiguration default {serviceClusterIPs: [{cidr: x}]}", "spec.serviceClusterIPs[0].cidr", "neither"),
    ("BGPConfiguration default {communities: [{name: a, value: '1:2'}]}", "spec.communities", "are used nowhere"),
    (
        "BGPConfiguration default {communities: [{name: a, value: '1:70000'}], prefixAdvertisements: [{cidr: '::/0'}]}",
        "spec.communities[0].value",
        "should match",
    ),
    ("BGPConfiguration default {programClusterRoutes: x}", "spec.programClusterRoutes", "Enabled"),
    ("BGPConfiguration node.n1 {nodeToNodeMeshEnabled: true}", "spec.nodeToNodeMeshEnabled", "whole cluster"),
    ("BGPConfiguration other {}", "", "metadata.name must be default, or node."),
    (
        "BGPConfiguration default {nodeToNodeMeshEnabled: false, nodeMeshMaxRestartTime: 9s}",
        "spec.nodeMeshMaxRestartTime",
        "has no mesh to serve",
    ),
    ("BGPFilter x {importV4: [{action: Maybe}]}", "spec.importV4[0].action", "Accept"),
    (
        "BGPFilter x {importV4: [{action: Accept, cidr: 'fd00::/8', matchOperator: In}]}",
        "spec.importV4[0].cidr",
        "must be an IPv4 network",
    ),
    (
        "BGPFilter x {exportV6: [{action: Accept, cidr: 'fd00::/8'}]}",
        "spec.exportV6[0].matchOperator",
        "is required with cidr",
    ),
    (
        "BGPFilter x {exportV4: [{action: Reject, operations: [{setPriority: {value: 5}}]}]}",
        "spec.exportV4[0].operations",
        "write action: Accept",
    ),
    ("BGPFilter x {exportV4: [{action: Accept, operations: [{}]}]}", "spec.exportV4[0].operations[0]", "exactly one"),
    ("Node x {bgp: {asNumber: 0, ipv4Address: 10.0.0.5/24}}", "spec.bgp.asNumber", "1"),
    ("Node x {bgp: {ipv4Address: 10.0.0.5}}", "spec.bgp.ipv4Address", "with its prefix length"),
    ("Node x {bgp: {ipv4Address: 127.0.0.1/8}}", "spec.bgp.ipv4Address", "cannot be reached"),
    ("Node x {bgp: {}}", "spec.bgp", "should have at least 1 properties"),
    ("IPReservation x {reservedCIDRs: [10.0.0.1, 10.0.0.300]}", "spec.reservedCIDRs[1]", "neither a network"),
    ("IPAMConfiguration other {}", "", "metadata.name must be default"),
    ("IPAMConfiguration default {maxBlocksPerHost: 3}", "spec.maxBlocksPerHost", "needs strictAffinity"),
    ("ClusterInformation default {clusterGUID: xyz}", "spec.clusterGUID", "should match"),
    ("IPAMBlock a {cidr: 10.0.0.0/26}", "", "metadata.name must be spec.cidr with -"),
    ("ReleaseRequest a {node: n1, address: x, sequence: 1}", "spec.address", "is not an IP address"),
]


@pytest.mark.parametrize(("text", "field", "problem"), BAD, ids=[text for text, _, _ in BAD])
def test_the_api_server_refuses_it_and_names_the_field(api: Api, text: str, field: str, problem: str) -> None:
    with pytest.raises(Refused) as refused:
        create(api, text)
    assert (refused.value.status, refused.value.reason) == (422, "Invalid")
    named = [cause for cause in refused.value.causes if cause.field == (field or "<nil>") and problem in cause.message]
    assert named, f"{refused.value.causes}"


@pytest.mark.parametrize(("text", "field"), [(text, field) for text, field, _ in BAD], ids=[text for text, _, _ in BAD])
def test_our_rules_refuse_the_same(text: str, field: str) -> None:
    """No rule is the API server's alone: bgpnetctl says the same with every datastore."""
    (examined,) = codec.examine(yaml.dump(manifest(text)))
    paths = [finding.path for finding in examined.findings]
    assert paths, text
    if field:
        assert any(path.startswith(field.partition("[")[0]) or field.startswith(path) for path in paths), paths
    else:
        assert "metadata.name" in paths


def many(item: str, times: int) -> str:
    return ", ".join([item] * times)


LONG = [
    (f"IPReservation x {{reservedCIDRs: [{many('10.0.0.1', 5001)}]}}", "spec.reservedCIDRs"),
    (f"BGPPeer x {{peerIP: 10.0.0.1, filters: [{many('a', 1001)}]}}", "spec.filters"),
    (f"BGPPeer x {{nodeSelector: \"a == '{'b' * 4090}'\", peerIP: 10.0.0.1}}", "spec.nodeSelector"),
    (f"BGPFilter x {{exportV6: [{many('{action: Accept}', 501)}]}}", "spec.exportV6"),
    (
        f"BGPFilter x {{importV4: [{{action: Accept, asPathPrefix: [{many('1', 1001)}]}}]}}",
        "spec.importV4[0].asPathPrefix",
    ),
    (f"BGPConfiguration default {{serviceExternalIPs: [{many('{cidr: 10.0.0.1}', 501)}]}}", "spec.serviceExternalIPs"),
    (f"Node x {{interfaces: [{{name: a, addresses: [{many('10.0.0.1', 101)}]}}]}}", "spec.interfaces[0].addresses"),
]


@pytest.mark.parametrize(("text", "field"), LONG, ids=[field for _, field in LONG])
def test_what_is_too_long_for_the_api_server_is_too_long_for_every_datastore(api: Api, text: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        create(api, text)
    assert [cause.field for cause in refused.value.causes] == [field]
    (examined,) = codec.examine(yaml.dump(manifest(text)))
    (finding,) = [one for one in examined.findings if one.path == field]
    assert "are allowed; " in finding.problem


GOOD = [
    "IPPool x {cidr: 10.0.0.0/16, ipipMode: CrossSubnet, natOutgoing: true, nodeSelector: all(), blockSize: 26}",
    "IPPool x {cidr: 'fd00:10::/64', blockSize: 122, vxlanMode: Always}",
    "IPPool x {cidr: 10.0.0.0/27, disabled: true}",
    "IPPool x {cidr: 10.0.0.0/24, allowedUses: [LoadBalancer], assignmentMode: Manual}",
    "BGPConfiguration default {logSeverityScreen: Info, nodeToNodeMeshEnabled: true, asNumber: 63400,"
    " serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 104.244.42.129}],"
    " communities: [{name: c, value: '65001:1:4294967295'}],"
    " prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [c]}],"
    " nodeMeshMaxRestartTime: 1h5.5s, listenPort: 178, bindMode: NodeIP, ignoredInterfaces: ['eth*']}",
    "BGPConfiguration node.n1 {logSeverityScreen: Debug}",
    "BGPPeer x {node: rack1-host1, peerIP: '192.168.1.1:178', asNumber: 63400}",
    "BGPPeer x {nodeSelector: 'has(x)', peerSelector: rack == 'a', filters: [a, b.c], maxRestartTime: '0'}",
    "BGPPeer x {peerIP: '[fd00::1]:179', asNumber: 4294967295, password: {secretKeyRef: {name: s, key: k}}}",
    "BGPFilter x {importV4: [{cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 8, max: 24}, action: Accept,"
    " operations: [{addCommunity: {value: '1:2'}}, {prependASPath: {prefix: [1, 2]}}]}, {action: Reject}]}",
    "Node x {bgp: {asNumber: 64512, ipv4Address: 10.244.0.1/24, ipv4IPIPTunnelAddr: 192.168.0.1}, addresses:"
    " [{address: 10.244.0.1/24, type: CalicoNodeIP}, {address: 10.244.0.1}], orchRefs: [{orchestrator: k8s}]}",
    "Node x {}",
    "IPPool x {cidr: 'FD00:0::/64', allowedUses: [], nodeSelector: ''}",
    "BGPPeer x {peerIP: 192.0.2.1, asNumber: 0}",
    "IPReservation x {reservedCIDRs: [192.168.2.3, 10.0.2.3/32, 'cafe:f00d::/123']}",
    "IPAMConfiguration default {strictAffinity: true, maxBlocksPerHost: 20}",
    "ClusterInformation default {clusterGUID: 0123456789abcdef0123456789ABCDEF, clusterType: 'k8s,bgp'}",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_our_rules_take_goes_in_and_is_read_with_our_defaults(store: KubernetesStore, text: str) -> None:
    (expected,) = codec.decode(yaml.dump(manifest(text)))
    create(store.api, text)
    found = Repo(store).get(kind_of(expected), expected.metadata.name)
    assert found.metadata.uid
    assert found.metadata.creationTimestamp.endswith("Z")
    assert structs.replace(found, metadata=expected.metadata) == expected


def full() -> list[kinds.Resource]:
    """All that agents, controllers and people write, with every status."""
    found = everything()
    for index, each in enumerate(found):
        if isinstance(each, Node):
            session = NodeSession(peer="10.0.0.2", state="start", info="x", since="y", received=1, sources=("a", "b"))
            allocation = NodeAllocation(address="10.0.0.1", sequence=2**53 - 1, container="c", pod="a/b", reason="r")
            status = NodeStatus(
                identity=Identity(uuid="7c1f", heartbeat="2026-01-01T00:00:00.500Z"),
                podCIDRs=("10.0.0.0/28",),
                wireguardPublicKey="k",
                ipam=NodeIPAM(checkedAt="t", leaked=(allocation,), unrecorded=(allocation,), alarms=("one", "two")),
                bgp=NodeSessions(checkedAt="t", basis="b", sessions=(session,)),
            )
            found[index] = structs.replace(each, status=status)
        elif isinstance(each, IPPool) and each.metadata.name == "blue":
            condition = Condition(type="Allocatable", status="True", reason="OK", observedGeneration=3)
            found[index] = structs.replace(each, status=IPPoolStatus(conditions=(condition,)))
        elif isinstance(each, ReleaseRequest):
            status_ = ReleaseRequestStatus(outcome=Outcome.REFUSED, reason="because", answeredAt="t")
            found[index] = structs.replace(each, status=status_)
    return found


def test_everything_comes_back_as_it_was_written(store: KubernetesStore) -> None:
    written = full()
    fill(store, written)
    found = {
        each.metadata.name + kind.name: each for kind in objects.STORED.values() for each in Repo(store).list(kind)[0]
    }
    for each in written:
        there = found.pop(each.metadata.name + kind_of(each).name)
        assert structs.replace(there, metadata=structs.replace(there.metadata, resourceVersion="")) == each
        if kind_of(each) is kinds.IPAMBLOCK:
            assert list(there.spec.allocations) == list(each.spec.allocations)  # type: ignore[union-attr]
    assert found == {}


def test_a_status_is_written_changed_kept_and_taken_away(store: KubernetesStore) -> None:
    repo = Repo(store)
    node = next(each for each in full() if isinstance(each, Node))
    written = repo.write(node)
    assert repo.write(written) == written
    bare = structs.replace(written, status=None)
    gone = repo.write(bare)  # type: ignore[type-var]
    assert repo.get(kinds.NODE, "node1") == gone
    assert getattr(gone, "status", 0) is None
    generation = store.api.get("/apis/bgpnet.io/v1/nodes/node1")
    again = repo.write(structs.replace(node, metadata=gone.metadata))
    assert repo.get(kinds.NODE, "node1") == again
    after = store.api.get("/apis/bgpnet.io/v1/nodes/node1")
    assert generation
    assert after
    assert after["metadata"]["generation"] == generation["metadata"]["generation"]  # only the status was written


def test_what_others_put_on_an_object_stays(store: KubernetesStore) -> None:
    repo = Repo(store)
    written = repo.create(next(each for each in everything() if isinstance(each, IPPool)))
    path = "/apis/bgpnet.io/v1/ippools/blue"
    store.api.patch(path, {"metadata": {"finalizers": ["example.org/x"], "annotations": {"theirs": "1"}}})
    found = repo.get(kinds.IPPOOL, "blue")
    assert found.metadata.annotations == {**written.metadata.annotations, "theirs": "1"}
    repo.apply(structs.replace(written, metadata=structs.replace(written.metadata, labels={"new": "x"})))
    there = store.api.get(path)
    assert there
    assert there["metadata"]["finalizers"] == ["example.org/x"]
    with pytest.raises(StoreError, match=r"is marked for deletion, and stays until .* \(example.org/x\); `kubectl"):
        repo.delete(kinds.IPPOOL, "blue")
    assert repo.get(kinds.IPPOOL, "blue").metadata.uid == written.metadata.uid
    store.api.patch(path, {"metadata": {"finalizers": None}})
    assert repo.find(kinds.IPPOOL, "blue") is None


def test_a_pool_is_not_moved_under_its_pods(store: KubernetesStore) -> None:
    create(store.api, "IPPool x {cidr: 10.0.0.0/16}")
    path = "/apis/bgpnet.io/v1/ippools/x"
    for spec, field in (({"cidr": "10.0.0.0/17"}, "spec.cidr"), ({"blockSize": 28}, "spec.blockSize")):
        with pytest.raises(Refused) as refused:
            store.api.patch(path, {"spec": spec})
        assert [cause.field for cause in refused.value.causes] == [field]
    store.api.patch(path, {"spec": {"blockSize": 26}})
    store.api.patch(path, {"spec": {"disabled": True}})
    store.api.patch(path, {"spec": {"cidr": "10.0.0.0/17", "blockSize": 28}})


def test_a_large_block_goes_in_and_nothing_is_noted_of_each_slot(store: KubernetesStore) -> None:
    """etcd takes 1.5 MiB; the longest names that Kubernetes gives."""
    repo = Repo(store)
    long = Allocation(
        container="c" * 64, ifname="eth0", pod=f"{'n' * 63}/{'p' * 63}", since="2026-01-01T00:00:00.500Z", sequence=0
    )
    slots = {ordinal: structs.replace(long, sequence=2**53 - 1 - ordinal) for ordinal in range(4096)}
    spec = IPAMBlockSpec(cidr="10.16.0.0/20", owner=Owner(name="n1", uid="u"), allocations=slots)
    written = repo.write(IPAMBlock(metadata=Metadata(name="10-16-0-0-20"), spec=spec))
    assert repo.get(kinds.IPAMBLOCK, "10-16-0-0-20") == written
    shown = kubectl("get", "ipamblocks", "10-16-0-0-20", "--show-managed-fields", "-o", "json")
    noted = json.loads(shown.stdout)["metadata"]["managedFields"]
    assert len(json.dumps(noted)) < 2000
    assert "f:allocations" in json.dumps(noted)


@pytest.mark.parametrize("rules", [200, 400], ids=["for etcd", "for the API server"])
def test_an_object_that_is_too_large_is_refused_and_nobody_is_said_to_be_away(
    store: KubernetesStore, rules: int
) -> None:
    rule = FilterRule(action=Action.ACCEPT, asPathPrefix=tuple(range(2**32 - 901, 2**32 - 1)))
    large = BGPFilter(metadata=Metadata(name="large"), spec=BGPFilterSpec(importV4=(rule,) * rules))
    with pytest.raises(StoreError, match=r"is larger than the API server takes \(.*\); write less into it") as refused:
        Repo(store).create(large)
    assert not isinstance(refused.value, StoreUnreachable)


def kubectl(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    config = str(kubernetes_store.shared_server().kubeconfig)
    program = built("kubernetes", "kubectl")
    return subprocess.run(
        [program, "--kubeconfig", config, *arguments], input=text, capture_output=True, text=True, timeout=60
    )


def test_kubectl_shows_our_columns_and_keeps_its_own_nodes(store: KubernetesStore) -> None:
    fill(store, full())
    for names in ("nodes", "node", "no"):
        assert "No resources found" in kubectl("get", names).stderr
    shown = kubectl("get", "ippools,nodes.bgpnet.io").stdout
    assert [line.split() for line in shown.splitlines() if line] == [
        ["NAME", "CIDR", "SELECTOR"],
        ["ippool.bgpnet.io/blue", "10.0.0.0/16", "all()"],
        ["ippool.bgpnet.io/six", "fd00:10::/64", "all()"],
        ["NAME"],
        ["node.bgpnet.io/node1"],
    ]
    wide = kubectl("get", "pools", "blue", "-o", "wide").stdout.splitlines()[0].split()
    assert wide == [
        "NAME",
        "CIDR",
        "NAT",
        "IPIPMODE",
        "VXLANMODE",
        "DISABLED",
        "DISABLEBGPEXPORT",
        "SELECTOR",
        "ASSIGNMENTMODE",
    ]
    assert len(json.loads(kubectl("get", "bgpnet", "-o", "json").stdout)["items"]) == len(full())


def test_kubectl_is_told_the_field(store: KubernetesStore) -> None:
    bad = manifest("IPPool x {cidr: 10.0.0.0/16, blockSize: 50, ipipMode: Always, vxlanMode: Always}")
    said = kubectl("apply", "-f", "-", text=json.dumps(bad))
    assert said.returncode == 1
    assert "spec.blockSize: Invalid value" in said.stderr
    assert "spec.vxlanMode: Invalid value" in said.stderr


def test_the_store_says_what_the_api_server_refuses() -> None:
    mary = KubernetesStore(connect(str(kubernetes_store.shared_server().user("mary"))))
    with pytest.raises(StoreError, match=r'cannot list resource "ippools" in API group "bgpnet.io" .* ClusterRole'):
        mary.list("/bgpnet/v1/ippools/")
    mary.close()


class Between(Api):
    """Lets somebody else write between an object and its status, once."""

    rival: Callable[[], object] | None = None

    def patch(self, path: str, body: Mapping[str, Any] | Sequence[dict[str, Any]], *, kind: str = "merge") -> Any:
        if path.endswith("/status") and self.rival is not None:
            rival, self.rival = self.rival, None
            rival()
        return super().patch(path, body, kind=kind)


def test_who_writes_between_an_object_and_its_status_is_not_written_over(store: KubernetesStore) -> None:
    between = Between(Access(kubeconfig=str(kubernetes_store.shared_server().kubeconfig)))
    mine, theirs = Repo(KubernetesStore(between)), Repo(store)
    first = mine.write(beating("1"))
    between.rival = lambda: theirs.write(at_newest(theirs, beating("rival")))
    with pytest.raises(Conflict, match="somebody changed it first"):
        mine.write(structs.replace(beating("2"), metadata=first.metadata))
    found = theirs.get(kinds.NODE, "n1")
    assert isinstance(found, Node)
    assert (found.metadata.labels, found.status) == ({"n": "rival"}, beating("rival").status)
    again = mine.write(at_newest(mine, beating("3")))
    assert theirs.get(kinds.NODE, "n1") == again
    between.close()


def beating(mark: str) -> Node:
    status = NodeStatus(identity=Identity(uuid=mark, heartbeat="2026-01-01T00:00:00Z"))
    return Node(metadata=Metadata(name="n1", labels={"n": mark}), status=status)


def at_newest(repo: Repo, node: Node) -> Node:
    there = repo.get(kinds.NODE, "n1").metadata
    metadata = structs.replace(node.metadata, uid=there.uid, resourceVersion=there.resourceVersion)
    return structs.replace(node, metadata=metadata)
