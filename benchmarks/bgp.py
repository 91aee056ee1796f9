"""Learning by BGP beside BIRD: the same UPDATEs, from the first one sent to the last route in the kernel.

    python -m benchmarks.bgp [--quick]

Each receiver has a namespace, with a link to another one that the peers' addresses are in; BIRD is configured as Calico
has it (next hops resolved recursively). Both run all the time, and take turns in every round.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks import hosts, spawn, updates
from benchmarks.table import Row, add, percentile, render
from benchmarks.updates import RTM_DELROUTE, RTM_NEWROUTE, Routes, Session
from bgpnet.agent.learn import SETTLE
from bgpnet.bgp.conf import Neighbour, SpeakerConf
from bgpnet.bgp.conf import render as conf_text
from bgpnet.bgp.export import Advert
from bgpnet.bgp.speaker import Speaker
from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway
from bgpnet.model import ip

OURS, BIRD = "ours", "BIRD"
ADDRESS = IPv4Address("172.16.0.1")
FIRST_PEER = IPv4Address("172.16.1.1")
FIRST_HOP = IPv4Address("172.16.16.1")
BLOCKS = IPv4Network("10.0.0.0/8")
ROUTES, NEXT_HOPS, PEERS, MANY = 10_000, 1_000, 100, 100_000
LOOSE = 10.0
"""How long 100,000 routes take is told; what counts is that no session drops, which ends the run."""
SINGLE_LIMIT, START_LIMIT = 5.0, 2.0
"""ms for one block to the remote kernel; seconds for sessions to come up."""
DEADLINE = 60.0
LOOK = 0.01
OBJECTS = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: others}
spec: {cidr: %s, ipipMode: Never, natOutgoing: false, disabled: true}
"""
NODE = """\
---
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: peer%d}
spec: {bgp: {ipv4Address: %s/16, asNumber: 64512}}
"""
CONF = """\
router id {address};
protocol device {{}}
protocol direct {{ ipv4; interface "up0"; }}
protocol kernel {{ persist; scan time 2; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
template bgp mesh {{
  local {address} as 64512; multihop; passive; graceful restart on;
  ipv4 {{ import all; export none; gateway recursive; next hop self; }};
}}
{sessions}
"""


def peers(count: int) -> list[IPv4Address]:
    """The addresses of so many peers."""
    return [FIRST_PEER + number for number in range(count)]


def blocks(count: int) -> list[IPv4Network]:
    """So many blocks."""
    return list(islice(BLOCKS.subnets(new_prefix=26), count))


@dataclass
class Receiver:
    """One of those that are compared: its namespace, that of its peers, and its sessions with them."""

    name: str
    netns: str
    far: str
    start: Callable[[], subprocess.Popen[bytes]]
    sessions: list[Session] = field(default_factory=list)
    routes: Routes | None = None

    def turn(self, kind: int, count: int, parts: Sequence[bytes]) -> float:
        """Each peer says its part; ms until the kernel has so many routes more, or less."""
        assert self.routes is not None
        self.routes.drain()
        begun = time.perf_counter()
        for session, part in zip(self.sessions, parts, strict=False):
            session.send(part)
        return (self.routes.await_(kind, count) - begun) * 1000

    def connect(self, count: int) -> None:
        """So many peers, all at once."""
        with spawn.inside(self.far):
            self.sessions = [Session(address, ADDRESS) for address in peers(count)]


@contextmanager
def network(receiver: Receiver, count: int) -> Iterator[None]:
    """The two namespaces with the link between them, and the notifications of routes."""
    with spawn.namespaces([receiver.netns, receiver.far]):
        hosts.ip(
            receiver.netns,
            f"link add up0 type veth peer name up1 netns {receiver.far}",
            f"addr add {ADDRESS}/16 dev up0",
            "link set up0 up",
            "link set lo up",
        )
        hosts.ip(receiver.far, "link set up1 up", *(f"addr add {one}/16 dev up1" for one in peers(count)))
        with updates.watched(receiver.netns) as receiver.routes:
            yield


def started(command: Sequence[str], netns: str, log: Path, **env: str) -> subprocess.Popen[bytes]:
    """A program in a namespace."""
    with spawn.inside(netns), log.open("ab") as out:
        return subprocess.Popen(command, env=os.environ | env, stdout=out, stderr=out)


@contextmanager
def running(*programs: subprocess.Popen[bytes]) -> Iterator[None]:
    """They end with the block."""
    try:
        yield
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait(DEADLINE)


@contextmanager
def bird(folder: Path, count: int) -> Iterator[Receiver]:
    """A BIRD with so many passive sessions."""
    program = shutil.which("bird") or "/usr/sbin/bird"
    if not Path(program).exists():
        raise SystemExit("make bench compares with BIRD: apt-get install bird2")
    lines = (
        f"protocol bgp p{number} from mesh {{ neighbor {one} as 64512; }}" for number, one in enumerate(peers(count))
    )
    (folder / "bird.conf").write_text(CONF.format(address=ADDRESS, sessions="\n".join(lines)))
    command = [program, "-f", "-c", str(folder / "bird.conf"), "-s", str(folder / "bird.ctl")]
    receiver = Receiver(
        BIRD, "bench-bird", "bench-bird-far", lambda: started(command, "bench-bird", folder / "bird.log")
    )
    with network(receiver, count), running(receiver.start()):
        receiver.connect(count)
        yield receiver


class Ours:
    """A node of ours: its environment, and its two programs."""

    def __init__(self, name: str, netns: str, folder: Path, address: IPv4Address, objects: str) -> None:
        self.home = folder / name
        self.home.mkdir()
        self.netns = netns
        self.env = {
            "BGPNET_NODE": name,
            "BGPNET_DATASTORE": f"sqlite://{self.home}/store.db",
            "BGPNET_RUN_DIR": str(self.home / "run"),
            "BGPNET_STATE_DIR": str(self.home / "state"),
            "BGPNET_CNI_CONF_DIR": str(self.home / "net.d"),
            "BGPNET_IP": f"{address}/16",
        }
        command = [sys.executable, "-m", "bgpnet_ctl", "create", "-f", "-"]
        subprocess.run(
            command,
            env=os.environ | self.env,
            input=objects.encode(),
            check=True,
            timeout=DEADLINE,
            capture_output=True,
        )

    def start(self, part: str) -> subprocess.Popen[bytes]:
        """`agent` or `speaker`."""
        return started([sys.executable, "-m", "bgpnet", part], self.netns, self.home / f"{part}.log", **self.env)

    def sessions_up(self) -> int:
        """By the agent's own word."""
        with suppress(AgentAway):
            status = AgentClient(self.home / "run" / "agent.sock", timeout=DEADLINE).ask("status")
            return sum(peer["state"] == "up" for peer in status["peers"])
        return 0

    def await_up(self, count: int) -> None:
        """Until so many sessions are."""
        deadline = time.monotonic() + DEADLINE
        while self.sessions_up() < count:
            if time.monotonic() > deadline:
                logs = "".join((self.home / f"{part}.log").read_text()[-2000:] for part in ("agent", "speaker"))
                raise SystemExit(f"{self.sessions_up()} of {count} sessions are up:\n{logs}")
            time.sleep(LOOK)


@contextmanager
def ours(folder: Path, count: int) -> Iterator[Receiver]:
    """An agent with its speaker, in a mesh with so many peers of higher addresses, which dial."""
    receiver = Receiver(OURS, "bench-ours", "bench-ours-far", lambda: node.start("agent"))
    with network(receiver, count):
        objects = OBJECTS % BLOCKS + "".join(NODE % (number, one) for number, one in enumerate(peers(count)))
        node = Ours(f"ours{count}", receiver.netns, folder, ADDRESS, objects)
        with running(node.start("agent"), node.start("speaker")):
            receiver.connect(count)
            node.await_up(count)
            time.sleep(SETTLE)  # from then on what is withdrawn is removed
            yield receiver


def packed(routes: int = ROUTES) -> bytes:
    """So many routes over a thousand next hops, all of a next hop in one UPDATE."""
    nets, each = blocks(routes), routes // NEXT_HOPS
    return b"".join(
        updates.announcement(nets[number * each : (number + 1) * each], FIRST_HOP + number)
        for number in range(NEXT_HOPS)
    )


def unpacked() -> bytes:
    """One route in an UPDATE."""
    return b"".join(
        updates.announcement([net], FIRST_HOP + number % NEXT_HOPS) for number, net in enumerate(blocks(ROUTES))
    )


def shared() -> list[bytes]:
    """A hundred routes of each of a hundred peers, each with ten next hops."""
    nets, each = blocks(ROUTES), ROUTES // PEERS
    return [
        b"".join(
            updates.announcement(nets[number * each + at : number * each + at + 10], FIRST_HOP + number * 10 + at // 10)
            for at in range(0, each, 10)
        )
        for number in range(PEERS)
    ]


def gone(routes: int = ROUTES) -> bytes:
    """All of them, 800 in an UPDATE."""
    nets = blocks(routes)
    return b"".join(updates.withdrawal(nets[at : at + 800]) for at in range(0, routes, 800))


def each_gone() -> list[bytes]:
    """What each of a hundred peers withdraws."""
    nets, each = blocks(ROUTES), ROUTES // PEERS
    return [updates.withdrawal(nets[number * each : (number + 1) * each]) for number in range(PEERS)]


Parts = Sequence[bytes]


def compare(receivers: Sequence[Receiver], come: Parts, go: Parts, count: int, rounds: int) -> list[dict[str, float]]:
    """Medians, in ms, of learning and of losing so many routes, by receiver; in turns."""
    came: dict[str, list[float]] = {one.name: [] for one in receivers}
    went: dict[str, list[float]] = {one.name: [] for one in receivers}
    for _ in range(rounds):
        for receiver in receivers:
            came[receiver.name].append(receiver.turn(RTM_NEWROUTE, count, come))
            went[receiver.name].append(receiver.turn(RTM_DELROUTE, count, go))
    return [{name: median(values) for name, values in each.items()} for each in (came, went)]


def row(metric: str, found: dict[str, float], goal: float) -> Row:
    """Ours beside BIRD."""
    return Row(metric, found[OURS], found[BIRD], "BIRD", "ms", goal)


def learning(folder: Path, rounds: int) -> list[Row]:
    """One peer, then a hundred."""
    rows = []
    with ours(folder, 1) as mine, bird(folder, 1) as other:
        both = (mine, other)
        came, went = compare(both, [packed()], [gone()], ROUTES, rounds)
        rows += [row("BGP: 10,000 routes learned, packed", came, 2.5), row("BGP: 10,000 routes withdrawn", went, 2.5)]
        came, _ = compare(both, [unpacked()], [gone()], ROUTES, rounds)
        rows.append(row("BGP: 10,000 routes, one in an UPDATE", came, 7.0))
        came, _ = compare(both, [packed(MANY)], [gone(MANY)], MANY, 1)
        rows.append(row("BGP: 100,000 routes learned, no session dropped", came, LOOSE))
        if not all(session.alive() for one in both for session in one.sessions):
            raise SystemExit("a session was dropped while 100,000 routes came and went")
    with ours(folder, PEERS) as mine, bird(folder, PEERS) as other:
        came, _ = compare((mine, other), shared(), each_gone(), ROUTES, rounds)
        rows.append(row("BGP: 10,000 routes from 100 peers", came, 2.5))
    return rows


@contextmanager
def near(folder: Path, netns: str) -> Iterator[Speaker]:
    """Our own speaker as the first peer, and who speaks to it."""
    home = folder / "near"
    home.mkdir()
    address = ip.address(str(FIRST_PEER))
    neighbour = Neighbour(ip.address(str(ADDRESS)), address, updates.AS_NUMBER, updates.AS_NUMBER)
    conf = SpeakerConf(address, address, 179, (neighbour,))
    relay = (sys.executable, "-m", "bgpnet.bgp.relay", str(home / "speaker.sock"))
    (home / "exabgp.conf").write_text(conf_text(conf, relay))
    speaker, stop = Speaker(home / "speaker.sock", lambda event: None), threading.Event()
    thread = threading.Thread(target=speaker.run, args=(stop,))
    program = [sys.executable, "-m", "bgpnet", "speaker", "--run-dir", str(home)]
    with running(started(program, netns, home / "speaker.log")):
        thread.start()
        try:
            yield speaker
        finally:
            stop.set()
            thread.join(DEADLINE)


def single(folder: Path, samples: int) -> list[Row]:
    """One block more that a node announces, and withdraws again, to one that has 1,000; and how sessions come up."""
    receiver = Receiver(OURS, "bench-ours", "bench-ours-far", lambda: node.start("agent"))
    far = ip.address(str(ADDRESS))
    had = {Advert(ip.network(str(net))) for net in blocks(ROUTES + 11)[ROUTES:]}
    new = Advert(ip.network(str(blocks(ROUTES + 11)[-1])))
    came: list[float] = []
    went: list[float] = []
    with network(receiver, 2), ExitStack() as stack:
        objects = "".join(NODE % (number, one) for number, one in enumerate(peers(2)))
        node = Ours("single", receiver.netns, folder, ADDRESS, OBJECTS % BLOCKS + objects)
        routes = receiver.routes
        assert routes is not None
        stack.enter_context(running(node.start("agent")))
        speaker = stack.enter_context(near(folder, receiver.far))
        ups = []
        for _ in range(3):
            begun = time.perf_counter()
            program = node.start("speaker")
            node.await_up(1)
            ups.append(time.perf_counter() - begun)
            program.terminate()
            program.wait(DEADLINE)
        stack.enter_context(running(node.start("speaker")))
        with spawn.inside(receiver.far):
            other = Session(peers(2)[1], ADDRESS)
        stack.callback(other.end)
        node.await_up(2)
        other.send(packed(NEXT_HOPS))
        speaker.set({far: frozenset(had - {new})})
        routes.await_(RTM_NEWROUTE, NEXT_HOPS + len(had) - 1)
        time.sleep(SETTLE)  # from then on what is withdrawn is removed
        for _ in range(samples):
            for kind, wish, times in (
                (RTM_NEWROUTE, had, came),
                (RTM_DELROUTE, had - {new}, went),
            ):
                routes.drain()
                begun = time.perf_counter()
                teller = threading.Thread(target=speaker.set, args=({far: frozenset(wish)},))
                teller.start()
                times.append((routes.await_(kind, 1) - begun) * 1000)
                teller.join(DEADLINE)
    return [
        Row("BGP: one block, announced -> remote kernel p50", percentile(came, 0.5), SINGLE_LIMIT, "limit", "ms", 1.0),
        Row("BGP: one block, announced -> remote kernel p99", percentile(came, 0.99), 20.0, "limit", "ms", 1.0),
        Row("BGP: one block, withdrawn -> remote kernel p50", percentile(went, 0.5), SINGLE_LIMIT, "limit", "ms", 1.0),
        Row("BGP: speaker's start -> sessions up", median(ups), START_LIMIT, "limit", "s", 1.0),
    ]


def main() -> None:
    """Prints the table, and adds to build/bench.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bgp", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of everything (%(default)s)")
    parser.add_argument("--samples", type=int, default=60, help="blocks announced one by one (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round: for a look, not for a claim")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="figures (%(default)s)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.samples = 1, 20
    with tempfile.TemporaryDirectory(prefix="bgpnet-bench-") as folder:
        rows = [*single(Path(folder), chosen.samples), *learning(Path(folder), chosen.rounds)]
    print(render(rows))
    add(rows, chosen.out)


if __name__ == "__main__":
    main()
