"""One watch: a stream of the API server's, read by a thread of its own, so that its owner can look about meanwhile.

The API server ends each watch after some minutes, which is no error: it goes on where it stopped. A bookmark comes at
least once a minute, so that a server that hangs (which TCP does not notice) is told from one that has no news.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from bgpnet.kube import words
from bgpnet.kube.access import is_revision, selectors
from bgpnet.kube.errors import Expired, Unreachable

if TYPE_CHECKING:
    from bgpnet.kube.client import Api
    from bgpnet.kube.door import Stream

IDLE = 0.5
"""Seconds without news after which a watch yields None."""
_AHEAD = 64  # lines read before the caller wants them; then the API server waits, not our memory
_JOIN = 5.0

Told = tuple[str, dict[str, Any]] | None


class Watch:
    """Where a watch has got to. For one thread."""

    def __init__(self, api: Api, path: str, after: str, labels: str = "", fields: str = "") -> None:
        self._api = api
        self._path = path
        self._seen = after
        self._labels = labels
        self._fields = fields

    def events(self, stop: Callable[[], bool]) -> Iterator[Told]:
        """As Api.watch says."""
        if not is_revision(self._seen):
            raise self._expired("the API server never gave that resourceVersion")
        while not stop():
            newest = self._api.newest(self._path, labels=self._labels, fields=self._fields)
            if int(newest) < int(self._seen):  # the API server's datastore was replaced: it would wait in silence
                raise self._expired("the API server has not come so far")
            pump = _Pump(self._open())
            try:
                yield from self._stream(pump, stop)
            finally:
                pump.close()

    def _open(self) -> Stream:
        params = {
            **selectors(self._labels, self._fields),
            "watch": "1",
            "resourceVersion": self._seen,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._api.lasting),
        }
        what = f"watch {self._path}"
        opened: list[Stream] = []
        from bgpnet.kube.door import Answer, Door

        def call(door: Door, seconds: float) -> Answer:
            stream = door.open(self._path, params, self._api.quiet, seconds)
            if stream.status == 200:
                opened.append(stream)
                return Answer(200, b"")
            return Answer(stream.status, stream.whole())

        answer = self._api.attempt(call, what, True)
        if answer.status != 200:
            raise words.refusal(str(self._api), "watch", self._path, answer.status, answer.body)
        return opened[-1]

    def _stream(self, pump: _Pump, stop: Callable[[], bool]) -> Iterator[Told]:
        """The news of one stream, until the server ends it; raises Unreachable when it breaks."""
        while not stop():
            line = pump.next(IDLE)
            if self._api.closed.is_set():
                raise Unreachable(f"{self._api}: the connection was closed; connect again")
            if line is None:
                yield None
            elif isinstance(line, Exception):
                raise Unreachable(words.unreachable(str(self._api), f"watch {self._path}", str(line))) from line
            elif not line:
                return
            elif (told := self._told(line)) is not None:
                yield told

    def _told(self, line: bytes) -> Told:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                raise self._error(item)
            metadata = item["metadata"]
            self._seen = metadata["resourceVersion"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise Unreachable(words.unreachable(str(self._api), f"watch {self._path}", f"no event: {error}")) from error
        metadata.pop("managedFields", None)
        return None if kind == "BOOKMARK" else (kind, item)

    def _error(self, status: dict[str, Any]) -> Exception:
        if status.get("code") == 410:
            return self._expired(str(status.get("message")))
        return Unreachable(words.unreachable(str(self._api), f"watch {self._path}", str(status.get("message"))))

    def _expired(self, problem: str) -> Expired:
        return Expired(
            f"{self._api}: watch {self._path}: the history after {self._seen!r} is gone ({problem}); list again"
        )


class _Pump:
    """A thread that reads a stream, so that its owner can wait for the next line for a limited time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lines: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes watch", daemon=True)
        self._thread.start()

    def next(self, seconds: float) -> bytes | Exception | None:
        """The next line, b"" when the server ended the stream, what broke it, or None when nothing came."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Ends stream and thread."""
        self._closed.set()
        self._stream.close()
        self._thread.join(_JOIN)

    def _run(self) -> None:
        from bgpnet.kube.door import Lost

        try:
            for line in self._stream.lines():
                if line.strip() and not self._put(line):
                    return
            self._put(b"")
        except Lost as lost:
            self._put(lost)

    def _put(self, line: bytes | Exception) -> bool:
        while not self._closed.is_set():
            try:
                self._lines.put(line, timeout=IDLE)
                return True
            except queue.Full:
                continue
        return False
