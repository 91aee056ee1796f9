"""Workers: they carry out what the loop decided for pods and blocks, and report back as events.

Several pods are wired at once; claims go one after another, and the reaper deletes links by the group. `Hands` does the
work, `Workers` has the threads: a test that schedules every step by itself takes the hands alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic, time

from bgpnet import cnispec, names
from bgpnet.agent import answers, facts, sight
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.effects import (
    CheckPod,
    ClaimBlock,
    DropBlock,
    ForgetBlock,
    JournalBlocks,
    JournalIdle,
    JournalReserved,
    LookAtPods,
    LookUp,
    PayJournal,
    Reap,
    ReapNow,
    RemoveRequest,
    TakeBack,
    UnwirePod,
    WirePod,
)
from bgpnet.agent.events import (
    Event,
    IdleJournalled,
    JournalTold,
    PodChecked,
    PodRefused,
    PodsLooked,
    PodUnwired,
    PodWired,
    Reaped,
    UnwireFailed,
)
from bgpnet.agent.journal import BlockIs, BlockWent, Journal, Kept, PodCame, PodWent, came
from bgpnet.agent.watched import Netns as Sighted
from bgpnet.agent.world import Pod
from bgpnet.cnispec import Attachment
from bgpnet.errors import BgpnetError, Conflict, JournalFailed, KernelRefused, NotAPods, NotFound, StoreError
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.state import Wiring
from bgpnet.model.instant import stamp
from bgpnet.store.repo import Repo
from bgpnet.threads import loudly, start

Emit = Callable[[Event], None]
Netns = Callable[[int], int | None]
"""The open descriptor of the pod's namespace that came with a request, by the request's number."""
Awaited = Callable[[int], bool]
"""Whether somebody still waits for the answer to a request, by its number."""

GATHER = 0.1
"""Seconds that marked links are left to gather: while the kernel deletes some, for 20 ms, nobody can make another."""
STILL = 0.03
"""Seconds without a pod being wired after which a burst is over: until then, marked links wait."""
YIELD = 0.5
"""Seconds that they wait at most."""
REAP_RETRY = 1.0
"""Seconds until links that the kernel would not delete are tried again."""

CODES: Mapping[type[BgpnetError], int] = {JournalFailed: cnispec.TRY_AGAIN, NotAPods: cnispec.BAD_ENVIRONMENT}
"""What a runtime is told where it is not the kernel that refused the wiring."""

PodWork = (
    WirePod
    | UnwirePod
    | CheckPod
    | JournalBlocks
    | JournalIdle
    | JournalReserved
    | ForgetBlock
    | ClaimBlock
    | TakeBack
    | DropBlock
    | LookUp
    | LookAtPods
    | RemoveRequest
    | PayJournal
)


class Coming:
    """A pod's line in the journal, made, written and synced by the journal's thread while the kernel makes the link."""

    def __init__(self, journal: Journal, pod: Pod, shows: Callable[[], bool]) -> None:
        """shows: whether the pod's path leads to its namespace; asked in the journal's thread."""
        self._journal = journal
        self._pod = pod
        self._shows = shows
        self._durable: Callable[[], None] | None = None
        self.visible = False

    def begin(self) -> Callable[[], None]:
        """See kernel.api.Begin."""
        self._durable = self._journal.begin(self._line)
        return self._durable

    def settle(self) -> None:
        """Wait for the line, if it was begun, whatever becomes of it: it is made of the request's descriptor."""
        if self._durable is not None:
            with suppress(JournalFailed):
                self._durable()

    def _line(self) -> list[PodCame]:
        self.visible = self._shows()
        return [came(self._pod if self._pod.visible == self.visible else replace(self._pod, visible=self.visible))]


class Hands:
    """The work itself, each piece in the thread that calls; outcomes are events. clock: seconds since 1970."""

    def __init__(
        self,
        kernel: Kernel,
        journal: Journal,
        repo: Repo,
        emit: Emit,
        netns: Netns,
        clock: Callable[[], float] = time,
        sight: Callable[[str], Sighted] = sight.netns,
        shows: Callable[[str, int], bool] = sight.shows,
        awaited: Awaited = lambda number: True,
    ) -> None:
        self._kernel = kernel
        self._journal = journal
        self._emit = emit
        self._netns = netns
        self._clock = clock
        self._sight = sight
        self._shows = shows
        self._awaited = awaited
        self._repo = repo
        self.wired_at = 0.0  # when a pod was last begun to be wired, by the monotonic clock
        self._claimer = Claimer(repo, journal, emit)

    def wire(self, work: WirePod) -> None:
        """Wire the pod, with its allocation in the journal before its link is whole; what failed is taken back.

        One that nobody waits for any more would keep its address for ever: its DEL may be over.
        """
        if not self._awaited(work.number):
            self._refuse(work, answers.GIVEN_UP, cnispec.TRY_AGAIN)
            return
        self.wired_at = monotonic()
        pod = work.pod
        netns = self._netns(work.number)
        coming = Coming(self._journal, pod, lambda: netns is not None and self._shows(pod.netns, netns))
        try:
            if netns is None:
                raise KernelRefused(f"the network namespace {pod.netns} did not come with the request: is it gone?")
            self._kernel.wire(_wiring(pod, netns), coming.begin)
        except (JournalFailed, KernelRefused) as problem:
            coming.settle()
            if not work.again:
                self._take_back(pod)
            self._refuse(work, str(problem), CODES.get(type(problem), cnispec.WIRING_REFUSED))
            return
        self._emit(PodWired(work.number, pod.attachment, work.version, coming.visible))

    def _refuse(self, work: WirePod, reason: str, code: int) -> None:
        self._emit(PodRefused(work.number, work.pod.attachment, work.version, reason, work.again, work.uid, code))

    def _take_back(self, pod: Pod) -> None:
        """The pod never came. Behind its line in the journal, even if that was given up and is written all the same."""
        self._journal.owe([self._went(pod.attachment)])

    def unwire(self, work: UnwirePod) -> None:
        """Cut the pod off, journal its release: no disk that refuses or stands still holds a DEL up."""
        attachment = work.pod.attachment
        alias = names.Alias(attachment.container, attachment.ifname, work.pod.since)
        try:
            self._kernel.unwire(work.pod.link, alias)
        except KernelRefused as problem:
            self._emit(UnwireFailed(work.number, attachment, work.version, str(problem)))
            return
        self._journal.owe([self._went(attachment)])
        self._emit(PodUnwired(work.number, attachment))

    def check(self, work: CheckPod) -> None:
        """Compare the pod's wiring with the kernel."""
        netns = self._netns(work.number)
        try:
            found = self._kernel.differences(_wiring(work.pod, netns)) if netns is not None else ["its netns is gone"]
        except KernelRefused as problem:
            found = [str(problem)]
        self._emit(PodChecked(work.number, work.pod.attachment, work.version, tuple(found), work.repeated))

    def _went(self, attachment: Attachment) -> PodWent:
        return PodWent(attachment.container, attachment.ifname, stamp(self._clock()))

    def keep(self, work: JournalBlocks) -> None:
        """Pods first: of a batch that is torn, what stands alone may be pods without blocks, never the reverse."""
        self._journal.note([*map(came, work.pods), *map(BlockIs, work.blocks)])

    def keep_reserved(self, work: JournalReserved) -> None:
        """Journal what is reserved."""
        self._journal.note([Kept(work.cidrs, work.cooldown)])

    def keep_idle(self, work: JournalIdle) -> Callable[[], None]:
        """Journal that a block is about to be idle; to call what is returned waits for that, and tells.

        One that cannot be stays in use, and is tried again. The journal may have it as idle all the same, as it does
        where an agent is killed before it could tell.
        """

        def tell() -> None:
            with suppress(JournalFailed):
                durable()
                self._emit(IdleJournalled(work.block, work.sequence))

        try:
            durable = self._journal.begin(lambda: [BlockIs(work.block)])
        except JournalFailed:
            return lambda: None
        return tell

    def pay(self) -> None:
        """Try to journal what the disk refused."""
        self._journal.pay()

    def drop(self, work: DropBlock) -> None:
        """Give a block back to its pool."""
        self._emit(self._claimer.drop(work))

    def look_up(self, work: LookUp) -> None:
        """Read an own block."""
        if (found := self._claimer.look_up(work)) is not None:
            self._emit(found)

    def forget(self, work: ForgetBlock) -> None:
        """Journal that a block is another node's."""
        self._journal.note([BlockWent(work.cidr)])

    def claim(self, work: ClaimBlock | TakeBack, now: float) -> None:
        """Have a block: another one, or an own one again."""
        self._emit(
            self._claimer.claim(work, now) if isinstance(work, ClaimBlock) else self._claimer.take_back(work, now)
        )

    def look(self, work: LookAtPods) -> None:
        """Look at the kernel's pod links, and at the namespaces of these pods."""
        try:
            links = facts.seen(self._kernel.read())
        except KernelRefused:
            links = None
        found = {attachment: self._sight(path) for attachment, path in work.netns.items()}
        self._emit(PodsLooked(found, links))

    def remove(self, work: RemoveRequest) -> None:
        """Delete a request; one that is gone or being written, or a datastore that is away, is for the next round."""
        with suppress(StoreError, NotFound, Conflict):
            self._repo.remove(work.request)

    def reap(self, marked: Sequence[Attachment | None]) -> bool:
        """Delete the links that are marked; False when the kernel would not, and it has to be tried again."""
        try:
            self._kernel.reap()
        except KernelRefused:
            return False  # the links stay marked and their addresses taken
        self._emit(Reaped(tuple(one for one in marked if one is not None)))
        return True


class Workers:
    """The hands of the loop, in threads. `submit` returns at once."""

    def __init__(
        self,
        kernel: Kernel,
        journal: Journal,
        repo: Repo,
        emit: Emit,
        netns: Netns,
        threads: int,
        awaited: Awaited = lambda number: True,
    ) -> None:
        self._hands = Hands(kernel, journal, repo, emit, netns, awaited=awaited)
        self._pods: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._claims = ThreadPoolExecutor(1, thread_name_prefix="claim")
        self._marked: queue.SimpleQueue[Attachment | None] = queue.SimpleQueue()
        self._awaited = threading.Event()
        self._pause = threading.Event()
        for number in range(threads):
            start(f"pod-{number}", self._work)
        start("reaper", self._reap)
        journal.listen(lambda refusal: emit(JournalTold(refusal)))

    def submit(self, work: PodWork | Reap | ReapNow, now: float) -> None:
        """Have it done; the outcome comes as an event."""
        match work:
            case WirePod():
                self._pods.put(partial(self._hands.wire, work))
            case UnwirePod():
                self._pods.put(partial(self._hands.unwire, work))
            case ReapNow():
                self._awaited.set()
            case Reap(attachment):
                self._marked.put(attachment)
            case ClaimBlock() | TakeBack():
                self._claims.submit(loudly(self._hands.claim), work, now)
            case RemoveRequest():
                self._claims.submit(loudly(self._hands.remove), work)
            case LookAtPods():
                self._pods.put(partial(self._hands.look, work))
            case LookUp():
                self._claims.submit(loudly(self._hands.look_up), work)
            case PayJournal():
                self._pods.put(self._hands.pay)
            case DropBlock():
                self._claims.submit(loudly(self._hands.drop), work)
            case CheckPod():
                self._pods.put(partial(self._hands.check, work))
            # Brought here and now, but not waited for in the loop's turn: what is decided later (a pod's DEL, an
            # address of the block) comes behind it in the journal.
            case JournalReserved():
                self._hands.keep_reserved(work)
            case JournalIdle():
                self._pods.put(self._hands.keep_idle(work))
            case JournalBlocks():
                self._hands.keep(work)
            case ForgetBlock():
                self._hands.forget(work)

    def reap_now(self) -> None:
        """Have marked links deleted though no attachment waits for it."""
        self._marked.put(None)

    def _work(self) -> None:
        """What an executor does, without a future for each piece: nobody asks for its outcome."""
        while True:
            self._pods.get()()

    def _reap(self) -> None:
        batch: list[Attachment | None] = []
        while True:
            batch.append(self._marked.get())
            marked = monotonic()
            while (left := reap_at(marked, self._hands.wired_at) - monotonic()) > 0:
                if self._awaited.wait(left):
                    break
            self._awaited.clear()  # before the look at what is marked: who waits for a link came after its mark
            while not self._marked.empty():
                batch.append(self._marked.get_nowait())
            if self._hands.reap(batch):
                batch = []
            else:
                self._marked.put(None)
                self._pause.wait(REAP_RETRY)


def reap_at(marked: float, wired: float) -> float:
    """When links are to be deleted of which one was first marked then, and a pod last begun to be wired then."""
    return min(max(marked + GATHER, wired + STILL), marked + YIELD)


def _wiring(pod: Pod, netns: int) -> Wiring:
    return Wiring(
        link=pod.link,
        ifname=pod.attachment.ifname,
        netns=netns,
        address=pod.address,
        mac=pod.mac,
        mtu=pod.mtu,
        alias=names.Alias(pod.attachment.container, pod.attachment.ifname, pod.since),
    )
