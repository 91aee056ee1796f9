"""Where the metrics are read: `GET /metrics` on a TCP port (bgpnet/port.py).

It asks the agent's own socket, as `bgpnetctl node status` does, and at most once a second: who scrapes without end
gets the same answer again, and delays no pod.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from bgpnet.agent import metrics
from bgpnet.client import AgentClient
from bgpnet.exposition import CONTENT_TYPE
from bgpnet.port import Page, Port

FRESH = 1.0
"""Seconds that an answer serves."""
REMEDY = "set metrics_host and metrics_port"


class Exposition:
    """The port. `ask` gives the agent's status; it raises BgpnetError."""

    def __init__(self, host: str, port: int, ask: Callable[[], dict[str, object]]) -> None:
        self._ask = ask
        self._kept, self._since = "", -FRESH
        self._port = Port(host, port, {"/metrics": Page(self._metrics, CONTENT_TYPE)}, REMEDY)

    def run(self, stop: threading.Event) -> None:
        """Serve until stopped; without the port, say so once and try again."""
        self._port.run(stop)

    def _metrics(self) -> str:
        if monotonic() - self._since >= FRESH:
            self._kept = metrics.text(self._ask())
            self._since = monotonic()
        return self._kept


def serve(host: str, port: int, agent_socket: str, stop: threading.Event) -> None:
    """The metrics of the agent that answers on that socket."""
    Exposition(host, port, lambda: AgentClient(agent_socket).ask("status")).run(stop)
