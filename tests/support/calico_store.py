"""A Calico datastore as its parts leave it in etcd: every shape of key that we know, new values and old ones.

Keys and values by reference: libcalico-go/lib/backend/model, calicoctl's `datastore migrate export`.
"""

from __future__ import annotations

import json
from typing import Any

V3 = "/calico/resources/v3/projectcalico.org/"
IPAM = "/calico/ipam/v2/"
SEQUENCE = 1_711_111_111_222_333_444


def resource(kind: str, plural: str, name: str, spec: dict[str, Any], **metadata: Any) -> tuple[str, dict[str, Any]]:
    """A v3 resource and its key, with the metadata that Calico's client writes."""
    namespace = metadata.get("namespace")
    meta = {
        "name": name,
        "uid": f"00000000-0000-4000-8000-{sum(map(ord, plural + name)):012d}",
        "creationTimestamp": "2024-03-04T10:11:12Z",
        "managedFields": [{"manager": "calicoctl"}],
        **metadata,
    }
    key = f"{V3}{plural}/{namespace}/{name}" if namespace else f"{V3}{plural}/{name}"
    return key, {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": meta, "spec": spec}


def pod(name: str, node: str, container: str, when: str = "2024-05-06 07:08:09.123456789 +0000 UTC") -> dict[str, Any]:
    """The attributes of a pod's address."""
    about = {"namespace": "default", "node": node, "pod": name, "timestamp": when}
    return {"handle_id": f"k8s-pod-network.{container}", "secondary": about}


def tunnel(node: str, kind: str = "ipip") -> dict[str, Any]:
    """The attributes of a tunnel's address."""
    return {"handle_id": f"{kind}-tunnel-addr-{node}", "secondary": {"node": node, "type": f"{kind}TunnelAddress"}}


def block(
    cidr: str, affinity: str | None, slots: dict[int, dict[str, Any]], free: list[int] | None = None, **more: Any
) -> tuple[str, dict[str, Any]]:
    """A block and its key; free: the queue, where it is not in order."""
    size = 1 << (32 - int(cidr.partition("/")[2]))
    indexes = {ordinal: index for index, ordinal in enumerate(slots)}
    value = {
        "cidr": cidr,
        "affinity": affinity,
        "allocations": [indexes.get(ordinal) for ordinal in range(size)],
        "unallocated": free if free is not None else [one for one in range(size) if one not in slots],
        "attributes": list(slots.values()),
        "sequenceNumber": SEQUENCE + 9,
        "sequenceNumberForAllocation": {str(ordinal): SEQUENCE + index for ordinal, index in indexes.items()},
        "deleted": False,
        **more,
    }
    return f"{IPAM}assignment/ipv4/block/{cidr.replace('/', '-')}", value


def affinity(node: str, cidr: str, value: object = "confirmed") -> tuple[str, object]:
    """An affinity's key; value None: the empty one of old versions."""
    state = {"state": value, "deleted": False} if value is not None else None
    return f"{IPAM}host/{node}/ipv4/block/{cidr.replace('/', '-')}", state


def resources() -> dict[str, Any]:
    """v3 resources: those with a counterpart, and those without."""
    node = {"addresses": [{"address": "192.0.2.1/24", "type": "CalicoNodeIP"}, {"address": "192.0.2.1"}]}
    refs = {"orchRefs": [{"nodeName": "node1", "orchestrator": "k8s"}]}
    pool: dict[str, Any] = {"cidr": "10.244.0.0/16", "ipipMode": "Always", "natOutgoing": True, "blockSize": 26}
    pool |= {"vxlanMode": "Never", "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"]}
    wep = {"orchestrator": "k8s", "node": "node1", "pod": "web-1", "containerID": "c1", "endpoint": "eth0"}
    wep |= {"ipNetworks": ["10.244.0.1/32"], "interfaceName": "cali0", "profiles": ["kns.default"]}
    old = {**wep, "pod": "old-1", "containerID": "c7", "endpoint": "net1", "ipNetworks": ["10.244.0.7/32"]}
    old |= {"node": "node1"}
    return dict(
        [
            resource("IPPool", "ippools", "default-ipv4-ippool", pool),
            resource("IPPool", "ippools", "v6", {"cidr": "fd00:10::/64", "vxlanMode": "Always", "natOutgoing": False}),
            resource("IPPool", "ippools", "odd", {"cidr": "10.9.0.0/16", "blockSize": 33, "newField": {"a": 1}}),
            resource("IPReservation", "ipreservations", "routers", {"reservedCIDRs": ["10.244.0.9", "10.244.9.0/30"]}),
            resource("BGPConfiguration", "bgpconfigurations", "default", {"asNumber": 64513, "listenPort": 179}),
            resource("BGPConfiguration", "bgpconfigurations", "node.node1", {"logSeverityScreen": "Debug"}),
            resource("BGPFilter", "bgpfilters", "deny", {"exportV4": [{"cidr": "10.0.0.0/8", "matchOperator": "In"}]}),
            resource("BGPFilter", "bgpfilters", "in", {"importV4": [{"action": "Accept", "futureField": 3}]}),
            resource("BGPPeer", "bgppeers", "tor", {"peerIP": "192.0.2.254", "asNumber": 64999, "filters": ["in"]}),
            resource("Node", "nodes", "node1", {"bgp": tunnelled("192.0.2.1/24", "10.244.0.0"), **node, **refs}),
            resource("Node", "nodes", "node2", {"bgp": tunnelled("192.0.2.2", "10.244.0.64")}, labels={"rack": "a"}),
            resource("Node", "nodes", "node3", {"bgp": {}}),
            resource("ClusterInformation", "clusterinformations", "default", cluster()),
            resource("FelixConfiguration", "felixconfigurations", "default", {"ipipEnabled": True}),
            resource("KubeControllersConfiguration", "kubecontrollersconfigurations", "default", {}),
            resource("NetworkPolicy", "networkpolicies", "default.deny", {"order": 1}, namespace="default"),
            resource("GlobalNetworkPolicy", "globalnetworkpolicies", "default.all", {}),
            resource("Tier", "tiers", "default", {}),
            resource("Profile", "profiles", "kns.default", {"labelsToApply": {"a": "b"}}),
            resource("HostEndpoint", "hostendpoints", "node1-eth0", {"node": "node1", "interfaceName": "eth0"}),
            resource("WorkloadEndpoint", "workloadendpoints", "node1-k8s-web--1-eth0", wep, namespace="default"),
            resource("WorkloadEndpoint", "workloadendpoints", "node1-k8s-old--1-net1", old, namespace="legacy"),
            resource("Marvel", "marvels", "x", {}),
        ]
    )


def cluster() -> dict[str, Any]:
    """A ClusterInformation's spec, as `datastore migrate lock` leaves it."""
    return {"clusterGUID": "0123456789abcdef" * 2, "calicoVersion": "v3.28.0", "datastoreReady": False}


def tunnelled(address: str, tunnel_address: str) -> dict[str, Any]:
    """spec.bgp of a Node."""
    return {"ipv4Address": address, "ipv4IPIPTunnelAddr": tunnel_address, "asNumber": None}


def ipam() -> dict[str, Any]:
    """Blocks of every sort, affinities, handles, settings."""
    borrowed = {65 - 64: tunnel("node1"), 5: pod("lent", "node1", "c5"), 2: pod("own", "node2", "c2")}
    named = {0: tunnel("node1"), 1: pod("web-1", "node1", "c1"), 7: {"handle_id": "legacy.old-1", "secondary": None}}
    extra = {
        9: {"handle_id": None, "secondary": None},
        10: {"handle_id": "vxlan-tunnel-addr-node1", "secondary": {"node": "node1", "type": "vxlanTunnelAddress"}},
        11: {**pod("gone", "node1", "c11"), "releasedAt": "2024-05-06T07:00:00Z"},
        12: {**pod("web-1", "node1", "c1")},
    }
    queue = [63, 3, 2, *range(13, 63), 4, 5, 6, 8]
    return dict(
        [
            block("10.244.0.0/26", "host:node1", named | extra, queue, affinity_claim_time="2024-03-04T10:11:12Z"),
            block("10.244.0.64/26", "host:node2", {0: tunnel("node2")} | borrowed),
            block("10.244.0.128/26", None, {3: pod("orphan", "node1", "c3")}),
            block("10.244.0.192/26", "virtual:load-balancer", {0: {"handle_id": "lb", "secondary": {"service": "s"}}}),
            block("10.244.1.0/26", None, {}, None, hostAffinity="node3", sequenceNumber=None),
            block("10.244.1.64/26", "host:node1", {0: pod("x", "node1", "c6")}, [0, 1, 1, 64]),
            block("10.244.1.128/26", "host:node1", {}, deleted=True),
            (f"{IPAM}assignment/ipv6/block/fd00:10::-122", {"cidr": "fd00:10::/122", "affinity": "host:node1"}),
            affinity("node1", "10.244.0.0/26"),
            affinity("node2", "10.244.0.64/26", None),
            affinity("node2", "10.244.0.128/26", "pendingDeletion"),
            affinity("node1", "10.244.7.0/26", "pending"),
            (f"{IPAM}host/node1", None),
            (f"{IPAM}handle/k8s-pod-network.c1", {"block": {"10.244.0.0/26": 1}, "deleted": False}),
            (f"{IPAM}handle/ipip-tunnel-addr-node1", {"block": {"10.244.0.0/26": 1}, "deleted": False}),
            (f"{IPAM}config", {"strict_affinity": False, "auto_allocate_blocks": True, "maxBlocksPerHost": 0}),
        ]
    )


def keys() -> dict[str, str]:
    """Everything as etcd holds it."""
    other = {
        "/calico/felix/v2/no-region/host/node1/endpoint": {"status": "up"},
        "/calico/felix/v1/host/node1/last_reported_status": {"uptime": 1},
        "/calico/v1/Ready": True,
    }
    found = {**resources(), **ipam(), **other}
    texts = {key: "" if value is None else json.dumps(value) for key, value in found.items()}
    return {**texts, f"{V3}ippools/broken": "{not json"}


def exported() -> str:
    """What `calicoctl datastore migrate export` prints: without uid and creationTimestamp, blobs of IPAM at the end."""
    import yaml

    by_plural: dict[str, list[dict[str, Any]]] = {}
    information = {}
    for key, tree in resources().items():
        plural = key.removeprefix(V3).partition("/")[0]
        meta = {name: value for name, value in tree["metadata"].items() if name not in ("uid", "managedFields")}
        clean = {**tree, "metadata": {**meta, "creationTimestamp": None}}
        if plural == "clusterinformations":
            information = tree
        elif plural not in ("workloadendpoints", "profiles"):
            by_plural.setdefault(plural, []).append(clean)
    lists = [
        yaml.safe_dump({"apiVersion": "projectcalico.org/v3", "items": items, "kind": f"{items[0]['kind']}List"})
        for items in by_plural.values()
    ]
    sorts = {"block_affinities": "host/", "blocks": "assignment/ipv4", "handles": "handle/"}
    blobs: dict[str, Any] = {
        name: [{"Key": key, "Value": value, "TTL": 0} for key, value in ipam().items() if key.startswith(IPAM + below)]
        for name, below in sorts.items()
    }
    blobs["config"] = {"Key": f"{IPAM}config", "Value": ipam()[f"{IPAM}config"], "TTL": 0}
    parts = ["---\n".join([*lists, ""]), json.dumps(information, indent=2), json.dumps(blobs, indent=2)]
    return "\n".join(["===\n".join(f"{part}\n" for part in parts)])
