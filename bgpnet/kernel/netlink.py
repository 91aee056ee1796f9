"""A netlink socket: send a batch, read what became of each message; dump a table. With a deadline."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence

from bgpnet.errors import KernelRefused
from bgpnet.kernel.rtnl import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    done,
    failure,
    message,
    messages,
    numbered,
)

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
BPF_KIND, BPF_IF, BPF_RETURN = 0x28, 0x15, 0x06
"""Instructions of a socket's filter (linux/bpf_common.h): load two bytes; jump if equal; take so many bytes of it."""
BPF_INSTRUCTION = struct.Struct("@HBBI")
SIOCGIFHWADDR, IFREQ, IFREQ_MAC = 0x8927, struct.Struct("16s24x"), slice(18, 24)
"""netdevice(7): a link's name in; its family, in two bytes, and its MAC out."""
SIOCGIFCONF, IFCONF, LOOPBACK = 0x8912, struct.Struct("@iP"), b"lo\0"
"""netdevice(7): room for an ifreq per IPv4 address in; out how much of it was filled, by links' names."""
TIMEVAL = struct.Struct("@ll")
DEADLINE = 10.0
"""Seconds the kernel has to answer; it normally takes microseconds, and 25 ms to delete a link."""
BATCH, BATCH_BYTES = 500, 1 << 16
"""Messages and bytes a datagram: with more, refusals of all of them would overrun the receive buffer."""
BUFFER = 1 << 15
"""Bytes a received datagram has at most (net/netlink/af_netlink.c netlink_dump)."""
RECEIVE_BUFFER = 1 << 22
DUMP_TRIES = 10
_TWO = bytes(2 * IFREQ.size)
_NOTHING = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
"""No table of that number yet (it is made with its first route), or no such family in this kernel."""


class Refusal(OSError):
    """The kernel's errno and its own words for one message."""

    @property
    def told(self) -> str:
        """Its words."""
        return self.strerror or ""


class Netlink:
    """One NETLINK_ROUTE socket; to be used by one thread at a time."""

    def __init__(self, connection: socket.socket, port: int, deadline: float = DEADLINE) -> None:
        """port: who we are in notifications of our own changes. deadline: seconds the kernel has to answer."""
        self._socket = connection
        # The kernel's own time limit: Python's would ask poll() before every call.
        limit = TIMEVAL.pack(int(deadline), int(deadline % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._deadline = deadline
        self._seq = 0
        self.port = port

    @classmethod
    def open(cls, groups: int = 0) -> Netlink:
        """In the namespace of the calling thread, hearing the notifications of the groups. Raises OSError."""
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        made.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        made.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        _enlarge(made)
        made.bind((0, groups))
        return cls(made, int(made.getsockname()[0]))

    @classmethod
    def brief(cls) -> Netlink:
        """In the namespace of the calling thread, for one batch: it hears nothing and has no port that matters."""
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        made.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        return cls(made, 0)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def ignore(self, kind: int) -> None:
        """Hear no notification of this kind: the kernel drops them before they wake anybody (socket(7))."""
        steps = (
            (BPF_KIND, 0, 0, 4),  # nlmsg_type, which is in the machine's order and is loaded in the network's
            (BPF_IF, 0, 1, socket.htons(kind)),
            (BPF_RETURN, 0, 0, 0),
            (BPF_RETURN, 0, 0, 0xFFFFFFFF),
        )
        program = ctypes.create_string_buffer(b"".join(BPF_INSTRUCTION.pack(*one) for one in steps))
        pointer = struct.pack("@HP", len(steps), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)

    def receive(self) -> list[Message]:
        """One datagram; raises OSError (ENOBUFS when notifications were lost, a time-out included)."""
        return list(messages(self._socket.recv(BUFFER)))

    def send(self, batch: Sequence[bytes]) -> list[Refusal | None]:
        """Carry out in order; for each message None, or why it was refused. Raises KernelRefused when silent."""
        outcome: list[Refusal | None] = []
        for part in _datagrams(batch):
            outcome += self._send(part)
        return outcome

    def ask(self, batch: Sequence[bytes]) -> None:
        """Carry out all of them; raises the first Refusal."""
        for refusal in self.send(batch):
            if refusal is not None:
                raise refusal

    def dump(self, kind: int, body: bytes, *, torn: bool = False) -> list[Message]:
        """A whole table; a table that was never written to is empty. Raises KernelRefused.

        torn: entries that come or go meanwhile may be missing or twice; else it is read until none does.
        """
        for _ in range(DUMP_TRIES):
            found, whole = self._dump(kind, body)
            if whole or torn:
                return found
        raise KernelRefused(f"the kernel's table changes faster than it can be read (rtnetlink request {kind})")

    def query(self, raw: bytes) -> Message | None:
        """The one object that is asked for; None when there is no such. Raises KernelRefused when silent."""
        self._seq += 1
        self._write(numbered(raw, self._seq))
        while True:
            for one in self._receive():
                if one.seq == self._seq and one.kind != NLMSG_ERROR:
                    return one
                if one.seq == self._seq:
                    code, told = failure(one)
                    if code in (errno.ENODEV, errno.ENOENT):
                        return None
                    raise KernelRefused(f"the kernel refused an rtnetlink question: {told or os.strerror(code)}")

    def mac(self, link: str) -> str | None:
        """A link's MAC; None when there is no such link: for that, the kernel tries to load a module first (modprobe).

        One number, where `query` would have a page filled in about the link.
        """
        asked = IFREQ.pack(link.encode(errors="surrogateescape"))
        try:
            told = fcntl.ioctl(self._socket, SIOCGIFHWADDR, asked)
        except OSError as problem:
            if problem.errno == errno.ENODEV:
                return None
            raise KernelRefused(f"the kernel does not tell the MAC of {link}: {problem.strerror}") from problem
        return told[IFREQ_MAC].hex(":")

    def has_addresses(self) -> bool:
        """Whether a link other than lo has an IPv4 address: one short call, where to ask for a route takes a trip."""
        room = array("B", _TWO)  # a third of what a buffer of ctypes takes
        told = fcntl.ioctl(self._socket, SIOCGIFCONF, IFCONF.pack(len(_TWO), room.buffer_info()[0]))
        filled, _ = IFCONF.unpack(told)
        return bool(filled > IFREQ.size or (filled and room[: len(LOOPBACK)].tobytes() != LOOPBACK))

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _send(self, batch: Sequence[bytes]) -> list[Refusal | None]:
        """Refusals come unasked, so that only the last message has to be acknowledged: half the time for routes."""
        first = self._seq + 1
        self._seq += len(batch)
        every = [numbered(raw, first + at) for at, raw in enumerate(batch)]
        every[-1] = numbered(every[-1], self._seq, NLM_F_ACK)
        self._write(b"".join(every))
        outcome: list[Refusal | None] = [None] * len(batch)
        while True:
            for one in self._receive():
                if one.kind != NLMSG_ERROR or not first <= one.seq <= self._seq:
                    continue
                code, told = failure(one)
                if code:
                    outcome[one.seq - first] = Refusal(code, told or os.strerror(code))
                if one.seq == self._seq:
                    return outcome

    def _dump(self, kind: int, body: bytes) -> tuple[list[Message], bool]:
        """What is there, and whether it stood still while it was read."""
        self._seq += 1
        self._write(message(kind, NLM_F_DUMP, body, self._seq))
        found: list[Message] = []
        whole = True
        while True:
            for one in self._receive():
                if one.seq != self._seq:
                    continue
                whole = whole and not one.flags & NLM_F_DUMP_INTR
                if one.kind in (NLMSG_ERROR, NLMSG_DONE):
                    _check_end(kind, one)
                    return found, whole
                found.append(one)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as problem:
            raise KernelRefused(f"the kernel takes no netlink request: {problem.strerror}") from problem

    def _receive(self) -> list[Message]:
        try:
            return self.receive()
        except BlockingIOError:
            raise KernelRefused(f"the kernel did not answer a netlink request within {self._deadline:g} s") from None
        except OSError as problem:
            raise KernelRefused(f"the kernel's answer to a netlink request was lost: {problem.strerror}") from problem


def _enlarge(made: socket.socket) -> None:
    """Bursts of notifications and refusals must fit, whatever net.core.rmem_max says."""
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _check_end(kind: int, last: Message) -> None:
    """A dump ends as a refusal, or as NLMSG_DONE, which begins with a result of its own."""
    code, told = failure(last) if last.kind == NLMSG_ERROR else (done(last), "")
    if code and code not in _NOTHING:
        raise KernelRefused(f"the kernel does not list (rtnetlink request {kind}): {told or os.strerror(code)}")


def _datagrams(batch: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for at, raw in enumerate(batch):
        if at > start and (at - start == BATCH or size + len(raw) > BATCH_BYTES):
            yield batch[start:at]
            start, size = at, 0
        size += len(raw)
    if start < len(batch):
        yield batch[start:]
