"""ADD, as steps of the World: an address from an own block, journalled, wired, answered. Pure. DEL is in detach.

The order is ARCHITECTURE.md's: ipam (here) -> wire and journal (one effect, in a worker) -> answer; the block in the
datastore follows behind (records).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bgpnet import cnispec, ipam, names, resting
from bgpnet.agent import adopt, answers, choose, claims, describe, facts
from bgpnet.agent.claims import Step as Step
from bgpnet.agent.effects import CheckPod, Effect, ReapNow, UnwirePod, Warn, WirePod
from bgpnet.agent.events import KernelApplied, PodChecked, PodRefused, PodWired
from bgpnet.agent.world import Phase, Pod, Waiting, World, replace
from bgpnet.annotations import ADDRESSES, MAC, Wish
from bgpnet.cnispec import Attachment, CniRequest
from bgpnet.errors import AddressRests, AllocationRefused, CniError, NoAddress
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Use
from bgpnet.model.ippool import IPPool

PRESSED = 60.0
"""Seconds in which it is said once that an address was given away before it had rested."""


def add(world: World, number: int, request: CniRequest, failed: frozenset[str] = frozenset()) -> Step:
    """ADD: the same answer for the same container; a lost pod is wired again under its address.

    A newer sandbox of the same pod takes over the link, whose name is the pod's; the older one keeps its address until
    its own DEL. failed: see `place`.
    """
    pod = world.pods.get(request.attachment)
    if pod is not None and pod.phase in (Phase.READY, Phase.LOST) and (other := _has_another(pod, request)) is not None:
        return world, [answers.refuse(number, request, other)]
    if pod is not None and pod.phase is Phase.READY and pod.netns in ("", request.netns):
        known = replace(pod, netns=request.netns, network=request.network)  # a recovered pod's are not recorded
        # Its link may just have gone, and nobody have told yet.
        return with_pod(world, known), [CheckPod(number, known, request.version, request)]
    if pod is not None and pod.phase is Phase.CUT:
        return _wait_for(world, number, request, pod)
    others = rivals(world, _link(request), request.attachment)
    if (busy := _busy(pod, others)) is not None:
        problem = CniError(
            cnispec.TRY_AGAIN,
            f"container {busy.attachment.container} is {busy.phase} on {busy.link}; ask again when that call has ended",
        )
        return world, [answers.refuse(number, request, problem)]
    if reason := _link_of_another(request, others):
        return world, [answers.refuse(number, request, CniError(cnispec.WIRING_REFUSED, reason))]
    if world.unjournalled:
        return world, [answers.refuse(number, request, CniError(cnispec.TRY_AGAIN, world.unjournalled))]
    world, overtaken = _overtake(world, request)
    if pod is None:
        world, effects = place(world, number, request, failed)
    else:
        world, effects = _wire(world, number, replace(pod, netns=request.netns), request, again=True)
    return world, overtaken + effects


def compared(world: World, event: PodChecked, request: CniRequest) -> Step:
    """A repeated ADD: the same answer while the pod is as it was wired; else it is wired anew, as a lost one is.

    One whose block went to another node is taken down, as in `wired`: that address is not to be told as a pod's.
    """
    pod = world.pods.get(event.attachment)
    if pod is not None and pod.phase is Phase.READY:
        if reason := facts.lost_to(world, pod.address):
            return _taken_down(world, event.number, event.version, pod, reason)
        if not event.differences:
            return world, [answers.answer(event.number, event.version, pod)]
        world = with_pod(world, replace(pod, phase=Phase.LOST))
    return add(world, event.number, request)


def place(world: World, number: int, request: CniRequest, failed: frozenset[str] = frozenset()) -> Step:
    """Give the pod an address from an own block, or let it wait for a block.

    failed: pools that had no further block just now; who may use no others takes a resting address, or is refused.
    """
    if reason := choose.unknown(world, request):
        return describe.ask(answers.wait(world, number, request, reason), request)
    try:
        wish = choose.wish(world, request)
        if wish.keep or wish.mac:
            request = replace(request, keep=wish.keep, mac=wish.mac)
        if (former := choose.former(world, request, wish)) is not None:
            return _wait_for(world, number, request, former)
        if unknown := _not_known(world, wish):
            return answers.wait(world, number, request, f"{unknown} not known: {facts.away(world)}"), []
        if wish.address is not None:
            return _place_at(world, number, request, wish.address, wish.address_by)
        permitted = choose.permitted(world, request, wish)
    except NoAddress as problem:
        return world, [answers.refuse(number, request, CniError(cnispec.NO_ADDRESS, str(problem)))]
    blocks = choose.usable(world, permitted, _claimant(request))
    for block in blocks:
        if assigned := _assign(world, request, block):
            world, effects = _allocated(world, number, request, *assigned)
            left = [assigned[0] if one is block else one for one in blocks]
            world, more = claims.ahead(world, permitted, left)
            return world, effects + more
    if world.store_away and (assigned := _longest_rested(world, request, blocks)):
        # no other block can be had, nor an idle one taken back, for who knows how long
        return _early(world, number, request, blocks, assigned, f"the datastore is away ({world.store_away})")
    if idle := choose.idle(world, permitted):
        return claims.take_back(answers.wait(world, number, request, _taking_back(idle[0])), idle[0])
    if reason := _final(world, permitted, failed):
        return _pressed(world, number, request, blocks, reason)
    return claims.claim(answers.wait(world, number, request, "a block of addresses is being claimed"), permitted)


def _wait_for(world: World, number: int, request: CniRequest, former: Pod) -> Step:
    """What the pod needs is still this former one's; a link that is to go is deleted at once, not with others later."""
    container = former.attachment.container
    if choose.goes(former):
        reason = f"{former.address} is that of container {container}, whose link {former.link} is being deleted"
    else:
        whose = f"its former container {container} has it until that is deleted"
        reason = f"{former.address} is for pod {former.pod}, and {whose}"
    return answers.wait(world, number, request, reason), [ReapNow()] if former.phase is Phase.CUT else []


def _not_known(world: World, wish: Wish) -> str:
    """What has to be heard before this pod can have an address; own blocks have to do without their pools."""
    if not choose.pools_are_known(world) and (wish.pools or wish.address or not world.blocks):
        return "the pools are"
    if not world.journalled and not world.is_synced(kinds.IPRESERVATION, kinds.IPAMCONFIGURATION):
        return "what is reserved is"
    return ""


def _assign(
    world: World, request: CniRequest, block: IPAMBlock, *, pressed: bool = False
) -> tuple[IPAMBlock, ip.Address] | None:
    kept = choose.reserved(world, block)
    return ipam.assign(block, _claimant(request), world.now, choose.rest(world), pressed, kept)


def _claimant(request: CniRequest) -> ipam.Claimant:
    attachment = request.attachment
    return ipam.Claimant(attachment.container, attachment.ifname, request.pod, Use.WORKLOAD, request.keep)


def _final(world: World, permitted: Sequence[IPPool] | None, failed: frozenset[str]) -> str:
    """Why no further block can be had for this pod, however long it waits; empty while one may be."""
    if permitted is None:
        return ""
    if failed and {pool.metadata.name for pool in permitted} <= failed:
        return world.no_address
    return choose.no_more(world) if world.adopted else ""


def _pressed(world: World, number: int, request: CniRequest, blocks: Sequence[IPAMBlock], reason: str) -> Step:
    """The address that has rested longest, or that of a link that is being deleted, or the reason why there is none."""
    if assigned := _longest_rested(world, request, blocks):
        return _early(world, number, request, blocks, assigned, reason)
    if (leaving := choose.leaving(world, blocks)) is not None:
        return _wait_for(world, number, request, leaving)
    said = f"{reason}; {world.fenced}" if world.fenced else reason
    return world, [answers.refuse(number, request, CniError(cnispec.NO_ADDRESS, said))]


def _early(
    world: World,
    number: int,
    request: CniRequest,
    blocks: Sequence[IPAMBlock],
    assigned: tuple[IPAMBlock, ip.Address],
    reason: str,
) -> Step:
    """Give an address away before its time, and say so: at most once in a while, as every further ADD may do it."""
    block, address = assigned
    before = next(one for one in blocks if one.network == block.network)
    world, effects = _allocated(world, number, request, block, address)
    if world.clock < world.watch.pressed_until:
        return world, effects
    rested = resting.rested(before, address, world.now)
    said = (
        f"{address} is given away {rested:.0f} s after its release, although addresses rest {choose.rest(world):.0f} "
        f"s, because node {world.me.node} has no other: {reason}"
    )
    watch = replace(world.watch, pressed_until=world.clock + PRESSED)
    return replace(world, watch=watch), [*effects, Warn(said)]


def _longest_rested(
    world: World, request: CniRequest, blocks: Sequence[IPAMBlock]
) -> tuple[IPAMBlock, ip.Address] | None:
    for block in sorted(blocks, key=lambda block: block.spec.longest_rest):
        if assigned := _assign(world, request, block, pressed=True):
            return assigned
    return None


def _place_at(world: World, number: int, request: CniRequest, address: ip.Address, source: str) -> Step:
    """Give the pod the very address that it asks for, from an own block or one that is claimed for it.

    IPReservations are not consulted: they keep addresses for those who ask by name (source: Calico's AssignIP). A slot
    that is reserved in its block has a holder outside our rules and is refused as taken. Raises NoAddress.
    """
    pool = ipam.pool_of(facts.pools(world).values(), address, Use.WORKLOAD, source)
    try:
        for mine in world.blocks.values():
            if had := ipam.find(mine, request.attachment.container, request.attachment.ifname):
                return _allocated(
                    world, number, request, ipam.take(mine, address, _claimant(request), world.now), had[0]
                )
        block = choose.own(world, address)
        if block is None:
            unheld = next((one for one in adopt.unheld(world) if ip.contains(one.network, address)), None)
            if unheld is not None and not ipam.is_empty(unheld):
                waits = f"block {unheld.spec.cidr} is recorded as this node's and is being taken"
                return claims.take_back(answers.wait(world, number, request, waits), unheld)
            net = choose.block_for(world, address, pool)
            if reason := choose.no_more(world):
                raise AllocationRefused(f"{address} is in no block of this node: {reason}")
            return claims.claim(answers.wait(world, number, request, f"block {net} is being claimed"), [pool], net)
        if block.spec.state is BlockState.IDLE:
            return claims.take_back(answers.wait(world, number, request, _taking_back(block)), block)
        taken = ipam.take(block, address, _claimant(request), world.now, choose.rest(world))
    except AllocationRefused as problem:
        code = cnispec.TRY_AGAIN if isinstance(problem, AddressRests) else cnispec.NO_ADDRESS
        return world, [answers.refuse(number, request, CniError(code, f"{source} = {problem}"))]
    return _allocated(world, number, request, taken, address)


def _taking_back(block: IPAMBlock) -> str:
    return f"block {block.spec.cidr} of this node was idle and is being taken back"


def resume(world: World) -> Step:
    """After news that may help: the tunnel's address, then every request that waits."""
    world, effects = claims.ensure_tunnel(world)
    world, more = again(world)
    return world, effects + more


def wired(world: World, event: PodWired) -> Step:
    """The pod is up: answer. One whose block went to another node meanwhile is taken down again, and may come anew."""
    pod = world.pods.get(event.attachment)
    if pod is None:
        return world, []
    if reason := facts.lost_to(world, pod.address):
        return _taken_down(world, event.number, event.version, pod, reason)
    ready = replace(pod, phase=Phase.READY, visible=event.visible)
    return with_pod(world, ready), [answers.answer(event.number, event.version, ready)]


def _taken_down(world: World, number: int, version: str, pod: Pod, reason: str) -> Step:
    """The ADD is refused for its address's sake, and the pod is deleted as by DEL: the next try gets another one."""
    leaving = replace(pod, phase=Phase.LEAVING)
    problem = CniError(cnispec.TRY_AGAIN, f"{pod.address}: {reason}")
    refusal = answers.refused_as(number, version, problem, pod.attachment, pod.pod)
    return with_pod(world, leaving), [refusal, UnwirePod(0, leaving, version)]


def refused(world: World, event: PodRefused) -> Step:
    """The pod could not be wired: its address goes back, the runtime hears why.

    Not that of a pod that had it before, and lost its link: it may live, and keeps the address until its DEL.
    The older sandbox whose link it was to have may have kept it; where it has not, the next look at the kernel says so.
    """
    problem = CniError(event.code, event.reason)
    pod = world.pods.get(event.attachment)
    refusal = answers.refused_as(event.number, event.version, problem, event.attachment, pod.pod if pod else "")
    if pod is not None:
        world = with_pod(world, replace(pod, phase=Phase.LOST)) if event.again else released(world, event.attachment)
        older = [one for one in rivals(world, pod.link, pod.attachment) if one.phase is Phase.LOST]
        if older:
            world = with_pod(world, replace(max(older, key=lambda one: one.since), phase=Phase.READY))
        if event.code == cnispec.WIRING_REFUSED:
            refusal = answers.aggrieved(refusal, pod.pod, event.uid, problem)
    return world, [refusal]


def applied(world: World, event: KernelApplied) -> Step:
    """What the kernel refused is for the status; a pod whose link is gone is lost until it is wired or deleted."""
    pods = {
        attachment: replace(pod, phase=Phase.LOST) if pod.phase is Phase.READY and pod.link in event.lost else pod
        for attachment, pod in world.pods.items()
    }
    return replace(world, refusals=event.refusals, pods=pods), []


def expire(world: World) -> Step:
    """Requests that waited long enough are told why, and to try again."""
    late = {number: one for number, one in world.waiting.items() if one.until <= world.clock}
    if not late:
        return world, []
    left = {number: one for number, one in world.waiting.items() if number not in late}
    effects: list[Effect] = [
        answers.refuse(number, one.request, CniError(cnispec.TRY_AGAIN, f"no address yet: {one.reason}"), waited=True)
        for number, one in late.items()
    ]
    return replace(world, waiting=left), effects


def _allocated(world: World, number: int, request: CniRequest, block: IPAMBlock, address: ip.Address) -> Step:
    sequence = ipam.allocation(block, address).sequence
    pod = Pod(
        attachment=request.attachment,
        pod=request.pod,
        network=request.network,
        netns=request.netns,
        link=_link(request),
        address=address,
        mac=request.mac or facts.pod_mac(address),
        mtu=request.mtu or facts.pod_mtu(world),
        since=stamp(world.now),
        sequence=sequence,
        keep=request.keep,
    )
    return _wire(with_block(world, block), number, pod, request)


def _wire(world: World, number: int, pod: Pod, request: CniRequest, *, again: bool = False) -> Step:
    """Have the pod wired. Whoever had the link before loses it by that, but not its address."""
    for rival in rivals(world, pod.link, pod.attachment):
        if rival.phase is Phase.READY:
            world = with_pod(world, replace(rival, phase=Phase.LOST))
    if pod.phase is not Phase.WIRING:
        pod = replace(pod, phase=Phase.WIRING)
    return with_pod(world, pod), [WirePod(number, pod, request.version, again, request.uid)]


def _has_another(pod: Pod, request: CniRequest) -> CniError | None:
    """That the container already has another address or MAC than its runtime asks for now, and than its pod does."""
    overruled = {name for name, text in request.annotations or () if text}
    if request.address not in (None, pod.address) and ADDRESSES not in overruled:
        told = f"{request.address_by} = {request.address}, but this container has {pod.address}"
        return CniError(cnispec.NO_ADDRESS, f"{told}: delete it first")
    if request.mac not in ("", pod.mac) and MAC not in overruled:
        told = f"{request.mac_by} = {request.mac}, but this container has {pod.mac}"
        return CniError(cnispec.BAD_CONFIG, f"{told}: delete it first")
    return None


def rivals(world: World, link: str, attachment: Attachment) -> list[Pod]:
    """Other sandboxes of the same pod: their link would have the same name."""
    return [one for key, one in world.pods.items() if one.link == link and key != attachment]


def _busy(pod: Pod | None, others: Sequence[Pod]) -> Pod | None:
    """Who is at work on the link that this ADD needs. others: its rivals."""
    if pod is not None and pod.phase in (Phase.WIRING, Phase.LEAVING):
        return pod
    return next((one for one in others if one.phase is Phase.WIRING), None)


def _link_of_another(request: CniRequest, others: Sequence[Pod]) -> str:
    """That the link is at work for what is no former sandbox of this pod, as a sentence; nothing where it is free.

    Names are joined by a dot before they are hashed: outside Kubernetes, pod b.c of namespace a may be pod c of a.b.
    """
    for one in others:
        known = {request.pod, one.pod} - {""}  # what was recovered without a record has no pod
        former = request.pod and len(known) == 1 and one.attachment.ifname == request.attachment.ifname
        if one.phase is Phase.READY and not former:
            whose = f"interface {one.attachment.ifname} of {one.pod or f'container {one.attachment.container}'}"
            return (
                f"pod link {one.link} is that of {whose}, whose names joined are the same: rename the pod or interface"
            )
    return ""


def again(world: World, failed: frozenset[str] = frozenset()) -> Step:
    """Try every request that waits once more, oldest first, each keeping its patience. failed: see `place`."""
    effects: list[Effect] = []
    before = world.waiting
    world = replace(world, waiting={})
    for number, one in before.items():
        world, more = add(world, number, one.request, failed)
        if number in world.waiting:
            kept: Mapping[int, Waiting] = {
                **world.waiting,
                number: replace(world.waiting[number], until=one.until),
            }
            world = replace(world, waiting=kept)
        effects += more
    return world, effects


def _overtake(world: World, request: CniRequest) -> Step:
    """Older sandboxes of the pod that still wait: served later, they would take the link from this one."""
    older = {
        number: one
        for number, one in world.waiting.items()
        if one.request.attachment != request.attachment and _link(one.request) == _link(request)
    }
    return send_away(world, older, f"container {request.attachment.container} of the same pod was asked for since")


def send_away(world: World, waiting: Mapping[int, Waiting], reason: str) -> Step:
    """Refuse requests that wait, for this reason."""
    if not waiting:
        return world, []
    left = {number: one for number, one in world.waiting.items() if number not in waiting}
    problem = CniError(cnispec.TRY_AGAIN, reason)
    effects: list[Effect] = [answers.refuse(number, one.request, problem) for number, one in waiting.items()]
    return replace(world, waiting=left), effects


def _link(request: CniRequest) -> str:
    return names.pod_link(request.pod, request.attachment.container, request.attachment.ifname)


def with_pod(world: World, pod: Pod) -> World:
    """The pod as it is by now."""
    return replace(world, pods={**world.pods, pod.attachment: pod})


def with_block(world: World, block: IPAMBlock) -> World:
    """The own block as it is by now."""
    return replace(world, blocks={**world.blocks, block.network: block})


def released(world: World, attachment: Attachment) -> World:
    """The pod leaves the World and its address rests in its block; its link is no evidence of life any more."""
    pod = world.pods[attachment]
    links = {key: one for key, one in world.links.items() if key != attachment}
    pods = {key: one for key, one in world.pods.items() if key != attachment}
    blocks = {
        net: ipam.release(block, attachment.container, attachment.ifname, world.now)
        if ip.contains(net, pod.address)
        else block
        for net, block in world.blocks.items()
    }
    freed = world.freed
    if not choose.own(world, pod.address):
        freed = {**_still_resting(world), pod.address: pod.allocation(stamp(world.now))}
    return replace(world, pods=pods, blocks=blocks, links=links, freed=freed)


def _still_resting(world: World) -> dict[ip.Address, Allocation]:
    rest = choose.rest(world)
    return {address: slot for address, slot in world.freed.items() if resting.until(slot, rest) > world.now}
