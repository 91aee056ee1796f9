"""Where the agent is in Kubernetes: which API server, which namespace, and addresses that others name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bgpnet import config
from bgpnet.agent import whereabouts
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.kube import access
from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Unreachable
from bgpnet.model import ip


def answering(*addresses: str) -> Api:
    """An API server that has one Node, n1; its addresses as they are listed."""
    listed = [{"type": "InternalIP", "address": one} for one in addresses]

    def get(path: str, *, seconds: float | None = None) -> Json | None:
        there = path == "/api/v1/nodes/n1"
        return {"metadata": {"name": "n1"}, "status": {"addresses": listed}} if there else None

    return cast("Api", SimpleNamespace(get=get))


def silent() -> Api:
    """One that does not answer."""

    def get(path: str, *, seconds: float | None = None) -> Json | None:
        raise Unreachable("it is away")

    return cast("Api", SimpleNamespace(get=get))


METHOD = "kubernetes-internal-ip"


def test_the_internal_ip_is_the_first_of_ipv4_and_is_remembered(tmp_path: Path) -> None:
    assert whereabouts.told(METHOD, silent(), "n1", tmp_path) == "it is away"
    found = whereabouts.told(METHOD, answering("fd00::1", "nonsense", "192.0.2.1", "192.0.2.2"), "n1", tmp_path)
    assert found == ip.address("192.0.2.1")
    assert whereabouts.told(METHOD, silent(), "n1", tmp_path) == found
    (tmp_path / whereabouts.REMEMBERED).write_bytes(b"\xff\xfe")
    assert whereabouts.told(METHOD, silent(), "n1", tmp_path) == "it is away"


@pytest.mark.parametrize(
    ("kubernetes", "node", "words"),
    [
        (None, "n1", "this agent is told of no Kubernetes; set kubernetes to in-cluster or to a kubeconfig"),
        (answering(), "n2", "Kubernetes has no Node n2, set --node to the node's name there"),
        (answering("fd00::1"), "n1", "Node n1 of Kubernetes has no IPv4 InternalIP yet"),
    ],
)
def test_without_one_it_says_why(kubernetes: Api | None, node: str, words: str, tmp_path: Path) -> None:
    assert whereabouts.told(METHOD, kubernetes, node, tmp_path) == words


def test_a_disk_that_refuses_the_address_is_no_reason_to_have_none(tmp_path: Path) -> None:
    assert whereabouts.internal_ip(answering("192.0.2.1"), "n1", tmp_path / "none" / "file") == ip.address("192.0.2.1")


def test_the_way_to_a_host_starts_at_an_address() -> None:
    assert whereabouts.told("can-reach=127.0.0.1", None, "n1", Path("/")) == ip.address("127.0.0.1")
    assert str(whereabouts.reach("255.255.255.255")).startswith("255.255.255.255 cannot be reached (")
    assert whereabouts.told("first-found", None, "n1", Path("/")) is None


def test_whether_there_is_a_kubernetes() -> None:
    assert whereabouts.api(config.NONE, "kubernetes:", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None
    assert whereabouts.api(config.AUTO, "etcd://127.0.0.1:2379", {}) is None
    with pytest.raises(UsageError, match="/nowhere/kubeconfig"):
        whereabouts.api("/nowhere/kubeconfig", "sqlite:///x", {})
    with pytest.raises(BgpnetError, match="KUBECONFIG"):
        whereabouts.api(config.AUTO, "kubernetes:", {"KUBECONFIG": "/nowhere/kubeconfig"})


def test_secrets_are_in_the_agents_own_namespace(tmp_path: Path) -> None:
    assert whereabouts.namespace("", str(tmp_path)) == "kube-system"
    (tmp_path / "namespace").write_text("bgpnet-system\n")
    assert whereabouts.namespace("", str(tmp_path)) == "bgpnet-system"
    assert whereabouts.namespace("other", str(tmp_path)) == "other"


def test_a_pods_own_way_names_the_api_server() -> None:
    said = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    found = access.in_cluster(said)
    assert found is not None
    assert (found.server, found.service_account) == ("https://10.96.0.1:443", access.SERVICE_ACCOUNT)
    six = access.in_cluster({**said, "KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert six is not None
    assert six.server == "https://[fd00::1]:443"
    assert access.find("", said) == found
    assert access.in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) is None
    with pytest.raises(UsageError, match="KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"):
        whereabouts.api(config.IN_CLUSTER, "kubernetes:", {})
