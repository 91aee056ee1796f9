"""The hands of the loop: what they leave in the journal, whatever the kernel says and whenever it says so."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bgpnet import cnispec, ipam
from bgpnet.agent import answers
from bgpnet.agent.effects import WirePod
from bgpnet.agent.events import Event, PodRefused, PodWired
from bgpnet.agent.journal import Journal
from bgpnet.agent.pods import Hands
from bgpnet.agent.world import Phase, Pod
from bgpnet.cnispec import Attachment
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import Begin, nothing
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Wiring
from bgpnet.model import ip
from bgpnet.model.ipamblock import Owner
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

NETNS = 7
BLOCK = ipam.new_block(ip.network("10.0.0.0/26"), Owner(name="n1", uid="u1"), 1_700_000_000.0)
POD = Pod(
    attachment=Attachment("c1", "eth0"),
    pod="ns/p",
    network="net",
    netns="/run/netns/p",
    link="cali1",
    address=ip.address("10.0.0.1"),
    mac="0a:58:0a:00:00:01",
    mtu=1480,
    since="2026-01-01T00:00:00.000Z",
    sequence=1,
    phase=Phase.WIRING,
)


class Hasty(FakeKernel):
    """Refuses when the line is begun, and does not wait for it: the pod's namespace ended, say."""

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """See kernel.api.Kernel.wire."""
        begin()
        raise KernelRefused("the pod's namespace is gone")


def opened(folder: Path) -> Journal:
    journal = Journal(folder / "journal", "boot")
    journal.start([BLOCK], [])
    return journal


def hands(
    journal: Journal,
    kernel: FakeKernel,
    told: list[Event],
    *,
    shown: bool = True,
    pause: float = 0.0,
    awaited: bool = True,
) -> Hands:
    shows = threading.Event()

    def look(path: str, netns: int) -> bool:
        shows.wait(pause)
        return shown and (path, netns) == (POD.netns, NETNS)

    repo = Repo(MemoryStore())
    return Hands(kernel, journal, repo, told.append, lambda number: NETNS, shows=look, awaited=lambda number: awaited)


def in_journal(folder: Path, journal: Journal) -> list[tuple[str, bool]]:
    journal.begin(list)()  # what was begun before is in the file then
    contents = Journal(folder / "journal", "boot").load()
    assert contents is not None
    return [(one.container, one.visible) for one in contents.pods.values()]


@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "a slow look"])
def test_what_is_taken_back_stands_behind_what_it_takes_back(tmp_path: Path, pause: float, again: bool) -> None:
    told, journal = list[Event](), opened(tmp_path)
    hands(journal, Hasty(), told, pause=pause).wire(WirePod(1, POD, "1.0.0", again))
    assert [type(one) for one in told] == [PodRefused]
    # One that had its link before keeps its address; whoever deletes it now finds its line in the file.
    assert in_journal(tmp_path, journal) == ([("c1", True)] if again else [])


@pytest.mark.parametrize("shown", [False, True])
def test_whether_the_pods_path_leads_to_its_namespace_is_journalled_and_told(tmp_path: Path, shown: bool) -> None:
    told, journal = list[Event](), opened(tmp_path)
    hands(journal, FakeKernel(), told, shown=shown).wire(WirePod(1, replace(POD, visible=not shown), "1.0.0"))
    assert told == [PodWired(1, POD.attachment, "1.0.0", shown)]
    assert in_journal(tmp_path, journal) == [("c1", shown)]


@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
def test_a_pod_that_nobody_waits_for_is_neither_journalled_nor_wired(tmp_path: Path, again: bool) -> None:
    told, journal, kernel = list[Event](), opened(tmp_path), FakeKernel()
    hands(journal, kernel, told, awaited=False).wire(WirePod(1, POD, "1.0.0", again, "uid1"))
    refused = PodRefused(1, POD.attachment, "1.0.0", answers.GIVEN_UP, again, "uid1", cnispec.TRY_AGAIN)
    assert told == [refused]
    assert in_journal(tmp_path, journal) == []
    assert kernel.read().pods == FakeKernel().read().pods
