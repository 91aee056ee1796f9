"""Pods on the network and off it: two datagrams to wire one, one to cut it off, one to delete many.

The recipe and its figures: the veth is created with its peer already in the pod's namespace (a move costs 15 ms alone
and 400 ms in a burst), with indexes chosen here, so that nothing has to be looked up in between.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, netns, rtnl
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Wiring
from bgpnet.kernel.table import Link, links, read_link
from bgpnet.model import ip
from bgpnet.names import Alias, parse_alias

FIRST_INDEX, LAST_INDEX = 1 << 20, 1 << 30
"""Where chosen indexes begin and end: far from the small ones that tunl0 and its like take in every new namespace."""
INDEX_TRIES = 16


class Wirer:
    """A socket for each thread that wires."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._ports: set[int] = set()
        self._indexes = itertools.count(FIRST_INDEX + int.from_bytes(os.urandom(3), "big"))

    def ports(self) -> set[int]:
        """The netlink ports of our sockets, by which notifications of our own changes are told from others'."""
        return set(self._ports)

    def wire(self, wiring: Wiring) -> None:
        """See kernel.api.Kernel.wire."""
        encode.alias_fits(wiring)
        host, pod = self._create(wiring)
        try:
            self._host_side(wiring, host)
            self._pod_side(wiring, pod)
        except (Refusal, OSError) as problem:
            self._netlink().send([encode.delete_link(host)])
            told = problem.strerror or str(problem)
            raise KernelRefused(
                f"pod interface {wiring.ifname} ({wiring.link}) could not be wired: {told}"
            ) from problem

    def unwire(self, name: str, alias: Alias | None) -> bool:
        """See kernel.api.Kernel.unwire."""
        found = self._find(name)
        if found is None or found.group == encode.REAPING:
            return False
        theirs = parse_alias(found.alias)  # none yet while it is being made: for a newer sandbox, say
        if theirs is None or (alias is not None and not _same(theirs, alias)):
            return False
        netlink = self._netlink()
        batch = [
            encode.route(rtnl.RTM_DELROUTE, 0, Owner.LOCAL, route, lambda _: found.index)
            for route in _routes_over(netlink, found)
        ]
        outcome = netlink.send([*batch, encode.link(found.index, rtnl.u32(rtnl.IFLA_GROUP, encode.REAPING))])
        last = outcome[-1]
        if last is not None and last.errno != errno.ENODEV:
            raise KernelRefused(f"link {name} could not be marked for deletion: {last.strerror}")
        return True

    def reap(self, abandoned: bool) -> int:
        """See kernel.api.Kernel.reap."""
        netlink = self._netlink()
        groups = {encode.REAPING, encode.MAKING} if abandoned else {encode.REAPING}
        waiting = [one.group for one in links(netlink).values() if one.group in groups]
        for group in set(waiting):
            refusal = netlink.send([encode.delete_group(group)])[0]
            if refusal is not None and refusal.errno != errno.ENODEV:
                raise KernelRefused(f"links that wait for deletion could not be deleted: {refusal.strerror}")
        return len(waiting)

    def _netlink(self) -> Netlink:
        netlink: Netlink | None = getattr(self._local, "netlink", None)
        if netlink is None:
            netlink = self._local.netlink = Netlink()
            self._ports.add(netlink.port)
        return netlink

    def _find(self, name: str) -> Link | None:
        ask = rtnl.message(
            rtnl.RTM_GETLINK, 0, rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + rtnl.text(rtnl.IFLA_IFNAME, name)
        )
        return next((read_link(one) for one in self._netlink().query(ask)), None)

    def _create(self, wiring: Wiring) -> tuple[int, int]:
        """The pair; returns the indexes of its ends. An old link of ours of that name makes place."""
        for _ in range(INDEX_TRIES):
            host = self._next_index()
            pod = self._next_index()
            try:
                self._netlink().ask([encode.veth(wiring, host, pod)])
            except Refusal as problem:
                if problem.errno == errno.EBUSY:  # an index is taken, here or there
                    continue
                if problem.errno != errno.EEXIST:
                    raise KernelRefused(
                        f"link {wiring.link} could not be made for {wiring.ifname}: {problem.strerror}"
                    ) from problem
                self._make_place(wiring)
            else:
                return host, pod
        raise KernelRefused(f"link {wiring.link} could not be made: no free link index after {INDEX_TRIES} tries")

    def _next_index(self) -> int:
        return FIRST_INDEX + next(self._indexes) % (LAST_INDEX - FIRST_INDEX)

    def _make_place(self, wiring: Wiring) -> None:
        """EEXIST: either our own old link has the name on the host, or the pod's namespace has such an interface."""
        found = self._find(wiring.link)
        if found is None:
            raise KernelRefused(
                f"the pod's namespace has an interface {wiring.ifname} already; "
                "give the attachment another CNI_IFNAME or delete that interface"
            )
        ours = parse_alias(found.alias) is not None or found.group in (encode.REAPING, encode.MAKING)
        if not ours:
            raise KernelRefused(
                f"link {wiring.link} is there and is not bgpnet's (it has no alias of ours); "
                f"delete it (ip link del {wiring.link}), or rename it"
            )
        refusal = self._netlink().send([encode.delete_link(found.index)])[0]
        if refusal is not None and refusal.errno != errno.ENODEV:
            raise KernelRefused(f"the old link {wiring.link} could not be deleted: {refusal.strerror}")

    def _host_side(self, wiring: Wiring, index: int) -> None:
        dst = ip.host(wiring.address)
        new = rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
        route = encode.route(rtnl.RTM_NEWROUTE, new, Owner.LOCAL, Route(dst, (Hop(wiring.link),)), lambda _: index)
        neighbour = encode.neighbour(rtnl.RTM_NEWNEIGH, NeighbourKey(wiring.link, wiring.address), wiring.mac, index)
        batch = [encode.inet_conf(index), route, neighbour, encode.mark(index, wiring.alias)]
        outcome = self._netlink().send(batch)
        if outcome[1] is not None and outcome[1].errno == errno.EEXIST:
            raise Refusal(errno.EEXIST, f"a route to {dst} is there already and leads elsewhere: ip route show {dst}")
        for refusal in outcome:
            if refusal is not None:
                raise refusal

    def _pod_side(self, wiring: Wiring, index: int) -> None:
        with netns.inside(wiring.netns):
            netlink = Netlink()
        try:
            netlink.ask(encode.pod_side(index, wiring))
        finally:
            netlink.close()


def _same(one: Alias, other: Alias) -> bool:
    return (one.container, one.ifname) == (other.container, other.ifname)


def _routes_over(netlink: Netlink, link: Link) -> list[Route]:
    """Our routes that lead over the link."""
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 0, 0, 0, rtnl.RT_TABLE_MAIN, int(Owner.LOCAL), 0, 0, 0)
    body += rtnl.u32(rtnl.RTA_OIF, link.index)
    found = (encode.read_route(one, {link.index: link.name}) for one in netlink.dump(rtnl.RTM_GETROUTE, body))
    return [one[1] for one in found if one is not None and one[0] == Owner.LOCAL and one[1].hops[0].dev == link.name]
