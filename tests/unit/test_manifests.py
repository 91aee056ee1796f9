"""manifests/: what is installed in a cluster, read as YAML: nothing privileged, nobody with more rights than it uses.

That kubectl renders the folders, and an API server takes them, is tested with the real ones (tests/integration).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgpnet import config, conflist
from bgpnet.agent.status import NEEDED
from bgpnet.controller import view
from bgpnet.kernel import sysctl
from bgpnet.model.kinds import KINDS
from bgpnet.setup.main import command as init
from bgpnet.version import VERSION

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
Object = dict[str, Any]
HOST_PATHS = {
    "/run/bgpnet", "/var/lib/bgpnet", "/opt/cni/bin", "/etc/cni/net.d", "/proc/sys/net", "/run/netns",
    "/run/xtables.lock",
}  # fmt: skip


def documents(file: Path) -> list[Object]:
    """All of a file."""
    return [one for one in yaml.safe_load_all(file.read_text()) if one]


def resources(folder: Path) -> Iterator[Object]:
    """All that a kustomization without patches names, in its order, with its images."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(said) <= {"apiVersion", "kind", "resources", "images"}, f"{folder}: more than this test reads"
    tags = {one["name"]: one["newTag"] for one in said.get("images", ())}
    for name in said["resources"]:
        place = (folder / name).resolve()
        for one in resources(place) if place.is_dir() else documents(place):
            for container in containers(one):
                if tag := tags.get(container["image"]):
                    container["image"] += f":{tag}"
            yield one


def template(one: Object) -> Object:
    """The pods' own specification; empty for what has no pods."""
    found: Object = (
        one.get("spec", {}).get("template", {}).get("spec", {}) if one["kind"] != "CustomResourceDefinition" else {}
    )
    return found


def containers(one: Object) -> list[Object]:
    """Those that run first, and those that stay."""
    pod = template(one)
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def key(one: Object) -> str:
    """Kind and name."""
    return f"{one['kind']}/{one['metadata']['name']}"


ALL = {key(one): one for one in resources(MANIFESTS)}
NODE, CONTROLLER = ALL["DaemonSet/bgpnet-node"], ALL["Deployment/bgpnet-controller"]
PODS = {name: one for name, one in ALL.items() if template(one)}
EVERY = [(key(one), container["name"], container) for one in PODS.values() for container in containers(one)]


def container(name: str) -> Object:
    """The one of that name."""
    return next(one for _, found, one in EVERY if found == name)


def environment(name: str) -> Object:
    """What it is told."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(name).get("env", ())}


def test_the_one_file_is_current() -> None:
    rendered = {key(one): one for one in documents(MANIFESTS / "bgpnet.yaml")}
    assert rendered == ALL, "run `make manifests`"


def test_everything_is_there_and_nothing_else() -> None:
    kinds = [one["kind"] for one in ALL.values()]
    assert {kind: kinds.count(kind) for kind in kinds if kind != "CustomResourceDefinition"} == {
        "Namespace": 1, "ServiceAccount": 2, "ClusterRole": 4, "ClusterRoleBinding": 4, "DaemonSet": 1, "Deployment": 1,
    }  # fmt: skip


def test_what_has_a_namespace_is_in_ours() -> None:
    for one in ALL.values():
        if one["kind"] in ("ServiceAccount", "DaemonSet", "Deployment"):
            assert one["metadata"]["namespace"] == "bgpnet-system"
        for subject in one.get("subjects", ()):
            assert subject["namespace"] == "bgpnet-system"


def test_every_image_is_this_version_and_nothing_pulls_what_is_there() -> None:
    assert {one["image"] for _, _, one in EVERY} == {f"bgpnet:{VERSION}"}
    assert {one["imagePullPolicy"] for _, _, one in EVERY} == {"IfNotPresent"}


@pytest.mark.parametrize(("where", "name", "one"), EVERY, ids=[f"{where}-{name}" for where, name, _ in EVERY])
def test_no_container_has_more_than_it_needs(where: str, name: str, one: Object) -> None:
    security = one["securityContext"]
    assert security.get("privileged", False) is False
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    allowed = {"agent": {"NET_ADMIN", "SYS_ADMIN", "NET_RAW"}, "speaker": {"NET_ADMIN", "NET_BIND_SERVICE"}}
    assert set(security["capabilities"].get("add", ())) == allowed.get(name, set())
    assert {"cpu", "memory"} <= set(one["resources"]["requests"])
    pod = template(ALL[where])
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.get("hostPID")
    assert not pod.get("hostIPC")


def test_the_controller_is_not_root_and_sees_nothing_of_its_node() -> None:
    pod = template(CONTROLLER)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert not [one for one in pod["volumes"] if "hostPath" in one]


def test_only_the_agent_can_speak_to_the_api_server_on_a_node() -> None:
    pod = template(NODE)
    assert pod["automountServiceAccountToken"] is False
    with_token = [
        one["name"]
        for one in containers(NODE)
        for mount in one["volumeMounts"]
        if "serviceaccount" in mount["mountPath"]
    ]
    assert with_token == ["agent"]
    assert ALL["ServiceAccount/bgpnet-node"]["automountServiceAccountToken"] is False


def test_the_hosts_paths_and_who_may_write_them() -> None:
    volumes = {one["name"]: one["hostPath"]["path"] for one in template(NODE)["volumes"] if "hostPath" in one}
    assert set(volumes.values()) == HOST_PATHS
    writable = {
        one["name"]: {
            volumes[mount["name"]]
            for mount in one["volumeMounts"]
            if mount["name"] in volumes and not mount.get("readOnly")
        }
        for one in containers(NODE)
    }
    assert writable == {
        "install-cni": {"/opt/cni/bin"},
        "agent": HOST_PATHS - {"/opt/cni/bin", "/run/netns"},
        "speaker": {"/run/bgpnet"},
    }
    for one in containers(NODE):
        for mount in one["volumeMounts"]:
            path = volumes.get(mount["name"])
            # sockets and plugins have the same path on both sides, as the programs of the host name them to the agent
            assert path in (None, mount["mountPath"], "/proc/sys/net")


def test_paths_are_those_of_the_programs() -> None:
    mounts = {one["mountPath"] for one in container("agent")["volumeMounts"]}
    assert str(sysctl.HOSTS / "net") in mounts
    assert {conflist.CONF_DIR, conflist.BIN_DIR, str(Path(conflist.SOCKET).parent)} <= mounts
    assert config.Settings().run_dir in mounts
    assert config.Settings().state_dir in mounts
    assert str(Path(config.FILE).parent) in mounts


def test_what_the_agent_is_told_are_settings() -> None:
    said = environment("agent")
    assert said["BGPNET_NODE"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    settings = {name: "kubernetes:" if isinstance(value, dict) else value for name, value in said.items()}
    settings["BGPNET_NODE"] = "n1"
    assert config.load({}, settings, {}).cni_conf_dir == conflist.CONF_DIR


def test_what_the_first_pool_is_made_from_are_options_of_its_command() -> None:
    known = {name for option in init.params for name in (option.envvar or ())} | {"BGPNET_DATASTORE"}
    assert set(environment("first-pool")) <= known


def test_the_patches_of_the_documentation_meet_what_they_mean() -> None:
    """docs/kubernetes.md names list elements by number."""
    doc = (ROOT / "docs/kubernetes.md").read_text()
    assert "initContainers/0/env/1/value, value: 10.1.0.0/16" in doc
    assert template(CONTROLLER)["initContainers"][0]["env"][1]["name"] == "BGPNET_IPV4POOL_CIDR"
    remove = next(one for one in documents(MANIFESTS / "remove/remove.yaml") if one["kind"] == "DaemonSet")
    for one in (NODE, remove):
        volumes = [volume["name"] for volume in template(one)["volumes"]]
        patch = doc.partition(f"{{kind: DaemonSet, name: {one['metadata']['name']}}}\n")[2].partition("\n\n")[0]
        found = dict(re.findall(r"volumes/(\d+)/hostPath/path, value: (\S+)}", patch))
        assert {volumes[int(number)]: path.endswith("net.d") for number, path in found.items()} == {
            "cni-bin": False, "cni-conf": True,
        }  # fmt: skip
    assert template(NODE)["containers"][0]["name"] == "agent"


def test_no_pool_is_applied() -> None:
    """An upgrade applies the manifests again: it must not undo what people did to a pool."""
    assert not [name for name, one in ALL.items() if one["apiVersion"].startswith("bgpnet.io")]


def test_a_network_starts_first_on_every_node_and_stays() -> None:
    pod = template(NODE)
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["hostNetwork"] is True
    assert pod["enableServiceLinks"] is False
    assert NODE["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    assert pod["terminationGracePeriodSeconds"] <= 5
    assert not [one for one in containers(NODE) if "lifecycle" in one]


def test_probes_ask_this_machine_alone_and_no_port_twice() -> None:
    ports = {}
    for _, name, one in EVERY:
        probes = [one[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in one]
        assert {probe["host"] for probe in probes} <= {"127.0.0.1"}
        ports[name] = {probe["port"] for probe in probes}
    assert ports["agent"] == {9099}
    assert ports["controller"] == {9094}
    assert ports["speaker"] == set()


def test_removal_has_the_same_paths_and_no_token() -> None:
    found = next(one for one in documents(MANIFESTS / "remove/remove.yaml") if one["kind"] == "DaemonSet")
    pod = template(found)
    assert pod["automountServiceAccountToken"] is False
    paths = {one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}
    assert paths == {"/run/bgpnet", "/var/lib/bgpnet", "/opt/cni/bin", "/etc/cni/net.d", "/run/xtables.lock"}
    for one in containers(found):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert set(one["securityContext"]["capabilities"].get("add", ())) <= {"NET_ADMIN", "NET_RAW"}
    said = yaml.safe_load((MANIFESTS / "remove/kustomization.yaml").read_text())
    assert said["images"] == [{"name": "bgpnet", "newTag": VERSION}]


def rules(account: str) -> dict[str, set[str]]:
    """What the ServiceAccount may do, by `group/resource`."""
    roles = [
        one["roleRef"]["name"]
        for one in ALL.values()
        if one["kind"] == "ClusterRoleBinding" and one["subjects"][0]["name"] == account
    ]
    found: dict[str, set[str]] = {}
    for role in roles:
        for rule in ALL[f"ClusterRole/{role}"]["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return found


READ = {"get", "list", "watch"}


def test_nobody_has_a_right_to_everything_or_to_secrets() -> None:
    for account in ("bgpnet-node", "bgpnet-controller"):
        for resource, verbs in rules(account).items():
            assert "*" not in resource
            assert "*" not in verbs
            assert resource not in ("/secrets", "/pods/exec", "/serviceaccounts/token")
            if not resource.startswith("bgpnet.io/"):
                allowed = {"/events": {"create", "patch"}, "/nodes/status": {"patch"}}
                assert verbs <= allowed.get(resource, READ), resource


def written(account: str) -> dict[str, set[str]]:
    """What the ServiceAccount may do to our resources, besides reading them."""
    found = {
        name.removeprefix("bgpnet.io/"): verbs - READ for name, verbs in rules(account).items() if "bgpnet.io" in name
    }
    return {name: verbs for name, verbs in found.items() if verbs}


def test_the_agent_reads_what_it_needs_and_writes_what_is_its_own() -> None:
    found = rules("bgpnet-node")
    for kind in NEEDED:
        assert found[f"bgpnet.io/{kind.plural}"] >= READ, kind.plural
    assert found["bgpnet.io/clusterinformations"] == READ  # for `bgpnetctl ipam check` and `get` in its container
    assert written("bgpnet-node") == {
        "ipamblocks": {"create", "patch", "delete"},
        "nodes": {"create", "patch"},
        "nodes/status": {"patch"},
        "releaserequests": {"delete"},
        "releaserequests/status": {"patch"},
    }


def test_the_controller_reads_what_it_follows_and_no_more() -> None:
    found = {name.removeprefix("bgpnet.io/"): verbs & READ for name, verbs in rules("bgpnet-controller").items()}
    followed = {kind.plural: READ for kind in view.KINDS}
    assert {name: verbs for name, verbs in found.items() if verbs} == {
        **followed, "clusterinformations": {"get"}, "/nodes": READ, "/pods": READ,
    }  # fmt: skip


def test_the_controller_changes_no_pool_and_claims_no_block() -> None:
    assert written("bgpnet-controller") == {
        "bgpconfigurations": {"delete"},
        "bgppeers": {"delete"},
        "clusterinformations": {"create", "patch"},
        "ipamblocks": {"patch", "delete"},
        "ippools": {"create"},
        "ippools/status": {"patch"},
        "nodes": {"patch", "delete"},
        "releaserequests": {"create", "delete"},
    }


def test_a_status_is_written_where_there_is_one() -> None:
    with_status = {
        one["spec"]["names"]["plural"]
        for one in ALL.values()
        if one["kind"] == "CustomResourceDefinition" and "subresources" in one["spec"]["versions"][0]
    }
    for account in ("bgpnet-node", "bgpnet-controller"):
        for name in written(account):
            plural, slash, _ = name.partition("/")
            assert not slash or plural in with_status


def test_rights_are_to_resources_that_there_are() -> None:
    stored = {kind.plural for kind in KINDS if not kind.computed}
    for account in ("bgpnet-node", "bgpnet-controller"):
        for name in rules(account):
            if name.startswith("bgpnet.io/"):
                assert name.removeprefix("bgpnet.io/").partition("/")[0] in stored


def test_every_stored_kind_has_its_definition() -> None:
    found = {one["spec"]["names"]["plural"] for one in ALL.values() if one["kind"] == "CustomResourceDefinition"}
    assert found == {kind.plural for kind in KINDS if not kind.computed}
    listed = yaml.safe_load((MANIFESTS / "crds/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(
        one.name for one in (MANIFESTS / "crds").glob("*.yaml") if one.name != "kustomization.yaml"
    )


def test_the_image_is_built_with_what_is_pinned() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.match(r"[A-Za-z0-9_-]+", one) for one in wanted]
    for name in names:
        assert name
        assert name[0].lower() in {one.lower() for one in pinned}, "run `scripts/pin`"
