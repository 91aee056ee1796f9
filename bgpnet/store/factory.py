"""From a datastore URL to the store. A store's own needs are imported only when it is the one that is asked for."""

from __future__ import annotations

from collections.abc import Callable

from bgpnet.errors import UsageError
from bgpnet.store.api import Store


def open_store(url: str) -> Store:
    """The datastore of that URL. Raises UsageError for a URL that nothing serves, StoreUnreachable.

    `sqlite:///absolute/path` (taken literally: no escapes, no options); `memory:`, a new one at each call, for tests.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _STORES:
        hint = f"; a file is named sqlite://{url}" if url.startswith("/") else ""
        raise UsageError(f"datastore {url!r}: begins with no scheme of {', '.join(_STORES)}{hint}")
    return _STORES[scheme](url, rest)


def _sqlite(url: str, rest: str) -> Store:
    from bgpnet.store.sqlite import SqliteStore

    path = rest.removeprefix("//")
    if not rest.startswith("///") or path.endswith("/") or "\0" in path:
        raise UsageError(
            f"datastore {url!r}: names no file by its absolute path, such as sqlite:///var/lib/bgpnet/store.db"
        )
    return SqliteStore(path)


def _memory(url: str, rest: str) -> Store:
    from bgpnet.store.memory import MemoryStore

    if rest:
        raise UsageError(f"datastore {url!r}: memory: takes nothing after the colon")
    return MemoryStore()


def _not_built(url: str, rest: str) -> Store:
    raise UsageError(
        f"datastore {url!r}: not built yet (issue “Resources and datastore”); "
        "use sqlite:///var/lib/bgpnet/store.db on one machine"
    )


_STORES: dict[str, Callable[[str, str], Store]] = {
    "sqlite": _sqlite,
    "etcd": _not_built,
    "kubernetes": _not_built,
    "memory": _memory,
}
