"""What the tests run on a cluster: pods that say who they are and who asks, behind a Service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kube_images import BOX
from kubectl import Kubectl

Json = dict[str, Any]
PORT = 8080
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
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(topologySpreadConstraints=[spread], **spec)},
        },
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


def address(pod: Json) -> str:
    """The pod's, by Kubernetes' word."""
    return str(pod["status"]["podIP"])


def name(thing: Json) -> str:
    """An object's name."""
    return str(thing["metadata"]["name"])
