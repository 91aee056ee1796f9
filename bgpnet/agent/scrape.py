"""Where metrics and health are read: `GET` of a few pages on a TCP port each (bgpnet/port.py).

They ask the agent's own socket, as `bgpnetctl node status` does, and at most once a second: who scrapes without end
gets the same answer again, and delays no pod.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from bgpnet.agent import metrics
from bgpnet.client import AgentClient
from bgpnet.errors import BgpnetError, KernelRefused
from bgpnet.exposition import CONTENT_TYPE
from bgpnet.port import Page, Port

FRESH = 1.0
"""Seconds that an answer serves."""
ANSWER = 4.0
"""Seconds that the agent has for its answer: less than a probe waits."""

Ask = Callable[[], Mapping[str, Any]]
"""Gives the agent's status, or counts; raises BgpnetError."""


class Status:
    """What is asked for when it is not fresh: the agent's status; of one thread."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kept: Mapping[str, Any] = {}
        self._since = -FRESH

    def now(self) -> Mapping[str, Any]:
        """What it is, or was a moment ago; raises BgpnetError."""
        if monotonic() - self._since >= FRESH:
            self._kept = self._ask()
            self._since = monotonic()
        return self._kept


def metrics_pages(status: Status, dropped: Status | None = None) -> dict[str, Page]:
    """What a scraper reads. dropped: how many packets, by reason; where that is not to be had, the rest is there."""

    def text() -> str:
        counts: Mapping[str, int] = {}
        with suppress(KernelRefused):
            counts = dropped.now() if dropped is not None else {}
        return metrics.text(status.now(), counts)

    return {"/metrics": Page(text, CONTENT_TYPE)}


def health_pages(status: Status) -> dict[str, Page]:
    """What a kubelet asks: whether the loop answers, for a restart cures nothing else; whether the node can work."""
    return {"/livez": Page(lambda: alive(status.now())), "/readyz": Page(lambda: ready(status.now()))}


def alive(status: Mapping[str, Any]) -> str:
    """It has answered."""
    return f"{status['node']}\n"


def ready(status: Mapping[str, Any]) -> str:
    """The node's own work is done; peers that are away make no node unready. Raises BgpnetError with the reasons."""
    if not status["ready"]:
        raise BgpnetError("\n".join(status["reasons"]))
    return "ok\n"


def serve(host: str, port: int, agent_socket: str, stop: threading.Event, dropped: Ask | None = None) -> None:
    """The metrics of the agent that answers on that socket. dropped: see `metrics_pages`."""
    pages = metrics_pages(_status(agent_socket), Status(dropped) if dropped is not None else None)
    Port(host, port, pages, "set metrics_host and metrics_port").run(stop)


def health(host: str, port: int, agent_socket: str, stop: threading.Event) -> None:
    """Whether the agent that answers on that socket lives, and whether it is ready."""
    Port(host, port, health_pages(_status(agent_socket)), "set health_host and health_port").run(stop)


def _status(agent_socket: str) -> Status:
    return Status(lambda: AgentClient(agent_socket, ANSWER).ask("status"))
