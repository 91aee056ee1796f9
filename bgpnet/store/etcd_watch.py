"""One watch of an etcd cluster: a stream of its own, moved to another endpoint where it stopped when it breaks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic

from bgpnet.errors import Compacted
from bgpnet.store import etcd_faults as faults
from bgpnet.store import keys
from bgpnet.store.api import Deleted, Entry, Event, Revision
from bgpnet.store.etcd3_door import News, Row, Stream
from bgpnet.store.etcd_cluster import Cluster
from bgpnet.store.etcd_faults import RpcFailed

IDLE = 0.5
"""Seconds after which a watch without news yields None."""
_CAUGHT_UP = 0.2  # seconds after news that count as idle, too; etcd looks at watches that are behind every 0.1 s
LOST = 4.0
"""Seconds without a stream after which a watch is given up (StoreUnreachable): the caller lists, which takes longer."""
_CREATION = 3.0  # seconds that an endpoint is given to confirm a watch
_AHEAD = 16  # messages read before the caller wants them; then etcd waits, not our memory
_DENIALS = 2  # an expired token on a watch looks like a missing permission (etcd answers PermissionDenied to both)


class Watch:
    """Where a watch of a prefix has got to. For one thread."""

    def __init__(self, cluster: Cluster, prefix: str, after: Revision) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._end = keys.prefix_end(prefix)
        self._after = after
        self._seen = _number(after)
        self._lost_at = monotonic()
        self._pause = 0.02
        self._denials = 0

    def events(self, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """What happens after that revision, as Store.watch says; raises StoreUnreachable after LOST seconds in vain."""
        if self._seen == keys.FOREIGN:
            raise self._compacted()
        while not stop():
            index = self._cluster.current()
            try:
                yield from self._stream(index, stop)
            except RpcFailed as failed:
                self._failed(index, failed)
                yield None
                self._cluster.closed.wait(self._pause)
                self._pause = min(self._pause * 2, IDLE)

    def _stream(self, index: int, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """The news of one stream until it breaks (RpcFailed)."""
        # From the last revision seen, not the one after it: a deletion right at the compacted revision is forgotten, so
        # that a watch from there would miss it without being told.
        start, base = max(self._seen, 1), self._seen
        link, token = self._cluster.link(index), self._cluster.token(index)
        pump = _Pump(link.watch(token, self._prefix, self._end, start))
        created, opened, patience = False, monotonic(), IDLE
        try:
            while not stop():
                news = pump.next(patience)
                patience = _CAUGHT_UP if news else IDLE
                if news:
                    created = True
                    yield from self._told(news, base)
                elif created:
                    yield None
                elif monotonic() - opened > _CREATION:
                    raise RpcFailed("DEADLINE_EXCEEDED", "Deadline Exceeded: the watch was not confirmed")
                self._note_life(created)
        finally:
            pump.close()

    def _told(self, news: News, base: int) -> Iterator[Event]:
        if news.compacted:
            raise self._compacted()
        if news.canceled:
            denied = "ermission" in news.reason
            raise RpcFailed("PERMISSION_DENIED" if denied else "UNAVAILABLE", news.reason or "the watch was cancelled")
        if keys.number(f"{news.cluster:x}", self._after) == keys.FOREIGN:
            raise self._compacted()
        if news.created:
            self._check_past(news)
        else:
            self._seen = max(self._seen, news.changes[-1].revision if news.changes else news.revision)
        return (event(news.cluster, row) for row in news.changes if row.revision > base)

    def _check_past(self, news: News) -> None:
        """The revision must have been: a datastore that was wiped counts anew, and etcd would wait for it to come."""
        if news.revision >= self._seen:
            return
        now = self._cluster.ask(
            lambda link, terms: link.range(terms, self._prefix)
        ).value  # the member may only be late
        if now.revision < self._seen:
            raise self._compacted()

    def _note_life(self, created: bool) -> None:
        if created:
            self._lost_at, self._pause, self._denials = monotonic(), 0.02, 0

    def _failed(self, index: int, fault: RpcFailed) -> None:
        """Get ready for the next stream, or raise."""
        denied = fault.code == "PERMISSION_DENIED"
        self._denials += denied
        if self._cluster.options.user and (denied or faults.wants_token(fault)):
            self._cluster.forget_token(index)
            if self._denials > _DENIALS:
                self._cluster.refuse(fault)
        elif faults.passes(fault):
            self._cluster.leave(index)
        else:
            self._cluster.refuse(fault)
        if self._cluster.closed.is_set() or monotonic() - self._lost_at > LOST:
            self._cluster.give_up(fault)

    def _compacted(self) -> Compacted:
        return Compacted(f"{self._prefix}: the history after revision {self._after} is gone; list again")


class _Pump:
    """A thread that reads a stream, so that its owner can wait for the next message for a limited time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._queue: queue.Queue[News | RpcFailed] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="etcd watch", daemon=True).start()

    def next(self, timeout: float) -> News | None:
        """The next message, or None; raises RpcFailed when the stream broke."""
        try:
            item = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, RpcFailed):
            raise item
        return item

    def close(self) -> None:
        """End the stream, and the thread with it."""
        self._closed.set()
        self._stream.cancel()

    def _run(self) -> None:
        try:
            for news in self._stream:
                self._offer(news)
        except RpcFailed as failed:
            self._offer(failed)
        else:
            self._offer(RpcFailed("UNAVAILABLE", "the watch ended"))

    def _offer(self, item: News | RpcFailed) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=IDLE)
                return


def event(cluster: int, row: Row) -> Event:
    """What callers see of a row."""
    revision = keys.revision(f"{cluster:x}", row.revision)
    return Deleted(row.key, revision) if row.value is None else Entry(row.key, row.value, revision)


def _number(revision: Revision) -> int:
    """The number in a revision of whichever datastore; FOREIGN when it is none of an etcd's."""
    return keys.number(revision.partition(".")[0], revision)
