"""The kernel's interface: read, put, drop; and the wiring of pods. Fake and real pass one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bgpnet.errors import KernelRefused
from bgpnet.kernel.state import KernelState, NeighbourKey, Owner, Route, Tunnel, Uplink, Wiring
from bgpnet.names import Alias


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Write a route. `new`: we do not own one there yet, so it is added and never takes over a stranger's."""

    owner: Owner
    route: Route
    new: bool


@dataclass(frozen=True, slots=True)
class DropRoute:
    """Remove our route; a stranger's of the same destination stays."""

    owner: Owner
    route: Route


@dataclass(frozen=True, slots=True)
class PutTunnel:
    """Create or find the device, set its MTU, give it exactly this IPv4 address, bring it up."""

    tunnel: Tunnel


@dataclass(frozen=True, slots=True)
class PutNeighbour:
    """Write a permanent entry with our mark."""

    key: NeighbourKey
    mac: str


@dataclass(frozen=True, slots=True)
class DropNeighbour:
    """Remove our entry."""

    key: NeighbourKey


@dataclass(frozen=True, slots=True)
class PutSysctl:
    """Write a sysctl by its dotted name."""

    name: str
    value: str


Change = PutRoute | DropRoute | PutTunnel | PutNeighbour | DropNeighbour | PutSysctl


class Kernel(Protocol):
    """The network namespace that the caller's thread is in."""

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        """Everything of ours, and the named sysctls (one that does not exist is left out)."""

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        """Carry out in order; one refusal never stops the rest. Refusals name the item and the kernel's reason."""

    def uplinks(self) -> list[Uplink]:
        """The host's links and addresses, in index order; pod links and tunnels of ours left out."""

    def wire(self, wiring: Wiring) -> None:
        """Create the veth with its peer inside the pod's namespace, addressed, routed and up on both sides.

        A link of ours with the same name is replaced; a stranger's is refused. Half-made is undone. Raises
        KernelRefused. Safe to call from several threads at once.
        """

    def unwire(self, link: str, alias: Alias | None) -> bool:
        """Drop the /32 routes of the link and mark it for reaping; False when it was not there.

        With an alias, a link of that name that belongs to another container (a newer sandbox) stays untouched.
        """

    def reap(self, *, abandoned: bool = False) -> int:
        """Delete all links marked for reaping, in one go; how many there were.

        abandoned: also those that a killed agent left half-made; only right before anything is wired.
        """

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        """Block; call changed(reason) when somebody else changed links, addresses, or routes of ours."""

    def close(self) -> None:
        """Let go of sockets."""
