"""What a journal says: its lines, what they add up to, and how a World begins from that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from bgpnet import ipam, reservations
from bgpnet.agent.world import Me, Phase, Pod, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.errors import UsageError
from bgpnet.model import ip
from bgpnet.model.instant import readable, seconds, stamp
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Owner, Use

LONGEST_REST = 1200.0
"""Seconds; the most that the setting address_rest takes."""


class Boot(msgspec.Struct, frozen=True, tag="boot", tag_field="line"):
    """The first line: pods of another boot run no more."""

    boot: str


class BlockIs(msgspec.Struct, frozen=True, tag="block", tag_field="line"):
    """An own block as it was."""

    block: IPAMBlock


class PodCame(msgspec.Struct, frozen=True, tag="pod", tag_field="line"):
    """An allocation to a pod, with all that is needed to answer for it again."""

    container: str
    ifname: str
    pod: str
    network: str
    netns: str
    link: str
    address: str
    mac: str
    mtu: int
    since: str
    sequence: int
    keep: int = 0
    visible: bool = False


class PodWent(msgspec.Struct, frozen=True, tag="gone", tag_field="line"):
    """A pod's address was released, at that instant (RFC 3339): it rests from then on."""

    container: str
    ifname: str
    at: str


class BlockWent(msgspec.Struct, frozen=True, tag="block gone", tag_field="line"):
    """A block is another node's now."""

    cidr: str


class Kept(msgspec.Struct, frozen=True, tag="reserved", tag_field="line"):
    """All addresses that IPReservations keep back, and the cluster's ipCooldownSeconds, as last heard: the datastore
    may be away at the next start."""

    cidrs: tuple[str, ...]
    cooldown: int | None = None


Line = Boot | BlockIs | BlockWent | PodCame | PodWent | Kept
_DECODER = msgspec.json.Decoder(Line)


@dataclass(slots=True)
class Contents:
    """What a journal says: own blocks by CIDR, the pods that have addresses, and who had one that may still rest.

    kept: what nobody is given an address of unasked, and how long released ones rest.
    """

    boot: str
    blocks: dict[str, IPAMBlock] = field(default_factory=dict)
    pods: dict[Attachment, PodCame] = field(default_factory=dict)
    rests: dict[str, tuple[PodCame, str]] = field(default_factory=dict)
    kept: Kept = field(default_factory=lambda: Kept(()))

    def take(self, line: Line) -> None:
        """Apply one line."""
        match line:
            case BlockIs(block):
                self.blocks[block.spec.cidr] = block
                if block.spec.state is BlockState.IDLE:
                    self._forget_pods(block.network)
            case BlockWent(cidr):
                self.blocks.pop(cidr, None)
            case PodCame():
                self.pods[Attachment(line.container, line.ifname)] = line
                self.rests.pop(line.address, None)
            case PodWent():
                if (pod := self.pods.pop(Attachment(line.container, line.ifname), None)) is not None:
                    self.rests[pod.address] = (pod, line.at)
            case Kept():
                self.kept = line
            case Boot(boot):
                self.boot = boot

    def _forget_pods(self, net: ip.Network) -> None:
        """A block becomes idle when nobody has an address in it: whose end could not be journalled is gone, too."""
        self.pods = {key: pod for key, pod in self.pods.items() if not ip.contains(net, ip.address(pod.address))}

    def lines(self) -> list[Line]:
        """The shortest journal that says the same."""
        resting = [line for pod, at in self.rests.values() for line in (pod, PodWent(pod.container, pod.ifname, at))]
        kept = [self.kept] if self.kept != Kept(()) else []
        return [Boot(self.boot), *kept, *map(BlockIs, self.blocks.values()), *resting, *self.pods.values()]

    def forget_old_rests(self) -> None:
        """Keep those of the last while before the newest, or kept: the others have rested by any setting."""
        newest = max((seconds(at) for _, at in self.rests.values()), default=0.0)
        self.rests = {
            key: one for key, one in self.rests.items() if seconds(one[1]) + max(LONGEST_REST, one[0].keep) > newest
        }


def encode(line: Line) -> bytes:
    """One line with its checksum."""
    body = msgspec.json.encode(line)
    return b"%08x %b\n" % (crc32(body), body)


def decode(data: bytes) -> Contents | None:
    """The whole file; None when it is damaged (a torn last line is not damage), empty, or of an unknown form."""
    contents: Contents | None = None
    lines = data.split(b"\n")
    lines.pop()  # empty after the last newline, or torn
    for raw in lines:
        if raw[:9] != b"%08x " % crc32(raw[9:]):
            return None
        try:
            line = _DECODER.decode(raw[9:])
        except msgspec.DecodeError:
            return None
        if contents is None:
            if not isinstance(line, Boot):
                return None
            contents = Contents(line.boot)
        else:
            contents.take(line)
    return contents


def came(pod: Pod) -> PodCame:
    """A pod as a line."""
    return PodCame(
        container=pod.attachment.container,
        ifname=pod.attachment.ifname,
        pod=pod.pod,
        network=pod.network,
        netns=pod.netns,
        link=pod.link,
        address=str(pod.address),
        mac=pod.mac,
        mtu=pod.mtu,
        since=pod.since,
        sequence=pod.sequence,
        keep=pod.keep,
        visible=pod.visible,
    )


def recalled(contents: Contents | None, me: Me, boot: str, now: float, clock: float, **known: Any) -> World:
    """The World that an agent begins with, as the journal left it, if there is one; known: what else it has by then.

    Raises AllocationRefused where the journal gives one address to two.
    """
    blocks, pods = restore(contents, boot, now) if contents else ({}, {})
    kept = contents.kept if contents else Kept(())
    return World(
        me=me,
        now=now,
        clock=clock,
        blocks=blocks,
        pods=pods,
        journalled=contents is not None,
        reserved=reservations.of_networks(kept.cidrs),
        cooldown=kept.cooldown,
        **known,
    )


def restore(contents: Contents, boot: str, now: float) -> tuple[dict[ip.Network, IPAMBlock], dict[Attachment, Pod]]:
    """Own blocks and pods as the journal left them: pods of another boot rest from now on, who went since then."""
    living = contents.pods if contents.boot == boot else {}
    pods = {attachment: _pod(line) for attachment, line in living.items()}
    blocks: dict[ip.Network, IPAMBlock] = {}
    for block in contents.blocks.values():
        for ordinal, allocation in list(block.spec.allocations.items()):
            pod = pods.get(Attachment(allocation.container, allocation.ifname))
            stands = pod is not None and pod.address == block.network[ordinal]
            if allocation.freedAt is None and allocation.use is Use.WORKLOAD and not stands:
                block = ipam.release(block, allocation.container, allocation.ifname, now)
        ended = [(line, stamp(now)) for attachment, line in contents.pods.items() if attachment not in pods]
        for line, at in (*contents.rests.values(), *ended):
            if ip.contains(block.network, ip.address(line.address)):
                block = _rested(block, line, at)
        for pod in pods.values():
            if ip.contains(block.network, pod.address):
                block = ipam.restore(block, pod.address, pod.allocation())
        blocks[block.network] = block
    return blocks, pods


def end_overtaken(contents: Contents, links: Mapping[Attachment, Seen], now: float) -> list[PodCame]:
    """Ends the pods of whose container, or whose address, the kernel has a later link; these pods.

    Then the journal is an old copy, or its last lines were lost though they had been acknowledged. The link's pod is
    recovered from the kernel, as one that no journal has (adopt.py).
    """
    unknown = {seen.address: seen for attachment, seen in links.items() if attachment not in contents.pods}
    over = []
    for attachment, pod in contents.pods.items():
        seen = links.get(attachment) or unknown.get(ip.address(pod.address))
        if seen is not None and _is_later(seen.since, pod.since):
            over.append(pod)
    for pod in over:
        contents.take(PodWent(pod.container, pod.ifname, stamp(now)))
    return over


def _is_later(one: str, than: str) -> bool:
    return readable(one) and readable(than) and seconds(one) > seconds(than)


def belongs(contents: Contents, boot: str, owner: Owner) -> bool:
    """Whether a journal is of the node that reads it, and may be believed: within a boot its name tells, else its UUID.

    A copied state directory says nothing of this machine. Raises UsageError when pods of another name may run here.
    """
    owners = {block.spec.owner for block in contents.blocks.values() if block.spec.owner is not None}
    renamed = sorted(other.name for other in owners if other.name != owner.name)
    if renamed and contents.boot == boot and contents.pods:
        raise UsageError(
            f"this machine has {len(contents.pods)} pods of node {renamed[0]} and is to be node {owner.name}: "
            f"start the agent with --node {renamed[0]}; to rename the node, delete the pods while that agent runs"
        )
    return not renamed if contents.boot == boot else owners <= {owner}


def _pod(line: PodCame) -> Pod:
    return Pod(
        attachment=Attachment(line.container, line.ifname),
        pod=line.pod,
        network=line.network,
        netns=line.netns,
        link=line.link,
        address=ip.address(line.address),
        mac=line.mac,
        mtu=line.mtu,
        since=line.since,
        sequence=line.sequence,
        keep=line.keep,
        phase=Phase.READY,
        visible=line.visible,
    )


def _rested(block: IPAMBlock, line: PodCame, at: str) -> IPAMBlock:
    """The block with an address that was released after the block was written: it rests from then on."""
    there = block.spec.allocations.get(int(ip.address(line.address)) - int(block.network.network_address))
    if there is not None:
        return block  # released above, or somebody else's by now
    return ipam.restore(block, ip.address(line.address), _pod(line).allocation(at))
