"""The datastore's interface: bytes under keys, with revisions. The least of SQLite, etcd and Kubernetes.

Revisions are opaque and compared per object only: equal or not. No order across kinds, no multi-object transaction.
A key is a path such as `/bgpnet/v1/ippools/blue`; a prefix ends in `/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NewType, Protocol

Revision = NewType("Revision", str)
ABSENT = Revision("")
"""As an expected revision: the key must not exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored value, at the revision of its last write."""

    key: str
    value: bytes
    revision: Revision


@dataclass(frozen=True, slots=True)
class Deleted:
    """A key is gone; `revision` is that of the deletion."""

    key: str
    revision: Revision


Event = Entry | Deleted


@dataclass(frozen=True, slots=True)
class Listing:
    """All entries under a prefix, in key order, as they were at `revision`."""

    entries: tuple[Entry, ...]
    revision: Revision


class Store(Protocol):
    """One datastore. Every call has a deadline; any of them raises StoreUnreachable when it passes."""

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""

    def list(self, prefix: str) -> Listing:
        """Everything under the prefix, and the revision to watch from."""

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """Write; returns the new revision, which may be the former one where nothing changed (Kubernetes).

        expected ABSENT: create, raises AlreadyExists. A revision: raises Conflict when the stored one is another,
        NotFound when there is none. None: unconditionally.
        """

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """Delete; returns the deletion's revision, or ABSENT where the datastore does not tell it.

        Kubernetes never does; etcd does not where it lost the answer and then compacted the history.
        Raises NotFound, or Conflict when the stored revision is another.
        """

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Every change under the prefix after that revision, once and in order of each key.

        Yields None when nothing happened for a while, so that the caller can look about; ends when stop() is true
        (noticed within a second). Raises Compacted when the history is gone: list again and compare.
        """

    def compact(self) -> None:
        """Forget history, where that is ours to do: watches that are behind will be told Compacted."""

    def close(self) -> None:
        """Let go of files and connections."""
