"""Sessions as BGPPeers ask for them, with a real BIRD as switch: passwords, TTL security, ports, own AS numbers."""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bird_time import BirdTime
from etcd_servers import free_ports
from speaker_lab import Lab, Node, until

from bgpnet.bgp.conf import Neighbour
from bgpnet.bgp.lines import PeerDown
from bgpnet.bgp.speaker import Synced
from bgpnet.model import ip

ROUTE = "10.99.0.0/24"
WORDS = ("the-first-word", "the-second-word")
MINE = "10.244.1.0/26"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.end()


class Switch:
    """A BIRD with one session, p; it can have only one with an address."""

    def __init__(self, lab: Lab, near: Node, far: Node, more: str = "", neighbour: str = "") -> None:
        self._conf = lab.folder / f"{far.address}.conf"
        self._near, self._far, self._neighbour = near, far, neighbour or f"{near.address}"
        self.ask: Callable[[str], str] = lab.bird(self._text(more), str(far.address))

    def _text(self, more: str) -> str:
        near, far = self._near, self._far
        return f"""
            router id {far.address};
            protocol device {{ }}
            protocol static {{ ipv4; route {ROUTE} blackhole; }}
            protocol bgp p {{
                local {far.address} port {far.port} as {far.as_number};
                neighbor {self._neighbour} port {near.port} as {near.as_number};
                strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 2;
                graceful restart on; ipv4 {{ import all; export all; }};
                {"" if "multihop" in more else "multihop;"} {more}
            }}
            """

    def become(self, more: str) -> None:
        """The session's other options from now on."""
        self._conf.write_text(self._text(more))
        said = self.ask("configure")
        assert "Reconfigur" in said, said

    @property
    def since(self) -> str:
        """When the session came up; nothing while it is down."""
        found = re.search(r"^p +BGP +--- +up +(\S+) +Established", self.ask("show protocols"), re.MULTILINE)
        return BirdTime(found[1] if found else "")

    def hears(self, prefix: str) -> bool:
        return prefix in self.ask("show route protocol p")


def started(near: Node, *neighbours: Neighbour) -> Node:
    near.configure(*neighbours)
    near.start()
    near.connect()
    return near


def test_a_changed_password_touches_no_other_session(lab: Lab) -> None:
    near, one, other = lab.node("127.51.1.1"), lab.node("127.51.1.2", 65001), lab.node("127.51.1.3", 65002)
    plain = near.neighbour(other, passive=False)
    guarded, quiet = Switch(lab, near, one, f'password "{WORDS[0]}";'), Switch(lab, near, other)
    started(near, near.neighbour(one, passive=False, password=WORDS[0]), plain)
    near.await_up(one, other)
    near.tell([one, other], MINE)
    near.await_routes(one, ROUTE)
    until(lambda: guarded.since and quiet.since, "both are up")
    before = quiet.since
    near.configure(near.neighbour(one, passive=False, password=WORDS[1]), plain)
    near.agent.speaker.reload()
    until(lambda: not guarded.since, "the session with the old password ends")
    guarded.become(f'password "{WORDS[1]}";')
    until(lambda: guarded.since, "the session with the new password is up")
    near.await_up(one)
    until(lambda: guarded.hears(MINE), "BIRD has our route again")
    assert quiet.since == before
    assert other.address not in [event.peer for event in near.agent.of(PeerDown)]
    assert all(word not in near.log() for word in WORDS)


def test_ttl_security_keeps_out_who_may_be_far_away(lab: Lab) -> None:
    near, close, far = lab.node("127.51.2.1"), lab.node("127.51.2.2", 65001), lab.node("127.51.2.3", 65002)
    guarded = [near.neighbour(peer, passive=False, hops=1) for peer in (close, far)]
    # BIRD sends with TTL 255 where it checks the TTL itself, else with 64
    same, plain = Switch(lab, near, close, "multihop 1; ttl security on;"), Switch(lab, near, far)
    started(near, *guarded)
    near.await_up(close)
    until(lambda: same.since, "the session of which both ends check the TTL")
    near.await_routes(close, ROUTE)
    assert not plain.since
    assert far.address not in near.agent.up


@pytest.mark.parametrize("passive", [True, False])
def test_ttl_security_whoever_dials(lab: Lab, passive: bool) -> None:
    near, close = lab.node("127.51.3.1"), lab.node("127.51.3.2", 65001)
    started(near, near.neighbour(close, passive=passive, hops=1))
    bird = Switch(lab, near, close, f"multihop 1; ttl security on; {'' if passive else 'passive;'}")
    near.await_up(close)
    near.await_routes(close, ROUTE)
    until(lambda: bird.since, "BIRD has it up, too")


def test_a_far_peer_that_dials_is_kept_out(lab: Lab) -> None:
    near, far = lab.node("127.51.4.1"), lab.node("127.51.4.2", 65001)
    started(near, near.neighbour(far, passive=True, hops=1))
    bird = Switch(lab, near, far)
    until(lambda: "OpenSent" in bird.ask("show protocols"), "it has dialled, and got no answer")
    assert far.address not in near.agent.up


@pytest.mark.parametrize("passive", [True, False])
def test_another_port_an_own_as_and_an_address_that_the_kernel_chooses(lab: Lab, passive: bool) -> None:
    near, far = lab.node("127.51.5.1", 64999), lab.node("127.51.5.2", 65001)
    (far.port,) = free_ports(1)
    neighbour = near.neighbour(far, passive=passive, local_address=None)
    bird = Switch(lab, near, far, neighbour="127.0.0.1")  # what the kernel chooses for all of 127.0.0.0/8
    near.configure(neighbour, anywhere=True)
    near.start()
    near.connect()
    near.await_up(far)
    near.tell([far], MINE)
    near.await_routes(far, ROUTE)
    until(lambda: bird.hears(MINE), "BIRD has our route")
    told = bird.ask(f"show route all {MINE}")
    assert "BGP.as_path: 64999" in told
    assert "BGP.next_hop: 127.0.0.1" in told
    near.configure(neighbour, anywhere=True, log_level="ERROR")
    near.agent.speaker.reload()
    near.disconnect()
    near.connect()
    until(lambda: near.agent.of(Synced), "a successor reads the speaker")
    assert near.agent.prefixes(far.address) == {ip.network(ROUTE)}
    near.tell([far])
    until(lambda: not bird.hears(MINE), "the successor withdraws it")
    assert near.agent.of(PeerDown) == []


def test_the_log_level_changes_by_reload_and_says_no_password(lab: Lab) -> None:
    near, far = lab.node("127.51.6.1"), lab.node("127.51.6.2", 65001)
    guarded = near.neighbour(far, passive=True, password=WORDS[0])
    started(near, guarded)
    until(lambda: near.agent.of(Synced), "the agent has read it")
    quiet = near.log()
    near.configure(guarded, log_level="DEBUG")
    near.agent.speaker.reload()
    near.agent.speaker.reload()
    until(lambda: near.log() != quiet, "it says more")
    assert b64encode(WORDS[0].encode()).decode() not in near.log()


def test_a_reload_listens_everywhere_and_on_one_address_again(lab: Lab) -> None:
    near = started(lab.node("127.51.7.1"))
    until(lambda: near.agent.of(Synced), "the agent has read it")
    for anywhere in (True, False):
        near.configure(anywhere=anywhere)
        near.agent.speaker.reload()
        socket.create_connection((str(near.address), near.port), 5).close()
        reached = socket.socket()
        with reached:
            assert (reached.connect_ex(("127.51.7.2", near.port)) == 0) is anywhere
