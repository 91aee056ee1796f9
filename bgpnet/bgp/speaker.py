"""The agent's side of the speaker's socket: one thread that speaks and listens, and calls that wait for it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from bgpnet.bgp.rib import merged
from bgpnet.bgp.talk import Away as Away
from bgpnet.bgp.talk import Exports, SpeakerEvent, Talk
from bgpnet.bgp.talk import Synced as Synced
from bgpnet.errors import SpeakerAway
from bgpnet.model.ip import Address, Network
from bgpnet.pieces import Pause, never

RETRY = 0.05
"""Seconds between two attempts to connect."""

LOOK = 0.5
"""Seconds between two looks at `stop` and at the deadline while nothing is said."""

ANSWER = 10.0
"""Seconds without a line while answers are awaited, after which the speaker counts as away."""

CHUNK = 1 << 18


class Speaker:
    """The speaker behind the socket. `emit` is called in the thread of `run` and must not block.

    pause: makes a pause for each long work, to be called between its pieces.
    """

    def __init__(
        self,
        socket_path: Path | str,
        emit: Callable[[SpeakerEvent], None],
        answer: float = ANSWER,
        pause: Callable[[], Pause] = lambda: never,
    ) -> None:
        self._pause = pause
        self._path = str(socket_path)
        self._emit = emit
        self._answer = answer
        self._changed = threading.Condition()
        self._wish: Exports | None = None
        self._unsettled: frozenset[Address] = frozenset()
        self._held: frozenset[Network] = frozenset()
        self._wishes = self._settled = 0
        self._reloads, self._reloaded = 1, 0  # a predecessor may have written the file and died
        self._peers: frozenset[Address] = frozenset()
        self._refused = ""
        self._away = f"nobody has connected to {self._path} yet"
        self._waker: socket.socket | None = None
        self._woken: socket.socket

    def set(
        self,
        exports: Exports,
        unsettled: frozenset[Address] = frozenset(),
        held: frozenset[Network] = frozenset(),
        timeout: float = 2 * ANSWER,
    ) -> None:
        """Make what the peers are told equal to this; done when ExaBGP has taken it. Peers not named are left alone.
        unsettled: those whose reflected routes may still come back: see `Talk.wish`.

        It says only what differs, nothing to peers that are down, and everything to those that come up later. The wish
        stands even when this raises SpeakerAway: nobody there, no answer in time, or a command refused.
        """
        with self._changed:
            self._wish, self._unsettled, self._held = exports, unsettled, held
            self._wishes += 1
            self._refused = ""
            mine = self._wishes
            self._await(lambda: self._settled >= mine, "take the announcements", timeout)
            if self._refused:
                raise SpeakerAway(f"ExaBGP refused {self._refused[:200]!r}; its own log says why")

    def reload(self, timeout: float = 2 * ANSWER) -> frozenset[Address]:
        """Have the configuration file read again; the neighbours that ExaBGP has then. Raises SpeakerAway.

        Unchanged neighbours keep their sessions. A file that ExaBGP cannot read changes nothing. What is asked for
        while the speaker is away is done when it is back.
        """
        with self._changed:
            self._reloads += 1
            mine = self._reloads
            self._await(lambda: self._reloaded >= mine, "reload", timeout)
            return self._peers

    def _await(self, done: Callable[[], bool], what: str, timeout: float) -> None:
        self._wake()
        self._changed.wait_for(lambda: done() or bool(self._away), timeout)
        if done():
            return
        raise SpeakerAway(self._away or f"ExaBGP did not {what} within {timeout:g} s at {self._path}")

    def _wake(self) -> None:
        if self._waker is not None:
            with contextlib.suppress(BlockingIOError):  # it is awake already
                self._waker.send(b"!")

    def run(self, stop: threading.Event) -> None:
        """Stay connected until told to stop."""
        waker, self._woken = socket.socketpair()
        with waker, self._woken:
            waker.setblocking(False)
            self._waker = waker
            while not stop.is_set():
                self._session(stop)
            with self._changed:
                self._waker = None

    def _session(self, stop: threading.Event) -> None:
        """One connection, from beginning to end; a short pause where there is none."""
        connection = self._connect()
        if connection is None:
            stop.wait(RETRY)
            return
        with connection:
            reason = self._converse(connection, stop)
        with self._changed:
            self._away = reason
            self._changed.notify_all()
        if not stop.is_set():
            self._emit(Away(reason))

    def _connect(self) -> socket.socket | None:
        connection = None
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._answer)
            connection.connect(self._path)
        except OSError as problem:
            if connection is not None:
                connection.close()
            with self._changed:
                self._away = (
                    f"nobody answers on {self._path} ({problem.strerror or problem}); is `bgpnet speaker` running?"
                )
                self._changed.notify_all()
            return None
        connection.setblocking(False)
        return connection

    def _converse(self, connection: socket.socket, stop: threading.Event) -> str:
        """Talk until something is wrong; what it is."""
        with self._changed:
            self._away = ""
            talk = Talk(self._wish)
            if self._wish is not None:
                talk.wish(self._wish, self._unsettled, self._held)
            taken, reloads = self._wishes, self._reloaded
        unsent, partial, heard = bytearray(), b"", monotonic()
        while not stop.is_set():
            taken, reloads = self._take(talk, taken, reloads)
            was_waiting = talk.waiting
            said = talk.commands()
            if said and not was_waiting:
                heard = monotonic()
            unsent += "".join(f"{line}\n" for line in said).encode()
            if talk.idle:
                self._settle(talk, taken, reloads)
            try:
                if self._ready(connection, bool(unsent)):
                    data = connection.recv(CHUNK)
                    if not data:
                        return f"the speaker closed {self._path}; is `bgpnet speaker` running?"
                    *lines, partial = (partial + data).split(b"\n")
                    pause = self._pause()
                    texts = (line.decode("utf-8", "replace") for line in lines)
                    heard_of = (event for text in texts for event in talk.hear(text, pause))
                    for event in merged(heard_of):
                        self._emit(event)
                    heard = monotonic()
                if unsent:
                    del unsent[: connection.send(unsent)]
            except BlockingIOError:
                pass
            except OSError as problem:
                return f"{self._path}: {problem.strerror or problem}"
            if talk.waiting and monotonic() - heard > self._answer:
                return f"ExaBGP has not answered for {self._answer:g} s at {self._path}; is it stopped or overloaded?"
        return "told to stop"

    def _take(self, talk: Talk, taken: int, reloads: int) -> tuple[int, int]:
        """Pass on what was asked for since; how much that is."""
        with self._changed:
            if self._wishes > taken and self._wish is not None:
                talk.wish(self._wish, self._unsettled, self._held)
            if self._reloads > reloads:
                talk.reload()
            return self._wishes, self._reloads

    def _settle(self, talk: Talk, taken: int, reloads: int) -> None:
        """Everything that was taken is done."""
        if (self._settled, self._reloaded) == (taken, reloads) and not talk.refused:
            return
        with self._changed:
            self._peers, self._refused, talk.refused = talk.peers, talk.refused, ""
            self._settled, self._reloaded = taken, reloads
            self._changed.notify_all()

    def _ready(self, connection: socket.socket, unsent: bool) -> bool:
        """Wait until there is something to do; whether that is something to read."""
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if unsent else 0))
        poll.register(self._woken, select.POLLIN)
        found = dict(poll.poll(LOOK * 1000))
        if self._woken.fileno() in found:
            self._woken.recv(4096)
        return bool(found.get(connection.fileno(), 0) & ~select.POLLOUT)
