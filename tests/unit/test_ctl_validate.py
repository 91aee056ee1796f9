"""`bgpnetctl validate`: files judged without a datastore."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgpnet_ctl.main import cli

Run = Callable[..., Result]

GOOD = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: blue
spec:
  cidr: 10.0.0.0/16
---
apiVersion: crd.projectcalico.org/v1
kind: IPAMConfig
metadata: {name: default, finalizers: [x]}
spec: {strictAffinity: true, maxBlocksPerHost: 4}
"""

BAD = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: blue
spec:
  cidr: 10.0.0.1/16
  blockSize: 40
---
apiVersion: bgpnet.io/v1
kind: List
items:
- apiVersion: bgpnet.io/v1
  kind: IPPool
  metadata: {name: red}
  spec:
    cidr: 10.1.0.0/16
- apiVersion: bgpnet.io/v1
  kind: IPPool
  metadata: {name: green}
  spec:
    cidr: 10.1.2.0/24
- apiVersion: bgpnet.io/v1
  kind: IPPool
  metadata:
    name: red
  spec: {cidr: 10.9.0.0/16}
- apiVersion: projectcalico.org/v3
  kind: WorkloadEndpoint
  metadata: {name: a, namespace: b}
- colour: red
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/none/store.db"}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def test_valid_files_have_a_line_for_each_resource_and_need_no_datastore(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    got = run("validate", "-f", str(tmp_path / "a.yaml"))
    assert (got.exit_code, got.stdout) == (
        0,
        f"{tmp_path}/a.yaml:1: IPPool(blue): valid\n{tmp_path}/a.yaml:8: IPAMConfiguration(default): valid\n",
    )
    assert got.stderr.splitlines() == [
        "Warning: IPAMConfiguration(default): metadata.finalizers is accepted and not kept:"
        " deleting an object waits for nobody",
    ]
    assert not (tmp_path / "none").exists()


def test_all_findings_come_at_once_with_file_line_field_value_and_remedy(run: Run) -> None:
    got = run("validate", "-f", "-", stdin=BAD)
    assert (got.exit_code, got.stdout) == (1, "")
    overlap = "IPPool(green) CIDR 10.1.2.0/24 overlaps with IPPool(red) CIDR 10.1.0.0/16"
    beginnings = [
        "standard input:6: IPPool(blue): spec.cidr = '10.0.0.1/16': 10.0.0.1/16 is not a network address; write 10.0",
        "standard input:7: IPPool(blue): spec.blockSize = 40: must be 20 to 32 for an IPv4 pool",
        f"standard input:21: IPPool(green): spec.cidr = '10.1.2.0/24': {overlap}; choose a range outside it",
        "standard input:25: IPPool(red): metadata.name = 'red': occurs twice, first at standard input:12; keep one",
        "standard input:28: WorkloadEndpoint(a): kind = 'WorkloadEndpoint': is derived from the IPAMBlocks",
        "standard input:30: document 2, item 5: apiVersion: must be bgpnet.io/v1",
        "standard input:30: document 2, item 5: kind: is missing; known kinds are IPPool",
    ]
    lines = got.stderr.splitlines()
    assert len(lines) == len(beginnings)
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings


def test_json_has_every_object(run: Run) -> None:
    got = run("validate", "-f", "-", "-o", "json", stdin=BAD)
    assert got.exit_code == 1
    told = json.loads(got.stdout)
    assert [(each["kind"], each["name"], each["line"], each["valid"]) for each in told] == [
        ("IPPool", "blue", 1, False),
        ("IPPool", "red", 12, True),
        ("IPPool", "green", 17, False),
        ("IPPool", "red", 22, False),
        ("WorkloadEndpoint", "a", 27, False),
        (None, None, 30, False),
    ]
    assert told[0]["findings"][1] == {
        "line": 7,
        "field": "spec.blockSize",
        "value": 40,
        "problem": "must be 20 to 32 for an IPv4 pool",
    }
    good = run("validate", "-f", "-", "-o", "json", stdin=GOOD)
    assert good.exit_code == 0
    assert [len(each["warnings"]) for each in json.loads(good.stdout)] == [0, 1]


def test_files_are_judged_beside_each_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    got = run("validate", "-f", str(tmp_path))
    assert got.exit_code == 1
    assert [line.split(": ")[1] for line in got.stderr.splitlines() if not line.startswith("Warning")] == [
        "IPPool(blue)",
        "IPAMConfiguration(default)",
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a: [1\nb: c\n", "standard input:2: line 2, column 2: is not YAML: "),
        ("# nothing\n", "No resources specified: write at least one into -"),
        ("hello\n", "standard input:1: the object: is not a mapping; write apiVersion"),
    ],
)
def test_what_is_no_resource_is_refused(run: Run, written: str, said: str) -> None:
    got = run("validate", "-f", "-", stdin=written)
    assert got.exit_code == 1
    assert got.stderr.startswith(said)


def test_a_file_that_is_not_there_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    got = run("validate", "-f", str(tmp_path / "none.yaml"))
    assert got.exit_code == 2
    assert "No such file or directory" in got.stderr
