"""A cluster that waits to be killed: python short_cluster.py FOLDER. Says `up` when a pod of it runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from threading import Event

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT), *(str(ROOT / "tests" / one) for one in ("support", "integration", "kubernetes"))]

from agents import eventually  # noqa: E402 - the path is set above
from kube_cluster import kube_cluster  # noqa: E402
from kube_network import Ptp  # noqa: E402
from workloads import deployment  # noqa: E402


def main(folder: Path) -> None:
    """The older of everything that there are two of."""
    with kube_cluster(folder, Ptp(), count=1, containerd="1.6", mode="iptables") as cluster:
        cluster.kubectl.apply(deployment("web", 2))
        cluster.kubectl.await_pods(2, "-l", "app=web")
        rules = partial(cluster["n1"].run, "iptables-save", "-t", "nat", check=False)
        eventually(lambda: "KUBE-SERVICES" in rules(), rules)
        print(f"up {cluster.lab.name}", flush=True)
        Event().wait(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
