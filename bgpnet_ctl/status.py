"""What the agent says of itself, as `bgpnetctl node status` shows it.

The agent's answer to `ask("status")` is the JSON of `Status`. Fields that are missing or new do no harm: the agent
may be older or newer than this program.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click
import msgspec
from msgspec import Struct

from bgpnet.errors import BgpnetError
from bgpnet.model import ip
from bgpnet_ctl import params, text
from bgpnet_ctl.render import tree

HEADER = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO")
STATE = HEADER.index("STATE")
COLOURS = {"up": "green", "start": "yellow"}


class Peer(Struct, frozen=True, kw_only=True):
    """One BGP session. since: RFC 3339, "" when never; received, advertised: prefixes; refused: prefixes by reason."""

    address: str
    type: str = ""
    state: str = ""
    since: str | None = ""
    info: str = ""
    received: int = 0
    advertised: int = 0
    refused: dict[str, int] = {}


class Block(Struct, frozen=True, kw_only=True):
    """One block of this node, in addresses."""

    cidr: str
    in_use: int = 0
    free: int = 0
    state: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """The agent's whole answer."""

    node: str = ""
    version: str = ""
    ready: bool = True
    reasons: tuple[str, ...] = ()
    tunnel: str | None = None
    blocks: tuple[Block, ...] = ()
    pods: int = 0
    peers: tuple[Peer, ...] = ()
    warnings: tuple[str, ...] = ()
    speaker: str = ""
    datastore: str = ""


def shown(answer: dict[str, object], output: str) -> str:
    """The agent's answer as text, or as it came in YAML or JSON."""
    if output != params.TABLE:
        return tree(answer, output)
    try:
        status = msgspec.convert(answer, Status)
    except msgspec.ValidationError as error:
        raise BgpnetError(f"the agent's status cannot be read ({error}): install one version of both") from error
    return "".join(_report(status, datetime.now().astimezone()))


def _report(status: Status, now: datetime) -> Iterator[str]:
    yield "bgpnet agent is running.\n"
    for family in (4, 6):
        peers = [peer for peer in status.peers if ip.address(peer.address).version == family]
        if family == 4 or peers:
            yield f"\nIPv{family} BGP status\n"
            yield _table(peers, now) if peers else f"No IPv{family} peers found.\n"
    notes = list(_notes(status))
    if notes:
        yield "\n" + "".join(f"{note}\n" for note in notes)
    yield "\n"


def _table(peers: list[Peer], now: datetime) -> str:
    rows = [(peer.address, peer.type, peer.state, since(peer.since or "", now), peer.info) for peer in peers]

    def paint(column: int, cell: str) -> str:
        return click.style(cell, fg=COLOURS.get(cell.strip())) if column == STATE else cell

    return text.boxed(HEADER, rows, paint=paint)


def _notes(status: Status) -> Iterator[str]:
    """What is not as it should be."""
    yield from (f"Not ready: {reason}" for reason in status.reasons)
    if status.speaker and status.speaker != "connected":
        yield f"The BGP speaker is {status.speaker}"
    if status.datastore and status.datastore != "in sync":
        yield f"The datastore is {status.datastore}"
    for peer in status.peers:
        if peer.refused:
            why = ", ".join(f"{count} {reason}" for reason, count in peer.refused.items())
            yield f"Not taken of what {peer.address} announces: {why}"
    yield from (f"Warning: {warning}" for warning in status.warnings)


def since(stamp: str, now: datetime) -> str:
    """The time of day within the last 24 hours, else the date, in this machine's time zone; as BIRD says it."""
    try:
        moment = datetime.fromisoformat(stamp).astimezone(now.tzinfo)
    except ValueError:
        return stamp
    return f"{moment:%H:%M:%S}" if abs((now - moment).total_seconds()) < 86_400 else f"{moment:%Y-%m-%d}"
