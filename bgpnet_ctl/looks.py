"""A look at everything `ipam check` compares: the datastore, the nodes' words, the container runtime. No lock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from bgpnet.errors import AgentAway, BgpnetError, StoreUnreachable
from bgpnet.ipamcheck import words
from bgpnet.ipamcheck.picture import Picture, Source, Word
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.kinds import Kind
from bgpnet.model.node import Node
from bgpnet.store.repo import Repo, prefix
from bgpnet_ctl import runtime
from bgpnet_ctl.session import Session

T = TypeVar("T")


def look(session: Session) -> Picture:
    """One look; raises StoreUnreachable. An agent that does not answer is a note, not an error."""
    repo = session.repo()
    notes: list[str] = []
    local = _ask(session, notes)
    blocks, nodes = _all(repo, kinds.IPAMBLOCK, IPAMBlock), _all(repo, kinds.NODE, Node)
    now = time.time()
    heard = {node.metadata.name: words.of_node(node, now) for node in nodes}
    if local is not None:
        heard[local.node] = local
    recorded = {one.container for block in blocks for one in block.spec.allocations.values() if one.freedAt is None}
    stored = repo.find(kinds.IPAMCONFIGURATION, "default")
    settings = stored.spec if isinstance(stored, IPAMConfiguration) else IPAMConfigurationSpec()
    at_home = prefix(kinds.IPAMBLOCK)
    return Picture(
        now=now,
        blocks=tuple(blocks),
        pools=tuple(_all(repo, kinds.IPPOOL, IPPool)),
        nodes=tuple(nodes),
        reservations=tuple(_all(repo, kinds.IPRESERVATION, IPReservation)),
        settings=settings,
        words=heard,
        runtime=runtime.look(local.node if local else "", recorded),
        broken={
            one.subject: "; ".join(finding.problem for finding in one.findings)
            for one in repo.broken
            if one.subject.startswith(at_home)
        },
        notes=tuple(notes),
    )


def _all(repo: Repo, kind: Kind, of: type[T]) -> Sequence[T]:
    return [each for each in repo.list(kind)[0] if isinstance(each, of)]


def _ask(session: Session, notes: list[str]) -> Word | None:
    """This machine's agent's word."""
    try:
        word = words.of_agent(session.agent().ask("ipam"), time.time())
    except AgentAway as error:
        notes.append(f"this machine's agent was not asked, so its node is taken at its published word: {error}")
        return None
    except (StoreUnreachable, BgpnetError, ValueError) as error:
        notes.append(f"this machine's agent does not say what it has ({error}): install one version of both")
        return None
    if word.away:
        notes.append(f"the journal of node {word.node} was not compared: its datastore is away ({word.away})")
    if word.source is Source.AGENT and word.blocks is None:
        notes.append(f"the agent of node {word.node} does not know yet which blocks are its own")
    return word
