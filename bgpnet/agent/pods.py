"""Workers: they carry out what the loop decided for pods and blocks, and report back as events.

Several pods are wired at once; claims go one after another, and the reaper deletes links by the group.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import time

from bgpnet import names
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.events import (
    ClaimBlock,
    DropBlock,
    Event,
    ForgetBlock,
    IdleJournalled,
    JournalBlocks,
    JournalIdle,
    JournalReserved,
    PodRefused,
    PodUnwired,
    PodWired,
    Reap,
    Reaped,
    TakeBack,
    UnwireFailed,
    UnwirePod,
    WirePod,
)
from bgpnet.agent.journal import BlockIs, BlockWent, Journal, Kept, PodWent, came
from bgpnet.agent.threads import loudly, start
from bgpnet.agent.world import Pod
from bgpnet.cnispec import Attachment
from bgpnet.errors import JournalFailed, KernelRefused
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.state import Wiring
from bgpnet.model.instant import stamp
from bgpnet.store.repo import Repo

Emit = Callable[[Event], None]
Netns = Callable[[int], int | None]
"""The open descriptor of the pod's namespace that came with a request, by the request's number."""

REAP_RETRY = 1.0
"""Seconds until links that the kernel would not delete are tried again."""

PodWork = (
    WirePod
    | UnwirePod
    | JournalBlocks
    | JournalIdle
    | JournalReserved
    | ForgetBlock
    | ClaimBlock
    | TakeBack
    | DropBlock
)


class Workers:
    """The hands of the loop. `submit` returns at once."""

    def __init__(self, kernel: Kernel, journal: Journal, repo: Repo, emit: Emit, netns: Netns, threads: int) -> None:
        self._kernel = kernel
        self._journal = journal
        self._emit = emit
        self._netns = netns
        self._pods = ThreadPoolExecutor(threads, thread_name_prefix="pod")
        self._claimer = Claimer(repo, journal, emit)
        self._claims = ThreadPoolExecutor(1, thread_name_prefix="claim")
        self._marked: queue.SimpleQueue[Attachment | None] = queue.SimpleQueue()
        self._pause = threading.Event()
        start("reaper", self._reap)

    def submit(self, work: PodWork | Reap, now: float) -> None:
        """Have it done; the outcome comes as an event."""
        match work:
            case Reap(attachment):
                self._marked.put(attachment)
            case ClaimBlock():
                self._claims.submit(loudly(self._claim), work, now)
            case TakeBack():
                self._claims.submit(loudly(self._take_back_block), work, now)
            case DropBlock():
                self._claims.submit(loudly(self._drop), work)
            case WirePod():
                self._pods.submit(loudly(self._wire), work)
            case UnwirePod():
                self._pods.submit(loudly(self._unwire), work)
            case JournalBlocks():
                self._keep(work)  # here and now: a pod's DEL must not be journalled before it
            case JournalIdle(block, sequence):
                with suppress(JournalFailed):  # here and now, too; it stays in use, and is tried again
                    self._journal.append([BlockIs(block)])
                    self._emit(IdleJournalled(block, sequence))
            case JournalReserved(cidrs):
                with suppress(JournalFailed):  # they are heard from the datastore again
                    self._journal.append([Kept(cidrs)])
            case ForgetBlock(cidr):
                self._journal.append([BlockWent(cidr)])

    def reap_now(self) -> None:
        """Have marked links deleted though no attachment waits for it."""
        self._marked.put(None)

    def _wire(self, work: WirePod) -> None:
        pod = work.pod
        netns = self._netns(work.number)
        try:
            durable = self._journal.begin([came(pod)])
            if netns is None:
                raise KernelRefused(f"the network namespace {pod.netns} did not come with the request: is it gone?")
            self._kernel.wire(_wiring(pod, netns), durable)
        except (JournalFailed, KernelRefused) as problem:
            self._take_back(pod)
            self._emit(PodRefused(work.number, pod.attachment, work.version, str(problem)))
            return
        self._emit(PodWired(work.number, pod.attachment, work.version))

    def _take_back(self, pod: Pod) -> None:
        """The pod never came. If even that cannot be journalled, the DEL that follows a failed ADD will say it."""
        try:
            self._journal.append([PodWent(pod.attachment.container, pod.attachment.ifname, stamp(time()))])
        except JournalFailed:
            return

    def _unwire(self, work: UnwirePod) -> None:
        attachment = work.pod.attachment
        alias = names.Alias(attachment.container, attachment.ifname, work.pod.since)
        try:
            self._kernel.unwire(work.pod.link, alias)
            self._journal.append([PodWent(attachment.container, attachment.ifname, stamp(time()))])
        except (JournalFailed, KernelRefused) as problem:
            self._emit(UnwireFailed(work.number, attachment, work.version, str(problem)))
            return
        self._emit(PodUnwired(work.number, attachment))

    def _keep(self, work: JournalBlocks) -> None:
        """Pods first: of a batch that is torn, what stands alone may be pods without blocks, never the reverse."""
        self._journal.append([*map(came, work.pods), *map(BlockIs, work.blocks)])

    def _claim(self, work: ClaimBlock, now: float) -> None:
        self._emit(self._claimer.claim(work, now))

    def _take_back_block(self, work: TakeBack, now: float) -> None:
        self._emit(self._claimer.take_back(work, now))

    def _drop(self, work: DropBlock) -> None:
        self._emit(self._claimer.drop(work))

    def _reap(self) -> None:
        batch: list[Attachment | None] = []
        while True:
            batch.append(self._marked.get())
            while not self._marked.empty():
                batch.append(self._marked.get_nowait())
            try:
                self._kernel.reap()
            except KernelRefused:
                self._marked.put(None)  # the links stay marked and their addresses taken: once more
                self._pause.wait(REAP_RETRY)
                continue
            self._emit(Reaped(tuple(one for one in batch if one is not None)))
            batch = []


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
