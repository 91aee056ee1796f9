"""`bgpnetctl` as a program: pipes, exit codes, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet import ipam
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo

POOL = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: NAME}
spec: {cidr: CIDR, allowedUses: [LoadBalancer]}
---
"""
"""Of a pool that agents do nothing with: each write of it is warned of."""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    open_store(f"sqlite://{tmp_path}/store.db").close()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BGPNET_")}
    return kept | {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_RUN_DIR": str(tmp_path)}


def run(env: dict[str, str], *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bgpnet_ctl", *args]
    return subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_the_life_of_pools(env: dict[str, str]) -> None:
    two = POOL.replace("NAME", "a").replace("CIDR", "10.1.0.0/16") + POOL.replace("NAME", "b").replace(
        "CIDR", "10.2.0.0/16"
    )
    created = run(env, "create", "-f", "-", stdin=two)
    assert (created.returncode, created.stdout) == (0, "Successfully created 2 'IPPool' resource(s)\n")
    assert [line.partition(" ")[0] for line in created.stderr.splitlines()] == ["Warning:", "Warning:"]
    overlap = run(env, "create", "-f", "-", stdin=POOL.replace("NAME", "c").replace("CIDR", "10.1.8.0/24"))
    assert (overlap.returncode, overlap.stdout) == (1, "")
    assert len(overlap.stderr.splitlines()) == 1
    assert "overlaps with IPPool(a) CIDR 10.1.0.0/16" in overlap.stderr
    text = run(env, "get", "ippool", "-o", "yaml").stdout
    assert run(env, "apply", "-f", "-", stdin=text).stdout == "Successfully applied 2 'IPPool' resource(s)\n"
    assert run(env, "get", "pools", "-o", "name").stdout == "ippool/a\nippool/b\n"
    assert run(env, "delete", "ippool", "a", "b").stdout == "Successfully deleted 2 'IPPool' resource(s)\n"
    assert run(env, "get", "ippool").stdout == "NAME   CIDR   SELECTOR\n\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["version"], 0),
        (["ipam", "show"], 0),
        (["get", "wombat"], 2),
        (["get", "ippool", "-o", "xml"], 2),
        (["apply", "-f", "/nonexistent.yaml"], 2),
        (["get", "ippool", "nope"], 1),
        (["node", "status"], 1),
        (["get", "node", "--datastore", "sqlite:///proc/none/store.db"], 1),
        (["apply", "-f", "-"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes_and_plain_text(env: dict[str, str], args: list[str], code: int) -> None:
    ended = run(env, *args, stdin="kind: {\n")
    assert ended.returncode == code
    assert "\033" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert bool(ended.stderr) == (code != 0)


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(env: dict[str, str]) -> None:
    many = "".join(POOL.replace("NAME", f"pool-{n}").replace("CIDR", f"10.{n}.0.0/16") for n in range(200))
    assert run(env, "create", "-f", "-", stdin=many).returncode == 0
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "bgpnet_ctl", "get", "ippool", "-o", "json"]
    with os.fdopen(write, "wb") as gone:
        left = subprocess.run(argv, env=env, stdout=gone, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert left.stderr == ""


@pytest.mark.parametrize("args", [["datastore", "export"], ["get", "ippool"], ["validate", "--help"]], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_sentence(env: dict[str, str], args: list[str]) -> None:
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-m", "bgpnet_ctl", *args]
        failed = subprocess.run(argv, env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    said = "standard output cannot be written: No space left on device; what was written is not whole\n"
    assert (failed.returncode, failed.stderr) == (1, said)


def at_a_terminal(env: dict[str, str], *args: str, typed: str = "") -> tuple[int, str]:
    """Exit code and what the screen shows, with a terminal as all three of its streams."""
    ours, theirs = os.openpty()
    os.write(ours, typed.encode())
    argv = [sys.executable, "-m", "bgpnet_ctl", *args]
    with subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        screen = bytearray()
        try:
            while piece := os.read(ours, 4096):
                screen += piece
        except OSError:
            pass  # EIO: the last holder of the terminal's other end is gone
        code = program.wait(60)
    os.close(ours)
    return code, screen.decode()


def test_colour_is_for_terminals_and_for_those_who_want_it(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(POOL.replace("NAME", "a").replace("CIDR", "10.1.0.0/16"))
    env.pop("NO_COLOR", None)
    code, screen = at_a_terminal(env, "apply", "-f", str(file))
    assert (code, "\033[33mWarning:\033[0m IPPool(a)" in screen) == (0, True)
    code, screen = at_a_terminal(env | {"NO_COLOR": "1"}, "apply", "-f", str(file))
    assert (code, "\033" in screen) == (0, False)
    assert "Warning: IPPool(a)" in screen


@pytest.mark.parametrize(("typed", "code", "held"), [("n\n", 1, True), ("y\n", 0, False)])
def test_release_asks_at_a_terminal(env: dict[str, str], typed: str, code: int, held: bool) -> None:
    store = open_store(env["BGPNET_DATASTORE"])
    status = NodeStatus(identity=Identity(uuid="1234", heartbeat="2026-01-01T00:00:00.000Z"))
    Repo(store).write(Node(metadata=Metadata(name="n1"), status=status))
    ended, screen = at_a_terminal(env, "node", "release", "n1", typed=typed)
    assert ended == code
    assert "Release the name n1? [y/N]" in screen
    node = Repo(store).get(kinds.NODE, "n1")
    store.close()
    assert isinstance(node, Node)
    assert node.status is not None
    assert (node.status.identity is not None) == held


def test_asking_an_owner_shows_progress_at_a_terminal(env: dict[str, str]) -> None:
    store = open_store(env["BGPNET_DATASTORE"])
    net = ip.network("10.0.0.0/26")
    held = ipam.assign(ipam.new_block(net, Owner(name="n1", uid="u"), 1.0), ipam.Claimant("c", "eth0"), 1.0)
    assert held is not None
    Repo(store).write(held[0])
    Repo(store).write(Node(metadata=Metadata(name="n1")))
    store.close()
    code, screen = at_a_terminal(env, "ipam", "release", "--ip", "10.0.0.0", "--timeout", "0.5")
    assert code == 1
    assert "Asking the owners" in screen
    assert "node n1 did not answer within 0.5 s" in screen
