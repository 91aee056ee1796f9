"""The decision process, ours and a real BIRD's, over generated tables.

Each round begins with an empty table: where a path replaces one of another neighbouring AS, BIRD 2.0.12 was seen to
keep one with a longer AS_PATH as its best, and chose as the RFC has it when it heard the same paths anew.

BIRD is set to the RFC where its defaults differ: `deterministic med on` (by default what it chooses depends on the
order in which paths came, RFC 4451) and `igp metric off` (no interior routing here, so every next hop costs the same,
as with us). `med metric off`, MED being compared within one neighbouring AS, is its default and the RFC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from bgp_sender import Sender
from etcd_servers import free_ports
from speaker_lab import Lab, until

from bgpnet.bgp.rib import Path as Learned
from bgpnet.bgp.rib import decide
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network

BIRD = ip.address("127.70.0.100")
OWN_AS = 64512
PEERS: dict[Address, tuple[int, Address]] = {
    ip.address(address): (as_number, ip.address(router_id))
    for address, as_number, router_id in (
        ("127.70.0.1", OWN_AS, "9.0.0.3"),
        ("127.70.0.2", OWN_AS, "9.0.0.2"),
        ("127.70.0.3", OWN_AS, "9.0.0.1"),
        ("127.70.0.11", 65001, "9.0.0.6"),
        ("127.70.0.12", 65001, "9.0.0.4"),
        ("127.70.0.13", 65002, "9.0.0.5"),
        ("127.70.0.14", 4200000001, "9.0.0.5"),  # of the same identifier as the one before, in another AS
    )
}
"""AS and BGP identifier by address; the identifiers are not in the order of the addresses."""

NEXT_HOP = ip.address("192.0.2.1")
TABLES, ROUNDS = 200, 3
PREFIXES = [ip.network(f"10.{n // 256}.{n % 256}.0/24") for n in range(TABLES)]

PREFIXES_TEXT = re.compile(r"^10\.0\.", re.MULTILINE)

CONF = f"""
router id {BIRD};
protocol device {{ }}
template bgp peer {{
    local {BIRD} port %(port)s as {OWN_AS};
    strict bind on; multihop; passive on; hold time 240;
    deterministic med on; med metric off; igp metric off;
    ipv4 {{ import all; export none; }};
}}
""" + "\n".join(
    f"protocol bgp p{number} from peer {{ neighbor {address} as {as_number}; }}"
    for number, (address, (as_number, _)) in enumerate(PEERS.items())
)


@pytest.fixture
def senders() -> Iterator[dict[Address, Sender]]:
    made: dict[Address, Sender] = {}
    yield made
    for one in made.values():
        one.end()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def path(chance: Random, prefix: Network, peer: Address, alike: int) -> Learned:
    """Of few values each, and the first `alike` steps of the decision equal, so that each step decides somewhere."""
    as_number, _ = PEERS[peer]
    external = as_number != OWN_AS
    rest: list[tuple[int | tuple[int, ...], ...]] = [(), (), (65010,), ((65011, 65012),), (65010, (65011,))]
    heads: list[tuple[int | tuple[int, ...], ...]] = [(), (65001,), (65001,), (65002,), ((65001, 65002),)]
    head = (as_number,) if external else chance.choice(heads if alike < 2 else heads[1:])
    reflected = not external and chance.random() < (0.8 if alike == 4 else 0.4)
    return Learned(
        prefix=prefix,
        next_hop=NEXT_HOP,
        peer=peer,
        external=external,
        origin="igp" if alike >= 3 else chance.choice(["igp", "igp", "egp", "incomplete"]),
        as_path=(*head, *(() if alike >= 2 else chance.choice(rest))),
        local_pref=None if external or alike >= 1 else chance.choice([None, 100, 100, 100, 101, 99]),
        med=None if alike == 4 else chance.choice([None, 0, 1, 2]),
        originator_id=chance.choice(["9.0.0.1", "9.0.0.4", "9.0.0.9"]) if reflected else "",
        cluster_list=tuple(chance.sample(["8.0.0.1", "8.0.0.2"], chance.randint(0, 2))) if reflected else (),
    )


def paths(chance: Random, prefix: Network) -> list[Learned]:
    alike = chance.randint(0, 4)
    among = [peer for peer in PEERS if PEERS[peer][0] == OWN_AS] if chance.random() < 0.3 else list(PEERS)
    return [path(chance, prefix, peer, alike) for peer in chance.sample(among, chance.randint(2, len(among)))]


def tables(seed: int) -> dict[Network, list[Learned]]:
    chance = Random(seed)  # noqa: S311 - not a secret: the same tables every time
    return {prefix: paths(chance, prefix) for prefix in PREFIXES}


def primary(said: str) -> dict[Network, Address]:
    """Whose path BIRD uses, by prefix, from `show route primary`."""
    found = re.findall(r"^(\S+/\d+)\s.*? from (\S+)\]", said, re.MULTILINE)
    return {ip.network(prefix): ip.address(peer) for prefix, peer in found}


def test_bird_chooses_as_we_do(lab: Lab, senders: dict[Address, Sender]) -> None:
    (port,) = free_ports(1)
    birdc = lab.bird(CONF % {"port": port})
    until(lambda: birdc("show protocols").count("Passive") == len(PEERS), "BIRD listens")
    for peer, (as_number, router_id) in PEERS.items():
        senders[peer] = Sender(peer, as_number, (BIRD, port), router_id)
    identifiers = {peer: router_id for peer, (_, router_id) in PEERS.items()}
    chosen: set[Address] = set()
    for seed in range(ROUNDS):
        made = tables(seed)
        for sender in senders.values():
            sender.withdraw(PREFIXES)
        until(lambda: not PREFIXES_TEXT.search(birdc("show route primary")), "BIRD has forgotten the last round")
        for rivals in made.values():
            for one in rivals:
                senders[one.peer].announce(one)
        marks = {ip.network(f"10.255.{seed}.{n}/32"): peer for n, peer in enumerate(PEERS)}
        for mark, peer in marks.items():
            senders[peer].announce(
                Learned(prefix=mark, next_hop=NEXT_HOP, peer=peer, as_path=tuple({PEERS[peer][0]} - {OWN_AS}))
            )
        until(lambda marks=marks: marks.items() <= primary(birdc("show route primary")).items(), "BIRD has all of it")
        theirs = primary(birdc("show route primary"))
        for prefix, rivals in made.items():
            ours = decide(rivals, identifiers)
            assert theirs[prefix] == ours.peer, (seed, prefix, birdc(f"show route {prefix} all"), *rivals)
            chosen.add(ours.peer)
    assert chosen == PEERS.keys()  # every session wins somewhere
