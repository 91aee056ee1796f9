"""`bgp convert` carried out: one step after the other, each confirmed by the nodes before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, NotFound
from bgpnet.store.repo import Repo
from bgpnet_ctl.conversion import Step, Write
from bgpnet_ctl.topology import Picture, read

ATTEMPTS = 20
"""How often a write is tried that somebody else was quicker with: agents write their Nodes, too."""
EVERY = 0.5
"""Seconds between two looks."""

Tell = Callable[[int, str], None]
"""Told the number of the step that is at work, and what it waits for."""


def pending(seen: Picture, steps: Sequence[Step]) -> int:
    """The first step that is not done; as many as there are when all are."""
    return next((at for at, step in enumerate(steps) if step.missing(seen)), len(steps))


def carry_out(repo: Repo, steps: Sequence[Step], seconds: float, tell: Tell) -> None:
    """All of them; raises BgpnetError when one takes longer. Whatever is done then stays, and harms nobody."""
    for at, step in enumerate(steps):
        tell(at, "")
        if step.writes and step.missing(read(repo, time.time())):
            for write in step.writes:
                _write(repo, write)
        deadline = time.monotonic() + seconds
        while lack := step.missing(read(repo, time.time())):
            if time.monotonic() > deadline:
                raise BgpnetError(
                    f"step {at + 1} ({step.text}) is not done after {seconds:g} s: {lack}; no route was taken away, "
                    "and the same command goes on from here (--to the other side goes back)"
                )
            tell(at, lack)
            time.sleep(EVERY)


def _write(repo: Repo, write: Write) -> None:
    """Change one object at the revision that was read; raises Conflict when others keep changing it."""
    for _ in range(ATTEMPTS):
        there = repo.find(write.kind, write.name)
        wanted = write.change(there)
        try:
            if wanted is None:
                if there is not None:
                    repo.delete(write.kind, write.name)
            elif there is None:
                repo.create(wanted)
            elif wanted != there:
                repo.update(wanted)
        except (AlreadyExists, Conflict, NotFound):
            continue
        return
    raise Conflict(f"{write.kind.name}({write.name}) is changed by others all the time: run the same command again")
