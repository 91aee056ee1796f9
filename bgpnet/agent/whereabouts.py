"""Where this node is in Kubernetes: the way to its API server, its namespace, and addresses that others know of it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from bgpnet import config, files, kubeobjects
from bgpnet.autodetect import CAN_REACH, INTERNAL_IP, parse_method
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.kube import access
from bgpnet.kube.client import Api, connect
from bgpnet.model import ip
from bgpnet.model.ip import Address

log = logging.getLogger("bgpnet.agent")

REMEMBERED = "internal-ip"
"""The file in the state directory with the InternalIP that Kubernetes named last, for a start without it."""
ELSEWHERE = "kube-system"
"""The namespace of Secrets where the agent is in no pod."""
PATIENCE = 3.0
"""Seconds in which the API server has to answer what is remembered otherwise: no pod is wired before."""
PORT = 80
"""A UDP socket is connected to this port of the host; nothing is sent (source: Calico's can-reach)."""


def api(setting: str, datastore: str, environ: Mapping[str, str]) -> Api | None:
    """The API server that the setting `kubernetes` names; None: there is none. Raises UsageError."""
    if setting == config.NONE:
        return None
    own = access.in_cluster(environ)
    if setting == config.IN_CLUSTER:
        if own is None:
            raise UsageError(
                "kubernetes is 'in-cluster', and this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT "
                "are not set; write a kubeconfig's path instead"
            )
        return Api(own)
    if setting != config.AUTO:
        return connect(setting, environ=environ)
    if own is not None and Path(access.SERVICE_ACCOUNT, "token").exists():
        return Api(own)
    return connect(environ=environ) if datastore.startswith("kubernetes:") else None


def namespace(setting: str, folder: str = access.SERVICE_ACCOUNT) -> str:
    """Where Secrets are: as the setting says, else the pod's own."""
    try:
        return setting or Path(folder, "namespace").read_text().strip() or ELSEWHERE
    except OSError:
        return ELSEWHERE


def told(method: str, kubernetes: Api | None, node: str, state_dir: Path) -> Address | str | None:
    """What a method finds out that has to ask somebody: the address, or why there is none. None: it asks nobody."""
    parsed = parse_method(method)
    if parsed.kind == CAN_REACH:
        return reach(parsed.host)
    if parsed.kind == INTERNAL_IP:
        if kubernetes is None:
            return "this agent is told of no Kubernetes; set kubernetes to in-cluster or to a kubeconfig"
        return internal_ip(kubernetes, node, state_dir / REMEMBERED)
    return None


def reach(host: str) -> Address | str:
    """The address from which this machine would send to the host, or why there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, PORT))
            return ip.address(probe.getsockname()[0])
        except OSError as problem:
            return f"{host} cannot be reached ({problem.strerror})"


def internal_ip(kubernetes: Api, node: str, file: Path) -> Address | str:
    """The Node's first IPv4 InternalIP; while the API server does not answer, the one it named last."""
    known = _remembered(file)
    try:
        document = kubernetes.get(f"/api/v1/nodes/{node}", seconds=None if known is None else PATIENCE)
    except BgpnetError as problem:
        if known is None:
            return str(problem)
        log.warning("the node's InternalIP is taken to be %s, as before: %s", known, problem)
        return known
    if document is None:
        return f"Kubernetes has no Node {node}, set --node to the node's name there"
    for text in kubeobjects.node(document).internal_ips:
        if (found := _four(text)) is not None:
            if found != known:
                _remember(file, found)
            return found
    return f"Node {node} of Kubernetes has no IPv4 InternalIP yet"


def _four(text: str) -> Address | None:
    try:
        found = ip.address(text)
    except ValueError:
        return None
    return found if found.version == 4 else None


def _remembered(file: Path) -> Address | None:
    try:
        return _four(file.read_text().strip())
    except (OSError, UnicodeDecodeError):
        return None


def _remember(file: Path, found: Address) -> None:
    try:
        files.replace(file, f"{found}\n".encode(), 0o600)
    except OSError as problem:
        log.warning("%s cannot be written: %s; see to the disk", file, problem.strerror)
