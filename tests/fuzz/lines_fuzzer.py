"""Fuzz what reads ExaBGP's lines: `python tests/fuzz/lines_fuzzer.py [inputs] [seed]`; `make fuzz` reads a million.

Each input is a line that ExaBGP could say, made from a meaning that is known, and mostly spoilt afterwards: in its
bytes, or in its JSON. A line as it was made must be read as it was meant. A spoilt one must be refused, or mean what
another reading of it says, which knows nothing of bgpnet.bgp.lines: strict, by json and ipaddress alone. What is read
goes into a Table and, by the other reading, into a dictionary; the two must stay the same. And lines pass the relay in
pieces of any size, with agents that come and go, whole and in order.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as File
from time import monotonic
from typing import Any

from lines_made import MAKERS, PEERS, spoilt
from lines_read import Key, Route, Wrong, reading

from bgpnet.bgp import lines
from bgpnet.bgp.lines import Dumped, EndOfRib, PeerDown, PeerUp, Unknown, Update
from bgpnet.bgp.relay import Relay
from bgpnet.bgp.rib import Path, Table

MILLION = 1_000_000
SESSION = 60
"""Lines that go into one table."""


def plain(path: Path) -> Route:
    """A path by plain values, as the other reading has it."""
    return (
        str(path.next_hop), path.origin, path.as_path, path.local_pref, path.med, path.communities,
        path.large_communities, path.originator_id, path.cluster_list, path.external,
    )  # fmt: skip


def meaning(event: object) -> tuple[Any, ...] | None:
    """What an event says of routes, in the other reading's words."""
    match event:
        case Update():
            put = [((str(event.peer), str(one.prefix), one.path_id), plain(one)) for one in event.announced]
            gone = [(str(event.peer), str(net), number) for net, number in event.withdrawn]
            return ("update", put, gone)
        case EndOfRib():
            return ("end", str(event.peer))
        case PeerUp():
            return ("up", str(event.peer))
        case PeerDown():
            return ("down", str(event.peer))
        case Dumped():
            path = event.path
            return ("dumped", (str(path.peer), str(path.prefix), path.path_id), plain(path))
        case _:
            return None


@dataclass
class Report:
    """What came of it; wrong: lines that were misread, with both readings. parse: what is under test."""

    parse: Callable[[str], object] = lines.parse
    inputs: int = 0
    refused: int = 0
    spoilt: int = 0
    relayed: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, text: str, whole: bool) -> object:
        """Read one line in both ways; the event, or None where nothing may follow from it."""
        self.inputs += 1
        self.spoilt += not whole
        event = self.parse(text)
        try:
            wanted = reading(text)
        except Wrong:
            wanted = ("nothing",)
        found = meaning(event)
        if isinstance(event, Unknown):
            self.refused += 1
            if whole:
                self.wrong.append(f"a good line is refused: {text}")
            return None
        if found != wanted and not (found is None and wanted == ("nothing",)):
            self.wrong.append(f"{text}\n  is read as {found}\n  and means   {wanted}")
        return event


def _follow(table: Table, model: dict[Key, Route], event: object) -> Table:
    """The same to both."""
    said = meaning(event)
    if said is None:
        return table
    match event:
        case Update():
            for key in said[2]:
                model.pop(key, None)
            model.update(said[1])
            return table.apply(event)
        case PeerUp() | PeerDown():
            for key in [key for key in model if key[0] == said[1]]:
                del model[key]
            return table.drop(event.peer)
        case _:
            return table


def sessions(inputs: int, dice: random.Random, report: Report) -> None:
    """So many lines; a new table now and then."""
    makers, weights = zip(*MAKERS, strict=True)
    kept: list[str] = []
    while report.inputs < inputs:
        table, model = Table(), {}
        kept.clear()
        for _ in range(SESSION):
            said = dice.choices(makers, weights)[0](dice, dice.choice(PEERS))
            text = json.dumps(said)
            whole = dice.random() < 0.3
            text = text if whole else spoilt(dice, said, text)
            kept.append(text)
            table = _follow(table, model, report.check(text, whole))
        have = {(str(one.peer), str(one.prefix), one.path_id): plain(one) for one in table.paths()}
        if have != model:
            report.wrong.append(f"the table differs: {set(have.items()) ^ set(model.items())}")
        if report.inputs % (SESSION * 50) == 0:
            relayed(kept, dice, report)


# the relay


def relayed(said: list[str], dice: random.Random, report: Report) -> None:
    """The lines pass in pieces; every agent hears whole lines only, in order, and no answer to another's command."""
    whole = [one.replace("\n", " ").encode("utf-8", "replace") for one in said if one.strip()]
    source, feed = os.pipe()
    taken, sink = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        place = str(File(folder) / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(place)
            listener.listen(4)
            relay = Relay(source, sink, listener)
            heard = _pumped(relay, feed, place, whole, dice)
            relay._part()
    for descriptor in (source, feed, taken, sink):
        os.close(descriptor)
    report.relayed += len(whole)
    if heard != b"".join(line + b"\n" for line in whole):
        report.wrong.append(f"the relay changed lines: {heard[:2000]!r}")


def _pumped(relay: Relay, feed: int, place: str, whole: list[bytes], dice: random.Random) -> bytes:
    """What agents hear, one after another; each comes between two lines, as the former one goes."""
    heard = b""
    agent = _agent(relay, place)
    for line in whole:
        rest = line + b"\n"
        while rest:
            piece, rest = rest[: (size := dice.randrange(1, len(rest) + 1))], rest[size:]
            os.write(feed, piece)
            relay._turn()
            heard += _there(agent)
        if dice.random() < 0.05:
            agent.close()
            agent = _agent(relay, place)
    agent.close()
    return heard


def _agent(relay: Relay, place: str) -> socket.socket:
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    agent.connect(place)
    former = relay.agent
    while relay.agent is former:
        relay._turn()
    agent.setblocking(False)
    return agent


def _there(agent: socket.socket) -> bytes:
    found = b""
    try:
        while more := agent.recv(1 << 16):
            found += more
    except BlockingIOError:
        pass
    return found


def run(inputs: int, seed: int, parse: Callable[[str], object] = lines.parse) -> Report:
    """Fuzz with so many lines; what raises leaves as it is, with the seed in the caller's hands."""
    report = Report(parse)
    sessions(inputs, random.Random(seed), report)  # noqa: S311 - it has to be repeated by its seed
    return report


def main(arguments: list[str]) -> int:
    """Say what was found; 1 where something was."""
    inputs = int(arguments[0]) if arguments else MILLION
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    began = monotonic()
    report = run(inputs, seed)
    for one in report.wrong[:20]:
        print(one)
    print(
        f"{report.inputs} lines ({report.spoilt} spoilt, {report.refused} refused, {report.relayed} through the relay) "
        f"in {monotonic() - began:.0f} s: {len(report.wrong)} misread"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
