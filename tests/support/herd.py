"""A hundred clients of a route reflector in one program: `python -m herd REFLECTOR AS ADDRESS...`.

Each announces three routes and waits until it has those of all others; then the first announces one more, and takes it
back. What is printed is one JSON object: seconds from the first connection until everybody had everything (`all`),
until the last had the one more (`one`), until it was gone everywhere (`gone`), and what was wrong (`wrong`).
"""

from __future__ import annotations

import json
import selectors
import struct
import sys
from collections.abc import Callable
from time import monotonic

from bgp_sender import KEEPALIVE, OPEN, UPDATE, Sender, message

from bgpnet.bgp.rib import Path
from bgpnet.lab.wait import until
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network

ROUTES = 3
PATIENCE = 120.0
ORIGINATOR_ID, CLUSTER_LIST = 9, 10


class Client(Sender):
    """One session, whose UPDATEs are read. has: what it was told, prefix to the originator."""

    def __init__(self, address: Address, as_number: int, to: tuple[Address, int]) -> None:
        super().__init__(address, as_number, to, router_id=address)
        self.has: dict[Network, str] = {}
        self.reflected: set[str] = set()
        self._unread = b""
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def say(self, *prefixes: Network) -> None:
        """Announce them, next hop itself."""
        self._socket.setblocking(True)
        for prefix in prefixes:
            self.announce(Path(prefix=prefix, next_hop=self.address, peer=self.address, local_pref=100))
        self._socket.setblocking(False)

    def hear(self) -> None:
        """Read what there is."""
        self._unread += self._socket.recv(1 << 20)
        while len(self._unread) >= 19:
            length, kind = struct.unpack("!16xHB", self._unread[:19])
            if len(self._unread) < length:
                return
            body, self._unread = self._unread[19:length], self._unread[length:]
            if kind == UPDATE:
                self._update(body)
            elif kind == KEEPALIVE:
                self._socket.send(message(KEEPALIVE))
            else:
                assert kind == OPEN, f"{self.address} heard a message of kind {kind}: {body!r}"

    def _update(self, body: bytes) -> None:
        (gone,) = struct.unpack("!H", body[:2])
        (size,) = struct.unpack("!H", body[2 + gone : 4 + gone])
        for prefix in _prefixes(body[2 : 2 + gone]):
            self.has.pop(prefix, None)
        attributes, originator = body[4 + gone : 4 + gone + size], ""
        while attributes:
            flags, code = attributes[:2]
            start = 4 if flags & 0x10 else 3
            length = int.from_bytes(attributes[2:start], "big")
            value, attributes = attributes[start : start + length], attributes[start + length :]
            if code == ORIGINATOR_ID:
                originator = str(ip.address(".".join(map(str, value))))
            elif code == CLUSTER_LIST:
                self.reflected.add(".".join(map(str, value)))
        for prefix in _prefixes(body[4 + gone + size :]):
            self.has[prefix] = originator


def _joined(address: Address, as_number: int, to: tuple[Address, int]) -> Client:
    """A session; the reflector's speaker reads of a peer a while after its agent tells of it."""
    found: list[Client] = []

    def missing() -> str:
        try:
            found.append(Client(address, as_number, to))
        except (OSError, AssertionError) as problem:
            return f"{address} has no session: {problem}"
        return ""

    until(missing, PATIENCE)
    return found[0]


def _prefixes(data: bytes) -> list[Network]:
    found = []
    while data:
        length, size = data[0], (data[0] + 7) // 8
        address = ".".join(map(str, data[1 : 1 + size].ljust(4, b"\0")))
        found.append(ip.network(f"{address}/{length}"))
        data = data[1 + size :]
    return found


def routes(number: int) -> list[Network]:
    """Those of one client."""
    return [ip.network(f"10.244.{number}.{64 * each}/26") for each in range(ROUTES)]


class Herd:
    """All of them, and one thread that listens to all."""

    def __init__(self, reflector: Address, as_number: int, addresses: list[Address]) -> None:
        self.began = monotonic()
        self.clients = [_joined(address, as_number, (reflector, 179)) for address in addresses]
        self._selector = selectors.DefaultSelector()
        for client in self.clients:
            self._selector.register(client, selectors.EVENT_READ, client)

    def until(self, fact: Callable[[], bool]) -> float:
        """Listen until it is so; the seconds since `began`, negative if it does not come about."""
        end = monotonic() + PATIENCE
        while not fact():
            if monotonic() > end:
                return -1.0
            for key, _ in self._selector.select(1.0):
                key.data.hear()
        return round(monotonic() - self.began, 3)


def main(reflector: str, as_number: str, *addresses: str) -> None:
    """Everything, as the heading says."""
    herd = Herd(ip.address(reflector), int(as_number), list(map(ip.address, addresses)))
    own = {client: set(routes(number)) for number, client in enumerate(herd.clients)}
    everything = set().union(*own.values())
    for client in herd.clients:
        client.say(*sorted(own[client], key=ip.order))
    said: dict[str, object] = {
        "all": herd.until(lambda: all(len(one.has) >= len(everything) - ROUTES for one in herd.clients))
    }
    originators = {net: str(client.address) for client in herd.clients for net in own[client]}
    said["wrong"] = sum(
        originators[net] != originator
        for one in herd.clients
        for net, originator in one.has.items()
        if net in everything
    )
    said["clusters"] = sorted(set().union(*(one.reflected for one in herd.clients)))
    first, *others = herd.clients
    more = ip.network("10.244.255.0/26")
    herd.began = monotonic()
    first.say(more)
    said["one"] = herd.until(lambda: all(more in one.has for one in others))
    herd.began = monotonic()
    first.withdraw([more])
    said["gone"] = herd.until(lambda: not any(more in one.has for one in others))
    print(json.dumps(said))  # it is a program


if __name__ == "__main__":
    main(*sys.argv[1:])
