"""calicoctl's flags: columns that one chooses, directories in directories, what exists or is empty passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgpnet_ctl.main import cli

Run = Callable[..., Result]
POOL = "{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: NAME}, spec: {cidr: CIDR, ipipMode: Always}}\n"


def pool(name: str, cidr: str) -> str:
    return POOL.replace("NAME", name).replace("CIDR", cidr)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """Three files, of which one is in a directory of its own and one is not for us."""
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "a.yaml").write_text(pool("a", "10.1.0.0/16"))
    (tmp_path / "tree" / "below" / "b.json").write_text(pool("b", "10.2.0.0/16"))
    (tmp_path / "tree" / "below" / "notes.txt").write_text("not a resource")
    return str(tmp_path / "tree")


def test_columns_that_one_chooses(run: Run) -> None:
    assert run("create", "-f", "-", stdin=pool("a", "10.1.0.0/16")).exit_code == 0
    shown = run("get", "ippool", "-o", "custom-columns=NAME,ipipmode,CIDR")
    assert shown.stdout == "NAME   IPIPMODE   CIDR\na      Always     10.1.0.0/16\n\n"
    assert run("get", "bgppeer", "-o", "custom-columns=ASN").stdout == "ASN\n\n"
    for wrong in ("custom-columns", "custom-columns=", "custom-columns=,"):
        assert run("get", "ippool", "-o", wrong).exit_code == 2
    unknown = run("get", "ippool", "-o", "custom-columns=NAME,COLOUR")
    assert unknown.exit_code == 2
    assert "IPPool has no column COLOUR; it has NAME, CIDR, SELECTOR, NAT, IPIPMODE" in unknown.stderr
    template = run("get", "ippool", "-o", "go-template={{.}}")
    assert (template.exit_code, "use -o json and jq" in template.stderr) == (2, True)
    assert run("ipam", "show", "-o", "custom-columns=NAME").exit_code == 2


def test_directories_in_directories(run: Run, tree: str) -> None:
    assert run("validate", "-f", tree).stdout.count("valid") == 1
    assert run("validate", "-R", "-f", tree).stdout.count("valid") == 2
    assert run("apply", "-f", tree).stdout == "Successfully applied 1 'IPPool' resource(s)\n"
    assert run("apply", "-f", tree, "--recursive").stdout == "Successfully applied 2 'IPPool' resource(s)\n"
    assert run("replace", "-Rf", tree).stdout == "Successfully replaced 2 'IPPool' resource(s)\n"
    assert run("get", "-Rf", tree, "-o", "name").stdout == "ippool/a\nippool/b\n"
    assert run("delete", "-Rf", tree).stdout == "Successfully deleted 2 'IPPool' resource(s)\n"


def test_what_exists_is_passed_over_and_not_changed(run: Run, tree: str) -> None:
    assert run("create", "-f", tree).exit_code == 0
    assert run("create", "-Rf", tree).exit_code == 1
    created = run("create", "-Rf", tree, "--skip-exists")
    assert (created.exit_code, created.stdout) == (0, "Successfully created 2 'IPPool' resource(s)\n")
    assert run("get", "ippool", "-o", "name").stdout == "ippool/a\nippool/b\n"
    other = pool("a", "10.1.0.0/16").replace("Always", "Never")
    assert run("create", "-f", "-", "--skip-exists", stdin=other).exit_code == 0
    assert "Always" in run("get", "ippool", "a", "-o", "wide").stdout


def test_what_is_empty_is_passed_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for verb in ("create", "apply", "replace"):
        for filename, stdin in (("-", "# nothing\n"), (str(tmp_path / "none"), None)):
            assert run(verb, "-f", filename, stdin=stdin).exit_code != 0
            done = run(verb, "-f", filename, "--skip-empty", stdin=stdin)
            assert (done.exit_code, done.stdout, done.stderr) == (0, "No resources specified\n", "")


def test_an_export_has_nothing_of_this_cluster_and_is_taken_by_another(run: Run, tmp_path: Path) -> None:
    run("create", "-f", "-", stdin=pool("a", "10.1.0.0/16"))
    told = run("get", "ippool", "a", "-o", "yaml", "--export").stdout
    assert "metadata:\n  name: a\nspec:" in told
    assert run("create", "-f", "-", "--datastore", f"sqlite://{tmp_path}/other.db", stdin=told).exit_code == 0


def test_scripts_that_say_that_versions_may_differ_go_on(run: Run) -> None:
    assert run("create", "--allow-version-mismatch", "-f", "-", stdin=pool("a", "10.1.0.0/16")).exit_code == 0
    assert "a" in run("get", "ippool", "--allow-version-mismatch").output
