"""`ipam check` and `ipam release`: what is printed, the report, the exit codes, and what the owners are asked."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ctl_parts import Agent, Owner
from ipam_worlds import block, pool, slot, tunnel
from msgspec import structs

from bgpnet.model import instant, kinds
from bgpnet.model.clusterinformation import ClusterInformation, ClusterInformationSpec
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import Identity, Node, NodeBGP, NodeIPAM, NodeSpec, NodeStatus
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec, ReleaseRequestStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli

Run = Callable[..., Result]
Says = dict[str, Any]
GUID = "6b1e8bb8a3a94f1a9cd14a0e1f3f7d55"
QUICK = ("--settle", "0.05", "--timeout", "60")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.db"


@pytest.fixture
def repo(url: str) -> Iterator[Repo]:
    store = open_store(url)
    yield Repo(store)
    store.close()


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    def run(*args: str, path: str = "/nonexistent") -> Result:
        env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": str(tmp_path), "PATH": path}
        return CliRunner(env=env).invoke(cli, ["ipam", *args], prog_name="bgpnetctl", catch_exceptions=False)

    return run


LONG_AGO = "2000-01-01T00:00:00.000Z"


def node(name: str, heartbeat: str = LONG_AGO, told: NodeIPAM | None = None) -> Node:
    return Node(
        metadata=Metadata(name=name),
        spec=NodeSpec(bgp=NodeBGP(ipv4Address="192.0.2.1/24", ipv4IPIPTunnelAddr="10.0.0.0" if name == "n1" else "")),
        status=NodeStatus(identity=Identity(uuid=f"uid-{name}", heartbeat=heartbeat), ipam=told),
    )


def alive(name: str) -> Node:
    """A node whose agent spoke just now, and finds nothing wrong."""
    now = instant.stamp(time.time())
    return node(name, now, NodeIPAM(checkedAt=now))


def named(address: str, container: str, sequence: int, pod: str, **more: str) -> Says:
    said = {"address": address, "container": container, "ifname": "eth0", "sequence": sequence, "pod": pod}
    return said | {"since": "s"} | more


@pytest.fixture
def says(repo: Repo) -> Says:
    """Two nodes; n1's agent is here, n2's publishes its word. What n1's agent says, which tests change."""
    repo.create(pool("blue", "10.0.0.0/16"))
    repo.create(ClusterInformation(metadata=Metadata(name="default"), spec=ClusterInformationSpec(clusterGUID=GUID)))
    repo.write(node("n1"))
    repo.write(alive("n2"))
    mine = {0: tunnel(), 1: slot("c1", 11, "default/a"), 2: slot("c2", 12, "default/b")}
    repo.write(block("10.0.0.0/26", "n1", mine))
    repo.write(block("10.0.0.64/26", "n2", {1: slot("c5", 21)}))
    held = [
        {"address": "10.0.0.0", "ifname": "tunl0", "sequence": 1},
        named("10.0.0.1", "c1", 11, "default/a"),
        named("10.0.0.2", "c2", 12, "default/b"),
    ]
    return {
        "node": "n1",
        "away": "",
        "blocks": {"10.0.0.0/26": held},
        "pods": held[1:],
        "ipam": {"checkedAt": "t", "leaked": [], "unrecorded": [], "alarms": []},
        "more": "than this program knows",
    }


@pytest.fixture
def agent(tmp_path: Path, says: Says) -> Iterator[Agent]:
    made = Agent(tmp_path, lambda: says)
    yield made
    made.end()


@pytest.fixture
def leaking(says: Says, agent: Agent) -> Says:
    """The pod of 10.0.0.2 is gone, by the agent's word."""
    assert agent.asked == []
    says["ipam"]["leaked"] = [named("10.0.0.2", "c2", 12, "default/b", reason="its network namespace is gone")]
    says["pods"] = says["pods"][:1]
    return says


@pytest.fixture
def owner(url: str) -> Iterator[Callable[..., Owner]]:
    made: list[Owner] = []

    def start(node: str, refusal: str = "") -> Owner:
        made.append(Owner(url, node, refusal))
        return made[-1]

    yield start
    for one in made:
        one.end()


def stored(repo: Repo, name: str = "10-0-0-0-26") -> IPAMBlock:
    found = repo.get(kinds.IPAMBLOCK, name)
    assert isinstance(found, IPAMBlock)
    return found


def requests(repo: Repo) -> list[str]:
    return [one.metadata.name for one in repo.list(kinds.RELEASEREQUEST)[0]]


@pytest.mark.usefixtures("agent")
def test_nothing_is_wrong(run: Run) -> None:
    clean = run("check")
    assert clean.exit_code == 0
    assert clean.stdout == (
        "IP pools: 1, blocks: 2, nodes: 2; addresses: 4 in use, 0 resting, 0 reserved, 65532 free.\n"
        "Node n1: its agent was asked.\n"
        + clean.stdout.splitlines(keepends=True)[2]
        + "The container runtime was not asked: there is no crictl on this machine.\n"
        "\n"
        "Check complete; found 0 problems.\n"
    )
    assert "Node n2: by what it published " in clean.stdout


@pytest.fixture
def silent(repo: Repo, says: Says) -> None:
    """The agent of n2 is dead."""
    assert says
    stored = repo.get(kinds.NODE, "n2")
    repo.write(structs.replace(node("n2"), metadata=stored.metadata))


@pytest.mark.usefixtures("agent", "silent")
def test_a_silent_node_with_addresses_is_a_problem_and_no_leak(run: Run, repo: Repo) -> None:
    found = run("check", *QUICK, "--repair", "--show-all-ips")
    assert found.exit_code == 3
    assert "Node n2: unknown, so nothing there counts as a leak: its agent was last heard of " in found.stdout
    assert f"Warning node-silent: node n2 says nothing of its addresses since {LONG_AGO} (its agent" in found.stdout
    assert "), and nobody else vouches for those in use there: 1\n  Remedy: start or restart the agent" in found.stdout
    assert "| 10.0.0.65 | n2   | c5           | unknown |\n" in found.stdout
    assert "Not for --repair: node-silent Node(n2): start or restart the agent of node n2" in found.stdout
    assert "There was nothing to repair." in found.stdout
    assert requests(repo) == []
    assert stored(repo, "10-0-0-64-26").spec.allocations[1].freedAt is None
    report = json.loads(run("check", *QUICK, "-o", "json").stdout)
    assert [(one["code"], one["object"], one["node"]) for one in report["problems"]] == [
        ("node-silent", "Node(n2)", "n2")
    ]
    assert report["sources"]["nodes"][1]["at"] == LONG_AGO
    assert {one["ip"]: one["inUse"] for one in report["allocations"]}["10.0.0.65"] is None


@pytest.mark.usefixtures("silent")
def test_the_only_node_is_silent(run: Run, repo: Repo) -> None:
    repo.remove(repo.get(kinds.NODE, "n2"))
    repo.remove(stored(repo, "10-0-0-64-26"))
    found = run("check", *QUICK)
    assert found.exit_code == 3
    assert "Warning node-silent: node n1 says nothing of its addresses" in found.stdout
    assert "vouches for those in use there: 3\n" in found.stdout


@pytest.mark.usefixtures("agent")
def test_a_node_by_hand_that_owns_nothing_is_not_missed(run: Run, repo: Repo) -> None:
    repo.create(Node(metadata=Metadata(name="n3"), spec=NodeSpec(bgp=NodeBGP(ipv4Address="192.0.2.3/24"))))
    checked = run("check")
    assert (checked.exit_code, "Node n3: unknown" in checked.stdout) == (0, True)


@pytest.mark.usefixtures("leaking")
def test_a_leak_is_a_problem_with_a_remedy_and_exit_code_3(run: Run, repo: Repo) -> None:
    found = run("check", *QUICK, "--show-problem-ips")
    assert found.exit_code == 3
    assert "Warning leaked-address: 10.0.0.2 is allocated to pod default/b (container c2, eth0) since " in found.stdout
    assert "and node n1 says: its network namespace is gone\n  Remedy: bgpnetctl ipam check --repair" in found.stdout
    assert "| 10.0.0.2 | n1   | default/b    | leaked-address |\n" in found.stdout
    assert "| 10.0.0.1 |" not in found.stdout
    assert found.stdout.endswith("\nCheck complete; found 1 problem.\n")
    assert requests(repo) == []
    every = run("check", *QUICK, "--show-all-ips").stdout
    assert "| 10.0.0.1  | n1   | default/a    | in use         |\n" in every
    assert "| 10.0.0.65 | n2   | c5           | in use         |\n" in every


def test_what_is_gone_at_the_second_look_is_nothing(run: Run, says: Says, agent: Agent) -> None:
    says["blocks"]["10.0.0.0/26"].append(named("10.0.0.3", "c3", 13, "default/c"))  # not in the datastore yet

    def calm() -> Says:
        if len(agent.asked) > 1:
            says["blocks"]["10.0.0.0/26"][3:] = []
        return says

    agent.says = calm
    assert run("check", *QUICK).exit_code == 0
    assert agent.asked == ["ipam", "ipam"]


@pytest.mark.usefixtures("leaking")
@pytest.mark.parametrize("words", [("--report", "FILE"), ("-o", "FILE"), ("-o", "json")], ids=" ".join)
def test_the_report_is_stable(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "report.json"
    ended = run("check", *QUICK, *(str(file) if word == "FILE" else word for word in words))
    assert ended.exit_code == 3
    report = json.loads(file.read_text() if "FILE" in words else ended.stdout)
    assert list(report) == ["version", "clusterGUID", "checkedAt", "summary", "sources", "problems", "allocations"]
    assert (report["version"], report["clusterGUID"]) == (1, GUID)
    assert report["summary"] == {
        "pools": 1,
        "blocks": 2,
        "nodes": 2,
        "inUse": 4,
        "resting": 0,
        "reserved": 0,
        "free": 65532,
        "errors": 0,
        "warnings": 1,
    }
    assert [(one["node"], one["source"]) for one in report["sources"]["nodes"]] == [
        ("n1", "agent"),
        ("n2", "published"),
    ]
    (problem,) = report["problems"]
    assert problem["code"] == "leaked-address"
    assert (problem["address"], problem["sequence"], problem["node"]) == ("10.0.0.2", 12, "n1")
    assert [(one["ip"], one["inUse"]) for one in report["allocations"]] == [
        ("10.0.0.0", True),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("10.0.0.65", True),
    ]


def test_a_report_of_several_formats_is_wrong_usage(run: Run) -> None:
    assert run("check", "-o", "xml").exit_code == 2
    assert run("check", "--dry-run").exit_code == 2


@pytest.mark.usefixtures("leaking")
def test_repair_has_the_owner_release_it(run: Run, repo: Repo, owner: Callable[..., Owner]) -> None:
    owner("n1")
    repaired = run("check", *QUICK, "--repair")
    assert "Successfully released IP address 10.0.0.2\n" in repaired.stdout
    assert repaired.exit_code == 0
    assert stored(repo).spec.allocations[2].freedAt is not None
    assert stored(repo).spec.allocations[1].freedAt is None
    assert requests(repo) == []


@pytest.mark.usefixtures("leaking")
def test_a_repair_that_the_owner_refuses_leaves_the_problem(
    run: Run, repo: Repo, owner: Callable[..., Owner], tmp_path: Path
) -> None:
    owner("n1", "its link cali1 is there")
    repo.write(block("10.9.0.0/26", "n2", {}))
    refused = run("check", *QUICK, "--repair", "--report", str(tmp_path / "r.json"))
    assert refused.exit_code == 3
    assert "Not released: node n1 does not release 10.0.0.2: its link cali1 is there\n" in refused.stdout
    assert "Not for --repair: outside-pools IPAMBlock(10-9-0-0-26): create a pool" in refused.stdout
    assert requests(repo) == []
    (told,) = json.loads((tmp_path / "r.json").read_text())["repair"]
    assert (told["outcome"], told["address"]) == ("Refused", "10.0.0.2")


@pytest.mark.usefixtures("leaking")
def test_a_dry_run_asks_nobody(run: Run, repo: Repo) -> None:
    dry = run("check", *QUICK, "--repair", "--dry-run")
    assert dry.exit_code == 3
    assert "Would ask node n1 to release 10.0.0.2, allocation 12 of pod default/b (container c2, eth0)\n" in dry.stdout
    assert requests(repo) == []


@pytest.mark.usefixtures("agent")
def test_a_repair_of_nothing(run: Run) -> None:
    clean = run("check", "--repair")
    assert (clean.exit_code, clean.stdout.splitlines()[-1]) == (0, "There was nothing to repair.")


def test_without_an_agent_the_rest_is_checked(run: Run, says: Says) -> None:
    assert says["node"] == "n1"
    checked = run("check", *QUICK)
    assert checked.exit_code == 3
    assert "Note: this machine's agent was not asked" in checked.stdout
    assert "Warning node-silent: node n1 says nothing of its addresses" in checked.stdout
    assert "Check complete; found 1 problem.\n" in checked.stdout


def test_a_datastore_that_is_away_is_exit_code_1(run: Run) -> None:
    assert run("check", "--datastore", "sqlite:///proc/none/store.db").exit_code == 1


def test_an_agent_of_another_version(run: Run, says: Says, agent: Agent) -> None:
    agent.says = lambda: says | {"blocks": 7}
    checked = run("check", *QUICK)
    assert checked.exit_code == 3
    assert "Warning node-silent: node n1 says nothing of its addresses" in checked.stdout
    assert "Note: this machine's agent does not say what it has" in checked.stdout
    assert "install one version of both" in checked.stdout


# The container runtime


def crictl(folder: Path, pods: object, inspected: object) -> str:
    """A crictl that says this; returns the PATH that has it."""
    place = folder / "bin"
    place.mkdir()
    (place / "pods").write_text(json.dumps(pods))
    (place / "inspected").write_text(json.dumps(inspected))
    program = place / "crictl"
    program.write_text(
        f'#!/bin/sh\nwhile [ "$1" ]; do case "$1" in pods) exec /bin/cat {place}/pods;; '
        f"inspectp) exec /bin/cat {place}/inspected;; fail) exit 1;; esac; shift; done\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(place)


def sandbox(container: str, pod: str, state: str = "SANDBOX_READY") -> Says:
    namespace, _, name = pod.partition("/")
    meta = {"name": name, "namespace": namespace, "uid": "u", "attempt": 0}
    return {"id": container, "metadata": meta, "state": state, "createdAt": "1", "labels": {}, "annotations": {}}


@pytest.mark.usefixtures("agent")
def test_a_pod_that_the_runtime_does_not_know(run: Run, tmp_path: Path) -> None:
    items = [sandbox("c1", "default/a"), sandbox("host", "kube-system/proxy")]
    path = crictl(tmp_path, {"items": items}, {"status": {"network": {"ip": "192.0.2.1"}}, "info": {}})
    found = run("check", *QUICK, path=path)
    assert found.exit_code == 3
    assert "Warning sandbox-gone: 10.0.0.2 is allocated to pod default/b (container c2, eth0), which " in found.stdout
    assert "The container runtime of this machine knows 2 pod sandboxes.\n" in found.stdout


@pytest.mark.usefixtures("agent")
def test_a_sandbox_that_nobody_recorded(run: Run, tmp_path: Path) -> None:
    items = [sandbox("c1", "default/a"), sandbox("c2", "default/b"), sandbox("c4", "default/d")]
    path = crictl(tmp_path, {"items": items}, {"status": {"network": {"ip": "10.0.0.9"}}})
    found = run("check", *QUICK, path=path)
    assert found.exit_code == 3
    assert "Error unrecorded-pod: pod default/d (container c4, eth0) of node n1 has 10.0.0.9, which is" in found.stdout


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ("not an object", "The container runtime was not asked: crictl does not tell: Expected `object`"),
        ({"items": []}, "The container runtime of this machine knows no pod of node n1: it was not compared."),
    ],
)
def test_a_runtime_that_tells_nothing_of_use_changes_nothing(run: Run, tmp_path: Path, pods: object, said: str) -> None:
    checked = run("check", path=crictl(tmp_path, pods, {}))
    assert checked.exit_code == 0
    assert said in checked.stdout


# Release


@pytest.mark.usefixtures("says")
def test_release_by_the_owners_word(run: Run, repo: Repo, owner: Callable[..., Owner]) -> None:
    owner("n2")
    released = run("release", "--ip", "10.0.0.65")
    assert (released.exit_code, released.stdout) == (0, "Successfully released IP address 10.0.0.65\n")
    assert stored(repo, "10-0-0-64-26").spec.allocations[1].freedAt is not None
    assert requests(repo) == []
    again = run("release", "--ip", "10.0.0.65")
    assert (again.exit_code, again.stdout) == (0, "IP address 10.0.0.65 is not assigned\n")


@pytest.mark.usefixtures("says")
def test_release_that_the_owner_refuses(run: Run, repo: Repo, owner: Callable[..., Owner]) -> None:
    owner("n1", "pod default/a runs")
    refused = run("release", "--ip", "10.0.0.1")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "node n1 does not release 10.0.0.1: pod default/a runs\n"
    assert requests(repo) == []


@pytest.mark.usefixtures("says")
def test_release_of_a_silent_owner_is_withdrawn(run: Run, repo: Repo) -> None:
    silent = run("release", "--ip", "10.0.0.65", "--timeout", "0.3")
    assert silent.exit_code == 1
    assert (
        "node n2 did not answer within 0.3 s: 10.0.0.65 was not released, and the request is withdrawn" in silent.stderr
    )
    assert "bgpnetctl node release n2" in silent.stderr
    assert requests(repo) == []
    assert stored(repo, "10-0-0-64-26").spec.allocations[1].freedAt is None


@pytest.mark.usefixtures("says")
def test_an_old_answer_is_not_taken_for_a_new_one(run: Run, repo: Repo, owner: Callable[..., Owner]) -> None:
    spec = ReleaseRequestSpec(
        node="n2",
        address="10.0.0.65",
        sequence=21,
        container="c5",
        ifname="eth0",
        reason="r",
        requestedAt="t",
        requestedBy="somebody",
    )
    status = ReleaseRequestStatus(outcome="Refused", reason="it ran then", answeredAt="t")
    repo.write(ReleaseRequest(metadata=Metadata(name="10-0-0-65-21"), spec=spec, status=status))
    owner("n2")
    assert run("release", "--ip", "10.0.0.65").stdout == "Successfully released IP address 10.0.0.65\n"


@pytest.mark.usefixtures("says")
def test_release_where_no_owner_could_answer(run: Run, repo: Repo) -> None:
    repo.write(block("10.0.1.0/26", "n9", {1: slot("c", 5)}))

    gone = run("release", "--ip", "10.0.1.1")
    assert (gone.exit_code, requests(repo)) == (1, [])
    assert "of node n9, which does not exist: if it is gone for good, run bgpnetctl node release n9" in gone.stderr


@pytest.mark.usefixtures("says")
def test_release_in_a_block_without_owner_is_by_the_callers_word(run: Run, repo: Repo) -> None:
    repo.write(block("10.0.2.0/26", None, {1: slot("c", 6), 2: slot("d", 7)}))
    dry = run("release", "--ip", "10.0.2.1", "--dry-run").stdout
    assert dry == "Would release, as its block has no owner, 10.0.2.1, allocation 6 of container c (eth0)\n"
    released = run("release", "--ip", "10.0.2.1")
    assert (released.exit_code, released.stdout) == (0, "Successfully released IP address 10.0.2.1\n")
    after = stored(repo, "10-0-2-0-26").spec
    assert (after.allocations[1].freedAt is None, after.allocations[2].freedAt) == (False, None)
    assert after.sequence == 1001
    assert requests(repo) == []


def test_release_is_asked_for_in_one_way(run: Run) -> None:
    assert run("release").exit_code == 2
    assert run("release", "--ip", "10.0.0.1", "--from-report", "x").exit_code == 2
    wrong = run("release", "--ip", "10.0.0.0/26")
    assert (wrong.exit_code, wrong.stderr.startswith("--ip = '10.0.0.0/26': is not an address")) == (2, True)


def report(folder: Path, name: str, *leaks: tuple[str, int], **more: object) -> str:
    """A report with these leaks, and a problem of another sort."""
    problems = [{"code": "leaked-address", "address": address, "sequence": number} for address, number in leaks]
    said = {"version": 1, "clusterGUID": GUID, "problems": [*problems, {"code": "alarm"}], "later": 1} | more
    (folder / name).write_text(json.dumps(said))
    return str(folder / name)


@pytest.mark.usefixtures("says")
def test_release_from_reports_is_what_all_of_them_say(
    run: Run, repo: Repo, owner: Callable[..., Owner], tmp_path: Path
) -> None:
    owner("n1")
    both = [("10.0.0.2", 12), ("10.0.0.40", 3), ("10.0.0.65", 20)]
    one = report(tmp_path, "1", *both, ("10.0.0.1", 11))
    two = report(tmp_path, "2", *both, ("10.0.0.0", 1))
    words = ("release", "--from-report", one, "--from-report", two)
    dry = run(*words, "--dry-run").stdout
    assert "Would ask node n1 to release 10.0.0.2, allocation 12" in dry
    released = run(*words)
    assert released.exit_code == 0
    assert released.stdout == (
        "IP address 10.0.0.40 is not assigned\n"
        "IP address 10.0.0.65 was given to container c5 (eth0) since the report, so it stays\n"
        "Successfully released IP address 10.0.0.2\n"
    )
    assert stored(repo).spec.allocations[1].freedAt is None
    nothing = report(tmp_path, "3")
    assert run(*words, "--from-report", nothing).stdout == (
        "No leaked address is in every report: there is nothing to release.\n"
    )


@pytest.mark.usefixtures("says")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"clusterGUID": "f" * 32}, f"is of the cluster with GUID {'f' * 32}, this is {GUID}"),
        ({"version": 2}, "is of version 2, not 1"),
        ({"problems": 3}, "is no report of ipam check"),
    ],
)
def test_a_report_of_something_else(run: Run, tmp_path: Path, more: dict[str, object], said: str) -> None:
    refused = run("release", "--from-report", report(tmp_path, "r.json", ("10.0.0.2", 12), **more))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert "No such file" in run("release", "--from-report", str(tmp_path / "none")).stderr


@pytest.mark.usefixtures("leaking")
def test_yaml_and_a_report_that_cannot_be_written(run: Run) -> None:
    assert "code: leaked-address" in run("check", *QUICK, "-o", "yaml").stdout
    refused = run("check", *QUICK, "--report", "/nonexistent/r.json")
    assert refused.exit_code == 1
    assert "--report = '/nonexistent/r.json': No such file or directory: name a file" in refused.stderr
