"""`make conformance`: Kubernetes' own conformance tests of the network, all of them, and a table of what came of it.

    python tests/kubernetes/conformance.py [--network NAME] [--mode nftables|iptables] [--again] [WORD...]

A test that has passed is remembered in build/conformance/NETWORK-MODE/ and not run again, until `--again`; words choose
tests by what their names contain. Exit code 1 if one of the chosen has not passed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT), *(str(ROOT / "tests" / one) for one in ("support", "integration", "kubernetes"))]

import e2e  # noqa: E402 - the path is set above
import networks  # noqa: E402
from kube_cluster import kube_cluster  # noqa: E402
from workloads import COREDNS  # noqa: E402


class Record:
    """What has passed, in a file that is written after every test."""

    def __init__(self, folder: Path, again: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "passed.json"
        self.passed: dict[str, float] = {}
        if self._file.exists() and not again:
            self.passed = json.loads(self._file.read_text())

    def add(self, result: e2e.Result) -> None:
        """Keep it, if it has passed."""
        if result.passed:
            self.passed[result.name] = round(result.seconds, 1)
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self.passed, indent=1, sort_keys=True))
            fresh.rename(self._file)


def run(asked: argparse.Namespace, chosen: Sequence[str], record: Record, folder: Path) -> dict[str, e2e.Result]:
    """The tests that have not passed yet, on a cluster of their own; what came of each."""
    results: dict[str, e2e.Result] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        scratch = Path(name)
        extra = e2e.images(scratch)
        with (
            kube_cluster(scratch, networks.chosen(asked.network), mode=asked.mode, images=extra) as cluster,
            ThreadPoolExecutor(asked.workers) as threads,
        ):
            cluster.kubectl.apply(COREDNS)
            cluster.kubectl.await_pods(1, "-n", "kube-system", "-l", "k8s-app=kube-dns")
            for done in as_completed([threads.submit(e2e.run, cluster, one, folder) for one in chosen]):
                result = done.result()
                results[result.name] = result
                record.add(result)
                word = "passed" if result.passed else "FAILED"
                print(f"{len(results):3}/{len(chosen)} {word} {result.seconds:6.1f} s  {result.name}", flush=True)
    return results


def table(chosen: Sequence[str], record: Record, results: dict[str, e2e.Result]) -> str:
    """A line for every test, those that have not passed last."""
    lines = [f"passed {record.passed[one]:6.1f} s  {one}" for one in chosen if one in record.passed]
    lost = [one for one in chosen if one not in record.passed]
    lines += [f"FAILED {results[one].seconds:6.1f} s  {one}\n       {results[one].log}" for one in lost]
    return "\n".join([*lines, f"{len(chosen) - len(lost)} of {len(chosen)} passed"])


def main() -> int:
    """Choose, run, tell."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--network", default=networks.default(), choices=sorted(networks.NETWORKS))
    parser.add_argument("--mode", default="nftables", choices=["nftables", "iptables"])
    parser.add_argument("--workers", type=int, default=4, help="tests at the same time (4)")
    parser.add_argument("--again", action="store_true", help="forget what has passed")
    asked = parser.parse_args()
    folder = ROOT / "build" / "conformance" / f"{asked.network}-{asked.mode}"
    chosen = e2e.matching(asked.words)
    record = Record(folder, asked.again)
    missing = [one for one in chosen if one not in record.passed]
    begun = time.monotonic()
    results = run(asked, missing, record, folder) if missing else {}
    print(table(chosen, record, results))
    print(f"{asked.network}, kube-proxy {asked.mode}: {len(missing)} run in {time.monotonic() - begun:.0f} s")
    return 0 if all(one in record.passed for one in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
