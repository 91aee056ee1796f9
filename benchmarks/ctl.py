"""How long bgpnetctl takes to start, beside the interpreter's own start: `python -I -c pass` in the same run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.table import Row, add, render

BARE = "python -I -c pass"
LIMIT = 10.0
ETCD_LIMIT = 25.0
POOL = "apiVersion: bgpnet.io/v1\nkind: IPPool\nmetadata: {name: bench}\nspec: {cidr: 10.244.0.0/16}\n"
_STUB = "import re, sys; from bgpnet_ctl.main import main; sys.argv[0] = 'bgpnetctl'; sys.exit(main())"


def commands(folder: Path) -> dict[str, tuple[Sequence[str], float]]:
    """What is timed by its name, each with its limit; the first is what the others are held against.

    The entry point is what pip installs as bgpnetctl, in the interpreter that runs this.
    """
    module, entry = [sys.executable, "-m", "bgpnet_ctl"], [sys.executable, "-c", _STUB]
    return {
        BARE: ([sys.executable, "-I", "-c", "pass"], 1.0),
        "get ippool": ([*entry, "get", "ippool"], LIMIT),
        "python -m bgpnet_ctl get ippool": ([*module, "get", "ippool"], LIMIT),
        "get ippool -o yaml": ([*entry, "get", "ippool", "-o", "yaml"], LIMIT),
        "validate": ([*entry, "validate", "-f", str(folder / "pool.yaml")], LIMIT),
        "--help": ([*entry, "--help"], LIMIT),
    }


def once(command: Sequence[str], env: Mapping[str, str]) -> float:
    """One run, in ms; raises SystemExit with what it said when it failed: the figures would mean nothing."""
    started = time.perf_counter()
    ended = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    spent = (time.perf_counter() - started) * 1000
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.decode(errors='replace')}")
    return spent


def run(rounds: int, etcd: str) -> list[Row]:
    """Everything in turn, so many rounds; the medians beside that of `python -I -c pass`."""
    with tempfile.TemporaryDirectory(prefix="bgpnet-bench-") as folder:
        (Path(folder) / "pool.yaml").write_text(POOL)
        sqlite = os.environ | {"BGPNET_DATASTORE": f"sqlite://{folder}/store.db"}
        timed = {name: (command, sqlite, limit) for name, (command, limit) in commands(Path(folder)).items()}
        if etcd:
            timed["get ippool, etcd"] = (timed["get ippool"][0], os.environ | {"BGPNET_DATASTORE": etcd}, ETCD_LIMIT)
        once([sys.executable, "-m", "bgpnet_ctl", "create", "-f", f"{folder}/pool.yaml"], sqlite)
        spent: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(rounds):
            for name, (command, env, _) in timed.items():
                spent[name].append(once(command, env))
    own = median(spent.pop(BARE))
    return [Row(f"bgpnetctl {name}", median(spent[name]), own, BARE, "ms", timed[name][2]) for name in spent]


def main() -> None:
    """Prints the table, and adds its rows to build/bench.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ctl", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each is started (%(default)s)")
    parser.add_argument("--etcd", metavar="URL", default="", help="also with this datastore, etcd://HOST:PORT,…")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="figures (%(default)s)")
    chosen = parser.parse_args()
    rows = run(chosen.rounds, chosen.etcd)
    print(render(rows))
    add(rows, chosen.out)


if __name__ == "__main__":
    main()
