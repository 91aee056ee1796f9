"""Pods on the network and off it: four datagrams to wire one, one to cut it off, one to delete many.

A pod's second interface takes some more, as it finds the default route taken, by our first one or by a stranger.

The veth is created with its peer already in the pod's namespace (a move costs 15 ms alone and 400 ms in a burst), with
indexes chosen here, so that nothing has to be looked up in between. From its creation until its alias is set, the link
is in the group of the half-made: a mark that the kernel takes at creation, for whoever comes after a kill -9.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from bgpnet import names
from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, netns, refusals, rtnl, sysctl, table
from bgpnet.kernel.api import Begin, nothing
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Wiring
from bgpnet.model import ip

FIRST_INDEX, LAST_INDEX = 1 << 20, 1 << 30
"""Where chosen indexes begin and end: far from the small ones that tunl0 and its like take in every new namespace."""
TRIES = 16


class Wirer:
    """A socket for each thread that wires."""

    def __init__(self, first: int | None = None) -> None:
        """first: the first index to be chosen; unless given, one that a predecessor hardly chose."""
        self._home = netns.own()
        self._host = os.fstat(self._home)
        self._local = threading.local()
        self._sockets: dict[int, Netlink] = {}
        self._indexes = itertools.count(int.from_bytes(os.urandom(3), "big") if first is None else first - FIRST_INDEX)

    def ports(self) -> frozenset[int]:
        """The netlink ports of our sockets, by which notifications of our own changes are told from others'."""
        return frozenset(self._sockets)

    def close(self) -> None:
        """Let go of the sockets; nobody may wire any more."""
        for netlink in self._sockets.values():
            netlink.close()
        os.close(self._home)

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """See kernel.api.Kernel.wire."""
        self._check(wiring)
        netlink = self._netlink()
        host, pod, durable = self._create(netlink, wiring, begin)
        whole = False
        try:
            sysctl.deafen(wiring.link)  # before it is up: whoever is in the pod may be quicker than we, and advertise
            _bring_up(netlink, host)
            _pod_side(wiring, pod, self._home)
            durable()
            keep_mac(netlink, wiring, host)
            # Last, so that what has our alias is whole: killed before this, the next agent reaps it as half-made.
            _host_side(netlink, wiring, host)
            whole = True
        except OSError as problem:
            told = problem.strerror or str(problem)
            raise KernelRefused(f"pod link {wiring.link} ({wiring.ifname}) could not be wired: {told}") from problem
        finally:
            if not whole:
                _undo(netlink, host)

    def unwire(self, name: str, alias: names.Alias | None) -> bool:
        """See kernel.api.Kernel.unwire."""
        netlink = self._netlink()
        found = table.link(netlink, name=name)
        if found is None or found.group == encode.REAPING or not _may_go(found, alias):
            return False
        try:
            destinations = _destinations(netlink, found)
        except KernelRefused:
            if table.link(netlink, index=found.index) is not None:
                raise
            return False  # the pod's namespace ended meanwhile, and the link with it
        drops = [encode.drop_route(Owner.LOCAL, dst) for dst in destinations]
        marked = netlink.send([*drops, encode.reaping(found.index)])[-1]
        if marked is not None and marked.errno == errno.ENODEV:
            return False
        if marked is not None:
            raise KernelRefused(f"pod link {name} could not be marked for deletion: {marked.told}")
        return True

    def reap(self, abandoned: bool) -> int:
        """See kernel.api.Kernel.reap. A stranger's link in a group of ours stays; then ours go one by one."""
        netlink = self._netlink()
        groups = {encode.REAPING, encode.MAKING} if abandoned else {encode.REAPING}
        there = [one for one in table.links(netlink, torn=True) if one.group in groups]
        ours = [one for one in there if one.is_pod]
        if len(ours) == len(there):
            batch = [encode.delete_group(group) for group in {one.group for one in ours}]
        else:
            batch = [encode.delete_link(one.index) for one in ours]
        for refusal in netlink.send(batch):
            if refusal is not None and refusal.errno != errno.ENODEV:
                raise KernelRefused(f"pod links that wait for deletion could not be deleted: {refusal.told}")
        return len(ours)

    def _check(self, wiring: Wiring) -> None:
        refusals.check(wiring)
        try:
            there = os.fstat(wiring.netns)
        except OSError as problem:
            raise KernelRefused(
                f"pod link {wiring.link}: the descriptor of the pod's namespace cannot be used: {problem.strerror}"
            ) from problem
        if os.path.samestat(there, self._host):
            raise refusals.own_namespace(wiring)

    def _netlink(self) -> Netlink:
        netlink: Netlink | None = getattr(self._local, "netlink", None)
        if netlink is None:
            try:
                netlink = self._local.netlink = Netlink.open()
            except OSError as problem:
                raise KernelRefused(
                    f"no netlink socket to be had ({problem.strerror}): raise that limit of the agent"
                ) from problem
            self._sockets[netlink.port] = netlink
        return netlink

    def _create(self, netlink: Netlink, wiring: Wiring, begin: Begin) -> tuple[int, int, Callable[[], None]]:
        """The pair; the indexes of its ends, and what was begun. An old link of ours of that name makes place."""
        durable: Callable[[], None] | None = None
        for _ in range(TRIES):
            host, pod = self._next_index(), self._next_index()
            veth = encode.veth(wiring, host, pod)
            # As late as can be: the disk's thread then has the interpreter to itself while the kernel makes the pair.
            durable = durable or begin()
            refusal = netlink.send([veth])[0]
            if refusal is None:
                return host, pod, durable
            if refusal.errno == errno.EEXIST:
                make_place(netlink, wiring, host, self._home)
            elif refusal.errno != errno.EBUSY:  # that: an index is taken, here or there
                raise KernelRefused(
                    f"pod link {wiring.link} could not be made with {wiring.ifname} in the pod's namespace, "
                    f"MTU {wiring.mtu}: {refusal.told}"
                )
        raise KernelRefused(f"pod link {wiring.link} could not be made in {TRIES} tries: look at ip -details link show")

    def _next_index(self) -> int:
        return FIRST_INDEX + next(self._indexes) % (LAST_INDEX - FIRST_INDEX)


def make_place(netlink: Netlink, wiring: Wiring, index: int, home: int) -> None:
    """EEXIST: our own old link has the name, another link the chosen index, or the pod's namespace the interface.

    None of them: the old link has just gone with its namespace, and the next try has its name. home: of the calling
    thread, a descriptor. Raises KernelRefused where no place can be made.
    """
    found = table.link(netlink, name=wiring.link)
    if found is None:
        if table.link(netlink, index=index) is None:
            _make_place_inside(netlink, wiring, home)
        return  # the next try has another index
    if not _may_go(found, None):
        raise refusals.strangers_link(wiring.link)
    if _is_led_elsewhere(netlink, wiring, found.index):  # else the old link would be gone for nothing
        raise refusals.address_led_elsewhere(wiring, ip.host(wiring.address))
    _delete(netlink, found.index)


def _is_led_elsewhere(netlink: Netlink, wiring: Wiring, index: int) -> bool:
    """Whether the main table has a route to the pod's address that is not the old link's."""
    try:
        found = netlink.query(encode.route_to(wiring.address))
    except KernelRefused:
        return False  # none leads there, or our block's blackhole does
    return found is not None and encode.leads_over(found) not in (None, index)


def _make_place_inside(netlink: Netlink, wiring: Wiring, home: int) -> None:
    """An interface whose DEL was answered goes now, which else waits for the reaper; it may be of another container."""
    inside = _interface(wiring, home)
    if inside is None:
        return
    other = table.link(netlink, index=inside.peer) if inside.peer else None
    if other is not None and other.is_pod and other.group == encode.REAPING:
        _delete(netlink, other.index)
    elif other is not None or _interface(wiring, home) is not None:  # else it was reaped between the two looks
        raise refusals.interface_exists(wiring.ifname)


def _interface(wiring: Wiring, home: int) -> table.Link | None:
    """The interface of that name in the pod's namespace."""
    try:
        inside = netns.made_inside(wiring.netns, home, Netlink.brief)
    except OSError as problem:
        raise KernelRefused(f"the pod's namespace cannot be entered: {problem.strerror}") from problem
    try:
        return table.link(inside, name=wiring.ifname)
    finally:
        inside.close()


def _may_go(found: table.Link, alias: names.Alias | None) -> bool:
    """Whether the link is ours, and of that container's interface if one is named."""
    if not found.is_pod:
        return False
    mark = names.parse_alias(found.alias)
    if mark is None:
        return found.group in (encode.MAKING, encode.REAPING) and alias is None
    return alias is None or (mark.container, mark.ifname) == (alias.container, alias.ifname)


def _destinations(netlink: Netlink, over: table.Link) -> list[ip.Network]:
    """Where our routes over the link lead; the kernel picks them out."""
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 0, 0, 0, rtnl.RT_TABLE_MAIN, int(Owner.LOCAL), 0, 0, 0)
    body += rtnl.u32(rtnl.RTA_OIF, over.index)
    found = (
        encode.read_route(one, {over.index: over.name}) for one in netlink.dump(rtnl.RTM_GETROUTE, body, torn=True)
    )
    return [read[1].dst for read in found if read is not None and read[1].hops == (Hop(over.name),)]


def _bring_up(netlink: Netlink, index: int) -> None:
    """The host's end, with its settings; before the pod's end, which then has its carrier without waiting for it."""
    steps = [encode.no_ipv6_address(index), encode.inet_conf(index), encode.answers_at_once(index)]
    without, *others = netlink.send(steps)
    if without is not None and without.errno != errno.EAFNOSUPPORT:  # that: the link has no IPv6 at all
        raise without
    for refusal in others:
        if refusal is not None:
            raise refusal


def _host_side(netlink: Netlink, wiring: Wiring, index: int) -> None:
    """The pod's route, its neighbour, and our alias: in one datagram, as each trip counts.

    Where the kernel refuses one of them it carries out the others. Killed before that is undone, we leave a link that
    has our alias, in the journal, and lacks what was refused: the next agent's plan puts that, or says why it cannot.
    """
    outcome = netlink.send(
        [
            encode.to_pod(wiring.address, index),
            _neighbour(wiring, index),
            encode.mark(index, wiring.alias),
        ]
    )
    if outcome[0] is not None and outcome[0].errno == errno.EEXIST:
        raise refusals.address_led_elsewhere(wiring, ip.host(wiring.address))
    for refusal in outcome:
        if refusal is not None:
            raise refusal


def _neighbour(wiring: Wiring, index: int) -> bytes:
    return encode.neighbour(rtnl.RTM_NEWNEIGH, NeighbourKey(wiring.link, wiring.address), wiring.mac, index)


def _pod_side(wiring: Wiring, index: int, home: int) -> None:
    """One datagram where the pod has no other interface; in the main table, which whoever came first keeps.

    Where a default route is there, of our first interface or a stranger's, this one gets a table of its own. It is only
    looked for where another link has an address: a trip more, which no pod's first ADD makes. EEXIST says the same of
    what came meanwhile, or of a stranger without an address.
    """
    netlink = netns.made_inside(wiring.netns, home, Netlink.brief)
    try:
        steps, ways = encode.pod_side(index, wiring), encode.main_ways(index)
        led = netlink.has_addresses() and _leads_out(netlink)
        told = _refused(netlink, steps if led else steps | ways)
        if any(told[step].errno == errno.EEXIST for step in ways if step in told):
            led = True
            told = {step: refusal for step, refusal in told.items() if step not in ways}
            netlink.send(encode.leave_main(index))  # one of the two may have been taken
        for step, refusal in told.items():
            raise KernelRefused(
                f"pod link {wiring.link}: could not {step} in the pod's namespace ({wiring.ifname}): {refusal.told}"
            )
        if led:
            _own_table(netlink, wiring, index)
    finally:
        netlink.close()


def _leads_out(netlink: Netlink) -> bool:
    """Whether there is a default route, of whichever metric, if only to refuse everything."""
    refusal = netlink.send([encode.WAY_OUT])[0]
    return refusal is None or refusal.errno != errno.ENETUNREACH


def _own_table(netlink: Netlink, wiring: Wiring, index: int) -> None:
    """What comes from the interface's address leaves by it, whatever leads in the main table, now and later.

    A rule does not go with its interface: those of ours whose interface is gone, or had this address, go now.
    """
    there = {one.index for one in table.links(netlink, torn=True)}
    stale = [one for one in table.pod_rules(netlink) if one[1] not in there or one[0] == wiring.address]
    netlink.send([encode.pod_rule(rtnl.RTM_DELRULE, *one) for one in stale])
    for step, refusal in _refused(netlink, encode.own_ways(index, wiring.address)).items():
        raise refusals.no_own_table(wiring, refusal.errno or 0, step, refusal.told)


def _refused(netlink: Netlink, steps: Mapping[str, bytes]) -> dict[str, Refusal]:
    """The steps carried out; those that the kernel refused."""
    outcome = netlink.send(list(steps.values()))
    return {step: refusal for step, refusal in zip(steps, outcome, strict=True) if refusal is not None}


def keep_mac(netlink: Netlink, wiring: Wiring, index: int) -> None:
    """A MAC given at creation is sometimes changed by udev (Calico reads it back, too); the pod relies on ours.

    With a link's MAC its neighbours go, permanent ones, too (net/core/neighbour.c, neigh_changeaddr).
    """
    for _ in range(TRIES):
        mac = netlink.mac(wiring.link)
        if mac is None:
            raise KernelRefused(
                f"pod link {wiring.link} is gone: the pod's namespace ended meanwhile, or somebody renamed it"
            )
        if mac == names.HOST_MAC:
            return
        netlink.ask([encode.host_mac(index), _neighbour(wiring, index)])
    raise KernelRefused(
        f"pod link {wiring.link}: somebody keeps changing its MAC {names.HOST_MAC}: "
        "have udev leave it alone (MACAddressPolicy=none for cali*)"
    )


def _undo(netlink: Netlink, index: int) -> None:
    """Away with the link; if even that fails, one without our alias is marked for the next agent's reap."""
    with suppress(KernelRefused):
        netlink.send([encode.reaping(index), encode.delete_link(index)])


def _delete(netlink: Netlink, index: int) -> None:
    refusal = netlink.send([encode.reaping(index), encode.delete_link(index)])[1]
    if refusal is not None and refusal.errno != errno.ENODEV:
        raise KernelRefused(f"the old pod link could not be deleted: {refusal.told}")
