"""GoBGP as a router outside the cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from outside import Outside, Route, Seen, Session, needed

ESTABLISHED = 6
AS_PATH, NEXT_HOP, LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST = 2, 3, 5, 9, 10
SET = 1


class Gobgp(Outside):
    """gobgpd; it installs nothing in any kernel. Its API is on a loopback address of its own."""

    api = "127.0.0.1"
    """Where it answers, inside the node: another address for each that the test starts."""

    def configure(self, sessions: Sequence[Session], routes: Sequence[Route]) -> None:
        self.api = f"127.0.1.{self.address.rsplit('.', 1)[1]}"
        gobgpd = needed("gobgpd", "gobgpd")
        needed("gobgp", "gobgpd")
        conf = self.folder / f"{self.address}-gobgp.json"
        own = {"as": self.as_number, "router-id": self.address, "local-address-list": [self.address]}
        conf.write_text(json.dumps({"global": {"config": own}, "neighbors": [*map(self._neighbour, sessions)]}))
        argv = [gobgpd, "-f", str(conf), "-t", "json", "--api-hosts", f"{self.api}:50051", "--pprof-disable", "-p"]
        self.programs = [self.process("gobgpd", *argv)]

    def answers(self) -> bool:
        return len(self._asked("neighbor")) == len(self.sessions)

    def announce(self, route: Route) -> None:
        more = ["nexthop", route.next_hop] if route.next_hop else []
        more += ["aspath", ",".join(map(str, route.as_path))] if route.as_path else []
        said = self._gobgp("global", "rib", "add", route.prefix, *more)
        assert not said.strip(), said

    def withdraw(self, route: Route) -> None:
        self._gobgp("global", "rib", "del", route.prefix)

    def since(self, name: str) -> str:
        for one in self._asked("neighbor"):
            if one["conf"].get("description") == name and one["state"].get("session_state") == ESTABLISHED:
                return str(one["timers"]["state"]["uptime"]["seconds"])
        return ""

    def seen(self) -> list[Seen]:
        found = self._asked("global", "rib")
        return [self._seen(prefix, path) for prefix, paths in dict(found).items() for path in paths]

    def _seen(self, prefix: str, path: dict[str, Any]) -> Seen:
        attributes = {one["type"]: one for one in path["attrs"]}
        peer = path.get("neighbor-ip", "")
        return Seen(
            prefix=prefix,
            next_hop=attributes[NEXT_HOP]["nexthop"],
            peer=self.named(peer) if peer else "",
            as_path=_as_path(attributes.get(AS_PATH, {})),
            local_pref=attributes.get(LOCAL_PREF, {}).get("value"),
            originator=attributes.get(ORIGINATOR_ID, {}).get("value", ""),
            clusters=tuple(attributes.get(CLUSTER_LIST, {}).get("value", ())),
        )

    def _asked(self, *question: str) -> Any:
        """An object; an empty one while it does not answer."""
        done = self.lab.exec(self.node, ["gobgp", "-u", self.api, "-j", *question])
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip().startswith(("{", "[")) else {}

    def _gobgp(self, *argv: str) -> str:
        return self.ask("gobgp", "-u", self.api, *argv)

    def _neighbour(self, session: Session) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "neighbor-address": session.address,
            "peer-as": session.as_number,
            "description": session.name,
        }
        if session.password:
            plain["auth-password"] = session.password
        timers = {"connect-retry": 5, "hold-time": 30, "keepalive-interval": 10, "idle-hold-time-after-reset": 1}
        said: dict[str, Any] = {
            "config": plain,
            "timers": {"config": timers},
            "transport": {"config": {"local-address": self.address, "remote-port": session.port}},
            "graceful-restart": {"config": {"enabled": True, "restart-time": 120}},
            "afi-safis": [
                {"config": {"afi-safi-name": "ipv4-unicast"}, "mp-graceful-restart": {"config": {"enabled": True}}}
            ],
        }
        if session.client:
            said["route-reflector"] = {
                "config": {"route-reflector-client": True, "route-reflector-cluster-id": self.address}
            }
        if session.hops:
            said["ttl-security"] = {"config": {"enabled": True, "ttl-min": 256 - session.hops}}
        elif session.as_number != self.as_number:
            said["ebgp-multihop"] = {"config": {"enabled": True, "multihop-ttl": 5}}
        return said


def _as_path(said: dict[str, Any]) -> str:
    """As bgpd writes it."""
    parts = []
    for segment in said.get("as_paths", ()):
        numbers = " ".join(map(str, segment["asns"]))
        parts.append(f"{{{numbers.replace(' ', ',')}}}" if segment["segment_type"] == SET else numbers)
    return " ".join(parts)
