"""`bgp convert` as its user sees it: the steps, those that are done, what the one at work waits for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bgpnet.errors import Finding, UsageError
from bgpnet.rules import common
from bgpnet.store.repo import Repo
from bgpnet_ctl.conversion import CLUSTER, Step, choose, possible, to_mesh, to_reflectors
from bgpnet_ctl.converting import Tell, carry_out, pending
from bgpnet_ctl.topology import Picture, read

Say = Callable[[str], None]


def run(
    repo: Repo, back: bool, named: list[str] | None, cluster: str | None, seconds: float, *, dry_run: bool, say: Say
) -> None:
    """The whole command; raises UsageError for what is asked wrongly, BgpnetError for what cannot be."""
    seen = read(repo, time.time())
    steps = _steps(seen, back, named, cluster)
    done = pending(seen, steps)
    if dry_run:
        for at, step in enumerate(steps):
            say(f"{at + 1}. {step.text}{' (done)' if at < done else ''}")
        return
    if done == len(steps):
        say("Nothing is to be done: the nodes are a mesh." if back else "Nothing is to be done: the reflectors serve.")
        return
    with _progress(steps, say) as tell:
        carry_out(repo, steps, seconds, tell)
    say("Successfully converted to the mesh" if back else "Successfully converted to route reflectors")


def _steps(seen: Picture, back: bool, named: list[str] | None, cluster: str | None) -> list[Step]:
    if back:
        possible(seen, None)
        return to_mesh(seen)
    if named is not None and not named:
        raise UsageError("--nodes is given and empty: name nodes, such as node1,node2, or leave it out")
    chosen = list(dict.fromkeys(named)) if named is not None else choose(seen)
    possible(seen, chosen)
    return to_reflectors(seen, chosen, _cluster(seen, chosen, cluster))


def _cluster(seen: Picture, chosen: Sequence[str], asked: str | None) -> str:
    """What is asked for, else what the reflectors have already."""
    if asked is None:
        return next((seen.members[name].cluster for name in chosen if seen.members[name].cluster), CLUSTER)
    if isinstance(common.address("", asked, 4), Finding):
        raise UsageError(f"--cluster-id {asked} is not a cluster ID: write four numbers like {CLUSTER}")
    return asked


@contextmanager
def _progress(steps: Sequence[Step], say: Say) -> Iterator[Tell]:
    """A line for each step; on a terminal, what the one at work waits for is shown and goes again."""

    def title(at: int) -> str:
        return f"{at + 1}/{len(steps)} {steps[at].text}"

    if not sys.stderr.isatty():
        yield lambda at, lack: None if lack else say(title(at))
        return
    from rich.console import Console
    from rich.status import Status

    with Status("", console=Console(stderr=True)) as status:

        def tell(at: int, lack: str) -> None:
            if not lack and at:
                say(title(at - 1))
            status.update(f"{title(at)}{f': {lack}' if lack else ''}")

        yield tell
    say(title(len(steps) - 1))
