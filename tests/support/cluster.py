"""Simulated nodes on one datastore, an operator, a scheduler, and what must hold after every step."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from gates import CountedStore
from machines import Machine, State
from tasks import Task

from bgpnet import integrity
from bgpnet.agent import leaks
from bgpnet.cnispec import Attachment
from bgpnet.errors import AlreadyExists, Invalid
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, IPAMBlockSpec, Use
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

START = 1_700_000_000.0
GRACE = 60.0
"""Seconds after which a leak is to be gone, twice at most."""
TURNS = 20_000
"""Turns after which a cluster that still has something to do is said to run in circles."""
SHM = Path("/dev/shm")


class Cluster:
    """Everything there is. `say` is told what happens, for a failing example's story."""

    def __init__(
        self, nodes: int = 3, say: Callable[[str], None] = lambda text: None, counts: Counter[str] | None = None
    ) -> None:
        self.now = START
        self.say = say
        self.counts = Counter[str]() if counts is None else counts
        self.random = Random(0)  # noqa: S311 - it has to repeat, not to be secret
        self.folder = Path(tempfile.mkdtemp(prefix="bgpnet-sim-", dir=SHM if SHM.is_dir() else None))
        self.store = CountedStore()
        self.repo = Repo(self.store, now=lambda: self.now)
        self.exempt: set[tuple[str, ip.Network]] = set()
        """Nodes that an operator called gone, and the blocks that they had then."""
        self.networks: dict[ip.Network, object] = {}
        """Every block that ever was in the datastore."""
        self.put_pool("pods", "10.9.0.0/26", 29)
        self.machines = [
            Machine(
                name=f"n{number}",
                number=number,
                folder=self.folder,
                store=self.store,
                clock=self,
                random=lambda: self.random,
                counts=self.counts,
                say=lambda text: self.say(text),
            )
            for number in range(1, nodes + 1)
        ]

    def close(self) -> None:
        """End all agents; nothing is left behind."""
        for machine in self.machines:
            machine.kill()
        shutil.rmtree(self.folder)

    # the scheduler

    def ready(self) -> list[tuple[Machine, Task]]:
        """Who would do something with a turn."""
        return [(one, task) for one in self.machines if one.life is not None for task in one.life.ready()]

    def run(self, turns: int, seed: int) -> int:
        """So many turns, to whom a seeded choice gives them; how many there were to give."""
        self.random = Random(seed)  # noqa: S311 - it has to repeat, not to be secret
        for done in range(turns):
            ready = self.ready()
            if not ready:
                return done
            machine, task = ready[self.random.randrange(len(ready))]
            task.turn()
            self.counts["turns"] += 1
            if machine.life is not None and machine.life.stopped:
                self.say(f"{machine.name}: the agent stopped: {machine.life.stopped}")
                machine.kill()
        return turns

    def settle(self, seed: int = 0) -> None:
        """Until nobody has anything to do but wait."""
        assert self.run(TURNS, seed) < TURNS, f"no end after {TURNS} turns: {[task.at for _, task in self.ready()]}"

    def wait(self, seconds: float) -> None:
        """Time passes; every agent's clock ticks."""
        self.now += seconds
        for machine in self.machines:
            if machine.life is not None:
                machine.life.tick()
                machine.bury()

    # the operator, and the datastore's own fate

    def put_pool(self, name: str, cidr: str, size: int, *, disabled: bool = False) -> None:
        """Create or change a pool."""
        spec = IPPoolSpec(cidr=cidr, blockSize=size, ipipMode=Encap.ALWAYS, disabled=disabled)
        before = self.repo.find(kinds.IPPOOL, name)
        try:
            self.repo.apply(IPPool(metadata=Metadata(name=name), spec=spec))
            self.counts["pools reshaped"] += isinstance(before, IPPool) and before.block_size != size
        except Invalid as problem:
            self.say(f"the pool is refused: {problem}")

    def size_of(self, name: str, default: int) -> int:
        """A pool's block size, where it exists."""
        pool = self.repo.find(kinds.IPPOOL, name)
        return pool.block_size if isinstance(pool, IPPool) else default

    def restart_store(self, *, compact: bool) -> None:
        """Every connection breaks; compacted: watches that were behind have to list again."""
        for machine in self.machines:
            machine.way.breaks += 1
        if compact:
            self.store.compact()

    def cut(self, machine: Machine, *, cut: bool) -> None:
        """Cut a machine off from the datastore, or heal that."""
        if cut and not machine.way.cut:
            machine.way.breaks += 1
        machine.way.cut = cut

    def release_node(self, machine: Machine) -> None:
        """The operator is sure that the machine is gone: a minute later its Node is deleted, and its blocks."""
        self.counts["node releases"] += 1
        self.wait(61)
        if self.repo.find(kinds.NODE, machine.name) is not None:
            self.repo.delete(kinds.NODE, machine.name)
        for block in self.blocks().values():
            if _owner(block) == machine.name:
                self.exempt.add((machine.name, block.network))
                self.repo.remove(block)

    def repair(self) -> None:
        """What a cautious owner calls leaked and keeps, an operator has released: pods whose namespace it never saw."""
        for machine in self.machines:
            assert machine.life is not None
            world = machine.life.world
            for one in leaks.report(world).leaked:
                pod = world.pods.get(Attachment(one.container, one.ifname))
                assert pod is None or not pod.visible, f"{machine.name} leaks {one.address}: {one.reason}"
                self.counts["leaks left to an operator"] += 1
                self._request(machine.name, one.address, one.sequence, one.container, one.ifname)

    def ask_to_release(self, pick: int, *, guess: int) -> None:
        """Somebody asks an owner to release a recorded allocation, be it alive; guess: one of a sequence beside it."""
        there = [
            (block, ordinal, slot)
            for block in self.blocks().values()
            for ordinal, slot in sorted(block.spec.allocations.items())
            if block.spec.owner is not None
        ]
        if not there:
            return
        block, ordinal, slot = there[pick % len(there)]
        address = str(block.network[ordinal])
        self._request(_owner(block), address, slot.sequence + guess, slot.container, slot.ifname)

    def _request(self, node: str, address: str, sequence: int, container: str, ifname: str) -> None:
        spec = ReleaseRequestSpec(
            node=node,
            address=address,
            sequence=sequence,
            container=container,
            ifname=ifname,
            requestedAt=stamp(self.now),
        )
        name = f"{address.replace('.', '-')}-{sequence}"
        before = self.repo.find(kinds.RELEASEREQUEST, name)
        if isinstance(before, ReleaseRequest) and before.status is not None:
            self.repo.remove(before)  # answered, and asked again
        with suppress(AlreadyExists):
            self.repo.write(ReleaseRequest(metadata=Metadata(name=name), spec=spec))
            self.counts["releases asked"] += 1

    def _unanswered(self) -> Iterable[str]:
        for one in self.repo.list(kinds.RELEASEREQUEST)[0]:
            assert isinstance(one, ReleaseRequest)
            if one.status is None:
                yield f"{one.metadata.name} was asked of {one.spec.node} at {one.spec.requestedAt} and not answered"
            else:
                self.counts[f"releases {one.status.outcome}"] += 1

    def blocks(self) -> dict[ip.Network, IPAMBlock]:
        """The blocks as the datastore has them."""
        found = {one.network: one for one in self.repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock)}
        self.networks.update(found)
        return found

    def network(self, address: ip.Address) -> ip.Network:
        """The block of an address, be it deleted by now."""
        return next(net for net in self.networks if ip.contains(net, address))

    # what must hold

    def check(self) -> None:
        """Everything that must hold after every step; raises AssertionError with a sentence for each breach."""
        blocks = self.blocks()
        problems = [text for block in blocks.values() for text in integrity.check(block)]
        for machine in self.machines:
            problems += machine.problems
            problems += self._views(machine, blocks)
        problems += self._owners(blocks)
        problems += self._doubled(blocks)
        assert not problems, "\n".join(problems)

    def fenced(self, machine: Machine, net: ip.Network, blocks: dict[ip.Network, IPAMBlock]) -> bool:
        """Whether the block is not the machine's to give addresses from, as the datastore says or an operator did."""
        block = blocks.get(net)
        if block is None:
            return (machine.name, net) in self.exempt
        if _owner(block) == machine.name:
            self.exempt.discard((machine.name, net))
            return False
        return True

    def _views(self, machine: Machine, blocks: dict[ip.Network, IPAMBlock]) -> Iterable[str]:
        """A live pod's address is its own, in the kernel, in the agent's view and in the datastore's newest word."""
        own: Mapping[ip.Network, IPAMBlock] = {}
        if machine.life is not None and machine.serving:
            own = machine.life.world.blocks
        for block in own.values():
            yield from integrity.check(block)
        for one in machine.live():
            assert one.address is not None
            if not one.unlinked and not machine.leads_to(one):
                yield f"{one.name} was answered {one.address} and has no link or route any more"
            for where, view in (("the agent's view", own), ("the datastore", blocks)):
                found = _containing(view, one.address)
                if found is None or self.fenced(machine, found.network, blocks):
                    continue
                block = found
                slot = block.spec.allocations.get(_ordinal(block, one.address))
                if where == "the datastore" and (slot is None or slot.sequence < one.sequence):
                    continue  # it follows
                if slot is None or slot.freedAt is not None or slot.container != one.name:
                    yield f"{one.address} of {one.name} ({one.sequence}), which lives, is {_said(slot)} in {where}"

    def _owners(self, blocks: dict[ip.Network, IPAMBlock]) -> Iterable[str]:
        """At most one unfenced node allocates from a block."""
        holders: dict[ip.Network, list[str]] = {}
        for machine in self.machines:
            if machine.life is None or not machine.serving:
                continue
            for net, block in machine.life.world.blocks.items():
                if block.spec.state is BlockState.IN_USE and not self.fenced(machine, net, blocks):
                    holders.setdefault(net, []).append(machine.name)
        for net, names in holders.items():
            if len(names) > 1:
                yield f"block {net} gives addresses away on {' and '.join(names)}"

    def _doubled(self, blocks: dict[ip.Network, IPAMBlock]) -> Iterable[str]:
        """No address on two live pods of unfenced nodes."""
        holders: dict[ip.Address, str] = {}
        for machine in self.machines:
            for one in machine.live():
                assert one.address is not None
                net = self.network(one.address)
                if self.fenced(machine, net, blocks):
                    continue
                if one.address in holders:
                    yield f"{one.address} is on {holders[one.address]} and {one.name}"
                holders[one.address] = one.name

    # the end

    def calm(self) -> None:
        """Heal everything, start every agent, let runtimes delete what is not alive, and pods that were fenced."""
        for machine in self.machines:
            self.cut(machine, cut=False)
            machine.way.lose = 0
            machine.disk_is_full = machine.disk_is_still = False
        self.rest(8)
        blocks = self.blocks()
        for machine in self.machines:
            for one in machine.live():
                if one.unlinked:
                    one.state = State.DEAD
                if one.address and self.fenced(machine, self.network(one.address), blocks):
                    one.state = State.DEAD
                    self.counts["fenced pods"] += 1
        for machine in self.machines:
            machine.forget_the_dead()
        for _ in range(5):
            for machine in self.machines:
                for one in machine.containers:
                    if one.state not in (State.UP, State.GONE):
                        machine.delete(one)
            self.rest(2)
        left = [one.name for machine in self.machines for one in machine.containers if one.state not in _ENDED]
        assert not left, f"DEL after DEL, and still not answered: {left}"

    def rest(self, rounds: int, seconds: float = 10.0) -> None:
        """Time passes quietly; agents that stopped are started again."""
        for _ in range(rounds):
            for machine in self.machines:
                if machine.life is None:
                    machine.start()
            self.wait(seconds)
            self.settle()
            self.check()

    def settled(self) -> None:
        """Raises AssertionError unless datastore, agents, kernels and runtimes say the same."""
        problems: list[str] = []
        blocks = self.blocks()
        wanted: dict[tuple[str, ip.Address], str] = {}
        for machine in self.machines:
            assert machine.life is not None
            world = machine.life.world
            stored = {net: block.spec for net, block in blocks.items() if _owner(block) == machine.name}
            mine = {net: block.spec for net, block in world.blocks.items()}
            for net in sorted(stored.keys() | mine.keys(), key=ip.order):
                here, there = mine.get(net), stored.get(net)
                if here is None and there is not None and not there.allocations:
                    self.counts["blocks of lost claims"] += 1  # ours, empty, and found by the next claim
                elif here != there:
                    problems.append(f"{machine.name} says of {net}: {_shown(here)}; the datastore: {_shown(there)}")
            if world.waiting or machine.asks:
                problems.append(
                    f"{machine.name} has not answered {[one.container.name for one in machine.asks.values()]}"
                )
            live = {one.name for one in machine.live()}
            links = {link.alias.container for link in machine.kernel.links.values() if link.alias is not None}
            if links != live:
                problems.append(f"{machine.name} has links of {sorted(links)}, alive are {sorted(live)}")
            if (pods := {key.container for key in world.pods}) != live:
                problems.append(f"the agent of {machine.name} knows pods {sorted(pods)}, alive are {sorted(live)}")
            wanted |= {(machine.name, one.address): one.name for one in machine.live() if one.address is not None}
        problems += self._unanswered()
        recorded = {
            (_owner(block), block.network[ordinal]): slot.container
            for block in blocks.values()
            for ordinal, slot in block.spec.allocations.items()
            if slot.freedAt is None and slot.use is Use.WORKLOAD
        }
        problems += [f"leak: {key} is recorded for {who}" for key, who in recorded.items() if wanted.get(key) != who]
        problems += [f"unrecorded: {key} of {who}" for key, who in wanted.items() if recorded.get(key) != who]
        assert not problems, "\n".join(problems)


_ENDED = (State.UP, State.GONE)


def _owner(block: IPAMBlock) -> str:
    return block.spec.owner.name if block.spec.owner else ""


def _ordinal(block: IPAMBlock, address: ip.Address) -> int:
    return int(address) - int(block.network.network_address)


def _containing(blocks: Mapping[ip.Network, IPAMBlock], address: ip.Address) -> IPAMBlock | None:
    return next((block for block in blocks.values() if ip.contains(block.network, address)), None)


def _said(slot: Allocation | None) -> str:
    if slot is None:
        return "free"
    return f"{slot.container}'s ({slot.sequence})" + (f", released at {slot.freedAt}" if slot.freedAt else "")


def _shown(spec: IPAMBlockSpec | None) -> str:
    if spec is None:
        return "nothing"
    slots = [f"{ordinal} {_said(slot)}" for ordinal, slot in sorted(spec.allocations.items())]
    return f"{spec.state} of {spec.owner} at {spec.sequence}, free {spec.free}, {', '.join(slots)}"
