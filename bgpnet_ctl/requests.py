"""Asking a block's owner to release an address: a ReleaseRequest, its answer, and nothing left behind.

Nobody but the owner writes a live block. A request that is not answered in time is withdrawn, so that nothing happens
later behind anybody's back; one that was answered is deleted by who asked.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import structs

from bgpnet import resting
from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, NotFound
from bgpnet.ipamcheck.picture import Holder, Slot
from bgpnet.model import instant, kinds, releaserequest
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

EVERY = 0.2
"""Seconds between two looks for answers."""
DEADLINE = 15.0
"""Seconds an owner has to answer, unless told."""


class Outcome(StrEnum):
    """What became of a request; silent: no answer in time."""

    RELEASED = "Released"
    REFUSED = "Refused"
    SILENT = "Silent"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An allocation that is to go, and the node that owns its block."""

    node: str
    holder: Holder

    @property
    def name(self) -> str:
        """The request's name: `10-0-0-5-1763690823500000`."""
        dashed = self.holder.address.replace(".", "-").replace(":", "-").strip("-")
        return f"{dashed}-{self.holder.sequence}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of what was wanted, and one sentence why where it was not released."""

    wanted: Wanted
    outcome: Outcome
    sentence: str = ""


@dataclass(slots=True)
class Asking:
    """Requests on their way. heard: called with each answer. clock, pause: of seconds that never jump."""

    repo: Repo
    reason: str
    seconds: float = DEADLINE
    heard: Callable[[Answer], None] = lambda answer: None
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def release(self, wanted: Sequence[Wanted]) -> list[Answer]:
        """Ask for all at once and wait; an answer for each, in order. Raises StoreError."""
        answers: dict[str, Answer] = {}
        open_ = {one.name: one for one in wanted}
        try:
            for one in open_.values():
                self._ask(one)
            until = self.clock() + self.seconds
            while True:
                self._collect(open_, answers)
                if not open_ or self.clock() >= until:
                    break
                self.pause(min(EVERY, self.seconds))
        finally:
            silent = {name: self._withdraw(one) for name, one in open_.items()}
            self._settle(open_, answers, silent)
        return [answers[one.name] for one in wanted]

    def _ask(self, one: Wanted) -> None:
        """Write the request; what an earlier asker left under its name is taken away first."""
        who = one.holder
        spec = ReleaseRequestSpec(
            node=one.node,
            address=who.address,
            sequence=who.sequence,
            container=who.container,
            ifname=who.ifname,
            reason=self.reason,
            requestedAt=instant.stamp(time.time()),
            requestedBy=f"bgpnetctl on {socket.gethostname()}",
        )
        try:
            self.repo.write(ReleaseRequest(metadata=Metadata(name=one.name), spec=spec))
        except AlreadyExists:
            stored = self.repo.find(kinds.RELEASEREQUEST, one.name)
            if isinstance(stored, ReleaseRequest) and stored.status is not None:
                self._remove(stored)
                self.repo.write(ReleaseRequest(metadata=Metadata(name=one.name), spec=spec))

    def _collect(self, open_: dict[str, Wanted], answers: dict[str, Answer]) -> None:
        """What was answered; None for a request that is gone: another asker had its answer, and has deleted it."""
        stored = {one.metadata.name: one for one in self.repo.list(kinds.RELEASEREQUEST)[0]}
        settled: dict[str, Answer | None] = {}
        for name, one in open_.items():
            found = stored.get(name)
            if found is None:
                settled[name] = None
            elif isinstance(found, ReleaseRequest) and found.status is not None:
                self._remove(found)
                settled[name] = _answer(one, found)
        self._settle(open_, answers, settled)

    def _settle(
        self, open_: dict[str, Wanted], answers: dict[str, Answer], settled: Mapping[str, Answer | None]
    ) -> None:
        """Note these answers; where there is no answer to be had, the block tells."""
        dumb = [open_[name] for name, answer in settled.items() if answer is None]
        there = live(self.repo) if dumb else {}
        for name, answer in settled.items():
            one = open_.pop(name)
            answers[name] = answer or self._without_word(one, there)
            self.heard(answers[name])

    def _withdraw(self, one: Wanted) -> Answer | None:
        """Take a request back; an answer that came at the last moment counts."""
        for _ in range(5):
            found = self.repo.find(kinds.RELEASEREQUEST, one.name)
            if not isinstance(found, ReleaseRequest):
                break
            if found.status is not None:
                self._remove(found)
                return _answer(one, found)
            try:
                self.repo.remove(found)
                break
            except NotFound:
                break
            except Conflict:
                continue
        return None

    def _without_word(self, one: Wanted, there: Mapping[str, Slot]) -> Answer:
        """Released, if exactly this allocation is not live any more."""
        slot = there.get(one.holder.address)
        if slot is None or slot.allocation.sequence != one.holder.sequence:
            return Answer(one, Outcome.RELEASED)
        return Answer(
            one,
            Outcome.SILENT,
            f"node {one.node} did not answer within {self.seconds:g} s: {one.holder.address} was not released, and the "
            f"request is withdrawn; start its agent and try again, or, if that machine is gone for good, "
            f"bgpnetctl delete node {one.node} and then bgpnetctl node release {one.node}",
        )

    def _remove(self, request: ReleaseRequest) -> None:
        try:
            self.repo.remove(request)
        except (NotFound, Conflict):
            return  # its owner tidied up, or is writing: it deletes what was answered after ten minutes


def live(repo: Repo) -> dict[str, Slot]:
    """Every allocation that is live, or kept for its pod, by its address."""
    found: dict[str, Slot] = {}
    now = time.time()
    for block in repo.list(kinds.IPAMBLOCK)[0]:
        if isinstance(block, IPAMBlock):
            for ordinal, one in block.spec.allocations.items():
                held = one.freedAt is None or resting.kept_until(one, now)
                if held and 0 <= ordinal < block.network.num_addresses:
                    found[str(block.network[ordinal])] = Slot(block.network[ordinal], block, one)
    return found


def free_ownerless(repo: Repo, one: Wanted) -> None:
    """Release in a block without owner, which has no writer: by the caller's word, and by compare-and-swap.

    Raises BgpnetError when the allocation is another by now, Conflict when a node took the block meanwhile.
    """
    slot = live(repo).get(one.holder.address)
    if slot is None or slot.allocation.sequence != one.holder.sequence or slot.owner:
        raise BgpnetError(f"{one.holder.address} was given away or taken over meanwhile: look again")
    spec = slot.block.spec
    ordinal = int(slot.address) - int(slot.block.network.network_address)
    rests = structs.replace(slot.allocation, freedAt=instant.stamp(time.time()), keep=0)
    changed = structs.replace(spec, sequence=spec.sequence + 1, allocations={**spec.allocations, ordinal: rests})
    repo.write(structs.replace(slot.block, spec=changed))


def _answer(one: Wanted, request: ReleaseRequest) -> Answer:
    status = request.status
    if status is not None and status.outcome is releaserequest.Outcome.RELEASED:
        return Answer(one, Outcome.RELEASED)
    reason = status.reason if status is not None else ""
    return Answer(one, Outcome.REFUSED, f"node {one.node} does not release {one.holder.address}: {reason}")
