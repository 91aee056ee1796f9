"""Help, completion, and what the program does not load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def run(*args: str, **env: str) -> Result:
    return CliRunner(env=env).invoke(cli, args, prog_name="bgpnetctl", catch_exceptions=False)


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.stdout
    assert "bgpnetctl " + " ".join(path) in shown.stdout
    assert run(*path, "-h").stdout == shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = run("completion", shell)
    assert script.exit_code == 0
    assert f"_BGPNETCTL_COMPLETE={shell}_complete" in script.stdout


def test_completion_of_an_unknown_shell() -> None:
    assert run("completion", "tcsh").exit_code == 2


def complete(datastore: str, *words: str) -> list[str]:
    """What the bash script gets for these words, of which the last is being typed."""
    env = {
        "_BGPNETCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("bgpnetctl", *words)),
        "COMP_CWORD": str(len(words)),
    }
    answer = run(BGPNET_DATASTORE=datastore, **env)
    return [line.partition(",")[2] for line in answer.stdout.splitlines() if line]


def test_commands_kinds_formats_and_names_are_completed(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store.db"
    store = open_store(url)
    for name, cidr in (("blue", "10.1.0.0/16"), ("black", "10.2.0.0/16"), ("red", "10.3.0.0/16")):
        Repo(store).create(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr)))
    store.close()
    assert complete(url, "ge") == ["get"]
    assert complete(url, "get", "bg") == ["bgpconfiguration", "bgppeer", "bgpfilter"]
    assert complete(url, "get", "ippool", "bl") == ["black", "blue"]
    assert complete(url, "delete", "ippool", "blue", "bl") == ["black"]
    assert complete(url, "get", "ippool", "-o", "w") == ["wide"]
    assert complete(url, "get", "wombat", "x") == []
    assert complete("nothing://", "get", "ippool", "bl") == []


def test_starting_loads_click_and_little_else() -> None:
    """What a person waits for at every command; each of these takes longer to load than a command takes to run."""
    heavy = "msgspec yaml rich netaddr sqlite3 socket json asyncio pyroute2 exabgp importlib.metadata"
    program = f"import sys, bgpnet_ctl.main; print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout == "\n"


def test_a_table_from_sqlite_loads_no_yaml_no_rules_and_no_other_datastore(tmp_path: Path) -> None:
    heavy = (
        "yaml rich netaddr socket asyncio grpc etcd3 hashlib ctypes bgpnet.rules.table bgpnet.selector"
        " bgpnet.document.reader bgpnet.store.etcd_options bgpnet_ctl.configuration_file"
    )
    open_store(f"sqlite://{tmp_path}/store.db").close()
    program = (
        "import sys\nfrom bgpnet_ctl.main import cli\n"
        f"cli(['--datastore', 'sqlite://{tmp_path}/store.db', 'get', 'ippool'], standalone_mode=False)\n"
        f"print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout == "NAME   CIDR   SELECTOR\n\n\n"
