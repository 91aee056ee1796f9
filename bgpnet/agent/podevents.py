"""Events of pods that are refused, for `kubectl describe pod`: what is wrong and what to do, in our own words.

Whoever refuses an ADD only drops the sentence here; a thread writes it, seldom and never twice: a kubelet asks for a
refused pod again and again.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time

from bgpnet.agent.kubeevents import Grievance
from bgpnet.errors import BgpnetError
from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Refused
from bgpnet.model.instant import stamp

log = logging.getLogger("bgpnet.agent")

COMPONENT = "bgpnet"
AGAIN = 60.0
"""Seconds until the same sentence about the same pod is counted again in its Event."""
PAUSE = 0.2
"""Seconds between two Events: a node's share of what the API server has to take."""
WAITING, KNOWN = 256, 512
"""Sentences that wait to be written, and Events that are remembered; what is beyond that is left out."""
GONE = 404
LONGEST = 1000
"""Characters of a message (core/v1 takes 1024)."""


@dataclass(frozen=True, slots=True)
class Written:
    """An Event that was written: its name, how often it happened, and at which clock it was last said so."""

    name: str
    count: int
    at: float


class Ledger:
    """Which Events were written, and what is to be done about another grievance. Pure but for its memory."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Written] = OrderedDict()

    def before(self, one: Grievance) -> Written | None:
        """The Event that says so already."""
        return self._known.get((one.uid, one.sentence))

    def is_due(self, one: Grievance, clock: float) -> bool:
        """Whether it is said now: for the first time, or again after a while."""
        known = self.before(one)
        return known is None or clock - known.at >= AGAIN

    def forget(self, one: Grievance) -> None:
        """Its Event is gone."""
        self._known.pop((one.uid, one.sentence), None)

    def wrote(self, one: Grievance, name: str, count: int, clock: float) -> None:
        """It was written."""
        key = one.uid, one.sentence
        self._known[key] = Written(name, count, clock)
        self._known.move_to_end(key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)


class PodEvents:
    """Writes them. `tell` returns at once and may be called by the loop."""

    def __init__(self, api: Api, node: str, clock: Callable[[], float] = monotonic) -> None:
        self._api, self._node, self._clock = api, node, clock
        self._waiting: queue.Queue[Grievance] = queue.Queue(WAITING)
        self._ledger = Ledger()

    def tell(self, one: Grievance) -> None:
        """Have it written, if there is room."""
        with suppress(queue.Full):
            self._waiting.put_nowait(one)

    def run(self, stop: threading.Event) -> None:
        """Write what comes, until stopped. What the API server does not take is left out: the kubelet asks again."""
        refused = ""
        while not stop.is_set():
            with suppress(queue.Empty):
                one = self._waiting.get(timeout=1.0)
                try:
                    written = self._ledger.is_due(one, self._clock()) and self._write(one)
                except BgpnetError as problem:
                    if str(problem) != refused:
                        log.warning("an Event of pod %s cannot be written: %s", one.pod, problem)
                    refused, written = str(problem), True
                if written:
                    stop.wait(PAUSE)

    def _write(self, one: Grievance) -> bool:
        namespace = one.pod.partition("/")[0]
        path = f"/api/v1/namespaces/{namespace}/events"
        known, now = self._ledger.before(one), stamp(time())
        if known is None:
            body = event(one, self._node, name(one.pod, uuid.uuid4().hex), now)
            self._api.create(path, body)
            self._ledger.wrote(one, str(body["metadata"]["name"]), 1, self._clock())
        else:
            count = known.count + 1
            self._ledger.wrote(one, known.name, count, self._clock())
            try:
                self._api.patch(f"{path}/{known.name}", {"count": count, "lastTimestamp": _second(now)})
            except Refused as refused:
                if refused.status != GONE:
                    raise
                self._ledger.forget(one)  # Events live for an hour: the next is the first again
        return True


def name(pod: str, unique: str) -> str:
    """That of an Event, for which the API server takes what it takes for a pod's: no end of a label but a letter or
    digit.
    """
    return f"{pod.partition('/')[2][:200].rstrip('-.')}.{unique[:16]}"


def event(one: Grievance, node: str, name: str, now: str) -> Json:
    """An Event (core/v1) about the pod."""
    namespace, _, pod = one.pod.partition("/")
    message = one.sentence if len(one.sentence) <= LONGEST else f"{one.sentence[: LONGEST - 1]}…"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": one.uid},
        "type": "Warning",
        "reason": one.reason,
        "message": message,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": _second(now),
        "lastTimestamp": _second(now),
        "count": 1,
    }


def _second(instant: str) -> str:
    """To the second, which is all that metav1.Time has."""
    return f"{instant[:19]}Z"
