"""The agent's socket: requests in, as events; answers out, by number. Plugin and CLI speak bgpnet.wire here.

Connections are read as their bytes come, each with a deadline, so that a slow client delays nobody. DELs that were
made while no agent was there (tombstone files beside the socket) come the same way; their file is the answer's place.
"""

from __future__ import annotations

import array
import contextlib
import errno
import itertools
import json
import logging
import os
import resource
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from typing import Protocol

from bgpnet import cnispec, wire
from bgpnet.agent import answers
from bgpnet.agent.events import Asked, CniAsked, Event
from bgpnet.agent.precedence import Precedence
from bgpnet.client import listens
from bgpnet.cnispec import BAD_ENVIRONMENT, TRY_AGAIN
from bgpnet.errors import CniError, UsageError, one_line
from bgpnet.threads import start

log = logging.getLogger("bgpnet.agent")

READ_DEADLINE = 5.0
"""Seconds a client has to say its request, and to take its answer."""
BACKLOG = 512
READING = 256
"""How many may be in the middle of their request, with two descriptors each; others wait in the backlog."""
TOMBSTONES = 2.0
"""Seconds between two looks for DELs that were made without an agent, and at the socket's file."""
UNFINISHED = 3600.0
"""Seconds after which a note that is still being written is that of a plugin which was killed."""

DESCRIPTORS = socket.CMSG_SPACE(4 * 4)
"""Room for the one descriptor of a request, and for a few that a stranger may send with it: they are closed."""

CLOSE_ON_EXEC, TRUNCATED = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)
"""As plain numbers: an enum's `&` is a dozen calls."""

Emit = Callable[[Event | Asked], None]


class Reply(Protocol):
    """Where an answer goes."""

    netns: int | None

    @property
    def hung_up(self) -> bool:
        """Whether nobody will take the answer."""

    def send(self, status: int, body: bytes) -> None:
        """Give the answer; whether anybody still listens does not matter."""


class Connection:
    """An accepted client; `netns` is the descriptor that came with its request, `deadline` when that must be whole.

    starved: whether one came that could not be taken, because this process has no more of them.

    It goes first from now on, until it is answered, or told to take its time.
    """

    def __init__(self, client: socket.socket, precedence: Precedence) -> None:
        self._precedence: Precedence | None = precedence
        precedence.came()
        client.setblocking(False)
        self.netns: int | None = None
        self.starved = False
        self.deadline = monotonic() + READ_DEADLINE
        self._client = client
        self._data = bytearray()
        self._kind: wire.Kind | None = None
        self._whole = wire.REQUEST.size  # bytes that the request has; until its head is there, those of that

    def fileno(self) -> int:
        """For the poll."""
        return self._client.fileno()

    @property
    def hung_up(self) -> bool:
        """Whether the client has closed; one that has only said its last word waits for its answer."""
        poll = select.poll()
        poll.register(self._client, 0)
        return bool(poll.poll(0))

    def read(self) -> tuple[wire.Kind, bytes] | None:
        """The request as far as it is there: None while it is not whole. Raises BadFrame or OSError."""
        while self._kind is None or len(self._data) < self._whole:
            room = max(self._whole - len(self._data), 65536)
            try:
                more, ancillary, flags, _ = self._client.recvmsg(room, DESCRIPTORS, CLOSE_ON_EXEC)
            except BlockingIOError:
                return None
            self._take_descriptor(ancillary)
            if flags & TRUNCATED and self.netns is None:
                self.starved = True
            if not more:
                raise wire.BadFrame("a request that ends early")
            self._data += more
            if self._kind is None and len(self._data) >= self._whole:
                self._kind, length = wire.request_head(bytes(self._data[: self._whole]))
                self._whole += length
        return self._kind, bytes(self._data[wire.REQUEST.size : self._whole])

    def send(self, status: int, body: bytes) -> None:
        """As much as the client takes at once; a thread waits with the rest, because the loop waits for nobody."""
        data = wire.answer(status, body)
        try:
            sent = self._client.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client is gone: nobody to tell
            sent = len(data)
        if sent < len(data):
            start("answer", self._send_rest, data[sent:])
        else:
            self.close()

    def _send_rest(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._client.settimeout(READ_DEADLINE)
            self._client.sendall(data)
        self.close()

    def close(self) -> None:
        """Let go of the client and of the descriptor it sent."""
        self._client.close()
        if self.netns is not None:
            os.close(self.netns)
            self.netns = None
        self.take_time()

    def take_time(self) -> None:
        """Nobody need go out of its way any more."""
        if self._precedence is not None:
            self._precedence.went()
            self._precedence = None

    def _take_descriptor(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for descriptor in array.array("i", data[: len(data) - len(data) % 4]):
                    if self.netns is None:
                        self.netns = descriptor
                    else:
                        os.close(descriptor)


class Tombstone:
    """A DEL made without an agent: its file goes with the answer, unless that is to try again later."""

    def __init__(self, path: Path, answered: Callable[[Path], None]) -> None:
        self._path = path
        self._answered = answered
        self.netns: int | None = None
        self.hung_up = False

    def send(self, status: int, body: bytes) -> None:
        """Remove the file, or have it looked at again; one that cannot be removed is left to the next agent."""
        if status == 0 or not _later(body):
            try:
                self._path.unlink(missing_ok=True)
            except OSError as problem:
                log.warning("the note of a DEL %s cannot be removed: %s; remove it", self._path, problem.strerror)
                return
        self._answered(self._path)


class Server:
    """The socket and who waits for an answer on it."""

    def __init__(self, path: Path, emit: Emit, precedence: Precedence | None = None, look: float = TOMBSTONES) -> None:
        self._path = path
        self._look = look
        self._precedence = precedence or Precedence()
        self._emit = emit
        self._numbers = itertools.count(1)
        self._replies: dict[int, Reply] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._stands: tuple[int, int] | None = None
        self._missing = ""
        self._burying: set[Path] = set()
        self._pause = threading.Event()

    def listen(self) -> None:
        """Take the socket's place; raises UsageError when a living agent has it, or it cannot be had."""
        self._listener = listener = self._bind()
        self._bury_all()  # before anybody may ask for the same container anew
        start("server", self._serve, listener)
        start("tombstones", self._tombstones)

    def _bind(self) -> socket.socket:
        try:
            if listens(self._path):
                raise UsageError(f"another agent answers on {self._path}; stop it first, or choose another --run-dir")
            listener = _bound(self._path)
        except OSError as problem:
            raise UsageError(
                f"the agent's socket {self._path} cannot be made: {problem.filename or self._path}: "
                f"{problem.strerror or problem}; see to that, or choose another --run-dir"
            ) from problem
        self._stands = _inode(self._path)
        return listener

    def netns(self, number: int) -> int | None:
        """The descriptor that came with a request."""
        with self._lock:
            reply = self._replies.get(number)
        return reply.netns if reply else None

    def awaited(self, number: int) -> bool:
        """Whether somebody still waits for the answer to a request."""
        with self._lock:
            reply = self._replies.get(number)
        return reply is not None and not reply.hung_up

    def answer(self, number: int, status: int, body: bytes) -> None:
        """Give the answer to a request, once."""
        with self._lock:
            reply = self._replies.pop(number, None)
        if reply is not None:
            reply.send(status, body)

    def _serve(self, listener: socket.socket) -> None:
        """One thread for all who ask: most requests are there as a whole when their client is accepted."""
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        reading: dict[int, Connection] = {}
        full = False
        while True:
            if (len(reading) >= READING) is not full:
                full = not full
                poll.modify(listener, 0 if full else select.EPOLLIN)
            for descriptor, _ in poll.poll(READ_DEADLINE / 10 if reading else None):
                if descriptor != listener.fileno():
                    connection, arm = reading.pop(descriptor), poll.modify
                elif (accepted := self._accept(listener)) is not None:
                    connection, arm = accepted, poll.register
                else:
                    listener, full = self._moved(poll, listener), False
                    continue
                if not self._read(connection):
                    reading[connection.fileno()] = connection
                    arm(connection, select.EPOLLIN | select.EPOLLONESHOT)  # once read, it is the loop's to close
            for descriptor in [one for one, connection in reading.items() if connection.deadline <= monotonic()]:
                reading.pop(descriptor).close()

    def _accept(self, listener: socket.socket) -> Connection | None:
        try:
            return Connection(listener.accept()[0], self._precedence)
        except OSError as problem:  # descriptors ran out, say; who waits in the backlog is served later
            if listener is self._listener:
                log.warning("a client could not be accepted: %s", problem.strerror)
                self._pause.wait(1.0)
            return None

    def _moved(self, poll: select.epoll, listener: socket.socket) -> socket.socket:
        """The listener from now on: another one where the socket's file was gone, once nobody waits at this one."""
        fresh = self._listener or listener
        if fresh is not listener:
            poll.unregister(listener)
            listener.close()
            poll.register(fresh, select.EPOLLIN)
        return fresh

    def _read(self, connection: Connection) -> bool:
        """Take what the client says; whether that is all that it will say."""
        try:
            request = connection.read()
            if request is None:
                return False
            kind, body = request
            if kind is wire.Kind.CNI:
                self._cni(connection, body)
            else:
                connection.take_time()
                question = _question(body)
                self._emit(Asked(self._register(connection), question))
        except wire.BadFrame as problem:
            connection.send(1, f"{problem}; speak bgpnet's protocol of this version".encode())
        except OSError:
            connection.close()
        return True

    def _cni(self, connection: Connection, body: bytes) -> None:
        try:
            call = wire.unpack_cni(body)
        except wire.BadFrame as problem:
            refusal = CniError(BAD_ENVIRONMENT, f"the request cannot be read: {problem}")
            connection.send(1, cnispec.error(cnispec.USUAL, refusal))
            return
        command = call.env.get("CNI_COMMAND")
        if connection.starved and command != "DEL":
            connection.send(1, cnispec.error(cnispec.version_of(call.stdin), CniError(TRY_AGAIN, _starved())))
            return
        if command == "ADD" and connection.hung_up:  # while we were stopped, say; a DEL counts
            log.warning("container %s: %s", one_line(call.env.get("CNI_CONTAINERID", "")), answers.GIVEN_UP)
            connection.close()
            return
        self._emit(CniAsked(self._register(connection), call))

    def _register(self, reply: Reply) -> int:
        number = next(self._numbers)
        with self._lock:
            self._replies[number] = reply
        return number

    def _tombstones(self) -> None:
        while True:
            self._pause.wait(self._look)
            self._stay()
            self._bury_all()

    def _stay(self) -> None:
        """Listen anew where the socket's file is gone, or is another's by now: plugins know the agent by it alone.

        Another agent that answers there keeps it: what this one does for its pods does not end with its socket.
        """
        if self._listener is None or _inode(self._path) == self._stands:
            return
        try:
            fresh = self._bind()
        except UsageError as problem:
            if str(problem) != self._missing:
                self._missing = str(problem)
                log.error("no plugin reaches this agent, whose socket was removed: %s", problem)
            return
        self._missing = ""
        log.warning("%s was removed: it is made anew; leave it to the agent", self._path)
        self._bury_all()  # as at the start
        before, self._listener = self._listener, fresh
        before.shutdown(socket.SHUT_RDWR)  # who waits there is accepted, and then nobody is: see `_moved`

    def _bury_all(self) -> None:
        try:
            found = sorted((self._path.parent / "tombstones").iterdir())
        except OSError:  # nobody needed it yet; or no descriptor is left for now
            return
        for path in found:
            if path.name.startswith("."):
                _sweep(path)
            elif path not in self._burying:
                self._bury(path)

    def _bury(self, path: Path) -> None:
        self._burying.add(path)
        try:
            note, written = _note(path)
            call = wire.unpack_cni(note)
            if call.env.get("CNI_COMMAND") != "DEL":  # no plugin leaves any other, and a GC would delete every pod
                raise wire.BadFrame("a note that is not of a DEL")
        except FileNotFoundError:
            self._burying.discard(path)
        except wire.BadFrame:
            Tombstone(path, self._burying.discard).send(0, b"")
        except OSError as problem:  # a folder, say: it stays, and is told of once
            if problem.errno in (errno.EMFILE, errno.ENFILE):
                self._burying.discard(path)
                return
            log.warning("%s cannot be read as the note of a DEL (%s): remove it", path, problem.strerror)
        else:
            self._emit(CniAsked(self._register(Tombstone(path, self._burying.discard)), call, written))


def _note(path: Path) -> tuple[bytes, float]:
    """What a plugin wrote, and no more than it may, and when; waits for nobody (a pipe). Raises OSError.

    Another user's is none: he may have made the folder before us, where the run directory is in one of everybody's.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"it is of the user {found.st_uid}, and no plugin's", str(path))
        return os.read(descriptor, wire.LIMIT), found.st_mtime
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove a note that nobody will finish."""
    with contextlib.suppress(OSError):
        if path.name.startswith(".new-") and path.lstat().st_mtime < time() - UNFINISHED:
            path.unlink()


def _starved() -> str:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    said = f"the agent is out of descriptors (it may have {most}): raise that limit (LimitNOFILE= of its service)"
    log.warning("a network namespace could not be taken: %s", said)
    return said


def _later(body: bytes) -> bool:
    """Whether a CNI error object says to try again later."""
    return bool(json.loads(body).get("code") == TRY_AGAIN)


def _bound(path: Path) -> socket.socket:
    """A listener at that path, and for its owner only; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listener.fileno(), 0o600)  # the file that bind(2) makes is no more open than that
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _inode(path: Path) -> tuple[int, int] | None:
    """Which file it is; nobody else gets that number while a socket is bound to it. None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _question(body: bytes) -> dict[str, object]:
    try:
        question = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise wire.BadFrame(f"a question that is not JSON ({problem})") from problem
    if not isinstance(question, dict):
        raise wire.BadFrame("a question that is not a JSON object")
    return question
