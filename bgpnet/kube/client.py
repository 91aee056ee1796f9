"""The Kubernetes API as plain JSON: get, list, create, replace, patch, delete, watch. Every call has a deadline.

Objects are JSON dicts without `metadata.managedFields` (who wrote which field: long, and nothing that we use).
lightkube and httpx are imported when somebody connects: agents with other datastores pay nothing for them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from bgpnet.errors import UsageError
from bgpnet.kube import access, words
from bgpnet.kube.access import Access
from bgpnet.kube.errors import Refused, Unreachable
from bgpnet.kube.stream import Watch

if TYPE_CHECKING:
    from bgpnet.kube.door import Answer, Door

Json = dict[str, Any]

DEADLINE = 10.0
"""Seconds in which a call must be answered, each page of a list for itself."""
PATIENCE = 2.0
"""Seconds for which a call that was never sent, or only reads, is repeated."""
QUIET = 90.0
"""Seconds without a byte after which the server of a watch counts as hung; bookmarks come every 60."""
LASTING = 300
"""Seconds after which the API server is to end a watch, which then goes on in a new one."""
_PAGE, _SHORT_PAGE = 500, 200  # objects in one answer; fewer where little of each is kept, so that little is needed
_STRICT = {"fieldValidation": "Strict"}  # a field that the API server does not know is refused, not dropped in silence
_RENEWAL = 5.0  # seconds between two readings of the credentials
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


def connect(
    kubeconfig: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    service_account: str = access.SERVICE_ACCOUNT,
    quiet: float = QUIET,
    lasting: int = LASTING,
    deadline: float = DEADLINE,
) -> Api:
    """The API server of that kubeconfig, else KUBECONFIG's, else the pod's own, else ~/.kube/config's.

    Reads files and sends nothing. Raises UsageError. quiet, lasting, deadline: as QUIET and so on.
    """
    given = access.find(kubeconfig, os.environ if environ is None else environ, service_account)
    return Api(given, quiet, lasting, deadline)


class Api:
    """One API server; use it from any thread. Calls raise Unreachable, or Refused (see bgpnet/kube/errors.py)."""

    def __init__(self, given: Access, quiet: float = QUIET, lasting: int = LASTING, deadline: float = DEADLINE) -> None:
        """Reads the credentials; raises UsageError."""
        self.quiet = quiet
        self.lasting = lasting
        self.deadline = deadline
        self._access = given
        self._lock = threading.Lock()
        self._door = self._new_door()
        self._former: Door | None = None
        self._renewed = -_RENEWAL  # when the credentials were last read anew, and not at all yet
        self.closed = threading.Event()

    def __str__(self) -> str:
        return f"Kubernetes API server {self._door.server}"

    def get(self, path: str, *, seconds: float | None = None) -> Json | None:
        """The object at `/api/v1/nodes/n1`, None where there is none; Refused also where the kind is not known.

        seconds: for the answer, where somebody waits who has less than the deadline.
        """
        try:
            return _bare(self._json("GET", path, seconds=seconds))
        except Refused as refused:
            if refused.reason == "NotFound":
                return None
            raise

    def list(
        self, path: str, *, labels: str = "", fields: str = "", keep: Callable[[Json], Json] | None = None
    ) -> tuple[list[Json], str]:
        """All objects there that the selectors choose, and the resourceVersion to watch from. Raises Expired rarely.

        keep: what to keep of each, page by page: thousands of whole ones at once are memory that never comes back.
        """
        items: list[Json] = []
        params = {**access.selectors(labels, fields), "limit": str(_PAGE if keep is None else _SHORT_PAGE)}
        while True:
            page = self._page(path, params)
            items += [_bare(item) if keep is None else keep(item) for item in page.get("items") or ()]
            onward = page["metadata"].get("continue")
            if not onward:
                return items, str(page["metadata"]["resourceVersion"])
            params["continue"] = onward

    def newest(self, path: str, *, labels: str = "", fields: str = "") -> str:
        """The resourceVersion that the API server has reached with the objects of that path."""
        params = {**access.selectors(labels, fields), "limit": "1"}
        return str(self._page(path, params)["metadata"]["resourceVersion"])

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Creates an object in the collection `path`; Refused with reason AlreadyExists."""
        return _bare(self._json("POST", path, _STRICT, body))

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """Replaces the object at `path`, at its `metadata.resourceVersion` if it has one; Refused with Conflict."""
        return _bare(self._json("PUT", path, _STRICT, body))

    def patch(self, path: str, body: Mapping[str, Any] | Sequence[Json], *, kind: str = "merge") -> Json:
        """Changes the object at `path` (`…/status` for its status) by a merge, json, strategic or apply patch."""
        params = {**_STRICT, "fieldManager": "bgpnet", "force": "true"} if kind == "apply" else _STRICT
        return _bare(self._json("PATCH", path, params, body, _PATCHES[kind]))

    def delete(self, path: str, *, uid: str = "", resource_version: str = "") -> tuple[str, ...]:
        """Deletes the object at `path`, if it is still that one; Refused with NotFound or Conflict.

        Returns the finalizers that it waits for: until those who set them take them off, it stays.
        """
        conditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **({"preconditions": conditions} if conditions else {})}
        answer = self._json("DELETE", path, {}, body)
        metadata = answer.get("metadata") or {}  # a Status where it is gone, else the object
        return tuple(metadata.get("finalizers") or ()) if metadata.get("deletionTimestamp") else ()

    def watch(
        self, path: str, after: str, *, labels: str = "", fields: str = "", stop: Callable[[], bool]
    ) -> Iterator[tuple[str, Json] | None]:
        """What happens after that resourceVersion: ("ADDED" | "MODIFIED" | "DELETED", object), each once, in order.

        None when nothing happened for half a second; ends within a second when stop() is true, whatever the server
        does. Raises Expired when that history is gone, Unreachable when the connection breaks or stays quiet where the
        API server should have said something.
        """
        return Watch(self, path, after, labels, fields).events(stop)

    def close(self) -> None:
        """Lets go of the connections; watches in progress end with Unreachable."""
        self.closed.set()
        with self._lock:
            for door in (self._door, self._former):
                if door is not None:
                    door.close()

    def attempt(
        self, call: Callable[[Door, float], Answer], what: str, safe: bool, seconds: float | None = None
    ) -> Answer:
        """Calls until there is an answer that counts. safe: it may be carried out twice. Raises Unreachable.

        What never left is repeated for PATIENCE seconds, what the server puts off (429, or 503 while it starts) for as
        long as an answer may take, and not before the time that the server names.
        """
        began, pause, renewed = monotonic(), 0.05, False
        seconds = seconds or self.deadline
        while True:
            door, put_off = self._door, 0.0
            if self.closed.is_set():
                raise Unreachable(f"{self}: the connection was closed; connect again")
            try:
                answer = call(door, max(1.0, seconds - (monotonic() - began)))
                if answer.status < 400:
                    return answer
                problem = f"{answer.status} {words.said(answer.body)}"
                again = answer.status == 429 or (answer.status == 503 and answer.retry_after is not None)
                put_off = answer.retry_after or 0.0
                known = answer.status != 429 and answer.status < 500
                known, patience = known or words.is_too_large(answer.status, answer.body), seconds
                stale = answer.status == 401
            except door_fault() as lost:
                problem, again, known, patience = str(lost), lost.unsent or safe, False, PATIENCE
                stale = lost.untrusted
            if stale and not renewed and self._renew(door):
                renewed = True
                continue
            if known:
                return answer
            wait = max(pause, put_off)
            if not again or self.closed.is_set() or monotonic() + wait > began + patience:
                raise Unreachable(words.unreachable(str(self), what, problem))
            self.closed.wait(wait)
            pause = min(pause * 2, 0.5)

    def _page(self, path: str, params: Mapping[str, str]) -> Json:
        page = self._json("GET", path, params)
        metadata = page.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("resourceVersion"):
            raise Unreachable(words.unreachable(str(self), f"GET {path}", "it is no list of objects"))
        return page

    def _json(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: object = None,
        kind: str = "application/json",
        seconds: float | None = None,
    ) -> Json:
        data = None if body is None else msgspec.json.encode(body)
        answer = self.attempt(
            lambda door, seconds: door.ask(method, path, params or {}, data, kind, seconds),
            f"{method} {path}",
            method == "GET",
            seconds,
        )
        if answer.status >= 400:
            raise words.refusal(str(self), method, path, answer.status, answer.body)
        try:
            decoded: Json = msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise Unreachable(words.unreachable(str(self), f"{method} {path}", f"no JSON: {error}")) from error
        return decoded

    def _renew(self, used: Door) -> bool:
        """Reads the credentials anew, as tokens, certificates and CAs change; whether they may be others now."""
        with self._lock:
            if self._door is not used:
                return True
            if monotonic() - self._renewed < _RENEWAL:
                return False
            self._renewed = monotonic()
            try:
                fresh = self._new_door()
            except UsageError:
                return False  # a file that is being replaced; the refusal of what we have says enough
            if self._former is not None:
                self._former.close()
            self._former, self._door = self._door, fresh  # calls of others are under way in the former one
            return True

    def _new_door(self) -> Door:
        from bgpnet.kube.door import Door

        return Door(self._access)


def door_fault() -> type[Any]:
    """The exception of the door, which is imported late."""
    from bgpnet.kube.door import Lost

    return Lost


def _bare(item: Json) -> Json:
    metadata = item.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    return item
