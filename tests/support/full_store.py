"""One of everything that a datastore may hold, and stores to hold it."""

from __future__ import annotations

from ipaddress import IPv4Address

from msgspec import structs

from bgpnet import codec, ipam
from bgpnet.model import ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Owner, Use
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata
from bgpnet.store import repo
from bgpnet.store.api import ABSENT, Store

NOW = 1_763_690_823.5
TEXT = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: blue, uid: u1, creationTimestamp: "2026-01-01T00:00:00Z", labels: {z: "yes", a: "1.10", m: ""}}
spec: {cidr: 10.0.0.0/16, ipipMode: CrossSubnet, blockSize: 28}
status: {conditions: [{type: Allocatable, status: "True", reason: OK, lastTransitionTime: "2026-01-01T00:00:00Z"}]}
---
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: six, uid: u2, annotations: {note: "ünï: 'quoted' # not a comment\\n- second line"}}
spec: {cidr: "fd00:10::/64", natOutgoing: true}
---
apiVersion: bgpnet.io/v1
kind: IPReservation
metadata: {name: routers, uid: u3}
spec: {reservedCIDRs: [10.0.0.1, 10.0.9.0/24]}
---
apiVersion: bgpnet.io/v1
kind: IPAMConfiguration
metadata: {name: default, uid: u4}
spec: {strictAffinity: true, maxBlocksPerHost: 4, ipCooldownSeconds: 0}
---
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default, uid: u5}
spec: {asNumber: 4200000000, communities: [{name: a, value: "1:2"}],
  prefixAdvertisements: [{cidr: 10.0.0.0/16, communities: [a]}], nodeMeshMaxRestartTime: 2m0s}
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {name: none, uid: u6}
spec:
  importV4: [{cidr: 0.0.0.0/0, matchOperator: Equal, action: Reject}]
  exportV6: [{action: Accept, asPathPrefix: [1.1, 2]}]
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: tor, uid: u7}
spec: {peerIP: "192.0.2.254:1179", asNumber: 64999, filters: [none], node: node1,
  password: {secretKeyRef: {name: s, key: k}}}
---
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: node1, uid: u8, labels: {rack: a}}
spec: {bgp: {ipv4Address: 192.0.2.1/24, ipv4IPIPTunnelAddr: 10.0.0.0}, orchRefs: [{nodeName: n, orchestrator: k8s}]}
status: {identity: {uuid: 7c1f, heartbeat: "2026-01-01T00:00:00.500Z"}}
---
apiVersion: bgpnet.io/v1
kind: ClusterInformation
metadata: {name: default, uid: u9}
spec: {clusterGUID: 0123456789abcdef0123456789ABCDEF, datastoreReady: true}
"""


def block() -> IPAMBlock:
    """A block with a tunnel's address, two pods, one that rests, and a reserved one; its queue is out of order."""
    made = ipam.new_block(ip.network("10.0.0.0/28"), Owner(name="node1", uid="7c1f"), NOW)
    for container, ifname, pod, use in (
        ("", "tunl0", "", Use.TUNNEL),
        ("c1", "eth0", "default/web-1", Use.WORKLOAD),
        ("c1", "net1", "default/web-1", Use.WORKLOAD),
        ("c2", "eth0", "", Use.WORKLOAD),
    ):
        given = ipam.assign(made, ipam.Claimant(container, ifname, pod, use), NOW)
        assert given
        made = given[0]
    made = ipam.release(made, "c2", "eth0", NOW + 1)
    last = ip.address("10.0.0.9")
    made = ipam.restore(made, last, Allocation(container="c9", ifname="eth0", use=Use.RESERVED, since="x", sequence=9))
    spec = structs.replace(made.spec, free=(*made.spec.free[3:], *made.spec.free[:3]))
    return structs.replace(made, spec=spec, metadata=structs.replace(made.metadata, uid="u10"))


def request() -> ReleaseRequest:
    """Somebody asks for an address of the block."""
    spec = ReleaseRequestSpec(node="node1", address="10.0.0.1", sequence=5, requestedAt="2026-01-01T00:00:00Z")
    return ReleaseRequest(metadata=Metadata(name="10-0-0-1-5", uid="u11"), spec=spec)


def everything() -> list[Resource]:
    """At least one object of every stored kind."""
    found = [*codec.decode(TEXT), block(), request()]
    return [structs.replace(each, metadata=structs.replace(each.metadata, resourceVersion="")) for each in found]


def many(count: int) -> list[Resource]:
    """So many small blocks and what they need."""
    blocks = (ipam.new_block(net, Owner(name="node1", uid="7c1f"), NOW) for net in subnets(count))
    return [*everything(), *blocks]


def subnets(count: int) -> list[ip.Network]:
    """So many /28 from the pool's second half on."""
    first = int(ip.address("10.0.128.0"))
    return [ip.network(f"{IPv4Address(first + 16 * number)}/28") for number in range(count)]


def fill(store: Store, resources: list[Resource]) -> Store:
    """Put them there as they are."""
    for each in resources:
        store.put(repo.key(kind_of(each), each.metadata.name), codec.encode(each), ABSENT)
    return store
