"""The journal: what was acknowledged is read back; what was torn was never acknowledged; damage is not guessed at."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet import integrity, ipam
from bgpnet.agent import journal
from bgpnet.agent.journal import BlockIs, Journal, Kept, PodWent, came
from bgpnet.agent.world import Phase, Pod
from bgpnet.cnispec import Attachment
from bgpnet.errors import JournalFailed, UsageError
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Owner

NET = ip.network("10.244.0.0/26")
OWNER = Owner(name="node1", uid="u1")
NOW = 1_700_000_000.0


def allocated(count: int) -> tuple[IPAMBlock, list[Pod]]:
    block = ipam.new_block(NET, OWNER, NOW)
    pods = []
    for number in range(count):
        assigned = ipam.assign(block, ipam.Claimant(f"c{number}", "eth0", f"ns/p{number}"), NOW)
        assert assigned is not None
        block, address = assigned
        found = ipam.find(block, f"c{number}", "eth0")
        assert found is not None
        pods.append(
            Pod(
                attachment=Attachment(f"c{number}", "eth0"),
                pod=f"ns/p{number}",
                network="net",
                netns=f"/run/netns/p{number}",
                link=f"cali{number}",
                address=address,
                mac="0a:58:00:00:00:01",
                mtu=1480,
                since=stamp(NOW),
                sequence=found[1].sequence,
                phase=Phase.READY,
            )
        )
    return block, pods


def opened(path: Path, boot: str = "boot1") -> Journal:
    one = Journal(path, boot)
    one.start([], [])
    return one


def read(path: Path, boot: str = "boot1") -> tuple[dict[ip.Network, IPAMBlock], dict[Attachment, Pod]]:
    contents = Journal(path, boot).load()
    assert contents is not None
    return journal.restore(contents, boot, NOW)


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    block, pods = allocated(3)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(ipam.new_block(NET, OWNER, NOW))])
    one.append([came(pod) for pod in pods])
    one.append([PodWent("c1", "eth0", stamp(NOW))])
    blocks, found = read(tmp_path / "journal")
    assert set(found) == {Attachment("c0", "eth0"), Attachment("c2", "eth0")}
    assert found[pods[0].attachment] == pods[0]
    live = {o for o, allocation in blocks[NET].spec.allocations.items() if allocation.freedAt is None}
    assert live == {0, 2}
    assert integrity.check(blocks[NET]) == []
    assert block.spec.owner == blocks[NET].spec.owner


def test_a_pod_that_went_after_the_block_was_written_rests(tmp_path: Path) -> None:
    block, _ = allocated(1)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(block)])
    one.append([PodWent("c0", "eth0", stamp(NOW))])
    blocks, found = read(tmp_path / "journal")
    assert not found
    assert ipam.usage(blocks[NET], NOW).resting == 1


def test_pods_of_another_boot_are_released_and_blocks_stay(tmp_path: Path) -> None:
    block, pods = allocated(2)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(block), *map(came, pods)])
    blocks, found = read(tmp_path / "journal", "boot2")
    assert not found
    assert ipam.usage(blocks[NET], NOW).in_use == 0


def test_addresses_given_after_the_block_was_journalled_rest_after_a_reboot_too(tmp_path: Path) -> None:
    block, pods = allocated(2)
    claimed = ipam.new_block(NET, OWNER, NOW - 1)
    opened(tmp_path / "journal").append([BlockIs(claimed), *map(came, pods)])
    blocks, _ = read(tmp_path / "journal", "boot2")
    assert ipam.usage(blocks[NET], NOW).resting == 2
    assert blocks[NET].spec.sequence >= block.spec.sequence


def test_a_new_start_replaces_the_file(tmp_path: Path) -> None:
    block, pods = allocated(2)
    opened(tmp_path / "journal").append([BlockIs(block), *map(came, pods)])
    again = Journal(tmp_path / "journal", "boot1")
    again.start([block], pods[:1])
    _, found = read(tmp_path / "journal")
    assert set(found) == {pods[0].attachment}
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


@given(cut=st.integers(min_value=1, max_value=400))
def test_a_torn_tail_is_cut_off_and_the_rest_stands(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    block, pods = allocated(2)
    one = opened(path)
    one.append([BlockIs(block), came(pods[0])])
    whole = path.read_bytes()
    one.append([came(pods[1])])
    one.close()
    longer = path.read_bytes()
    torn = longer[: max(len(whole), len(longer) - cut)]
    path.write_bytes(torn)
    _, found = read(path)
    assert set(found) == ({pods[0].attachment} if torn != longer else {pod.attachment for pod in pods})


@given(st.data())
def test_damage_before_the_tail_makes_it_unknown_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    block, pods = allocated(2)
    one = opened(path)
    one.append([BlockIs(block), *map(came, pods)])
    one.close()
    whole = path.read_bytes()
    end = whole.rindex(b"\n", 0, len(whole) - 1)
    at = data.draw(st.integers(min_value=0, max_value=end - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    path.write_bytes(bytes(flipped))
    assert Journal(path, "boot1").load() is None


def test_no_file_is_no_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal", "boot1").load() is None


def test_history_is_dropped_when_it_outgrows_what_lives(tmp_path: Path) -> None:
    block, pods = allocated(1)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(block)])
    for _ in range(journal.HISTORY):
        one.append([came(pods[0])])
        one.append([PodWent("c0", "eth0", stamp(NOW))])
    one.append([came(pods[0])])
    assert len((tmp_path / "journal").read_bytes().splitlines()) < journal.HISTORY + 10
    _, found = read(tmp_path / "journal")
    assert set(found) == {pods[0].attachment}


def test_who_rests_does_not_make_every_write_a_rewrite(tmp_path: Path) -> None:
    """Pods come and go, and each leaves an address that rests: few live, and many have lines."""
    block, pods = allocated(64)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(block)])
    files = []
    for number in range(journal.HISTORY):
        address = ip.address("10.244.0.0") + number
        one.append([came(replace(pods[0], address=address))])
        one.append([PodWent("c0", "eth0", stamp(NOW + number / 1000))])
        files.append((tmp_path / "journal").stat().st_ino)
    assert len(read(tmp_path / "journal")[0]) == 1
    assert sum(one != other for one, other in itertools.pairwise(files)) < 5


def test_threads_append_side_by_side_and_nothing_is_lost(tmp_path: Path) -> None:
    block, pods = allocated(40)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(ipam.new_block(NET, OWNER, NOW))])
    threads = [threading.Thread(target=one.append, args=([came(pod)],)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    _, found = read(tmp_path / "journal")
    assert set(found) == {pod.attachment for pod in pods}
    assert block.network == NET


def test_a_full_disk_is_one_sentence_and_promises_nothing(tmp_path: Path) -> None:
    block, pods = allocated(1)
    one = opened(tmp_path / "journal")
    one.append([BlockIs(block)])
    before = read(tmp_path / "journal")
    (tmp_path / "journal").rename(tmp_path / "kept")
    full = Journal(Path("/dev/full"), "boot1")
    full._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(JournalFailed, match="/dev/full cannot be written: No space left on device; free space on"):
        full.append([came(pods[0])])
    (tmp_path / "kept").rename(tmp_path / "journal")
    assert read(tmp_path / "journal") == before


class Refusing(Journal):
    """A journal on a disk that takes nothing while it is full, or only the first bytes of it."""

    full = False
    first = 0

    def _fill(self, fd: int, data: bytes) -> None:
        super()._fill(fd, data[: self.first] if self.full else data)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def with_a_pod(path: Path) -> tuple[Refusing, list[Pod], list[str]]:
    """A journal that has one pod, and what it tells."""
    block, pods = allocated(2)
    one, told = Refusing(path, "boot1"), list[str]()
    one.listen(told.append)
    one.start([block], pods[:1])
    return one, pods, told


@pytest.mark.parametrize("first", [0, 20, 10_000])
def test_what_is_owed_comes_before_whatever_is_written_next(tmp_path: Path, first: int) -> None:
    one, pods, told = with_a_pod(tmp_path / "journal")
    one.full, one.first = True, first
    one.owe([PodWent("c0", "eth0", stamp(NOW))])
    one.owe([Kept(("10.244.0.0/30",))])
    with pytest.raises(JournalFailed, match="No space left on device; free space on the disk"):
        one.append([came(pods[1])])
    assert [bool(refusal) for refusal in told] == [True]
    again = replace(pods[0], attachment=Attachment("again", "eth0"))  # with the address that is free by now
    one.full = False
    one.append([came(again)])
    blocks, found = read(tmp_path / "journal")
    assert set(found) == {again.attachment}
    slot = blocks[NET].spec.allocations[0]
    assert (slot.container, slot.freedAt) == ("again", None)
    assert [bool(refusal) for refusal in told] == [True, False]


def test_killed_in_debt_the_pod_that_went_is_still_in_the_journal(tmp_path: Path) -> None:
    one, pods, _ = with_a_pod(tmp_path / "journal")
    one.full, one.first = True, 50
    one.owe([PodWent("c0", "eth0", stamp(NOW))])
    one.close()
    blocks, found = read(tmp_path / "journal")
    assert set(found) == {pods[0].attachment}
    assert blocks[NET].spec.allocations[0].freedAt is None


def test_what_is_owed_is_paid_without_anybody_writing(tmp_path: Path) -> None:
    one, _, told = with_a_pod(tmp_path / "journal")
    one.full = True
    one.owe([PodWent("c0", "eth0", stamp(NOW))])
    one.pay()
    assert len(told) == 1
    one.full = False
    one.pay()
    one.pay()
    assert told[1:] == [""]
    assert read(tmp_path / "journal")[1] == {}


def test_a_start_on_a_full_disk_is_owed_and_told_to_whoever_listens_later(tmp_path: Path) -> None:
    one, pods, _ = with_a_pod(tmp_path / "journal")
    one.close()
    again, told = Refusing(tmp_path / "journal", "boot1"), list[str]()
    again.full = True
    again.start([], pods[1:])
    again.listen(told.append)
    assert len(told) == 1
    assert set(read(tmp_path / "journal")[1]) == {pods[0].attachment}
    assert not (tmp_path / "journal.new").exists()
    again.full = False
    again.append([Kept(())])
    assert set(read(tmp_path / "journal")[1]) == {pods[1].attachment}
    assert told[1:] == [""]


def test_owed_lines_on_a_sound_disk_are_durable_at_once(tmp_path: Path) -> None:
    one, _, told = with_a_pod(tmp_path / "journal")
    one.owe([PodWent("c0", "eth0", stamp(NOW))])
    assert read(tmp_path / "journal")[1] == {}
    assert told == []


def test_what_is_reserved_is_remembered_through_rewrites(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = opened(path)
    one.append([Kept(("10.244.0.0/30",)), Kept(("10.244.0.0/29", "10.244.1.0/24"))])
    contents = journal.decode(path.read_bytes())
    assert contents is not None
    assert contents.kept.cidrs == ("10.244.0.0/29", "10.244.1.0/24")
    one.start([], [], contents.kept)
    again = journal.decode(path.read_bytes())
    assert again is not None
    assert again.kept == contents.kept
    one.append([Kept(())])
    last = journal.decode(path.read_bytes())
    assert last is not None
    assert last.kept.cidrs == ()
    one.close()


def test_lines_that_were_begun_are_durable_when_waited_for(tmp_path: Path) -> None:
    block, pods = allocated(3)
    one = opened(tmp_path / "journal")
    waits = [one.begin(lambda: [BlockIs(block)]), *(one.begin(lambda pod=pod: [came(pod)]) for pod in pods)]
    for durable in waits:
        durable()
    _, found = read(tmp_path / "journal")
    assert set(found) == {pod.attachment for pod in pods}


class FailsLate(Journal):
    """Its disk loses what one fdatasync was to save, and says so when more has come."""

    failing = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, "boot1")
        self.syncing, self.more = threading.Event(), threading.Event()

    def _sync_data(self, fd: int) -> None:
        if self.failing:
            self.syncing.set()
            assert self.more.wait(10)
            self.failing = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super()._sync_data(fd)


def test_what_came_while_the_disk_failed_is_written_to_a_fresh_file(tmp_path: Path) -> None:
    _, pods = allocated(2)
    one = FailsLate(tmp_path / "journal")
    one.start([], [])
    before = (tmp_path / "journal").stat().st_ino
    one.failing = True
    first = one.begin(lambda: [came(pods[0])])
    assert one.syncing.wait(10)
    second = one.begin(lambda: [came(pods[1])])
    one.more.set()
    with pytest.raises(JournalFailed, match="Input/output error"):
        first()
    second()
    assert (tmp_path / "journal").stat().st_ino != before  # nothing says what of the old one is on the disk
    assert pods[1].attachment in read(tmp_path / "journal")[1]


def test_lines_are_made_and_written_by_a_thread_of_the_journals_all_that_wait_at_once(tmp_path: Path) -> None:
    _, pods = allocated(4)
    one = opened(tmp_path / "journal")
    made, go = list[str](), threading.Event()

    def slow(pod: Pod) -> list[journal.Line]:
        go.wait(10)
        made.append(threading.current_thread().name)
        return [came(pod)]

    waits = [one.begin(partial(slow, pod)) for pod in pods]
    assert read(tmp_path / "journal")[1] == {}
    go.set()
    for durable in waits:
        durable()
    assert made == ["journal"] * 4
    assert set(read(tmp_path / "journal")[1]) == {pod.attachment for pod in pods}


def test_lines_that_cannot_be_made_durable_say_so_when_waited_for(tmp_path: Path) -> None:
    _, pods = allocated(2)
    one = opened(tmp_path / "journal")
    reader, writer = os.pipe()  # takes every write, and refuses fdatasync
    one.close()
    one._fd = writer
    durable = one.begin(lambda: [came(pods[0])])
    with pytest.raises(JournalFailed, match="cannot be written: Invalid argument; see to the disk"):
        durable()
    os.close(reader)
    one.append([came(pods[1])])  # with a fresh file, which has the first line, too: it may have reached the disk
    _, found = read(tmp_path / "journal")
    assert pods[1].attachment in found


def test_a_journal_of_another_node_is_not_believed_and_pods_of_another_name_are_not_taken_for_ours() -> None:
    block, pods = allocated(1)
    contents = journal.Contents("boot1")
    for line in (BlockIs(block), came(pods[0])):
        contents.take(line)
    assert journal.belongs(contents, "boot1", OWNER)
    assert journal.belongs(contents, "boot1", Owner(name="node1", uid="renewed"))  # one boot is one machine
    assert journal.belongs(contents, "boot2", OWNER)
    assert not journal.belongs(contents, "boot2", Owner(name="node1", uid="another machine"))
    assert not journal.belongs(contents, "boot2", Owner(name="node2", uid="u1"))
    with pytest.raises(UsageError, match="has 1 pods of node node1 and is to be node node2: start the agent"):
        journal.belongs(contents, "boot1", Owner(name="node2", uid="u1"))
    contents.pods.clear()
    assert not journal.belongs(contents, "boot1", Owner(name="node2", uid="u1"))


FULL = """
import sys
from pathlib import Path
from bgpnet.agent.journal import Journal, Kept
from bgpnet.errors import JournalFailed, UsageError
disk = Path(sys.argv[1])
one = Journal(disk / "journal", "boot")
one.start([], [])
one.append([Kept(("10.0.0.0/30",))])
with (disk / "filler").open("wb", 0) as filler:
    try:
        while filler.write(bytes(4096)): pass
    except OSError: pass
try:
    for _ in range(500): one.append([Kept(("10.0.0.0/29",) * 100)])
    print("never full")
except JournalFailed as problem: print(problem)
print(one.load().kept.cidrs in {("10.0.0.0/30",), ("10.0.0.0/29",) * 100})
(disk / "filler").unlink()
one.append([Kept(("10.0.0.0/28",))])
print(one.load().kept.cidrs)
"""
READ_ONLY = """
import subprocess, sys
from pathlib import Path
from bgpnet.agent.journal import Journal, Kept
from bgpnet.errors import JournalFailed
disk = Path(sys.argv[1])
one = Journal(disk / "journal", "boot")
one.start([], [])
one.listen(lambda refusal: print("told:", refusal))
one.owe([Kept(("10.0.0.0/30",))])
try: one.append([Kept(("10.0.0.0/29",))])
except JournalFailed as problem: print(problem)
subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
one.pay()
print(one.load().kept.cidrs)
"""


def on_disk(folder: Path, options: str, program: str) -> list[str]:
    """What a program prints whose argument is a small disk of its own."""
    script = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable, program]
    env = {**os.environ, "PYTHONPATH": str(Path(journal.__file__).parents[2])}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.root
def test_a_disk_that_fills_up_and_is_cleared_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    refused, whole, after = on_disk(tmp_path, "size=128k", FULL)
    assert refused.endswith(
        "journal cannot be written: No space left on device; free space on the disk of the state directory"
    )
    assert (whole, after) == ("True", "('10.0.0.0/28',)")


@pytest.mark.root
def test_a_read_only_disk_is_one_sentence_and_what_is_owed_is_paid_when_it_is_writable(tmp_path: Path) -> None:
    told, refused, over, paid = on_disk(tmp_path, "ro", READ_ONLY)
    assert refused.endswith(
        "journal cannot be written: Read-only file system; make the disk of the state directory writable again"
    )
    assert (told, over, paid) == (f"told: {refused}", "told: ", "('10.0.0.0/30',)")
