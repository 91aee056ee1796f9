"""A simulated node: what survives its agent (kernel, journal, containers), and its container runtime."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from gates import CountedStore, GatedKernel, GatedStore, Way
from life import Clock, Life, Place

from bgpnet.agent.effects import Answer
from bgpnet.agent.events import CniAsked
from bgpnet.agent.journal import decode
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Me, Pod, World
from bgpnet.cnispec import TRY_AGAIN, Attachment
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.fake_parts import MAIN
from bgpnet.kernel.state import Hop
from bgpnet.model import ip
from bgpnet.model.ipamblock import BlockState
from bgpnet.wire import CniCall

UPLINK = "eth1"
LEAK_GRACE = 15.0
"""Seconds; shorter than the default, so that it is often over when something else happens."""
STDIN = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "bgpnet"}).encode()


class State(StrEnum):
    """What the runtime knows of a container. OLD: a newer sandbox of its pod was asked for. DEAD: its netns ended."""

    ASKED = "asked"
    UP = "up"
    FAILED = "failed"
    OLD = "old"
    DEAD = "dead"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(slots=True)
class Container:
    """A sandbox. sequence: its allocation's, when its ADD was answered; wanted: the address it asks for by name.

    unlinked: a stranger deleted its link, and its namespace lives.
    """

    name: str
    pod: str
    netns: int
    wanted: str = ""
    state: State = State.ASKED
    address: ip.Address | None = None
    sequence: int = 0
    unlinked: bool = False

    @property
    def attachment(self) -> Attachment:
        """What CNI keys by."""
        return Attachment(self.name, "eth0")


@dataclass(slots=True)
class Ask:
    """A request under way. buried: a DEL made without an agent, which nobody waits for."""

    command: str
    container: Container
    buried: bool = False


@dataclass(slots=True)
class Machine:
    """One node. `counts` are the cluster's."""

    name: str
    number: int
    folder: Path
    store: CountedStore
    clock: Clock
    random: Callable[[], Random]
    counts: Counter[str]
    say: Callable[[str], None]
    rest: float = 30.0
    disk_is_full: bool = False
    disk_is_still: bool = False
    way: Way = field(default_factory=Way)
    life: Life | None = None
    boots: int = 1
    images: int = 1
    containers: list[Container] = field(default_factory=list)
    asks: dict[int, Ask] = field(default_factory=dict)
    tombstones: list[Container] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left: dict[ip.Address, float] = field(default_factory=dict)
    """When the address's last pod was to be deleted; empty after a journal was lost."""
    kernel: FakeKernel = field(default_factory=FakeKernel)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._boot_kernel()

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / f"{self.name}.journal"

    @property
    def serving(self) -> bool:
        """Whether a plugin finds an agent."""
        return self.life is not None and self.life.serving

    # the machine

    def start(self) -> None:
        """A fresh agent starts from journal, kernel and datastore."""
        me = Me(
            node=self.name,
            uuid=f"uuid-{self.name}-{self.images}",
            address=ip.interface(f"192.0.2.{self.number}/24"),
            uplink=UPLINK,
            uplink_mtu=1500,
            version="0",
            rest=self.rest,
            leak_grace=LEAK_GRACE,
        )
        self.life = Life(
            Place(
                me=me,
                boot=f"boot-{self.name}-{self.boots}",
                journal=self.journal,
                kernel=GatedKernel(self.kernel),
                store=GatedStore(self.store, self.way),
                clock=self.clock,
                random=self.random,
                netns=lambda number: self.asks[number].container.netns if number in self.asks else None,
                sight=self.sight,
                shows=lambda path, netns: any(
                    path == f"/run/netns/{one.name}" and one.netns == netns for one in self.containers
                ),
                disk_is_full=lambda: self.disk_is_full,
                disk_is_still=lambda: self.disk_is_still,
                answer=self.answered,
                buried=self.buried,
                given=self.given,
            )
        )

    def kill(self) -> None:
        """kill -9 of the agent; whoever waited for an answer is told that there is none."""
        if self.life is None:
            return
        self.life.kill()
        self.life = None
        for ask in self.asks.values():
            if ask.command == "ADD" and ask.container.state is State.ASKED:
                ask.container.state = State.FAILED
        self.asks = {}

    def reboot(self, *, imaged: bool = False) -> None:
        """Power off and on; imaged: with a new disk, under the same name."""
        self.kill()
        self.boots += 1
        self._boot_kernel()
        self.tombstones = []
        for one in self.containers:
            if one.state is not State.GONE:
                one.state = State.DEAD
        if imaged:
            self.images += 1
            self.left = {}
            self.journal.unlink(missing_ok=True)

    def _boot_kernel(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.strangers.add_link(UPLINK, f"192.0.2.{self.number}/24")

    def lose_journal(self) -> None:
        """The file goes, and with it all memory of pods whose links are gone, or a newer sandbox's by now."""
        self.counts["journals lost"] += 1
        self.left = {}
        self.journal.unlink(missing_ok=True)
        for one in self.containers:
            if one.state is State.OLD:
                one.address = None
        for one in self.live():
            if one.unlinked:
                one.state = State.DEAD

    # the container runtime

    def add(self, pod: str, wanted: str = "") -> Container:
        """A new sandbox for the pod; older ones of it are not alive from now on."""
        for other in self.containers:
            if other.pod == pod and other.state in (State.UP, State.ASKED):
                other.state = State.OLD
        number = len(self.containers) + 1
        made = Container(f"{self.name}c{number}", pod, 100 + number, wanted)
        self.containers.append(made)
        self.ask_add(made)
        return made

    def ask_add(self, one: Container) -> None:
        """ADD, also once more for a container that has been answered."""
        self.counts["ADDs asked"] += 1
        if not self.serving:
            if one.state is State.ASKED:
                one.state = State.FAILED
            return
        if one.state is State.FAILED:
            one.state = State.ASKED
        self._ask("ADD", one)

    def delete(self, one: Container) -> None:
        """DEL; without an agent, a tombstone is its answer."""
        self.counts["DELs asked"] += 1
        if one.address is not None and one.state in (State.UP, State.OLD):
            self.left[one.address] = self.clock.now
        one.state = State.GONE if not self.serving else one.state if one.state is State.GONE else State.LEAVING
        if self.serving:
            self._ask("DEL", one)
        elif one not in self.tombstones:
            self.tombstones.append(one)

    def die(self, one: Container) -> None:
        """The sandbox's namespace ends, and its link with it; nobody has said DEL."""
        for link in list(self.kernel.links.values()):
            if link.peer is not None and link.peer[0] == one.netns:
                self.kernel.strangers.delete_link(link.name)
        if one.state is not State.GONE:
            one.state = State.DEAD
        if self.life is not None:
            self.life.changed()

    def unlink(self, one: Container) -> None:
        """A stranger deletes the link of a container that lives: its address stays its own.

        Where the journal was lost, now or before, nobody knows its namespace: an operator's word is enough to release
        it then, so it is no pod that has to keep its address.
        """
        contents = decode(self.journal.read_bytes()) if self.journal.exists() else None
        line = contents.pods.get(one.attachment) if contents else None
        if line is None or not line.visible:
            self.die(one)
            return
        for link in list(self.kernel.links.values()):
            if link.peer is not None and link.peer[0] == one.netns:
                self.kernel.strangers.delete_link(link.name)
                one.unlinked = True
                self.counts["links deleted by strangers"] += 1
        if self.life is not None:
            self.life.changed()

    def buried(self) -> list[CniAsked]:
        """The DELs made without an agent, as the server finds them."""
        return [
            CniAsked(self._register(Ask("DEL", one, buried=True)), self._call("DEL", one)) for one in self._unasked()
        ]

    def bury(self) -> None:
        """The server's look for tombstones, every two seconds."""
        if self.life is not None and self.life.serving:
            self.life.inbox.extend(self.buried())

    def forget_the_dead(self) -> None:
        """The runtime loses all memory of sandboxes that ended: no DEL will ever come for them."""
        linked = {link.peer[0] for link in self.kernel.links.values() if link.peer is not None}
        for one in self.containers:
            if one.state is State.DEAD and one.netns not in linked:
                one.state = State.GONE
                self.counts["forgotten by the runtime"] += 1

    def collect(self) -> None:
        """GC with every sandbox that the runtime has; of those that ended it keeps none, and no DEL comes for them."""
        if not self.serving or self.life is None:
            return
        for one in self.containers:
            if one.state is State.DEAD:
                one.state = State.GONE
        kept = [one for one in self.containers if one.state is not State.GONE]
        self.counts["GCs asked"] += 1
        number = self._register(Ask("GC", Container("", "", 0)))
        self.life.ask(number, CniCall({"CNI_COMMAND": "GC"}, _gc_configuration(kept)))

    def sight(self, path: str) -> Netns:
        """Whether the network namespace of that path is there: until the runtime ends it."""
        there = [one for one in self.containers if path == f"/run/netns/{one.name}"]
        return Netns.THERE if any(one.state not in (State.DEAD, State.GONE) for one in there) else Netns.GONE

    def _unasked(self) -> list[Container]:
        under_way = [ask.container for ask in self.asks.values() if ask.buried]
        return [one for one in self.tombstones if one not in under_way]

    def given(self, pod: Pod, before: World) -> None:
        """Every new allocation: an address rests, unless nothing else was to be had."""
        since = before.now - self.left.get(pod.address, 0.0)
        wanted = any(one.wanted for one in self.containers if one.name == pod.attachment.container)
        in_reach = [block for block in before.blocks.values() if block.spec.state is BlockState.IN_USE]
        same = [block for block in in_reach if ip.contains(block.network, pod.address)]
        if since < self.rest and not wanted and any(block.spec.free for block in same):
            self.problems.append(
                f"{pod.address} was given to {pod.attachment.container} {since:.0f} s after it was freed"
            )

    def answered(self, answer: Answer) -> None:
        """The agent's answer to a request."""
        ask = self.asks.pop(answer.number, None)
        if ask is None:
            return
        one, said = ask.container, json.loads(answer.body or b"{}")
        self.say(f"{self.name}: {ask.command} {one.name} answered {answer.status} {said.get('msg') or said.get('ips')}")
        if ask.command == "GC":
            self.counts["GCs answered"] += answer.status == 0
        elif ask.command == "DEL":
            self._deleted(ask, answer, said)
        elif answer.status == 0:
            self._added(one, ip.interface(said["ips"][0]["address"]).ip)
        else:
            self.counts["ADDs refused"] += 1
            full = said["msg"].endswith("No space left on device; free space on the disk of the state directory")
            if said["code"] not in (TRY_AGAIN, 101) and not full:
                self.problems.append(f"{one.name} was refused for no reason of the test's: {said['msg']}")
            if one.state is State.ASKED:
                one.state = State.FAILED

    def _added(self, one: Container, address: ip.Address) -> None:
        self.counts["ADDs answered"] += 1
        one.unlinked = one.unlinked and not self.leads_to(one)
        if one.state is State.UP and one.address != address:
            self.problems.append(f"{one.name} was told {one.address} and then {address}")
        if one.state is not State.ASKED:
            return  # given up meanwhile, or told the same once more
        one.state, one.address = State.UP, address
        assert self.life is not None
        pod = self.life.world.pods.get(one.attachment)
        one.sequence = pod.sequence if pod else 0

    def _deleted(self, ask: Ask, answer: Answer, said: dict[str, object]) -> None:
        self.counts["DELs answered"] += 1
        if ask.buried and (answer.status == 0 or said.get("code") != TRY_AGAIN):
            self.tombstones.remove(ask.container)
        if answer.status == 0 and ask.container.state is State.LEAVING:
            ask.container.state = State.GONE

    def live(self) -> list[Container]:
        """Those that were told an address and are to keep it."""
        return [one for one in self.containers if one.state is State.UP]

    def leads_to(self, one: Container) -> bool:
        """Whether the kernel has the container's link and leads its address there."""
        assert one.address is not None
        for link in self.kernel.links.values():
            if link.alias is not None and link.alias.container == one.name and not link.reaping:
                route = self.kernel.routes.get((MAIN, ip.host(one.address)))
                return route is not None and route.route.hops == (Hop(link.name),)
        return False

    def _ask(self, command: str, one: Container) -> None:
        assert self.life is not None
        self.life.ask(self._register(Ask(command, one)), self._call(command, one))

    def _register(self, ask: Ask) -> int:
        number = next(self._numbers)
        self.asks[number] = ask
        return number

    def _call(self, command: str, one: Container) -> CniCall:
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={one.pod}"
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": one.name,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{one.name}",
            "CNI_ARGS": f"{args};IP={one.wanted}" if one.wanted and command == "ADD" else args,
        }
        return CniCall(env, STDIN)


def _gc_configuration(kept: list[Container]) -> bytes:
    """What libcni passes to GC."""
    valid = [{"containerID": one.name, "ifname": "eth0"} for one in kept]
    return json.dumps({**json.loads(STDIN), "cniVersion": "1.1.0", "cni.dev/valid-attachments": valid}).encode()
