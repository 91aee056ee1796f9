"""Which datastore it is: what calicoctl's variables, or the same fields in a configuration file, come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bgpnet.errors import UsageError

if TYPE_CHECKING:
    from bgpnet.kube.access import Access
    from bgpnet.store.api import Store
    from bgpnet.store.etcd_options import Said

DEFAULT = "sqlite:///var/lib/bgpnet/store.db"
KUBERNETES = "kubernetes:"
_VARIABLES = ("DATASTORE_TYPE", "ETCD_ENDPOINTS", "ETCD_DISCOVERY_SRV")
TYPES = ("etcdv3", "kubernetes", "sqlite")


@dataclass(frozen=True, slots=True)
class Choice:
    """A datastore's URL, what its users show (None: what the environment says), and who said so.

    said is for etcd, access for Kubernetes.
    """

    url: str
    said: Said | None = None
    by: str = ""
    access: Access | None = None

    def open(self) -> Store:
        """The datastore; raises UsageError, StoreUnreachable."""
        from bgpnet.store.factory import open_store

        return open_store(self.url, said=self.said, access=self.access)


def settle(kind: tuple[str, str], endpoints: tuple[str, str], srv: tuple[str, str], said: Said) -> Choice | None:
    """Type, endpoints and DNS name (each with its own name where it was said) as one choice; None: nothing was said.

    Without a type it is etcd where there are endpoints. Raises UsageError.
    """
    if kind[0] not in ("", *TYPES):
        raise UsageError(f"{kind[1]} is {kind[0]!r}: must be one of {', '.join(TYPES)}")
    if kind[0] == "kubernetes":
        return Choice(KUBERNETES, said, kind[1])
    if kind[0] == "sqlite":
        return Choice(DEFAULT, said, kind[1])
    if srv[0]:
        problem = f"endpoints are not looked up in DNS; list them in {endpoints[1]} instead"
        raise UsageError(f"{srv[1]} is {srv[0]!r}: {problem}")
    if endpoints[0]:
        from bgpnet.store import etcd_options

        return Choice(etcd_options.url_of(*endpoints, said), said, endpoints[1])
    if kind[0]:
        raise UsageError(f"{kind[1]} is {kind[0]!r} and {endpoints[1]} is not set; set it to such as 10.0.0.1:2379")
    return None


def of_environment(environ: Mapping[str, str]) -> Choice | None:
    """What DATASTORE_TYPE, ETCD_ENDPOINTS and their like say, None when they say nothing; raises UsageError."""
    if not any(environ.get(f"{prefix}{name}") for name in _VARIABLES for prefix in ("", "CALICO_")):
        return None
    from bgpnet.store import etcd_options  # late: most datastores are SQLite's, and bgpnetctl is to start quickly

    kind, endpoints, srv = (etcd_options.variable(environ, name) for name in _VARIABLES)
    return settle(kind, endpoints, srv, etcd_options.of_environment(environ))
