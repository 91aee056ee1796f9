"""Who reaches whom, and under which address: a TCP connection between two network namespaces, seen from both ends.

A socket belongs to the namespace its thread was in when it was made, so one process can stand in all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bgpnet.kernel.netns import run_inside

PORT = 8000
DEADLINE = 10.0
"""Seconds for a connection and for what is said on it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pod or a node: its namespace (a path such as /proc/7/ns/net) and the address that others know it by."""

    name: str
    netns: Path
    address: str
    is_pod: bool


@dataclass(frozen=True, slots=True)
class Reached:
    """One connection: `seen_as` is the address that the far end saw, `own` the one that the near end has."""

    source: str
    target: str
    seen_as: str
    own: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it came through, and under its own address: no NAT on the way."""
        return not self.problem and self.seen_as == self.own


@contextmanager
def listeners(places: Iterable[Place]) -> Iterator[Mapping[str, socket.socket]]:
    """A listening socket in each place, by its name."""
    with ExitStack() as stack:
        yield {place.name: stack.enter_context(_in(place, _listen)) for place in places}


def reach(source: Place, target: Place, listening: Mapping[str, socket.socket]) -> Reached:
    """Connect from one place to another; the far end says whom it saw."""
    _forget_former(listening[target.name])
    try:
        with _in(source, _client) as near:
            near.connect((target.address, PORT))
            own = near.getsockname()[0]
            far, peer = listening[target.name].accept()
            with far:
                far.settimeout(DEADLINE)
                far.sendall(peer[0].encode())
            seen = near.recv(64).decode()
    except OSError as problem:
        return Reached(source.name, target.name, "", "", str(problem))
    expected = source.address if source.is_pod else own
    return Reached(source.name, target.name, seen, expected)


def _forget_former(listening: socket.socket) -> None:
    """A connection whose near end was given up may have come all the same: it is not the next one."""
    listening.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
    listening.settimeout(DEADLINE)


def _in(place: Place, make: Callable[[], socket.socket]) -> socket.socket:
    return run_inside(place.netns, make)


def _listen() -> socket.socket:
    listening = socket.create_server(("0.0.0.0", PORT), backlog=16)  # noqa: S104 - inside a lab's namespace
    listening.settimeout(DEADLINE)
    return listening


def _client() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(DEADLINE)
    return client
