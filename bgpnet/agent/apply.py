"""Make the kernel match the plan: read, compare, drop, put. One refusal never stops the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil

from bgpnet.agent import facts
from bgpnet.agent.events import KernelApplied, PodUnwired, PodWired, Reaped
from bgpnet.agent.plan import Plan
from bgpnet.agent.policies import Learned
from bgpnet.agent.world import World
from bgpnet.cnispec import Attachment
from bgpnet.diff import Delta, diff
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import (
    Change,
    DropFdb,
    DropNeighbour,
    DropRoute,
    Kernel,
    PutFdb,
    PutNeighbour,
    PutRoute,
    PutSysctl,
    PutTunnel,
)
from bgpnet.kernel.state import KernelState, Owner, PodLink, Route
from bgpnet.kernel.sysctl import ROUTERS
from bgpnet.model import ip
from bgpnet.names import TUNNELS
from bgpnet.pieces import Pause, never, pieces

SLICE = 100
"""Changes that are made at once beside pods that are being wired: the kernel's lock is theirs in between."""
LOOKUPS = 4
"""Slices at most where routes are replaced: for each such slice the kernel's whole table is looked through."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it: how many changes, what was refused (a sentence each), links to be reaped, links that went."""

    changes: int
    refusals: tuple[str, ...]
    stale: tuple[PodLink, ...]
    lost: tuple[PodLink, ...]


def apply(plan: Plan, kernel: Kernel) -> Applied:
    """Read the kernel once and change what differs; what workers are busy with is left to them."""
    have = kernel.read(plan.kernel.sysctls)
    tunnels = _tunnels(plan, have)
    refused = {one.tunnel.name: kernel.change([one]) for one in tunnels}
    refusals = [str(problem) for problems in refused.values() for problem in problems]
    # What leads over a tunnel that cannot be made would only be refused again, a sentence for each route.
    lacking = {name for name, problems in refused.items() if problems}
    if tunnels:  # one that was made anew, got another MAC or was down has lost what hung on it
        have = kernel.read(plan.kernel.sysctls)
    rest = [one for one in differences(plan, have) if not isinstance(one, PutTunnel) and not _needs(one, lacking)]
    refusals += [str(one) for one in kernel.change(rest)] if rest else []
    stale = stale_links(plan, have)
    for link in stale:
        try:
            kernel.unwire(link.name, link.alias)
        except KernelRefused as problem:
            refusals.append(str(problem))
    return Applied(len(tunnels) + len(rest), tuple(refusals), stale, lost_links(plan, have))


def news(world: World, done: Applied) -> KernelApplied | None:
    """What the World has to hear of it; None where it knows all that."""
    refusals = (*done.refusals, *(facts.lost(world, link) for link in done.lost))
    lost = frozenset(link.name for link in done.lost)
    return KernelApplied(refusals, lost) if refusals != world.refusals or facts.believed(world, lost) else None


def handled_by(world: World, event: object) -> set[str]:
    """The pod links that a worker has put as the next plan will want them, by what it reports; world: before that."""
    match event:
        case PodWired() | PodUnwired():
            attachments: tuple[Attachment, ...] = (event.attachment,)
        case Reaped(attachments):
            pass
        case _:
            return set()
    return {world.pods[one].link for one in attachments if one in world.pods}


def follow(before: KernelState, wish: Plan, handled: Set[str], kernel: Kernel, pause: Pause = never) -> int | None:
    """Change what the wish has other than the one before, which the kernel is like: how many changes.

    None when it takes a look at the kernel (`apply`): something else than routes differs, or was refused. handled: pod
    links that workers have put or cut meanwhile, with their routes and neighbours. A node of 1,000 pods is read in
    50 ms, and blocks and learned routes come one by one. pause: called between pieces of the work.

    Workers may wire and cut pods meanwhile, later ones than the wish has: no route over a pod's link is touched here.
    """
    want = wish.kernel
    if before is want:
        return 0
    if not _differ_by_routes(before, want, handled):
        return None
    changes: list[Change] = []
    for owner, table in want.routes.items():
        if table is before.routes[owner]:
            continue
        delta = _difference(table, before.routes[owner], pause)
        gone = delta.drop.values() if owner in want.sweep else ()
        drops = [route for route in gone if not _is_over(route, handled)]
        puts = [route for route in delta.put.values() if not _is_over(route, handled)]
        if any(route.dst in wish.hold or _is_pods(owner, route) for route in (*drops, *puts)):
            return None
        changes += [
            PutRoute(owner, route, new=route.dst not in before.routes[owner]) for route in sorted(puts, key=_by_gateway)
        ]  # before the drops: what one route carried a wider one may carry, and there may be a pause in between
        changes += [DropRoute(owner, route) for route in sorted(drops, key=_by_destination)]
    return len(changes) if _carried_out(changes, kernel, pause) else None


def _carried_out(changes: Sequence[Change], kernel: Kernel, pause: Pause) -> bool:
    """Whether nothing was refused; it is all tried in any case, unless the kernel is silent."""
    refused = False
    replaces = any(isinstance(one, PutRoute) and not one.new for one in changes)
    size = max(SLICE, ceil(len(changes) / LOOKUPS)) if replaces else SLICE
    for first in range(0, len(changes), size):
        try:
            refused = bool(kernel.change(changes[first : first + size])) or refused
        except KernelRefused:
            return False
        pause()
    return not refused


def _difference(
    want: Mapping[ip.Network, Route], have: Mapping[ip.Network, Route], pause: Pause
) -> Delta[ip.Network, Route]:
    """As `diff`; where it is known which few of the learned routes were made anew, only those are looked at."""
    if not (isinstance(want, Learned) and isinstance(have, Learned) and want.basis is have.mark):
        return diff(want, have, pause)
    put = {dst: want[dst] for dst in pieces(want.again, pause) if dst in want and want[dst] != have.get(dst)}
    return Delta(put, {dst: have[dst] for dst in want.again if dst in have and dst not in want})


def _differ_by_routes(before: KernelState, want: KernelState, handled: Set[str]) -> bool:
    """Whether nothing else differs, but for pod links that workers have handled."""
    fields = ("tunnels", "sysctls", "fdb", "sweep", "sweep_pods", "sweep_ends")
    if any(getattr(before, name) != getattr(want, name) for name in fields):
        return False
    if before.routes.keys() != want.routes.keys():
        return False
    links = {name for name, _ in before.pods.items() ^ want.pods.items()}
    return {*links, *(key.dev for key, _ in before.neighbours.items() ^ want.neighbours.items())} <= handled


def is_outrun(wish: Plan, before: World, now: World) -> bool:
    """Whether a learned route that was put may have taken the place of a pod's that came since the wish's World."""
    learned = wish.kernel.routes.get(Owner.LEARNED, {})
    return any(ip.host(pod.address) in learned for one, pod in now.pods.items() if one not in before.pods)


def _is_pods(owner: Owner, route: Route) -> bool:
    return owner is Owner.LOCAL and bool(route.hops)


def _is_over(route: Route, links: Set[str]) -> bool:
    return len(route.hops) == 1 and route.hops[0].dev in links


def _needs(change: Change, lacking: set[str]) -> bool:
    """Whether the change is about one of these links."""
    match change:
        case PutRoute(_, route):
            return any(hop.dev in lacking for hop in route.hops)
        case PutSysctl(name):
            return any(f"/{link}/" in name for link in lacking)
        case PutNeighbour(key):
            return key.dev in lacking
        case PutFdb(key):
            return key.dev in lacking
        case _:
            return False


def differences(plan: Plan, have: KernelState) -> list[Change]:
    """What to change, in order: tunnels, sysctls, neighbours, then the routes that lead to them; what goes, last."""
    want = plan.kernel
    changes: list[Change] = [*_tunnels(plan, have)]
    changes += [PutSysctl(name, value) for name, value in diff(want.sysctls, have.sysctls).put.items()]
    changes += [PutSysctl(ROUTERS.format(link.name), "0") for link in have.pods.values() if _hears(plan, link)]
    absent = set(want.pods) - set(have.pods)
    neighbours, fdb = diff(want.neighbours, have.neighbours), diff(want.fdb, have.fdb)
    changes += [PutFdb(key, to) for key, to in fdb.put.items()]
    changes += [
        PutNeighbour(key, mac)
        for key, mac in neighbours.put.items()
        if key.dev not in absent and key.dev not in plan.hold_links
    ]
    for owner, table in want.routes.items():
        changes += _routes(plan, have, owner, table)
    changes += [
        DropNeighbour(key)
        for key in neighbours.drop
        if key.dev not in plan.hold_links and (want.sweep_ends if key.dev in TUNNELS else want.sweep_pods)
    ]
    if want.sweep_ends:
        changes += [DropFdb(key) for key in fdb.drop]
    return changes


def _hears(plan: Plan, link: PodLink) -> bool:
    """Whether a pod may make itself the node's router: an older agent wired it, or somebody (networkd) wants it so."""
    return not link.deaf and not link.reaping and link.name not in plan.hold_links and _wanted(plan, link)


def _tunnels(plan: Plan, have: KernelState) -> list[PutTunnel]:
    return [PutTunnel(tunnel) for tunnel in diff(plan.kernel.tunnels, have.tunnels).put.values()]


def _routes(plan: Plan, have: KernelState, owner: Owner, table: Mapping[ip.Network, Route]) -> list[Change]:
    before = have.routes.get(owner, {})
    delta = diff(table, before)
    absent = set(plan.kernel.pods) - set(have.pods)
    changes: list[Change] = []
    if owner in plan.kernel.sweep:
        drops = sorted((route for dst, route in delta.drop.items() if dst not in plan.hold), key=_by_destination)
        changes += [DropRoute(owner, route) for route in drops]
    puts = [
        route
        for dst, route in delta.put.items()
        if dst not in plan.hold and not any(hop.dev in absent for hop in route.hops)
    ]
    changes += [PutRoute(owner, route, new=route.dst not in before) for route in sorted(puts, key=_by_gateway)]
    return changes


def stale_links(plan: Plan, have: KernelState) -> tuple[PodLink, ...]:
    """Links with our alias that no pod of ours has: half-made, or left by a pod that was released meanwhile."""
    if not plan.kernel.sweep_pods:
        return ()
    return tuple(
        link
        for name, link in have.pods.items()
        if name not in plan.hold_links and not link.reaping and not _wanted(plan, link)
    )


def _wanted(plan: Plan, link: PodLink) -> bool:
    want = plan.kernel.pods.get(link.name)
    return want is not None and (want.alias.container, want.alias.ifname) == (link.alias.container, link.alias.ifname)


def lost_links(plan: Plan, have: KernelState) -> tuple[PodLink, ...]:
    """Links that are gone though nobody deleted the pod: its namespace ended, or somebody removed the link."""
    return tuple(
        link for name, link in plan.kernel.pods.items() if name not in have.pods and name not in plan.hold_links
    )


def _by_gateway(route: Route) -> tuple[int, tuple[int, int, int]]:
    """Sorted by gateway, the kernel inserts thousands of routes three times faster (reference/performance.md 4)."""
    via = route.hops[0].via if route.hops else None
    return (0 if via is None else int(via), ip.order(route.dst))


def _by_destination(route: Route) -> tuple[int, int, int]:
    return ip.order(route.dst)
