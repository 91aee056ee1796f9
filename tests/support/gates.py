"""The edges of a simulated machine: its way to the datastore, its journal's disk, its kernel. Each call is a step.

A way to the datastore can be cut, can break once (a restart), and can lose the answer to a write that was carried out.
A journal can be torn by a kill in the middle of a write.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks import Killed, checkpoint

from bgpnet.agent.journal import Journal, Line, encode
from bgpnet.errors import Compacted, JournalFailed, KernelRefused, StoreUnreachable
from bgpnet.kernel.api import Begin, Change, nothing
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import KernelState, Uplink, Wiring
from bgpnet.names import Alias
from bgpnet.store.api import Entry, Event, Listing, Revision
from bgpnet.store.memory import MemoryStore


def never() -> bool:
    """For watches that a test reads to their present end."""
    return False


@dataclass(slots=True)
class Way:
    """How a machine reaches the datastore. lose: so many of the next writes are carried out and not answered.

    breaks: how often the connection was cut so far; who watched over an older one is told.
    """

    cut: bool = False
    lose: int = 0
    breaks: int = 0
    lost: int = 0

    def check(self, what: str) -> None:
        """Raises StoreUnreachable while it is cut."""
        if self.cut:
            raise StoreUnreachable(f"{what}: the datastore does not answer")

    def answer(self, what: str) -> None:
        """Raises StoreUnreachable where the answer is to get lost."""
        if self.lose:
            self.lose -= 1
            self.lost += 1
            raise StoreUnreachable(f"{what}: the datastore's answer was lost")


class CountedStore(MemoryStore):
    """Says cheaply whether anything was written since one looked."""

    changes = 0

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """See store.api.Store."""
        revision = super().put(key, value, expected)
        self.changes += 1
        return revision

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """See store.api.Store."""
        revision = super().delete(key, expected)
        self.changes += 1
        return revision


class Seen:
    """How far a watch has come."""

    def __init__(self, store: CountedStore, prefix: str, after: Revision) -> None:
        self._store, self._prefix, self._after = store, prefix, after
        self._changes = -1

    def next(self) -> Event | None:
        """The next change, or None; raises Compacted."""
        changes, present = self._store.changes, self._store.list("/nothing/").revision
        event = next(self._store.watch(self._prefix, self._after, never), None)
        if event is None:
            self._changes, self._after = changes, present
        else:
            self._after = event.revision
        return event

    def is_behind(self) -> bool:
        """Whether there is something to be told, be it that history is gone."""
        if self._changes == self._store.changes:
            return False
        before = self._after
        try:
            behind = self.next() is not None
        except Compacted:
            return True
        if behind:
            self._after = before
        return behind


@dataclass(slots=True)
class GatedStore:
    """A datastore at the end of a way; implements store.api.Store."""

    store: CountedStore
    way: Way
    writes: int = 0

    def get(self, key: str) -> Entry | None:
        """See store.api.Store."""
        checkpoint(f"get {key}")
        self.way.check(key)
        return self.store.get(key)

    def list(self, prefix: str) -> Listing:
        """See store.api.Store."""
        checkpoint(f"list {prefix}")
        self.way.check(prefix)
        return self.store.list(prefix)

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """See store.api.Store."""
        checkpoint(f"put {key}")
        self.way.check(key)
        self.writes += 1
        revision = self.store.put(key, value, expected)
        self.way.answer(key)
        return revision

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """See store.api.Store."""
        checkpoint(f"delete {key}")
        self.way.check(key)
        self.writes += 1
        revision = self.store.delete(key, expected)
        self.way.answer(key)
        return revision

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Every change, one a turn; whoever has seen all is not ready until there is more, or the way breaks."""
        breaks, seen = self.way.breaks, Seen(self.store, prefix, after)
        while not stop():
            checkpoint(f"watch {prefix}", lambda: self.way.breaks != breaks or (not self.way.cut and seen.is_behind()))
            if self.way.breaks != breaks or self.way.cut:
                raise StoreUnreachable(f"{prefix}: the datastore went away")
            if (event := seen.next()) is not None:
                yield event

    def compact(self) -> None:
        """See store.api.Store."""
        self.store.compact()

    def close(self) -> None:
        """See store.api.Store."""


class TornJournal(Journal):
    """The real journal; a kill in the middle of an append leaves `torn` bytes of it, which nobody was told of.

    So does a disk that is full. full: whether it is. still: whether it stands still; what is brought meanwhile is held
    until it moves, and of that a kill leaves `torn` bytes.
    """

    def __init__(
        self, path: Path, boot: str, torn: Callable[[int], int], full: Callable[[], bool], still: Callable[[], bool]
    ) -> None:
        super().__init__(path, boot)
        self._file_path = path
        self._how_much = torn
        self._is_full = full
        self._is_still = still
        self._held: list[Line] = []

    def pay(self) -> None:
        """See agent.journal.Journal."""
        with suppress(JournalFailed):
            self._wait_for_disk()
            super().pay()

    def begin(self, lines: Callable[[], Iterable[Line]]) -> Callable[[], None]:
        """See agent.journal.Journal."""
        made = self._turn(lines())
        if not self._holds_up():
            return super().begin(lambda: made)
        if self._standing:
            raise JournalFailed(self._stands_still())
        self._held += made
        return self._wait_for_disk

    def owe(self, lines: Iterable[Line]) -> None:
        """See agent.journal.Journal."""
        made = self._turn(lines)
        if not self._holds_up():
            super().owe(made)
            return
        self._held += made
        with suppress(JournalFailed):
            self._wait_for_disk()

    def note(self, lines: Iterable[Line]) -> None:
        """Waited for, too, if the disk moves, so that one simulation is like the next."""
        made = self._turn(lines)
        if self._holds_up():
            self._held += made
        else:
            super().owe(made)

    def close(self) -> None:
        """See agent.journal.Journal."""
        if not self._torn:
            self._leave(self._held)
        super().close()

    def _holds_up(self) -> bool:
        """Whether the disk stands still; if it moves again, it has what was brought meanwhile."""
        if not self._is_still() and self._held:
            held, self._held = self._held, []
            super().owe(held)
        return self._is_still()

    def _wait_for_disk(self) -> None:
        """As the real one does: for a while."""
        if self._holds_up() and not self._standing:
            checkpoint("a disk that stands still")
        if self._holds_up():
            with self._telling:
                self._standing = True
                self._tell(self._stands_still())
            raise JournalFailed(self._stands_still())
        self._standing = False

    def _fill(self, fd: int, data: bytes) -> None:
        if self._is_full():
            super()._fill(fd, data[: self._how_much(len(data))])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._fill(fd, data)

    def _turn(self, lines: Iterable[Line]) -> list[Line]:
        lines = list(lines)
        try:
            checkpoint(f"journal {', '.join(type(line).__name__ for line in lines)}")
        except Killed:
            if not self._is_still():
                self._leave(lines)
            raise
        return lines

    def _leave(self, lines: Iterable[Line]) -> None:
        """What a kill leaves of them."""
        data = b"".join(map(encode, lines))
        if data:
            with self._file_path.open("ab") as file:
                file.write(data[: self._how_much(len(data))])


@dataclass(slots=True)
class GatedKernel:
    """A kernel whose every call is a step; implements what of kernel.api.Kernel the agent's hands use."""

    kernel: FakeKernel

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        """See kernel.api.Kernel."""
        checkpoint("read the kernel")
        return self.kernel.read(sysctls)

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        """See kernel.api.Kernel; each change is a step of its own."""
        refused: list[KernelRefused] = []
        for one in changes:
            checkpoint(f"change the kernel: {type(one).__name__}")
            refused += self.kernel.change([one])
        return refused

    def uplinks(self) -> list[Uplink]:
        """See kernel.api.Kernel."""
        return self.kernel.uplinks()

    def addressed(self) -> list[Uplink]:
        """See kernel.api.Kernel."""
        return self.kernel.addressed()

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """See kernel.api.Kernel."""
        checkpoint(f"wire {wiring.link} {wiring.address}")
        begin()()
        checkpoint(f"make {wiring.link} whole")  # half-made until then, and reaped by the next agent: as if never made
        self.kernel.wire(wiring)

    def differences(self, wiring: Wiring) -> list[str]:
        """See kernel.api.Kernel."""
        return self.kernel.differences(wiring)

    def unwire(self, link: str, alias: Alias | None) -> bool:
        """See kernel.api.Kernel."""
        checkpoint(f"unwire {link}")
        return self.kernel.unwire(link, alias)

    def reap(self, *, abandoned: bool = False) -> int:
        """See kernel.api.Kernel."""
        checkpoint("reap")
        return self.kernel.reap(abandoned=abandoned)

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        """The simulation tells of changes by itself."""

    def close(self) -> None:
        """See kernel.api.Kernel."""
