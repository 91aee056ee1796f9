"""Multus: several networks of one pod, each asked of its own plugin; bgpnet as the default one and as another."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agents import ROOT, SHARED, Process, eventually
from bridge import Bridge
from callers import BINS, CHAINED, CONFLIST, NETWORKS, Calling, calling, conflist
from kube_server import ApiServer, api_server
from programs import built
from test_agent_kubernetes import RULES, SYSTEM
from test_caller_cnitool import CACHE, Tool

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "k8s.cni.cncf.io"
TEXT = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"config": {"type": "string"}}}}}
CRD: dict[str, Any] = {
    "metadata": {"name": f"network-attachment-definitions.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "network-attachment-definitions", "kind": "NetworkAttachmentDefinition"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": TEXT}}],
    },
}
MAY: list[dict[str, Any]] = [
    {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "update"]},
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
]
"""As in multus-cni's deployments/multus-daemonset.yml; so is the CRD, less its words."""
OTHERS: dict[str, dict[str, Any]] = {
    "blue": {"cniVersion": "1.0.0", "type": "bgpnet", "capabilities": {"ips": True, "mac": True}},
    "wire": {"cniVersion": "1.0.0", "type": "ptp", "ipam": {"type": "host-local", "subnet": "198.51.100.0/24"}},
    "none": {"cniVersion": "1.0.0", "type": "bgpnet", "ipv4_pools": ["nowhere"]},
}
"""NetworkAttachmentDefinitions; Multus gives each its name."""
CNI = "cni.projectcalico.org"
HIDDEN = "/var/lib/cni/hidden"


@dataclass(slots=True)
class Site:
    """A node whose runtime calls Multus, and the API server that Multus and the agent ask."""

    node: Calling
    server: ApiServer
    tool: Tool

    def configure(self, **default: object) -> None:
        """What the runtime finds before ours. default: how it names the default network, which is ours."""
        config = {
            "cniVersion": "1.1.0",
            "name": "multus",
            "type": "multus",
            "binDir": BINS,
            "cniDir": "/var/lib/cni/multus",
            "kubeconfig": str(self.server.client.account("kube-system", "multus", MAY).kubeconfig),
            "logToStderr": False,
        }
        (self.node.made.folder / "net.d" / "00-multus.conf").write_text(json.dumps(config | default))

    def pod(self, name: str, networks: object, **annotations: str) -> None:
        """In the API, with a namespace on the node. networks: those that it selects besides the default one."""
        notes = {f"{CNI}/{key}": text for key, text in annotations.items()}
        notes["k8s.v1.cni.cncf.io/networks"] = json.dumps(networks)
        spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "none"}]}
        body = {"metadata": {"name": name, "annotations": notes}, "spec": spec}
        self.server.client.request("POST", "/api/v1/namespaces/test/pods", body)
        self.node.one.netns(name)

    def call(self, verb: str, pod: str) -> tuple[int, str]:
        """As the runtime has Multus called."""
        return self.tool.call(verb, pod, CNI_ARGS=f"IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME={pod}")

    def good(self, verb: str, pod: str) -> str:
        """It goes well; what it printed."""
        code, said = self.call(verb, pod)
        assert code == 0, f"{said}\n{self.node.one.log()}"
        return said

    def status(self, pod: str) -> list[dict[str, Any]]:
        """What Multus has written to the pod of its networks."""
        found = self.server.client.request("GET", f"/api/v1/namespaces/test/pods/{pod}")["metadata"]["annotations"]
        said: list[dict[str, Any]] = json.loads(found["k8s.v1.cni.cncf.io/network-status"])
        return said

    def addresses(self, pod: str) -> dict[str, str]:
        """The pod's, by its interfaces."""
        listed = json.loads(self.node.one.run("ip", "-n", pod, "-j", "-4", "address"))
        return {one["ifname"]: one["addr_info"][0]["local"] for one in listed if one["ifname"] != "lo"}

    def reached(self, address: str) -> bool:
        """Whether the node reaches it."""
        return self.node.one.lab.exec("n1", ["ping", "-n", "-c", "1", "-w", "10", address]).returncode == 0


def definitions(server: ApiServer) -> None:
    """The networks, once the API server knows what they are."""
    server.client.request("POST", CRDS, CRD)
    server.client.namespace("test")
    server.client.ensure("/api/v1/namespaces/test/serviceaccounts", {"metadata": {"name": "default"}})

    def established() -> bool:
        conditions = server.client.request("GET", f"{CRDS}/{CRD['metadata']['name']}")["status"].get("conditions", [])
        return {"Established": "True"}.items() <= {one["type"]: one["status"] for one in conditions}.items()

    eventually(established, server.log)
    for name, config in OTHERS.items():
        body = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name},
            "spec": {"config": json.dumps(config)},
        }
        server.client.request("POST", f"/apis/{GROUP}/v1/namespaces/test/network-attachment-definitions", body)


def installed(node: Calling, server: ApiServer) -> Site:
    """Multus, and the plugins of the other networks."""
    folder = node.made.folder
    shutil.copy(built("multus", "multus"), folder / "bin" / "multus")
    for one in ("ptp", "host-local"):
        shutil.copy(CHAINED / one, folder / "bin" / one)
    return Site(node, server, Tool(node, "multus"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Node, agent and API server; Multus is what the runtime calls."""
    with api_server(tmp_path / "api") as server, calling(tmp_path) as node, Bridge(server.port, tmp_path / "api.sock"):
        argv = [sys.executable, str(ROOT / "tests/support/bridge.py"), str(server.port), f"{SHARED}/api.sock"]
        bridge = Process(node.made.lab, "n1", argv, tmp_path / "bridge.log")
        bridge.start()
        definitions(server)
        account = server.client.account(SYSTEM, "bgpnet-node", RULES)
        node.one.agent.env |= {"BGPNET_KUBERNETES": str(account.kubeconfig), "BGPNET_KUBERNETES_NAMESPACE": SYSTEM}
        made = installed(node, server)
        made.configure(clusterNetwork=f"{NETWORKS}/{CONFLIST}")
        node.one.restart_agent()
        yield made
        bridge.end()


def test_three_networks_of_one_pod(site: Site) -> None:
    before = site.node.before()
    site.configure(delegates=[conflist(site.node)])  # so that CHECK asks it: of a clusterNetwork, Multus asks nobody
    site.pod("p", [{"name": "blue"}, {"name": "wire"}])
    site.good("status", "p")
    site.good("add", "p")
    addresses = site.addresses("p")
    told = {one["interface"]: (one["name"], one["ips"], one.get("default", False)) for one in site.status("p")}
    assert told == {
        "eth0": ("bgpnet", [addresses["eth0"]], True),
        "net1": ("test/blue", [addresses["net1"]], False),
        "net2": ("test/wire", [addresses["net2"]], False),
    }
    assert [one for one in addresses.values() if not site.reached(one)] == []
    site.good("check", "p")
    site.node.one.run("mv", CACHE, HIDDEN)  # libcni's own GC would delete what is there: cnitool lists nothing as valid
    site.good("gc", "p")
    site.node.one.run("sh", "-c", f"rm -rf {CACHE} && mv {HIDDEN} {CACHE}")
    assert [one for one in addresses.values() if not site.reached(one)] == []
    eventually(lambda: set(site.node.made.live()) == {addresses["eth0"], addresses["net1"]}, site.node.made.live)
    site.node.one.run("ip", "-n", "p", "route", "del", "default")
    code, said = site.call("check", "p")
    assert (code, "the pod has no default route via 169.254.1.1" in said) == (1, True), said
    assert not [one for one in site.node.one.status()["warnings"] if "00-multus.conf" in one]
    for _ in range(2):
        site.good("del", "p")
    site.node.one.run("ip", "netns", "del", "p")
    site.node.gone(before)


def test_what_is_asked_of_one_network_and_what_of_the_pod(site: Site) -> None:
    asked = {"name": "blue", "interface": "data0", "ips": ["10.244.0.10/32"], "mac": "02:00:00:00:00:44"}
    site.pod("p", [asked, {"name": "blue"}], ipAddrs='["10.244.0.9"]', hwAddr="02:00:00:00:00:33")
    site.good("add", "p")
    addresses = site.addresses("p")
    assert (addresses["eth0"], addresses["data0"]) == ("10.244.0.9", "10.244.0.10")
    assert [one["mac"] for one in site.status("p")][:2] == ["02:00:00:00:00:33", "02:00:00:00:00:44"]
    assert [one for one in addresses.values() if not site.reached(one)] == []
    site.good("del", "p")


def test_what_one_network_refuses_leaves_nothing_of_the_others(site: Site) -> None:
    before = site.node.before()
    site.pod("p", [{"name": "blue"}, {"name": "wire"}, {"name": "none"}])
    code, said = site.call("add", "p")
    assert (code, "nowhere" in said) == (1, True), said
    site.good("del", "p")
    site.node.one.run("ip", "netns", "del", "p")
    site.node.gone(before)
