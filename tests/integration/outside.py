"""A BGP router outside the cluster, run by a test in a node of its own: what FRR, GoBGP and BIRD have in common.

Each has its own sockets and files, nothing global; its table is read back in one form, whichever program it is:

    10.244.1.0/26 via 192.0.2.1 from n1 as 64512
    10.244.1.0/26 via 192.0.2.1 from n1 as - lp 100 originator 192.0.2.1 clusters 192.0.2.101
    10.99.0.0/24 own
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent_parts import Process, eventually

from bgpnet.lab.nodes import Lab

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """One session of the router, called `name`. client: of the reflector that the router is. hops: TTL security."""

    name: str
    address: str
    as_number: int = 64512
    client: bool = False
    password: str = ""
    hops: int = 0
    port: int = 179


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the router's own. next_hop: another one than the router. as_path: put before the router's own AS."""

    prefix: str
    next_hop: str = ""
    as_path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A path in the router's table. peer: the session's name, nothing for its own."""

    prefix: str
    next_hop: str
    peer: str
    as_path: str = ""
    local_pref: int | None = None
    originator: str = ""
    clusters: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """As in the heading of this file."""
        if not self.peer:
            return f"{self.prefix} own"
        parts = [f"{self.prefix} via {self.next_hop} from {self.peer} as {self.as_path or '-'}"]
        parts += [f"lp {self.local_pref}"] if self.local_pref is not None else []
        parts += [f"originator {self.originator}"] if self.originator else []
        parts += [f"clusters {' '.join(self.clusters)}"] if self.clusters else []
        return " ".join(parts)


def needed(program: str, package: str) -> str:
    """Where the program is; fails with the command that installs it."""
    found = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/lib/frr")
    assert found, f"{program} is missing; run: apt-get install {package}"
    return found


class Outside:
    """One router. In a topology that starts it itself only the questions are for the test, and `speak` is not."""

    def __init__(
        self, lab: Lab, folder: Path, address: str, as_number: int, *, node: str = "switch", link: str = "br0"
    ) -> None:
        self.lab, self.folder, self.address, self.as_number, self.node = lab, folder, address, as_number, node
        self.link = link
        self.sessions: tuple[Session, ...] = ()
        self.programs: list[Process] = []

    def speak(self, sessions: Sequence[Session], routes: Sequence[Route] = ()) -> None:
        """(Re)start with these sessions and own routes; everything heard is told to all, as BGP permits."""
        self.end()
        self.sessions = tuple(sessions)
        self.lab.exec(self.node, ["ip", "address", "replace", f"{self.address}/24", "dev", self.link])
        self.configure(sessions, routes)
        for program in self.programs:
            program.start()
        eventually(self._answers, self.log, PATIENCE)
        for route in routes:
            self.announce(route)

    def configure(self, sessions: Sequence[Session], routes: Sequence[Route]) -> None:
        """Write its configuration, and say which programs are to be started."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def announce(self, route: Route) -> None:
        """One more route of its own."""
        raise NotImplementedError

    def withdraw(self, route: Route) -> None:
        """The end of an own route."""
        raise NotImplementedError

    def since(self, name: str) -> str:
        """When the session came up; nothing while it is down."""
        raise NotImplementedError

    def seen(self) -> list[Seen]:
        """Its whole table."""
        raise NotImplementedError

    # the same for all

    def _answers(self) -> bool:
        assert all(one.running for one in self.programs), self.log()
        return self.answers()

    def table(self) -> list[str]:
        """Its whole table, a sorted line for each path."""
        return sorted(one.line for one in self.seen())

    def heard(self, name: str) -> set[str]:
        """The prefixes that the table has of a session."""
        return {one.prefix for one in self.seen() if one.peer == name}

    def up(self, *names: str) -> None:
        """Wait for these sessions, or for all of them."""
        for name in names or [one.name for one in self.sessions]:
            eventually(lambda name=name: bool(self.since(name)), self.log, PATIENCE)

    def shows(self, expected: str) -> None:
        """Wait until the whole table is this text, whose lines may be indented."""
        wanted = sorted(line.strip() for line in expected.splitlines() if line.strip())
        eventually(lambda: self.table() == wanted, lambda: "\n".join(["it has:", *self.table()]), PATIENCE)

    def ask(self, *argv: str) -> str:
        """What a program says inside the node."""
        done = self.lab.exec(self.node, argv)
        return done.stdout + done.stderr

    def log(self) -> str:
        """What its programs have written."""
        return "\n".join(one.log.read_text() for one in self.programs if one.log.exists())

    def end(self) -> None:
        """As the other programs of the test."""
        for program in self.programs:
            program.end(signal.SIGKILL)
        self.programs = []

    def named(self, address: str) -> str:
        """The session with an address by its name, the address if there is none."""
        return next((one.name for one in self.sessions if one.address == address), address)

    def process(self, part: str, *argv: str) -> Process:
        """A program that is not started yet."""
        return Process(self.lab, self.node, argv, self.folder / f"{self.address}-{part}.log")
