"""Which blocks and pools an address may come from, as the World has it now: settings, reservations, wishes. Pure.

While the pools are not known, every own block has to do; while a pod or its namespace is not known, the pod waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

from bgpnet import ipam, names, pools, reservations, resting
from bgpnet.agent import facts, overlaps
from bgpnet.agent import recorded as blocks_of
from bgpnet.agent.kubeevents import NAMESPACES
from bgpnet.agent.same import Same, latest
from bgpnet.agent.world import Phase, Pod, World
from bgpnet.annotations import ADDRESSES, CONFIGURED, KEEP, POOLS, Meta, Wish
from bgpnet.annotations import wish as wished
from bgpnet.cnispec import CniRequest
from bgpnet.errors import AllocationRefused, NoAddress
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Use
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool

BLOCKS_PER_NODE = 20
"""How many blocks a node may own where maxBlocksPerHost is 0 (Calico's default)."""
MARK = 8
"""Free addresses below which a node claims its next block ahead of need; an eighth of a larger block."""

NO_POOL = "there is no IPPool; create one with bgpnetctl create -f pool.yaml"
"""What is said where no pool was ever made."""


def settings(world: World) -> IPAMConfigurationSpec:
    """The cluster's IPAM settings (the object `default`), or what is built in."""
    found = world.of_kind(kinds.IPAMCONFIGURATION).get("default")
    return found.spec if isinstance(found, IPAMConfiguration) else IPAMConfigurationSpec()


def rest(world: World) -> float:
    """Seconds that a released address rests: the cluster's ipCooldownSeconds, else the agent's own setting."""
    return world.me.rest if world.cooldown is None else float(world.cooldown)


def reserved(world: World, block: IPAMBlock) -> frozenset[int]:
    """The ordinals of a block that nobody is given unasked."""
    return reservations.ordinals(world.reserved, block.network)


def unknown(world: World, request: CniRequest) -> str:
    """What an orchestrator has not said yet of the pod: its annotations may change everything. Empty: all is known.

    While it does not answer, a namespace is as it was remembered; and one that could change nothing is not waited for.
    """
    name = request.pod.partition("/")[0]
    if not name or world.namespaces is None:
        return ""
    why = unanswered(world, request.pod)
    said = f": {why}" if why else ""
    if namespace(world, request) is None and not (why and _leaves_no_choice(world, request)):
        return f"namespace {name} is not known yet{said}"
    if world.kubernetes is not None and request.annotations is None:
        return f"pod {request.pod} is not known yet{said}"
    return ""


def unanswered(world: World, pod: str) -> str:
    """Why Kubernetes cannot be asked about a pod just now; empty when it can, or was not asked yet."""
    if world.kubernetes is None:
        return ""
    return world.kubernetes.away.get(NAMESPACES) or world.kubernetes.unanswered.get(pod, ("", 0.0))[0]


def namespace(world: World, request: CniRequest) -> Meta | None:
    """The pod's namespace as it was heard of, or else, while nobody can be asked, as it is remembered."""
    name = request.pod.partition("/")[0]
    found = (world.namespaces or {}).get(name)
    if found is None and world.kubernetes is not None and unanswered(world, request.pod):
        return world.kubernetes.remembered.get(name)
    return found


def _leaves_no_choice(world: World, request: CniRequest) -> bool:
    """Whether the pod gets the same address whatever its namespace says: it names its pools or address itself, or there
    is only one pool that a namespace could name; and no pool selects by namespace. Its families are not waited for."""
    if not pools_are_known(world):
        return False
    enabled = [pool for pool in facts.pools(world).values() if not pool.spec.disabled]
    if any(pool.spec.namespaceSelector for pool in enabled):
        return False
    asks = {name for name, text in request.annotations or () if text}
    return len(enabled) <= 1 or POOLS in asks or ADDRESSES in asks


def wish(world: World, request: CniRequest) -> Wish:
    """What the runtime, the pod and its namespace ask for; raises NoAddress when that cannot be read."""
    by = CONFIGURED if request.pools else ""
    asked = Wish(request.pools, by, request.address, request.address_by, mac=request.mac)
    if not request.pod:
        return asked
    of_pod = Meta(annotations=dict(request.annotations)) if request.annotations else None
    of_namespace = namespace(world, request)
    found = wished(asked, request.pod, of_pod, of_namespace, world.me.keep)
    found = _of_one_interface(world, request, asked, found)
    if world.namespaces is None or of_namespace is not None or KEEP in (of_pod.annotations if of_pod else ()):
        return found
    return replace(found, keep=_kept(world, request))


def _of_one_interface(world: World, request: CniRequest, asked: Wish, found: Wish) -> Wish:
    """The wish of an interface beside others of its pod: the address or MAC that annotations name is one interface's.

    Who came first has it; the next has what its own call asks for, as Multus says it of each network by itself.
    """
    if found.address == asked.address and found.mac == asked.mac:
        return found
    mine = request.attachment
    others = [
        pod for key, pod in world.pods.items() if key.container == mine.container and key != mine and not goes(pod)
    ]
    if found.address != asked.address and any(pod.address == found.address for pod in others):
        found = replace(found, address=asked.address, address_by=asked.address_by)
    if found.mac != asked.mac and any(pod.mac == found.mac for pod in others):
        found = replace(found, mac=asked.mac)
    return found


def _kept(world: World, request: CniRequest) -> int:
    """For how many seconds a former sandbox of the pod had its address kept; 0 where it had not.

    Its namespace, which nobody can be asked about, may have said so, and will hardly have changed its mind.
    """
    ifname = request.attachment.ifname
    for block in world.blocks.values():
        if (ordinal := resting.kept_for(block.spec, request.pod, ifname, world.now)) is not None:
            return block.spec.allocations[ordinal].keep
    former = (pod for pod in world.pods.values() if pod.pod == request.pod and pod.attachment.ifname == ifname)
    return max((pod.keep for pod in former), default=0)


def former(world: World, request: CniRequest, wanted: Wish) -> Pod | None:
    """Who still has the address that this pod asks for, or that is to be kept for it: one of its former containers.

    So has anybody's container whose link is being deleted: that the address is taken would be no answer that lasts.
    """
    if not wanted.keep and wanted.address is None:
        return None
    ifname = request.attachment.ifname
    for pod in world.pods.values():
        its = request.pod and pod.pod == request.pod and pod.attachment.ifname == ifname
        kept = wanted.keep and pod.keep and wanted.address is None
        asked = wanted.address == pod.address
        if pod.attachment != request.attachment and ((its and (kept or asked)) or (asked and goes(pod))):
            return pod
    return None


def leaving(world: World, blocks: Sequence[IPAMBlock]) -> Pod | None:
    """A pod whose DEL was asked for, and whose address in one of these blocks will be anybody's in a moment."""
    for pod in world.pods.values():
        if goes(pod) and not pod.keep and any(ip.contains(block.network, pod.address) for block in blocks):
            return pod
    return None


def goes(pod: Pod) -> bool:
    """Whether its DEL was asked for."""
    return pod.phase in (Phase.LEAVING, Phase.CUT)


def pools_are_known(world: World) -> bool:
    """Whether the pools were heard, and the Nodes, whose labels they select by: else own blocks have to do."""
    return world.is_synced(kinds.IPPOOL, kinds.NODE)


def permitted(world: World, request: CniRequest, wanted: Wish) -> list[IPPool] | None:
    """The pools to allocate from; None while they are not known and own blocks have to do. Raises NoAddress."""
    if not pools_are_known(world):
        return None
    of_namespace = namespace(world, request) if request.pod else None
    known = None if of_namespace is None else Same(of_namespace.labels)
    return list(_permitted(Same(facts.pools(world)), Same(facts.labels(world)), wanted.pools, known, wanted.pools_by))


@lru_cache(maxsize=8)
def _permitted(
    pools: Same[Mapping[str, IPPool]],
    labels: Same[Mapping[str, str]],
    named: tuple[str, ...],
    namespace: Same[Mapping[str, str]] | None,
    source: str,
) -> list[IPPool]:
    """Kept, because every ADD asks: pools and labels change seldom."""
    known = None if namespace is None else namespace.value
    return ipam.pools_for(pools.value.values(), Use.WORKLOAD, labels.value, named, known, source)


def serving(world: World, named: Sequence[str] = ()) -> list[IPPool]:
    """The pools that some pod on this node gets addresses from; raises NoAddress. named: by its configuration."""
    if not (every := facts.pools(world)):
        raise NoAddress(NO_POOL)
    if named:
        return ipam.pools_for(every.values(), Use.WORKLOAD, facts.labels(world), named, None, CONFIGURED)
    return pools.pools_of_node(every.values(), facts.labels(world))


def unserved(world: World, named: Sequence[str] = ()) -> str:
    """Why no pod at all gets an address here, whatever it asks for; empty while that is not known, or one may.

    Of a node with blocks nothing is said: its pods would be evicted for want of more addresses. named: as in `serving`.
    """
    if world.blocks or not world.adopted or not pools_are_known(world):
        return ""
    try:
        serving(world, named)
    except NoAddress as problem:
        return str(problem)
    return no_more(world)


def usable(world: World, permitted: Sequence[IPPool] | None, who: ipam.Claimant | None = None) -> list[IPAMBlock]:
    """Own blocks in use, in the pools' order, then by address; all of them while the pools are not known.

    who: one who has an address kept finds its block first.
    """
    blocks = [block for block in _inside(world, permitted) if block.spec.state is not BlockState.IDLE]
    if who is not None and who.keep:
        blocks.sort(key=lambda block: ipam.kept_for(block, who, world.now) is None)
    return blocks


def idle(world: World, permitted: Sequence[IPPool] | None) -> list[IPAMBlock]:
    """Own blocks that must be taken back before they give an address, and would have one to give."""
    return [
        block
        for block in _inside(world, permitted)
        if block.spec.state is BlockState.IDLE and not reservations.covers(world.reserved, block.network)
    ]


def _inside(world: World, permitted: Sequence[IPPool] | None) -> list[IPAMBlock]:
    pools = None if permitted is None else tuple(pool.network for pool in permitted)
    blocks = tuple(world.blocks.values())
    return [blocks[place] for place in _in_order(tuple(world.blocks), pools)]


@latest
def _in_order(blocks: tuple[ip.Network, ...], pools: tuple[ip.Network, ...] | None) -> list[int]:
    """The places of the blocks, in order. Kept, because every ADD asks: blocks and pools change seldom."""
    mine = sorted(range(len(blocks)), key=lambda place: ip.order(blocks[place]))
    return mine if pools is None else [place for pool in pools for place in mine if ip.contains(pool, blocks[place])]


def own(world: World, address: ip.Address) -> IPAMBlock | None:
    """The own block that an address lies in."""
    return next((block for net, block in world.blocks.items() if ip.contains(net, address)), None)


def block_for(world: World, address: ip.Address, pool: IPPool) -> ip.Network:
    """The block to claim for an address that lies in none of ours; raises AllocationRefused when it is another node's.

    One that may change hands, or that is recorded as ours though we do not hold it (a claim whose answer got lost), is
    as good as one that nobody has.
    """
    net = ip.interface(f"{address}/{pool.block_size}").network
    stored = recorded(world, address, net)
    owner = stored.spec.owner if stored is not None else None
    if stored is not None and not ipam.may_change_hands(stored) and owner != facts.owner(world):
        raise AllocationRefused(
            f"{address} is in block {stored.spec.cidr} of node {owner.name if owner else 'nobody'}: "
            "run the pod on that node, or ask for an address of another block"
        )
    net = stored.network if stored is not None else net
    if (other := next(overlaps.in_the_way(world, net), None)) is not None:
        raise AllocationRefused(
            f"{address} would be in block {net}, which overlaps block {other.spec.cidr} of node "
            f"{other.spec.owner.name if other.spec.owner else 'nobody'}: ask for an address of another block"
        )
    if not ip.contains(pool.network, net):
        raise AllocationRefused(
            f"{address} is in block {net}, which is larger than pool {pool.metadata.name} ({pool.spec.cidr}): "
            "release that block, or ask for an address of another one"
        )
    return net


def recorded(world: World, address: ip.Address, likely: ip.Network) -> IPAMBlock | None:
    """The block of the datastore that an address lies in, whoever owns it. likely: where it is unless sizes changed."""
    if (found := world.of_kind(kinds.IPAMBLOCK).get(names.block(likely))) is not None:
        return cast("IPAMBlock", found)
    return next(blocks_of.containing(world, address), None)


def no_more(world: World) -> str:
    """Why the settings let this node claim no further block, as one sentence; empty when they do."""
    if not world.is_synced(kinds.IPAMCONFIGURATION):
        return ""
    spec, node = settings(world), world.me.node
    if not spec.autoAllocateBlocks:
        return (
            f"node {node} gets no further block because IPAMConfiguration default says spec.autoAllocateBlocks: false; "
            "set it to true, or delete pods"
        )
    limit = spec.maxBlocksPerHost or BLOCKS_PER_NODE
    counted = [block for net, block in world.blocks.items() if not is_unwanted(world, net)]  # the others are to go
    if len(counted) < limit:
        return ""
    unused = sum(pools.unused_in(block, world.reserved) for block in counted)
    meaning = f", which means {BLOCKS_PER_NODE}" if not spec.maxBlocksPerHost else ""
    return (
        f"node {node} gets no further block because it has {len(counted)}, {unused} addresses in them unused: "
        f"raise spec.maxBlocksPerHost ({spec.maxBlocksPerHost}{meaning}) of IPAMConfiguration default, or delete pods"
    )


def plenty(world: World, blocks: Sequence[IPAMBlock], times: int = 1) -> bool:
    """Whether these blocks have as many free addresses as the mark says, or so many times as many.

    The mark is MARK or an eighth of the largest block, but at most half of that: small blocks are not hoarded.
    """
    size = max((block.network.num_addresses for block in blocks), default=0)
    mark = times * max(min(max(MARK, size // 8), size // 2), 1)
    # Counting is for when it is close: every ADD asks, and an address in the queue is free unless it is reserved.
    queued = 0
    for block in blocks:
        kept = len(reserved(world, block)) if world.reserved.networks else 0
        queued += max(len(block.spec.free) - kept, 0)
        if queued >= mark:
            return True
    return sum(ipam.assignable(block, world.now, rest(world), reserved(world, block)) for block in blocks) >= mark


def is_needed(world: World, net: ip.Network) -> bool:
    """Whether an own empty block is kept for what comes: without it, the next one would be claimed soon.

    For whoever makes blocks idle. Twice the mark, so that a block does not go and come with every pod.
    """
    pool = next((pool for pool in facts.pools(world).values() if ip.contains(pool.network, net)), None)
    others = [block for block in usable(world, [pool] if pool else []) if block.network != net]
    return bool(others) and not plenty(world, others, times=2)


def is_unwanted(world: World, net: ip.Network) -> bool:
    """Whether a block's pool is gone, of another block size, disabled, or does not serve this node any more."""
    pool = next((one for one in facts.pools(world).values() if ip.contains(one.network, net)), None)
    return pool is None or pool.block_size != net.prefixlen or not pools.serves(pool, facts.labels(world))


def is_left_alone(world: World, block: IPAMBlock) -> bool:
    """Whether the records write nothing of an own block: a claim is changing it, or it was deleted and is of no use."""
    if block.network in world.taking_back or block.network == world.dropping:
        return True
    gone = block.metadata.name not in world.of_kind(kinds.IPAMBLOCK)
    return gone and block.spec.state is BlockState.IDLE and is_unwanted(world, block.network)
