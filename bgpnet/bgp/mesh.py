"""The full mesh: every node speaks with every other. Pure.

Of each pair the node with the numerically lower address is passive: with both active, their connections collide again
and again (measured: eight nodes need 4 to 6 seconds instead of 0.7). Calico compares the addresses as strings.
"""

from __future__ import annotations

from collections.abc import Iterable

from bgpnet.bgp.conf import RESTART_TIME, Neighbour
from bgpnet.bgp.member import Member


def mesh(
    me: Member, others: Iterable[Member], password: str | None = None, restart_time: int = RESTART_TIME
) -> tuple[Neighbour, ...]:
    """A session with each other node, by address. A route reflector takes no part (as in Calico)."""
    if me.cluster:
        return ()
    return tuple(
        Neighbour(
            address=other.address,
            local_address=me.address,
            local_as=me.as_number,
            peer_as=other.as_number,
            port=other.port,
            passive=int(me.address) < int(other.address),
            password=password,
            restart_time=restart_time,
            name=other.name,
        )
        for other in sorted(others, key=lambda one: int(one.address))
        if other.address != me.address and other.name != me.name and not other.cluster
    )
