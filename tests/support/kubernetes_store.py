"""Our kinds on a real Kubernetes API server, as a datastore for tests."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import yaml
from kube_server import PATIENCE, ApiServer, shared_api_server

from bgpnet.kube.client import Api, connect
from bgpnet.kube.crd import definitions
from bgpnet.kube.errors import KubeError
from bgpnet.lab.wait import until
from bgpnet.store import kubernetes_objects as objects
from bgpnet.store.kubernetes import KubernetesStore

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def install(kubeconfig: Path) -> None:
    """Our kinds on that server; waits until it serves them all."""
    api = connect(str(kubeconfig))
    for text in definitions.files().values():
        tree = yaml.safe_load(text)
        if tree["kind"] == "CustomResourceDefinition":
            api.patch(f"{DEFINITIONS}/{tree['metadata']['name']}", tree, kind="apply")
    for kind in objects.STORED.values():
        until(partial(_missing, api, objects.collection(kind)), PATIENCE)
    api.close()


def _missing(api: Api, path: str) -> str:
    """What is the matter with a list."""
    try:
        api.list(path)
    except KubeError as error:
        return str(error)
    return ""


@cache
def shared_server() -> ApiServer:
    """The server of all tests that break nothing, with our kinds."""
    server = shared_api_server()
    install(server.kubeconfig)
    return server


def empty_store() -> KubernetesStore:
    """A store in it, with nothing in it."""
    store = KubernetesStore(connect(str(shared_server().kubeconfig)))
    for entry in store.list("/").entries:
        store.delete(entry.key, None)
    return store
