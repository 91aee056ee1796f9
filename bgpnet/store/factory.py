"""From a datastore URL to the store. A store's own needs are imported only when it is the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bgpnet.errors import UsageError
from bgpnet.store.api import Store

if TYPE_CHECKING:
    from bgpnet.kube.access import Access
    from bgpnet.store.etcd_options import Said


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a datastore may ask for beside its URL."""

    environ: Mapping[str, str]
    said: Said | None
    access: Access | None


def open_store(
    url: str, environ: Mapping[str, str] | None = None, said: Said | None = None, access: Access | None = None
) -> Store:
    """The datastore of that URL. Raises UsageError for a URL that nothing serves, StoreUnreachable.

    `sqlite:///absolute/path` (taken literally: no escapes, no options); `etcd://host:port,host:port,…`, with
    certificates and user as `said`, or else from the ETCD_ variables of `environ` (None: the process's own);
    `kubernetes:`, the API server of `access`, or else of KUBECONFIG, of this pod's ServiceAccount, of ~/.kube/config;
    `kubernetes:///path`, that of a kubeconfig; `memory:`, a new one at each call, for tests.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _STORES:
        hint = f"; a file is named sqlite://{url}" if url.startswith("/") else ""
        if scheme in ("http", "https"):
            hint = "; an etcd is named etcd://HOST:PORT,…, and ETCD_CA_CERT_FILE makes it TLS"
        shown = f"…{url[url.rindex('@') :]}" if "@" in url else url  # a password may stand before it
        raise UsageError(f"datastore {shown!r}: begins with no scheme of {', '.join(_STORES)}{hint}")

    return _STORES[scheme](url, rest, _Needs(os.environ if environ is None else environ, said, access))


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

    options = etcd_options.read(
        url, needs.said or needs.environ
    )  # before the import of gRPC, which takes ten times as long
    from bgpnet.store.etcd import EtcdStore

    return EtcdStore(options)


def _memory(url: str, rest: str, needs: _Needs) -> Store:
    from bgpnet.store.memory import MemoryStore

    if rest:
        raise UsageError(f"datastore {url!r}: memory: takes nothing after the colon")
    return MemoryStore()


def _kubernetes(url: str, rest: str, needs: _Needs) -> Store:
    path = rest.removeprefix("//")
    if rest and not rest.startswith("///"):
        raise UsageError(
            f"datastore {url!r}: write kubernetes: alone, and set KUBECONFIG, or kubernetes:///path/of/a/kubeconfig"
        )
    from bgpnet.kube import access
    from bgpnet.kube.client import Api

    found = needs.access if needs.access is not None and not path else access.find(path, needs.environ)
    api = Api(found)
    from bgpnet.store.kubernetes import KubernetesStore

    return KubernetesStore(api)


_STORES: dict[str, Callable[[str, str, _Needs], Store]] = {
    "sqlite": _sqlite,
    "etcd": _etcd,
    "kubernetes": _kubernetes,
    "memory": _memory,
}
