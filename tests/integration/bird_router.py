"""BIRD as a router outside the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bird_time import BirdTime
from outside import Outside, Route, Seen, Session, needed

CONF = """
router id {address};
protocol device {{}}
protocol static own {{ ipv4; {routes} }}
filter told {{
  if source = RTS_BGP then accept;
  {changes}
  accept;
}}
template bgp outside {{
  local {address} as {as_number};
  strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
  ipv4 {{ import all; export filter told; }};
}}
{sessions}
"""


class Bird(Outside):
    """BIRD 2, without a kernel protocol."""

    control = "/run/bird.ctl"
    """Its control socket, inside the node: another one for each that the test starts."""

    _routes: dict[str, Route]

    def configure(self, sessions: Sequence[Session], routes: Sequence[Route]) -> None:
        bird = needed("bird", "bird2")
        self._routes = {route.prefix: route for route in routes}
        self._write()
        self.control = f"/run/bird-{self.address}.ctl"
        self.programs = [self.process("bird", bird, "-f", "-c", str(self._conf), "-s", self.control)]

    @property
    def _conf(self) -> str:
        return str(self.folder / f"{self.address}.bird")

    def answers(self) -> bool:
        return "Daemon is up" in self._birdc("show status")

    def announce(self, route: Route) -> None:
        if self._routes.get(route.prefix) != route:
            self._routes[route.prefix] = route
            self._changed()

    def withdraw(self, route: Route) -> None:
        del self._routes[route.prefix]
        self._changed()

    def since(self, name: str) -> str:
        up = rf"^{name} +BGP +--- +up +(\S+) +Established"
        found = re.search(up, self._birdc("show protocols"), re.MULTILINE)
        return BirdTime(found[1] if found else "")

    def seen(self) -> list[Seen]:
        return list(_paths(self._birdc("show route all")))

    def _birdc(self, question: str) -> str:
        return self.ask("birdc", "-s", self.control, *question.split())

    def _changed(self) -> None:
        self._write()
        said = self._birdc("configure")
        assert "Reconfigur" in said, said

    def _write(self) -> None:
        changes = [f"if net = {one.prefix} then {{ {_change(one)} }}" for one in self._routes.values() if _change(one)]
        text = CONF.format(
            address=self.address,
            as_number=self.as_number,
            routes=" ".join(f"route {prefix} blackhole;" for prefix in self._routes),
            changes="\n  ".join(changes),
            sessions="\n".join(map(self._session, self.sessions)),
        )
        (self.folder / f"{self.address}.bird").write_text(text)

    def _session(self, session: Session) -> str:
        words = [f"neighbor {session.address} port {session.port} as {session.as_number};"]
        words += [f"rr client; rr cluster id {self.address};"] if session.client else []
        words += [f'password "{session.password}";'] if session.password else []
        words += [f"multihop {session.hops}; ttl security on;"] if session.hops else ["multihop;"]
        return f"protocol bgp {session.name} from outside {{ {' '.join(words)} }}"


def _change(route: Route) -> str:
    said = f"bgp_next_hop = {route.next_hop}; " if route.next_hop else ""
    return said + "".join(f"bgp_path.prepend({number}); " for number in reversed(route.as_path))


def _paths(text: str) -> Iterator[Seen]:
    """`show route all`, read."""
    prefix = ""
    for part in re.split(r"\n(?=\S| +\S+ \[)", text):
        head = re.match(r"(\S*/\d+)? +(?:unicast|blackhole|unreachable|prohibit) \[(\S+) ", part)
        if not head:
            continue
        prefix = head[1] or prefix
        said = dict(re.findall(r"BGP\.(\w+): ?(.*)", part))
        external = "BGP.local_pref" not in part or "AS" in part.splitlines()[0]
        yield Seen(
            prefix=prefix,
            next_hop=said.get("next_hop", ""),
            peer=head[2] if "BGP.as_path" in part else "",
            as_path=said.get("as_path", "").strip(),
            local_pref=None if external else int(said["local_pref"]),
            originator=said.get("originator_id", ""),
            clusters=tuple(said.get("cluster_list", "").split()),
        )
