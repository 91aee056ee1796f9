"""Writes whose answer was lost: done once, and known to be done, or said to be in doubt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from etcd_servers import ETCDS, empty_store, shared_cluster
from proxy import Proxy

from bgpnet.errors import AlreadyExists, Conflict, NotFound, StoreUnreachable
from bgpnet.store.api import ABSENT, Revision
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_options import Options

KEY = "/t/blue"


class Doubt:
    """A store behind a proxy, and one that is not."""

    def __init__(self, program: str) -> None:
        self.straight = empty_store(program, 50_000)
        self._proxy = Proxy(shared_cluster(program).endpoints[0])
        self.store = EtcdStore(Options((self._proxy.endpoint,)))

    def lost(self, write: Callable[[], Revision], then: Callable[[], object] = lambda: None) -> Revision:
        """Make the write and lose its first answer; `then` happens before it is tried again."""
        before = self._look()
        self._proxy.swallow()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            deadline = time.monotonic() + 30
            try:
                while self._look() == before:
                    assert time.monotonic() < deadline, "the write never arrived"
                then()
            finally:
                self._proxy.cut()
            return writing.result(60)

    def _look(self) -> Revision | None:
        entry = self.straight.get(KEY)
        return entry.revision if entry else None

    def revision(self) -> Revision:
        entry = self.straight.get(KEY)
        assert entry
        return entry.revision

    def close(self) -> None:
        self.store.close()
        self._proxy.close()
        self.straight.close()


@pytest.fixture(params=ETCDS)
def doubt(request: pytest.FixtureRequest) -> Iterator[Doubt]:
    made = Doubt(ETCDS[request.param]())
    made.store.get(KEY)  # it is connected
    yield made
    made.close()


def test_a_create_is_not_told_that_it_exists_by_itself(doubt: Doubt) -> None:
    revision = doubt.lost(lambda: doubt.store.put(KEY, b"mine", ABSENT))
    assert revision == doubt.revision()
    with pytest.raises(AlreadyExists):
        doubt.store.put(KEY, b"mine", ABSENT)


def test_a_replacement_is_no_conflict_with_itself(doubt: Doubt) -> None:
    first = doubt.straight.put(KEY, b"first", ABSENT)
    revision = doubt.lost(lambda: doubt.store.put(KEY, b"second", first))
    assert revision == doubt.revision()
    with pytest.raises(Conflict):
        doubt.store.put(KEY, b"second", first)


def test_a_deletion_has_found_what_it_deleted(doubt: Doubt) -> None:
    first = doubt.straight.put(KEY, b"first", ABSENT)
    doubt.lost(lambda: doubt.store.delete(KEY, first))
    with pytest.raises(NotFound):
        doubt.store.delete(KEY, first)


def test_a_deletion_tells_no_revision_but_its_own(doubt: Doubt) -> None:
    """The history alone knows it once others have written; compacted, nobody does."""
    first = doubt.straight.put(KEY, b"first", ABSENT)
    later: list[Revision] = []
    told = doubt.lost(
        lambda: doubt.store.delete(KEY, first), then=lambda: later.append(doubt.straight.put("/t/other", b"", ABSENT))
    )
    assert told not in (ABSENT, first, *later)

    def others_write_and_compact() -> None:
        later.append(doubt.straight.put("/t/another", b"", ABSENT))
        doubt.straight.compact()

    second = doubt.straight.put(KEY, b"second", ABSENT)
    assert doubt.lost(lambda: doubt.store.delete(KEY, second), then=others_write_and_compact) == ABSENT
    assert doubt.straight.get(KEY) is None


def test_a_replacement_that_others_replaced_was_done(doubt: Doubt) -> None:
    """The key's history tells."""
    first = doubt.straight.put(KEY, b"first", ABSENT)
    revision = doubt.lost(
        lambda: doubt.store.put(KEY, b"second", first), then=lambda: doubt.straight.put(KEY, b"third", None)
    )
    assert revision not in (first, doubt.revision())
    assert doubt.straight.get(KEY).value == b"third"  # type: ignore[union-attr]  # it is there


def test_a_create_that_others_wrote_over_is_said_to_be_in_doubt(doubt: Doubt) -> None:
    with pytest.raises(StoreUnreachable, match="lost the answer to a write, and others wrote since; read it again"):
        doubt.lost(lambda: doubt.store.put(KEY, b"mine", ABSENT), then=lambda: doubt.straight.put(KEY, b"theirs", None))
    assert doubt.straight.get(KEY).value == b"theirs"  # type: ignore[union-attr]  # it is there
