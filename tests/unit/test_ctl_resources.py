"""get, create, apply, replace and delete, against a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli

Run = Callable[..., Result]

POOLS = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: blue}
spec: {cidr: 10.244.0.0/16, ipipMode: Always}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: red}
spec: {cidr: 10.245.0.0/24, blockSize: 28, nodeSelector: zone == 'a', disabled: true}
"""

WIDE = """\
NAME   CIDR            NAT     IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR      ASSIGNMENTMODE
blue   10.244.0.0/16   false   Always     Never       false      false              all()         Automatic
red    10.245.0.0/24   false   Never      Never       true       false              zone == 'a'   Automatic

"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.db"


@pytest.fixture
def empty(url: str) -> None:
    """A datastore that is there and has nothing."""
    open_store(url).close()


@pytest.fixture
def run(url: str) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": None}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def pool(name: str, cidr: str, more: str = "") -> str:
    return f"---\napiVersion: bgpnet.io/v1\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}{more}}}\n"


def names(run: Run) -> list[str]:
    return run("get", "ippool", "-o", "name").stdout.split()


def test_two_pools_are_created_and_shown(run: Run) -> None:
    created = run("create", "-f", "-", stdin=POOLS)
    assert (created.exit_code, created.stdout, created.stderr) == (
        0,
        "Successfully created 2 'IPPool' resource(s)\n",
        "",
    )
    assert run("get", "ippool").stdout == (
        "NAME   CIDR            SELECTOR\nblue   10.244.0.0/16   all()\nred    10.245.0.0/24   zone == 'a'\n\n"
    )
    assert run("get", "IPPools", "-o", "ps").stdout == run("get", "pool").stdout
    assert run("get", "ippool", "-o", "wide").stdout == WIDE
    assert run("get", "ippool", "-o", "name").stdout == "ippool/blue\nippool/red\n"
    assert run("get", "ippool", "red", "-o", "name").stdout == "ippool/red\n"


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_what_get_prints_can_be_applied(run: Run, output: str) -> None:
    run("create", "-f", "-", stdin=POOLS)
    before = run("get", "ippool", "-o", output).stdout
    applied = run("apply", "-f", "-", stdin=before)
    assert applied.stdout == "Successfully applied 2 'IPPool' resource(s)\n"
    assert run("get", "ippool", "-o", output).stdout == before
    one = run("get", "ippool", "red", "-o", output).stdout
    assert run("delete", "ippool", "red").exit_code == 0
    assert run("apply", "-f", "-", stdin=one).stdout == "Successfully applied 1 'IPPool' resource(s)\n"
    assert names(run) == ["ippool/blue", "ippool/red"]


def test_json_is_json_and_a_single_resource_is_no_list(run: Run) -> None:
    run("create", "-f", "-", stdin=POOLS)
    assert json.loads(run("get", "ippool", "blue", "-o", "json").stdout)["spec"]["cidr"] == "10.244.0.0/16"
    listed = json.loads(run("get", "ippool", "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["blue", "red"]


@pytest.mark.parametrize(
    "words",
    [
        ("get", "ippool"),
        ("get", "ippool", "x", "y"),
        ("get", "wep", "-A"),
        ("replace", "-f", "-"),
        ("delete", "ippool", "blue", "-s"),
        ("node", "release", "n1", "--yes"),
        ("ipam", "show"),
        ("ipam", "check"),
        ("ipam", "configure"),
        ("ipam", "reserve"),
        ("ipam", "reserve", "--delete", "r"),
        ("ipam", "split", "2", "--name", "blue"),
        ("datastore", "export"),
        ("datastore", "check"),
    ],
    ids=" ".join,
)
def test_who_only_looks_makes_no_datastore(run: Run, url: str, words: tuple[str, ...]) -> None:
    missing = run(*words, stdin=POOLS)
    assert missing.exit_code == 1
    assert f"datastore {url} does not exist: bgpnet agent makes it, and so do bgpnetctl create, apply" in missing.stderr
    assert "name it with --datastore URL, -c FILE or BGPNET_DATASTORE" in missing.stderr
    assert not Path(url.removeprefix("sqlite://")).exists()


@pytest.mark.parametrize(
    "words",
    [
        ("create", "-f", "-"),
        ("apply", "-f", "-"),
        ("ipam", "configure", "--max-blocks-per-host", "4"),
        ("ipam", "reserve", "10.244.0.0/29"),
        ("datastore", "import", "-"),
    ],
    ids=" ".join,
)
def test_who_writes_something_new_makes_the_datastore(run: Run, words: tuple[str, ...]) -> None:
    made = run(*words, stdin=POOLS)
    assert (made.exit_code, made.stderr.startswith("datastore ")) == (0, False)
    assert run("get", "ippool").exit_code == 0


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("output", ["table", "wide", "yaml", "json", "name"])
@pytest.mark.parametrize("kind", ["ippool", "bgppeer", "bgpconfiguration", "node", "ipamblock"])
def test_none_is_an_empty_table_or_list(run: Run, kind: str, output: str) -> None:
    got = run("get", kind, "-o", output)
    assert got.exit_code == 0
    if output in ("table", "wide"):
        assert got.stdout.startswith("NAME")
        assert got.stdout.endswith("\n\n")
    else:
        assert "name:" not in got.stdout


@pytest.mark.parametrize(
    ("document", "needle"),
    [
        (pool("a", "10.0.0.1/16"), "IPPool(a): spec.cidr = '10.0.0.1/16'"),
        (pool("a", "10.0.0.0/16", ", blockSize: 19"), "IPPool(a): spec.blockSize = 19: must be 20 to 32"),
        (
            pool("a", "10.0.0.0/16", ", ipipMod: Always"),
            "IPPool(a): spec.ipipMod: unknown field; did you mean ipipMode?",
        ),
        (pool("a", "10.0.0.0/16", ", ipipMode: Sometimes"), "IPPool(a): spec.ipipMode = 'Sometimes'"),
        ("apiVersion: bgpnet.io/v1\nkind: Pool\n", "kind = 'Pool': unknown kind; write IPPool"),
        ("kind: [\n", "standard input: line 2"),
    ],
)
def test_bad_input_is_named_by_its_path(run: Run, document: str, needle: str) -> None:
    refused = run("create", "-f", "-", stdin=document)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("failed to execute command: ")
    assert needle in refused.stderr
    assert refused.stdout == ""


def test_one_bad_document_keeps_all_from_being_written(run: Run) -> None:
    refused = run("apply", "-f", "-", stdin=POOLS + pool("a", "10.1.0.0/99") + pool("b", "10.2.0.1/16"))
    assert refused.exit_code == 1
    assert "IPPool(a) spec.cidr" in refused.stderr
    assert "IPPool(b) spec.cidr" in refused.stderr
    assert names(run) == []


@pytest.mark.parametrize("verb", ["create", "apply"])
def test_an_overlap_is_refused_with_both_pools(run: Run, verb: str) -> None:
    run("create", "-f", "-", stdin=POOLS)
    refused = run(verb, "-f", "-", stdin=pool("a", "10.3.0.0/16") + pool("green", "10.244.7.0/24"))
    assert refused.exit_code == 1
    assert f"failed to {verb} any 'IPPool' resources: [" in refused.stderr
    assert "IPPool(green) CIDR 10.244.7.0/24 overlaps with IPPool(blue) CIDR 10.244.0.0/16" in refused.stderr
    assert names(run) == ["ippool/blue", "ippool/red"]


def test_an_overlap_inside_the_file_is_seen_before_the_first_write(run: Run) -> None:
    refused = run("create", "-f", "-", stdin=pool("a", "10.3.0.0/16") + pool("b", "10.3.1.0/24"))
    assert refused.exit_code == 1
    assert "IPPool(b) CIDR 10.3.1.0/24 overlaps with IPPool(a)" in refused.stderr
    assert names(run) == []


def test_a_name_that_occurs_twice_is_refused(run: Run) -> None:
    refused = run("apply", "-f", "-", stdin=pool("a", "10.3.0.0/16") + pool("a", "10.3.0.0/16"))
    assert refused.exit_code == 1
    assert "IPPool(a): metadata.name = 'a': occurs twice" in refused.stderr
    assert names(run) == []


def test_a_failure_half_way_says_what_was_done(run: Run) -> None:
    run("create", "-f", "-", stdin=pool("there", "10.9.0.0/16"))
    stdin = pool("a", "10.1.0.0/16") + pool("b", "10.2.0.0/16") + pool("there", "10.9.0.0/16")
    partial = run("create", "-f", "-", stdin=stdin)
    assert partial.exit_code == 1
    assert partial.stdout == (
        "Partial success: created the first 2 out of 3 'IPPool' resources:\n  IPPool(a)\n  IPPool(b)\n"
    )
    assert partial.stderr.startswith("hit error: resource already exists: IPPool(there)")


def test_create_refuses_what_exists(run: Run) -> None:
    run("create", "-f", "-", stdin=pool("a", "10.1.0.0/16"))
    again = run("create", "-f", "-", stdin=pool("a", "10.1.0.0/16"))
    assert again.exit_code == 1
    assert again.stderr.startswith("failed to create 'IPPool' resource: [resource already exists: IPPool(a)")


def test_mixed_kinds_are_counted_without_a_kind(run: Run) -> None:
    head = "---\napiVersion: bgpnet.io/v1\nkind: BGPPeer\nmetadata: {name: tor}\n"
    peer = head + "spec: {peerIP: 192.0.2.1, asNumber: 64999}\n"
    assert run("apply", "-f", "-", stdin=POOLS + peer).stdout == "Successfully applied 3 resource(s)\n"
    assert run("get", "ippool/red", "bgppeer/tor").stdout == (
        "NAME   CIDR            SELECTOR\nred    10.245.0.0/24   zone == 'a'\n\n"
        "NAME   PEERIP      NODE       ASN\ntor    192.0.2.1   (global)   64999\n\n"
    )


def test_values_that_are_not_built_are_stored_with_a_warning(run: Run) -> None:
    applied = run("apply", "-f", "-", stdin=pool("a", "10.1.0.0/16", ", allowedUses: [LoadBalancer]"))
    assert applied.exit_code == 0
    assert applied.stderr.startswith(
        'Warning: IPPool(a): spec.allowedUses = ["LoadBalancer"] is stored but not acted on yet'
    )
    assert len(applied.stderr.splitlines()) == 1
    assert "- LoadBalancer" in run("get", "ippool", "a", "-o", "yaml").stdout


@pytest.mark.usefixtures("empty")
def test_replace_wants_it_there_and_minds_the_revision(run: Run) -> None:
    missing = run("replace", "-f", "-", stdin=pool("a", "10.1.0.0/16"))
    assert missing.exit_code == 1
    assert "failed to replace 'IPPool' resource: [resource does not exist: IPPool(a)" in missing.stderr
    run("create", "-f", "-", stdin=pool("a", "10.1.0.0/16"))
    stale = run("get", "ippool", "a", "-o", "yaml").stdout
    replaced = run("replace", "-f", "-", stdin=pool("a", "10.1.0.0/16", ", ipipMode: Always"))
    assert replaced.stdout == "Successfully replaced 1 'IPPool' resource(s)\n"
    conflict = run("replace", "-f", "-", stdin=stale)
    assert conflict.exit_code == 1
    assert "update conflict: IPPool(a)" in conflict.stderr
    assert "ipipMode: Always" in run("get", "ippool", "a", "-o", "yaml").stdout


def test_a_change_that_no_pool_survives_is_refused_before_any_write(run: Run) -> None:
    run("create", "-f", "-", stdin=POOLS)
    refused = run("apply", "-f", "-", stdin=pool("new", "10.7.0.0/16") + pool("blue", "10.8.0.0/16"))
    assert refused.exit_code == 1
    assert "cannot be changed from 10.244.0.0/16 to 10.8.0.0/16" in refused.stderr
    assert names(run) == ["ippool/blue", "ippool/red"]


def test_delete_by_name_by_file_and_by_what_get_prints(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(POOLS)
    run("create", "-f", str(file))
    assert run("delete", "ippool", "blue").stdout == "Successfully deleted 1 'IPPool' resource(s)\n"
    assert run("delete", "-f", str(file), "--skip-not-exists").stdout == "Successfully deleted 1 'IPPool' resource(s)\n"
    run("create", "-f", str(file))
    assert run("delete", *names(run)).exit_code == 0
    assert names(run) == []


def test_delete_goes_on_after_what_is_missing_and_says_so(run: Run) -> None:
    run("create", "-f", "-", stdin=POOLS)
    partly = run("delete", "ippool", "nope", "blue")
    assert (partly.exit_code, partly.stdout) == (1, "Successfully deleted 1 'IPPool' resource(s)\n")
    assert partly.stderr.startswith("failed to delete 'IPPool' resource: [resource does not exist: IPPool(nope)")
    assert names(run) == ["ippool/red"]


@pytest.mark.usefixtures("empty")
def test_get_names_everything_that_is_missing(run: Run) -> None:
    missing = run("get", "ippool", "x", "y")
    assert missing.exit_code == 1
    assert [line.partition(";")[0] for line in missing.stderr.splitlines()] == [
        "failed to get resources: resource does not exist: IPPool(x)",
        "failed to get resources: resource does not exist: IPPool(y)",
    ]


def test_get_f_shows_what_is_stored_of_what_a_file_names(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "red.yaml"
    file.write_text(POOLS)
    run("create", "-f", str(file))
    assert run("get", "-f", str(file)).stdout == run("get", "ippool").stdout


def test_a_directory_is_read_in_order_of_names_and_only_yaml_and_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(pool("a", "10.1.0.0/16"))
    (tmp_path / "2.yml").write_text(pool("b", "10.2.0.0/16"))
    spec = {"apiVersion": "bgpnet.io/v1", "kind": "IPPool", "metadata": {"name": "c"}, "spec": {"cidr": "10.3.0.0/16"}}
    (tmp_path / "3.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [spec]}))
    (tmp_path / "notes.txt").write_text("not: [yaml")
    assert run("apply", "-f", str(tmp_path)).stdout == "Successfully applied 3 'IPPool' resource(s)\n"
    assert names(run) == ["ippool/a", "ippool/b", "ippool/c"]


def test_sources_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    missing = run("apply", "-f", str(tmp_path / "none.yaml"))
    assert (missing.exit_code, missing.stderr) == (
        2,
        f"failed to execute command: {tmp_path}/none.yaml: No such file or directory\n",
    )
    (tmp_path / "empty").mkdir()
    assert "has no file that ends in .yaml, .yml, .json" in run("apply", "-f", str(tmp_path / "empty")).stderr
    (tmp_path / "latin.yaml").write_bytes(b"kind: \xff")
    assert "latin.yaml is not UTF-8 at byte 6" in run("apply", "-f", str(tmp_path / "latin.yaml")).stderr
    nothing = run("apply", "-f", "-", stdin="---\n")
    assert nothing.exit_code == 1
    assert nothing.stderr.startswith("No resources specified")


@pytest.mark.parametrize(
    ("args", "needle"),
    [
        (["get", "wombat"], "unknown kind 'wombat': known are ippool, bgpconfiguration, bgppeer, bgpfilter, node, "),
        (["get", "ippool", "-o", "xml"], "unrecognized output format 'xml': known are table, wide, yaml, json, name"),
        (["get"], "say what to get"),
        (["get", "ippool", "-f", "x"], "say what to get"),
        (["get", "ippool/"], "'ippool/' is not KIND/NAME"),
        (["get", "ippool/a", "b"], "'b' is not KIND/NAME"),
        (["delete", "ippool"], "say which IPPool to delete"),
        (["create"], "Missing option '-f'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["get", "ippool", "--datastore", "mongodb://x"], "mongodb"),
    ],
)
def test_wrong_usage_exits_with_2(run: Run, args: list[str], needle: str) -> None:
    wrong = run(*args)
    assert wrong.exit_code == 2
    assert needle in wrong.stderr
    assert wrong.stdout == ""


def test_a_datastore_that_cannot_be_opened_is_one_sentence(run: Run, tmp_path: Path) -> None:
    away = run("get", "ippool", "--datastore", f"sqlite://{tmp_path}")
    assert away.exit_code in (1, 2)
    assert str(tmp_path) in away.stderr
    assert len(away.stderr.splitlines()) == 1


OTHERS = """\
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 192.0.2.1, asNumber: 64999, nodeSelector: rack == 'r1'}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: one}
spec: {peerIP: 192.0.2.2, node: n1}
---
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 10.0.0.1/24}}
---
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: n2}
spec: {bgp: {ipv4Address: 10.0.0.2/24, asNumber: 65001}}
---
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: node.n1}
spec: {logSeverityScreen: Debug}
"""


def test_the_columns_of_the_other_kinds(run: Run) -> None:
    assert run("apply", "-f", "-", stdin=OTHERS).exit_code == 0
    assert run("get", "bgpp").stdout == (
        "NAME   PEERIP      NODE           ASN\n"
        "one    192.0.2.2   n1             (64512)\n"
        "rack   192.0.2.1   rack == 'r1'   64999\n"
        "\n"
    )
    assert run("get", "nodes").stdout == "NAME\nn1\nn2\n\n"
    assert run("get", "no", "-o", "wide").stdout == (
        "NAME   ASN       IPV4          IPV6\n"  #
        "n1     (64512)   10.0.0.1/24   -\n"
        "n2     65001     10.0.0.2/24   -\n"
        "\n"
    )
    assert run("get", "bgpconfigs").stdout == (
        "NAME      LOGSEVERITY   MESHENABLED   ASNUMBER\n"  #
        "node.n1   Debug         -             -\n"
        "\n"
    )
    head = "apiVersion: bgpnet.io/v1\nkind: BGPConfiguration\nmetadata: {name: default}\n"
    default = head + "spec: {asNumber: 64777, nodeToNodeMeshEnabled: true}\n"
    run("apply", "-f", "-", stdin=default)
    assert "n1     (64777)" in run("get", "node", "-o", "wide").stdout
    assert "default   -             true          64777" in run("get", "bgpconfiguration").stdout


def test_blocks_are_shown_but_not_written(run: Run, url: str) -> None:
    spec = IPAMBlockSpec(
        cidr="10.244.0.0/30",
        owner=Owner(name="n1", uid="u"),
        allocations={0: Allocation(since="s", sequence=1), 1: Allocation(since="s", sequence=2, freedAt="t")},
        free=(2, 3),
    )
    store = open_store(url)
    Repo(store).write(IPAMBlock(metadata=Metadata(name="10-244-0-0-30"), spec=spec))
    store.close()
    assert run("get", "blocks", "-o", "wide").stdout == (
        "NAME            CIDR            OWNER   STATE   INUSE   RESTING   FREE\n"
        "10-244-0-0-30   10.244.0.0/30   n1      inUse   1       1         2\n"
        "\n"
    )
    refused = run("apply", "-f", "-", stdin=run("get", "ipamblock", "-o", "yaml").stdout)
    assert refused.exit_code == 1
    assert "IPAMBlock(10-244-0-0-30): kind = 'IPAMBlock': is written by the agents alone" in refused.stderr
    assert run("delete", "ipamblock", "10-244-0-0-30").exit_code == 1


def test_a_stored_object_that_cannot_be_read_is_named_and_can_be_deleted(run: Run, url: str) -> None:
    run("create", "-f", "-", stdin=POOLS)
    store = open_store(url)
    store.put("/bgpnet/v1/ippools/odd", b"{", None)
    store.close()
    listed = run("get", "ippool")
    assert listed.exit_code == 0
    assert len(listed.stdout.splitlines()) == 4
    assert listed.stderr.startswith("Warning: /bgpnet/v1/ippools/odd: ")
    assert run("get", "ippool", "odd").exit_code == 1
    assert run("delete", "ippool", "odd").exit_code == 0
    assert run("get", "ippool").stderr == ""
