"""What follows from the IPAMBlocks: workload endpoints and block affinities. Pure; nothing of it is stored.

An allocation lives in its block and nowhere else: who asks for the other two kinds gets them computed.
"""

from __future__ import annotations

from collections.abc import Iterable

from bgpnet import names
from bgpnet.model import ip
from bgpnet.model.blockaffinity import AffinityState, BlockAffinity, BlockAffinitySpec
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use
from bgpnet.model.node import Node
from bgpnet.model.resource import Metadata
from bgpnet.model.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec

_Holder = tuple[str, str, str, str]
"""Node, pod (`namespace/name`), container and interface: one endpoint, with an address in one block or several."""


def tunnels(node: Node) -> list[tuple[str, str]]:
    """The node's tunnels that have an address, by name."""
    ipip = node.spec.bgp.ipv4IPIPTunnelAddr if node.spec.bgp else ""
    found = [(names.TUNNEL, ipip), (names.VXLAN, node.spec.ipv4VXLANTunnelAddr)]
    return [(name, address) for name, address in found if address]


def affinities(blocks: Iterable[IPAMBlock]) -> list[BlockAffinity]:
    """One for each block that has an owner, by name."""
    found = [_affinity(block, block.spec.owner.name) for block in blocks if block.spec.owner is not None]
    return sorted(found, key=lambda affinity: affinity.metadata.name)


def _affinity(block: IPAMBlock, node: str) -> BlockAffinity:
    return BlockAffinity(
        metadata=Metadata(name=names.block_affinity(node, block.network), creationTimestamp=block.spec.claimedAt),
        spec=BlockAffinitySpec(state=AffinityState.CONFIRMED, node=node, type="host", cidr=block.spec.cidr),
    )


def endpoints(blocks: Iterable[IPAMBlock]) -> list[WorkloadEndpoint]:
    """One for each interface that holds an address, by namespace and name; resting addresses have nobody."""
    held: dict[_Holder, list[tuple[ip.Network, Allocation]]] = {}
    for block in blocks:
        node = block.spec.owner.name if block.spec.owner else ""
        for ordinal, allocation in block.spec.allocations.items():
            if allocation.use is Use.WORKLOAD and allocation.freedAt is None:
                holder = (node, allocation.pod, allocation.container, allocation.ifname)
                held.setdefault(holder, []).append((ip.host(block.network[ordinal]), allocation))
    found = [_endpoint(holder, slots) for holder, slots in held.items()]
    return sorted(found, key=lambda endpoint: (endpoint.metadata.namespace, endpoint.metadata.name))


def _endpoint(holder: _Holder, slots: list[tuple[ip.Network, Allocation]]) -> WorkloadEndpoint:
    node, pod, container, ifname = holder
    namespace, _, pod_name = pod.rpartition("/")
    networks = sorted((net for net, _ in slots), key=ip.order)
    return WorkloadEndpoint(
        metadata=Metadata(
            name=names.workload_endpoint(node, pod_name, container, ifname),
            namespace=namespace,
            creationTimestamp=min(allocation.since for _, allocation in slots),
        ),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s" if pod else "cni",
            node=node,
            containerID=container,
            pod=pod_name,
            endpoint=ifname,
            ipNetworks=tuple(map(str, networks)),
            interfaceName=names.pod_link(pod, container, ifname),
        ),
    )
