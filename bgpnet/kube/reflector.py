"""A collection of the Kubernetes API, followed for good: list, watch, and after any error list again.

Its owner holds what it was told and compares: after Listed, nothing else exists. No error ends it: an API server that
restarts or hangs, an expired token, a missing permission, a kind that is not installed are told as Away.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Expired, KubeError
from bgpnet.kube.stream import aside

_SHORTEST, _LONGEST = 0.1, 5.0  # seconds between two attempts


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects that there are now."""

    objects: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """An object is new, or has changed."""

    object: Json


@dataclass(frozen=True, slots=True)
class Gone:
    """An object was deleted, or is not chosen any more; as it was last."""

    object: Json


@dataclass(frozen=True, slots=True)
class Away:
    """The API server does not say; what was told last may be old. reason: one sentence. Listed ends it."""

    reason: str


Told = Listed | Put | Gone | Away


def follow(
    api: Api,
    path: str,
    tell: Callable[[Told], None],
    stop: Callable[[], bool],
    *,
    labels: str = "",
    fields: str = "",
    keep: Callable[[Json], Json] | None = None,
) -> None:
    """Tells of every change of the objects at `path` that the selectors choose, until stop() (noticed within a second).

    keep: what is wanted of each object that is listed; of those that a watch tells of, one at a time, all is there.
    A watch that the API server ends goes on; one that breaks is listed anew, with pauses of up to 5 s while it is away.
    """
    pause, said = _SHORTEST, ""
    while not stop():
        began = monotonic()
        try:
            for told in _once(api, path, stop, labels, fields, keep):
                said = ""
                tell(told)
                del told  # a list may be large, and the next event may be hours away
        except Expired:
            _rest(_SHORTEST, stop)  # that is no outage, and rare; should it ever come again and again, not in a rush
        except KubeError as error:
            if monotonic() - began > _LONGEST:  # one that lists and refuses to be watched is not asked without end
                pause = _SHORTEST
            if str(error) != said:
                said = str(error)
                tell(Away(said))
            _rest(pause * random.uniform(0.5, 1.0), stop)  # noqa: S311 # so that not all nodes come at once
            pause = min(pause * 2, _LONGEST)


def _once(
    api: Api, path: str, stop: Callable[[], bool], labels: str, fields: str, keep: Callable[[Json], Json] | None
) -> Iterator[Told]:
    """One list, and what a watch from there tells, until it breaks."""
    found = aside(lambda: api.list(path, labels=labels, fields=fields, keep=keep), stop)
    if found is None:
        return
    listed, revision = Listed(tuple(found[0])), found[1]
    del found
    yield listed
    del listed  # it is its receiver's now
    for event in api.watch(path, revision, labels=labels, fields=fields, stop=stop):
        match event:
            case ("DELETED", item):
                yield Gone(item)
            case (_, item):
                yield Put(item)
            case None:
                pass


def _rest(seconds: float, stop: Callable[[], bool]) -> None:
    """Waits, with an eye on stop()."""
    waiting = threading.Event()
    while seconds > 0 and not stop():
        waiting.wait(min(seconds, 0.5))
        seconds -= 0.5
