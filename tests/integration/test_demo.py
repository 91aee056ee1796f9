"""The main job, as a new user meets it: `bgpnet lab demo` and `bgpnet lab shell`, over the real kernel's tunl0."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet.lab import uml

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
MESH = "containerlab/mesh.clab.yml"
WITHIN = 500


def lab(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `bgpnet lab …` from the checkout, as make does."""
    command = [sys.executable, "-m", "bgpnet", "lab", *words]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=WITHIN)


@pytest.mark.root
@pytest.mark.uml
def test_the_demo_holds_and_its_data_say_the_same(tmp_path: Path) -> None:
    done = lab("demo", "-t", MESH, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "demo.json").read_text())
    assert data["problems"] == []
    assert data["uml"] is not uml.has_ipip()
    assert [pod["node"] for pod in data["pods"]] == ["node1", "node1", "node2", "node2", "node3", "node3"]
    assert len({pod["ip"] for pod in data["pods"]}) == 6
    blocks = {pod["node"]: pod["block"] for pod in data["pods"]}
    for name, lines in data["routes"].items():
        assert any(line.startswith(f"blackhole {blocks[name]} proto bgpnet") for line in lines)
        tunnelled = [line for line in lines if line.endswith("dev tunl0 proto bgpnet-bgp onlink")]
        assert len(tunnelled) == 2
        assert all(line.split()[0] in blocks.values() for line in tunnelled)
    # six pods to the five others, three nodes to six pods, six pods to three nodes
    assert len(data["reachability"]) == 6 * 5 + 3 * 6 + 6 * 3
    assert all(one["ok"] for one in data["reachability"])
    pods = {pod["name"]: pod["ip"] for pod in data["pods"]}
    assert all(one["seen_as"] == pods[one["from"]] for one in data["reachability"] if one["from"] in pods)
    assert "IPIP (4)" in data["capture"]
    assert re.fullmatch(r"3 agents killed: \d{2,4} pings sent, 0 lost; 0 route changes", data["kill"])
    for parts in data["memory"].values():
        assert 0 < parts["agent"] + parts["speaker"] < 80
    assert "All of it held" in done.stdout


@pytest.mark.root
@pytest.mark.uml
def test_the_shell_speaks_to_the_lab_and_leaves_nothing_behind() -> None:
    words = "bgpnetctl get ippool -o name; bgpnetctl node status; "
    words += "bgpnet lab exec node2 -- ip -4 -br addr show tunl0; exit 7"
    done = lab("shell", "-t", MESH, stdin=words)
    assert done.returncode == 7, done.stderr
    assert "pods" in done.stdout
    assert done.stdout.count("Established") == 2
    assert "tunl0" in done.stdout
    assert not list(Path("/run").glob("bgpnet-lab/mesh*"))
