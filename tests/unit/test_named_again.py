"""An address that is asked for by name, while and after somebody had it: by the pod's next sandbox, or by others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asks import POD, asked, given, refusal, working
from worlds import effects, run

from bgpnet.agent import events
from bgpnet.agent.effects import Effect, ReapNow, WirePod
from bgpnet.agent.world import CLAIM_PATIENCE, World
from bgpnet.annotations import ADDRESSES, MAC
from bgpnet.cnispec import Attachment
from bgpnet.ipam import REST

WANTED = "10.244.0.9"
ASKING = {ADDRESSES: f'["{WANTED}"]'}
FORMER = Attachment("c1", "eth0")


def first(pod: str = POD) -> World:
    """The container c1 has the address."""
    world, found = effects(working(), asked("c1", pod=pod, annotations=ASKING))
    assert given(found) == WANTED
    return run(world, events.PodWired(1, FORMER, "1.0.0"))


def cut(world: World) -> World:
    """Its DEL is answered, its link not yet deleted."""
    call = asked("c1", number=9).call
    gone = events.CniAsked(9, replace(call, env={**call.env, "CNI_COMMAND": "DEL"}))
    return run(world, gone, events.PodUnwired(9, FORMER))


def test_the_next_sandbox_of_the_pod_has_it_again_without_rest() -> None:
    deleted = run(cut(first()), events.Reaped((FORMER,)))
    assert given(effects(deleted, asked("c2", annotations=ASKING))[1]) == WANTED
    assert given(effects(deleted, asked("c2", address=WANTED))[1]) == WANTED


def test_the_link_of_the_former_sandbox_is_deleted_at_once_for_it() -> None:
    world, found = effects(cut(first()), asked("c2", annotations=ASKING))
    assert found == [ReapNow()]
    assert given(effects(world, events.Reaped((FORMER,)))[1]) == WANTED


def test_a_former_sandbox_that_nobody_deletes_is_named() -> None:
    world, found = effects(first(), asked("c2", annotations=ASKING))
    assert found == []
    world, found = effects(world, events.Tick(world.now + CLAIM_PATIENCE, world.clock + CLAIM_PATIENCE))
    told = f"no address yet: {WANTED} is for pod {POD}, and its former container c1 has it until that is deleted"
    assert refusal(found) == (11, told)


def test_the_same_container_has_it_again_though_it_has_no_pod() -> None:
    def alone(container: str) -> events.CniAsked:
        call = asked(container).call
        return events.CniAsked(1, replace(call, env={**call.env, "CNI_ARGS": f"IgnoreUnknown=1;IP={WANTED}"}))

    world, found = effects(working(), alone("c1"))
    assert given(found) == WANTED
    world = run(cut(run(world, events.PodWired(1, FORMER, "1.0.0"))), events.Reaped((FORMER,)))
    assert given(effects(world, alone("c1"))[1]) == WANTED
    assert refusal(effects(world, alone("c2"))[1])[0] == 11


@pytest.mark.parametrize("other", ["shop/other", "else/cart-0"])
def test_others_wait_for_the_link_and_then_hear_that_it_rests(other: str) -> None:
    world, found = effects(cut(first()), asked("c2", pod=other, annotations=ASKING))
    assert found == [ReapNow()]
    world, found = effects(world, events.Reaped((FORMER,)))
    code, told = refusal(found)
    assert (code, "rests until" in told) == (11, True)
    rested = replace(world, now=world.now + REST)
    assert given(effects(rested, asked("c3", pod=other, annotations=ASKING))[1]) == WANTED


def test_others_hear_that_it_is_taken_while_its_holder_lives() -> None:
    code, told = refusal(effects(first(), asked("c2", pod="shop/other", annotations=ASKING))[1])
    assert (code, "taken by container c1" in told) == (101, True)


def test_another_interface_of_the_pod_is_another() -> None:
    assert refusal(effects(run(cut(first()), events.Reaped((FORMER,))), second())[1])[0] == 11


def second(ifname: str = "net1", **asks: Any) -> events.CniAsked:
    """Another interface of the container c1, as Multus asks for it: with the same annotations, of another network."""
    call = asked("c1", number=2, annotations={**ASKING, MAC: "02:00:00:00:00:33"}, **asks).call
    return events.CniAsked(2, replace(call, env={**call.env, "CNI_IFNAME": ifname}))


def wired(found: list[Effect]) -> tuple[str, str]:
    """Address and MAC of the one pod that is being wired."""
    [wire] = [one for one in found if isinstance(one, WirePod)]
    return str(wire.pod.address), wire.pod.mac


def test_what_annotations_name_is_the_first_interfaces_and_the_next_has_what_its_own_call_asks_for() -> None:
    world, found = effects(working(), second("eth0"))
    assert wired(found) == (WANTED, "02:00:00:00:00:33")
    assert wired(effects(world, second())[1]) == ("10.244.0.0", "0a:58:0a:f4:00:00")
    asks = {"ips": ["10.244.0.12/32"], "mac": "02:00:00:00:00:44"}
    assert wired(effects(world, second(args={"cni": asks}))[1]) == ("10.244.0.12", "02:00:00:00:00:44")
    refused = refusal(effects(world, second(args={"cni": {"ips": [WANTED]}}))[1])
    assert (refused[0], "taken by container c1 interface eth0" in refused[1]) == (101, True)


def test_while_the_first_interface_goes_the_next_waits_for_what_annotations_name() -> None:
    assert effects(cut(first()), second())[1] == [ReapNow()]
