"""`bgpnetctl datastore export`, `check` and `import`: what is printed and refused, and with which exit code."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from calico_store import exported
from click.testing import CliRunner, Result
from full_store import everything, fill, many

from bgpnet.model.kinds import Resource
from bgpnet.store.api import ABSENT
from bgpnet.store.sqlite import SqliteStore
from bgpnet.transfer import contents
from bgpnet_ctl.main import cli

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*args: str, to: str = "a.db", stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/{to}"}
        words = ("datastore", *args)
        return CliRunner(env=env).invoke(cli, words, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


@pytest.fixture
def full(tmp_path: Path) -> str:
    """A datastore with one of everything: its URL."""
    return stored(tmp_path / "full.db", everything())


def stored(path: Path, resources: list[Resource]) -> str:
    store = SqliteStore(str(path))
    fill(store, resources)
    store.close()
    return f"sqlite://{path}"


def test_an_export_is_whole_for_its_owner_alone_and_the_same_every_time(run: Run, full: str, tmp_path: Path) -> None:
    target = tmp_path / "e.yaml"
    target.write_text("old")
    target.chmod(0o644)
    got = run("export", "-o", str(target), to="full.db")
    sum_ = contents.checksum(everything())
    assert (got.exit_code, got.stdout) == (0, "")
    assert got.stderr == f"Successfully exported 11 resource(s) to {target}: sha256 {sum_}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert run("export", to="full.db").stdout == target.read_text()
    assert sorted(os.listdir(tmp_path)) == ["e.yaml", "full.db", "full.db-turn"]


@pytest.mark.parametrize(("place", "said"), [("none/e.yaml", "none is no directory of yours"), ("", "is a directory")])
def test_an_export_that_cannot_be_written_leaves_nothing(
    run: Run, full: str, tmp_path: Path, place: str, said: str
) -> None:
    before = sorted(os.listdir(tmp_path))
    got = run("export", "-o", f"{tmp_path}/{place}", to="full.db")
    assert (got.exit_code, got.stdout) == (2, "")
    assert said in got.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_an_import_of_a_datastore_and_of_a_file_and_of_standard_input(run: Run, full: str, tmp_path: Path) -> None:
    text = run("export", to="full.db").stdout
    (tmp_path / "e.yaml").write_text(text)
    for number, source in enumerate((full, f"{tmp_path}/e.yaml", "-")):
        got = run("import", source, to=f"{number}.db", stdin=text if source == "-" else None)
        assert got.exit_code == 0, got.output
        named = "standard input" if source == "-" else source
        sum_ = contents.checksum(everything())
        assert got.stdout.splitlines()[-3:] == [
            f"{named}: sha256 {sum_}",
            f"sqlite://{tmp_path}/{number}.db: sha256 {sum_}",
            "Successfully imported 11 resource(s): both sides are equal.",
        ]
        assert run("export", to=f"{number}.db").stdout == text
        assert run("check", full, to=f"{number}.db").exit_code == 0


def test_a_dry_run_writes_nothing_and_makes_no_file(run: Run, full: str, tmp_path: Path) -> None:
    got = run("import", full, "--dry-run")
    assert (got.exit_code, got.stderr) == (0, "")
    assert got.stdout.endswith("Nothing was written (--dry-run): 11 resource(s) can be imported.\n")
    assert not (tmp_path / "a.db").exists()


def test_a_report_that_cannot_be_written_is_refused_before_anything_is(run: Run, full: str, tmp_path: Path) -> None:
    for place in ("none/report.json", ""):
        got = run("import", full, "--report", f"{tmp_path}/{place}")
        assert (got.exit_code, got.stdout, got.stderr.count("\n")) == (2, "", 1)
        assert not (tmp_path / "a.db").exists()


def test_an_import_goes_on_where_another_one_stopped(run: Run, full: str, tmp_path: Path) -> None:
    stored(tmp_path / "a.db", everything()[3:7])
    got = run("import", full, "-o", "json")
    told = json.loads(got.stdout)
    assert (got.exit_code, told["alreadyThere"], told["checksum"]["from"]) == (0, 4, told["checksum"]["to"])
    again = run("import", full)
    assert again.stdout.endswith(
        "Successfully imported 11 resource(s), 11 of them there already: both sides are equal.\n"
    )


def test_a_datastore_that_holds_anything_else_is_refused_and_left_alone(run: Run, full: str, tmp_path: Path) -> None:
    stored(tmp_path / "a.db", many(1)[-1:])
    got = run("import", full)
    assert (got.exit_code, got.stdout) == (1, "")
    assert got.stderr == (
        f"sqlite://{tmp_path}/a.db is not empty: of its 1 objects 1 are not as in {full}, such as"
        " IPAMBlock(10-0-128-0-28); import into an empty datastore\n"
    )
    assert "# 1 objects" in run("export").stdout


def refusals(tmp_path: Path) -> dict[str, tuple[int, str]]:
    """FROM, and what is said of it."""
    files = {
        "cut.yaml": "# bgpnet datastore export, format 1\n# 3 objects, sha256 " + "0" * 64 + "\n---\nkind: [",
        "no.yaml": "a: [",
        "empty.yaml": "",
        "other.yaml": "colour: red\n",
        "rules.yaml": "apiVersion: bgpnet.io/v1\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.1/8}\n",
        "wep.yaml": "apiVersion: bgpnet.io/v1\nkind: WorkloadEndpoint\nmetadata: {name: a, namespace: b}\nspec: {}\n",
        "calico.yaml": "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a\n",
        "none.yaml": "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    stored(tmp_path / "empty.db", [])
    store = SqliteStore(str(tmp_path / "broken.db"))
    store.put("/bgpnet/v1/ippools/a", b"{", ABSENT)
    store.close()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    at = str(tmp_path)
    return {
        f"{at}/none": (2, f"failed to execute command: {at}/none: No such file or directory"),
        f"{at}/cut.yaml": (1, f"{at}/cut.yaml is truncated or was changed: its header says 3 objects with sha256 000"),
        f"{at}/no.yaml": (1, f"{at}/no.yaml holds what cannot be read: line 2, column 1: is not YAML: did not find"),
        f"{at}/empty.yaml": (1, f"{at}/empty.yaml holds nothing of bgpnet's or Calico's to import"),
        f"{at}/other.yaml": (1, f"{at}/other.yaml holds what cannot be read: apiVersion: must be bgpnet.io/v1"),
        f"{at}/rules.yaml": (1, f"{at}/rules.yaml holds what cannot be read: IPPool(a): spec.cidr = '10.0.0.1/8'"),
        f"{at}/wep.yaml": (1, f"{at}/wep.yaml holds what cannot be read: WorkloadEndpoint(b/a): is derived from"),
        f"{at}/calico.yaml": (1, f"{at}/calico.yaml holds what cannot be read: line 4, column 1: is not YAML"),
        f"{at}/none.yaml": (1, f"{at}/none.yaml (Calico) holds nothing of bgpnet's or Calico's to import"),
        f"{at}/bytes": (1, f"failed to execute command: {at}/bytes is not UTF-8 at byte 0"),
        f"{at}/empty.db": (2, f"{at}/empty.db is a SQLite database: name it sqlite://{at}/empty.db"),
        f"sqlite://{at}/empty.db": (1, f"sqlite://{at}/empty.db holds nothing of bgpnet's"),
        f"sqlite://{at}/broken.db": (1, f"sqlite://{at}/broken.db holds what cannot be read: /bgpnet/v1/ippools/a: "),
        f"sqlite://{at}/a.db": (2, f"sqlite://{at}/a.db is both FROM and TO"),
        f"sqlite://{at}/x/../a.db": (2, f"sqlite://{at}/x/../a.db is both FROM and TO"),
        f"sqlite://{at}/gone.db": (2, f"sqlite://{at}/gone.db does not exist"),
        f"sqlite://{at}/no.yaml": (1, f"datastore sqlite://{at}/no.yaml is not a SQLite database"),
        "http://x": (2, "datastore 'http://x': begins with no scheme of"),
        "etcd://u:p@x": (2, "datastore etcd://…@…: a URL is no place for a password"),
        "memory:": (1, "memory: holds nothing"),
        at: (2, f"{at} is a directory: name one file"),
    }


def test_every_refusal_of_an_import_is_one_sentence_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for source, (code, said) in refusals(tmp_path).items():
        got = run("import", source)
        assert (got.exit_code, got.stdout, got.stderr.count("\n")) == (code, "", 1), (source, got.output)
        assert got.stderr.startswith(said), got.stderr
        assert not (tmp_path / "a.db").exists()


def test_a_check_counts_and_sums_and_finds_nothing_in_what_is_right(run: Run, full: str) -> None:
    got = run("check", to="full.db")
    assert (got.exit_code, got.stderr) == (0, "")
    lines = got.stdout.splitlines()
    assert lines[0].split() == ["KIND", "OBJECTS"]
    assert [line.split() for line in lines if line.startswith(("IPPool", "total"))] == [
        ["IPPool", "2"],
        ["total", "11"],
    ]
    assert lines[-2:] == [f"{full}: sha256 {contents.checksum(everything())}", "Check complete; found 0 problem(s)."]


def test_a_check_that_finds_something_ends_with_3_and_says_it(run: Run, full: str, tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "full.db"))
    store.delete("/bgpnet/v1/nodes/node1", None)
    store.put("/bgpnet/v1/ippools/six", b"{", None)
    store.close()
    got = run("check", to="full.db")
    assert got.exit_code == 3
    rows = [line.split("  ")[0] for line in got.stdout.splitlines() if "(" in line or line.startswith("/")]
    assert rows == [
        "/bgpnet/v1/ippools/six",
        "IPAMBlock(10-0-0-0-28)",
        "BGPPeer(tor)",
        "Check complete; found 3 problem(s).",
    ]
    told = json.loads(run("check", "-o", "json", to="full.db").stdout)
    assert told["objects"]["IPPool"] == 1
    assert {each["object"] for each in told["findings"]} == set(rows[:-1])
    refused = run("export", to="full.db")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"{full} holds what cannot be read: /bgpnet/v1/ippools/six: ")


def test_a_check_with_another_names_what_differs(run: Run, full: str, tmp_path: Path) -> None:
    text = run("export", to="full.db").stdout
    stored(tmp_path / "a.db", [each for each in everything() if each.metadata.name != "routers"])
    got = run("check", "-", stdin=text)
    assert got.exit_code == 3
    assert "IPReservation(routers)   only in the second\n" in got.stdout
    assert got.stdout.endswith("Check complete; found 0 problem(s), 1 difference(s).\n")
    told = json.loads(run("check", full, "-o", "json").stdout)
    assert told["differences"] == [{"object": "IPReservation(routers)", "difference": "only in the second"}]
    assert told["checksum"] != told["other"]["checksum"] == contents.checksum(everything())


def test_calicoctls_export_is_imported_and_everything_else_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "calico.yaml").write_text(exported())
    got = run("import", f"{tmp_path}/calico.yaml", "--report", f"{tmp_path}/report.json")
    assert got.exit_code == 0, got.output
    assert "Successfully imported 18 resource(s): both sides are equal." in got.stdout
    warnings = got.stderr.splitlines()
    assert warnings[0].startswith("Warning: not imported: BGPFilter 1, BlockAffinity 4, ")
    assert warnings[-1] == "Warning: reserved: address 6 (--report FILE lists each with its reason)"
    report = json.loads((tmp_path / "report.json").read_text())
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o600
    assert {"key": "/calico/ipam/v2/handle/k8s-pod-network.c1", "kind": "IPAMHandle"}.items() <= next(
        each.items() for each in report["notes"] if each["kind"] == "IPAMHandle"
    )
    assert run("check", f"{tmp_path}/calico.yaml").exit_code == 0
