"""`bgpnet cni install`: whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgpnet.cni import install
from bgpnet.cni.main import command
from bgpnet.errors import UsageError

ANSWER = '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}'
WORKS = f"#!/bin/sh\necho '{ANSWER}'\n".encode()


def test_the_old_plugin_is_replaced_in_one_step(tmp_path: Path) -> None:
    old = tmp_path / "bin" / "bgpnet"
    old.parent.mkdir()
    old.write_text("the old one")
    with old.open() as running:
        assert install.install(WORKS, old.parent) == old
        assert running.read() == "the old one"
    assert old.read_bytes() == WORKS
    assert stat.S_IMODE(old.stat().st_mode) == 0o755
    assert os.listdir(old.parent) == ["bgpnet"]


def test_the_directory_is_made(tmp_path: Path) -> None:
    assert install.install(WORKS, tmp_path / "opt" / "cni" / "bin").read_bytes() == WORKS


@pytest.mark.parametrize(
    "broken", [b"", b"\x7fELF", b"#!/no/such/program\n", b"#!/bin/sh\nexit 1\n", b"#!/bin/sh\necho '[]'\n"]
)
def test_what_does_not_answer_version_is_not_installed(tmp_path: Path, broken: bytes) -> None:
    install.install(WORKS, tmp_path)
    with pytest.raises(UsageError, match="was not installed"):
        install.install(broken, tmp_path)
    assert (tmp_path / "bgpnet").read_bytes() == WORKS
    assert os.listdir(tmp_path) == ["bgpnet"]


def test_the_frozen_twin_answers_and_so_does_it_under_another_python(tmp_path: Path) -> None:
    frozen = install.freeze()
    other = frozen.replace(b"MAGIC_NUMBER == b'", b"MAGIC_NUMBER == b'other")
    assert other != frozen
    for program in (frozen, other):
        assert install.try_version(install.install(program, tmp_path)) == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_the_frozen_twin_refuses_as_the_script_does(tmp_path: Path) -> None:
    frozen = install.install(install.freeze(), tmp_path)
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_IFNAME": "e", "CNI_NETNS": "/proc/self/ns/net"}
    runs = [
        subprocess.run(plugin, env=env, input=b'{"a":', capture_output=True, timeout=30)
        for plugin in ([str(frozen)], ["/usr/bin/python3", "-ISE", str(install.TWIN)])
    ]
    assert [(run.returncode, run.stderr) for run in runs] == [(1, b""), (1, b"")]
    assert runs[0].stdout == runs[1].stdout


def test_the_command_installs_the_twin(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["install", "--python", "--bin-dir", str(tmp_path / "bin")])
    assert (result.exit_code, result.output) == (0, f"installed {tmp_path / 'bin' / 'bgpnet'}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "{tmp}/none"], "--from {tmp}/none: No such file or directory; build it with `make cni`"),
        (["--python", "--bin-dir", "{tmp}/file/bin"], "--bin-dir {tmp}/file/bin: Not a directory; name a directory"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(command, ["install", *(each.format(tmp=tmp_path) for each in arguments)])
    assert result.exit_code == 1
    assert message.format(tmp=tmp_path) in result.output
