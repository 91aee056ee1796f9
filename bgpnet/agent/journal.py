"""The journal: what this node has given away, durable before anybody is told.

A file of lines, each `<crc32 of the rest, 8 hex digits> <JSON>`. The first line is the boot it belongs to; then blocks
as they were at some moment, pods that came and pods that went. A torn last line was never acknowledged and is cut off;
damage anywhere else makes the journal unknown as a whole, and the agent recovers from datastore and kernel instead.

Appends from several threads share one fdatasync (group commit). The file is rewritten when most of it is history.

Who comes must be in the file first: `append`, or `begin`, where a thread of the journal's does it meanwhile. Who goes
must not wait for a disk that is full or read-only: that is owed (`owe`), in memory, and comes into the file before
anything else does. Should the agent die in debt, a pod that went is found in the journal and nowhere else, which is a
leak: no address is given twice, and no live one lost.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bgpnet.agent.contents import BlockIs as BlockIs
from bgpnet.agent.contents import BlockWent as BlockWent
from bgpnet.agent.contents import Boot as Boot
from bgpnet.agent.contents import Contents as Contents
from bgpnet.agent.contents import Kept as Kept
from bgpnet.agent.contents import Line as Line
from bgpnet.agent.contents import PodCame as PodCame
from bgpnet.agent.contents import PodWent as PodWent
from bgpnet.agent.contents import belongs as belongs
from bgpnet.agent.contents import came as came
from bgpnet.agent.contents import decode as decode
from bgpnet.agent.contents import encode as encode
from bgpnet.agent.contents import restore as restore
from bgpnet.agent.world import Pod
from bgpnet.errors import JournalFailed
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.threads import start

HISTORY = 1000
"""Lines beyond four times what it had when it was written last before the file is rewritten.

Not four times what lives: who rests has lines, too, and where pods come and go every write would be a rewrite.
"""


REMEDIES = {
    errno.ENOSPC: "free space on the disk of the state directory",
    errno.EDQUOT: "free space on the disk of the state directory, or raise its quota",
    errno.EROFS: "make the disk of the state directory writable again",
}
"""What to do about a refusal of the disk."""


class _Begun:
    """Lines that are being made durable."""

    def __init__(self, lines: Callable[[], Iterable[Line]]) -> None:
        self.lines = lines
        self._problem: JournalFailed | None = None
        self._open = threading.Lock()
        self._open.acquire()

    def end(self, problem: JournalFailed | None) -> None:
        """They are durable, or cannot be."""
        self._problem = problem
        self._open.release()

    def wait(self) -> None:
        """Until then; raises JournalFailed."""
        with self._open:
            if self._problem is not None:
                raise self._problem


class Journal:
    """The file. Opened once by one agent; `append`, `begin`, `owe` and `pay` may be called from any thread."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._write = threading.Lock()
        self._sync = threading.Lock()
        self._written = 0
        self._synced = 0
        self._lines = self._first = 0  # in the file: now, and when it was written last
        self._fd = -1
        self._torn = False  # a write failed half-way or is owed: the next one begins with a fresh file
        self._telling = threading.RLock()  # who is told may write to the journal at once
        self._refusal = ""
        self._told: Callable[[str], None] = _nobody
        self._live = Contents(boot)
        self._begun: queue.SimpleQueue[_Begun] = queue.SimpleQueue()
        self._committing = False

    def load(self) -> Contents | None:
        """What the file says, if there is one and it is whole."""
        try:
            return decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise JournalFailed(
                f"journal {self._path} cannot be read: {problem.strerror}; see to the disk"
            ) from problem

    def listen(self, told: Callable[[str], None]) -> None:
        """Have it told when the disk refuses the journal (the sentence), and when it takes it again (nothing).

        Told from the thread that met it, and at once if the disk refuses now.
        """
        with self._telling:
            self._told = told
            if self._refusal:
                told(self._refusal)

    def start(self, blocks: Iterable[IPAMBlock], pods: Iterable[Pod], kept: Kept | None = None) -> None:
        """Begin anew with this content, replacing the file in one step; where the disk refuses, that is owed."""
        self._live = Contents(self._live.boot, kept=kept or Kept(()))
        for block in blocks:
            self._live.take(BlockIs(block))
        for pod in pods:
            self._live.take(came(pod))
        self._torn = True
        self.pay()

    def pay(self) -> None:
        """Write what is owed, if anything is and if the disk takes it by now."""
        with suppress(JournalFailed), self._guard(), self._sync, self._write:
            if self._torn:
                self._rewrite()

    def owe(self, lines: Iterable[Line]) -> None:
        """Make the lines durable now; or, where the disk refuses, before anything else is."""
        with suppress(JournalFailed):
            self._make_durable(self._put(lines, owed=True))

    def append(self, lines: Iterable[Line]) -> None:
        """Make the lines durable before returning; raises JournalFailed."""
        self._make_durable(self._put(lines))

    def begin(self, lines: Callable[[], Iterable[Line]]) -> Callable[[], None]:
        """Have the lines made, written and made durable by another thread; to call what is returned waits for that.

        That raises JournalFailed. What is to stand behind these lines in the file has to be brought after it. lines:
        called in that thread, for which all wait who come at the same time.
        """
        begun = _Begun(lines)
        self._begun.put(begun)
        if not self._committing:
            self._have_committer()
        return begun.wait

    def _have_committer(self) -> None:
        with self._write:
            if not self._committing:
                self._committing = True
                start("journal", self._commit_begun)

    def _commit_begun(self) -> None:
        """One write and one fdatasync for all that was begun during the last one."""
        while True:
            batch = [self._begun.get()]
            while not self._begun.empty():
                batch.append(self._begun.get_nowait())
            refused: JournalFailed | None = None
            try:
                self._make_durable(self._put([line for one in batch for line in one.lines()]))
            except JournalFailed as problem:
                refused = problem
            for one in batch:
                one.end(refused)

    def _put(self, lines: Iterable[Line], *, owed: bool = False) -> int:
        """Write the lines; the number of this write. owed: they count, too, where the disk refuses them."""
        lines = list(lines)
        with self._guard(), self._write:
            try:
                if self._torn:
                    self._rewrite()
                self._torn = True
                self._fill(self._fd, b"".join(map(encode, lines)))
                self._torn = False
            except OSError:
                self._take(lines if owed else ())
                raise
            self._take(lines)
            self._lines += len(lines)
            self._written += 1
            return self._written

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._live.take(line)

    def _make_durable(self, number: int) -> None:
        with self._guard(), self._sync:
            if self._synced < number:
                self._commit()

    def _commit(self) -> None:
        """One fdatasync for all that was written so far; when it fails, nothing of it counts as written.

        A file that failed once says nothing of what was written before, either: it is made anew.
        """
        with self._write:
            upto = self._written
            if self._torn or self._lines > HISTORY + 4 * self._first:
                self._rewrite()
            fd = os.dup(self._fd)  # another thread may replace the file meanwhile
        try:
            self._sync_data(fd)
        except OSError:
            with self._write:  # or else a write that is under way would call the file whole again
                self._torn = True  # the kernel reports a failed write once: the next one must not trust this file
            raise
        finally:
            os.close(fd)
        self._synced = upto

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rewrite(self) -> None:
        self._torn = True
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._live.forget_old_rests()
        lines = self._live.lines()
        try:
            self._fill(fd, b"".join(map(encode, lines)))
            os.fsync(fd)
            os.rename(fresh, self._path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                fresh.unlink()  # half a file on a full disk is in everybody's way
            raise
        self.close()
        self._fd, self._lines, self._first = fd, len(lines), len(lines)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._torn = False

    def _sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def _fill(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns the disk's refusal into one sentence, and tells when it begins and when it is over."""
        try:
            yield
        except OSError as problem:
            remedy = REMEDIES.get(problem.errno or 0, "see to the disk of the state directory")
            refusal = f"journal {self._path} cannot be written: {problem.strerror}; {remedy}"
            self._tell(refusal)
            raise JournalFailed(refusal) from problem
        if self._refusal and not self._torn:
            self._tell("")

    def _tell(self, refusal: str) -> None:
        with self._telling:
            if refusal != self._refusal:
                self._refusal = refusal
                self._told(refusal)


def _nobody(refusal: str) -> None:
    """Whom a journal tells before somebody listens."""
