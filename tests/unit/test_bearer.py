"""Tokens that change: a file's, and those that a kubeconfig's program prints."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bgpnet.kube.bearer import NoToken, Program, TokenFile
from bgpnet.model import instant


def shown(auth: TokenFile | Program) -> str:
    """What a request shows."""
    return str(auth(SimpleNamespace(headers={})).headers["Authorization"])


def test_a_token_is_read_at_each_request_and_the_former_one_does_while_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "token"
    auth = TokenFile(str(file))
    with pytest.raises(NoToken, match="No such file"):
        shown(auth)
    file.write_text("")
    with pytest.raises(NoToken, match="is empty"):
        shown(auth)
    file.write_text("one\n")
    assert shown(auth) == "Bearer one"
    file.write_text("two")
    assert shown(auth) == "Bearer two"
    for spoil in (lambda: file.write_text(""), file.unlink):
        spoil()
        assert shown(auth) == "Bearer two"


def program(folder: Path, *lines: str, seconds: float = 60.0) -> Program:
    """A shell script."""
    path = folder / "login"
    path.write_text("\n".join(["#!/bin/sh", f"echo asked >> {folder}/asked", *lines]))
    path.chmod(0o755)
    return Program([str(path), "an argument"], {"REGION": "north"}, "client.authentication.k8s.io/v1", seconds)


def prints(status: dict[str, str]) -> str:
    return f"echo '{json.dumps({'kind': 'ExecCredential', 'status': status})}'"


def asked(folder: Path) -> int:
    return len((folder / "asked").read_text().split())


def test_a_program_is_asked_once_and_told_which_version_it_is_to_speak(tmp_path: Path) -> None:
    auth = program(tmp_path, f'echo "$1 $REGION $KUBERNETES_EXEC_INFO" > {tmp_path}/told', prints({"token": "one"}))
    assert [shown(auth), shown(auth)] == ["Bearer one", "Bearer one"]
    assert asked(tmp_path) == 1
    words, _, info = (tmp_path / "told").read_text().partition(" {")
    assert words == "an argument north"
    assert json.loads("{" + info)["apiVersion"] == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize(("seconds", "times"), [(3600.0, 1), (5.0, 2), (-5.0, 2)])
def test_a_program_is_asked_again_before_its_token_ends(tmp_path: Path, seconds: float, times: int) -> None:
    auth = program(tmp_path, prints({"token": "x", "expirationTimestamp": instant.stamp(time.time() + seconds)}))
    assert {shown(auth), shown(auth)} == {"Bearer x"}
    assert asked(tmp_path) == times


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("echo 'no such profile' >&2; exit 3", "failed with status 3: no such profile"),
        ("echo hello", "printed no ExecCredential"),
        ("echo '[]'", "printed no ExecCredential"),
        (prints({}), "printed no token"),
        (prints({"clientCertificateData": "x"}), "gave a certificate and no token: not supported"),
        ("exec sleep 60", "gave no token within 1 s"),
    ],
)
def test_a_program_without_a_token_is_named_with_what_is_wrong(tmp_path: Path, line: str, sentence: str) -> None:
    began = time.monotonic()
    with pytest.raises(NoToken) as refused:
        shown(program(tmp_path, line, seconds=1.0 if "sleep" in line else 60.0))
    assert str(refused.value).startswith(f"{tmp_path}/login, which the kubeconfig names, ")
    assert sentence in str(refused.value)
    assert time.monotonic() - began < 50


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(NoToken, match="/no/such, which the kubeconfig names, cannot be run: No such file"):
        shown(Program(["/no/such"], {}, "v1"))
