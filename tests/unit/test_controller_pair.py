"""Two controllers on one store, acting in any order on pictures of any age, while pods and nodes come and go.

The owners here believe whatever they are asked (a real one looks at its kernel first), so that only the controllers'
own care keeps a pod's address.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from fake_kubernetes import FakeKubernetes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from bgpnet import ipam
from bgpnet.controller import feeds, janitor
from bgpnet.controller.actions import Action
from bgpnet.controller.hands import Hands, Outcome
from bgpnet.controller.picture import Memory, Rules
from bgpnet.controller.view import View
from bgpnet.errors import AllocationRefused, AlreadyExists
from bgpnet.ipam import Claimant
from bgpnet.kube.errors import Unreachable
from bgpnet.model import instant, ip, kinds
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus, OrchRef
from bgpnet.model.releaserequest import Outcome as Answer
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

pytestmark = pytest.mark.timeout(1800)

NAMES = ("n1", "n2", "n3")
PODS = ("a/x", "a/y", "b/x")
RULES = Rules(leak_grace=100.0, silence=60.0, down=120.0)
BEAT = 20.0
SKEWS = {"n1": 0.0, "n2": -1_000.0, "n3": 1_000.0}
"""Seconds by which the nodes' clocks differ from everybody else's."""


@dataclass
class One:
    """A controller: what it has heard, what it remembers, what it is about to do."""

    view: View
    behind: bool = False
    memory: Memory = field(default_factory=Memory)
    todo: deque[Action] = field(default_factory=deque)


class Pair(RuleBasedStateMachine):
    """`alive`: the nodes whose agents run; `kernel`: the pods that have a link, with node, address and sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.clock = 1_700_000_000.0, 1000.0
        self.repo = Repo(MemoryStore(), now=lambda: self.now)
        self.kubernetes = FakeKubernetes()
        self.hands = Hands(self.repo, self.kubernetes, now=lambda: self.now)
        self.two = [One(View(True, lambda: self.clock)) for _ in range(2)]
        self.alive: set[str] = set()
        self.kernel: dict[str, tuple[str, str, int]] = {}
        self.silent: dict[str, float] = {}
        self.count = 0

    @initialize()
    def begin(self) -> None:
        self.repo.create(IPPool(metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.0.0.0/16", blockSize=29)))
        for name in NAMES[:2]:
            self.join(name)

    # the world

    @rule(name=st.sampled_from(NAMES), kubelet=st.booleans())
    def join(self, name: str, kubelet: bool = True) -> None:
        """A machine of that name starts, or starts again: its agent; and its kubelet, which makes its Node."""
        if kubelet and name not in self.kubernetes.nodes:
            self.kubernetes.put_node(name, host=name)
        self.alive.add(name)
        self.silent.pop(name, None)
        self._beat(name)
        net = ip.network(f"10.0.{NAMES.index(name)}.0/29")
        try:
            self.repo.write(ipam.new_block(net, Owner(name=name, uid=name), self.now))
            peer = BGPPeerSpec(node=name, peerIP="192.0.2.250", asNumber=65000)
            self.repo.apply(BGPPeer(metadata=Metadata(name=name), spec=peer))
        except AlreadyExists:
            return

    @rule(pod=st.sampled_from(PODS), data=st.data())
    def add(self, pod: str, data: st.DataObject) -> None:
        """Kubernetes has a new pod, and a node wires it."""
        usable = sorted(self.alive & self.kubernetes.nodes.keys())
        if pod in self.kernel or not usable:
            return
        node = data.draw(st.sampled_from(usable))
        self.kubernetes.put_pod(pod, node, "", "Pending", instant.stamp(self.now))
        block, self.count = self._block(node), self.count + 1
        at = self.now + SKEWS[node]
        given = ipam.assign(block, Claimant(f"c{self.count}", "eth0", pod), at, pressed=True) if block else None
        if given is None:
            return
        self.repo.write(given[0])
        ordinal = int(given[1]) - int(given[0].network.network_address)
        self.kernel[pod] = (node, str(given[1]), given[0].spec.allocations[ordinal].sequence)
        self.kubernetes.put_pod(pod, node, str(given[1]), created=instant.stamp(self.now))

    @rule(pod=st.sampled_from(PODS), ends=st.sampled_from(["lost", "ended", "del"]))
    def end(self, pod: str, ends: str) -> None:
        """Its DEL comes, or never does."""
        if pod not in self.kernel:
            return
        node, address, sequence = self.kernel.pop(pod)
        if ends == "ended":
            self.kubernetes.put_pod(pod, node, address, "Succeeded")
        else:
            self.kubernetes.pods.pop(pod, None)
        block = self._block(node)
        if ends == "del" and block is not None and node in self.alive:
            self.repo.write(ipam.release_at(block, ip.address(address), sequence, self.now))

    @rule(name=st.sampled_from(NAMES), deleted=st.booleans())
    def die(self, name: str, deleted: bool) -> None:
        """A machine stops, with all of its pods; Kubernetes may have deleted its Node before, and the pods since."""
        if name not in self.alive:
            return
        self.alive.discard(name)
        self.silent[name] = self.clock
        for pod in [pod for pod, (node, _, _) in self.kernel.items() if node == name]:
            del self.kernel[pod]
            if deleted:
                self.kubernetes.pods.pop(pod, None)
        if deleted:
            self.kubernetes.nodes.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        """Somebody deletes the Kubernetes Node, whatever its agent does."""
        self.kubernetes.nodes.pop(name, None)

    @rule(away=st.booleans())
    def outage(self, away: bool) -> None:
        """The API server goes, or is back."""
        self.kubernetes.away = away

    @rule(seconds=st.sampled_from([1.0, 15.0, 50.0, 130.0]))
    def time(self, seconds: float) -> None:
        """It passes; living agents say so, and answer."""
        left = seconds
        while left > 0:
            step = min(left, BEAT)
            self.now, self.clock, left = self.now + step, self.clock + step, left - step
            for name in sorted(self.alive):
                self._beat(name)
                self._answer(name)

    # the controllers

    @rule(which=st.integers(0, 1), behind=st.booleans())
    def lag(self, which: int, behind: bool) -> None:
        """What it hears of Kubernetes is from now on old, or of now again."""
        self.two[which].behind = behind

    @rule(which=st.integers(0, 1))
    def look(self, which: int) -> None:
        """It hears what there is, and plans; what it was about to do is forgotten."""
        one = self.two[which]
        with suppress(Unreachable):  # it goes on with what it heard last
            feeds.look(self.repo, None if one.behind else self.kubernetes, one.view)
        if any(one.view.missing()):
            return
        picture = one.view.picture(self.now)
        assert picture is not None
        one.memory, wished = janitor.plan(picture, one.memory, RULES)
        one.todo = deque(wished.actions)

    @rule(which=st.integers(0, 1), times=st.integers(1, 3))
    def act(self, which: int, times: int) -> None:
        """It does the next things of its plan, however old that is."""
        for _ in range(times):
            if self.two[which].todo:
                self._carry_out(self.two[which].todo.popleft())

    @rule(which=st.integers(0, 1), rounds=st.integers(1, 4), last=st.booleans())
    def work(self, which: int, rounds: int, last: bool = True) -> None:
        """It is at work for minutes; what it planned last may be left for later."""
        for left in reversed(range(rounds)):
            self.look(which)
            if left or last:
                self.act(which, 20)
                self.time(50.0)

    # what holds at every instant

    @invariant()
    def pods_keep_their_addresses(self) -> None:
        for pod, (node, address, sequence) in self.kernel.items():
            block = self._block(node)
            assert block is not None, f"the block of {pod} on {node} is gone"
            slot = block.spec.allocations[int(ip.address(address)) - int(block.network.network_address)]
            assert (slot.sequence, slot.freedAt) == (sequence, None), f"{pod} on {node} has lost {address}"

    @invariant()
    def living_nodes_keep_what_is_theirs(self) -> None:
        for name in self.alive:
            assert self.repo.find(kinds.NODE, name) is not None, name
            assert self._block(name) is not None, name

    def teardown(self) -> None:
        """In the end, with everybody there, nothing is left of what is gone, and all else is as it should be."""
        self.kubernetes.away = self.two[0].behind = self.two[1].behind = False
        for pod in [key for key in self.kubernetes.pods if key not in self.kernel]:
            self.kubernetes.pods.pop(pod)  # the garbage collector of Kubernetes
        if not self.kubernetes.nodes:
            self.join("n1")
        for _ in range(40):
            for which in (0, 1):
                self.look(which)
                self.act(which, 50)
            self.time(50.0)
        gone = {name for name in NAMES if name not in self.kubernetes.nodes and name not in self.alive}
        known = {one.metadata.name for one in self.repo.list(kinds.NODE)[0]}
        assert not known & gone
        assert not {one.metadata.name for one in self.repo.list(kinds.BGPPEER)[0]} & gone
        assert self.repo.list(kinds.RELEASEREQUEST)[0] == []
        held = {(address, sequence) for _, address, sequence in self.kernel.values()}
        for block in self._blocks():
            assert block.spec.owner is not None
            assert block.spec.owner.name not in gone
            if block.spec.owner.name in self.alive:
                live = {at: one for at, one in block.spec.allocations.items() if one.freedAt is None}
                assert {(str(block.network[at]), one.sequence) for at, one in live.items()} <= held
        for name in self.kubernetes.nodes:
            if name in self.alive:
                assert self.kubernetes.network(name) == "False"
                node = self.repo.get(kinds.NODE, name)
                assert node.metadata.labels == self.kubernetes.nodes[name]["metadata"]["labels"]

    def _carry_out(self, action: Action) -> None:
        done = self.hands.carry_out(action)
        assert done.outcome is not Outcome.FAILED, done
        departure = getattr(action, "departure", None)
        if departure is not None and done.outcome is Outcome.DONE:
            assert departure.kubernetes not in self.kubernetes.nodes, f"{action.object}: Kubernetes has its Node"
            assert departure.node not in self.alive, f"{action.object}: its agent lives"

    # the parts of the agents

    def _blocks(self) -> list[IPAMBlock]:
        return [one for one in self.repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock)]

    def _block(self, node: str) -> IPAMBlock | None:
        return next((one for one in self._blocks() if one.spec.owner and one.spec.owner.name == node), None)

    def _beat(self, name: str) -> None:
        status = NodeStatus(identity=Identity(uuid=name, heartbeat=instant.stamp(self.now + SKEWS[name])))
        there = self.repo.find(kinds.NODE, name)
        ref = OrchRef(nodeName=name, orchestrator="k8s")
        spec = NodeSpec(bgp=NodeBGP(ipv4Address=f"192.0.2.{name[1:]}/24"), orchRefs=(ref,))
        node = there if isinstance(there, Node) else Node(metadata=Metadata(name=name), spec=spec)
        self.repo.write(structs.replace(node, status=status))

    def _answer(self, name: str) -> None:
        for one in self.repo.list(kinds.RELEASEREQUEST)[0]:
            if not isinstance(one, ReleaseRequest) or one.spec.node != name or one.status is not None:
                continue
            block = self._block(name)
            assert block is not None
            outcome = Answer.RELEASED
            try:
                self.repo.write(ipam.release_at(block, ip.address(one.spec.address), one.spec.sequence, self.now))
            except AllocationRefused:
                outcome = Answer.REFUSED
            status = ReleaseRequestStatus(outcome=outcome, answeredAt=instant.stamp(self.now))
            self.repo.write(structs.replace(one, status=status))


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=1_500 if os.environ.get("BGPNET_SOAK") else 60, stateful_step_count=40)


class _Drawn:
    """What `add` draws, where a test says it."""

    def __init__(self, node: str) -> None:
        self.node = node

    def draw(self, strategy: object) -> str:
        return self.node


@pytest.fixture
def pair() -> Pair:
    """Two nodes, and two controllers that have looked once."""
    made = Pair()
    made.begin()
    made.look(0)
    made.look(1)
    return made


def test_a_pod_that_a_controller_has_not_heard_of_keeps_its_address(pair: Pair) -> None:
    pair.lag(0, behind=True)
    pair.add("a/x", _Drawn("n1"))
    pair.work(0, 5)
    assert pair.two[0].memory.suspects != {}
    pair.pods_keep_their_addresses()


def test_a_node_that_is_back_unheard_of_keeps_its_blocks_though_its_agent_is_silent(pair: Pair) -> None:
    pair.forget("n2")
    pair.die("n2", deleted=False)
    pair.look(0)
    pair.lag(0, behind=True)
    pair.kubernetes.put_node("n2")
    pair.work(0, 5)
    assert [one.object for one in pair.two[0].todo] == []
    assert pair._block("n2") is not None


def test_an_agent_that_comes_back_before_the_last_moment_keeps_its_blocks(pair: Pair) -> None:
    pair.forget("n2")
    pair.die("n2", deleted=False)
    pair.look(0)
    pair.time(130.0)
    pair.look(0)
    assert "delete IPAMBlock(10-0-1-0-29)" in [f"{one.what} {one.object}" for one in pair.two[0].todo]
    pair.join("n2", kubelet=False)
    pair.act(0, 20)
    pair.living_nodes_keep_what_is_theirs()
