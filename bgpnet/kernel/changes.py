"""Routes, neighbours and forwarding entries, many in few datagrams; only ever in the place of our own."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from functools import cache

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, refusals, rtnl, table, vxlan
from bgpnet.kernel.api import DropFdb, DropNeighbour, DropRoute, PutFdb, PutNeighbour, PutRoute
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import Owner

Entry = PutRoute | DropRoute | PutNeighbour | DropNeighbour | PutFdb | DropFdb
Occupants = Mapping[encode.Place, Sequence[rtnl.Message]]

_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV)


def carry_out(netlink: Netlink, entries: Sequence[Entry]) -> list[KernelRefused]:
    """In order; one refusal never stops the rest.

    The kernel itself keeps an addition from taking a stranger's place (NLM_F_EXCL), but a replacement would: who
    stands there is looked up right before.
    """
    places = {encode.place(one.route.dst) for one in entries if isinstance(one, PutRoute) and not one.new}
    there = table.occupants(netlink, places) if places else {}
    batch = _Batch(netlink, there)
    for one in entries:
        batch.add(one)
    taken = batch.send()
    if taken:
        there = table.occupants(netlink, {encode.place(one.route.dst) for one in taken})
        again = _Batch(netlink, there)
        for one in taken:
            again.add(PutRoute(one.owner, one.route, new=False))
        again.send()
        batch.refused += again.refused
    return batch.refused


class _Batch:
    """Entries on their way, and what was refused."""

    def __init__(self, netlink: Netlink, there: Occupants) -> None:
        self._netlink = netlink
        self._there = there
        self._ready: list[tuple[Entry, bytes]] = []
        self._index = cache(lambda name: _index(netlink, name))
        self.refused: list[KernelRefused] = []

    def add(self, one: Entry) -> None:
        """Pack it; what leads over a link that is not there is refused, and gone if it should go."""
        try:
            self._ready.append((one, self._message(one)))
        except KernelRefused as problem:
            if not isinstance(one, DropNeighbour | DropFdb):
                self.refused.append(problem)

    def send(self) -> list[PutRoute]:
        """Returns the additions whose place is taken."""
        outcome = self._netlink.send([raw for _, raw in self._ready])
        taken = []
        for (one, _), refusal in zip(self._ready, outcome, strict=True):
            if refusal is None or (isinstance(one, DropRoute | DropNeighbour | DropFdb) and refusal.errno in _GONE):
                continue
            if isinstance(one, PutRoute) and one.new and refusal.errno == errno.EEXIST:
                taken.append(one)
            else:
                self.refused.append(_why(one, refusal))
        return taken

    def _message(self, one: Entry) -> bytes:
        match one:
            case PutRoute(owner, route, new):
                there = self._there.get(encode.place(route.dst), ())
                stranger = next((other for other in there if encode.read_place(other)[1] not in tuple(Owner)), None)
                if stranger is not None:
                    raise refusals.taken(route, encode.read_place(stranger)[1])
                return encode.put_route(owner, route, self._index, new or not there)
            case DropRoute(owner, route):
                return encode.drop_route(owner, route.dst)
            case PutNeighbour(key, mac):
                return encode.neighbour(rtnl.RTM_NEWNEIGH, key, mac, self._index(key.dev))
            case DropNeighbour(key):
                return encode.neighbour(rtnl.RTM_DELNEIGH, key, "", self._index(key.dev))
            case PutFdb(key, to):
                return vxlan.fdb_message(rtnl.RTM_NEWNEIGH, key, to, self._index(key.dev))
            case DropFdb(key):
                return vxlan.fdb_message(rtnl.RTM_DELNEIGH, key, None, self._index(key.dev))


def _index(netlink: Netlink, name: str) -> int:
    found = table.link(netlink, name=name)
    if found is None:
        raise refusals.no_link(name)
    return found.index


def _why(one: Entry, refusal: Refusal) -> KernelRefused:
    match one:
        case PutRoute(_, route):
            return refusals.no_route(route, refusal.told)
        case DropRoute(_, route):
            return KernelRefused(f"route {route}: the kernel does not remove it: {refusal.told}")
        case PutNeighbour(key) | DropNeighbour(key):
            return KernelRefused(f"neighbour {key.address} on {key.dev}: the kernel refused it: {refusal.told}")
        case PutFdb(fdb_key) | DropFdb(fdb_key):
            return KernelRefused(f"forwarding of {fdb_key.mac} on {fdb_key.dev}: the kernel refused it: {refusal.told}")
