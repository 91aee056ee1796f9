"""What announcements carry, with real ExaBGPs: everything arrives as it was said, and nothing is said twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from speaker_lab import PATIENCE, Lab, Node, until

from bgpnet.bgp.export import Advert
from bgpnet.bgp.lines import PeerDown, Update
from bgpnet.bgp.rib import Path as Learned
from bgpnet.bgp.speaker import Synced
from bgpnet.bgp.talk import Talk
from bgpnet.model import ip

NETS = [ip.network(f"10.244.{n}.0/26") for n in range(9)]
NEXT_HOP = ip.address("127.60.9.9")
MARK = Advert(ip.network("10.244.99.0/26"))


def adverts(local_as: int, external: bool) -> list[Advert]:
    """One of each kind, and one that has everything; a path to another AS begins with our own."""
    mine: tuple[int, ...] = (local_as,) if external else ()
    return [
        Advert(NETS[0]),
        Advert(NETS[1], communities=("64512:2", "64512:1", "65535:65281", "64512:4000000000:1")),
        Advert(NETS[2], med=0),
        Advert(NETS[3], med=77, local_pref=None if external else 612),
        Advert(NETS[4], as_path=(*mine, 65010, 65010, 65011)),
        Advert(NETS[5], as_path=(*mine, 65010, (65013, 65012), 4200000000)),
        Advert(NETS[6], next_hop=NEXT_HOP, origin="incomplete"),
        Advert(
            NETS[7],
            originator_id="" if external else "9.9.9.9",
            cluster_list=() if external else ("1.1.1.1", "2.2.2.2"),
        ),
        Advert(
            NETS[8],
            NEXT_HOP,
            ("64512:1", "64512:1:2"),
            (*mine, 65010),
            None if external else 1,
            4294967295,
            "egp",
        ),
    ]


def arrived(path: Learned, sender: Node, external: bool) -> Advert:
    """What was learned, as what was said."""
    as_path = tuple(tuple(sorted(one)) if isinstance(one, tuple) else one for one in path.as_path)
    return Advert(
        prefix=path.prefix,
        next_hop=None if path.next_hop == sender.address else path.next_hop,
        communities=path.communities + path.large_communities,
        as_path=() if external and as_path == (sender.as_number,) else as_path,
        local_pref=None if path.local_pref == 100 else path.local_pref,
        med=path.med,
        origin=path.origin,
        originator_id=path.originator_id,
        cluster_list=path.cluster_list,
    )


def plain(advert: Advert) -> Advert:
    as_path = tuple(tuple(sorted(one)) if isinstance(one, tuple) else one for one in advert.as_path)
    return replace(advert, communities=tuple(sorted(advert.communities)), as_path=as_path)


def said(node: Node, wish: list[Advert], far: Node) -> list[str]:
    """All commands that an agent with this wish gives to the speaker as it is, none of which is carried out."""
    talk = Talk({far.address: frozenset(wish)})
    commands = talk.commands()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(node.socket))
        raw.sendall("".join(f"{command}\n" for command in commands).encode())
        with raw.makefile() as answers:
            while not talk.live:
                talk.hear(next(answers))
    told = []
    while commands := talk.commands():
        told += commands
        for _ in commands:
            talk.hear("done")
    return told


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.end()


@pytest.mark.parametrize(("number", "far_as"), [(1, 64512), (2, 65001)])
def test_everything_arrives_and_is_never_said_again(lab: Lab, number: int, far_as: int) -> None:
    near, far = lab.node(f"127.60.{number}.1"), lab.node(f"127.60.{number}.2", far_as)
    external = far_as != near.as_number
    for one, other in ((near, far), (far, near)):
        one.configure(one.neighbour(other))
        one.start()
        one.connect()
    near.await_up(far)
    far.await_up(near)
    wish = adverts(near.as_number, external)
    near.agent.speaker.set({far.address: frozenset(wish)})
    far.await_routes(near, *(str(one.prefix) for one in wish))
    far.await_end(near)
    have = {path.prefix: plain(arrived(path, near, external)) for path in far.agent.table.paths()}
    assert have == {one.prefix: plain(one) for one in wish}
    updates = len(far.agent.of(Update))
    near.agent.speaker.set({far.address: frozenset(wish)})
    near.disconnect()
    assert [line for line in said(near, wish, far) if "announce attributes" in line or "withdraw" in line] == []
    near.connect()
    until(lambda: near.agent.of(Synced), "the successor has read the speaker")
    near.agent.speaker.set({far.address: frozenset(wish)})
    near.agent.speaker.set({far.address: frozenset([*wish, MARK])})
    until(lambda: MARK.prefix in far.agent.prefixes(near.address), "the mark comes last")
    after = far.agent.of(Update)[updates:]
    assert [path.prefix for one in after for path in one.announced] == [MARK.prefix]
    assert [key for one in after for key in one.withdrawn] == []
    assert far.agent.of(PeerDown) == []
