"""The journal: what this node has given away, durable before anybody is told.

A file of lines, each `<crc32 of the rest, 8 hex digits> <JSON>`. The first line is the boot it belongs to; then blocks
as they were at some moment, pods that came and pods that went. A torn last line was never acknowledged and is cut off;
damage anywhere else makes the journal unknown as a whole, and the agent recovers from datastore and kernel instead.

One thread of the journal's has the file: it writes what came in the order in which it came, and makes all that came
during one fdatasync durable with the next (group commit). The file is rewritten when most of it is history, and when
somebody removed it, cut it or put another in its place.

Who comes must be in the file first: `append`, or `begin`, which does not wait. Who goes must not wait for a disk that
is full or read-only: that is owed (`owe`), in memory, and comes into the file before anything else does. Should the
agent die in debt, a pod that went is found in the journal and nowhere else, which is a leak: no address is given twice,
and no live one lost.

A disk may also stand still: a write ends in an hour, or never. Who waits gives up after `PATIENCE`; from then on
nothing new is begun and nobody waits, until the disk answers. A line that was given up may be written then, and what
takes it back stands behind it, because that came later.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
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
from bgpnet.agent.contents import end_overtaken as end_overtaken
from bgpnet.agent.contents import recalled as recalled
from bgpnet.agent.contents import restore as restore
from bgpnet.agent.world import Pod
from bgpnet.errors import JournalFailed
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.threads import start

log = logging.getLogger("bgpnet.agent")

PATIENCE = 5.0
"""Seconds that the disk may take for an answer; a plugin waits for ten."""
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
    """Lines on their way to the disk. owed: they count, too, where the disk refuses them."""

    def __init__(self, lines: Callable[[], Iterable[Line]], *, owed: bool) -> None:
        self.owed = owed
        self._lines = lines
        self._problem: JournalFailed | None = None
        self._given_up = False
        self._making = threading.Lock()
        self._open = threading.Lock()
        self._open.acquire()

    def made(self) -> list[Line]:
        """The lines; none if they were given up before."""
        with self._making:
            return [] if self._given_up else list(self._lines())

    def give_up(self) -> None:
        """Unless they are owed: if they are not made yet, they never will be."""
        with self._making:
            self._given_up = not self.owed

    def end(self, problem: JournalFailed | None) -> None:
        """They are durable, or cannot be."""
        self._problem = problem
        self._open.release()

    def is_over(self, within: float) -> bool:
        """Whether they are durable, or cannot be, after so many seconds at most."""
        if not self._open.acquire(timeout=within):
            return False
        self._open.release()
        return True

    def check(self) -> None:
        """Once it is over: raises JournalFailed where they are not durable."""
        if self._problem is not None:
            raise self._problem


class Journal:
    """The file. Opened once by one agent; all but `load`, `start` and `close` may be called from any thread."""

    def __init__(self, path: Path, boot: str, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._queue: queue.SimpleQueue[_Begun | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._telling = threading.Lock()
        self._refusal = ""
        self._standing = False  # the disk did not answer somebody in time, and has not answered since
        self._told: Callable[[str], None] = _nobody
        # All below: the thread's.
        self._live = Contents(boot)
        self._lines = self._first = 0  # in the file: now, and when it was written last
        self._fd = -1
        self._file = (0, 0)  # the file's device and inode
        self._size = 0
        self._torn = False  # a write failed half-way or is owed: the next one begins with a fresh file

    def load(self) -> Contents | None:
        """What the file says, if there is one and it is whole; another is kept aside for people to look at."""
        try:
            data = self._read()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise JournalFailed(
                f"journal {self._path} cannot be read: {problem.strerror}; see to the disk"
            ) from problem
        if (contents := decode(data)) is None and data:
            self.keep_aside("is damaged, or another version's")
        return contents

    def _read(self) -> bytes:
        fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise JournalFailed(f"journal {self._path} is no regular file: remove it, and start the agent again")
            with os.fdopen(fd, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(fd)

    def keep_aside(self, harm: str) -> None:
        """Away with a file that cannot be used, for people to look at; harm: what is wrong with it, a phrase."""
        aside = self._path.with_suffix(".damaged")
        told = f"{harm}, and not used: addresses come from the datastore and the kernel"
        try:
            self._path.rename(aside)
        except OSError as problem:
            log.warning("journal %s %s; it cannot be kept as %s: %s", self._path, told, aside, problem.strerror)
        else:
            log.warning("journal %s %s; it is kept as %s", self._path, told, aside)

    def listen(self, told: Callable[[str], None]) -> None:
        """Have it told when the disk refuses the journal (the sentence), and when it takes it again (nothing).

        Told from the thread that met it, and at once if the disk refuses now. Who is told may bring lines, but must not
        wait for them: it may be the thread that writes them.
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
        """Write what is owed, if anything is and if the disk takes it by now; one that stands still has it all."""
        if not self._standing:
            self.owe(())

    def owe(self, lines: Iterable[Line]) -> None:
        """Make the lines durable now; or, where the disk refuses or stands still, before anything else is."""
        with suppress(JournalFailed):
            self._wait(self._owed(lines))

    def note(self, lines: Iterable[Line]) -> None:
        """The same, without waiting for it: what is brought later is not durable before these are."""
        self._owed(lines)

    def append(self, lines: Iterable[Line]) -> None:
        """Make the lines durable before returning; raises JournalFailed."""
        made = tuple(lines)
        self.begin(lambda: made)()

    def begin(self, lines: Callable[[], Iterable[Line]]) -> Callable[[], None]:
        """Have the lines made, written and made durable meanwhile; to call what is returned waits for that.

        Both raise JournalFailed. lines: called in the journal's thread, for which all wait who come at the same time,
        and never after somebody has given up waiting.
        """
        if self._standing:
            raise JournalFailed(self._stands_still())
        return partial(self._wait, self._bring(_Begun(lines, owed=False)))

    def close(self) -> None:
        """Let go of the file, after what came before."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._let_go()

    def _owed(self, lines: Iterable[Line]) -> _Begun:
        made = tuple(lines)
        return self._bring(_Begun(lambda: made, owed=True))

    def _bring(self, begun: _Begun) -> _Begun:
        self._queue.put(begun)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = start("journal", self._run)
        return begun

    def _wait(self, begun: _Begun) -> None:
        """Until it is durable, but not for longer than the disk may take; raises JournalFailed."""
        if not begun.is_over(0 if self._standing else self._patience):
            with self._telling:
                if not begun.is_over(0):  # nor can it be while we tell: the thread tells of its end
                    begun.give_up()
                    self._standing = True
                    self._tell(self._stands_still())
                    raise JournalFailed(self._refusal)
        begun.check()

    def _stands_still(self) -> str:
        return (
            f"journal {self._path} cannot be written: the disk has not answered for {self._patience:g} s; "
            "see to the disk of the state directory"
        )

    def _run(self) -> None:
        """The thread: one write and one fdatasync for all that came during the last one."""
        while (first := self._queue.get()) is not None:
            batch = [first]
            while not self._queue.empty():
                if (one := self._queue.get_nowait()) is None:
                    self._queue.put(None)
                    break
                batch.append(one)
            problem = self._attempt(batch)
            with self._telling:
                self._standing = False
                self._tell(str(problem) if problem is not None else "")
                for one in batch:
                    one.end(problem)

    def _attempt(self, batch: Sequence[_Begun]) -> JournalFailed | None:
        """Make it durable; the disk's refusal is one sentence."""
        try:
            if self._put([(one.made(), one.owed) for one in batch]):
                self._commit()
        except OSError as problem:
            remedy = REMEDIES.get(problem.errno or 0, "see to the disk of the state directory")
            refused = JournalFailed(f"journal {self._path} cannot be written: {problem.strerror}; {remedy}")
            refused.__cause__ = problem
            return refused
        return None

    def _put(self, made: Sequence[tuple[list[Line], bool]]) -> bool:
        """Write the lines, each with whether it is owed; whether there were any."""
        lines = [line for each, _ in made for line in each]
        try:
            if self._torn:
                self._rewrite()
            if not lines:
                return False
            data = b"".join(map(encode, lines))
            self._torn = True
            self._fill(self._fd, data)
            self._torn = False
        except OSError:
            self._take(line for each, owed in made if owed for line in each)
            raise
        self._take(lines)
        self._lines += len(lines)
        self._size += len(data)
        return True

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._live.take(line)

    def _commit(self) -> None:
        """Make durable what was written; when that fails, nothing of it counts as written.

        A file that failed once says nothing of what was written before, either: it is made anew.
        """
        if self._lines > HISTORY + 4 * self._first:
            self._rewrite()
            return
        self._torn = True
        self._sync_data(self._fd)
        if harm := self._harm():
            log.warning("journal %s %s: it is written anew", self._path, harm)
            self._rewrite()
        self._torn = False

    def _harm(self) -> str:
        """What somebody did to the file; nothing if it is as we wrote it. 2 us, and durable means that it is there."""
        try:
            there = os.stat(self._path)
        except OSError as problem:
            return f"cannot be found any more ({problem.strerror})"
        if (there.st_dev, there.st_ino) != self._file:
            return "is another file now"
        return f"has {there.st_size} bytes instead of {self._size}" if there.st_size != self._size else ""

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rewrite(self) -> None:
        self._torn = True
        fresh = self._path.with_suffix(".new")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # To the end, wherever that is: behind a place from which the file was cut there would be a hole.
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._live.forget_old_rests()
        lines = self._live.lines()
        data = b"".join(map(encode, lines))
        try:
            self._fill(fd, data)
            os.fsync(fd)
            os.rename(fresh, self._path)
            there = os.stat(self._path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                fresh.unlink()  # half a file on a full disk is in everybody's way
            raise
        self._let_go()
        self._fd, self._file, self._size = fd, (there.st_dev, there.st_ino), len(data)
        self._lines = self._first = len(lines)
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

    def _tell(self, refusal: str) -> None:
        """To be called by who has the right to tell."""
        if refusal != self._refusal:
            self._refusal = refusal
            self._told(refusal)


def _nobody(refusal: str) -> None:
    """Whom a journal tells before somebody listens."""
