"""The agent's socket: requests in, as events; answers out, by number. Plugin and CLI speak bgpnet.wire here.

Each connection is read by a thread of its own with a deadline, so that a slow client delays nobody. DELs that were
made while no agent was there (tombstone files beside the socket) come the same way; their file is the answer's place.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol

from bgpnet import cnispec, wire
from bgpnet.agent.events import Asked, CniAsked, Event
from bgpnet.agent.threads import start
from bgpnet.cnispec import BAD_ENVIRONMENT, TRY_AGAIN
from bgpnet.errors import CniError, UsageError

log = logging.getLogger("bgpnet.agent")

READ_DEADLINE = 5.0
"""Seconds a client has to say its request, and to take its answer."""
BACKLOG = 512
TOMBSTONES = 2.0
"""Seconds between two looks for DELs that were made without an agent."""

Emit = Callable[[Event | Asked], None]


class Reply(Protocol):
    """Where an answer goes."""

    netns: int | None

    def send(self, status: int, body: bytes) -> None:
        """Give the answer; whether anybody still listens does not matter."""


class Connection:
    """An accepted client; `netns` is the descriptor that came with its request."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._deadline = monotonic() + READ_DEADLINE
        self.netns: int | None = None

    def read(self) -> tuple[wire.Kind, bytes]:
        """The request; raises BadFrame or OSError (a deadline that passed included)."""
        self._client.settimeout(READ_DEADLINE)
        room = socket.CMSG_SPACE(4 * 4)
        first, ancillary, _, _ = self._client.recvmsg(65536, room, socket.MSG_CMSG_CLOEXEC)
        self._take_descriptor(ancillary)
        data = bytearray(first)
        self._fill(data, wire.REQUEST.size)
        kind, length = wire.request_head(bytes(data[: wire.REQUEST.size]))
        self._fill(data, wire.REQUEST.size + length)
        return kind, bytes(data[wire.REQUEST.size : wire.REQUEST.size + length])

    def send(self, status: int, body: bytes) -> None:
        """As much as the client takes at once; a thread waits with the rest, because the loop waits for nobody."""
        data = wire.answer(status, body)
        try:
            self._client.setblocking(False)
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

    def _fill(self, data: bytearray, size: int) -> None:
        while len(data) < size:
            self._client.settimeout(max(self._deadline - monotonic(), 0.001))
            more = self._client.recv(min(65536, size - len(data)))
            if not more:
                raise wire.BadFrame("a request that ends early")
            data += more

    def _take_descriptor(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = array.array("i", data[: len(data) - len(data) % 4])
                for extra in descriptors[1:]:
                    os.close(extra)
                self.netns = descriptors[0] if descriptors else None


class Tombstone:
    """A DEL made without an agent: its file goes with the answer, unless that is to try again later."""

    def __init__(self, path: Path, answered: Callable[[Path], None]) -> None:
        self._path = path
        self._answered = answered
        self.netns: int | None = None

    def send(self, status: int, body: bytes) -> None:
        """Remove the file, or have it looked at again."""
        if status == 0 or not _later(body):
            self._path.unlink(missing_ok=True)
        self._answered(self._path)


class Server:
    """The socket and who waits for an answer on it."""

    def __init__(self, path: Path, emit: Emit) -> None:
        self._path = path
        self._emit = emit
        self._numbers = itertools.count(1)
        self._replies: dict[int, Reply] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._burying: set[Path] = set()
        self._pause = threading.Event()

    def listen(self) -> None:
        """Take the socket's place; raises UsageError when a living agent has it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _answers(self._path):
            raise UsageError(f"another agent answers on {self._path}; stop it first, or choose another --run-dir")
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        self._listener = listener
        self._bury_all()  # before anybody may ask for the same container anew
        start("accept", self._accept, listener)
        start("tombstones", self._tombstones)

    def netns(self, number: int) -> int | None:
        """The descriptor that came with a request."""
        with self._lock:
            reply = self._replies.get(number)
        return reply.netns if reply else None

    def answer(self, number: int, status: int, body: bytes) -> None:
        """Give the answer to a request, once."""
        with self._lock:
            reply = self._replies.pop(number, None)
        if reply is not None:
            reply.send(status, body)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as problem:  # descriptors ran out, say; who waits in the backlog is served later
                log.warning("a client could not be accepted: %s", problem.strerror)
                self._pause.wait(1.0)
                continue
            start("client", self._serve, Connection(client))

    def _serve(self, connection: Connection) -> None:
        try:
            kind, body = connection.read()
            if kind is wire.Kind.CNI:
                self._cni(connection, body)
            else:
                question = _question(body)
                self._emit(Asked(self._register(connection), question))
        except wire.BadFrame as problem:
            connection.send(1, f"{problem}; speak bgpnet's protocol of this version".encode())
        except OSError:
            connection.close()

    def _cni(self, connection: Connection, body: bytes) -> None:
        try:
            call = wire.unpack_cni(body)
        except wire.BadFrame as problem:
            refusal = CniError(BAD_ENVIRONMENT, f"the request cannot be read: {problem}")
            connection.send(1, cnispec.error(cnispec.LATEST, refusal))
            return
        self._emit(CniAsked(self._register(connection), call))

    def _register(self, reply: Reply) -> int:
        number = next(self._numbers)
        with self._lock:
            self._replies[number] = reply
        return number

    def _tombstones(self) -> None:
        while True:
            self._pause.wait(TOMBSTONES)
            self._bury_all()

    def _bury_all(self) -> None:
        for path in sorted((self._path.parent / "tombstones").glob("[!.]*")):  # a leading dot: still being written
            if path not in self._burying:
                with contextlib.suppress(FileNotFoundError):
                    self._bury(path)

    def _bury(self, path: Path) -> None:
        try:
            call = wire.unpack_cni(path.read_bytes())
        except wire.BadFrame:
            path.unlink(missing_ok=True)
            return
        self._burying.add(path)
        self._emit(CniAsked(self._register(Tombstone(path, self._burying.discard)), call))


def _later(body: bytes) -> bool:
    """Whether a CNI error object says to try again later."""
    return bool(json.loads(body).get("code") == TRY_AGAIN)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _question(body: bytes) -> dict[str, object]:
    try:
        question = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise wire.BadFrame(f"a question that is not JSON ({problem})") from problem
    if not isinstance(question, dict):
        raise wire.BadFrame("a question that is not a JSON object")
    return question
