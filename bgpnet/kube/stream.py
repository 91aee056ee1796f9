"""One watch: a stream of the API server's, begun and read by a thread of its own, so that its owner can look about.

The API server ends each watch after some minutes, which is no error: it goes on where it stopped. A bookmark comes at
least once a minute, so that a server that hangs (which TCP does not notice) is told from one that has no news.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from bgpnet.kube import words
from bgpnet.kube.access import is_revision, selectors
from bgpnet.kube.errors import Expired, KubeError, Unreachable

if TYPE_CHECKING:
    from bgpnet.kube.door import Answer, Door, Stream

IDLE = 0.5
"""Seconds without news after which a watch yields None."""
_AHEAD = 64  # lines read before the caller wants them; then the API server waits, not our memory
_JOIN = 5.0
_BRIEF = 1.0  # seconds: a stream that ended sooner, and told nothing, is no use to anybody

Told = tuple[str, dict[str, Any]] | None
T = TypeVar("T")


class Calls(Protocol):
    """What a watch asks of an API server (client.Api)."""

    quiet: float
    lasting: int
    closed: threading.Event

    def newest(self, path: str, *, labels: str = "", fields: str = "") -> str:
        """The resourceVersion that it has reached."""

    def attempt(self, call: Callable[[Door, float], Answer], what: str, safe: bool) -> Answer:
        """Calls until there is an answer."""


def aside(call: Callable[[], T], stop: Callable[[], bool]) -> T | None:
    """What the call returns or raises (KubeError), made by a thread: None as soon as stop() is true, within IDLE."""
    answers: queue.Queue[T | KubeError] = queue.Queue()

    def run() -> None:
        try:
            answers.put(call())
        except KubeError as error:
            answers.put(error)

    thread = threading.Thread(target=run, name="kubernetes call", daemon=True)
    thread.start()
    while not stop():
        alive = thread.is_alive()
        try:
            answer = answers.get(timeout=IDLE)
        except queue.Empty:
            _assert_alive(alive)
            continue
        if isinstance(answer, KubeError):
            raise answer
        return answer
    return None


def _assert_alive(alive: bool) -> None:
    """What nobody foresaw has ended a thread without a word: then its owner is not to wait for ever."""
    if not alive:
        raise RuntimeError("a thread that speaks with the Kubernetes API has died; its traceback is above")


class Watch:
    """Where a watch has got to. For one thread."""

    def __init__(self, api: Calls, path: str, after: str, labels: str = "", fields: str = "") -> None:
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
            began, seen = monotonic(), self._seen
            pump = _Pump(self._begin)
            try:
                yield from self._stream(pump, stop)
            finally:
                pump.close()
            brief = self._seen == seen and monotonic() - began < _BRIEF
            if brief and not stop():  # a gateway that ends each at once is not flooded
                self._api.closed.wait(IDLE)

    def _begin(self) -> Stream:
        newest = self._api.newest(self._path, labels=self._labels, fields=self._fields)
        if not is_revision(newest) or int(newest) < int(self._seen):
            # The API server's datastore was replaced: it would wait in silence.
            raise self._expired("the API server has not come so far")
        return self._open()

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
        from bgpnet.kube.door import Answer

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
                if pump.begun:
                    yield None
            elif isinstance(line, KubeError):
                raise line
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
    """A thread that begins and reads a stream, so that its owner can wait for the next line for a limited time."""

    def __init__(self, begin: Callable[[], Stream]) -> None:
        self._begin = begin
        self._stream: Stream | None = None
        self._lines: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes watch", daemon=True)
        self._thread.start()

    @property
    def begun(self) -> bool:
        """Whether the API server has agreed to tell."""
        return self._stream is not None

    def next(self, seconds: float) -> bytes | Exception | None:
        """The next line, b"" when the server ended the stream, what broke it, or None when nothing came."""
        alive = self._thread.is_alive()
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            _assert_alive(alive)
            return None

    def close(self) -> None:
        """Ends stream and thread; a thread that is still beginning ends when its call does."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()
            self._thread.join(_JOIN)

    def _run(self) -> None:
        from bgpnet.kube.door import Lost

        try:
            stream = self._stream = self._begin()
            if self._closed.is_set():  # whoever closes sees the stream, or we see that it was closed
                stream.close()
            for line in stream.lines():
                if line.strip() and not self._put(line):
                    return
            self._put(b"")
        except (Lost, KubeError) as problem:
            self._put(problem)

    def _put(self, line: bytes | Exception) -> bool:
        while not self._closed.is_set():
            try:
                self._lines.put(line, timeout=IDLE)
                return True
            except queue.Full:
                continue
        return False
