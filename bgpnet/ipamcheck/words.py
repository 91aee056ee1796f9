"""What nodes say of their addresses, read: an agent's answer to `ipam`, and what a Node publishes. Pure.

Fields that are missing or new do no harm: agents are older or newer than this program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from bgpnet.ipamcheck.picture import Holder, Source, Word
from bgpnet.model import instant, ip
from bgpnet.model.node import Node

SILENT = 60.0
"""Seconds without a heartbeat after which a node's word is no longer taken: three heartbeats that did not come."""


class Named(Struct, frozen=True, omit_defaults=True):
    """Somebody who has an address, as it is written in JSON."""

    address: str
    sequence: int = 0
    container: str = ""
    ifname: str = ""
    pod: str = ""
    since: str = ""
    reason: str = ""


class Told(Struct, frozen=True, rename="camel"):
    """What a node says of its addresses: the fields of Node.status.ipam."""

    checked_at: str = ""
    leaked: tuple[Named, ...] = ()
    unrecorded: tuple[Named, ...] = ()
    alarms: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """An agent's answer to `ipam`. blocks: CIDR to the live allocations in it; away: why its datastore is silent."""

    node: str
    ipam: Told
    blocks: dict[str, tuple[Named, ...]] | None = None
    pods: tuple[Named, ...] = ()
    away: str = ""


def of_agent(answer: Mapping[str, Any], now: float) -> Word:
    """This machine's agent's word; raises ValueError for what is no such answer."""
    try:
        told = msgspec.convert(answer, Answer)
        blocks = None if told.blocks is None else {cidr: _slots(cidr, held) for cidr, held in told.blocks.items()}
        pods = tuple(_holder(one) for one in told.pods)
        return Word(
            node=told.node,
            source=Source.AGENT,
            at=instant.stamp(now),
            leaked=tuple(map(_holder, told.ipam.leaked)),
            unrecorded=tuple(map(_holder, told.ipam.unrecorded)),
            alarms=told.ipam.alarms,
            blocks=blocks,
            pods=pods,
            away=told.away,
        )
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _slots(cidr: str, held: tuple[Named, ...]) -> dict[int, Holder]:
    first = int(ip.network(cidr).network_address)
    return {int(ip.address(one.address)) - first: _holder(one) for one in held}


def _holder(one: Named) -> Holder:
    ip.address(one.address)
    return Holder(**msgspec.structs.asdict(one))


def of_node(node: Node, now: float) -> Word:
    """What a Node publishes, taken only while its agent gives signs of life; else unknown, with the reason."""
    name = node.metadata.name
    identity = node.status.identity if node.status else None
    if identity is None:
        return unknown(name, "no agent holds its name")
    heard = identity.heartbeat
    try:
        age = now - instant.seconds(heard)
    except ValueError:
        return unknown(name, f"its heartbeat {heard!r} is no instant")
    if age >= SILENT:
        return unknown(name, f"its agent was last heard of {age:.0f} s ago", heard)
    published = msgspec.to_builtins(node.status).get("ipam")
    if published is None:
        nothing = unknown(name, "its agent publishes nothing about its addresses", heard)
        return dataclasses.replace(nothing, starting=True)
    try:
        told = msgspec.convert(published, Told)
        leaked, unrecorded = tuple(map(_holder, told.leaked)), tuple(map(_holder, told.unrecorded))
    except (msgspec.ValidationError, ValueError) as error:
        return unknown(name, f"what its agent publishes cannot be read ({error})", heard)
    at = told.checked_at or heard
    return Word(name, Source.PUBLISHED, at, leaked, unrecorded, told.alarms)


def unknown(node: str, reason: str, heard: str = "") -> Word:
    """No word, and why. heard: the node's last sign of life (RFC 3339), if there was one."""
    return Word(node, Source.UNKNOWN, heard, reason=reason)


def told(word: Word, now: float) -> str:
    """How a node's word came about, as a sentence."""
    match word.source:
        case Source.AGENT:
            return f"Node {word.node}: its agent was asked."
        case Source.PUBLISHED:
            return f"Node {word.node}: by what it published {_age(word.at, now)}."
        case Source.UNKNOWN:
            return f"Node {word.node}: unknown, so nothing there counts as a leak: {word.reason}."


def _age(at: str, now: float) -> str:
    try:
        return f"{max(now - instant.seconds(at), 0):.0f} s ago"
    except ValueError:
        return f"at {at}"
