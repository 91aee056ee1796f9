"""Several endpoints as one: calls go to the next endpoint when one fails, tokens are renewed, all within a deadline."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, NoReturn, TypeVar

from bgpnet.errors import Compacted, StoreError, StoreUnreachable
from bgpnet.store import etcd_faults as faults
from bgpnet.store.etcd3_door import Link, Terms
from bgpnet.store.etcd_faults import RpcFailed
from bgpnet.store.etcd_options import Options

T = TypeVar("T")

DEADLINE = 7.0
"""Seconds in which a call succeeds or is given up, all endpoints and repetitions included."""
ATTEMPT = 2.0
"""Seconds that one endpoint is given for one answer."""
_PAUSE = (0.02, 0.5)  # seconds between attempts: doubled from the first to the second, each time more or less
_RENEWALS = 4  # of the token within one call: one is normal, one more a race with another change of the users
_chance = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a call answered; `doubt` when an earlier attempt at it may have been carried out, too."""

    value: T
    doubt: bool


class Cluster:
    """The connections to one etcd cluster; use it from any thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._tokens: dict[int, str] = {}
        self._current = _chance.randrange(len(options.endpoints))

    def ask(self, call: Callable[[Link, Terms], T]) -> Answer[T]:
        """Make the call where it succeeds first.

        Raises StoreUnreachable after DEADLINE seconds, or at once when TLS lacks the right files for every endpoint;
        StoreError when etcd refuses it; Compacted.
        """
        end = monotonic() + DEADLINE
        pause, doubt, renewals = _PAUSE[0], False, 0
        hopeless: set[int] = set()
        telling: RpcFailed | None = None
        while True:
            index = self.current()
            try:
                timeout = min(ATTEMPT, end - monotonic())
                terms = Terms(timeout, self.token(index, timeout))
                return Answer(call(self.link(index), terms), doubt)
            except RpcFailed as failed:
                fault = failed
            telling = fault if telling is None or fault.code != "DEADLINE_EXCEEDED" else telling
            if self.options.user and faults.wants_token(fault) and renewals < _RENEWALS:
                renewals += 1
                self.forget_token(index)
            elif faults.passes(fault):
                doubt |= faults.doubtful(fault)
                hopeless = hopeless | {index} if faults.hopeless(fault) else set()
                self.leave(index)
            else:
                self.refuse(fault)
            wait = pause * _chance.uniform(0.5, 1.5)
            vain = len(hopeless) == len(self.options.endpoints)
            if vain or self.closed.wait(wait) or monotonic() + ATTEMPT / 4 > end:
                self.give_up(telling)
            pause = min(pause * 2, _PAUSE[1])

    def current(self) -> int:
        """The endpoint in use."""
        with self._lock:
            return self._current

    def leave(self, index: int) -> None:
        """That endpoint failed: the next one is in use from now on, unless it is so already."""
        with self._lock:
            if self._current == index:
                self._current = (index + 1) % len(self.options.endpoints)

    def link(self, index: int) -> Link:
        """The connection to that endpoint; raises RpcFailed."""
        with self._lock:
            if self.closed.is_set():
                raise RpcFailed("CANCELLED", "the connection to the datastore was closed")
            if index not in self._links:
                self._links[index] = Link(self.options.endpoints[index], self.options.tls)
            return self._links[index]

    def token(self, index: int, timeout: float = ATTEMPT) -> str:
        """The token for that endpoint, asked for where there is none; raises RpcFailed."""
        if not self.options.user:
            return ""
        with self._lock:
            known = self._tokens.get(index)
        if known is None:
            known = self.link(index).authenticate(Terms(timeout), self.options.user, self.options.password)
            with self._lock:
                self._tokens[index] = known
        return known

    def forget_token(self, index: int) -> None:
        """It was not accepted: the next call asks for another."""
        with self._lock:
            self._tokens.pop(index, None)

    def refuse(self, fault: RpcFailed) -> NoReturn:
        """Raise what etcd refused for good."""
        if faults.compacted(fault):
            raise Compacted(f"{self.options}: the history at that revision is gone; list again")
        raise StoreError(f"{self.options} refuses: {fault}; {faults.remedy(fault)}")

    def give_up(self, fault: RpcFailed) -> NoReturn:
        """Raise that nothing was reached."""
        if self.closed.is_set():
            raise StoreUnreachable(f"{self.options}: the connection was closed; open the datastore again")
        raise StoreUnreachable(f"{self.options}: {fault}; {faults.remedy(fault)}")

    def close(self) -> None:
        """Close all connections; calls and watches in progress end with StoreUnreachable."""
        with self._lock:
            self.closed.set()
            links = list(self._links.values())
        for link in links:
            link.close()
