"""A firewall made of values, for tests: see kernel/packets.py. What strangers do is done by setting its fields."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from bgpnet.errors import KernelRefused
from bgpnet.kernel.packets import NOTHING, Barrier, PacketRules, PacketState


class FakeFirewall:
    """Implements kernel.packets.Firewall."""

    def __init__(self) -> None:
        self.rules: PacketRules | None = NOTHING
        self.barriers: list[Barrier] = []
        self.tunnels: frozenset[str] = frozenset()
        self.refuse = ""
        """Why everything is refused; nothing: it is not."""
        self.log: list[str] = []
        self.news = threading.Event()

    def read(self) -> PacketState:
        """See kernel.packets.Firewall.read."""
        self._may()
        self.log.append("read")
        self.tunnels = self.rules.tunnels if self.rules is not None else self.tunnels
        return PacketState(self.rules, tuple(self.barriers), self.tunnels)

    def put(self, rules: PacketRules, have: PacketRules | None) -> None:
        """See kernel.packets.Firewall.put."""
        self._may()
        self.log.append("put")
        self.rules = rules

    def accept(self, barrier: Barrier) -> None:
        """See kernel.packets.Firewall.accept."""
        self._may()
        self.log.append(f"accept {barrier.chain}")
        self.barriers = [replace(one, open=True) if one == barrier else one for one in self.barriers]

    def dropped(self) -> Mapping[str, int]:
        """See kernel.packets.Firewall.dropped."""
        self._may()
        return {}

    def follow(self, changed: Callable[[], None], stop: Callable[[], bool]) -> None:
        """See kernel.packets.Firewall.follow."""
        while not stop():
            if self.news.wait(0.1):
                self.news.clear()
                changed()

    def _may(self) -> None:
        if self.refuse:
            raise KernelRefused(self.refuse)
