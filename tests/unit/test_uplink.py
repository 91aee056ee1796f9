"""The host's links, which somebody may change while the agent runs: their networks, and the uplink's MTU."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

from worlds import fresh, pool, run, synced

from bgpnet.agent import facts, feeds
from bgpnet.agent.effects import Alarm
from bgpnet.agent.events import Event, LinksLooked
from bgpnet.agent.plan import plan
from bgpnet.agent.status import answer
from bgpnet.agent.step import step
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Uplink
from bgpnet.model import ip
from bgpnet.model.ippool import Encap


class Node(FakeKernel):
    """A kernel whose uplink has these MTUs one look after the other; None: it is gone."""

    def __init__(self, *mtus: int | None) -> None:
        super().__init__()
        self.mtus = list(mtus)
        self.over = threading.Event()

    def addressed(self) -> list[Uplink]:
        """See kernel.api.Kernel.addressed."""
        mtu = self.mtus.pop(0)
        if not self.mtus:
            self.over.set()
        return [] if mtu is None else [Uplink("eth1", 2, mtu, True, (ip.interface("192.0.2.1/24"),), False)]


NET = ip.network("192.0.2.0/24")


def test_only_what_changed_is_told() -> None:
    told: list[Event] = []
    kernel = Node(1500, 9000, 9000, None, 9000, 1400)
    feeds.links(kernel, fresh().me, {NET: "eth1"}, told.append, kernel.over, 0.0)
    assert told == [
        LinksLooked({NET: "eth1"}, 9000),
        LinksLooked({}, 9000, homeless=True),
        LinksLooked({NET: "eth1"}, 9000),
        LinksLooked({NET: "eth1"}, 1400),
    ]


def test_new_pods_follow() -> None:
    assert facts.pod_mtu(run(synced(pool(mode=Encap.NEVER)), LinksLooked({}, 9000))) == 9000
    assert facts.pod_mtu(run(synced(pool(mode=Encap.ALWAYS)), LinksLooked({}, 9000))) == 8980
    assert facts.tunnel_mtu(run(fresh(), LinksLooked({}, 9000))) == 8980


def test_an_address_that_is_on_no_link_is_told_once_each_way_and_stays_a_warning() -> None:
    world, told = step(fresh(), LinksLooked({}, 1500, homeless=True))
    [alarm] = told
    assert isinstance(alarm, Alarm)
    assert alarm.sentence.startswith(
        "the node's address 192.0.2.1 is on no link, so other nodes do not reach its pods: "
    )
    assert "ip address add 192.0.2.1/24 dev eth1" in alarm.sentence
    assert step(world, LinksLooked({}, 1400, homeless=True))[1] == []
    assert alarm.sentence in json.loads(answer(world, plan(world), {"ask": "status"})[1])["warnings"]
    world, told = step(world, LinksLooked({NET: "eth1"}, 1500))
    assert told == [replace(alarm, over=True)]
    assert json.loads(answer(world, plan(world), {"ask": "status"})[1])["warnings"] == []
