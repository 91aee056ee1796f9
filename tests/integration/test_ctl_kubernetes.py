"""`bgpnetctl` with a real Kubernetes API server as its datastore."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_store
import pytest
import yaml
from full_store import block, everything, fill

from bgpnet import codec
from bgpnet.store.kubernetes import KubernetesStore

POOL = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: NAME}, spec: {cidr: CIDR}}"


@pytest.fixture
def store() -> Iterator[KubernetesStore]:
    made = kubernetes_store.empty_store()
    yield made
    made.close()


@pytest.fixture
def kubeconfig(store: KubernetesStore) -> Path:
    return kubernetes_store.shared_server().kubeconfig


def run(*args: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    ours = ("BGPNET_", "ETCD_", "KUBE", "K8S_", "DATASTORE", "CALICO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    argv = [sys.executable, "-m", "bgpnet_ctl", *args]
    return subprocess.run(
        argv, env=kept | environ, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def pool(name: str, cidr: str) -> str:
    return POOL.replace("NAME", name).replace("CIDR", cidr)


def test_the_life_of_a_pool(kubeconfig: Path) -> None:
    at = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(kubeconfig)}
    created = run("create", "-f", "-", stdin=pool("blue", "10.0.0.0/16"), **at)
    assert (created.returncode, created.stderr) == (0, "")
    again = run("create", "-f", "-", stdin=pool("blue", "10.0.0.0/16"), **at)
    assert "resource already exists: IPPool(blue)" in again.stderr
    assert run("get", "ippool", **at).stdout.splitlines()[1].split() == ["blue", "10.0.0.0/16", "all()"]
    got = run("get", "ippool", "blue", "-o", "yaml", **at).stdout
    stale = yaml.safe_load(got)
    changed = run("replace", "-f", "-", stdin=got.replace("natOutgoing: false", "natOutgoing: true"), **at)
    assert (changed.returncode, changed.stderr.count("not acted on")) == (0, changed.stderr.count("natOutgoing"))
    assert "update conflict: IPPool(blue)" in run("replace", "-f", "-", stdin=yaml.dump(stale), **at).stderr
    assert "overlaps with IPPool(blue)" in run("apply", "-f", "-", stdin=pool("red", "10.0.1.0/24"), **at).stderr
    assert run("apply", "-f", "-", stdin=pool("blue", "10.0.0.0/16"), **at).returncode == 0
    for name in ("blue?x", "blue#x", "?x", "..", "%62lue"):  # none of them is blue, nor all pools, nor the API's root
        for verb in ("get", "delete"):
            asked = run(verb, "ippool", name, **at)
            assert (asked.returncode, asked.stdout) == (1, ""), name
            assert f"resource does not exist: IPPool({name})" in asked.stderr
    assert run("delete", "ippool", "blue", **at).returncode == 0
    assert "resource does not exist: IPPool(blue)" in run("delete", "ippool", "blue", **at).stderr


def test_every_way_of_naming_the_api_server(kubeconfig: Path, store: KubernetesStore, tmp_path: Path) -> None:
    fill(store, everything())
    head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n"
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    inline = "".join(f"    {line}\n" for line in kubeconfig.read_text().splitlines())
    texts = [
        f"  datastoreType: kubernetes\n  kubeconfig: {kubeconfig}\n",
        f"  kubeconfigInline: |\n{inline}",
        f"  k8sAPIEndpoint: {cluster['server']}\n  k8sCAFile: {cluster['certificate-authority']}\n"
        f"  k8sCertFile: {user['client-certificate']}\n  k8sKeyFile: {user['client-key']}\n",
        f"  datastore: kubernetes://{kubeconfig}\n",
    ]
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.cfg"
        file.write_text(head + text)
        file.chmod(0o600)
        got = run("-c", str(file), "get", "ippools", "-o", "name")
        assert (got.stdout, got.stderr) == ("ippool/blue\nippool/six\n", ""), text
    variables = {"K8S_API_ENDPOINT": cluster["server"], "K8S_CA_FILE": cluster["certificate-authority"]}
    variables |= {"K8S_CERT_FILE": user["client-certificate"], "CALICO_K8S_KEY_FILE": user["client-key"]}
    for url, environ in (("kubernetes:", variables), (f"kubernetes://{kubeconfig}", {})):
        got = run("--datastore", url, "get", "ippools", "-o", "name", **environ)
        assert (got.stdout, got.stderr) == ("ippool/blue\nippool/six\n", "")


def test_the_context_that_is_named_counts(kubeconfig: Path, store: KubernetesStore, tmp_path: Path) -> None:
    fill(store, everything())
    tree = yaml.safe_load(kubeconfig.read_text())
    tree["clusters"].append({"name": "other", "cluster": {"server": "https://127.0.0.1:1"}})
    tree["contexts"].append({"name": "good", "context": tree["contexts"][0]["context"]})
    tree["contexts"].append({"name": "other", "context": {**tree["contexts"][0]["context"], "cluster": "other"}})
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.dump(tree | {"current-context": "other"}))
    url = f"kubernetes://{file}"
    ways = [
        run("--datastore", "kubernetes:", "--context", "good", "get", "ippools", "-o", "name", KUBECONFIG=str(file)),
        run("get", "ippools", "-o", "name", "--datastore", url, "--context", "good", K8S_CURRENT_CONTEXT="other"),
        run("--datastore", url, "get", "ippools", "-o", "name", K8S_CURRENT_CONTEXT="good"),
    ]
    assert [(got.stdout, got.stderr) for got in ways] == [("ippool/blue\nippool/six\n", "")] * 3
    assert "https://127.0.0.1:1" in run("--datastore", url, "get", "ippools").stderr
    unknown = run("--datastore", url, "--context", "nope", "get", "ippools")
    assert (unknown.returncode, "Context 'nope' not found" in unknown.stderr) == (2, True)
    mistaken = run("--context", "good", "get", "ippools")
    assert (mistaken.returncode, mistaken.stderr.count("\n")) == (2, 1)
    assert "--context 'good': is for a kubeconfig, and the datastore is another" in mistaken.stderr


def test_blocks_and_addresses(kubeconfig: Path, store: KubernetesStore) -> None:
    fill(store, everything())
    at = {"BGPNET_DATASTORE": f"kubernetes://{kubeconfig}"}
    shown = run("ipam", "show", "--show-blocks", **at)
    assert shown.returncode == 0
    assert "10.0.0.0/28" in shown.stdout
    assert "web-1" in run("ipam", "show", "--ip=10.0.0.1", **at).stdout
    assert run("get", "workloadendpoint", "-A", **at).stdout.count("default") == 2
    assert "still serves" in run("delete", "ippool", "blue", **at).stderr
    exported = run("datastore", "export", **at)
    assert (exported.returncode, exported.stderr) == (0, "")
    assert [each for each in codec.decode(exported.stdout) if each.metadata.name == block().metadata.name]


def test_what_is_wrong_with_the_way_there_is_said(kubeconfig: Path, tmp_path: Path) -> None:
    def said(url: str, **environ: str) -> str:
        done = run("--datastore", url, "get", "ippools", **environ)
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr

    nowhere = tmp_path / "nowhere.kubeconfig"
    nowhere.write_text(kubeconfig.read_text().replace(f":{kubernetes_store.shared_server().port}", ":1"))
    stranger = tmp_path / "stranger.kubeconfig"
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "hush-hush"}
    stranger.write_text(yaml.dump(config))
    junk = tmp_path / "junk.kubeconfig"
    junk.write_text("[")
    mary = kubernetes_store.shared_server().user("mary")
    assert "no Kubernetes API server is known: KUBECONFIG is not set" in said("kubernetes:", HOME=str(tmp_path))
    assert "there is no such file; name the kubeconfig" in said("kubernetes:///no/such/file")
    assert "see that it runs and can be reached from here" in said(f"kubernetes://{nowhere}")
    assert "does not accept our credentials" in said(f"kubernetes://{stranger}")
    assert f"kubeconfig {junk}: cannot be used" in said(f"kubernetes://{junk}")
    assert 'User "mary" cannot list resource "ippools" in API group "bgpnet.io"' in said(f"kubernetes://{mary}")
    assert "hush-hush" not in said(f"kubernetes://{stranger}")
