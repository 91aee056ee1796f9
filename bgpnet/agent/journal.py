"""The journal: what this node has given away, durable before anybody is told.

A file of lines, each `<crc32 of the rest, 8 hex digits> <JSON>`. The first line is the boot it belongs to; then blocks
as they were at some moment, pods that came and pods that went. A torn last line was never acknowledged and is cut off;
damage anywhere else makes the journal unknown as a whole, and the agent recovers from datastore and kernel instead.

Appends from several threads share one fdatasync (group commit). The file is rewritten when most of it is history.

Who comes must be in the file first (`append`, `begin`). Who goes must not wait for a disk that is full or read-only:
that is owed (`owe`), in memory, and comes into the file before anything else does. Should the agent die in debt, a pod
that went is found in the journal and nowhere else, which is a leak: no address is given twice, and no live one lost.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import msgspec

from bgpnet import ipam
from bgpnet.agent.world import Phase, Pod
from bgpnet.cnispec import Attachment
from bgpnet.errors import JournalFailed, UsageError
from bgpnet.model import ip
from bgpnet.model.instant import seconds, stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Owner, Use

HISTORY = 1000
"""Lines beyond four times what lives before the file is rewritten."""


REMEDIES = {
    errno.ENOSPC: "free space on the disk of the state directory",
    errno.EDQUOT: "free space on the disk of the state directory, or raise its quota",
    errno.EROFS: "make the disk of the state directory writable again",
}
"""What to do about a refusal of the disk."""

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
    """All addresses that IPReservations keep back, as last heard: the datastore may be away at the next start."""

    cidrs: tuple[str, ...]


Line = Boot | BlockIs | BlockWent | PodCame | PodWent | Kept
_DECODER = msgspec.json.Decoder(Line)


@dataclass(slots=True)
class Contents:
    """What a journal says: own blocks by CIDR, the pods that have addresses, and who had one that may still rest.

    reserved: CIDRs that nobody is given an address of unasked.
    """

    boot: str
    blocks: dict[str, IPAMBlock] = field(default_factory=dict)
    pods: dict[Attachment, PodCame] = field(default_factory=dict)
    rests: dict[str, tuple[PodCame, str]] = field(default_factory=dict)
    reserved: tuple[str, ...] = ()

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
            case Kept(cidrs):
                self.reserved = cidrs
            case Boot(boot):
                self.boot = boot

    def _forget_pods(self, net: ip.Network) -> None:
        """A block becomes idle when nobody has an address in it: whose end could not be journalled is gone, too."""
        self.pods = {key: pod for key, pod in self.pods.items() if not ip.contains(net, ip.address(pod.address))}

    def lines(self) -> list[Line]:
        """The shortest journal that says the same."""
        resting = [line for pod, at in self.rests.values() for line in (pod, PodWent(pod.container, pod.ifname, at))]
        kept = [Kept(self.reserved)] if self.reserved else []
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
                block = ipam.restore(block, pod.address, _allocation(came(pod)))
        blocks[block.network] = block
    return blocks, pods


def belongs(contents: Contents, boot: str, owner: Owner) -> bool:
    """Whether a journal is of the node that reads it, and may be believed: within a boot its name tells, else its UUID.

    A copied state directory says nothing of this machine. Raises UsageError when pods of another name may run here.
    """
    owners = {block.spec.owner for block in contents.blocks.values() if block.spec.owner is not None}
    renamed = sorted(other.name for other in owners if other.name != owner.name)
    if renamed and contents.boot == boot and contents.pods:
        raise UsageError(
            f"this machine has {len(contents.pods)} pods of node {renamed[0]} and is to be node {owner.name}: "
            f"start the agent with --node {renamed[0]}, or delete the pods first"
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


def _allocation(line: PodCame, freed: str | None = None) -> Allocation:
    return Allocation(
        container=line.container,
        ifname=line.ifname,
        pod=line.pod,
        since=line.since,
        sequence=line.sequence,
        keep=line.keep,
        freedAt=freed,
    )


def _rested(block: IPAMBlock, line: PodCame, at: str) -> IPAMBlock:
    """The block with an address that was released after the block was written: it rests from then on."""
    there = block.spec.allocations.get(int(ip.address(line.address)) - int(block.network.network_address))
    if there is not None:
        return block  # released above, or somebody else's by now
    return ipam.restore(block, ip.address(line.address), _allocation(line, at))


class Journal:
    """The file. Opened once by one agent; `append`, `begin`, `owe` and `pay` may be called from any thread."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._write = threading.Lock()
        self._sync = threading.Lock()
        self._written = 0
        self._synced = 0
        self._lines = 0
        self._fd = -1
        self._torn = False  # a write failed half-way or is owed: the next one begins with a fresh file
        self._telling = threading.Lock()
        self._refusal = ""
        self._told: Callable[[str], None] = _nobody
        self._live = Contents(boot)
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def load(self) -> Contents | None:
        """What the file says, if there is one and it is whole."""
        try:
            return decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise JournalFailed(
                f"journal {self._path} cannot be read: {problem.strerror}; see to the disk"
            ) from problem

    def listen(self, told: Callable[[str], None]) -> None:
        """Have it told when the disk refuses the journal (the sentence), and when it takes it again (nothing).

        Told from the thread that met it, and at once if the disk refuses now.
        """
        with self._telling:
            self._told = told
            if self._refusal:
                told(self._refusal)

    def start(self, blocks: Iterable[IPAMBlock], pods: Iterable[Pod], reserved: tuple[str, ...] = ()) -> None:
        """Begin anew with this content, replacing the file in one step; where the disk refuses, that is owed."""
        self._live = Contents(self._live.boot, reserved=reserved)
        for block in blocks:
            self._live.take(BlockIs(block))
        for pod in pods:
            self._live.take(came(pod))
        self._torn = True
        self.pay()

    def pay(self) -> None:
        """Write what is owed, if anything is and if the disk takes it by now."""
        with suppress(JournalFailed), self._guard(), self._sync, self._write:
            if self._torn:
                self._rewrite()

    def owe(self, lines: Iterable[Line]) -> None:
        """Make the lines durable now; or, where the disk refuses, before anything else is."""
        with suppress(JournalFailed):
            self._make_durable(self._put(lines, owed=True))

    def append(self, lines: Iterable[Line]) -> None:
        """Make the lines durable before returning; raises JournalFailed."""
        self._make_durable(self._put(lines))

    def begin(self, lines: Iterable[Line]) -> Callable[[], None]:
        """Write the lines and have them made durable meanwhile; to call what is returned waits for that.

        Either raises JournalFailed.
        """
        return self._committer.submit(self._make_durable, self._put(lines)).result

    def _put(self, lines: Iterable[Line], *, owed: bool = False) -> int:
        """Write the lines; the number of this write. owed: they count, too, where the disk refuses them."""
        lines = list(lines)
        with self._guard(), self._write:
            try:
                if self._torn:
                    self._rewrite()
                self._torn = True
                self._fill(self._fd, b"".join(map(encode, lines)))
                self._torn = False
            except OSError:
                self._take(lines if owed else ())
                raise
            self._take(lines)
            self._lines += len(lines)
            self._written += 1
            return self._written

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._live.take(line)

    def _make_durable(self, number: int) -> None:
        with self._guard(), self._sync:
            if self._synced < number:
                self._commit()

    def _commit(self) -> None:
        """One fdatasync for all that was written so far; when it fails, nothing of it counts as written.

        A file that failed once says nothing of what was written before, either: it is made anew.
        """
        with self._write:
            upto = self._written
            if self._torn or self._lines > HISTORY + 4 * (len(self._live.pods) + len(self._live.blocks)):
                self._rewrite()
            fd = os.dup(self._fd)  # another thread may replace the file meanwhile
        try:
            os.fdatasync(fd)
        except OSError:
            self._torn = True  # the kernel reports a failed write once: the next one must not trust this file
            raise
        finally:
            os.close(fd)
        self._synced = upto

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rewrite(self) -> None:
        self._torn = True
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._live.forget_old_rests()
        lines = self._live.lines()
        try:
            self._fill(fd, b"".join(map(encode, lines)))
            os.fsync(fd)
            os.rename(fresh, self._path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                fresh.unlink()  # half a file on a full disk is in everybody's way
            raise
        self.close()
        self._fd, self._lines = fd, len(lines)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._torn = False

    def _fill(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns the disk's refusal into one sentence, and tells when it begins and when it is over."""
        try:
            yield
        except OSError as problem:
            remedy = REMEDIES.get(problem.errno or 0, "see to the disk of the state directory")
            refusal = f"journal {self._path} cannot be written: {problem.strerror}; {remedy}"
            self._tell(refusal)
            raise JournalFailed(refusal) from problem
        if self._refusal and not self._torn:
            self._tell("")

    def _tell(self, refusal: str) -> None:
        with self._telling:
            if refusal != self._refusal:
                self._refusal = refusal
                self._told(refusal)


def _nobody(refusal: str) -> None:
    """Whom a journal tells before somebody listens."""
