"""The implementations that pass the store's contract, and what its tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from etcd_servers import current_etcd, debian_etcd, empty_store

from bgpnet.store.api import Event, Revision, Store
from bgpnet.store.memory import MemoryStore
from bgpnet.store.sqlite import SqliteStore

STORES: dict[str, Callable[[Path, int], Store]] = {
    "memory": lambda directory, history: MemoryStore(history),
    "etcd-3.4": lambda directory, history: empty_store(debian_etcd(), history),
    "etcd-current": lambda directory, history: empty_store(current_etcd(), history),
    "sqlite": lambda directory, history: SqliteStore(str(directory / "store.db"), history),
}
"""Each makes a new, empty store that keeps so many revisions of history; it may use the directory."""


def follow(store: Store, prefix: str, after: Revision, until: Revision, within: float = 60.0) -> list[Event]:
    """What a watch says up to and with that revision, and whatever else comes before it is idle."""
    deadline = time.monotonic() + within
    events: list[Event] = []
    for event in store.watch(prefix, after, lambda: time.monotonic() > deadline):
        if event is not None:
            events.append(event)
        elif any(known.revision == until for known in events):
            return events
    raise AssertionError(f"no event of revision {until} within {within} s, but {events[-5:]}")
