"""manifests/ by the real ones: kubectl renders and applies them, an API server judges who may do what."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from agents import eventually
from kube_server import ApiServer, api_server
from programs import built

from bgpnet.agent.status import NEEDED
from bgpnet.controller import view
from bgpnet.errors import StoreError
from bgpnet.kube.client import Api, connect
from bgpnet.kube.errors import Unauthorised
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock, IPAMBlockSpec, Owner
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestSpec, ReleaseRequestStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.kubernetes import KubernetesStore
from bgpnet.store.repo import Repo

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
Object = dict[str, Any]


def kubectl(*argv: str, kubeconfig: Path | None = None, stdin: str = "") -> str:
    """What it prints; it has to succeed."""
    config = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    done = subprocess.run(
        [built("kubernetes", "kubectl"), *config, *argv], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"kubectl {' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout


def rendered(folder: Path) -> dict[str, Object]:
    """The objects of a kustomization, by kind and name."""
    return named(kubectl("kustomize", str(folder)))


def named(text: str) -> dict[str, Object]:
    """The objects of a YAML stream, by kind and name."""
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(text)}


def own(tmp_path: Path, text: str) -> str:
    """What a kustomization of one's own renders, in which bgpnet/manifests is ours."""
    (ROOT / "build").mkdir(exist_ok=True)
    mine = Path(mkdtemp(dir=ROOT / "build", prefix=tmp_path.name))  # kustomize takes relative folders only
    (mine / "kustomization.yaml").write_text(text.replace("bgpnet/manifests", "../../manifests"))
    try:
        return kubectl("kustomize", str(mine))
    finally:
        (mine / "kustomization.yaml").unlink()
        mine.rmdir()


def environment(one: Object, name: str) -> Object:
    """What a container of it is told."""
    pod = one["spec"]["template"]["spec"]
    container = next(it for it in [*pod.get("initContainers", []), *pod["containers"]] if it["name"] == name)
    return {it["name"]: it.get("value", it.get("valueFrom")) for it in container["env"]}


def test_kubectl_renders_the_one_file() -> None:
    file = yaml.safe_load_all((MANIFESTS / "bgpnet.yaml").read_text())
    assert rendered(MANIFESTS) == {f"{one['kind']}/{one['metadata']['name']}": one for one in file}, "make manifests"


def test_on_etcd_there_is_nothing_of_the_datastore_kubernetes(tmp_path: Path) -> None:
    """As docs/kubernetes.md has it: a kustomization of one's own names image and etcd."""
    found = named(own(tmp_path, MINE))
    assert not [name for name in found if name.startswith("CustomResourceDefinition") or "resources" in name]
    node, controller = found["DaemonSet/bgpnet-node"], found["Deployment/bgpnet-controller"]
    name = next(one.partition("/")[2] for one in found if one.startswith("ConfigMap/bgpnet-datastore"))
    assert found[f"ConfigMap/{name}"]["data"] == {"url": "etcd://10.0.0.1:2379,10.0.0.2:2379"}
    wanted = {"configMapKeyRef": {"key": "url", "name": name}}
    for one, container in ((node, "agent"), (controller, "controller"), (controller, "first-pool")):
        said = environment(one, container)
        assert said["BGPNET_DATASTORE"] == wanted
        assert said["ETCD_KEY_FILE"] == "/etc/etcd/tls.key"
    images = {one["image"] for it in (node, controller) for one in it["spec"]["template"]["spec"]["containers"]}
    assert images == {"registry.example/net/bgpnet:1.2.3"}


MINE = """
namespace: bgpnet-system
resources: [bgpnet/manifests/etcd-tls]
images: [{name: bgpnet, newName: registry.example/net/bgpnet, newTag: 1.2.3}]
configMapGenerator:
  - name: bgpnet-datastore
    behavior: merge
    literals: ["url=etcd://10.0.0.1:2379,10.0.0.2:2379"]
"""


def test_the_first_pool_with_vxlan() -> None:
    said = environment(rendered(MANIFESTS / "vxlan")["Deployment/bgpnet-controller"], "first-pool")
    assert (said["BGPNET_IPV4POOL_IPIP"], said["BGPNET_IPV4POOL_VXLAN"]) == ("Never", "Always")
    assert said["BGPNET_IPV4POOL_CIDR"] == "10.244.0.0/16"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster's API server with manifests/ applied."""
    with api_server(tmp_path_factory.mktemp("kube")) as made:
        kubectl("apply", "-k", str(MANIFESTS), kubeconfig=made.kubeconfig)
        names = [one["metadata"]["name"] for one in yaml.safe_load_all((MANIFESTS / "bgpnet.yaml").read_text())]
        definitions = [f"crd/{name}" for name in names if name.endswith(".bgpnet.io")]
        kubectl("wait", "--for=condition=Established", "--timeout=100s", *definitions, kubeconfig=made.kubeconfig)
        yield made


class Cluster:
    """The API server, and connections to it that are closed in the end."""

    def __init__(self, server: ApiServer, stack: ExitStack) -> None:
        self.server, self._stack = server, stack

    def account(self, name: str) -> Path:
        """The kubeconfig of one who may do what that ServiceAccount may; empty: of one who may do everything."""
        groups = ("system:serviceaccounts", "system:authenticated")
        return (
            self.server.user(f"system:serviceaccount:bgpnet-system:{name}", *groups) if name else self.server.kubeconfig
        )

    def api(self, name: str = "") -> Api:
        """The API, as that account sees it."""
        made = connect(str(self.account(name)))
        self._stack.callback(made.close)
        return made

    def repo(self, name: str = "") -> Repo:
        """Our resources, as that account sees them."""
        return Repo(KubernetesStore(self.api(name)))

    def kubectl(self, *argv: str, stdin: str = "") -> str:
        """As an administrator."""
        return kubectl(*argv, kubeconfig=self.server.kubeconfig, stdin=stdin)

    def init(self, **env: str) -> str:
        """`bgpnet init`, as the controller's init container runs it."""
        return self.run("bgpnet-controller", "bgpnet", "init", **env)

    def run(self, account: str, module: str, *argv: str, **env: str) -> str:
        """What one of our programs prints, as it runs in that account's container."""
        environ = {"KUBECONFIG": str(self.account(account)), "BGPNET_DATASTORE": "kubernetes:", "COLUMNS": "200", **env}
        done = subprocess.run(
            [sys.executable, "-m", module, *argv], env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture
def cluster(server: ApiServer) -> Iterator[Cluster]:
    """For one test."""
    with ExitStack() as stack:
        yield Cluster(server, stack)


def test_both_forms_are_one_and_an_upgrade_leaves_pools_alone(cluster: Cluster) -> None:
    said = cluster.kubectl("apply", "-f", str(MANIFESTS / "bgpnet.yaml"))
    assert [line for line in said.splitlines() if not line.endswith(" unchanged")] == []

    assert cluster.init().startswith("created the first pool default-ipv4-ippool")
    patch = json.dumps({"spec": {"natOutgoing": False, "ipipMode": "CrossSubnet"}})
    pool = "ippools.bgpnet.io/default-ipv4-ippool"
    cluster.kubectl("patch", pool, "--type=merge", "-p", patch)
    cluster.kubectl("apply", "-k", str(MANIFESTS))
    assert "nothing is changed" in cluster.init(BGPNET_IPV4POOL_IPIP="Always")
    spec = json.loads(cluster.kubectl("get", pool, "-o", "json"))["spec"]
    assert (spec["natOutgoing"], spec["ipipMode"]) == (False, "CrossSubnet")
    cluster.kubectl("delete", pool)
    cluster.init()
    assert cluster.kubectl("get", "ippools.bgpnet.io", "-o", "name") == ""


ELSEWHERE = """
namespace: elsewhere
resources: [bgpnet/manifests/{folder}]
images: [{{name: bgpnet, newName: "registry.example:5000/net/bgpnet", newTag: 1.2.3}}]
"""


@pytest.mark.parametrize("folder", ["", "vxlan", "etcd", "etcd-tls", "remove"])
def test_every_folder_is_taken_strictly_in_any_namespace(cluster: Cluster, tmp_path: Path, folder: str) -> None:
    text = own(tmp_path, ELSEWHERE.format(folder=folder))
    assert "bgpnet-system" not in text
    assert set(re.findall("image: (.*)", text)) == {"registry.example:5000/net/bgpnet:1.2.3"}
    taken(cluster, text)


def taken(cluster: Cluster, text: str) -> None:
    """The API server would take all of it, and knows every field."""
    for one in named(text).values():
        if one["kind"] == "Namespace":  # what is only tried makes none for what is in it
            cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(one))
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert len(said.splitlines()) == len(named(text))


def kustomizations() -> list[str]:
    """Those of docs/kubernetes.md, each whole: what it leaves out is that it stands on manifests/."""
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", (ROOT / "docs/kubernetes.md").read_text(), re.MULTILINE)
    found = [
        textwrap.dedent(one).strip() for one in blocks if re.search(r"^    (resources|patches):", one, re.MULTILINE)
    ]
    return [one if "resources:" in one else f"resources: [bgpnet/manifests]\n{one}" for one in found]


@pytest.mark.parametrize("text", kustomizations())
def test_the_kustomizations_of_the_documentation(cluster: Cluster, tmp_path: Path, text: str) -> None:
    taken(cluster, own(tmp_path, text.partition("\n\n")[0]))  # a command may follow


OWNER = Owner(name="n1", uid="11111111-1111-4111-8111-111111111111")
BLOCK = IPAMBlock(
    metadata=Metadata(name="10-244-0-0-26"),
    spec=IPAMBlockSpec(cidr="10.244.0.0/26", owner=OWNER, claimedAt="2026-11-21T12:00:00Z", free=(0,)),
)
REQUEST = ReleaseRequest(
    metadata=Metadata(name="10-244-0-5-7"), spec=ReleaseRequestSpec(node="n1", address="10.244.0.5", sequence=7)
)


def refused(call: Any, *arguments: Any) -> None:
    """The API server forbids it."""
    with pytest.raises(StoreError, match="is forbidden"):
        call(*arguments)


def test_an_agent_may_do_what_agents_do_and_no_more(cluster: Cluster) -> None:
    admin, agent = cluster.repo(), cluster.repo("bgpnet-node")
    for kind in NEEDED:
        _, revision = agent.list(kind)
        assert next(iter(agent.watch(kind, revision, lambda: False))) is None, kind.plural
    node = agent.create(Node(metadata=Metadata(name="n1")))
    agent.write(node)
    block = agent.write(BLOCK)
    agent.remove(agent.write(block))
    asked = admin.write(REQUEST)
    assert isinstance(asked, ReleaseRequest)
    answered = ReleaseRequest(
        metadata=asked.metadata, spec=asked.spec, status=ReleaseRequestStatus(outcome=next(iter(Outcome)))
    )
    agent.remove(agent.write(answered))
    refused(agent.create, IPPool(metadata=Metadata(name="mine"), spec=IPPoolSpec(cidr="10.9.0.0/16")))
    refused(agent.delete, kinds.NODE, "n1")
    refused(agent.write, ReleaseRequest(metadata=Metadata(name="x"), spec=REQUEST.spec))
    api = cluster.api("bgpnet-node")
    for path in ("/api/v1/nodes", "/api/v1/namespaces", "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"):
        api.list(path)
    assert api.get("/api/v1/namespaces/default/pods/none") is None
    for path in ("/api/v1/secrets", "/api/v1/namespaces/bgpnet-system/secrets", "/api/v1/pods", "/api/v1/configmaps"):
        with pytest.raises(Unauthorised):
            api.list(path)
    admin.delete(kinds.NODE, "n1")


def test_what_people_run_in_the_agents_container_is_allowed(cluster: Cluster) -> None:
    """docs/kubernetes.md, *Check*."""
    assert "NAME" in cluster.run("bgpnet-node", "bgpnet_ctl", "get", "nodes")
    cluster.run("bgpnet-node", "bgpnet_ctl", "get", "clusterinformation", "-o", "yaml")
    cluster.run("bgpnet-node", "bgpnet_ctl", "ipam", "show", "--show-blocks")
    assert "found 0 problems" in cluster.run("bgpnet-node", "bgpnet_ctl", "ipam", "check", "--settle", "0")
    assert "kind: IPPool" not in cluster.run("bgpnet-node", "bgpnet_ctl", "datastore", "export")


def test_a_password_needs_a_role_of_its_own(cluster: Cluster) -> None:
    """As docs/kubernetes.md says it."""
    doc = (ROOT / "docs/kubernetes.md").read_text()
    text = doc[doc.index("apiVersion: rbac.authorization.k8s.io/v1") :].partition("\n    YAML")[0]
    role = "\n".join(line.removeprefix("    ") for line in text.splitlines())
    for name in ("tor-password", "another"):
        cluster.kubectl("-n", "bgpnet-system", "create", "secret", "generic", name, "--from-literal=p=x")
    cluster.kubectl("apply", "-f", "-", stdin=role)
    api = cluster.api("bgpnet-node")
    path = "/api/v1/namespaces/bgpnet-system/secrets"

    def allowed() -> bool:
        try:
            return api.get(f"{path}/tor-password") is not None
        except Unauthorised:
            return False

    eventually(allowed, "the Role is not in force")
    assert len(api.list(path, fields="metadata.name=tor-password")[0]) == 1
    with pytest.raises(Unauthorised):
        api.get(f"{path}/another")


def test_a_controller_may_do_what_it_does_and_no_more(cluster: Cluster) -> None:
    admin, controller = cluster.repo(), cluster.repo("bgpnet-controller")
    for kind in view.KINDS:
        _, revision = controller.list(kind)
        assert next(iter(controller.watch(kind, revision, lambda: False))) is None, kind.plural
    refused(controller.list, kinds.BGPFILTER)
    admin.create(Node(metadata=Metadata(name="n2")))
    controller.remove(controller.write(admin.write(BLOCK)))
    controller.remove(controller.write(REQUEST))
    controller.delete(kinds.NODE, "n2")
    refused(controller.create, Node(metadata=Metadata(name="n3")))
    refused(controller.write, BLOCK)
    api = cluster.api("bgpnet-controller")
    api.list("/api/v1/pods")
    with pytest.raises(Unauthorised):
        api.list("/api/v1/secrets")
