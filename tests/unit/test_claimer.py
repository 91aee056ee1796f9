"""Blocks in a datastore: created, taken over, taken back, each by one compare-and-swap; and nothing given twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from worlds import NOW, pool

from bgpnet import ipam, reservations
from bgpnet.agent import journal
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.effects import ClaimBlock, TakeBack
from bgpnet.agent.events import Changed, Claimed, ClaimFailed, Event, TakeBackFailed, TakenBack
from bgpnet.agent.journal import Journal
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Owner
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Metadata
from bgpnet.reservations import NONE, Reservations
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo, key

SMALL = pool(cidr="10.0.0.0/27", blockSize=29)


class Site:
    """A datastore, and the claimers of nodes on it."""

    def __init__(self, folder: Path) -> None:
        self.repo = Repo(MemoryStore())
        self.pool = self.repo.create(SMALL)
        self.folder = folder
        self.heard: list[Event] = []

    def owner(self, node: str) -> Owner:
        return Owner(name=node, uid=f"uuid-{node}")

    def claimer(self, node: str) -> Claimer:
        kept = Journal(self.folder / f"{node}-journal", "boot1")
        kept.start([], [])
        return Claimer(self.repo, kept, self.heard.append)

    def blocks(self) -> list[IPAMBlock]:
        return [one for one in self.repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock)]

    def claim(
        self,
        node: str,
        *pools: IPPool,
        known: list[IPAMBlock] | None = None,
        reserved: Reservations = NONE,
        wanted: str = "",
    ) -> Event:
        stored = self.blocks() if known is None else known
        net = ip.network(wanted) if wanted else None
        work = ClaimBlock(pools or (SMALL,), self.owner(node), tuple(stored), reserved, net)
        return self.claimer(node).claim(work, NOW)

    def written(self, block: IPAMBlock) -> IPAMBlock:
        found = self.repo.write(block)
        assert isinstance(found, IPAMBlock)
        return found

    def stored(self, cidr: str, node: str, state: BlockState = BlockState.IN_USE) -> IPAMBlock:
        new = ipam.new_block(ip.network(cidr), self.owner(node), NOW)
        return self.written(replace(new, spec=replace(new.spec, state=state)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def mine(event: Event) -> IPAMBlock:
    assert isinstance(event, Claimed | TakenBack), event
    return event.block


def failure(event: Event) -> ClaimFailed:
    assert isinstance(event, ClaimFailed), event
    return event


def reserved(*cidrs: str) -> Reservations:
    return reservations.of([IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=cidrs))])


def in_journal(site: Site, node: str) -> set[str]:
    contents = journal.decode((site.folder / f"{node}-journal").read_bytes())
    assert contents is not None
    return set(contents.blocks)


def test_a_block_that_nobody_has_is_created_and_journalled(site: Site) -> None:
    block = mine(site.claim("n1"))
    assert block.spec.owner == site.owner("n1")
    assert site.blocks() == [block]
    assert in_journal(site, "n1") == {block.spec.cidr}


def test_blocks_wholly_reserved_or_overlapping_one_of_another_size_are_passed_over(site: Site) -> None:
    site.stored("10.0.0.8/30", "n2")
    found = {mine(site.claim("n1", reserved=reserved("10.0.0.0/29"))).spec.cidr for _ in range(2)}
    assert found == {"10.0.0.16/29", "10.0.0.24/29"}
    assert failure(site.claim("n1", reserved=reserved("10.0.0.0/29"))).exhausted


def test_an_idle_block_of_another_node_is_taken_only_when_no_subnet_is_free(site: Site) -> None:
    site.stored("10.0.0.0/29", "n2", BlockState.IDLE)
    firsts = {mine(site.claim("n1")).spec.cidr for _ in range(3)}
    assert "10.0.0.0/29" not in firsts
    taken = mine(site.claim("n1"))
    assert (taken.spec.cidr, taken.spec.owner, taken.spec.state) == (
        "10.0.0.0/29",
        site.owner("n1"),
        BlockState.IN_USE,
    )
    assert in_journal(site, "n1") == {"10.0.0.0/29"}
    exhausted = failure(site.claim("n1"))
    assert (exhausted.exhausted, exhausted.pools) == (True, frozenset({"pods"}))
    assert exhausted.reason.startswith("node n1 gets no further block: pool pods (10.0.0.0/27) has 4 blocks of /29")


def test_a_block_in_use_never_changes_hands_and_a_reserved_idle_one_is_no_use(site: Site) -> None:
    for cidr in ("10.0.0.0/29", "10.0.0.8/29", "10.0.0.16/29"):
        site.stored(cidr, "n2")
    site.stored("10.0.0.24/29", "n2", BlockState.IDLE)
    assert failure(site.claim("n1", reserved=reserved("10.0.0.24/29"))).exhausted
    assert {block.spec.owner for block in site.blocks()} == {site.owner("n2")}


def test_an_idle_block_that_its_owner_took_back_meanwhile_is_lost_and_heard_of(site: Site) -> None:
    for cidr in ("10.0.0.0/29", "10.0.0.8/29", "10.0.0.16/29"):
        site.stored(cidr, "n2")
    site.stored("10.0.0.24/29", "n2", BlockState.IDLE)
    before = site.blocks()
    idle = next(block for block in before if block.spec.state is BlockState.IDLE)
    assert mine(site.claimer("n2").take_back(TakeBack(idle), NOW)).spec.state is BlockState.IN_USE
    assert failure(site.claim("n1", known=before)).exhausted
    assert [one.resource.metadata.name for one in site.heard if isinstance(one, Changed)] == ["10-0-0-24-29"]
    assert {block.spec.owner for block in site.blocks()} == {site.owner("n2")}


def test_an_owner_whose_idle_block_went_hears_of_it_and_does_not_get_it_back(site: Site) -> None:
    idle = site.stored("10.0.0.0/29", "n2", BlockState.IDLE)
    site.written(ipam.take_over(idle, site.owner("n1"), NOW))
    outcome = site.claimer("n2").take_back(TakeBack(idle), NOW)
    assert outcome == TakeBackFailed(idle.network, "block 10.0.0.0/29 of this node went to another node")
    news = [one.resource for one in site.heard if isinstance(one, Changed)]
    assert {one.spec.owner for one in news if isinstance(one, IPAMBlock)} == {site.owner("n1")}
    assert in_journal(site, "n2") == set()


def test_an_own_idle_block_that_was_written_meanwhile_or_deleted_is_taken_back_all_the_same(site: Site) -> None:
    idle = site.stored("10.0.0.0/29", "n2", BlockState.IDLE)
    site.written(replace(idle, spec=replace(idle.spec, sequence=idle.spec.sequence + 1)))
    assert mine(site.claimer("n2").take_back(TakeBack(idle), NOW)).spec.state is BlockState.IN_USE
    other = site.stored("10.0.0.8/29", "n2", BlockState.IDLE)
    site.repo.store.delete(key(kinds.IPAMBLOCK, other.metadata.name), None)
    assert mine(site.claimer("n2").take_back(TakeBack(other), NOW)).spec.state is BlockState.IN_USE
    assert {block.spec.state for block in site.blocks()} == {BlockState.IN_USE}


def test_the_block_of_an_address_is_claimed_and_no_other(site: Site) -> None:
    assert mine(site.claim("n1", wanted="10.0.0.16/29")).spec.cidr == "10.0.0.16/29"
    site.stored("10.0.0.0/29", "n2")
    site.stored("10.0.0.8/29", "n2", BlockState.IDLE)
    assert mine(site.claim("n1", wanted="10.0.0.8/29")).spec.owner == site.owner("n1")
    lost = failure(site.claim("n1", known=[], wanted="10.0.0.0/29"))
    assert (lost.exhausted, lost.pools, lost.reason) == (True, frozenset(), "block 10.0.0.0/29 went to another node")
    assert any(isinstance(one, Changed) for one in site.heard)


def test_a_claim_whose_answer_got_lost_is_ours(site: Site) -> None:
    first = mine(site.claim("n1", wanted="10.0.0.16/29"))
    assert mine(site.claim("n1", known=[], wanted="10.0.0.16/29")) == first


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"blockSize": 30}, "pool pods has another cidr or blockSize by now"),
        ({"disabled": True}, "pool pods was disabled"),
        (None, "pool pods was deleted"),
    ],
)
def test_a_pool_that_changed_behind_our_back_gives_no_block_and_keeps_none(
    site: Site, now: dict[str, object] | None, said: str
) -> None:
    """A partitioned node claims by the pool as it last heard it, which was closed and reshaped since."""
    site.repo.remove(site.pool)
    if now is not None:
        site.repo.create(replace(SMALL, spec=replace(SMALL.spec, **now)))
    work = ClaimBlock((SMALL,), site.owner("n1"), (), NONE, None)
    lost = failure(site.claimer("n1").claim(work, NOW))
    assert (lost.exhausted, said in lost.reason) == (False, True), lost
    assert (site.blocks(), in_journal(site, "n1")) == ([], set())


def test_a_datastore_that_is_away_is_no_exhaustion(site: Site) -> None:
    from bgpnet.errors import StoreUnreachable
    from bgpnet.store.lazy import LazyStore

    def refuse() -> MemoryStore:
        raise StoreUnreachable("nobody answers")

    site.repo = Repo(LazyStore(refuse))
    lost = failure(site.claim("n1", known=[]))
    assert (lost.exhausted, lost.reason) == (False, "nobody answers")


class Sharing:
    """Nodes that give addresses of one pool away, each from its own blocks, until none of them finds another."""

    def __init__(self, site: Site, keep: Reservations) -> None:
        self.site = site
        self.keep = keep
        self.blocks: dict[str, dict[ip.Network, IPAMBlock]] = {"n1": {}, "n2": {}, "n3": {}}
        self.given: list[str] = []

    def take(self, node: str, address: str) -> None:
        """By name."""
        net = ip.interface(f"{address}/29").network
        block = self.blocks[node].get(net) or mine(self.site.claim(node, wanted=str(net)))
        self.blocks[node][net] = ipam.take(block, ip.address(address), ipam.Claimant(address, "eth0"), NOW)
        self.given.append(address)

    def assign(self, node: str) -> bool:
        """Whether the node found one more."""
        while (got := self._from_own(node)) is None:
            event = self.site.claim(node, reserved=self.keep)
            if not isinstance(event, Claimed):
                return False
            self.blocks[node][event.block.network] = event.block
        self.blocks[node][got[0].network] = got[0]
        self.given.append(str(got[1]))
        return True

    def _from_own(self, node: str) -> tuple[IPAMBlock, ip.Address] | None:
        who = ipam.Claimant(f"c{len(self.given)}", "eth0")
        for block in self.blocks[node].values():
            kept = reservations.ordinals(self.keep, block.network)
            if got := ipam.assign(block, who, NOW, reserved=kept):
                return got
        return None


@settings(deadline=None, max_examples=25)
@given(
    kept=st.frozensets(st.integers(0, 31)),
    turns=st.lists(st.sampled_from(["n1", "n2", "n3"]), max_size=40),
    asked=st.sets(st.integers(0, 31), max_size=4),
)
def test_nodes_share_a_pool_until_every_unreserved_address_is_given_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, kept: frozenset[int], turns: list[str], asked: set[int]
) -> None:
    site = Site(tmp_path_factory.mktemp("site"))
    nodes = Sharing(site, reserved(*(f"10.0.0.{one}" for one in kept)))
    for one in asked:
        nodes.take("n1", f"10.0.0.{one}")
    for node in turns:
        nodes.assign(node)
    for node in nodes.blocks:
        while nodes.assign(node):
            pass
    assert sorted(nodes.given) == sorted(f"10.0.0.{one}" for one in set(range(32)) - kept | asked)
    held = [net for mine_ in nodes.blocks.values() for net in mine_]
    assert len(set(held)) == len(held) == len(site.blocks())


def test_no_block_is_written_over_another_of_another_size_not_even_by_name(site: Site) -> None:
    """The pool lies inside a block that is still another node's, or its blocks are larger than that."""
    around = site.stored("10.0.0.0/26", "n2")
    assert failure(site.claim("n1")).exhausted
    assert failure(site.claim("n1", wanted="10.0.0.16/29")).reason == "block 10.0.0.16/29 went to another node"
    assert site.blocks() == [around]
