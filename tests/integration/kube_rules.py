"""A real kube-proxy in a node of a test, with a real API server on this machine's loopback, and a Service of pods."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agents import Machine, eventually
from kube_client import Json
from kube_server import ApiServer
from programs import built

from bgpnet.kernel.netns import run_inside

PORT, NODE_PORT, POD_PORT = 80, 30080, 8000
CLUSTER_IP, EMPTY = "10.96.0.80", "10.96.0.81"
"""Of the Service, and of one without pods."""
LOOK = 0.2
"""Seconds after which the relay looks whether it is over."""


def service(server: ApiServer, nodes: Mapping[str, str], pods: Mapping[str, str]) -> None:
    """Nodes by name with their addresses, and a Service `web` of pods by address with their nodes."""
    for name, address in nodes.items():
        server.client.ensure("/api/v1/nodes", {"metadata": {"name": name}})
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        server.client.request("PATCH", f"/api/v1/nodes/{name}/status", status)
    server.client.namespace("default")
    port: Json = {"name": "http", "port": PORT, "targetPort": POD_PORT, "nodePort": NODE_PORT, "protocol": "TCP"}
    spec = {"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": [port]}
    server.client.ensure("/api/v1/namespaces/default/services", {"metadata": {"name": "web"}, "spec": spec})
    empty = {"type": "ClusterIP", "clusterIP": EMPTY, "ports": [{"port": PORT, "protocol": "TCP"}]}
    server.client.ensure("/api/v1/namespaces/default/services", {"metadata": {"name": "none"}, "spec": empty})
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    server.client.ensure(
        slices,
        {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": POD_PORT, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [address], "nodeName": node, "conditions": {"ready": True}}
                for address, node in pods.items()
            ],
        },
    )


@contextmanager
def kube_proxy(server: ApiServer, machine: Machine, mode: str, folder: Path) -> Iterator[None]:
    """It runs in the node meanwhile, in that mode (iptables, nftables, ipvs), until its rules know the Service."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(server.kubeconfig)},
        "clusterCIDR": "10.244.0.0/16",
        "conntrack": {"maxPerCore": 0},
        "hostnameOverride": machine.name,
        "mode": mode,
        "oomScoreAdj": 0,
    }
    file = folder / f"kube-proxy-{machine.name}-{mode}.json"
    file.write_text(json.dumps(config))
    proxy = machine.process(f"kube-proxy-{mode}", built("kubernetes", "kube-proxy"), f"--config={file}")
    with relay(machine, server.port):
        proxy.start()
        try:
            eventually(lambda: CLUSTER_IP in rules(machine, mode), lambda: proxy.log.read_text()[-3000:])
            yield
        finally:
            proxy.end()


def rules(machine: Machine, mode: str) -> str:
    """What kube-proxy has written."""
    if mode == "nftables":
        return machine.run("nft", "list", "table", "ip", "kube-proxy", check=False)
    return machine.run("iptables-save")


@contextmanager
def relay(machine: Machine, port: int) -> Iterator[None]:
    """The port of this machine's loopback on the node's loopback."""
    listening = run_inside(machine.place.netns, lambda: socket.create_server(("127.0.0.1", port)))
    over = threading.Event()
    threads = [threading.Thread(target=_serve, args=(listening, port, over))]
    threads[0].start()
    try:
        yield
    finally:
        over.set()
        threads[0].join(60)
        listening.close()


def _serve(listening: socket.socket, port: int, over: threading.Event) -> None:
    """One thread for all connections, until it is over."""
    other: dict[socket.socket, socket.socket] = {}
    while not over.is_set():
        for one in select.select([listening, *other], [], [], LOOK)[0]:
            if one is listening:
                near, far = listening.accept()[0], socket.create_connection(("127.0.0.1", port))
                other |= {near: far, far: near}
            elif one in other and not _passed(one, other[one]):
                for end in (other.pop(one), one):
                    other.pop(end, None)
                    end.close()
    for one in other:
        one.close()


def _passed(source: socket.socket, target: socket.socket) -> bool:
    """Whether something was passed on; else one of them has ended."""
    with suppress(OSError):
        if said := source.recv(1 << 16):
            target.sendall(said)
            return True
    return False
