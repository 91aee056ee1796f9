"""The API server that tests run on is what they think it is: its life, its tokens, its rules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import eventually
from kube_client import Refused
from kube_server import ApiServer, api_server
from programs import built

pytestmark = pytest.mark.timeout(600)

READ = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all of these."""
    with api_server(tmp_path_factory.mktemp("kube")) as made:
        yield made


def code(server: ApiServer, token: str, method: str = "GET") -> int:
    """What the server answers to the bearer of the token."""
    try:
        server.client.request(method, MAPS, {"metadata": {"name": "x"}} if method == "POST" else None, token=token)
    except Refused as problem:
        return problem.status
    return 200


def kubectl(kubeconfig: Path, *argv: str) -> tuple[int, str]:
    """Its exit code and words."""
    done = subprocess.run(
        [built("kubernetes", "kubectl"), *argv],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_objects_survive_its_death(server: ApiServer) -> None:
    server.client.ensure(MAPS, {"metadata": {"name": "kept"}})
    server.kill()
    with pytest.raises(OSError, match="refused"):
        server.client.request("GET", f"{MAPS}/kept")
    server.start()
    assert server.client.request("GET", f"{MAPS}/kept")["metadata"]["name"] == "kept"


def test_a_user_may_do_what_the_rules_say(server: ApiServer) -> None:
    mary = server.user("mary")
    code, said = kubectl(mary, "get", "configmaps")
    assert (code, "forbidden" in said) == (1, True), said
    server.client.allow("mary", {"kind": "User", "name": "mary"}, [READ])
    eventually(lambda: kubectl(mary, "get", "configmaps")[0] == 0, "mary may not read")
    assert "forbidden" in kubectl(mary, "create", "configmap", "x")[1]
    assert kubectl(server.kubeconfig, "get", "nodes")[0] == 0


def test_a_token_ends_and_a_new_one_is_taken(server: ApiServer) -> None:
    account = server.client.account("poor", "reader", [READ], seconds=6)  # to begin with it has to be good
    first = (account.folder / "token").read_text()
    eventually(lambda: code(server, first) == 200, "the rules are not in force")
    assert code(server, first, "POST") == 403
    eventually(lambda: code(server, first) == 401, "the token does not end")
    second = account.renew()
    assert code(server, second) == 200
    assert kubectl(account.kubeconfig, "get", "configmaps")[0] == 0


def test_a_revision_that_is_compacted_away_is_gone(server: ApiServer) -> None:
    old = server.client.request("GET", MAPS)["metadata"]["resourceVersion"]
    for number in range(3):
        server.client.ensure(MAPS, {"metadata": {"name": f"more{number}"}})
    server.compact()
    server.restart()  # its watch cache would still have it
    said: list[bytes] = []

    def is_gone() -> bool:
        try:
            said.append(server.client.raw("GET", f"{MAPS}?watch=true&timeoutSeconds=5&resourceVersion={old}"))
        except Refused as problem:
            if problem.status != 429:  # its watch cache is not filled yet
                raise
            return False
        return True

    eventually(is_gone, server.log)
    assert b'"code":410' in said[0]
