"""Which of the host's addresses is the node's own: a decision over values, the links as they are. Pure.

Source: Calico's node/pkg/lifecycle/startup/autodetection. Where Calico takes the first of several equally good
addresses, this refuses and says what to set: the wrong network is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bgpnet.errors import UsageError
from bgpnet.model import ip
from bgpnet.model.ip import Address, Interface, Network

METHODS = (
    "first-found, interface=REGEX[,REGEX…], skip-interface=REGEX[,REGEX…], cidr=CIDR[,CIDR…], can-reach=HOST or "
    "kubernetes-internal-ip"
)
"""What may be said; for help and refusals."""

CAN_REACH, INTERNAL_IP = "can-reach", "kubernetes-internal-ip"
_TOLD = (CAN_REACH, INTERNAL_IP)
"""Methods whose answer comes from outside: the kernel's route to a host, or Kubernetes."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?\Z")
_EXCLUDED = re.compile(
    "docker.*|cbr.*|dummy.*|podman.*|virbr.*|lxcbr.*|veth.*|lo|br-.*|cali.*|tunl.*|flannel.*|kube-ipvs.*|cni.*"
    r"|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns.*|vxlan\.bgpnet"
)
"""Links that never lead to other nodes, unless they are named."""
_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A link of the host: its addresses in the kernel's order, and whether the default route leaves by it."""

    name: str
    index: int
    mtu: int
    up: bool
    addresses: tuple[Interface, ...] = ()
    is_default_route: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The node's address with its subnet's length, the link that has it, and the MTU towards other nodes."""

    address: Interface
    link: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Method:
    """A method and its arguments, parsed."""

    kind: str
    patterns: tuple[re.Pattern[str], ...] = ()
    networks: tuple[Network, ...] = ()
    host: str = ""


def parse_method(text: str) -> Method:
    """`interface=eth.*,bond0` as a value; empty means first-found. Raises ValueError with what is allowed."""
    kind, _, rest = text.partition("=")
    words = [word for word in rest.split(",") if word]
    if text == INTERNAL_IP:
        return Method(INTERNAL_IP)
    if kind == CAN_REACH and rest:
        if not _HOST.match(rest):
            raise ValueError("can-reach= takes one IPv4 address or host name, such as can-reach=192.0.2.1")
        return Method(CAN_REACH, host=rest)
    if text in ("", "first-found"):
        return Method("first-found")
    if kind == "cidr" and words:
        try:
            return Method(kind, networks=tuple(ip.network(word) for word in words))
        except ValueError as error:
            raise ValueError(f"{error}: cidr= takes networks such as 192.0.2.0/24") from error
    if kind in ("interface", "skip-interface") and words:
        try:
            return Method(kind, patterns=tuple(re.compile(word) for word in words))
        except re.error as error:
            raise ValueError(f"{error.pattern!r} is no regular expression ({error.msg}): use such as eth.*") from error
    raise ValueError(f"it must be {METHODS}")


def asks(method: str) -> bool:
    """Whether somebody has to be asked before the address can be chosen; raises ValueError."""
    return parse_method(method).kind in _TOLD


def choose_address(
    method: str, uplinks: Sequence[Candidate], address: str = "", told: Address | str | None = None
) -> Choice:
    """The node's IPv4 address; raises UsageError with the setting that decides it.

    address: given instead of looked for, as `192.0.2.1` (the length is that of the link that has it) or with a length.
    told: what can-reach or kubernetes-internal-ip found out, or why that is nothing.
    """
    if address:
        return _given(address, uplinks)
    try:
        parsed = parse_method(method)
    except ValueError as error:
        raise UsageError(f"ip_autodetection_method {method!r}: {error}") from error
    if parsed.kind in _TOLD:
        return _as_told(method, told, uplinks)
    if parsed.kind == "interface":
        return _by_interface(parsed.patterns, method, uplinks)
    usual = [link for link in uplinks if not _EXCLUDED.fullmatch(link.name)]
    if parsed.kind == "skip-interface":
        usual = [link for link in usual if not any(skip.search(link.name) for skip in parsed.patterns)]
    if parsed.kind == "cidr":
        return _by_cidr(parsed.networks, method, usual)
    found = [first for link in usual if (first := _first(link, _usable))]
    return _only(found, method, uplinks)


def _given(text: str, uplinks: Sequence[Candidate]) -> Choice:
    """Where a link has the address; that link may be down for the moment, or the loopback."""
    try:
        wanted = ip.interface(text)
    except ValueError as error:
        raise UsageError(f"ip {text!r} is not an address: give one such as 192.0.2.1 or 192.0.2.1/24") from error
    for link in sorted(uplinks, key=lambda link: (link.name == _LOOPBACK, not link.up, link.index)):
        for have in link.addresses:
            if have.ip == wanted.ip:
                return Choice(wanted if "/" in text else have, link.name, _mtu(link, uplinks))
    raise UsageError(f"ip {text!r} is on no link of this host: give it to one, or set ip to one of {_all(uplinks)}")


def _as_told(method: str, told: Address | str | None, uplinks: Sequence[Candidate]) -> Choice:
    """The link that has the address which somebody else named."""
    how = f"ip_autodetection_method {method!r}"
    if not told or isinstance(told, str):
        why = f": {told}" if told else ""
        raise UsageError(f"{how} finds no address of this node{why}; set --ip to one of {_all(uplinks)}")
    for link in sorted(uplinks, key=lambda link: (link.name == _LOOPBACK, not link.up, link.index)):
        for have in link.addresses:
            if have.ip == told:
                return Choice(have, link.name, _mtu(link, uplinks))
    raise UsageError(
        f"{how} says {told}, which is on no link of this host: choose another method, or set --ip to one of "
        f"{_all(uplinks)}"
    )


def _mtu(link: Candidate, uplinks: Sequence[Candidate]) -> int:
    """The loopback's MTU says nothing about the way out: that of the narrowest link does."""
    if link.name != _LOOPBACK:
        return link.mtu
    ways = [other.mtu for other in uplinks if other.up and not _EXCLUDED.fullmatch(other.name)]
    return min(ways, default=link.mtu)


def _by_interface(patterns: Sequence[re.Pattern[str]], method: str, uplinks: Sequence[Candidate]) -> Choice:
    """The first pattern that finds a link with an address; a link of exactly that name before others it matches."""
    for pattern in patterns:
        matching = [link for link in uplinks if pattern.search(link.name)]
        exact = [link for link in matching if link.name == pattern.pattern]
        if found := [first for link in exact or matching if (first := _first(link, _usable))]:
            return _only(found, method, uplinks)
    return _only([], method, uplinks)


def _by_cidr(networks: Sequence[Network], method: str, uplinks: Sequence[Candidate]) -> Choice:
    """The first network that finds an address."""
    for net in networks:
        if found := [first for link in uplinks if (first := _first(link, _inside(net)))]:
            return _only(found, method, uplinks)
    return _only([], method, uplinks)


def _inside(net: Network) -> Callable[[Address], bool]:
    return lambda address: _usable(address) and ip.contains(net, address)


def _usable(address: Address) -> bool:
    """A global unicast IPv4 address, private ones included (Go's IsGlobalUnicast)."""
    broadcast = int(address) == 0xFFFFFFFF
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return address.version == 4 and not special and not broadcast


def _first(link: Candidate, fits: Callable[[Address], bool]) -> tuple[Candidate, Choice] | None:
    """The link's first address that fits, if it is up."""
    if not link.up:
        return None
    for address in link.addresses:
        if fits(address.ip):
            return link, Choice(address, link.name, link.mtu)
    return None


def _only(found: Sequence[tuple[Candidate, Choice]], method: str, uplinks: Sequence[Candidate]) -> Choice:
    """The one on the link of the default route, or simply the one."""
    best = [choice for link, choice in found if link.is_default_route] or [choice for _, choice in found]
    if len(best) == 1:
        return best[0]
    how = f"ip_autodetection_method {method or 'first-found'!r}"
    if not best:
        raise UsageError(
            f"{how} finds no address of this node: choose another method, or set --ip to one of {_all(uplinks)}"
        )
    tied = ", ".join(f"{choice.address} on {choice.link}" for choice in best)
    raise UsageError(
        f"{how} finds {len(best)} addresses that are equally good ({tied}): choose one with "
        f"--ip-autodetection-method interface={best[0].link} or --ip {best[0].address}"
    )


def _all(uplinks: Sequence[Candidate]) -> str:
    there = [f"{address} ({link.name})" for link in uplinks for address in link.addresses if _usable(address.ip)]
    return ", ".join(there) or "this host's addresses (it has none yet)"
