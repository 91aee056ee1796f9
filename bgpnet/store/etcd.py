"""The datastore of clusters: etcd v3, several endpoints, any of which may fail.

A revision is `<cluster id>.<etcd's revision>`. Every write is a transaction of one comparison and one operation on one
key (etcd allows 128), so that it can be repeated. When the answer to the first was lost and the repetition fails, the
key's history tells whether the first was carried out. What remains in doubt (a create that others wrote over, a history
that is compacted) is said to be so. Values must therefore tell their writers apart, as those of the
repository do by uid and owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound, StoreError, StoreUnreachable
from bgpnet.store import keys
from bgpnet.store.api import ABSENT, Entry, Event, Listing, Revision
from bgpnet.store.etcd3_door import Row, Rows, Swapped
from bgpnet.store.etcd_cluster import DEADLINE, Cluster
from bgpnet.store.etcd_options import Options
from bgpnet.store.etcd_watch import Watch

HISTORY = 50_000
"""Revisions kept for watches: minutes at hundreds of writes a second; bounds etcd's database at about 1 GB."""
_TRIM = 1_000  # revisions between compactions
_PAGE = 500  # entries that a list reads at once
_UNTOLD = 0  # the revision of a deletion whose answer was lost and whose history is compacted


class EtcdStore:
    """A `Store` in an etcd cluster; use it from any thread. The first call connects."""

    def __init__(self, options: Options, history: int = HISTORY) -> None:
        self._cluster = Cluster(options)
        self._history = history
        self._identity = ""  # of the cluster that answered last
        self._newest = 0  # the newest revision that it told us

    def __repr__(self) -> str:
        return f"EtcdStore({self._cluster.options})"

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        row = self._read(key)
        return self._entry(row) if row else None

    def list(self, prefix: str) -> Listing:
        """Everything under the prefix, and the revision to watch from."""
        end = keys.prefix_end(prefix)
        deadline = monotonic() + 4 * DEADLINE
        while True:
            try:
                return self._list(prefix, end)
            except Compacted as compacted:  # compacted between two pages: begin again
                if monotonic() > deadline:
                    raise StoreUnreachable(
                        f"{self._cluster.options}: compacts faster than {prefix} is listed; compact it less often"
                    ) from compacted

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """Write, as `Store.put` says; StoreUnreachable also when others wrote after a write in doubt."""
        if expected is None:
            return self._force(key, bytes(value), 0)
        number = 0 if expected == ABSENT else self._number(key, expected)
        swapped = self._swap(key, bytes(value), number)
        if not swapped.done and expected == ABSENT:
            raise AlreadyExists(f"{key}: exists already; read it and write with its revision")
        return self._settled(key, swapped, expected)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """Delete, as `Store.delete` says; StoreUnreachable also when others wrote after a deletion in doubt."""
        if expected is None:
            row = self._read(key)
            if row is None:
                raise _not_found(key)
            return self._force(key, None, row.revision)
        return self._settled(key, self._swap(key, None, self._number(key, expected)), expected)

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Follow the changes, as `Store.watch` says."""
        return Watch(self._cluster, prefix, after).events(stop)

    def compact(self) -> None:
        """Forget history; for every program that uses the cluster."""
        now = self._cluster.ask(lambda link, terms: link.range(terms, "/")).value.revision
        with suppress(Compacted):  # somebody else did
            self._cluster.ask(lambda link, terms: link.compact(terms, now))

    def close(self) -> None:
        """Let go of the connections; calls and watches in progress end with StoreUnreachable."""
        self._cluster.close()

    def _read(self, key: str) -> Row | None:
        rows = self._range(key, "", 0).rows
        return rows[0] if rows else None

    def _range(self, start: str, end: str, revision: int) -> Rows:
        answer = self._cluster.ask(lambda link, terms: link.range(terms, start, end, _PAGE, revision)).value
        self._note(answer.cluster, answer.revision)
        return answer

    def _list(self, prefix: str, end: str) -> Listing:
        """Page after page, all as of the first one's revision."""
        entries: list[Entry] = []
        start, revision, more = prefix, 0, True
        while more:
            answer = self._range(start, end, revision)
            revision = revision or answer.revision
            entries += [self._entry(row) for row in answer.rows]
            start, more = f"{entries[-1].key}\0" if entries else "", answer.more
        return Listing(tuple(entries), self._revision(revision))

    def _swap(self, key: str, value: bytes | None, number: int) -> Swapped:
        """Compare and swap; a write in doubt is settled by what is found there."""
        before = self._newest
        answer = self._cluster.ask(lambda link, terms: link.swap(terms, key, value, number))
        swapped = answer.value
        self._note(swapped.cluster, swapped.revision)
        if answer.doubt and not swapped.done:
            swapped = self._settle(key, value, number, swapped, before)
        if swapped.done:
            self._trim(swapped.revision)
        return swapped

    def _settle(self, key: str, value: bytes | None, number: int, swapped: Swapped, before: int) -> Swapped:
        """What became of a write in doubt: what stands in the key's history right after the expected revision."""
        found = swapped.found
        if found and found.revision <= before:  # it was there before the first attempt
            return swapped
        if number:
            change = self._cluster.ask(lambda link, terms: link.next_change(terms, key, number + 1)).value
            if change:
                return replace(swapped, done=True, revision=change.revision) if change.value == value else swapped
        if (found.value if found else None) == value:
            return replace(swapped, done=True, revision=found.revision if found else _UNTOLD)
        raise StoreUnreachable(
            f"{key}: {self._cluster.options} lost the answer to a write, and others wrote since; read it again"
        )

    def _note(self, cluster: int, revision: int) -> None:
        identity = f"{cluster:x}"
        self._newest = max(self._newest, revision) if identity == self._identity else revision
        self._identity = identity

    def _force(self, key: str, value: bytes | None, number: int) -> Revision:
        """Swap against whatever is there."""
        deadline = monotonic() + DEADLINE
        while not (swapped := self._swap(key, value, number)).done:
            if value is None and swapped.found is None:
                raise _not_found(key)
            if monotonic() > deadline:
                raise StoreUnreachable(f"{key}: is written by others all the time; write with its revision, or later")
            number = swapped.found.revision if swapped.found else 0
        return self._revision(swapped.revision)

    def _settled(self, key: str, swapped: Swapped, expected: Revision) -> Revision:
        if swapped.done:
            return self._revision(swapped.revision)
        raise self._mismatch(key, swapped.found, expected)

    def _number(self, key: str, expected: Revision) -> int:
        """etcd's own number of an expected revision; raises Conflict or NotFound for one of another datastore."""
        number = keys.number(self._identity, expected)
        if number <= 0:
            found = self._read(key)
            number = keys.number(self._identity, expected)
            if number <= 0 or found is None:
                raise self._mismatch(key, found, expected)
        return number

    def _mismatch(self, key: str, found: Row | None, expected: Revision) -> StoreError:
        if found is None:
            return _not_found(key)
        return Conflict(f"{key}: is at revision {self._revision(found.revision)}, not {expected}; read it again")

    def _trim(self, revision: int) -> None:
        """Now and then, whoever happens to write that revision forgets what is older than the history to keep."""
        if revision % min(_TRIM, self._history) == 0 and revision > self._history:
            with suppress(StoreError):  # the write is done; the next one to come by will do this
                self._cluster.ask(lambda link, terms: link.compact(terms, revision - self._history))

    def _entry(self, row: Row) -> Entry:
        return Entry(row.key, row.value or b"", self._revision(row.revision))

    def _revision(self, number: int) -> Revision:
        return ABSENT if number == _UNTOLD else keys.revision(self._identity, number)


def _not_found(key: str) -> NotFound:
    return NotFound(f"{key}: does not exist; create it, or list again")
