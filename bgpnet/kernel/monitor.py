"""What somebody else changed in the kernel: links, addresses, sysctls, and what went of our routes and of VXLAN's ends.

Our own changes come back, too, and are told by the port of the socket that made them. Kernels before 6.2 do not say
whose a link's change is: there, pod links are known by their group and alias while they come and go, and the agent
hears of what it did to tunl0 itself, which costs one look at the kernel.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Collection

from bgpnet.kernel import encode, rtnl, table
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import Owner
from bgpnet.names import POD_LINK_PREFIX, VXLAN, parse_alias

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x1, 0x10, 0x40, 0x400
RTMGRP_NEIGH, RTMGRP_IPV4_NETCONF = 0x4, 1 << 23
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_NEIGH | RTMGRP_IPV4_NETCONF
LOOK = 500
"""Milliseconds after which `stop` is looked at."""
GATHER = 0.02
"""Seconds that notifications are left to gather: most are of a pod being wired, whose thread is in a hurry."""
STRICT = 1
"""An rp_filter that drops what comes another way than its answer would go."""
STILL = 1.0
"""Seconds without a notification after which the next one wakes us; until then we look by ourselves."""


class Monitor:
    """Hears every change from its creation on."""

    def __init__(self, changed: Callable[[str], None], own: Callable[[], Collection[int]]) -> None:
        self._changed = changed
        self._own = own
        self._netlink = Netlink.open(GROUPS)
        self._netlink.ignore(rtnl.RTM_NEWNEIGH)  # the machine's ordinary neighbours change their states all the time
        self._ends_told = False
        self._links: dict[int, tuple[str, bool, str]] = {}
        self._look_around()

    def follow(self, stop: Callable[[], bool]) -> None:
        """Until stop(). Raises OSError when the socket fails."""
        poll = select.poll()
        poll.register(self._netlink.fileno(), select.POLLIN)
        still = 0.0
        try:
            while not stop():
                # Woken by each first notification, we would take the interpreter from the very thread that causes it.
                if still < STILL or poll.poll(LOOK):
                    time.sleep(GATHER)  # nothing could wake us earlier for good
                    still += GATHER
                    self._ends_told = False
                    while not stop() and poll.poll(0):
                        self._take()
                        still = 0.0
        finally:
            self._netlink.close()

    def _take(self) -> None:
        try:
            received = self._netlink.receive()
        except OSError as problem:
            if problem.errno != errno.ENOBUFS:
                raise
            self._look_around()
            self._changed("overrun: notifications of the kernel were lost in a burst")
            return
        own = self._own()
        for one in received:
            reason = self._reason(one)
            if reason and one.port not in own:
                self._changed(reason)

    def _look_around(self) -> None:
        """The links as they are, to tell a change from a repetition; with a socket that hears no notifications."""
        netlink = Netlink.open()
        try:
            self._links = {one.index: _state(one) for one in table.links(netlink, torn=True)}
        finally:
            netlink.close()

    def _reason(self, one: rtnl.Message) -> str:
        match one.kind:
            case rtnl.RTM_NEWLINK:
                return self._link(table.read_link(one))
            case rtnl.RTM_DELLINK:
                link = table.read_link(one)
                known = self._links.pop(link.index, None)
                return f"link {link.name} is gone" if known and not _is_passing(link) else ""
            case rtnl.RTM_NEWADDR | rtnl.RTM_DELADDR:
                address = encode.read_address(one)[1]
                return f"address {address} {'came' if one.kind == rtnl.RTM_NEWADDR else 'went'}"
            case rtnl.RTM_NEWROUTE | rtnl.RTM_DELROUTE:
                return _route(one)
            case rtnl.RTM_DELNEIGH:
                return self._end(one)
            case rtnl.RTM_NEWNETCONF:
                return self._sysctl(one)
            case _:
                return ""

    def _end(self, one: rtnl.Message) -> str:
        """Of a thousand that go with one link, once. Forwarding entries that we drop are told as a stranger's."""
        index = rtnl.NEIGH.unpack_from(one.body)[1]
        if self._ends_told or self._links.get(index, ("",))[0] != VXLAN:
            return ""
        self._ends_told = True
        return f"what leads to another node went from {VXLAN} (ip neigh, bridge fdb)"

    def _sysctl(self, one: rtnl.Message) -> str:
        """What we never write: forwarding off, and a strict filter on another link than a pod's."""
        told = {kind: rtnl.number(value) for kind, value in rtnl.attributes(one.body, rtnl.NETCONF).items()}
        index = told.get(rtnl.NETCONFA_IFINDEX, 0)
        if index == rtnl.NETCONFA_IFINDEX_ALL:
            return "net.ipv4.ip_forward is 0 now" if told.get(rtnl.NETCONFA_FORWARDING) == 0 else ""
        name = self._links.get(index, ("",))[0]
        if told.get(rtnl.NETCONFA_RP_FILTER) != STRICT or not name or name.startswith(POD_LINK_PREFIX):
            return ""
        return f"rp_filter of {name} is {STRICT} now"

    def _link(self, link: table.Link) -> str:
        """Only names, up and down matter: the kernel also tells of every carrier and counter."""
        before, now = self._links.get(link.index), _state(link)
        self._links[link.index] = now
        if before == now or _is_passing(link):
            return ""
        if before is None:
            return "" if link.is_pod and parse_alias(link.alias) else f"link {link.name} came"
        if before[0] != link.name:
            return f"link {before[0]} is now called {link.name}"
        if before[:2] == now[:2]:
            return f"link {link.name} has the MAC {link.mac} now"
        return f"link {link.name} is {'up' if link.up else 'down'}"


def _state(link: table.Link) -> tuple[str, bool, str]:
    """What matters of a link: a VXLAN device has lost its neighbours with its MAC."""
    return link.name, link.up, link.mac if link.name == VXLAN else ""


def _is_passing(link: table.Link) -> bool:
    """A pod's link that we are making or deleting."""
    return link.is_pod and link.group in (encode.REAPING, encode.MAKING)


def _route(one: rtnl.Message) -> str:
    """A route of ours that went; or a stranger's that was put in some other's place, perhaps ours."""
    if not encode.in_main_table(one):
        return ""
    place, protocol = encode.read_place(one)
    ours = protocol in tuple(Owner)
    if one.kind == rtnl.RTM_DELROUTE and ours:
        return f"route {encode.show(place)} went"
    if one.kind == rtnl.RTM_NEWROUTE and one.flags & rtnl.NLM_F_REPLACE and not ours:
        return f"route {encode.show(place)} was replaced by one of protocol {protocol}"
    return ""
