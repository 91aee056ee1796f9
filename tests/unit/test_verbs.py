"""CHECK, GC and STATUS as steps, and what of ADD is about them (CNI specification 1.1.0)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import asks
import pytest
from msgspec import structs
from test_attach import NET, NOW, OWNER, call, fresh, pool, run, synced, told, with_block

from bgpnet import ipam, names
from bgpnet.agent import events, status
from bgpnet.agent.choose import NO_POOL
from bgpnet.agent.effects import Answer, CheckPod, ClaimBlock, Effect, UnwirePod
from bgpnet.agent.world import Phase, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Owner
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import AllowedUse, AssignmentMode
from bgpnet.model.resource import Metadata

NODE2 = Owner(name="node2", uid="uuid-2")
RESULT = {"cniVersion": "1.1.0", "ips": [{"address": "10.244.0.0/32"}]}


def asked(command: str, container: str = "c1", number: int = 9, **config: Any) -> events.CniAsked:
    return events.CniAsked(number, call(command, container, **{"cniVersion": "1.1.0", **config}))


def ready(*containers: str) -> World:
    """A world with these pods on the network `net`."""
    world = with_block()
    for container in containers:
        world, _ = run(
            world,
            events.CniAsked(1, call("ADD", container)),
            events.PodWired(1, Attachment(container, "eth0"), "1.1.0"),
        )
    return world


def code(effects: list[Effect]) -> tuple[int, str]:
    [(number, status, said)] = told(effects)
    assert (number, status) == (9, 1)
    return int(str(said["code"])), str(said["msg"])


def test_a_check_compares_with_the_kernel_and_names_the_differences() -> None:
    world, effects = run(ready("c1"), asked("CHECK", prevResult=RESULT))
    [check] = effects
    assert isinstance(check, CheckPod)
    assert (check.pod.netns, str(check.pod.address)) == ("/run/netns/c1", "10.244.0.0")
    attachment = Attachment("c1", "eth0")
    assert told(run(world, events.PodChecked(9, attachment, "1.1.0", ()))[1]) == [(9, 0, {})]
    _, effects = run(world, events.PodChecked(9, attachment, "1.1.0", ("eth0 of the pod is down", "x is y")))
    assert code(effects) == (103, "eth0 of the pod is down; x is y: delete the pod and start it again")


def test_a_pod_whose_link_is_there_is_not_told_unknown_before_own_blocks_are_known() -> None:
    link = Seen(names.pod_link("", "c1", "eth0"), stamp(NOW), 1480, ip.address("10.244.0.0"))
    world = replace(ready(), adopted=False, links={Attachment("c1", "eth0"): link}, store_away="refused")
    told = "its address is not known yet: the datastore is away (refused); ask again"
    assert code(run(world, asked("CHECK", prevResult=RESULT))[1]) == (11, told)
    assert code(run(replace(world, links={}), asked("CHECK", prevResult=RESULT))[1])[0] == 3


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (7, "prevResult is missing or has no list of ips; the container runtime has to pass the result of ADD")),
        ({"prevResult": {"ips": [7]}}, (7, "prevResult is missing or has no list of ips; the container runtime has")),
        (
            {"prevResult": {"ips": [{"address": "10.9.9.9/32"}]}},
            (103, "prevResult has the address 10.9.9.9/32, and the pod 10.244.0.0/32: pass the result of this"),
        ),
    ],
)
def test_a_check_wants_the_result_of_the_add(config: dict[str, object], expected: tuple[int, str]) -> None:
    got, message = code(run(ready("c1"), asked("CHECK", **config))[1])
    assert (got, message[: len(expected[1])]) == expected


HOST = {"name": names.pod_link("", "c1", "eth0"), "mac": "ee:ee:ee:ee:ee:ee"}
POD = {"name": "eth0", "mac": "0a:58:0a:f4:00:00", "sandbox": "/run/netns/c1"}


@pytest.mark.parametrize(
    "interfaces",
    [
        None,
        [],
        [HOST, POD],
        [{**HOST, "mac": "EE:EE:EE:EE:EE:EE"}, {**POD, "mac": "0A:58:0A:F4:00:00"}],
        [{"name": HOST["name"]}, {"name": "eth0"}],
        [HOST, {"name": "eth0", "mac": "02:00:00:00:00:01"}, POD, {"name": "ifb0", "mac": "02:00:00:00:00:02"}],
        [HOST, {**POD, "sandbox": "/run/netns/other", "mac": "02:00:00:00:00:01"}, POD],
    ],
    ids=["none", "empty", "as told", "capitals", "names", "others'", "the same name elsewhere"],
)
def test_a_check_takes_what_prevresult_says_of_our_interfaces(interfaces: object) -> None:
    _, [check] = run(ready("c1"), asked("CHECK", prevResult={**RESULT, "interfaces": interfaces}))
    assert isinstance(check, CheckPod)


@pytest.mark.parametrize(
    ("interfaces", "said"),
    [
        ([{**HOST, "mac": "02:00:00:00:00:01"}, POD], f"{HOST['name']} with mac 02:00:00:00:00:01 instead of ee:ee:"),
        ([HOST, {**POD, "mac": "02:00:00:00:00:01"}], "eth0 with mac 02:00:00:00:00:01 instead of 0a:58:0a:f4:00:00: "),
        ([HOST, {**POD, "sandbox": "/run/netns/x"}], "eth0 in sandbox /run/netns/x instead of /run/netns/c1: pass"),
        ([{**HOST, "sandbox": "/run/x"}, POD], f"{HOST['name']} in sandbox /run/x instead of none: pass the result"),
        ([HOST], "no eth0: pass the result of this container's ADD"),
        ([POD], f"no {HOST['name']}: pass"),
    ],
)
def test_a_check_names_what_prevresult_says_otherwise_of_our_interfaces(interfaces: object, said: str) -> None:
    got, message = code(run(ready("c1"), asked("CHECK", prevResult={**RESULT, "interfaces": interfaces}))[1])
    assert (got, message.startswith(f"prevResult.interfaces have {said}")) == (103, True), message


@pytest.mark.parametrize("interfaces", ["", "eth0", {}, {"name": "eth0"}, [7]])
def test_interfaces_that_are_no_list_of_objects_are_no_result(interfaces: object) -> None:
    got, message = code(run(ready("c1"), asked("CHECK", prevResult={**RESULT, "interfaces": interfaces}))[1])
    assert (got, message.startswith("prevResult.interfaces = ")) == (7, True)


def test_a_check_of_what_is_not_there_or_at_work() -> None:
    assert code(run(ready(), asked("CHECK", prevResult=RESULT))[1])[0] == 3
    world = ready("c1")
    pod = next(iter(world.pods.values()))
    for phase, expected in ((Phase.LOST, 103), (Phase.WIRING, 11), (Phase.LEAVING, 11), (Phase.CUT, 3)):
        there = replace(world, pods={pod.attachment: replace(pod, phase=phase)})
        assert code(run(there, asked("CHECK", prevResult=RESULT))[1])[0] == expected


def test_a_pod_whose_block_is_another_nodes_by_now_is_not_called_well() -> None:
    theirs = ipam.new_block(NET, NODE2, NOW)
    world, _ = run(ready("c1"), events.Changed(kinds.IPAMBLOCK, theirs))
    lost = "10.244.0.0: block 10.244.0.0/26 of this node belongs to node node2 now"
    checked = code(run(world, asked("CHECK", prevResult=RESULT))[1])
    assert checked == (103, f"{lost}: delete the pod and start it again")
    world, [check] = run(world, asked("ADD"))
    assert isinstance(check, CheckPod)
    world, effects = run(world, events.PodChecked(9, check.pod.attachment, check.version, (), check.repeated))
    assert code(effects) == (11, lost)
    assert isinstance(effects[-1], UnwirePod)  # so that the next try gets another address
    gone = Attachment("c1", "eth0")
    world, effects = run(world, events.PodUnwired(0, gone), events.Reaped((gone,)), asked("ADD"))
    assert isinstance(effects[-1], ClaimBlock)


def test_gc_deletes_what_the_runtime_does_not_list_and_answers_at_the_end() -> None:
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    world, effects = run(ready("c1", "c2", "c3"), asked("GC", **{"cni.dev/valid-attachments": valid}))
    assert [(one.number, one.pod.attachment.container) for one in effects if isinstance(one, UnwirePod)] == [
        (0, "c1"),
        (0, "c3"),
    ]
    assert told(effects) == []
    world, effects = run(world, events.PodUnwired(0, Attachment("c1", "eth0")))
    assert [number for number, _, _ in told(effects)] == [0]  # nobody: the server knows no such number
    world, effects = run(world, events.PodUnwired(0, Attachment("c3", "eth0")))
    assert (9, 0, {}) in told(effects)
    assert world.collections == {}
    assert world.pods[Attachment("c2", "eth0")].phase is Phase.READY


def test_gc_says_what_could_not_be_deleted() -> None:
    world, _ = run(ready("c1"), asked("GC", **{"cni.dev/valid-attachments": []}))
    world, effects = run(world, events.UnwireFailed(0, Attachment("c1", "eth0"), "1.1.0", "the disk is full"))
    (said,) = [one for number, _, one in told(effects) if number == 9]
    assert (said["code"], said["msg"]) == (11, "not everything could be deleted: container c1: the disk is full")
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.READY


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"name": "other", "cni.dev/valid-attachments": []},
        {"cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}]},
    ],
    ids=["no list is not an empty list", "another network", "its older name"],
)
def test_gc_leaves_alone_what_is_not_said_to_be_gone(config: dict[str, object]) -> None:
    world, effects = run(ready("c1"), asked("GC", **config))
    assert told(effects) == [(9, 0, {})]
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.READY


@pytest.mark.parametrize("listed", ["c1", [1], [{"containerID": "c1"}], {"a": 1}])
def test_a_list_of_gc_that_cannot_be_read_deletes_nothing(listed: object) -> None:
    got, message = code(run(ready("c1"), asked("GC", **{"cni.dev/valid-attachments": listed}))[1])
    assert (got, message.startswith("cni.dev/valid-attachments = ")) == (7, True)


def test_status_is_whether_an_add_could_be_carried_out() -> None:
    assert told(run(ready(), asked("STATUS"))[1]) == [(9, 0, {})]
    got, message = code(run(fresh(), asked("STATUS"))[1])
    assert (got, message.startswith("no address can be given: the datastore is away")) == (50, True)
    assert told(run(replace(ready(), no_address="all owned"), asked("STATUS"))[1]) == [(9, 0, {})]


def test_a_node_that_lost_blocks_is_ready_while_a_pod_can_have_another_address() -> None:
    small = pool(cidr="10.244.0.0/25")  # two blocks
    theirs = [ipam.new_block(ip.network(net), NODE2, NOW) for net in ("10.244.0.0/26", "10.244.0.64/26")]
    world, _ = run(with_block(small), events.CniAsked(1, call("ADD", "c1")))
    world, _ = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.1.0"))
    world, _ = run(world, events.Changed(kinds.IPAMBLOCK, theirs[0]))
    assert (bool(world.fenced), dict(world.blocks)) == (True, {})
    assert told(run(world, asked("STATUS"))[1]) == [(9, 0, {})]  # the other block is to be had
    held = ipam.new_block(theirs[1].network, OWNER, NOW)
    assert told(run(world, events.Claimed(held), asked("STATUS"))[1])[-1] == (9, 0, {})
    full, _ = run(world, events.Changed(kinds.IPAMBLOCK, theirs[1]))
    for limited, begins in (
        (full, "block 10.244.0.0/26 of this node belongs to node node2 now"),
        (replace(world, store_away="cut"), "block 10.244.0.0/26"),
        (replace(world, unjournalled="the disk is full"), "the disk is full; block 10.244.0.0/26"),
        (run(world, events.Gone(kinds.IPPOOL, "pods"))[0], f"{NO_POOL}; block 10.244.0.0/26"),
    ):
        got, message = code(run(limited, asked("STATUS"))[1])
        assert (got, message.startswith(begins)) == (51, True), message
    idle = ipam.idle(ipam.new_block(theirs[1].network, NODE2, NOW - 1000), NOW - 1000)
    assert ipam.may_change_hands(idle)
    assert told(run(full, events.Changed(kinds.IPAMBLOCK, idle), asked("STATUS"))[1])[-1] == (9, 0, {})


@pytest.mark.parametrize(
    ("spec", "config", "expected"),
    [
        ({}, {}, ""),
        ({"assignmentMode": AssignmentMode.MANUAL}, {}, ""),
        ({"namespaceSelector": "team == 'x'"}, {}, ""),
        ({"disabled": True}, {}, "no IP pool has Workload addresses for this node: pool pods is disabled"),
        (
            {"nodeSelector": "zone == 'x'"},
            {},
            "no IP pool has Workload addresses for this node: pool pods does not sel",
        ),
        (
            {"allowedUses": (AllowedUse.TUNNEL,)},
            {},
            "no IP pool has Workload addresses for this node: pool pods is not",
        ),
        ({"nodeSelector": "zone == 'x'"}, {"ipv4_pools": ["pods"]}, ""),
        ({}, {"ipv4_pools": ["blue"]}, "the pool blue that ipv4_pools of the network configuration asks for does not"),
    ],
)
def test_a_node_that_no_pool_serves_is_not_ready(spec: dict[str, Any], config: dict[str, Any], expected: str) -> None:
    one = structs.replace(pool(), spec=structs.replace(pool().spec, **spec))
    effects = run(synced(one), asked("STATUS", **config))[1]
    if expected:
        got, message = code(effects)
        assert (got, message.startswith(expected)) == (50, True), message
    else:
        assert told(effects) == [(9, 0, {})]


def test_without_any_pool_status_says_what_node_status_says() -> None:
    world, _ = run(synced(), events.Gone(kinds.IPPOOL, "pods"))
    assert code(run(world, asked("STATUS"))[1]) == (50, NO_POOL)
    assert status.not_ready(world)[-1] == NO_POOL
    off = structs.replace(pool(), spec=structs.replace(pool().spec, disabled=True))
    world, _ = run(world, events.Changed(kinds.IPPOOL, off))
    assert status.not_ready(world)[-1] == f"pods cannot be added: {code(run(world, asked('STATUS'))[1])[1]}"
    owning, _ = run(with_block(), events.Changed(kinds.IPPOOL, off))
    assert told(run(owning, asked("STATUS"))[1]) == [(9, 0, {})]  # its pods, if it has any, are not to be evicted
    assert status.not_ready(owning) == []
    assert told(run(replace(world, adopted=False), asked("STATUS"))[1]) == [(9, 0, {})]  # it may own some


def test_a_node_that_may_claim_no_block_and_has_none_is_not_ready() -> None:
    settings = IPAMConfigurationSpec(strictAffinity=True, autoAllocateBlocks=False)
    told_so = events.Changed(
        kinds.IPAMCONFIGURATION, IPAMConfiguration(metadata=Metadata(name="default"), spec=settings)
    )
    got, message = code(run(synced(), told_so, asked("STATUS"))[1])
    assert (got, "spec.autoAllocateBlocks: false" in message) == (50, True)
    assert told(run(with_block(), told_so, asked("STATUS"))[1])[-1] == (9, 0, {})


def test_what_is_about_no_container_names_none_in_the_log() -> None:
    [refusal] = run(fresh(), asked("STATUS"))[1]
    assert isinstance(refusal, Answer)
    assert refusal.reason.startswith("no address can be given: ")
    [refusal] = run(ready(), asked("CHECK", prevResult=RESULT))[1]
    assert isinstance(refusal, Answer)
    assert refusal.reason.startswith("container c1 interface eth0: it was not added")


def test_the_log_names_the_pod_of_what_is_refused() -> None:
    """Who looks for a pod's name there finds why, whatever the sentence is about."""
    whose = f"container c1 interface eth0 (pod {asks.POD}): "
    [refusal] = [one for one in run(with_block(), asks.asked(address="10.9.9.9"))[1] if isinstance(one, Answer)]
    assert refusal.reason.startswith(f"{whose}CNI_ARGS IP = 10.9.9.9 is outside ")
    wiring = run(with_block(), asks.asked())[0]
    not_wired = events.PodRefused(1, Attachment("c1", "eth0"), "1.0.0", "the kernel has no veth")
    [refusal] = [one for one in run(wiring, not_wired)[1] if isinstance(one, Answer)]
    assert refusal.reason == f"{whose}the kernel has no veth"


def test_ours_behind_another_plugin_is_refused() -> None:
    got, message = code(run(ready(), asked("ADD", "c1", prevResult=RESULT))[1])
    assert (got, message) == (
        7,
        "prevResult is set, as if another plugin had been there before: bgpnet makes the pod's interface and must be "
        "the first plugin of the conflist",
    )


def test_a_result_of_1_1_0_has_the_mtu() -> None:
    world, _ = run(with_block(), events.CniAsked(1, call("ADD", "c1")))
    world, effects = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.1.0"))
    [(_, _, said)] = told(effects)
    assert json.loads(json.dumps(said))["interfaces"][1]["mtu"] == 1500


def test_what_gc_deleted_does_not_come_back_from_its_link_when_the_blocks_are_heard() -> None:
    """GC works from the journal; the datastore answers later, and still has the pod."""
    before = ready("c1")
    pod = before.pods[Attachment("c1", "eth0")]
    seen = Seen(pod.link, pod.since, pod.mtu, pod.address)
    start = replace(fresh(), blocks=before.blocks, pods=before.pods, journalled=True)
    world, _ = run(start, events.KernelLooked({pod.attachment: seen}), events.StoreAway("cut"))
    world, effects = run(world, asked("GC", **{"cni.dev/valid-attachments": []}))
    [unwire] = effects
    assert isinstance(unwire, UnwirePod)
    gone = (events.PodUnwired(unwire.number, pod.attachment), events.Reaped((pod.attachment,)))
    recorded = tuple(before.blocks.values())
    world, _ = run(world, *gone, events.Listed(kinds.NODE, ()), events.Listed(kinds.IPAMBLOCK, recorded))
    assert (world.adopted, dict(world.pods)) == (True, {})
    assert [slot.container for slot in recorded[0].spec.allocations.values()] == ["c1"]
    for block in world.blocks.values():
        assert all(slot.freedAt for slot in block.spec.allocations.values())
