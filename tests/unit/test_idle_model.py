"""Blocks that change hands between two nodes, in any order and with kills, lost answers and late news in between.

The agents' own steps, claimer, journal and plan; only threads, sockets and the kernel are this file's. Whatever
happens: no address is on two living pods, nobody is ever fenced from a living one, and in the end everybody agrees.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asks import asked
from msgspec import structs
from worlds import NOW, pool

from bgpnet import integrity
from bgpnet.agent import events, journal
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.effects import (
    ClaimBlock,
    DropBlock,
    Effect,
    ForgetBlock,
    JournalBlocks,
    JournalIdle,
    Reap,
    ReapNow,
    Stop,
    TakeBack,
    UnwirePod,
    WirePod,
)
from bgpnet.agent.events import Changed, Event, Gone
from bgpnet.agent.journal import BlockIs, BlockWent, Journal, PodWent, came
from bgpnet.agent.plan import plan
from bgpnet.agent.status import NEEDED
from bgpnet.agent.step import step
from bgpnet.agent.world import Me, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.errors import AlreadyExists, Conflict, NotFound, StoreUnreachable
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ip import Address
from bgpnet.model.ipamblock import BlockState, IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.store.api import Deleted, Entry, Revision
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo, key
from bgpnet.wire import CniCall

REST = 10.0
POOL = pool(cidr="10.0.0.0/28", blockSize=30)
"""Four blocks of four addresses."""


class Killed(BaseException):
    """The agent ends here and now: nothing of it may catch that."""


class Faulty(MemoryStore):
    """A datastore that fails as it is told, one word a call: refused, lost (done, not answered), killed (done), ok."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        fault = self._fault()
        revision = super().put(key, value, expected)
        self._end(fault)
        return revision

    def delete(self, key: str, expected: Revision | None) -> Revision:
        fault = self._fault()
        revision = super().delete(key, expected)
        self._end(fault)
        return revision

    def get(self, key: str) -> Entry | None:
        self._end(self._fault())
        return super().get(key)

    def _fault(self) -> str:
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "refused":
            raise StoreUnreachable("it is refused")
        return fault

    def _end(self, fault: str) -> None:
        if fault == "lost":
            raise StoreUnreachable("the answer is lost")
        if fault == "killed":
            raise Killed


class Agent:
    """One node: World, queue, journal, kernel. `world` is None while no agent runs; the kernel goes on without."""

    def __init__(self, name: str, repo: Repo, store: Faulty, folder: Path) -> None:
        number = int(name[-1])
        address = ip.interface(f"192.0.2.{number}/24")
        self.me = Me(name, f"uuid-{number}", address, "eth1", 1500, "0", rest=REST)
        self.repo, self.store = repo, store
        self.path = folder / f"{name}-journal"
        self.kernel: dict[Attachment, Seen] = {}
        self.world: World | None = None
        self.queue: deque[Event] = deque()
        self.work: deque[Effect] = deque()
        self.pods: deque[Effect] = deque()
        self.wish: Sequence[Resource] = ()
        self.heard: dict[Kind, int] = {}
        self.journal = Journal(self.path, "boot")

    def start(self, now: float) -> None:
        self.journal = Journal(self.path, "boot")
        contents = self.journal.load()
        blocks, pods = journal.restore(contents, "boot", now) if contents else ({}, {})
        self.journal.start(blocks.values(), pods.values())
        self.world = World(me=self.me, now=now, clock=now, blocks=blocks, pods=pods)
        self.queue.append(events.KernelLooked(dict(self.kernel)))
        for kind in NEEDED:
            resources, _ = self.repo.list(kind)
            self.heard[kind] = self.position()
            self.queue.append(events.Listed(kind, tuple(resources)))

    def position(self) -> int:
        return len(self.store._log)

    def kill(self) -> None:
        self.journal.close()
        self.world = None
        self.wish = ()
        for waiting in (self.queue, self.work, self.pods):
            waiting.clear()

    def hear(self) -> bool:
        """The watches deliver what they have not yet; whether there was anything."""
        before = len(self.queue)
        log = list(self.store._log)
        for kind in NEEDED:
            for item in log[self.heard[kind] :]:
                if item.key.startswith(key(kind, "")):
                    name = item.key.removeprefix(key(kind, ""))
                    self.queue.append(Gone(kind, name) if isinstance(item, Deleted) else self._changed(kind, item))
            self.heard[kind] = len(log)
        return len(self.queue) > before

    def _changed(self, kind: Kind, entry: Entry) -> Changed:
        return Changed(kind, self.repo._decode(kind, entry))

    def think(self, event: Event, now: float) -> None:
        assert self.world is not None
        self.world, effects = step(replace(self.world, now=now, clock=now), event)
        for effect in effects:
            match effect:
                case JournalBlocks(blocks, pods):
                    self.journal.append([*map(came, pods), *map(BlockIs, blocks)])
                case JournalIdle(block, sequence):
                    self.journal.append([BlockIs(block)])
                    self.queue.append(events.IdleJournalled(block, sequence))
                case ForgetBlock(cidr):
                    self.journal.append([BlockWent(cidr)])
                case ClaimBlock() | TakeBack() | DropBlock():
                    self.work.append(effect)
                case WirePod() | UnwirePod() | Reap() | ReapNow():
                    self.pods.append(effect)
                case Stop(reason):
                    raise AssertionError(reason)

    def claim(self, now: float) -> None:
        claimer = Claimer(self.repo, self.journal, self.queue.append)
        match self.work.popleft():
            case ClaimBlock() as effect:
                self.queue.append(claimer.claim(effect, now))
            case TakeBack() as effect:
                self.queue.append(claimer.take_back(effect, now))
            case DropBlock() as effect:
                self.queue.append(claimer.drop(effect))

    def wire(self, now: float) -> None:
        match self.pods.popleft():
            case WirePod(number, pod, version):
                self.journal.append([came(pod)])
                self.kernel[pod.attachment] = Seen(pod.link, pod.since, pod.mtu, pod.address)
                self.queue.append(events.PodWired(number, pod.attachment, version))
            case UnwirePod(number, pod, version):
                self.kernel.pop(pod.attachment, None)
                self.journal.append([PodWent(pod.attachment.container, pod.attachment.ifname, stamp(now))])
                self.queue.append(events.PodUnwired(number, pod.attachment))
            case ReapNow():
                pass  # its link goes when its turn comes
            case Reap(attachment):
                self.queue.append(events.Reaped((attachment,)))

    def plan(self) -> None:
        if self.world is not None:
            self.wish = plan(self.world).records

    def record(self) -> None:
        """The first of the wish, as `Records` does it."""
        resource, *rest = self.wish
        self.wish = rest
        kind, name = kind_of(resource), resource.metadata.name
        try:
            self.queue.append(Changed(kind, self.repo.write(resource)))
        except (AlreadyExists, Conflict, NotFound):
            try:
                self.queue.append(Changed(kind, self.repo.get(kind, name), read=True))
            except NotFound:
                self.queue.append(Gone(kind, name))
            except StoreUnreachable as problem:
                self.queue.append(events.StoreAway(str(problem)))
        except StoreUnreachable as problem:
            self.queue.append(events.StoreAway(str(problem)))


NAMES = ("node1", "node2")
FAULTS = ("ok", "ok", "ok", "refused", "lost", "killed")


class Model:
    """Two agents on one datastore."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.store = Faulty()
        self.repo = Repo(self.store, now=lambda: self.now)
        self.now = NOW
        self.number = 0
        self.repo.write(POOL)
        self.agents = {name: Agent(name, self.repo, self.store, Path(self.directory.name)) for name in NAMES}
        for agent in self.agents.values():
            agent.start(self.now)
            self.settle(agent)
        self.all_for_one()

    def all_for_one(self) -> None:
        """The first node has every block and no pod any more; the others have nothing."""
        first = self.agents["node1"]
        self.add("node1", 13)
        self.settle(first)
        assert len(first.kernel) == 13
        first.queue.extend(map(deletion, list(first.kernel)))
        self.settle(first)
        for seconds in (11, 1):
            self.now += seconds
            first.queue.append(events.Tick(self.now, self.now))
            self.settle(first)
        self.now += 60

    def settle(self, agent: Agent) -> None:
        """Everything that is under way on a node comes to its end."""
        for _ in range(200):
            while agent.queue:
                agent.think(agent.queue.popleft(), self.now)
            if agent.work:
                agent.claim(self.now)
            elif agent.pods:
                agent.wire(self.now)
            elif not agent.hear():
                agent.plan()
                if not agent.wish:
                    return
                agent.record()
        raise AssertionError(f"{agent.me.node} does not come to rest: {agent.wish} {agent.world}")

    def carefully(self, agent: Agent, faults: list[str], what: str) -> None:
        self.store.faults = list(faults)
        try:
            if what == "claim":
                agent.claim(self.now)
            else:
                agent.record()
        except Killed:
            agent.kill()
        self.store.faults = []

    def think(self, who: str, count: int) -> None:
        agent = self.agents[who]
        for _ in range(count):
            if agent.world is not None and agent.queue:
                agent.think(agent.queue.popleft(), self.now)

    def hear(self, who: str) -> None:
        if self.agents[who].world is not None:
            self.agents[who].hear()

    def claim(self, who: str, faults: list[str]) -> None:
        if self.agents[who].work:
            self.carefully(self.agents[who], faults, "claim")

    def plan(self, who: str) -> None:
        self.agents[who].plan()

    def record(self, who: str, faults: list[str]) -> None:
        if self.agents[who].wish:
            self.carefully(self.agents[who], faults, "record")

    def wire(self, who: str) -> None:
        if self.agents[who].pods:
            self.agents[who].wire(self.now)

    def rest(self, who: str) -> None:
        if self.agents[who].world is not None:
            self.settle(self.agents[who])

    def add(self, who: str, count: int) -> None:
        for _ in range(count if self.agents[who].world is not None else 0):
            self.number += 1
            call = asked(f"c{self.number}", number=self.number, pod=f"ns/p{self.number}")
            self.agents[who].queue.append(call)

    def delete(self, who: str, count: int) -> None:
        agent = self.agents[who]
        if agent.world is not None:
            for attachment in list(agent.kernel)[:count]:
                agent.queue.append(deletion(attachment))

    def tick(self, who: Sequence[str], seconds: int) -> None:
        self.now += seconds
        for name in who:
            if self.agents[name].world is not None:
                self.agents[name].queue.append(events.Tick(self.now, self.now))

    def kill(self, who: str) -> None:
        self.agents[who].kill()

    def start(self, who: str) -> None:
        if self.agents[who].world is None:
            self.agents[who].start(self.now)

    def pool(self, *, disabled: bool) -> None:
        stored = self.repo.get(kinds.IPPOOL, "pods")
        assert isinstance(stored, IPPool)
        self.repo.write(structs.replace(stored, spec=structs.replace(stored.spec, disabled=disabled)))

    def no_address_is_on_two(self) -> None:
        live = [seen.address for agent in self.agents.values() for seen in agent.kernel.values()]
        assert len(set(live)) == len(live), live
        for agent in self.agents.values():
            assert agent.world is None or not agent.world.fenced

    def history(self) -> Counter[str]:
        """What happened to blocks."""
        seen: Counter[str] = Counter()
        before: dict[str, IPAMBlock] = {}
        for item in list(self.store._log):
            if not item.key.startswith(key(kinds.IPAMBLOCK, "")):
                continue
            was = before.pop(item.key, None)
            if isinstance(item, Deleted):
                seen["deleted"] += 1
                continue
            now = self.repo._decode(kinds.IPAMBLOCK, item)
            assert isinstance(now, IPAMBlock)
            before[item.key] = now
            idle = now.spec.state is BlockState.IDLE
            seen["idle"] += idle
            if was is not None and was.spec.state is BlockState.IDLE and not idle:
                seen["taken back" if was.spec.owner == now.spec.owner else "taken over"] += 1
        return seen

    def blocks(self) -> list[IPAMBlock]:
        return [one for one in self.repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock)]

    def end(self) -> None:
        """All live on in peace: they agree on who has what; and without pods, a disabled pool is rid of its blocks."""
        self.quiet(3, 6)
        live = {seen.address: name for name, agent in self.agents.items() for seen in agent.kernel.values()}
        assert recorded(self.blocks()) == live
        assert [problem for block in self.blocks() for problem in integrity.check(block)] == []
        for name, agent in self.agents.items():
            assert agent.world is not None
            mine = {block.network for block in self.blocks() if block.spec.owner and block.spec.owner.name == name}
            assert set(agent.world.blocks) == mine
            agent.queue.extend(map(deletion, list(agent.kernel)))
        self.pool(disabled=True)
        self.quiet(31, 12)
        assert self.blocks() == []
        self.directory.cleanup()

    def quiet(self, seconds: int, times: int) -> None:
        for _ in range(times):
            self.now += seconds
            for agent in self.agents.values():
                if agent.world is None:
                    agent.start(self.now)
                agent.queue.append(events.Tick(self.now, self.now))
                self.settle(agent)


def recorded(blocks: Sequence[IPAMBlock]) -> dict[Address, str]:
    """Who has which address in the datastore."""
    return {
        block.network[ordinal]: block.spec.owner.name
        for block in blocks
        for ordinal, slot in block.spec.allocations.items()
        if slot.freedAt is None and block.spec.owner is not None
    }


def deletion(attachment: Attachment) -> events.CniAsked:
    call = asked(attachment.container, pod=f"ns/p{attachment.container[1:]}").call
    return events.CniAsked(0, CniCall({**call.env, "CNI_COMMAND": "DEL"}, call.stdin))


WEIGHTS = {
    "think": 6,
    "hear": 3,
    "claim": 5,
    "plan": 4,
    "record": 5,
    "wire": 3,
    "add": 3,
    "delete": 2,
    "tick": 3,
    "kill": 0.3,
    "start": 1,
    "pool": 0.15,
    "rest": 0.4,
    "minute": 0.3,
}
"""How often what happens: what makes blocks change hands, more than what ends everything."""


def act(model: Model, choice: random.Random) -> None:
    """One thing happens."""
    [what] = choice.choices(list(WEIGHTS), list(WEIGHTS.values()))
    who = choice.choice(NAMES)
    match what:
        case "claim" | "record":
            faulty = choice.random() < 0.25
            faults = [choice.choice(FAULTS) for _ in range(3)] if faulty else []
            (model.claim if what == "claim" else model.record)(who, faults)
        case "think":
            model.think(who, choice.randint(1, 3))
        case "add":
            model.add(who, choice.randint(1, 5))
        case "delete":
            model.delete(who, choice.randint(1, 5))
        case "tick":
            model.tick([who], choice.choice([1, 1, 1, 11]))
        case "minute":
            model.tick(NAMES, 61)
        case "pool":
            model.pool(disabled=choice.random() < 0.4)
        case _:
            simple = {name: getattr(model, name) for name in ("hear", "plan", "wire", "kill", "start", "rest")}
            simple[what](who)


SEEDS = 4000 if os.environ.get("BGPNET_SOAK") else 80


def test_blocks_change_hands_and_no_address_is_ever_on_two() -> None:
    """Seeded, so that a failure repeats. A step that is left out of the protocol fails several of a hundred seeds."""
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        model, choice = Model(), random.Random(seed)  # noqa: S311 - it has to repeat, not to be secret
        try:
            for _ in range(150):
                act(model, choice)
                model.no_address_is_on_two()
            model.end()
        except AssertionError as problem:
            raise AssertionError(f"seed {seed}: {problem}") from problem
        seen.update(model.history())
    print(dict(seen))
    assert min(seen[what] for what in ("idle", "taken over", "taken back", "deleted")) >= 1
