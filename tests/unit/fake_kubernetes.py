"""A small honest Kubernetes API: Pods and Nodes with resourceVersions, in memory, that can be away."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from bgpnet.kube.errors import Refused, Unreachable

Json = dict[str, Any]
PODS, NODES = "/api/v1/pods", "/api/v1/nodes"


class FakeKubernetes:
    """What the controller asks of the API (controller/asked.py), and what others do with it."""

    def __init__(self) -> None:
        self.pods: dict[str, Json] = {}
        self.nodes: dict[str, Json] = {}
        self.away = False
        self._version = 0

    def put_pod(self, key: str, node: str, address: str, phase: str = "Running", created: str = "") -> None:
        """`namespace/name` as a kubelet says it."""
        namespace, _, name = key.partition("/")
        meta = {"namespace": namespace, "name": name, "uid": f"u-{key}", "creationTimestamp": created}
        ips = {"podIP": address, "podIPs": [{"ip": address}]} if address else {}
        self.pods[key] = self._new(meta, {"spec": {"nodeName": node}, "status": {"phase": phase, **ips}})

    def put_node(self, name: str, **labels: str) -> None:
        """A Node without any condition."""
        meta = {"name": name, "uid": f"u-{name}", "labels": labels}
        self.nodes[name] = self._new(meta, {"status": {"conditions": []}})

    def network(self, name: str) -> str:
        """The status of its condition NetworkUnavailable."""
        found = self.nodes[name]["status"]["conditions"]
        return next((str(one["status"]) for one in found if one["type"] == "NetworkUnavailable"), "")

    # the API

    def get(self, path: str) -> Json | None:
        """The object at that path, or None."""
        self._answer()
        parts = path.split("/")
        if parts[3] == "nodes":
            return deepcopy(self.nodes.get(parts[4]))
        return deepcopy(self.pods.get(f"{parts[4]}/{parts[6]}"))

    def list(self, path: str, *, labels: str = "", fields: str = "") -> tuple[list[Json], str]:
        """All of them, or the pods of the node that `fields` names."""
        self._answer()
        assert not labels
        found = list({PODS: self.pods, NODES: self.nodes}[path].values())
        if fields:
            name, _, node = fields.partition("=")
            assert name == "spec.nodeName"
            found = [one for one in found if one["spec"]["nodeName"] == node]
        return deepcopy(found), str(self._version)

    def patch(self, path: str, body: Mapping[str, Any], *, kind: str = "merge") -> Json:
        """A Node's conditions, by their types, at the resourceVersion of the body."""
        self._answer()
        name = path.removeprefix(f"{NODES}/").removesuffix("/status")
        assert (kind, path) == ("strategic", f"{NODES}/{name}/status")
        node = self.nodes.get(name)
        if node is None:
            raise Refused(f"{path}: not found", 404, "NotFound", "not found")
        if node["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Refused(f"{path}: conflict", 409, "Conflict", "the object has been modified")
        there = {one["type"]: one for one in node["status"]["conditions"]}
        there.update({one["type"]: one for one in body["status"]["conditions"]})
        node["status"]["conditions"] = list(there.values())
        self._version += 1
        node["metadata"]["resourceVersion"] = str(self._version)
        return deepcopy(node)

    def _answer(self) -> None:
        if self.away:
            raise Unreachable("the API server is away: wait for it")

    def _new(self, meta: Json, rest: Json) -> Json:
        self._version += 1
        return {"metadata": {**meta, "resourceVersion": str(self._version)}, **rest}
