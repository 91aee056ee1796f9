"""The cluster's first pool: once, and whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs

from bgpnet.errors import Conflict, Invalid, StoreUnreachable
from bgpnet.model.clusterinformation import ClusterInformation, ClusterInformationSpec
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.kinds import CLUSTERINFORMATION, IPPOOL, Resource
from bgpnet.model.resource import Metadata
from bgpnet.setup import firstpool
from bgpnet.setup.main import command
from bgpnet.store.factory import open_store
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

POOL = IPPool(metadata=Metadata(name="first"), spec=IPPoolSpec(cidr="10.244.0.0/16", ipipMode=Encap.ALWAYS))


def pools(repo: Repo) -> dict[str, str]:
    """Name and CIDR of what is there."""
    return {one.metadata.name: one.spec.cidr for one in repo.list(IPPOOL)[0] if isinstance(one, IPPool)}


def decided(repo: Repo) -> str:
    """What ClusterInformation says; empty when there is none."""
    info = repo.find(CLUSTERINFORMATION, "default")
    return info.metadata.annotations.get(firstpool.DECIDED, "") if info else ""


def test_it_is_created_once_and_what_people_make_of_it_stays() -> None:
    repo = Repo(MemoryStore())
    assert firstpool.ensure(repo, POOL) == "created the first pool first, 10.244.0.0/16"
    changed = repo.get(IPPOOL, "first")
    assert isinstance(changed, IPPool)
    repo.update(structs.replace(changed, spec=structs.replace(changed.spec, natOutgoing=True)))
    assert "nothing is changed" in firstpool.ensure(repo, POOL)
    again = repo.get(IPPOOL, "first")
    assert isinstance(again, IPPool)
    assert again.spec.natOutgoing
    repo.delete(IPPOOL, "first")
    assert "nothing is changed" in firstpool.ensure(repo, POOL)
    assert pools(repo) == {}


def test_a_pool_that_is_there_is_the_first_one() -> None:
    repo = Repo(MemoryStore())
    repo.create(structs.replace(POOL, metadata=Metadata(name="mine")))
    assert firstpool.ensure(repo, POOL) == "there are pools already: mine"
    assert pools(repo) == {"mine": "10.244.0.0/16"}
    repo.delete(IPPOOL, "mine")
    firstpool.ensure(repo, POOL)
    assert pools(repo) == {}


def test_none_is_wanted() -> None:
    repo = Repo(MemoryStore())
    assert firstpool.ensure(repo, None) == "no first pool is wanted"
    firstpool.ensure(repo, POOL)
    assert pools(repo) == {}


def test_what_else_clusterinformation_says_stays() -> None:
    repo = Repo(MemoryStore())
    card = Metadata(name="default", annotations={"mine": "kept"})
    repo.create(ClusterInformation(metadata=card, spec=ClusterInformationSpec(clusterType="k8s,bgp")))
    firstpool.ensure(repo, POOL)
    info = repo.get(CLUSTERINFORMATION, "default")
    assert isinstance(info, ClusterInformation)
    assert info.spec.clusterType == "k8s,bgp"
    assert info.metadata.annotations["mine"] == "kept"
    assert decided(repo).startswith("created the first pool")


class Dying(Repo):
    """Ends before its call of that number that writes."""

    def __init__(self, store: MemoryStore, left: int) -> None:
        super().__init__(store)
        self.left = left

    def create(self, resource: Resource) -> Resource:
        self._one()
        return super().create(resource)

    def update(self, resource: Resource) -> Resource:
        self._one()
        return super().update(resource)

    def _one(self) -> None:
        if not self.left:
            raise StoreUnreachable("it ends here")
        self.left -= 1


@pytest.mark.parametrize("left", [0, 1])
def test_killed_anywhere_the_next_one_ends_the_same_way(left: int) -> None:
    store = MemoryStore()
    with pytest.raises(StoreUnreachable):
        firstpool.ensure(Dying(store, left), POOL)
    repo = Repo(store)
    firstpool.ensure(repo, POOL)
    assert pools(repo) == {"first": "10.244.0.0/16"}
    assert decided(repo)


class Beaten(Repo):
    """Whenever it writes ClusterInformation, somebody else has just done so."""

    def __init__(self, store: MemoryStore, times: int) -> None:
        super().__init__(store)
        self.times = times

    def update(self, resource: Resource) -> Resource:
        if self.times:
            self.times -= 1
            raise Conflict("somebody was faster")
        return super().update(resource)


def test_others_that_write_clusterinformation_are_given_way_and_not_for_ever() -> None:
    for times, ends in ((firstpool.ATTEMPTS - 1, True), (firstpool.ATTEMPTS, False)):
        store = MemoryStore()
        Repo(store).create(ClusterInformation(metadata=Metadata(name="default")))
        repo = Beaten(store, times)
        if ends:
            firstpool.ensure(repo, POOL)
            assert decided(repo)
        else:
            with pytest.raises(Conflict, match="try again"):
                firstpool.ensure(repo, POOL)


def test_a_pool_that_breaks_a_rule_is_refused_and_nothing_is_decided() -> None:
    repo = Repo(MemoryStore())
    with pytest.raises(Invalid, match=r"spec\.cidr"):
        firstpool.ensure(repo, structs.replace(POOL, spec=IPPoolSpec(cidr="10.244.0.1/16")))
    assert decided(repo) == ""


def test_the_command_by_flags_and_by_calicos_variables(tmp_path: Path) -> None:
    for number, (argv, env) in enumerate(
        (
            (["--pool-cidr", "10.1.0.0/16", "--pool-ipip", "CrossSubnet", "--no-pool-nat-outgoing"], {}),
            ([], {"CALICO_IPV4POOL_CIDR": "10.1.0.0/16", "CALICO_IPV4POOL_IPIP": "CrossSubnet",
                  "CALICO_IPV4POOL_NAT_OUTGOING": "false"}),
            ([], {"BGPNET_IPV4POOL_CIDR": "10.1.0.0/16", "BGPNET_IPV4POOL_IPIP": "CrossSubnet",
                  "BGPNET_IPV4POOL_NAT_OUTGOING": "false", "CALICO_IPV4POOL_CIDR": "10.2.0.0/16"}),
        )
    ):  # fmt: skip
        url = f"sqlite://{tmp_path}/{number}.db"
        done = CliRunner().invoke(command, argv, env={"BGPNET_DATASTORE": url, **env}, catch_exceptions=False)
        assert (done.exit_code, done.output) == (0, "created the first pool default-ipv4-ippool, 10.1.0.0/16\n")
        found = Repo(open_store(url)).get(IPPOOL, "default-ipv4-ippool")
        assert isinstance(found, IPPool)
        assert (found.spec.ipipMode, found.spec.natOutgoing, found.spec.blockSize) == (Encap.CROSS_SUBNET, False, 26)


@pytest.mark.parametrize(
    ("said", "mode"),
    [("always", "Always"), ("off", "Never"), ("Off", "Never"), ("cross-subnet", "CrossSubnet"), ("Never", "Never")],
)
def test_modes_in_the_words_that_calicos_node_takes(tmp_path: Path, said: str, mode: str) -> None:
    url = f"sqlite://{tmp_path}/store.db"
    env = {"BGPNET_DATASTORE": url, "CALICO_IPV4POOL_IPIP": said}
    assert CliRunner().invoke(command, [], env=env, catch_exceptions=False).exit_code == 0
    found = Repo(open_store(url)).get(IPPOOL, "default-ipv4-ippool")
    assert isinstance(found, IPPool)
    assert found.spec.ipipMode == mode


def test_another_word_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_IPV4POOL_VXLAN": "On"}
    done = CliRunner().invoke(command, [], env=env)
    assert done.exit_code == 2
    assert "'On' is not one of" in done.output
    assert "CrossSubnet" in done.output
