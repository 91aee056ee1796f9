"""The one door to etcd3 and gRPC: one endpoint of a cluster, its calls and its watch, in plain values.

etcd3 gives channel, TLS, stubs and messages. Its watcher, its users and its locks stay unused: the watcher spins while
etcd is down and never resumes, a token is never renewed, and the errors lose their text.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from bgpnet.store import etcd3_shim
from bgpnet.store.etcd_faults import RpcFailed
from bgpnet.store.etcd_options import Tls

T = TypeVar("T")


def _load() -> tuple[Any, Any]:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is said by us, once, not by gRPC's core on stderr
    etcd3_shim.install()
    import etcd3
    import grpc

    return etcd3, grpc


_etcd3, _grpc = _load()
_rpc = _etcd3.etcdrpc

_CHANNEL = [
    ("grpc.keepalive_time_ms", 10_000),  # etcd answers more than one ping in 5 s with GOAWAY
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # gRPC's core heeds only this one: a hung server is noticed within 15 s
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # retries are ours: gRPC's would hide that a write is in doubt
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True, slots=True)
class Row:
    """A key as of `revision`, its last change (etcd's mod_revision); without a value it was deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a range: what was asked, as of `revision`; `more` when the limit cut it."""

    cluster: int
    revision: int
    rows: tuple[Row, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Swapped:
    """The answer to a compare-and-swap: done at `revision`, or not, and what was found instead."""

    cluster: int
    revision: int
    done: bool
    found: Row | None


@dataclass(frozen=True, slots=True)
class News:
    """One message of a watch; `compacted` is 0, or the revision before which history is gone."""

    cluster: int
    revision: int
    created: bool
    canceled: bool
    reason: str
    compacted: int
    changes: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call is made: at most so many seconds, with that token (or without one)."""

    timeout: float
    token: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """As gRPC wants it."""
        return (("token", self.token),) if self.token else ()


class Stream:
    """A watch of one endpoint: iterate over its news from one thread, cancel from any."""

    def __init__(self, call: Any, requests: queue.SimpleQueue[Any]) -> None:
        self._call = call
        self._requests = requests

    def __iter__(self) -> Iterator[News]:
        """The messages as they come; raises RpcFailed when the stream breaks."""
        try:
            for message in self._call:
                yield _news(message)
        except _grpc.RpcError as error:
            raise _failed(error) from None

    def cancel(self) -> None:
        """End it: whoever iterates is told RpcFailed."""
        self._requests.put(None)
        self._call.cancel()


class Link:
    """One endpoint. Every call raises RpcFailed; the connection is made by the first call, and again when it breaks."""

    def __init__(self, endpoint: str, tls: Tls | None) -> None:
        host, _, port = endpoint.rpartition(":")
        files = {"ca_cert": tls.ca, "cert_cert": tls.cert, "cert_key": tls.key} if tls else {}
        try:
            self._client = _etcd3.client(host=host, port=int(port), grpc_options=_CHANNEL, **files)
        except OSError as error:
            raise RpcFailed("UNAVAILABLE", f"a certificate file cannot be read: {error.strerror}") from None
        self._watch = _rpc.WatchStub(self._client.channel)
        self._auth = _rpc.AuthStub(self._client.channel)

    def authenticate(self, terms: Terms, user: str, password: str) -> str:
        """A token for that user."""
        request = _rpc.AuthenticateRequest(name=user, password=password)
        token: str = _call(self._auth.Authenticate, request, Terms(terms.timeout)).token
        return token

    def range(self, terms: Terms, key: str, end: str = "", limit: int = 0, revision: int = 0) -> Rows:
        """The keys from `key` to before `end` (or `key` alone), at that revision (or now), in order; linearizable."""
        request = _rpc.RangeRequest(key=_bytes(key), range_end=_bytes(end), limit=limit, revision=revision)
        answer = _call(self._client.kvstub.Range, request, terms)
        header = answer.header
        return Rows(header.cluster_id, header.revision, tuple(_row(kv) for kv in answer.kvs), answer.more)

    def swap(self, terms: Terms, key: str, value: bytes | None, number: int) -> Swapped:
        """Put the value (None: delete) if the key's last change is that revision (0: if the key does not exist)."""
        name = _bytes(key)
        compare = _rpc.Compare(result=_rpc.Compare.EQUAL, target=_rpc.Compare.MOD, key=name, mod_revision=number)
        if value is None:
            change = _rpc.RequestOp(request_delete_range=_rpc.DeleteRangeRequest(key=name))
        else:
            change = _rpc.RequestOp(request_put=_rpc.PutRequest(key=name, value=value))
        look = _rpc.RequestOp(request_range=_rpc.RangeRequest(key=name))
        request = _rpc.TxnRequest(compare=[compare], success=[change], failure=[look])
        answer = _call(self._client.kvstub.Txn, request, terms)
        found = () if answer.succeeded else answer.responses[0].response_range.kvs
        header = answer.header
        return Swapped(header.cluster_id, header.revision, answer.succeeded, _row(found[0]) if found else None)

    def compact(self, terms: Terms, revision: int) -> None:
        """Forget what was superseded before that revision."""
        _call(self._client.kvstub.Compact, _rpc.CompactionRequest(revision=revision), terms)

    def next_change(self, terms: Terms, key: str, start: int) -> Row | None:
        """The key's first change at that revision or later, which there must have been; None when it is compacted."""
        stream = self.watch(terms.token, key, "", start, terms.timeout)
        try:
            for news in stream:
                if news.canceled and not news.compacted:
                    raise RpcFailed("UNAVAILABLE", news.reason or "the watch was cancelled")
                if news.compacted or news.changes:
                    return None if news.compacted else news.changes[0]
        finally:
            stream.cancel()
        raise RpcFailed("UNAVAILABLE", "the watch ended")

    def watch(self, token: str, key: str, end: str, start: int, timeout: float | None = None) -> Stream:
        """Follow the range (or `key` alone) from that revision on, it included, at most so many seconds.

        The stream breaks when the member has no leader.
        """
        create = _rpc.WatchCreateRequest(
            key=_bytes(key), range_end=_bytes(end), start_revision=start, progress_notify=True
        )
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(_rpc.WatchRequest(create_request=create))
        metadata = (*Terms(0, token).metadata, ("hasleader", "true"))
        try:
            return Stream(self._watch.Watch(iter(requests.get, None), timeout=timeout, metadata=metadata), requests)
        except ValueError as error:
            raise RpcFailed("CANCELLED", str(error)) from None

    def close(self) -> None:
        """End its calls and streams."""
        with suppress(ValueError):
            self._client.close()


def _call(method: Callable[..., Any], request: Any, terms: Terms) -> Any:
    try:
        return method(request, timeout=terms.timeout, metadata=terms.metadata)
    except _grpc.RpcError as error:
        raise _failed(error) from None
    except ValueError as error:  # the channel was closed meanwhile
        raise RpcFailed("CANCELLED", str(error)) from None


def _failed(error: Any) -> RpcFailed:
    return RpcFailed(error.code().name, error.details() or "")


def _row(kv: Any) -> Row:
    return Row(_text(kv.key), kv.value, kv.mod_revision)


def _news(message: Any) -> News:
    changes = tuple(
        Row(_text(event.kv.key), None if event.type else event.kv.value, event.kv.mod_revision)  # type 1 is DELETE
        for event in message.events
    )
    return News(
        message.header.cluster_id,
        message.header.revision,
        message.created,
        message.canceled,
        message.cancel_reason,
        message.compact_revision,
        changes,
    )


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _text(key: bytes) -> str:
    """Whatever bytes another program wrote: they come back as they were."""
    return key.decode("utf-8", "surrogateescape")
