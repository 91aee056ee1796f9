"""Feeds: each blocks, decodes, and tells the view. None of them decides anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from bgpnet.controller.asked import Kubernetes
from bgpnet.controller.view import KINDS, View
from bgpnet.errors import Compacted, StoreError
from bgpnet.kube.client import Api
from bgpnet.kube.reflector import Listed, follow
from bgpnet.model.kinds import Kind
from bgpnet.store.repo import Gone, Repo, prefix
from bgpnet.threads import start

RETRY = 1.0
"""Seconds until a datastore that did not answer is asked again."""
PODS, NODES = "/api/v1/pods", "/api/v1/nodes"


def start_all(repo: Repo, api: Api | None, view: View, stop: threading.Event) -> None:
    """A thread for each kind of the datastore, and for the Pods and Nodes of Kubernetes."""
    for kind in KINDS:
        start(f"feed-{kind.plural}", datastore, repo, kind, view, stop)
    if api is not None:
        start("pods", lambda: follow(api, PODS, view.pods, stop.is_set))
        start("nodes", lambda: follow(api, NODES, view.nodes, stop.is_set))


def datastore(repo: Repo, kind: Kind, view: View, stop: threading.Event) -> None:
    """List, then follow; on any trouble list again, so that no absence is missed."""
    while not stop.is_set():
        try:
            resources, revision = repo.list(kind)
            view.listed(kind, resources, broken(repo, kind))
            for item in repo.watch(kind, revision, stop.is_set):
                if isinstance(item, Gone):
                    view.deleted(kind, item.name)
                elif item is not None:
                    view.changed(kind, item)
        except Compacted:
            continue
        except StoreError as problem:
            view.store_away(kind, str(problem))
            stop.wait(RETRY)


def look(repo: Repo, api: Kubernetes | None, view: View) -> None:
    """Everything once; raises BgpnetError."""
    for kind in KINDS:
        view.listed(kind, repo.list(kind)[0], broken(repo, kind))
    if api is not None:
        view.pods(Listed(tuple(api.list(PODS)[0])))
        view.nodes(Listed(tuple(api.list(NODES)[0])))


def broken(repo: Repo, kind: Kind) -> Iterator[str]:
    """The names of stored objects of the kind that cannot be read: they exist all the same."""
    start_ = prefix(kind)
    return (one.subject.removeprefix(start_) for one in repo.broken if one.subject.startswith(start_))
