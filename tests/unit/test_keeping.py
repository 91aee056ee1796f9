"""Addresses that are kept for the next sandbox of the same pod: who gets them, who does not, and for how long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from asks import NET, POD, asked, given, held, refusal, working
from hypothesis import given as over
from hypothesis import strategies as st
from msgspec import structs
from worlds import NOW, effects, later, pool, run

from bgpnet import annotations, integrity, ipam
from bgpnet.agent import events, journal
from bgpnet.agent.effects import Answer, Effect, Reap, ReapNow, UnwirePod, WirePod
from bgpnet.agent.events import CniAsked
from bgpnet.agent.kubeevents import Namespaces
from bgpnet.agent.world import CLAIM_PATIENCE, World
from bgpnet.annotations import KEEP, LONGEST, Meta, Wish
from bgpnet.cnispec import Attachment
from bgpnet.conflist import ANNOTATIONS
from bgpnet.errors import AddressRests, NoAddress
from bgpnet.ipam import REST, Claimant
from bgpnet.model import ip
from bgpnet.model.instant import seconds
from bgpnet.model.ipamblock import IPAMBlock

OTHER = "shop/other"
FIRST = "10.244.0.0"


def keeping(container: str, pod: str = POD, number: int = 1, text: str = "true") -> CniAsked:
    """An ADD whose runtime passes the annotation on."""
    return asked(container, number=number, pod=pod, runtimeConfig={ANNOTATIONS: {KEEP: text, "mine/own": "7"}})


def added(world: World, ask: CniAsked) -> tuple[World, str]:
    """An ADD that is wired at once; its address."""
    world, found = effects(world, ask)
    return wired(world, found)


def wired(world: World, found: list[Effect]) -> tuple[World, str]:
    [wire] = [one for one in found if isinstance(one, WirePod)]
    return run(world, events.PodWired(wire.number, wire.pod.attachment, wire.version)), given(found)


def asked_to_go(container: str) -> CniAsked:
    call = asked(container, number=9).call
    return CniAsked(9, replace(call, env={**call.env, "CNI_COMMAND": "DEL"}))


def deleted(world: World, container: str) -> World:
    """A DEL to its end."""
    attachment = Attachment(container, "eth0")
    return run(world, asked_to_go(container), events.PodUnwired(9, attachment), events.Reaped((attachment,)))


def test_the_next_sandbox_of_the_pod_gets_it_at_once_and_nobody_else_meanwhile() -> None:
    world, address = added(working(), keeping("c1"))
    assert address == FIRST
    world = deleted(world, "c1")
    others = []
    for number in range(3):
        world, other = added(later(world, 2 * REST), asked(f"o{number}", number=number, pod=f"shop/o{number}"))
        others.append(other)
    assert FIRST not in others
    world, again = added(world, keeping("c2"))
    assert again == FIRST
    assert added(deleted(world, "c2"), keeping("c3"))[1] == FIRST


def test_not_even_under_pressure_is_it_given_to_another() -> None:
    world, address = added(working(blocks=(held(str(NET), 1),)), keeping("c1"))
    world = deleted(world, "c1")
    world, found = effects(later(world, 5), asked("c2", pod=OTHER))
    assert found == []
    world, found = effects(world, events.ClaimFailed("all is owned", True, frozenset({"pods"})))
    assert refusal(found)[0] == 101
    assert added(world, keeping("c3"))[1] == address


def test_after_its_time_it_is_anybodys() -> None:
    world, address = added(working(blocks=(held(str(NET), 1),)), keeping("c1", text="2m"))
    world = deleted(world, "c1")
    assert not [one for one in effects(later(world, 119), asked("c2", pod=OTHER))[1] if isinstance(one, WirePod)]
    assert added(later(world, 120), asked("c2", pod=OTHER))[1] == address


def test_who_does_not_ask_for_it_gets_no_kept_address_and_leaves_none() -> None:
    world, address = added(working(), asked("c1"))
    world = deleted(world, "c1")
    assert added(world, keeping("c2"))[1] != address
    world, address = added(working(), keeping("c1"))
    assert added(deleted(world, "c1"), asked("c2"))[1] != address
    assert added(deleted(world, "c1"), keeping("c2", text="false"))[1] != address


def test_another_interface_of_the_pod_has_an_address_of_its_own() -> None:
    world, first = added(working(), keeping("c1"))
    second = keeping("c1", number=2)
    second = CniAsked(2, replace(second.call, env={**second.call.env, "CNI_IFNAME": "net1"}))
    world, other = added(world, second)
    world = deleted(world, "c1")
    assert other != first
    assert added(world, keeping("c2"))[1] == first


def test_the_annotation_may_be_the_namespaces() -> None:
    world, address = added(run(working(), Namespaces({"shop": Meta({}, {KEEP: "true"})})), asked("c1"))
    assert added(deleted(world, "c1"), asked("c2"))[1] == address
    world, address = added(run(working(), Namespaces({"shop": Meta({}, {KEEP: "true"})})), keeping("c1", text="false"))
    assert added(deleted(world, "c1"), keeping("c2", text="false"))[1] != address


def test_an_add_waits_for_the_end_of_the_former_container() -> None:
    world, address = added(working(), keeping("c1"))
    world, found = effects(world, asked_to_go("c1"), keeping("c2", number=2))
    assert [type(one) for one in found] == [UnwirePod]
    world, found = effects(world, events.PodUnwired(9, Attachment("c1", "eth0")))
    assert found == [Answer(9, 0, b""), Reap(Attachment("c1", "eth0"))]
    world, found = effects(world, events.Reaped((Attachment("c1", "eth0"),)))
    assert wired(world, found)[1] == address


def test_the_link_of_a_former_container_that_was_deleted_is_reaped_at_once() -> None:
    world, _ = added(working(), keeping("c1"))
    world, _ = effects(world, asked_to_go("c1"), events.PodUnwired(9, Attachment("c1", "eth0")))
    world, found = effects(world, keeping("c2", number=2))
    assert found == [ReapNow()]


def test_a_former_container_that_nobody_deletes_is_named() -> None:
    world, address = added(working(), keeping("c1"))
    world, found = effects(world, keeping("c2", number=2))
    assert found == []
    world, found = effects(world, events.Tick(world.now + CLAIM_PATIENCE, world.clock + CLAIM_PATIENCE))
    assert refusal(found) == (
        11,
        f"no address yet: {address} is for pod {POD}, and its former container c1 has it until that is deleted",
    )
    assert world.pods[Attachment("c1", "eth0")].phase == "ready"


def test_another_address_by_name_does_not_wait_and_the_kept_one_is_refused_to_others() -> None:
    world, address = added(working(), keeping("c1"))
    other = asked("c2", "10.244.0.9", number=2, runtimeConfig={ANNOTATIONS: {KEEP: "true"}})
    assert added(world, other)[1] == "10.244.0.9"
    world = later(deleted(world, "c1"), REST)
    code, sentence = refusal(effects(world, asked("c3", address, pod=OTHER))[1])
    assert code == 11
    assert f"{address} of container c1 interface eth0 (pod {POD}) is kept for it until 2" in sentence
    assert added(world, asked("c4", address))[1] == address


def test_a_kept_address_in_a_later_block_is_found_first() -> None:
    later_block = "10.244.0.64/26"
    world, address = added(working(blocks=(held(str(NET), 0), held(later_block, 64))), keeping("c1"))
    assert address == "10.244.0.64"
    world = deleted(world, "c1")
    emptied = structs.replace(held(str(NET), 64), metadata=world.blocks[NET].metadata)
    world = replace(world, blocks={**world.blocks, NET: emptied})
    assert added(world, asked("c2", pod=OTHER))[1] == FIRST
    assert added(world, keeping("c3"))[1] == address


def test_a_pool_that_no_longer_serves_the_pod_keeps_nothing_for_it() -> None:
    world = working(pool(), pool("blue", "10.250.0.0/16"), blocks=(held(str(NET), 64), held("10.250.0.0/26", 64)))
    world, address = added(world, keeping("c1"))
    assert address == "10.250.0.0"
    elsewhere = asked("c2", ipv4_pools=["pods"], runtimeConfig={ANNOTATIONS: {KEEP: "true"}})
    assert added(deleted(world, "c1"), elsewhere)[1] == FIRST


def test_a_block_with_a_kept_address_is_neither_idle_nor_counted_as_free() -> None:
    world, _ = added(working(blocks=(held(str(NET), 64), held("10.244.0.64/26", 64))), keeping("c1", text="1h"))
    world = deleted(world, "c1")
    block = world.blocks[NET]
    for passed in (0.0, REST, 3599.0):
        used = ipam.usage(block, world.now + passed)
        assert (used.in_use, used.resting, used.free) == (0, 1, 63)
    assert ipam.usage(block, world.now + 3600).free == 64
    for _ in range(3):
        world = later(world, 2 * world.me.idle_after)
        assert NET not in world.empty
    world = later(world, 3600)
    assert NET in world.empty


def test_a_journal_brings_it_over_a_kill_and_a_reboot(tmp_path: Path) -> None:
    world, address = added(working(), keeping("c1"))
    world, _ = added(world, keeping("c2", number=2, pod=OTHER))
    file = journal.Journal(tmp_path / "journal", "boot1")
    file.start([ipam.new_block(NET, ipam.Owner(name="node1", uid="uuid-1"), NOW)], [])
    file.append([journal.came(one) for one in world.pods.values()])
    gone = journal.PodWent("c1", "eth0", "2023-11-14T22:13:20.000Z")
    assert seconds(gone.at) == 1_700_000_000.0
    file.append([gone])
    file.close()
    now = seconds(gone.at) + 1500
    for boot, expected in (("boot1", {POD}), ("boot2", {POD, OTHER})):
        contents = journal.Journal(tmp_path / "journal", boot).load()
        assert contents is not None
        contents.forget_old_rests()
        blocks, pods = journal.restore(contents, boot, now)
        kept = {one: ipam.assign(blocks[NET], Claimant("new", "eth0", one, keep=3600), now) for one in (POD, OTHER)}
        old = {one.pod: one.address for one in world.pods.values()}
        assert {one for one, found in kept.items() if found and found[1] == old[one]} == expected
        assert {one.keep for one in pods.values()} <= {3600}
    assert str(old[POD]) == address


def test_what_is_asked_for_is_read_from_the_pod_then_its_namespace() -> None:
    def keep(of_pod: str | None, of_namespace: str | None = None) -> int:
        metas = [None if text is None else Meta({}, {KEEP: text}) for text in (of_pod, of_namespace)]
        return annotations.wish(Wish(), POD, *metas, kept=77).keep

    assert [keep(text) for text in ("true", "false", "90s", "30m", "12h", "30d", None)] == [
        77, 0, 90, 1800, 43200, LONGEST, 0,
    ]  # fmt: skip
    assert (keep(None, "true"), keep("false", "true"), keep("5m", "true")) == (77, 0, 300)


@pytest.mark.parametrize("text", ["yes", "", "True", "0s", "31d", "-1h", "1h30m", "1.5h", "٣h", "9" * 500 + "s"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(NoAddress, match=f"^annotation {KEEP} of pod {POD} = ") as refused:
        annotations.wish(Wish(), POD, Meta({}, {KEEP: text}), None)
    assert 'write "true", "false", or how long, such as "30m", at most "30d"' in str(refused.value)


def test_annotations_that_are_none() -> None:
    for said in (["a"], {KEEP: 7}, "text"):
        code, sentence = refusal(effects(working(), asked(runtimeConfig={ANNOTATIONS: said}))[1])
        assert code == 7
        assert "the container runtime has to pass an object of texts" in sentence


PODS = st.sampled_from(["a/0", "a/1", "a/2", "a/3"])
MOVES = st.lists(st.tuples(st.sampled_from(["add", "del"]), PODS, st.sampled_from([0, 60, 600]), st.integers(0, 200)))


@over(MOVES)
def test_whatever_happens_a_kept_address_is_its_pods(moves: list[tuple[str, str, int, int]]) -> None:
    """A block of four addresses, pods that come and go, and a plain model of what is kept."""
    block, now = ipam.new_block(ip.network("10.0.0.0/30"), ipam.Owner(name="n", uid="u"), NOW), NOW
    live: dict[str, tuple[str, str, int]] = {}
    kept: dict[str, tuple[str, float]] = {}
    for number, (move, pod, keep, passed) in enumerate(moves):
        now += passed
        kept = {one: (address, end) for one, (address, end) in kept.items() if end > now}
        if move == "del" and pod in live:
            container, address, seconds_ = live.pop(pod)
            block = ipam.release(block, container, "eth0", now)
            if seconds_:
                kept[pod] = (address, now + seconds_)
        elif move == "add" and pod not in live:
            block = expect(block, pod, keep, now, number, live, kept)
        assert integrity.check(block) == []


def expect(
    block: IPAMBlock,
    pod: str,
    keep: int,
    now: float,
    number: int,
    live: dict[str, tuple[str, str, int]],
    kept: dict[str, tuple[str, float]],
) -> IPAMBlock:
    """An ADD, compared with the model."""
    given_away = ipam.assign(block, Claimant(f"c{number}", "eth0", pod, keep=keep), now, pressed=True)
    if keep and pod in kept:
        assert given_away is not None
        assert str(given_away[1]) == kept.pop(pod)[0]
    elif given_away is not None:
        assert str(given_away[1]) not in {address for address, _ in kept.values()}
    else:
        assert len(live) + len(kept) == 4
    if given_away is None:
        return block
    live[pod] = (f"c{number}", str(given_away[1]), keep)
    return given_away[0]


def test_a_kept_address_rests_for_others_in_take() -> None:
    block = ipam.new_block(NET, ipam.Owner(name="n", uid="u"), NOW)
    address = block.network[5]
    block = ipam.take(block, address, Claimant("c1", "eth0", POD, keep=600), NOW)
    block = ipam.release(block, "c1", "eth0", NOW)
    with pytest.raises(AddressRests, match="is kept for it until"):
        ipam.take(block, address, Claimant("c2", "eth0", OTHER), NOW + 599)
    assert ipam.take(block, address, Claimant("c2", "eth0", POD), NOW + 1) != block
    assert ipam.take(block, address, Claimant("c2", "eth0", OTHER), NOW + 600) != block


def test_a_release_on_purpose_ends_the_keeping() -> None:
    block = ipam.take(
        ipam.new_block(NET, ipam.Owner(name="n", uid="u"), NOW), NET[5], Claimant("c1", "eth0", POD, keep=600), NOW
    )
    sequence = block.spec.allocations[5].sequence
    released = ipam.release(block, "c1", "eth0", NOW)
    for one in (block, released):
        ended = ipam.release_at(one, NET[5], sequence, NOW + 10)
        assert ipam.kept_for(ended, Claimant("c2", "eth0", POD, keep=600), NOW + 10) is None
        assert ipam.take(ended, NET[5], Claimant("c2", "eth0", OTHER), NOW + 10 + REST) != ended
        assert ipam.release_at(ended, NET[5], sequence, NOW + 20) is ended
    assert (
        released.spec.allocations[5].freedAt
        == ipam.release_at(released, NET[5], sequence, NOW + 10).spec.allocations[5].freedAt
    )
