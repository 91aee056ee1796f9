"""A Kubernetes cluster by its kubectl: what the tests of a cluster ask, of ours or of one that somebody names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import built

from bgpnet.errors import UsageError
from bgpnet.lab.wait import until

PATIENCE = 180.0
"""Seconds in which a cluster has to do what it was asked for."""

Json = dict[str, Any]
Run = Callable[[Sequence[str], str, float], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with a kubeconfig. run: executes a command (argv, standard input, seconds) where the cluster is seen."""

    kubeconfig: Path
    run: Run

    def try_(self, *argv: str, stdin: str = "", seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Its exit code and words, whatever they are."""
        return self.run([built("kubernetes", "kubectl"), f"--kubeconfig={self.kubeconfig}", *argv], stdin, seconds)

    def __call__(self, *argv: str, stdin: str = "", seconds: float = PATIENCE) -> str:
        """What it prints; it has to succeed."""
        done = self.try_(*argv, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"kubectl {' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *argv: str) -> Json:
        """`kubectl get` of an object, or a List, as JSON."""
        found: Json = json.loads(self("get", "-o", "json", *argv))
        return found

    def items(self, *argv: str) -> list[Json]:
        """The objects of `kubectl get` of a kind."""
        found: list[Json] = self.get(*argv)["items"]
        return found

    def apply(self, *objects: Json | str | Path) -> str:
        """`kubectl apply` of objects, YAML text, or a file."""
        texts = [one.read_text() if isinstance(one, Path) else one for one in objects]
        text = "\n---\n".join(one if isinstance(one, str) else json.dumps(one) for one in texts)
        return self("apply", "-f", "-", stdin=text)

    def exec(self, pod: str, *argv: str, namespace: str = "default", seconds: float = PATIENCE) -> str:
        """What a command in a pod prints."""
        return self("exec", "-n", namespace, pod, "--", *argv, seconds=seconds)

    def nodes(self) -> dict[str, bool]:
        """The nodes, and whether they are Ready."""
        return {one["metadata"]["name"]: condition(one, "Ready") for one in self.items("nodes")}

    def pods(self, *argv: str) -> list[Json]:
        """The pods that `kubectl get pods` finds, those that end left out."""
        return [one for one in self.items("pods", *argv) if "deletionTimestamp" not in one["metadata"]]

    def await_nodes(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until so many are Ready."""
        until(lambda: "" if sum((now := self.nodes()).values()) >= count else f"nodes Ready: {now}", seconds)

    def await_pods(self, count: int, *argv: str, seconds: float = PATIENCE) -> list[Json]:
        """Wait until so many of `kubectl get pods` are Ready: these."""
        found: list[Json] = []

        def missing() -> str:
            found[:] = self.pods(*argv)
            ready = sum(condition(one, "Ready") for one in found)
            if (ready, len(found)) == (count, count):
                return ""
            return f"{ready} of {len(found)} pods are Ready, not {count}: {[_brief(one) for one in found]}"

        try:
            until(missing, seconds)
        except UsageError:
            print(self.try_("get", "events", "-A", "--sort-by=.lastTimestamp").stdout)
            raise
        return found


def condition(one: Json, kind: str) -> bool:
    """Whether an object's condition of that type is True."""
    told = one.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in told)


def _brief(pod: Json) -> str:
    status = pod["status"]
    waits = [one["state"].get("waiting", {}).get("message", "") for one in status.get("containerStatuses", [])]
    return f"{pod['metadata']['name']} {status['phase']} {' '.join(filter(None, waits))}"


def outside(argv: Sequence[str], stdin: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Execute it on this machine, in its own network."""
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds, env=dict(os.environ))
