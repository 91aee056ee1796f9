"""The implementations that pass the store's contract, and what its tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import kubernetes_store
import msgspec
from etcd_servers import current_etcd, debian_etcd, empty_store

from bgpnet.store.api import Entry, Event, Revision, Store
from bgpnet.store.memory import MemoryStore
from bgpnet.store.sqlite import SqliteStore

BYTE_STORES: dict[str, Callable[[Path, int], Store]] = {
    "memory": lambda directory, history: MemoryStore(history),
    "etcd-3.4": lambda directory, history: empty_store(debian_etcd(), history),
    "etcd-current": lambda directory, history: empty_store(current_etcd(), history),
    "sqlite": lambda directory, history: SqliteStore(str(directory / "store.db"), history),
}
"""Each makes a new, empty store of any bytes that keeps so many revisions of history; it may use the directory."""
STORES: dict[str, Callable[[Path, int], Store]] = {
    **BYTE_STORES,
    "kubernetes": lambda directory, history: kubernetes_store.empty_store(),
}
"""All: of this one, keys and values are those of resources, and its history is the API server's."""


def value(key: str, mark: object) -> bytes:
    """A resource's value for that key, told from others by its mark, as a repository writes it."""
    kind, name = key.split("/")[-2:]
    spec = {"ippools": {"cidr": "10.0.0.0/16"}, "bgppeers": {"peerIP": "192.0.2.1"}}.get(kind, {})
    called = {"ippools": "IPPool", "bgppeers": "BGPPeer", "nodes": "Node"}[kind]
    metadata = {"name": name, "labels": {"mark": str(mark)}, "uid": "a-uid"}
    tree = {"apiVersion": "bgpnet.io/v1", "kind": called, "metadata": metadata, "spec": spec}
    return msgspec.json.encode(tree)


def mark(entry: Entry | None) -> str:
    """The mark of a value."""
    assert entry is not None
    found: str = msgspec.json.decode(entry.value)["metadata"]["labels"]["mark"]
    return found


def marks(events: list[Event]) -> list[tuple[str, str | None, Revision]]:
    """Key, mark (None: deleted) and revision of each."""
    return [(event.key, mark(event) if isinstance(event, Entry) else None, event.revision) for event in events]


def first(store: Store, prefix: str, after: Revision, within: float = 60.0) -> Event:
    """The first thing that a watch says; a busy machine may have it idle before."""
    deadline = time.monotonic() + within
    for event in store.watch(prefix, after, lambda: time.monotonic() > deadline):
        if event is not None:
            return event
    raise AssertionError(f"nothing was told within {within} s")


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
