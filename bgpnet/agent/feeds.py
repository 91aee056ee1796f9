"""Feeds: each blocks, decodes, and puts an event on the queue. None of them decides anything."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, time

from bgpnet.agent import facts
from bgpnet.agent.events import Changed, Event, Gone, LinksLooked, Listed, StoreAway, Tick
from bgpnet.agent.world import Me
from bgpnet.errors import Compacted, KernelRefused, StoreError
from bgpnet.kernel.api import Kernel
from bgpnet.model.ip import Network
from bgpnet.model.kinds import Kind
from bgpnet.store.repo import Gone as Deleted
from bgpnet.store.repo import Repo, prefix

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]
Stop = threading.Event

RETRY = 1.0
"""Seconds until a datastore that did not answer is asked again."""


LOOK = 5.0
"""Seconds between two looks at the host's links."""


def clock(emit: Emit, stop: Stop) -> None:
    """A Tick a second."""
    while not stop.wait(1.0):
        emit(Tick(time(), monotonic()))


def links(kernel: Kernel, me: Me, subnets: Mapping[Network, str], emit: Emit, stop: Stop, every: float = LOOK) -> None:
    """The networks on the host's links, the uplink's MTU and whether the node's address is there, when they change.

    An uplink that is gone for a while keeps the MTU that it had.
    """
    known = LinksLooked(subnets, me.uplink_mtu)
    while not stop.wait(every):
        with suppress(KernelRefused):
            there = kernel.addressed()
            before, mtu = known, next((link.mtu for link in there if link.name == me.uplink), known.mtu)
            homeless = not any(one.ip == me.address.ip for link in there for one in link.addresses)
            known = LinksLooked(facts.subnets(there), mtu, homeless)
            if known != before:
                emit(known)
            if mtu != before.mtu:  # said when it is so
                log.info(
                    "%s has MTU %d now, and had %d: new pods follow, others keep theirs", me.uplink, mtu, before.mtu
                )


def datastore(repo: Repo, kind: Kind, emit: Emit, stop: Stop) -> None:
    """List, then follow; on any trouble list again, so that the World never misses an absence."""
    while not stop.is_set():
        try:
            resources, revision = repo.list(kind)
            emit(Listed(kind, tuple(resources), _broken(repo, kind)))
            for item in repo.watch(kind, revision, stop.is_set):
                if isinstance(item, Deleted):
                    emit(Gone(kind, item.name))
                elif item is not None:
                    emit(Changed(kind, item))
        except Compacted:
            continue
        except StoreError as problem:
            emit(StoreAway(str(problem)))
            stop.wait(RETRY)


def _broken(repo: Repo, kind: Kind) -> tuple[str, ...]:
    """The names of stored objects of the kind that cannot be read: they exist all the same."""
    return tuple(
        invalid.subject.removeprefix(prefix(kind))
        for invalid in repo.broken
        if invalid.subject.startswith(prefix(kind))
    )
