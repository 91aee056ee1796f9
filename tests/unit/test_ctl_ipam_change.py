"""`ipam configure`, `reserve` and `split`, and `node release` of a node that is gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ipam_worlds import block, node, pool, slot, tunnel
from msgspec import structs

from bgpnet.errors import BgpnetError, StoreUnreachable
from bgpnet.model import kinds
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.resource import Metadata
from bgpnet.store.api import ABSENT, Listing, Revision
from bgpnet.store.factory import open_store
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo
from bgpnet_ctl import splitting
from bgpnet_ctl.main import cli

Run = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.db"


@pytest.fixture
def repo(url: str) -> Iterator[Repo]:
    store = open_store(url)
    yield Repo(store)
    store.close()


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": url, "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def settings(repo: Repo) -> IPAMConfigurationSpec | None:
    stored = repo.find(kinds.IPAMCONFIGURATION, "default")
    return stored.spec if isinstance(stored, IPAMConfiguration) else None


def test_configure_makes_the_object_and_changes_only_what_is_said(run: Run, repo: Repo) -> None:
    first = run("ipam", "configure", "--max-blocks-per-host", "4", "--strictaffinity", "true")
    assert first.stdout == "Successfully set StrictAffinity to: true\nSuccessfully set MaxBlocksPerHost to: 4\n"
    assert settings(repo) == IPAMConfigurationSpec(strictAffinity=True, maxBlocksPerHost=4)
    second = run("ipam", "configure", "--ip-cooldown-seconds", "0", "--auto-allocate-blocks", "false")
    assert second.stdout == "Successfully set AutoAllocateBlocks to: false\nSuccessfully set IPCooldownSeconds to: 0\n"
    assert settings(repo) == IPAMConfigurationSpec(
        strictAffinity=True, maxBlocksPerHost=4, ipCooldownSeconds=0, autoAllocateBlocks=False
    )


def test_configure_without_options_shows(run: Run, repo: Repo) -> None:
    rows = [line.strip("| ").split("|") for line in run("ipam", "configure").stdout.splitlines() if "|" in line]
    assert [tuple(cell.strip() for cell in row) for row in rows] == [
        ("PROPERTY", "VALUE"),
        ("StrictAffinity", "true"),
        ("AutoAllocateBlocks", "true"),
        ("MaxBlocksPerHost", "0 (built in: 20)"),
        ("IPCooldownSeconds", "unset (each agent's address_rest, 30 unless told)"),
    ]
    assert settings(repo) is None
    assert json.loads(run("ipam", "configure", "-o", "json").stdout) == {
        "strictAffinity": True,
        "autoAllocateBlocks": True,
        "maxBlocksPerHost": 0,
        "ipCooldownSeconds": None,
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--strictaffinity", "false"), 2, "--strictaffinity false: blocks are exclusive"),
        (("--max-blocks-per-host", "-1"), 1, "spec.maxBlocksPerHost = -1: must be 0 to 1000000"),
        (("--ip-cooldown-seconds", "1201"), 1, "spec.ipCooldownSeconds = 1201: must be 0 to 1200"),
        (("--max-blocks-per-host", "many"), 2, "Invalid value for '--max-blocks-per-host'"),
    ],
)
def test_configure_refuses(run: Run, repo: Repo, words: tuple[str, ...], code: int, said: str) -> None:
    refused = run("ipam", "configure", *words)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert said in refused.stderr
    assert settings(repo) is None


def test_a_configuration_that_borrows_is_put_right(run: Run, repo: Repo) -> None:
    repo.create(IPAMConfiguration(metadata=Metadata(name="default", labels={"a": "b"})))
    assert run("ipam", "configure", "--max-blocks-per-host", "2").exit_code == 0
    stored = repo.get(kinds.IPAMCONFIGURATION, "default")
    assert stored.metadata.labels == {"a": "b"}
    assert settings(repo) == IPAMConfigurationSpec(strictAffinity=True, maxBlocksPerHost=2)


def reserved(repo: Repo) -> dict[str, tuple[str, ...]]:
    found = repo.list(kinds.IPRESERVATION)[0]
    return {one.metadata.name: one.spec.reservedCIDRs for one in found if isinstance(one, IPReservation)}


def test_reserve_adds_and_names_who_has_one(run: Run, repo: Repo) -> None:
    repo.write(block("10.0.0.0/26", "n1", {0: tunnel(), 1: slot("c1", 11, "default/a"), 2: slot("c2", 12, freed=1.0)}))
    made = run("ipam", "reserve", "10.0.0.0/30", "10.0.0.9")
    assert made.stdout == "Successfully reserved 10.0.0.0/30, 10.0.0.9/32 in IPReservation(reserved-10-0-0-0-30)\n"
    assert made.stderr == (
        "Note: 10.0.0.0 is in use by the interface tunl0 of node n1, which keeps it until it goes\n"
        "Note: 10.0.0.1 is in use by pod default/a (container c1, eth0) of node n1, which keeps it until it goes\n"
    )
    assert reserved(repo) == {"reserved-10-0-0-0-30": ("10.0.0.0/30", "10.0.0.9/32")}
    run("ipam", "reserve", "10.1.0.0/30", "--name", "r")
    run("ipam", "reserve", "10.2.0.0/30", "10.1.0.0/30", "--name", "r")
    assert reserved(repo)["r"] == ("10.1.0.0/30", "10.2.0.0/30")
    assert "| r                    | 10.2.0.0/30 |" in run("ipam", "reserve").stdout
    gone = run("ipam", "reserve", "--delete", "r")
    assert gone.stdout == "Successfully deleted IPReservation(r): its addresses are given to pods again\n"
    assert list(reserved(repo)) == ["reserved-10-0-0-0-30"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("10.0.0.1/30",), 2, "CIDR = '10.0.0.1/30': 10.0.0.1/30 is not a network address; write 10.0.0.0/30"),
        (("ten",), 2, "CIDR = 'ten': is not a CIDR"),
        (("10.0.0.0/30", "--name", "Upper"), 1, "is not a lower-case DNS name"),
        (("--delete", "nobody"), 1, "resource does not exist: IPReservation(nobody)"),
        (("--delete", "r", "10.0.0.0/30"), 2, "--delete takes no CIDR"),
        (("--name", "r"), 2, "say what to reserve"),
    ],
)
def test_reserve_refuses(run: Run, repo: Repo, words: tuple[str, ...], code: int, said: str) -> None:
    refused = run("ipam", "reserve", *words)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert said in refused.stderr
    assert reserved(repo) == {}


def pools(repo: Repo) -> dict[str, str]:
    return {one.metadata.name: one.spec.cidr for one in repo.list(kinds.IPPOOL)[0] if isinstance(one, IPPool)}


def test_split_keeps_blocks_and_settings(run: Run, repo: Repo) -> None:
    repo.create(structs.replace(pool("blue", "10.0.0.0/24", 28), metadata=Metadata(name="blue", labels={"a": "b"})))
    repo.write(block("10.0.0.64/28", "n1", {1: slot("c1", 11)}))
    split = run("ipam", "split", "4", "--name", "blue")
    assert split.stdout == (
        "Successfully split pool blue (10.0.0.0/24) into 4:\n"
        "  split-blue-0 (10.0.0.0/26)\n"
        "  split-blue-1 (10.0.0.64/26)\n"
        "  split-blue-2 (10.0.0.128/26)\n"
        "  split-blue-3 (10.0.0.192/26)\n"
    )
    assert len(pools(repo)) == 4
    last = repo.get(kinds.IPPOOL, "split-blue-3")
    assert isinstance(last, IPPool)
    assert (last.spec.blockSize, last.metadata.labels) == (28, {"a": "b"})
    assert "| Block    | 10.0.0.64/28" in run("ipam", "show", "--show-blocks").stdout
    assert run("ipam", "split", "2", "--cidr", "10.0.0.0/26").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("3", "--name", "blue"), 2, "N = 3: is not a power of two"),
        (("1", "--name", "blue"), 2, "N = 1: is not a power of two"),
        (("8", "--name", "blue"), 2, "N = 8: pool blue has 4 blocks of /26; write less"),
        (("2", "--name", "red"), 1, "resource does not exist: IPPool(red)"),
        (("2",), 2, "say which pool to split"),
        (("2", "--name", "blue", "--cidr", "10.0.0.0/24"), 2, "say which pool to split"),
    ],
)
def test_split_refuses(run: Run, repo: Repo, words: tuple[str, ...], code: int, said: str) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    refused = run("ipam", "split", *words)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert said in refused.stderr
    assert pools(repo) == {"blue": "10.0.0.0/24"}


HALVES = {"split-blue-0": "10.0.0.0/25", "split-blue-1": "10.0.0.128/25"}


def disabled(repo: Repo, name: str) -> bool:
    stored = repo.get(kinds.IPPOOL, name)
    assert isinstance(stored, IPPool)
    return stored.spec.disabled


def test_split_of_a_pool_that_changed_meanwhile_makes_pools_like_the_changed_one(repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    seen = splitting.found(repo, "blue", None)
    repo.apply(structs.replace(seen, spec=structs.replace(seen.spec, disabled=True)))
    splitting.split(repo, seen, 2)
    assert pools(repo) == HALVES
    assert [disabled(repo, name) for name in HALVES] == [True, True]


def test_split_of_a_pool_that_another_split_finished_leaves_the_new_pools(repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    seen = splitting.found(repo, "blue", None)
    splitting.split(repo, seen, 2)
    assert [one.metadata.name for one in splitting.split(repo, seen, 2)] == list(HALVES)
    assert pools(repo) == HALVES


def test_split_that_was_killed_is_finished(run: Run, repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    seen = splitting.found(repo, "blue", None)
    repo.write(splitting.parts(seen, 2, [])[0])
    repo.apply(structs.replace(seen, spec=structs.replace(seen.spec, disabled=True)))
    assert run("ipam", "split", "2", "--name", "blue").exit_code == 0
    assert pools(repo) == HALVES
    assert disabled(repo, "split-blue-0")


def test_split_into_another_number_names_the_one_to_finish_first(run: Run, repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    repo.write(splitting.parts(splitting.found(repo, "blue", None), 4, [])[0])
    refused = run("ipam", "split", "2", "--name", "blue")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "pool blue was not split: IPPool(split-blue-0) exists and has CIDR 10.0.0.0/26, not 10.0.0.0/25: "
        "pool blue is half split into 4, finish that with bgpnetctl ipam split 4 --name blue\n",
    )
    assert pools(repo) == {"blue": "10.0.0.0/24", "split-blue-0": "10.0.0.0/26"}


def test_split_beside_a_pool_of_such_a_name_writes_nothing(run: Run, repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    repo.create(pool("split-blue-1", "10.9.0.0/25"))
    refused = run("ipam", "split", "2", "--name", "blue")
    assert "IPPool(split-blue-1) exists and has CIDR 10.9.0.0/25, not 10.0.0.128/25: delete that one" in refused.stderr
    assert pools(repo) == {"blue": "10.0.0.0/24", "split-blue-1": "10.9.0.0/25"}


@pytest.mark.parametrize("which", [("--name", "blue"), ("--cidr", "10.0.0.0/24")])
def test_split_repeated_says_that_it_is_done(run: Run, repo: Repo, which: tuple[str, str]) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    assert run("ipam", "split", "2", *which).exit_code == 0
    again = run("ipam", "split", "2", *which)
    assert (again.exit_code, again.stdout) == (
        0,
        f"Pool {which[1]} is split into 2 already:\n  split-blue-0 (10.0.0.0/25)\n  split-blue-1 (10.0.0.128/25)\n",
    )
    assert run("ipam", "split", "4", *which).exit_code == 1
    assert pools(repo) == HALVES


class Failing(MemoryStore):
    """Goes away at one write and stays away until it is told: that one was carried out, or was not."""

    def __init__(self, at: int, *, done: bool) -> None:
        super().__init__()
        self.left, self.done, self.away = at, done, False

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        return self._write(lambda: super(Failing, self).put(key, value, expected))

    def delete(self, key: str, expected: Revision | None) -> Revision:
        return self._write(lambda: super(Failing, self).delete(key, expected))

    def list(self, prefix: str) -> Listing:
        self._answer()
        return super().list(prefix)

    def _write(self, write: Callable[[], Revision]) -> Revision:
        self._answer()
        self.left -= 1
        if self.left:
            return write()
        if self.done:
            write()
        self.away = True
        return self._answer()

    def _answer(self) -> Revision:
        if self.away:
            raise StoreUnreachable("the datastore does not answer")
        return ABSENT


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
def test_split_goes_on_whenever_the_datastore_goes_away(at: int, done: bool) -> None:
    store = Failing(at + 1, done=done)
    repo = Repo(store)
    repo.create(pool("blue", "10.0.0.0/24"))
    with pytest.raises(BgpnetError) as ended:
        splitting.split(repo, splitting.found(repo, "blue", None), 4)
    written = (
        f"is half split, which harms nobody: {at - 1} of the 4 new pools are written, perhaps one more,"
        if at < 5
        else "is nearly split, which harms nobody: all 4 new pools are written, and the old one may be there still"
    )
    assert written in str(ended.value)
    assert "the datastore does not answer; run the same command again" in str(ended.value)
    store.away = False
    assert ("blue" in pools(repo)) == (at < 5 or not done)
    if "blue" in pools(repo):
        made = splitting.split(repo, splitting.found(repo, "blue", None), 4)
    else:
        made = splitting.finished(repo, "blue", None, 4)
    assert [one.spec.cidr for one in made] == ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26"]
    assert list(pools(repo)) == [f"split-blue-{number}" for number in range(4)]


def test_split_does_not_part_a_block() -> None:
    large = [block("10.0.0.0/24", "n1", {})]
    with pytest.raises(BgpnetError, match=r"block 10\.0\.0\.0/24 is larger than the new pools of /25"):
        splitting.parts(pool("blue", "10.0.0.0/24"), 2, large)


def test_the_blocks_of_a_node_that_is_gone_are_released_on_demand(run: Run, repo: Repo) -> None:
    repo.write(block("10.0.0.0/26", "n9", {1: slot("c1", 11)}))
    repo.write(block("10.0.0.64/26", "n1", {}))
    asked = run("node", "release", "n9")
    assert (asked.exit_code, len(repo.list(kinds.IPAMBLOCK)[0])) == (2, 2)
    released = run("node", "release", "n9", "--yes")
    assert released.stdout == (
        "Node n9 does not exist, and owns 1 block(s) with 1 addresses in use: 10.0.0.0/26.\n"
        "Successfully released 1 block(s) of node n9.\n"
    )
    assert [one.metadata.name for one in repo.list(kinds.IPAMBLOCK)[0]] == ["10-0-0-64-26"]


def test_the_blocks_of_a_node_that_exists_stay(run: Run, repo: Repo) -> None:
    repo.write(node("n1"))
    repo.write(block("10.0.0.0/26", "n1", {}))
    assert "Successfully released the name" in run("node", "release", "n1", "--yes").stdout
    assert len(repo.list(kinds.IPAMBLOCK)[0]) == 1


def test_only_blocks_that_no_agent_looks_after_can_be_deleted(run: Run, repo: Repo) -> None:
    repo.write(block("10.0.0.0/26", "n1", {}))
    repo.write(block("10.0.0.64/26", None, {1: slot("c", 3)}))
    repo.write(block("10.0.0.128/26", None, {1: slot("c", 3, freed=1.0)}))
    repo.store.put("/bgpnet/v1/ipamblocks/broken", b"{", None)
    for name, code in (("10-0-0-0-26", 1), ("10-0-0-64-26", 1), ("10-0-0-128-26", 0), ("broken", 0), ("none", 1)):
        assert run("delete", "ipamblock", name).exit_code == code, name
    assert [one.metadata.name for one in repo.list(kinds.IPAMBLOCK)[0]] == ["10-0-0-0-26", "10-0-0-64-26"]


def test_a_pool_in_use_names_the_steps_and_each_step_works(run: Run, repo: Repo) -> None:
    repo.create(pool("blue", "10.0.0.0/24"))
    repo.write(block("10.0.0.0/26", "n1", {0: tunnel(), 1: slot("c1", 11)}))
    refused = run("delete", "ippool", "blue")
    assert refused.exit_code == 1
    assert "still serves 1 address of workloads in 1 block (n1 1); disable it (bgpnetctl get" in refused.stderr
    disabled = run("get", "ippool", "blue", "-o", "yaml").stdout.replace("disabled: false", "disabled: true")
    assert run("apply", "-f", "-", stdin=disabled).exit_code == 0
    assert "it is disabled already: delete their pods" in run("delete", "ippool", "blue").stderr
    stored = repo.get(kinds.IPAMBLOCK, "10-0-0-0-26")
    repo.remove(stored)
    assert run("delete", "ippool", "blue").stdout == "Successfully deleted 1 'IPPool' resource(s)\n"
