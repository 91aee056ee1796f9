"""From a datastore URL to the store. A store's own needs are imported only when it is the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bgpnet.errors import UsageError
from bgpnet.store.api import Store

if TYPE_CHECKING:
    from bgpnet.store.etcd_options import Said

_Needs = Callable[[], "Said"]


def open_store(url: str, environ: Mapping[str, str] | None = None, said: Said | None = None) -> Store:
    """The datastore of that URL. Raises UsageError for a URL that nothing serves, StoreUnreachable.

    `sqlite:///absolute/path` (taken literally: no escapes, no options); `etcd://host:port,host:port,…`, with
    certificates and user as `said`, or else from the ETCD_ variables of `environ` (None: the process's own);
    `memory:`, a new one at each call, for tests.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _STORES:
        hint = f"; a file is named sqlite://{url}" if url.startswith("/") else ""
        if scheme in ("http", "https"):
            hint = "; an etcd is named etcd://HOST:PORT,…, and ETCD_CA_CERT_FILE makes it TLS"
        shown = f"…{url[url.rindex('@') :]}" if "@" in url else url  # a password may stand before it
        raise UsageError(f"datastore {shown!r}: begins with no scheme of {', '.join(_STORES)}{hint}")

    def needs() -> Said:
        from bgpnet.store import etcd_options

        return said or etcd_options.of_environment(os.environ if environ is None else environ)

    return _STORES[scheme](url, rest, needs)


def _sqlite(url: str, rest: str, needs: _Needs) -> Store:
    from bgpnet.store.sqlite import SqliteStore

    path = rest.removeprefix("//")
    if not rest.startswith("///") or path.endswith("/") or "\0" in path:
        raise UsageError(
            f"datastore {url!r}: names no file by its absolute path, such as sqlite:///var/lib/bgpnet/store.db"
        )
    return SqliteStore(f"/{path.lstrip('/')}")  # four slashes, as others write it, are no other file


def _etcd(url: str, rest: str, needs: _Needs) -> Store:
    from bgpnet.store import etcd_options

    options = etcd_options.read(url, needs())  # before the import of gRPC, which takes ten times as long
    from bgpnet.store.etcd import EtcdStore

    return EtcdStore(options)


def _memory(url: str, rest: str, needs: _Needs) -> Store:
    from bgpnet.store.memory import MemoryStore

    if rest:
        raise UsageError(f"datastore {url!r}: memory: takes nothing after the colon")
    return MemoryStore()


def _not_built(url: str, rest: str, needs: _Needs) -> Store:
    raise UsageError(
        f"datastore {url!r}: not built yet; "
        "use sqlite:///var/lib/bgpnet/store.db on one machine, etcd://HOST:PORT,… on several"
    )


_STORES: dict[str, Callable[[str, str, _Needs], Store]] = {
    "sqlite": _sqlite,
    "etcd": _etcd,
    "kubernetes": _not_built,
    "memory": _memory,
}
