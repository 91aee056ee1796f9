"""The kernel's interface: read, put, drop; and the wiring of pods. Fake and real pass one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bgpnet.errors import KernelRefused
from bgpnet.kernel.state import FdbKey, KernelState, NeighbourKey, Owner, Route, Tunnel, Uplink, Wiring
from bgpnet.model.ip import Address
from bgpnet.names import Alias


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Write a route; a stranger's of the same destination is refused, one of ours (either owner's) is replaced.

    new: we know of none of ours there, so that nobody has to be looked up first; a guess that is wrong does no harm.
    """

    owner: Owner
    route: Route
    new: bool


@dataclass(frozen=True, slots=True)
class DropRoute:
    """Remove the owner's route, wherever it leads; a stranger's of the same destination stays. Gone already is fine."""

    owner: Owner
    route: Route


@dataclass(frozen=True, slots=True)
class PutTunnel:
    """Create or find the device, set its MTU, give it exactly this IPv4 address, bring it up.

    Without an address (not known yet) those that it has stay. A VXLAN device with other parameters is repaired in
    place where the kernel lets it, else made anew, with the loss of what hung on it.
    """

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
class PutFdb:
    """Write a permanent entry of a VXLAN device's forwarding database: frames for this MAC go to that node."""

    key: FdbKey
    to: Address


@dataclass(frozen=True, slots=True)
class DropFdb:
    """Remove the entry, whoever is behind it."""

    key: FdbKey


@dataclass(frozen=True, slots=True)
class PutSysctl:
    """Write a sysctl by its path below /proc/sys."""

    name: str
    value: str


Change = PutRoute | DropRoute | PutTunnel | PutNeighbour | DropNeighbour | PutFdb | DropFdb | PutSysctl


Begin = Callable[[], Callable[[], None]]
"""What is to be on the disk with a change: begun by the call, and waited for by the call of what it returns."""


def nothing() -> Callable[[], None]:
    """Nothing to begin, and nothing to wait for."""
    return lambda: None


class Kernel(Protocol):
    """The network namespace that the caller's thread is in."""

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        """Everything of ours, and the named sysctls (one that does not exist is left out)."""

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        """Carry out in order; one refusal never stops the rest. Refusals name the item and the kernel's reason."""

    def uplinks(self) -> list[Uplink]:
        """The host's links and addresses, in index order; pod links and tunnels of ours left out."""

    def addressed(self) -> list[Uplink]:
        """Those of them that have an IPv4 address, without the others and without a word on default routes.

        It costs no look at the pods' links and at the routes, of which there may be thousands.
        """

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """Create the veth with its peer inside the pod's namespace, addressed, routed and up on both sides.

        Where the pod has a default route already, whoever's, that one stays: what comes from the new address has one of
        its own. An interface of that name that waits for its reaping goes first.

        begin: called right before the link is made, and what it returns when the pod's side is in place and before the
        link has our alias: a disk may work meanwhile. What either raises leaves no link. Where the kernel refuses in
        between, what was begun is not waited for. A link of ours with the same name is replaced, a stranger's refused.
        Half-made is undone. Raises KernelRefused. Safe to call from several threads at once.
        """

    def unwire(self, link: str, alias: Alias | None) -> bool:
        """Drop the /32 routes of the link and mark it for reaping; False when it was not there.

        With an alias, a link of that name that belongs to another container (a newer sandbox) stays untouched.
        """

    def differences(self, wiring: Wiring) -> list[str]:
        """What of a wired pod is not as it was wired, one phrase each: link, addresses, routes, neighbours, sysctls.

        Raises KernelRefused when it cannot be looked at.
        """

    def reap(self, *, abandoned: bool = False) -> int:
        """Delete all links marked for reaping, in one go; how many there were.

        abandoned: also those that a killed agent left half-made; only right before anything is wired.
        """

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        """Block until stop(), at most a second longer; call changed(reason) when somebody else changed something.

        That is: a link came, went, got another name, is up or down; an IPv4 address came or went; a route of ours went,
        or a stranger's was put in the place of another; a neighbour or forwarding entry of VXLAN went; forwarding is
        off, a reverse path filter strict; or notifications were lost ("overrun"). A hint to read again, no more: it may
        come without need, and routes that a link loses by going down are told by the link alone.
        """

    def close(self) -> None:
        """Let go of sockets."""
