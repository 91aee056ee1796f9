"""Asking owners, instant by instant: answers that come late, twice, or not at all, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ipam_worlds import block, has, slot
from msgspec import structs

from bgpnet.model import kinds
from bgpnet.model.releaserequest import Outcome as Said
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestStatus
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo
from bgpnet_ctl.requests import Answer, Asking, Outcome, Wanted

ONE = Wanted("n1", has("10.0.0.1", "c1", 11))
OTHER = Wanted("n2", has("10.0.0.65", "c2", 21))


@dataclass
class Scene:
    """A datastore with both allocations, a clock that only pauses move, and what happens in each pause."""

    repo: Repo = field(default_factory=lambda: Repo(MemoryStore()))
    pauses: list[Callable[[], object]] = field(default_factory=list)
    time: float = 0.0
    heard: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repo.write(block("10.0.0.0/26", "n1", {1: slot("c1", 11)}))
        self.repo.write(block("10.0.0.64/26", "n2", {1: slot("c2", 21)}))

    def pause(self, seconds: float) -> None:
        self.time += seconds
        if self.pauses:
            self.pauses.pop(0)()

    def ask(self, *wanted: Wanted) -> list[tuple[Outcome, str]]:
        asking = Asking(self.repo, "test", 1.0, self.heard.append, lambda: self.time, self.pause)
        answers = asking.release(wanted)
        assert [one.wanted for one in answers] == list(wanted)
        assert sorted(one.wanted.name for one in self.heard) == sorted(one.name for one in wanted)
        return [(one.outcome, one.sentence) for one in answers]

    def requests(self) -> list[ReleaseRequest]:
        return [one for one in self.repo.list(kinds.RELEASEREQUEST)[0] if isinstance(one, ReleaseRequest)]

    def answer(self, outcome: Said, reason: str = "", of: str = "n1") -> None:
        for one in self.requests():
            if one.spec.node == of:
                status = ReleaseRequestStatus(outcome=outcome, reason=reason, answeredAt="t")
                self.repo.write(structs.replace(one, status=status))

    def free(self) -> None:
        """The allocation of ONE rests."""
        [stored] = [one for one in self.repo.list(kinds.IPAMBLOCK)[0] if one.metadata.name == "10-0-0-0-26"]
        self.repo.write(
            structs.replace(block("10.0.0.0/26", "n1", {1: slot("c1", 11, freed=1.0)}), metadata=stored.metadata)
        )


def nothing() -> None:
    """A pause in which nothing happens."""


def test_a_request_says_which_allocation_is_meant() -> None:
    scene = Scene()
    seen: list[ReleaseRequest] = []
    scene.pauses = [lambda: seen.extend(scene.requests()), lambda: scene.answer(Said.RELEASED)]
    assert scene.ask(ONE) == [(Outcome.RELEASED, "")]
    [request] = seen
    assert request.metadata.name == "10-0-0-1-11"
    spec = request.spec
    assert (spec.node, spec.address, spec.sequence, spec.container) == ("n1", "10.0.0.1", 11, "c1")
    assert (spec.ifname, spec.reason, bool(spec.requestedAt), bool(spec.requestedBy)) == ("eth0", "test", True, True)


def test_each_has_its_own_answer() -> None:
    scene = Scene()
    scene.pauses = [lambda: scene.answer(Said.REFUSED, "a pod has it", "n2"), lambda: scene.answer(Said.RELEASED)]
    assert scene.ask(ONE, OTHER) == [
        (Outcome.RELEASED, ""),
        (Outcome.REFUSED, "node n2 does not release 10.0.0.65: a pod has it"),
    ]
    assert scene.time < 1.0
    assert scene.requests() == []


def test_silence_is_withdrawn_and_the_others_are_done() -> None:
    scene = Scene()
    scene.pauses = [lambda: scene.answer(Said.RELEASED)]
    released, (outcome, sentence) = scene.ask(ONE, OTHER)
    assert (released[0], outcome) == (Outcome.RELEASED, Outcome.SILENT)
    assert sentence.startswith("node n2 did not answer within 1 s: 10.0.0.65 was not released")
    assert scene.requests() == []


def test_an_answer_at_the_last_instant_counts() -> None:
    scene = Scene()

    class Late(Repo):
        """Its owner answers between the last look and the withdrawal."""

        def remove(self, resource: object) -> None:
            if isinstance(resource, ReleaseRequest) and resource.status is None:
                scene.answer(Said.REFUSED, "just now")
            super().remove(resource)  # type: ignore[arg-type]  # as it came

    scene.repo = Late(scene.repo.store)
    assert scene.ask(ONE) == [(Outcome.REFUSED, "node n1 does not release 10.0.0.1: just now")]
    assert scene.requests() == []


def test_a_request_that_is_gone_is_judged_by_the_block() -> None:
    scene = Scene()

    def vanish() -> None:
        for one in scene.requests():
            scene.repo.remove(one)

    scene.pauses = [vanish]
    assert scene.ask(ONE)[0][0] is Outcome.SILENT
    scene = Scene()
    scene.pauses = [scene.free, vanish]
    assert scene.ask(ONE) == [(Outcome.RELEASED, "")]


def test_two_may_ask_for_the_same() -> None:
    scene = Scene()
    second: list[list[tuple[Outcome, str]]] = []

    def other() -> None:
        scene.answer(Said.RELEASED)
        scene.free()
        rival = Scene.__new__(Scene)
        rival.repo, rival.pauses, rival.time, rival.heard = scene.repo, [], 0.0, []
        second.append(rival.ask(ONE))

    scene.pauses = [other]
    assert scene.ask(ONE) == [(Outcome.RELEASED, "")]
    assert second == [[(Outcome.RELEASED, "")]]
    assert scene.requests() == []


def test_an_interrupted_asker_leaves_nothing_behind() -> None:
    scene = Scene()

    def interrupt() -> None:
        raise KeyboardInterrupt

    scene.pauses = [nothing, interrupt]
    with pytest.raises(KeyboardInterrupt):
        scene.ask(ONE, OTHER)
    assert scene.requests() == []
