"""A block of ours that the datastore has and we do not hold: who of its holders lives, decided by the kernel. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from bgpnet import integrity, ipam
from bgpnet.agent import claims, facts, overlaps
from bgpnet.agent.world import Phase, Pod, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use


def unheld(world: World) -> Iterator[IPAMBlock]:
    """What is recorded as ours, as last heard, and is not held; under this machine's UUID.

    Empty: the answer of its claim got lost. Not empty: an operator gave it to this node, an import brought it back, or
    it is our own late write after the block was forgotten.
    """
    for there in _not_held(world):
        if overlaps.stronger(world, there) is None:
            yield renewed(world, there)


def overlapped(world: World) -> Iterator[IPAMBlock]:
    """What is recorded as ours and gave way to another node's block: in the way, and of no use to anybody."""
    return (there for there in _not_held(world) if overlaps.stronger(world, there) is not None)


def _not_held(world: World) -> Iterator[IPAMBlock]:
    for there in world.of_kind(kinds.IPAMBLOCK).values():
        owner = there.spec.owner if isinstance(there, IPAMBlock) else None
        if isinstance(there, IPAMBlock) and owner and owner.name == world.me.node and there.network not in world.blocks:
            yield there


def lived_in(world: World, block: IPAMBlock) -> bool:
    """Whether pods of this node have addresses of a block."""
    return any(ip.contains(block.network, pod.address) for pod in world.pods.values())


def renewed(world: World, block: IPAMBlock) -> IPAMBlock:
    """The block under this machine's UUID: a re-imaged machine takes over what its name owned."""
    return structs.replace(block, spec=structs.replace(block.spec, owner=facts.owner(world)))


def survivors(world: World, block: IPAMBlock) -> tuple[IPAMBlock, list[Pod]]:
    """The block with dead allocations released and unrecorded ones entered, and the pods that were recovered.

    It may have been written by anybody: ordinals that are outside of it, doubled or missing are put right.
    """
    block = integrity.mended(block, world.now)
    for ordinal, allocation in list(block.spec.allocations.items()):
        attachment = Attachment(allocation.container, allocation.ifname)
        live = allocation.freedAt is None and allocation.use is Use.WORKLOAD
        if live and _address(world, attachment, block.network[ordinal]) != block.network[ordinal]:
            block = ipam.release(block, attachment.container, attachment.ifname, world.now)
    for address, slot in world.freed.items():
        if ip.contains(block.network, address) and ipam.is_free(block, address):
            block = ipam.restore(block, address, slot)
    for pod in world.pods.values():
        block = claims.entered(block, pod.attachment, pod.address, pod.pod, pod.since, pod.keep)
    living: list[Pod] = []
    for attachment, seen in world.links.items():
        if attachment in world.pods:
            continue
        if seen.address is not None:
            block = claims.entered(block, attachment, seen.address, "", seen.since)
        if found := ipam.find(block, attachment.container, attachment.ifname):
            living.append(_recovered(*found, attachment, seen))
    return block, living


def strays(world: World) -> tuple[list[IPAMBlock], list[Pod]]:
    """Pods that only the kernel knows, and the own blocks that they are entered in.

    Journal and datastore were both lost, or lines of the journal that had been acknowledged: a link gets our alias when
    its line is durable, and is marked before the line that ends it. One whose address another pod has is none.
    """
    blocks, pods = dict(world.blocks), []
    for attachment, seen in world.links.items():
        if attachment in world.pods or seen.address is None:
            continue
        slot = Allocation(since=seen.since, sequence=0)
        net = next((net for net in blocks if ip.contains(net, seen.address)), None)
        if net is not None:
            blocks[net] = claims.entered(blocks[net], attachment, seen.address, "", seen.since)
            found = ipam.find(blocks[net], attachment.container, attachment.ifname)
            if found is None or found[0] != seen.address:
                continue
            slot = found[1]
        pods.append(_recovered(seen.address, slot, attachment, seen))
    return [block for net, block in blocks.items() if block is not world.blocks[net]], pods


def _address(world: World, attachment: Attachment, recorded: ip.Address) -> ip.Address | None:
    """Where an attachment that is recorded at one address really is: nowhere if it has neither journal nor link."""
    if (pod := world.pods.get(attachment)) is not None:
        return pod.address
    if (seen := world.links.get(attachment)) is not None:
        return seen.address or recorded
    return None


def _recovered(address: ip.Address, allocation: Allocation, attachment: Attachment, seen: Seen) -> Pod:
    return Pod(
        attachment=attachment,
        pod=allocation.pod,
        network="",
        netns="",
        link=seen.link,
        address=address,
        mac=seen.mac or facts.pod_mac(address),
        mtu=seen.mtu,
        since=allocation.since,
        sequence=allocation.sequence,
        phase=Phase.READY,
        keep=allocation.keep,
    )
