"""A netlink socket: send a batch, read what became of each message; dump a table. With a deadline."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from bgpnet.errors import KernelRefused
from bgpnet.kernel.rtnl import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    failure,
    message,
    messages,
    numbered,
)

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
DEADLINE = 10.0
"""Seconds the kernel has to answer; it normally takes microseconds, and 25 ms to delete a link."""
BATCH = 500
"""Messages a datagram: more would overrun the receive buffer with their acknowledgements."""
BUFFER = 1 << 18
DUMP_TRIES = 10


class Refusal(OSError):
    """The kernel's errno and its own words for one message."""


class Netlink:
    """One NETLINK_ROUTE socket in the namespace of the thread that makes it; to be used by one thread at a time."""

    def __init__(self, groups: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((0, groups))
        self._socket.settimeout(DEADLINE)
        self._seq = 0

    @property
    def port(self) -> int:
        """Who we are in notifications of our own changes."""
        return int(self._socket.getsockname()[0])

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def receive(self) -> list[Message]:
        """One datagram; raises OSError (ENOBUFS when notifications were lost, a time-out included)."""
        return list(messages(self._socket.recv(BUFFER)))

    def send(self, batch: Sequence[bytes]) -> list[Refusal | None]:
        """Carry out in order; for each message None, or why it was refused. Raises KernelRefused when silent."""
        outcome: list[Refusal | None] = []
        for at in range(0, len(batch), BATCH):
            outcome += self._send(batch[at : at + BATCH])
        return outcome

    def ask(self, batch: Sequence[bytes]) -> None:
        """Carry out all of them; raises the first Refusal."""
        for refusal in self.send(batch):
            if refusal is not None:
                raise refusal

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """A whole table, consistent; raises KernelRefused."""
        for _ in range(DUMP_TRIES):
            found = self._dump(kind, body)
            if found is not None:
                return found
        raise KernelRefused(f"the kernel's table changes faster than it can be read (rtnetlink request {kind})")

    def query(self, raw: bytes) -> list[Message]:
        """What one request is answered with; nothing when there is no such object."""
        self._seq += 1
        self._socket.send(numbered(raw, self._seq))
        while True:
            found = [one for one in self._receive() if one.seq == self._seq]
            if found:
                return [one for one in found if one.kind != NLMSG_ERROR]

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _send(self, batch: Sequence[bytes]) -> list[Refusal | None]:
        first = self._seq + 1
        self._seq += len(batch)
        self._socket.send(b"".join(numbered(raw, first + at, NLM_F_ACK) for at, raw in enumerate(batch)))
        outcome: list[Refusal | None] = [None] * len(batch)
        missing = len(batch)
        while missing:
            for one in self._receive():
                place = one.seq - first
                if one.kind != NLMSG_ERROR or not 0 <= place < len(batch):
                    continue
                code, told = failure(one)
                if code:
                    outcome[place] = Refusal(code, told or os.strerror(code))
                missing -= 1
        return outcome

    def _dump(self, kind: int, body: bytes) -> list[Message] | None:
        self._seq += 1
        self._socket.send(message(kind, NLM_F_DUMP, body, self._seq))
        found: list[Message] = []
        torn = False
        while True:
            for one in self._receive():
                if one.seq != self._seq:
                    continue
                torn = torn or bool(one.flags & NLM_F_DUMP_INTR)
                if one.kind == NLMSG_ERROR:
                    code, told = failure(one)
                    if code == errno.EINTR:
                        return None
                    raise KernelRefused(
                        f"the kernel does not list (rtnetlink request {kind}): {told or os.strerror(code)}"
                    )
                if one.kind == NLMSG_DONE:
                    return None if torn else found
                found.append(one)

    def _receive(self) -> list[Message]:
        try:
            return self.receive()
        except TimeoutError:
            raise KernelRefused(f"the kernel did not answer a netlink request within {DEADLINE:g} s") from None
