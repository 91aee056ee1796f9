"""What the tests run on a cluster: pods that say who they are and who asks, behind a Service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import eventually
from kube_images import BOX
from kubectl import Kubectl

Json = dict[str, Any]
PORT = 8080
WITHIN = 100.0
"""Seconds in which pods and nodes have to reach each other."""
SYSTEM = "bgpnet-system"
"""The namespace of bgpnet's own pods."""
COREDNS = Path(__file__).parent / "coredns.yaml"


def pod_spec(word: str = "$(NAME)", **more: Any) -> Json:
    """A pod that answers on PORT with the word, by default its name, and the caller's address."""
    container = {
        "name": "box",
        "image": BOX,
        "args": ["serve", str(PORT), word],
        "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    return {"containers": [container], "terminationGracePeriodSeconds": 1, **more}


def deployment(name: str, replicas: int, **spec: Any) -> Json:
    """So many of these pods, labelled app=name, spread over the nodes."""
    labels = {"app": name}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return _of_pods("Deployment", name, {"replicas": replicas}, pod_spec(topologySpreadConstraints=[spread], **spec))


def pod(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """One of these pods."""
    metadata = {"name": name, "labels": {"app": name}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(**spec)}


def on_nodes(name: str, port: int) -> Json:
    """A DaemonSet on the nodes' own network, which answers on that port with "NODE" and the caller's address."""
    spec = pod_spec(hostNetwork=True, tolerations=[{"operator": "Exists"}])
    container = spec["containers"][0]
    container["args"] = ["serve", str(port), "$(NAME)"]
    container["env"] = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return _of_pods("DaemonSet", name, {}, spec)


def job(name: str, completions: int, *argv: str) -> Json:
    """A Job: so many pods that execute this, all at once."""
    container = {"name": "box", "image": BOX, "command": list(argv)}
    spec = {
        "completions": completions,
        "parallelism": completions,
        "backoffLimit": 3,
        "template": {"spec": {"containers": [container], "restartPolicy": "Never"}},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str, replicas: int, annotations: dict[str, str], **spec: Any) -> Json:
    """A StatefulSet of these pods, all started at once, with annotations."""
    more = {"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel"}
    made = _of_pods("StatefulSet", name, more, pod_spec(**spec))
    made["spec"]["template"]["metadata"]["annotations"] = annotations
    return made


def _of_pods(kind: str, name: str, more: Json, spec: Json) -> Json:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **more},
    }


def service(name: str, **spec: Any) -> Json:
    """A Service of port 80 before the pods labelled app=name."""
    ports = [{"port": 80, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def ask(kubectl: Kubectl, pod: str, targets: Sequence[tuple[str, int]]) -> list[str]:
    """What each of the addresses and ports answers to the pod: "WORD to CALLER" each."""
    text = "; ".join(f"/pod ask {address} {port}; echo" for address, port in targets)
    return kubectl.exec(pod, "sh", "-c", text).splitlines()


def eventually_said(kubectl: Kubectl, pod: Json, targets: Sequence[tuple[str, int]], expected: Sequence[str]) -> None:
    """Wait until that is what they answer to the pod: other nodes hear of a pod's block, and of a Service's rules, in
    their own time; and so long an answer may be a refusal, and an exec one of the kubelet's. Not for so long that an
    agent gives up waiting for a peer's table (120 s): it has to come about by itself."""
    text = "; ".join(f"/pod ask {address} {port}; echo" for address, port in targets)
    told: list[str] = []

    def same() -> bool:
        done = kubectl.try_("exec", name(pod), "--", "sh", "-c", text)
        told[:] = [*done.stdout.splitlines(), done.stderr]
        return told[:-1] == list(expected)

    eventually(same, lambda: f"{told}, not {expected}", WITHIN)


def address(pod: Json) -> str:
    """The pod's, by Kubernetes' word."""
    return str(pod["status"]["podIP"])


def name(thing: Json) -> str:
    """An object's name."""
    return str(thing["metadata"]["name"])


def uid(thing: Json) -> str:
    """What tells an object from a later one of its name."""
    return str(thing["metadata"]["uid"])
