"""Links: from the file's brief and veth forms to values, and from values to lines for `ip -batch`. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import yaml

from bgpnet.lab import keys
from bgpnet.lab.document import Document
from bgpnet.lab.topology import DEFAULT_MTU, Endpoint, Link, Node

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")
_INTERFACE_LIMIT = 15  # IFNAMSIZ is 16 with the closing NUL (linux/if.h)
_MTU = range(68, 65536)


class LinkReader:
    """Reads `topology.links`; knows the nodes, and remembers which interfaces are taken."""

    def __init__(self, document: Document, nodes: Mapping[str, Node], modes: Mapping[str, str]) -> None:
        self.document = document
        self.nodes = nodes
        self.modes = modes
        self.taken: dict[tuple[str, str], int] = {}

    def read(self, node: yaml.Node) -> tuple[Link, ...]:
        """Every link that could be read; the others are findings."""
        found = [
            self._link(item, f"topology.links[{at}]")
            for at, item in enumerate(self.document.items(node, "topology.links"))
        ]
        return tuple(link for link in found if link)

    def _link(self, node: yaml.Node, where: str) -> Link | None:
        entries = self.document.mapping(node, where)
        kind = self.document.text(entries["type"][1], f"{where}.type") if "type" in entries else "brief"
        if kind not in {"brief", "veth"}:
            self.document.fault(entries["type"][1], f"{where}.type", "known are veth, and none for a brief link", kind)
            return None
        used = keys.LINK_BRIEF_USED if kind == "brief" else keys.LINK_USED
        part = self.document.known(node, where, used, keys.LINK_ACCEPTED)
        if "endpoints" not in part:
            self.document.fault(node, f"{where}.endpoints", 'missing: give two, as in ["n1:eth1", "n2:eth1"]')
            return None
        items = self.document.items(part["endpoints"], f"{where}.endpoints")
        if len(items) != 2:
            self.document.fault(part["endpoints"], f"{where}.endpoints", f"give two, not {len(items)}")
            return None
        ends = [
            self._brief(item, f"{where}.endpoints[{at}]", part, at)
            if kind == "brief"
            else self._extended(item, f"{where}.endpoints[{at}]")
            for at, item in enumerate(items)
        ]
        mtu = self._mtu(part["mtu"], f"{where}.mtu") if "mtu" in part else DEFAULT_MTU
        return Link(ends[0], ends[1], mtu) if ends[0] and ends[1] else None

    def _brief(self, node: yaml.Node, where: str, part: dict[str, yaml.Node], at: int) -> Endpoint | None:
        text = self.document.text(node, where)
        name, colon, interface = text.partition(":")
        if name in keys.SPECIAL_ENDPOINTS and name not in self.nodes:
            self.document.fault(node, where, f"a {name} link is not built here: join two nodes", text)
            return None
        if not (name and colon and interface):
            self.document.fault(node, where, "write node:interface, as in n1:eth1", text)
            return None
        addresses = tuple(
            address for family in ("ipv4", "ipv6") if family in part for address in self._nth(part[family], family, at)
        )
        return self._endpoint(node, where, name, interface, "", addresses)

    def _nth(self, node: yaml.Node, family: str, at: int) -> list[str]:
        """The address of endpoint `at` in a brief link's list of two; an empty one leaves the end without."""
        where = f"topology.links.{family}"
        items = self.document.items(node, where)
        if len(items) > 2 and at == 0:
            self.document.fault(node, where, f"one address an endpoint: give two, not {len(items)}")
        return self._address(items[at], where, family) if at < len(items) else []

    def _extended(self, node: yaml.Node, where: str) -> Endpoint | None:
        part = self.document.known(node, where, keys.ENDPOINT_USED, keys.ENDPOINT_ACCEPTED)
        missing = [key for key in ("node", "interface") if key not in part]
        for key in missing:
            self.document.fault(node, f"{where}.{key}", "missing: a veth endpoint has a node and an interface")
        if missing:
            return None
        mac = self._mac(part["mac"], f"{where}.mac") if "mac" in part else ""
        addresses = tuple(
            address
            for family in ("ipv4", "ipv6")
            if family in part
            for address in self._address(part[family], f"{where}.{family}", family)
        )
        name = self.document.text(part["node"], f"{where}.node")
        interface = self.document.text(part["interface"], f"{where}.interface")
        return self._endpoint(node, where, name, interface, mac, addresses)

    def _endpoint(
        self, node: yaml.Node, where: str, name: str, interface: str, mac: str, addresses: tuple[str, ...]
    ) -> Endpoint | None:
        if name not in self.nodes:
            self.document.fault(node, where, f"no such node: known are {', '.join(self.nodes) or 'none'}", name)
            return None
        bridge = self.nodes[name].kind == "bridge"
        problem = _interface_problem(interface)
        if not problem and interface == "eth0" and not bridge and self.modes.get(name) != "none":
            problem = "containerlab keeps eth0 for its management network: set network-mode: none or take eth1"
        place = ("" if bridge else name, interface)
        if not problem and place in self.taken:
            problem = f"{name} has it already by line {self.taken[place]}: take another interface"
        self.taken.setdefault(place, node.start_mark.line + 1)
        if problem:
            self.document.fault(node, where, problem, interface)
            return None
        return Endpoint(name, interface, mac, addresses)

    def _mac(self, node: yaml.Node, where: str) -> str:
        mac = self.document.text(node, where)
        if not _MAC.match(mac):
            self.document.fault(node, where, "write a MAC address as six hex bytes, 02:00:00:00:00:01", mac)
        elif int(mac[:2], 16) & 1:
            self.document.fault(node, where, "a multicast MAC cannot be an interface's: make its first byte even", mac)
        return mac.lower()

    def _mtu(self, node: yaml.Node, where: str) -> int:
        text = self.document.text(node, where)
        if not text.isdecimal() or int(text) not in _MTU:
            self.document.fault(node, where, f"give a whole number of bytes, {_MTU[0]} to {_MTU[-1]}", text)
            return DEFAULT_MTU
        return int(text)

    def _address(self, node: yaml.Node, where: str, family: str) -> list[str]:
        text = self.document.text(node, where)
        if not text:
            return []
        try:
            found = ipaddress.ip_interface(text)
        except ValueError:
            found = None
        if found is None or "/" not in text or found.version != int(family[-1]):
            example = "192.0.2.1/24" if family == "ipv4" else "2001:db8::1/64"
            self.document.fault(node, where, f"write an {family} address with its prefix length, {example}", text)
            return []
        return [str(found)]


def _interface_problem(interface: str) -> str:
    if len(interface) > _INTERFACE_LIMIT:
        return f"an interface name has at most {_INTERFACE_LIMIT} characters, this has {len(interface)}"
    if not interface.isprintable() or any(char in " /:%" for char in interface) or interface in {".", "..", "lo", ""}:
        return "not an interface name: use letters and digits, as in eth1"
    return ""


def create_lines(link: Link, pids: Mapping[str, int]) -> list[str]:
    """`ip -batch` lines, run on the outer side: the pair appears straight in its two places, nothing is moved.

    `pids` holds the nodes that have a namespace; an endpoint of any other is on a bridge of this machine.
    """
    a, b = (link.a, link.b) if link.a.node in pids or link.b.node not in pids else (link.b, link.a)
    lines = [f"link add {_end(a, link.mtu, pids)} type veth peer {_end(b, link.mtu, pids)}"]
    for end in (a, b):
        if end.node not in pids:
            lines.append(f"link set dev {end.interface} master {end.node} up")
    return lines


def _end(end: Endpoint, mtu: int, pids: Mapping[str, int]) -> str:
    words = f"name {end.interface} mtu {mtu}"
    if end.mac:
        words += f" address {end.mac}"
    return words + (f" netns {pids[end.node]}" if end.node in pids else "")


def bring_up_lines(node: str, links: tuple[Link, ...]) -> list[str]:
    """`ip -batch` lines, run inside the node: loopback and links up, with their addresses."""
    lines = ["link set dev lo up"]
    for end in (end for link in links for end in (link.a, link.b) if end.node == node):
        lines += [f"address add {address} dev {end.interface}" for address in end.addresses]
        lines.append(f"link set dev {end.interface} up")
    return lines
