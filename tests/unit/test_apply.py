"""Read, compare, change: what is held is left alone, what is unknown is not swept, one refusal stops nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import worlds
from hypothesis import given
from hypothesis import strategies as st
from worlds import (
    BLOCK,
    ME,
    applied,
    block,
    ended,
    found,
    machine,
    node,
    path,
    pod,
    pool,
    run,
    state,
    synced,
    told,
    up,
    wire,
)

from bgpnet.agent import facts
from bgpnet.agent.apply import apply, differences, follow, handled_by, is_outrun
from bgpnet.agent.events import PodWired, Reaped
from bgpnet.agent.plan import plan
from bgpnet.agent.world import Phase, Pod, World
from bgpnet.bgp.rib import Update
from bgpnet.cnispec import Attachment
from bgpnet.kernel.api import DropRoute, PutRoute, PutSysctl, PutTunnel
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Hop, KernelState, NeighbourKey, Owner, Route
from bgpnet.model import ip
from bgpnet.model.ippool import Encap

OVER_UPLINK = Route(ip.network("10.244.9.0/26"), (Hop("nowhere0"),))


def world_of(*pods: Pod) -> World:
    return replace(synced(blocks=[block()]), pods={one.attachment: one for one in pods})


def kernel_of(*pods: Pod) -> FakeKernel:
    kernel = machine()
    for one in pods:
        wire(kernel, one)
    return kernel


def test_a_second_look_changes_nothing() -> None:
    one = pod("c1", "10.244.0.1")
    kernel = kernel_of(one)
    world = run(
        synced(pool(mode=Encap.ALWAYS), blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state())
    )
    world = replace(run(world, told("10.244.0.64/26")), pods={one.attachment: one})
    assert applied(world, kernel).changes > 0
    kernel.log.clear()
    again = applied(world, kernel)
    assert (again.changes, again.refusals, again.stale, kernel.log) == (0, (), (), [])


def test_tunnels_and_sysctls_come_before_what_leads_over_them() -> None:
    world = run(
        synced(pool(mode=Encap.ALWAYS), blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state())
    )
    world = run(world, told("10.244.0.64/26"))
    kernel = machine()
    wish = plan(world)
    kinds = [type(one) for one in differences(wish, kernel.read(wish.kernel.sysctls))]
    assert kinds[0] is PutTunnel
    assert max(at for at, kind in enumerate(kinds) if kind is PutSysctl) < kinds.index(PutRoute)


def test_what_a_worker_is_busy_with_is_left_alone() -> None:
    """A pod whose link is up though its worker has not reported yet; one that is being cut off."""
    for phase in (Phase.WIRING, Phase.LEAVING, Phase.CUT):
        one = pod("c1", "10.244.0.1", phase)
        kernel = kernel_of(one)
        before = str(kernel).splitlines()
        done = applied(world_of(one), kernel)
        assert (done.stale, done.lost, done.refusals) == ((), (), ())
        assert set(before) < set(str(kernel).splitlines())
        assert kernel.neighbours == {NeighbourKey("calic1", one.address): one.mac}


def test_a_link_that_is_nobodys_is_cut_off_once_the_blocks_are_known() -> None:
    kernel = kernel_of(pod("ghost", "10.244.0.9"))
    unknown = worlds.fresh()
    assert applied(unknown, kernel).stale == ()
    assert "10.244.0.9 dev calighost proto bgpnet scope link" in str(kernel)
    done = applied(world_of(), kernel)
    assert [link.name for link in done.stale] == ["calighost"]
    assert kernel.read().pods["calighost"].reaping
    assert "10.244.0.9" not in str(kernel)
    assert applied(world_of(), kernel).stale == ()


def test_learned_routes_are_kept_until_the_peers_have_spoken() -> None:
    kernel = machine()
    old = Route(ip.network("10.244.0.192/26"), (Hop("eth1", worlds.PEER),))
    kernel.change([PutRoute(Owner.LEARNED, old, new=True)])
    world = run(synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state()), told("10.244.0.64/26"))
    applied(world, kernel)
    assert {str(net) for net in kernel.read().routes[Owner.LEARNED]} == {"10.244.0.192/26", "10.244.0.64/26"}
    applied(run(world, ended()), kernel)
    assert {str(net) for net in kernel.read().routes[Owner.LEARNED]} == {"10.244.0.64/26"}


def test_local_routes_are_kept_until_the_blocks_are_known() -> None:
    kernel = machine()
    old = Route(ip.network("10.244.3.0/26"))
    kernel.change([PutRoute(Owner.LOCAL, old, new=True)])
    applied(worlds.fresh(), kernel)
    assert "blackhole 10.244.3.0/26" in str(kernel)
    applied(world_of(), kernel)
    assert "blackhole 10.244.3.0/26" not in str(kernel)


def test_a_strangers_route_is_named_and_stays_and_the_others_come() -> None:
    one, two = pod("c1", "10.244.0.1"), pod("c2", "10.244.0.2")
    kernel = kernel_of(one, two)
    for taken in (one, two):
        kernel.strangers.drop_route(ip.host(taken.address))
    kernel.strangers.put_route(Route(ip.host(one.address), (Hop("eth1", worlds.OTHER),)), protocol=4)
    done = applied(world_of(one, two), kernel)
    assert len(done.refusals) == 1
    assert "10.244.0.1" in done.refusals[0]
    assert "10.244.0.1 via 192.0.2.3 dev eth1" in str(kernel)
    assert "10.244.0.2 dev calic2 proto bgpnet scope link" in str(kernel)


def test_a_pod_whose_link_is_gone_is_said_and_nothing_is_tried_over_it() -> None:
    one = replace(pod("c1", "10.244.0.1"), pod="shop/db-0")
    kernel = machine()
    world = world_of(one)
    done = applied(world, kernel)
    (lost,) = done.lost
    assert (lost.name, done.refusals) == ("calic1", ())
    assert facts.lost(world, lost) == (
        "pod link calic1 of container c1 (pod shop/db-0) is gone: where the pod still runs, delete it, so that it "
        "starts anew; the runtime's DEL releases its address"
    )
    assert "of container c1 is gone" in facts.lost(world_of(), lost)
    assert not [line for line in kernel.log if "10.244.0.1" in line]


def test_without_the_module_only_the_tunnel_is_refused() -> None:
    kernel = FakeKernel(modules=())
    kernel.strangers.add_link("eth1", str(ME.address))
    world = run(
        synced(pool(mode=Encap.ALWAYS), blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state())
    )
    done = applied(run(world, told("10.244.0.64/26")), kernel)
    assert len(done.refusals) == 1
    assert "ipip" in done.refusals[0]
    assert f"blackhole {BLOCK} proto bgpnet" in str(kernel)


def test_routes_are_written_sorted_by_gateway() -> None:
    nodes = [node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")]
    world = run(synced(blocks=[block()], nodes=nodes), found(state(), state(worlds.OTHER)))
    for number in (8, 2, 6, 4):
        world = run(world, told(f"10.244.{number}.0/26"), told(f"10.244.{number + 1}.0/26", peer=worlds.OTHER))
    kernel = machine()
    puts = [
        one.route for one in differences(plan(world), kernel.read()) if isinstance(one, PutRoute) and one.route.hops
    ]
    gateways = [str(route.hops[0].via) for route in puts]
    assert gateways == sorted(gateways)
    assert len(set(gateways)) == 2


def test_a_route_that_differs_is_replaced_and_not_dropped() -> None:
    world = run(synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state()), told("10.244.0.64/26"))
    kernel = machine()
    other = Route(ip.network("10.244.0.64/26"), (Hop("eth1", worlds.OTHER),))
    kernel.change([PutRoute(Owner.LEARNED, other, new=True)])
    changes = differences(plan(run(world, ended())), kernel.read())
    assert [one for one in changes if isinstance(one, DropRoute)] == []
    [put] = [one for one in changes if isinstance(one, PutRoute) and one.owner is Owner.LEARNED]
    assert (put.new, str(put.route)) == (False, "10.244.0.64/26 via 192.0.2.2 dev eth1")


def test_what_an_agent_sees_when_it_starts() -> None:
    one, gone = pod("c1", "10.244.0.1"), pod("c2", "10.244.0.2")
    kernel = kernel_of(one, gone, pod("c3", "10.244.0.3"))
    kernel.unwire(gone.link, None)
    kernel.strangers.drop_route(ip.network("10.244.0.3/32"))
    found_links = facts.seen(kernel.read())
    assert {attachment.container: str(link.address) for attachment, link in found_links.items()} == {
        "c1": "10.244.0.1",
        "c3": "None",
    }
    mine = found_links[Attachment("c1", "eth0")]
    assert (mine.link, mine.mtu, mine.since) == (one.link, one.mtu, one.since)


class Unread(FakeKernel):
    """A kernel that nobody may look at."""

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        raise AssertionError("the kernel was read")


def test_the_kernel_is_not_touched_for_what_workers_have_put() -> None:
    one, two = pod("c1", "10.244.0.1"), pod("c2", "10.244.0.2", link="cali2")
    before, after = plan(world_of(one)), plan(world_of(one, two))
    kernel = Unread()
    assert follow(before.kernel, after, {two.link}, kernel) == 0
    assert follow(after.kernel, before, {two.link}, kernel) == 0
    assert follow(after.kernel, after, set(), kernel) == 0
    assert follow(after.kernel, plan(world_of(one, two)), set(), kernel) == 0
    assert kernel.log == []


def test_routes_that_come_and_go_are_changed_without_a_look() -> None:
    """Of a new block, of a peer: beside a pod that a worker has put meanwhile."""
    one, two = pod("c1", "10.244.0.1"), pod("c2", "10.244.0.2", link="cali2")
    new = ip.network("10.244.0.64/26")
    both = {each.network: each for each in (block(), block(str(new)))}
    before, after = plan(world_of(one)), plan(replace(world_of(one, two), blocks=both))
    kernel = Unread()
    assert follow(before.kernel, after, {two.link}, kernel) == 1
    assert kernel.log == ["put blackhole 10.244.0.64/26"]
    kernel.log.clear()
    assert follow(after.kernel, before, {two.link}, kernel) == 1
    assert kernel.log == ["drop blackhole 10.244.0.64/26"]
    moved = replace(before.kernel, routes={Owner.LOCAL: {**before.kernel.routes[Owner.LOCAL], new: OVER_UPLINK}})
    kernel.log.clear()
    assert follow(moved, after, {two.link}, kernel) == 1
    assert kernel.log == ["put blackhole 10.244.0.64/26"]


def test_nothing_is_dropped_from_a_table_that_is_not_swept() -> None:
    one = pod("c1", "10.244.0.1")
    wish = plan(world_of(one))
    wish = replace(wish, kernel=replace(wish.kernel, sweep=frozenset()))
    more = {**wish.kernel.routes[Owner.LOCAL], OVER_UPLINK.dst: OVER_UPLINK}
    kernel = Unread()
    assert follow(replace(wish.kernel, routes={Owner.LOCAL: more}), wish, set(), kernel) == 0
    assert kernel.log == []


def test_everything_else_takes_a_look_at_the_kernel() -> None:
    """A sysctl of the tunnel, a table that was unknown, somebody's neighbour, a pod that no worker has put."""
    one, two = pod("c1", "10.244.0.1"), pod("c2", "10.244.0.2", link="cali2")
    wish = plan(world_of(one))
    before, kernel = wish.kernel, Unread()
    for other in (
        replace(before, sysctls={**before.sysctls, "net/ipv4/conf/tunl0/rp_filter": "2"}),
        replace(before, sweep_pods=not before.sweep_pods),
        replace(before, routes={**before.routes, Owner.LEARNED: {}}),
        replace(before, neighbours={NeighbourKey("cali9", one.address): one.mac}),
        plan(world_of(one, two)).kernel,
    ):
        assert follow(other, wish, {one.link}, kernel) is None
    assert kernel.log == []


def test_a_route_where_a_worker_is_busy_takes_a_look_later() -> None:
    one = pod("c1", "10.244.0.1")
    host = ip.host(one.address)
    wish = plan(world_of(replace(one, phase=Phase.WIRING)))
    learned = replace(wish.kernel, routes={Owner.LOCAL: {**wish.kernel.routes[Owner.LOCAL], host: Route(host)}})
    assert follow(learned, wish, wish.hold_links, Unread()) is None


def test_what_the_kernel_refuses_takes_a_look() -> None:
    wish = plan(world_of())
    lost = replace(wish, kernel=replace(wish.kernel, routes={Owner.LOCAL: {OVER_UPLINK.dst: OVER_UPLINK}}))
    assert follow(wish.kernel, lost, set(), Unread()) is None


def test_what_a_worker_reports_is_handled() -> None:
    one = pod("c1", "10.244.0.1")
    world = world_of(one)
    assert handled_by(world, PodWired(1, one.attachment, "1.0.0")) == {one.link}
    assert handled_by(world, Reaped((one.attachment, Attachment("unknown", "eth0")))) == {one.link}
    assert handled_by(world, state()) == set()


BLOCKS = [f"10.244.{number}.0/26" for number in range(1, 25)]
tables = st.dictionaries(st.sampled_from(BLOCKS), st.integers(2, 3))


def hearing(world: World, table: dict[str, int]) -> World:
    """The peer says this from now on: prefix to the last number of the next hop."""
    had = world.table.of(worlds.PEER) if world.table is not None else {}
    paths = tuple(
        one
        for prefix, number in table.items()
        if had.get(((one := path(prefix, next_hop=ip.address(f"192.0.2.{number}"))).prefix, 0)) != one
    )
    gone = tuple(key for key in had if str(key[0]) not in table)
    return run(world, Update(worlds.PEER, paths, gone))


@given(tables, st.lists(tables, min_size=1, max_size=4))
def test_learned_routes_are_followed_as_by_a_look_at_the_kernel(
    before: dict[str, int], after: list[dict[str, int]]
) -> None:
    """And where few of many changed, though only those are looked at."""
    kernel, many = machine(), dict.fromkeys(BLOCKS, 2)
    world = run(synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]), found(state()), up())
    world = hearing(run(hearing(world, many), ended()), before)
    last = plan(world)
    apply(last, kernel)
    for table in after:
        world = hearing(world, {**many, **table})
        wish = plan(world)
        wanted = len(differences(wish, kernel.read(wish.kernel.sysctls)))
        assert follow(last.kernel, wish, set(), kernel) == wanted
        assert kernel.read().routes[Owner.LEARNED] == wish.kernel.routes[Owner.LEARNED]
        last = wish


def test_a_pods_route_is_never_touched_without_a_look() -> None:
    """A pod that has lost its link may be added again, and be wired, while the routes of an older plan are dropped."""
    one = pod("c1", "10.244.0.1")
    before, after = plan(world_of(one)), plan(world_of(replace(one, phase=Phase.LOST)))
    kernel = Unread()
    assert follow(before.kernel, after, set(), kernel) is None
    assert kernel.log == []


def test_a_learned_route_in_the_place_of_a_newer_pod_is_seen() -> None:
    one, two = pod("c1", "10.244.9.1"), pod("c2", "10.244.9.2", link="cali2")
    before = run(world_of(one), found(state()), up(), told("10.244.9.1/32", "10.244.9.2/32"), ended())
    wish = plan(before)
    assert set(wish.kernel.routes[Owner.LEARNED]) == {ip.host(one.address), ip.host(two.address)}
    assert not is_outrun(wish, before, before)
    assert is_outrun(wish, before, replace(before, pods={each.attachment: each for each in (one, two)}))
    third = pod("c3", "10.244.9.3", link="cali3")
    assert not is_outrun(wish, before, replace(before, pods={each.attachment: each for each in (one, third)}))


def test_what_differs_is_changed_in_slices_all_of_them() -> None:
    """With a pause after each; what is refused in one does not stop the next, and takes a look."""
    before = run(world_of(), found(state()), up(), ended())
    after = run(before, told(*(f"10.244.{number}.0/26" for number in range(1, 251))))
    kernel, pauses = machine(), []
    wish = plan(after)
    assert follow(plan(before).kernel, wish, set(), kernel, lambda: pauses.append(len(kernel.log))) == 250
    assert [done for done in pauses if done] == [100, 200, 250]
    other = machine()
    other.refuse = lambda item: "no" if isinstance(item, PutRoute) and str(item.route.dst) == "10.244.1.0/26" else ""
    assert follow(plan(before).kernel, wish, set(), other) is None
    assert len(other.log) == 249


def test_many_routes_that_get_another_next_hop_are_changed_in_few_slices() -> None:
    """Each slice has the whole table looked through, lest a stranger be replaced: for 10,000 routes a hundred times."""
    prefixes = [f"10.244.{number}.{low}/26" for number in range(1, 251) for low in (0, 64, 128, 192)]
    before = run(world_of(), found(state()), up(), told(*prefixes), ended())
    elsewhere = tuple(path(prefix, next_hop=ip.address("192.0.2.77")) for prefix in prefixes)
    last, wish = plan(before), plan(run(before, Update(worlds.PEER, announced=elsewhere)))
    kernel, pauses = machine(), []
    apply(last, kernel)
    kernel.log.clear()
    assert follow(last.kernel, wish, set(), kernel, lambda: pauses.append(len(kernel.log))) == 1000
    assert [done for done in pauses if done] == [250, 500, 750, 1000]
    assert kernel.read().routes[Owner.LEARNED] == wish.kernel.routes[Owner.LEARNED]
