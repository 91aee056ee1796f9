"""The kinds around pools and peers: columns, references between them, and what is derived from blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgpnet import names
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli

Run = Callable[..., Result]
HEAD = "apiVersion: projectcalico.org/v3\nkind: "
FILTER = HEAD + "BGPFilter\nmetadata: {name: f}\nspec: {exportV4: [{action: Accept}], importV6: [{action: Reject}]}\n"
PEER = HEAD + "BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.1, asNumber: 65001, filters: [f]}\n"
SETTINGS = f"""\
{HEAD}IPReservation
metadata: {{name: routers}}
spec: {{reservedCIDRs: [10.0.0.1, 10.0.0.4/30]}}
---
{HEAD}IPAMConfiguration
metadata: {{name: default}}
spec: {{strictAffinity: true, maxBlocksPerHost: 8}}
---
{HEAD}ClusterInformation
metadata: {{name: default}}
spec: {{clusterGUID: 6b1e8bb8a3a94f1a9cd14a0e1f3f7d55, clusterType: "k8s,bgp", calicoVersion: v3.31.2}}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.db"


@pytest.fixture
def run(url: str) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": None}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def test_settings_are_shown_in_calicoctls_columns(run: Run) -> None:
    assert run("apply", "-f", "-", stdin=SETTINGS).exit_code == 0
    assert run("get", "ipreservation").stdout == "NAME\nrouters\n\n"
    assert run("get", "reservations", "-o", "wide").stdout == ("NAME      CIDRS\nrouters   10.0.0.1/32,10.0.0.4/30\n\n")
    assert run("get", "ipamconfig").stdout == (
        "NAME      STRICTAFFINITY   AUTOALLOCATEBLOCKS\ndefault   true             true\n\n"
    )
    assert run("get", "ipamconfiguration", "-o", "wide").stdout == (
        "NAME      STRICTAFFINITY   AUTOALLOCATEBLOCKS   MAXBLOCKSPERHOST\n"
        "default   true             true                 8\n\n"
    )
    assert run("get", "clusterinfo").stdout == (
        "NAME      CLUSTERGUID                        CLUSTERTYPE   CALICOVERSION   DATASTOREREADY\n"
        "default   6b1e8bb8a3a94f1a9cd14a0e1f3f7d55   k8s,bgp       v3.31.2         -\n\n"
    )


def test_a_filter_goes_before_the_peer_that_names_it_and_stays_while_it_does(run: Run) -> None:
    applied = run("apply", "-f", "-", stdin=f"{PEER}---\n{FILTER}")
    assert applied.stdout == "Successfully applied 2 resource(s)\n"
    assert run("get", "bgpfilter").stdout == (
        "NAME   NUMEXPORTV4   NUMIMPORTV4   NUMEXPORTV6   NUMIMPORTV6\n"
        "f      1             0             0             1\n\n"
    )
    kept = run("delete", "bgpf", "f")
    assert kept.exit_code == 1
    assert "is named in spec.filters of BGPPeer(s) p; take it out there, or delete those first" in kept.stderr
    assert run("delete", "-f", "-", stdin=f"{FILTER}---\n{PEER}").stdout == "Successfully deleted 2 resource(s)\n"


def test_a_peer_that_names_no_filter_keeps_everything_from_being_written(run: Run) -> None:
    refused = run("apply", "-f", "-", stdin=f"{SETTINGS}---\n{PEER}")
    assert refused.exit_code == 1
    assert "BGPPeer(p): spec.filters = ['f']: BGPFilter(s) not found: f; create them first" in refused.stderr
    assert run("get", "reservations", "-o", "name").stdout == ""


@pytest.fixture
def blocks(url: str) -> None:
    pods = {0: ("default/web-1", "c1"), 1: ("prod/web-1", "c2"), 2: ("", "c3")}
    allocations = {
        ordinal: Allocation(pod=pod, container=container, ifname="eth0", since="2026-01-01T00:00:00Z", sequence=1)
        for ordinal, (pod, container) in pods.items()
    }
    spec = IPAMBlockSpec(cidr="10.0.0.0/29", owner=Owner(name="n1", uid="u"), allocations=allocations)
    store = open_store(url)
    Repo(store).write(IPAMBlock(metadata=Metadata(name="10-0-0-0-29"), spec=spec))
    store.close()


@pytest.mark.usefixtures("blocks")
def test_endpoints_and_affinities_follow_from_the_blocks(run: Run) -> None:
    links = [names.pod_link(pod, cid, "eth0") for pod, cid in (("", "c3"), ("default/web-1", ""), ("prod/web-1", ""))]
    assert run("get", "wep").stdout == (
        "WORKLOAD   NODE   NETWORKS      INTERFACE\n"
        f"c3         n1     10.0.0.2/32   {links[0]}\n"
        f"web-1      n1     10.0.0.0/32   {links[1]}\n"
        f"web-1      n1     10.0.0.1/32   {links[2]}\n\n"
    )
    assert run("get", "weps", "-A").stdout.splitlines()[:3] == [
        "NAMESPACE   WORKLOAD   NODE   NETWORKS      INTERFACE",
        f"-           c3         n1     10.0.0.2/32   {links[0]}",
        f"default     web-1      n1     10.0.0.0/32   {links[1]}",
    ]
    assert run("get", "wep", "-n", "prod", "-o", "wide").stdout == (
        "NAME                 WORKLOAD   NODE   NETWORKS      INTERFACE         PROFILES   NATS\n"
        f"n1-k8s-web--1-eth0   web-1      n1     10.0.0.1/32   {links[2]}   -          -\n\n"
    )
    assert run("get", "wep", "n1-cni-c3-eth0", "-o", "name").stdout == "workloadendpoint/n1-cni-c3-eth0\n"
    assert run("get", "blockaffinity").stdout == (
        "NAME             CIDR          NODE   STATE\nn1-10-0-0-0-29   10.0.0.0/29   n1     confirmed\n\n"
    )


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("kind", "name"), [("wep", "n1-cni-c3-eth0"), ("blockaffinity", "n1-10-0-0-0-29")])
def test_what_is_derived_is_not_written_and_the_refusal_says_where_it_comes_from(
    run: Run, kind: str, name: str
) -> None:
    shown = run("get", kind, name, "-o", "yaml").stdout
    for verb in ("create", "apply", "replace", "delete"):
        refused = run(verb, "-f", "-", stdin=shown)
        assert refused.exit_code == 1
        assert "is derived from the " in refused.stderr
        assert "IPAMBlock" in refused.stderr
    assert run("get", kind, name, "-o", "yaml").stdout == shown
    missing = run("get", kind, "nobody")
    assert (missing.exit_code, "does not exist" in missing.stderr) == (1, True)


def test_what_was_for_a_deleted_node_alone_is_named(run: Run) -> None:
    for name in ("n1", "n2"):
        of_node = PEER.replace("name: p", f"name: {name}-tor").replace(", filters: [f]", f", node: {name}")
        settings = HEAD + f"BGPConfiguration\nmetadata: {{name: node.{name}}}\nspec: {{listenPort: 1179}}\n"
        node = HEAD + f"Node\nmetadata: {{name: {name}}}\nspec: {{}}\n"
        assert run("apply", "-f", "-", stdin=f"{of_node}---\n{settings}---\n{node}").exit_code == 0
    deleted = run("delete", "node", "n1")
    assert (deleted.exit_code, deleted.stdout) == (0, "Successfully deleted 1 'Node' resource(s)\n")
    assert deleted.stderr.splitlines() == [
        f"Warning: {of} was for a node that is deleted now: if it does not come back, `bgpnetctl delete {words}`"
        for of, words in (
            ("BGPPeer(n1-tor)", "bgppeer n1-tor"),
            ("BGPConfiguration(node.n1)", "bgpconfiguration node.n1"),
        )
    ]


def test_namespaces_are_for_namespaced_kinds(run: Run, url: str) -> None:
    open_store(url).close()
    both = run("get", "wep", "-A", "-n", "a")
    assert both.exit_code == 2
    assert "cannot use both --namespace and --all-namespaces flags at the same time" in both.stderr
    wrong = run("get", "ippool", "-n", "a")
    assert wrong.exit_code == 2
    assert "namespace should not be specified for a non-namespaced resource. IPPool is not" in wrong.stderr
    assert run("get", "ippool", "-A").exit_code == 0
