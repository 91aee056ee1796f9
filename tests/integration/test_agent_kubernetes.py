"""A real agent beside a real Kubernetes API server: annotations, Events, Services, Secrets, its Node, and outages.

The agent has the permissions that it is documented to need and no others. Its pods are made by the CNI program; no
kubelet runs, and a pod exists in the API only where a test needs it there.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from agents import ROOT, SHARED, Cluster, Machine, Process, Said, cluster, eventually
from bird_peer import Bird
from bridge import Bridge
from kube_client import RBAC, Account, Refused
from kube_server import ApiServer, api_server

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SYSTEM = "bgpnet-system"
RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["namespaces", "nodes"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]
"""What the agent may do in the whole cluster."""
RESOURCES = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: blue}
spec: {cidr: 10.250.0.0/16, ipipMode: Never, assignmentMode: Manual}
---
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default}
spec:
  serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}]
"""
GUARDED = """
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.0.2.77, asNumber: 65001, password: {secretKeyRef: {name: passwords, key: tor}}}
"""
POOLS = "cni.projectcalico.org/ipv4pools"
CAPABILITY = "io.kubernetes.cri.pod-annotations"
NODE = "/api/v1/nodes"


class Site:
    """One node, whose agent is an account of the API server, and a BIRD that hears what it announces."""

    def __init__(self, server: ApiServer, made: Cluster) -> None:
        self.server, self.made = server, made
        self.account: Account = server.client.account(SYSTEM, "bgpnet-node", RULES)
        self.n1: Machine = made[0]
        self.n1.agent.env |= {"BGPNET_KUBERNETES": str(self.account.kubeconfig), "BGPNET_KUBERNETES_NAMESPACE": SYSTEM}
        argv = [sys.executable, str(ROOT / "tests/support/bridge.py"), str(server.port), f"{SHARED}/api.sock"]
        self.bridge = Process(made.lab, "n1", argv, made.folder / "bridge.log")
        self.n1.ctl("create", "-f", "-", stdin=RESOURCES)
        self.bird = Bird(made)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As an administrator."""
        return self.server.client.request(method, path, body)

    def warns(self, words: str, *, yes: bool = True) -> None:
        """Wait until a warning of the agent's has these words, or none has."""
        eventually(
            lambda: any(words in one for one in self.n1.status()["warnings"]) is yes,
            lambda: f"{words!r}: {self.n1.status()['warnings']}\n{self.n1.log()[-3000:]}",
        )

    def namespace(self, name: str, **annotations: str) -> None:
        """One with these annotations, which are Calico's."""
        notes = {f"cni.projectcalico.org/{key}": text for key, text in annotations.items()}
        self.server.client.ensure("/api/v1/namespaces", {"metadata": {"name": name, "annotations": notes}})

    def add(
        self, name: str, namespace: str, annotations: dict[str, str] | None = None, uid: str = "", link: str = ""
    ) -> Said:
        """ADD as a kubelet's runtime has it; annotations: as the runtime passes them, or (None) does not.

        link: one that the pod's namespace has already.
        """
        self.n1.netns(name)
        if link:  # somebody was there before
            self.n1.run("ip", "-n", name, "link", "add", link, "type", "veth", "peer", "name", "other")
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"
        passed = {} if annotations is None else {"runtimeConfig": {CAPABILITY: annotations}}
        text = json.dumps({"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet", **passed})
        return self.n1.cni("ADD", f"c-{name}", name, config=text, args=args)

    def address(self, said: Said) -> str:
        """The address that an ADD gave."""
        assert said.code == 0, f"{said.raw}\n{self.n1.log()[-3000:]}"
        return str(said.said["ips"][0]["address"])

    def pod(self, name: str, namespace: str, annotations: dict[str, str]) -> str:
        """A pod in the API; its UID."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.server.client.ensure(accounts, {"metadata": {"name": "default"}})
        spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "none"}]}
        body = {"metadata": {"name": name, "annotations": annotations}, "spec": spec}
        made = self.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        return str(made["metadata"]["uid"])

    def internal_ip(self, address: str) -> None:
        """What the kubelet says of its node."""
        status = {"addresses": [{"type": "InternalIP", "address": address}]}
        self.request("PATCH", f"{NODE}/n1/status", {"metadata": {"name": "n1"}, "status": status})

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """The Events there."""
        return list(self.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything runs and is in sync."""
    folder = tmp_path_factory.mktemp("kube")
    with ExitStack() as stack:
        server = stack.enter_context(api_server(folder / "kube"))
        made = stack.enter_context(cluster(folder, 1, f"kubeagent{os.getpid()}"))
        stack.enter_context(Bridge(server.port, folder / "api.sock"))
        here = Site(server, made)
        here.request("POST", NODE, {"metadata": {"name": "n1", "labels": {"rack": "a"}}})
        here.internal_ip("192.0.2.1")
        for process in (here.bridge, here.bird.process):
            stack.callback(process.end)
        here.bridge.start()
        here.bird.start()
        made.start()
        here.n1.ready(peers=1)
        yield here


def test_a_pods_annotation_and_its_namespaces_choose_the_pool(site: Site) -> None:
    site.namespace("plain")
    site.namespace("blue", ipv4pools='["blue"]')
    assert site.address(site.add("a", "plain", {})).startswith("10.244.")
    assert site.address(site.add("b", "plain", {POOLS: '["blue"]'})).startswith("10.250.")
    assert site.address(site.add("c", "blue", {})).startswith("10.250.")
    assert site.address(site.add("d", "blue", {POOLS: '["pods"]'})).startswith("10.244.")


def test_a_namespace_made_a_moment_ago_is_known_at_once(site: Site) -> None:
    for number in range(5):
        site.namespace(f"new{number}", ipv4pools='["blue"]')
        assert site.address(site.add(f"n{number}", f"new{number}", {})).startswith("10.250.")


def test_a_runtime_that_passes_no_annotations_has_the_api_asked(site: Site) -> None:
    site.namespace("plain")
    site.pod("asked-of", "plain", {POOLS: '["blue"]'})
    assert site.address(site.add("asked-of", "plain")).startswith("10.250.")


def test_a_refused_pod_gets_an_event_that_says_what_to_do(site: Site) -> None:
    site.namespace("bad")
    uid = site.pod("bad", "bad", {POOLS: "blue"})
    refused = site.add("bad", "bad", {POOLS: "blue"}, uid)
    assert refused.code == 1
    eventually(lambda: bool(site.events("bad")), site.n1.log)
    for number in range(5):
        site.n1.cni("DEL", "c-bad", "bad", pod="bad")
        again = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bad;K8S_POD_NAME=bad;K8S_POD_UID={uid}"
        passed = {"runtimeConfig": {CAPABILITY: {POOLS: "blue"}}}
        text = json.dumps({"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet", **passed})
        assert site.n1.cni("ADD", f"c-bad{number}", "bad", config=text, args=again).code == 1
    site.namespace("other")
    uid = site.pod("other", "other", {})
    site.add("other", "other", {POOLS: '["none"]'}, uid)
    eventually(lambda: bool(site.events("other")), site.n1.log)  # after all of the first, which one thread writes
    [event] = site.events("bad")
    assert event["message"] == refused.message
    assert f"annotation {POOLS} of pod bad/bad = 'blue' is not JSON: write a list" in event["message"]
    assert (event["type"], event["reason"], event["source"]["host"]) == ("Warning", "NoAddress", "n1")
    assert event["involvedObject"]["name"] == "bad"


def test_a_pod_that_the_kernel_refuses_gets_an_event_too(site: Site) -> None:
    site.namespace("wired")
    uid = site.pod("taken", "wired", {})
    refused = site.add("taken", "wired", {}, uid, link="eth0")
    assert refused.error == 102
    eventually(lambda: bool(site.events("wired")), site.n1.log)
    [event] = site.events("wired")
    assert (event["reason"], event["message"]) == ("NotWired", refused.message)


def test_our_node_has_what_its_kubernetes_node_says(site: Site) -> None:
    def node() -> dict[str, Any]:
        return dict(json.loads(site.n1.ctl("get", "node", "n1", "-o", "json")))

    eventually(lambda: node()["metadata"].get("labels", {}).get("rack") == "a", lambda: node())
    assert node()["spec"]["orchRefs"] == [{"nodeName": "n1", "orchestrator": "k8s"}]
    assert node()["spec"]["addresses"] == [{"address": "192.0.2.1", "type": "InternalIP"}]
    site.request("PATCH", f"{NODE}/n1", {"metadata": {"labels": {"rack": None, "zone": "z"}}})
    eventually(lambda: node()["metadata"].get("labels") == {"zone": "z"}, lambda: node())


def service(site: Site, name: str, address: str) -> None:
    """A balanced Service whose traffic stays where its endpoints are."""
    site.namespace("shop")
    path = "/api/v1/namespaces/shop/services"
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}
    site.server.client.ensure(path, {"metadata": {"name": name}, "spec": spec})
    ready = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    site.request("PATCH", f"{path}/{name}/status", ready)


def endpoints(site: Site, name: str, ready: bool) -> None:
    """Its one endpoint, on this node."""
    path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    body = {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [],
        "endpoints": [{"addresses": ["10.244.0.9"], "nodeName": "n1", "conditions": {"ready": ready}}],
    }
    site.server.client.ensure(path, body)
    site.request("PATCH", f"{path}/{name}", {"endpoints": body["endpoints"]})


def test_a_services_address_is_announced_while_an_endpoint_is_here(site: Site) -> None:
    service(site, "web", "203.0.113.9")
    site.bird.hears("203.0.113.0/24", "n1")
    endpoints(site, "web", ready=True)
    site.bird.hears("203.0.113.9/32", "n1")
    endpoints(site, "web", ready=False)
    site.bird.hears("203.0.113.9/32")
    endpoints(site, "web", ready=True)
    site.bird.hears("203.0.113.9/32", "n1")


def test_a_password_is_followed_in_its_secret_and_no_other_may_be_read(site: Site) -> None:
    site.n1.ctl("create", "-f", "-", stdin=GUARDED)
    site.warns("Secret passwords cannot be followed")
    role = {"metadata": {"name": "passwords"}, "rules": [secret_rule("passwords")]}
    roles = f"{RBAC}/namespaces/{SYSTEM}"
    site.server.client.ensure(f"{roles}/roles", role)
    binding = {
        "metadata": {"name": "passwords"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "passwords"},
        "subjects": [{"kind": "ServiceAccount", "namespace": SYSTEM, "name": "bgpnet-node"}],
    }
    site.server.client.ensure(f"{roles}/rolebindings", binding)
    site.warns("Secret bgpnet-system/passwords does not exist")
    first, second = (base64.b64encode(word).decode() for word in (b"s3cret", b"another"))  # in the file, too
    secret = {"metadata": {"name": "passwords"}, "data": {"tor": first}}
    site.request("POST", f"/api/v1/namespaces/{SYSTEM}/secrets", secret)
    conf = site.n1.root / "run/bgpnet/exabgp.conf"
    eventually(lambda: first in conf.read_text(), site.n1.log)
    site.request("PATCH", f"/api/v1/namespaces/{SYSTEM}/secrets/passwords", {"data": {"tor": second}})
    eventually(lambda: first not in conf.read_text() and second in conf.read_text(), site.n1.log)
    assert "s3cret" not in site.n1.log()
    site.n1.ctl("delete", "bgppeer", "tor")
    site.warns("passwords", yes=False)


def secret_rule(name: str) -> dict[str, Any]:
    """What docs/bgp-policy.md has people grant: this one Secret."""
    return {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get", "list", "watch"]}


def test_pods_start_and_nothing_is_withdrawn_while_the_api_server_is_away(site: Site) -> None:
    service(site, "held", "203.0.113.77")
    endpoints(site, "held", ready=True)
    site.namespace("plain")
    site.namespace("blue", ipv4pools='["blue"]')
    site.bird.hears("203.0.113.77/32", "n1")
    site.server.kill()
    site.warns("Kubernetes' namespaces cannot be followed")
    assert site.address(site.add("down", "plain", {})).startswith("10.244.")
    site.n1.restart_agent()
    site.warns("Kubernetes' namespaces cannot be followed")
    assert site.address(site.add("down-blue", "blue", {})).startswith("10.250.")  # as the former agent heard of it
    unknown = site.add("down-new", "unheard-of", {})
    assert unknown.error == 11
    assert "namespace unheard-of is not known yet: " in unknown.message
    assert site.bird.heard_from("203.0.113.77/32") == {"n1"}
    site.server.start()
    site.warns("Kubernetes' namespaces cannot be followed", yes=False)
    endpoints(site, "held", ready=False)
    site.bird.hears("203.0.113.77/32")


def test_a_pod_that_waits_for_a_frozen_api_server_delays_no_other(site: Site) -> None:
    site.namespace("plain")
    with ThreadPoolExecutor(1) as other:
        site.server.pause()
        try:
            waits = other.submit(site.add, "frozen", "never-made", {})
            eventually(lambda: "frozen" in site.n1.run("ip", "netns"), "the ADD does not begin")
            for number in range(3):
                assert site.address(site.add(f"swift{number}", "plain", {})).startswith("10.244.")
        finally:
            site.server.resume()
        assert waits.result(60).error in (0, 11)  # it was asked about in time, or the runtime is to try again


def test_what_changed_while_etcd_forgot_it_is_heard_of(site: Site) -> None:
    service(site, "gone", "203.0.113.78")
    endpoints(site, "gone", ready=True)
    site.bird.hears("203.0.113.78/32", "n1")
    site.server.kill()
    site.warns("Kubernetes' EndpointSlices cannot be followed")
    site.server.start()
    endpoints(site, "gone", ready=False)
    site.server.compact()
    site.bird.hears("203.0.113.78/32")


def test_a_token_that_is_replaced_and_refused_is_read_anew(site: Site) -> None:
    token = site.account.renew(1)

    def refused() -> bool:
        try:
            site.server.client.request("GET", "/api/v1/namespaces", token=token)
        except Refused as problem:
            return problem.status == 401
        return False

    eventually(refused, "the token is still taken")
    site.account.renew()
    site.namespace("after", ipv4pools='["blue"]')
    assert site.address(site.add("after", "after", {})).startswith("10.250.")


def test_another_internal_ip_is_warned_of_and_health_is_served(site: Site) -> None:
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9099/%s', timeout=20).read().decode())"
    for page, word in (("livez", "n1"), ("readyz", "ok")):
        assert site.n1.run(sys.executable, "-c", ask % page).strip() == word
    site.internal_ip("10.9.9.9")
    site.warns("this node's address 192.0.2.1 on eth1 is not the InternalIP of its Kubernetes Node (10.9.9.9)")


def test_the_node_address_is_the_internal_ip(site: Site) -> None:
    site.internal_ip("192.0.2.1")
    site.n1.agent.end()
    site.n1.run("ip", "address", "add", "198.51.100.1/24", "dev", "eth1")
    site.n1.agent.env |= {"BGPNET_IP": "", "BGPNET_IP_AUTODETECTION_METHOD": "kubernetes-internal-ip"}
    site.n1.agent.start()
    site.n1.ready(peers=1)
    assert site.n1.status()["address"] == "192.0.2.1/24"
    site.server.kill()
    site.n1.restart_agent()
    assert site.n1.status()["address"] == "192.0.2.1/24"
    site.n1.agent.env |= {"BGPNET_IP_AUTODETECTION_METHOD": "can-reach=192.0.2.100"}
    site.n1.restart_agent()
    assert site.n1.status()["address"] == "192.0.2.1/24"
    site.server.start()
