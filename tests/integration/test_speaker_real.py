"""Our side of the speaker with real ExaBGPs and a real BIRD, on loopback addresses."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from etcd_servers import free_ports
from speaker_lab import ENVIRONMENT, PATIENCE, Lab, Node, until

from bgpnet.bgp import launcher
from bgpnet.bgp.export import Advert
from bgpnet.bgp.lines import PeerDown, PeerUp, Update
from bgpnet.bgp.speaker import Away, Speaker, Synced
from bgpnet.errors import SpeakerAway, UsageError
from bgpnet.model import ip

FIRST, SECOND, THIRD, MARK = "10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26", "10.244.99.0/26"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def pss(pid: int) -> float:
    """MiB of memory that a process answers for."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in rollup if line.startswith("Pss:")).split()[1]) / 1024


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_three_nodes_learn_from_each_other(lab: Lab) -> None:
    began = monotonic()
    nodes = lab.mesh("127.50.0.1", "127.50.0.2", "127.50.0.3")
    took = monotonic() - began
    own = dict(zip(nodes, (FIRST, SECOND, THIRD), strict=True))
    for node in nodes:
        node.tell(nodes, own[node])
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.await_routes(other, own[other])
                node.await_end(other)
    learned = {(path.peer, path.next_hop) for path in nodes[0].agent.table.paths()}
    assert learned == {(other.address, other.address) for other in nodes[1:]}
    exabgp, (relay,) = pss(nodes[0].pid), map(pss, children(nodes[0].pid))
    print(f"start to established: {took:.2f} s; PSS of exabgp {exabgp:.1f} MiB, of its relay {relay:.1f} MiB")
    assert exabgp + relay < 50


def test_an_agent_is_killed_and_its_successor_changes_nothing(lab: Lab) -> None:
    a, b = lab.mesh("127.50.1.1", "127.50.1.2")
    a.tell([b], FIRST)
    b.tell([a], SECOND)
    a.await_routes(b, SECOND)
    b.await_routes(a, FIRST)
    b.await_end(a)
    before, updates = a.agent.table, len(b.agent.of(Update))
    a.disconnect()
    a.connect()
    until(lambda: a.agent.of(Synced), "the successor has read the speaker")
    assert (a.agent.table, a.agent.up) == (before, {b.address})
    a.tell([b], FIRST)
    a.tell([b], FIRST, MARK)
    b.await_routes(a, FIRST, MARK)
    assert [len(one.announced) + len(one.withdrawn) for one in b.agent.of(Update)[updates:]] == [1]
    assert b.agent.of(PeerDown) == []


def test_exabgp_is_killed_and_started_again_without_losing_a_route(lab: Lab) -> None:
    a, b = lab.mesh("127.50.2.1", "127.50.2.2")
    a.tell([b], FIRST, THIRD)
    b.tell([a], SECOND)
    b.await_routes(a, FIRST, THIRD)
    a.await_routes(b, SECOND)
    ups = len(b.agent.of(PeerUp))
    a.stop(signal.SIGKILL)
    until(lambda: b.agent.of(PeerDown), "the session is lost")
    assert b.agent.of(PeerDown)[0].lost
    assert [path.stale for path in b.agent.table.paths()] == [True, True]
    until(lambda: a.agent.of(Away), "the agent sees its speaker go")
    with pytest.raises(SpeakerAway, match=r"speaker\.sock"):
        a.tell([b], FIRST)
    a.start()
    until(lambda: len(b.agent.of(PeerUp)) > ups, "the session is back")
    b.await_end(a)
    b.await_routes(a, FIRST)
    assert not any(path.stale for path in b.agent.table.paths())
    opened = b.agent.of(PeerUp)[ups].opened
    assert (opened.restarted, opened.restart_time) == (True, 120)
    a.await_routes(b, SECOND)


def test_an_agent_that_does_not_read_stops_nothing(lab: Lab) -> None:
    hold = 6  # twice the least: a busy machine keeps ExaBGP from speaking for seconds
    a, b = lab.mesh("127.50.3.1", "127.50.3.2", hold_time=hold)
    b.tell([a])
    a.disconnect()
    adverts = frozenset(Advert(ip.network(f"10.{100 + n // 256}.{n % 256}.0/26")) for n in range(1000))
    with socket.socket(socket.AF_UNIX) as asleep:
        asleep.connect(str(a.socket))
        asleep.sendall(b"show adj-rib in json\n")
        end, rounds = monotonic() + 1.5 * hold, 0
        while monotonic() < end:  # past the hold time, and more than the socket takes
            rounds += 1
            b.agent.speaker.set({a.address: adverts if rounds % 2 else frozenset()})
        assert b.agent.of(PeerDown) == []
        b.tell([a], SECOND)
        a.connect()
        a.await_routes(b, SECOND)
        assert a.agent.up == {b.address}


def test_what_is_said_fast_ends_right(lab: Lab) -> None:
    a, b = lab.mesh("127.50.4.1", "127.50.4.2")
    for turn in range(40):
        prefix = f"10.244.{100 + turn}.0/26"
        a.tell([b], prefix, FIRST)
        a.agent.speaker.set({b.address: frozenset({Advert(ip.network(FIRST), communities=(f"64512:{turn}",))})})
        if turn % 3:
            a.tell([b], prefix)
    a.tell([b], MARK, FIRST)
    b.await_routes(a, MARK, FIRST)
    until(lambda: not any(path.communities for path in b.agent.table.paths()), "the last attributes")


def queue(node: Node, *commands: str) -> None:
    """Give commands all at once, without waiting for answers in between, in place of the node's agent."""
    node.disconnect()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(node.socket))
        raw.sendall("".join(f"{command}\n" for command in commands).encode())
        with raw.makefile() as answers:
            for _ in commands:
                while next(answers) not in ("done\n", "error\n"):
                    pass
    node.connect()


def test_of_commands_for_one_prefix_queued_together_the_last_one_wins(lab: Lab) -> None:
    """Stock ExaBGP sends them by attributes: the peer ends with 64512:2, or without what was announced last."""
    a, b = lab.mesh("127.50.11.1", "127.50.11.2")
    to = f"neighbor {b.address}"
    one, two = (f"{to} announce attributes next-hop self community [ 64512:{n} ] nlri" for n in (1, 2))
    gone = f"{to} withdraw attributes next-hop self nlri"
    queue(
        a,
        *(f"{what} {FIRST}" for what in (one, two, one)),
        *(f"{what} {SECOND}" for what in (one, gone, one)),
        *(f"{what} {THIRD}" for what in (two, one, gone)),
        f"{one} {MARK}",
    )
    b.await_routes(a, FIRST, SECOND, MARK)
    assert {path.communities for path in b.agent.table.paths()} == {("64512:1",)}


def test_a_reload_is_not_forgotten_while_updates_wait(lab: Lab) -> None:
    """Stock ExaBGP answers done, and does not reload."""
    a, b = lab.mesh("127.50.12.1", "127.50.12.2")
    c = lab.node("127.50.12.3")
    a.configure(a.neighbour(b), a.neighbour(c))
    nlri = " ".join(f"10.{n // 256}.{n % 256}.0/26" for n in range(1000))
    a.disconnect()
    with socket.socket(socket.AF_UNIX) as raw, raw.makefile() as answers:
        raw.settimeout(PATIENCE)
        raw.connect(str(a.socket))
        raw.sendall(f"neighbor {b.address} announce attributes next-hop self nlri {nlri}\nreload\n".encode())
        while next(answers) != "reload in progress\n":
            pass
        raw.sendall(b"show neighbor json\n")
        neighbours = next(line for line in answers if line.startswith("["))
    assert str(c.address) in neighbours


def test_a_lost_session_does_not_slow_the_others(lab: Lab) -> None:
    """Stock ExaBGP keeps the dead descriptor in its poll set: these updates would take 15 s and more."""
    a, b, c = lab.mesh("127.50.5.1", "127.50.5.2", "127.50.5.3")
    c.stop(signal.SIGKILL)
    until(lambda: c.address not in a.agent.up and c.address not in b.agent.up, "the sessions are lost")
    adverts = [Advert(ip.network(f"10.{n // 256}.{n % 256}.0/26"), communities=(f"64512:{n}",)) for n in range(1500)]
    began = monotonic()
    b.agent.speaker.set({a.address: frozenset(adverts)})
    until(lambda: len(a.agent.prefixes(b.address)) == len(adverts), "1,500 updates of one prefix each")
    assert monotonic() - began < 12.0


def test_reload_adds_and_removes_neighbours_and_leaves_the_others_alone(lab: Lab) -> None:
    a, b, c = (lab.node(f"127.50.6.{n}") for n in (1, 2, 3))
    a.configure()
    b.configure(b.neighbour(a))
    c.configure(c.neighbour(a))
    for node in (a, b, c):
        node.start()
        node.connect()
    until(lambda: a.agent.of(Synced), "a speaker without neighbours can be read")
    assert a.agent.speaker.reload() == frozenset()
    a.tell([b, c], FIRST)
    a.configure(a.neighbour(b))
    assert a.agent.speaker.reload() == {b.address}
    b.await_routes(a, FIRST)
    a.configure(a.neighbour(b), a.neighbour(c))
    assert a.agent.speaker.reload() == {b.address, c.address}
    c.await_routes(a, FIRST)
    c.await_end(a)
    assert b.agent.of(PeerDown) == []
    a.configure(a.neighbour(c))
    assert a.agent.speaker.reload() == {c.address}
    until(lambda: b.agent.of(PeerDown), "the removed one is left")
    assert c.agent.of(PeerDown) == []


def test_a_reload_follows_another_port(lab: Lab) -> None:
    a, b = lab.mesh("127.50.7.1", "127.50.7.2")
    ups = len(b.agent.of(PeerUp))
    (a.port,) = free_ports(1)
    a.configure(a.neighbour(b))
    a.agent.speaker.reload()
    b.configure(b.neighbour(a))
    b.agent.speaker.reload()
    until(lambda: len(b.agent.of(PeerUp)) > ups, "the session over the new port")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(a.address), lab.port), PATIENCE)


def bird_conf(far: Node, near: Node) -> str:
    return f"""
        router id {far.address};
        protocol device {{ }}
        protocol static {{ ipv4; route 10.99.0.0/24 blackhole; }}
        protocol bgp near {{
            local {far.address} port {far.port} as {far.as_number};
            neighbor {near.address} port {near.port} as {near.as_number};
            strict bind on; multihop; graceful restart on; connect delay time 1; connect retry time 1;
            ipv4 {{ import all; export all; }};
        }}
        """


def test_with_a_real_bird(lab: Lab) -> None:
    near, far = lab.node("127.50.8.1"), lab.node("127.50.8.2", 65001)
    near.configure(near.neighbour(far, passive=False))
    near.start()
    near.connect()
    birdc = lab.bird(bird_conf(far, near))
    near.await_up(far)
    near.tell([far], FIRST)
    near.await_routes(far, "10.99.0.0/24")
    near.await_end(far)
    (path,) = near.agent.table.paths()
    assert (path.next_hop, path.as_path, path.external) == (far.address, (65001,), True)
    until(lambda: FIRST in birdc("show route protocol near"), "BIRD has our route")
    near.stop(signal.SIGKILL)
    until(lambda: "Established" not in birdc("show protocols near"), "BIRD has lost us")
    assert FIRST in birdc("show route protocol near")
    near.start()
    until(lambda: "Established" in birdc("show protocols near"), "BIRD has us back")
    assert FIRST in birdc("show route protocol near")
    until(lambda: len(near.agent.of(Synced)) >= 2, "our agent has read the new speaker")
    near.await_routes(far, "10.99.0.0/24")
    near.tell([far], SECOND)
    until(lambda: SECOND in birdc("show route protocol near"), "BIRD has our other route")
    until(lambda: FIRST not in birdc("show route protocol near"), "and the first one no more")
    birdc("disable near")
    until(lambda: far.address not in near.agent.up, "BIRD says goodbye")
    assert near.agent.prefixes(far.address) == set()


def test_it_waits_for_its_file_and_ends_when_told(tmp_path: Path) -> None:
    node = Node(tmp_path, "127.50.9.1", 1790)
    node.start()
    until(lambda: f"waiting for {node.folder / 'exabgp.conf'}" in node.log(), "it says what it waits for")
    assert node.stop() == 0


def test_it_ends_when_told(lab: Lab) -> None:
    a, b = lab.mesh("127.50.10.1", "127.50.10.2")
    (relay,) = children(a.pid)
    assert a.stop() == 0
    until(lambda: not Path(f"/proc/{relay}").exists(), "its relay ends with it")
    until(lambda: a.agent.of(PeerDown) and b.agent.of(PeerDown), "both see it")
    assert b.agent.of(PeerDown)[0].lost
    assert a.agent.of(PeerDown)[0].lost


def test_it_ends_when_told_during_a_reload(lab: Lab) -> None:
    """Stock ExaBGP ignores a SIGTERM that comes between the command and the reload."""
    a, b = lab.mesh("127.50.13.1", "127.50.13.2")
    a.disconnect()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(a.socket))
        raw.sendall(b"reload\n" * 500)
        raw.recv(1)
        assert a.stop() == 0
    until(lambda: b.agent.of(PeerDown), "the other sees it")


def test_another_exabgp_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"^exabgp 5\.0\.15 is needed and 5\.0\.16 is installed; run: pip install"):
        launcher.check_version("5.0.16")
    launcher.check_version(launcher.installed())


def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path / "no.sock", lambda event: None)
    began = monotonic()
    with pytest.raises(SpeakerAway, match=r"no\.sock"):
        speaker.set({})
    assert monotonic() - began < 10.0  # and not the seconds that it tries who does not answer


def test_every_golden_file_is_one_that_exabgp_reads(tmp_path: Path) -> None:
    files = sorted((Path(__file__).parent.parent / "unit" / "golden").glob("exabgp-*.conf"))
    assert files
    for file in files:
        mine = tmp_path / file.name
        mine.write_text(file.read_text().replace("/usr/bin/python3", sys.executable))
        asked = subprocess.run(
            [sys.executable, "-m", "exabgp", "validate", str(mine)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=ENVIRONMENT,
        )
        assert asked.returncode == 0, asked.stdout + asked.stderr
