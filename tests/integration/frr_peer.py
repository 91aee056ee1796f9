"""FRR's bgpd with a zebra of its own, as a router outside the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from json import JSONDecoder
from typing import Any

from outside import Outside, Route, Seen, Session, needed

NOBODY = "0.0.0.0"  # noqa: S104  (it is compared, nothing is bound)
"""What bgpd calls the peer of its own routes."""


class Frr(Outside):
    """bgpd tells zebra nothing to install: the node's kernel is not its business (`bgpd --no_kernel`)."""

    sockets = "/run/frr"
    """The directory of its sockets, inside the node: FRR's own, and another one for each that the test starts."""

    _rules = 0

    @property
    def _own(self) -> tuple[str, str]:
        return f"router bgp {self.as_number}", "address-family ipv4 unicast"

    def configure(self, sessions: Sequence[Session], routes: Sequence[Route]) -> None:
        self.sockets = f"/run/frr-{self.address}"
        zebra, bgpd = needed("zebra", "frr"), needed("bgpd", "frr")
        needed("vtysh", "frr")
        self.lab.exec(self.node, ["mkdir", "-p", self.sockets])
        conf, empty = self.folder / f"{self.address}.frr", self.folder / "zebra.frr"
        conf.write_text(self._text(sessions))
        empty.write_text("log stdout warnings\n")
        common = ["-u", "root", "-g", "frrvty", "-P", "0", "--vty_socket", self.sockets, "-z", f"{self.sockets}/zserv"]
        self.programs = [
            self.process("zebra", zebra, *common, "-f", str(empty), "-i", f"{self.sockets}/zebra.pid"),
            self.process(
                "bgpd", bgpd, *common, "-n", "-l", self.address, "-f", str(conf), "-i", f"{self.sockets}/bgpd.pid"
            ),
        ]

    def answers(self) -> bool:
        return '"routerId"' in self._vtysh("show bgp ipv4 unicast json")

    def announce(self, route: Route) -> None:
        changes = [f"set ip next-hop {route.next_hop}"] if route.next_hop else []
        changes += [f"set as-path prepend {' '.join(map(str, route.as_path))}"] if route.as_path else []
        self._rules += 1
        told = (
            f"ip prefix-list own{self._rules} permit {route.prefix}", f"route-map told permit {self._rules}",
            f"match ip address prefix-list own{self._rules}", *changes, "exit",
        )  # fmt: skip
        said = self._vtysh("configure terminal", *(told if changes else ()), *self._own, f"network {route.prefix}")
        assert not said.strip(), said

    def withdraw(self, route: Route) -> None:
        said = self._vtysh("configure terminal", *self._own, f"no network {route.prefix}")
        assert not said.strip(), said

    def since(self, name: str) -> str:
        found = next(one for one in self.sessions if one.name == name)
        said = json.loads(self._vtysh("show bgp neighbors json") or "{}").get(found.address, {})
        return str(said["bgpTimerUpEstablishedEpoch"]) if said.get("bgpState") == "Established" else ""

    def seen(self) -> list[Seen]:
        prefixes = json.loads(self._vtysh("show bgp ipv4 unicast json")).get("routes", {})
        if not prefixes:
            return []
        said = self._vtysh(*(f"show bgp ipv4 unicast {prefix} json" for prefix in prefixes))
        return [self._seen(one["prefix"], path) for one in _objects(said) if one for path in one["paths"]]

    def _seen(self, prefix: str, path: dict[str, Any]) -> Seen:
        peer = path["peer"]["peerId"]
        return Seen(
            prefix=prefix,
            next_hop=path["nexthops"][0]["ip"],
            peer="" if peer == NOBODY else self.named(peer),
            as_path="" if path["aspath"]["string"] == "Local" else path["aspath"]["string"],
            local_pref=path.get("locPrf"),
            originator=path.get("originatorId", ""),
            clusters=tuple(path.get("clusterList", {}).get("list", ())),
        )

    def _vtysh(self, *commands: str) -> str:
        """What it says to these, one after another."""
        return self.ask("vtysh", "--vty_socket", self.sockets, *(word for one in commands for word in ("-c", one)))

    def _text(self, sessions: Sequence[Session]) -> str:
        lines = [
            "frr defaults traditional",
            "log stdout informational",
            "route-map told permit 10000",
            f"router bgp {self.as_number}",
            f"bgp router-id {self.address}",
            "no bgp ebgp-requires-policy",
            "no bgp network import-check",
            "bgp graceful-restart",
        ]
        for one in sessions:
            lines += [f"neighbor {one.address} {word}" for word in self._words(one)]
        lines += ["address-family ipv4 unicast"]
        lines += [f"neighbor {one.address} route-map told out" for one in sessions]
        lines += [f"neighbor {one.address} route-reflector-client" for one in sessions if one.client]
        return "\n".join([*lines, ""])

    def _words(self, session: Session) -> Iterator[str]:
        yield f"remote-as {session.as_number}"
        yield f"description {session.name}"
        yield f"update-source {self.address}"
        yield "timers 10 30"
        yield "timers connect 1"
        yield "advertisement-interval 0"
        if session.port != 179:
            yield f"port {session.port}"
        if session.password:
            yield f"password {session.password}"
        if session.hops:
            yield f"ttl-security hops {session.hops}"
        elif session.as_number != self.as_number:
            yield "ebgp-multihop 5"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects one after another."""
    decoder, at = JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found, at = decoder.raw_decode(text, at)
        yield found
