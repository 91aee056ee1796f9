"""The typed repository over a datastore: revisions, apply, admission, broken objects, watching, the agents' path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from kubernetes_store import empty_store
from msgspec import structs

from bgpnet import codec
from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, Invalid, NotFound
from bgpnet.model import instant
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import BGPFILTER, BGPPEER, IPAMBLOCK, IPPOOL, NODE, Kind, Resource
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Listing, Revision, Store
from bgpnet.store.kubernetes import KubernetesStore
from bgpnet.store.repo import Gone, Repo, key

NOW = 1_800_000_000.0
BLUE = "/bgpnet/v1/ippools/blue"


class LocalStore:
    """A store in a dictionary with its whole history, for one thread."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.history: list[Event] = []
        self.before_put: Callable[[str], None] = lambda _: None

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def list(self, prefix: str) -> Listing:
        entries = tuple(entry for name, entry in sorted(self.entries.items()) if name.startswith(prefix))
        return Listing(entries, Revision(str(len(self.history))))

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        self.before_put(key)
        self._expect(key, expected)
        entry = Entry(key, value, Revision(str(len(self.history) + 1)))
        self.entries[key] = entry
        self.history.append(entry)
        return entry.revision

    def delete(self, key: str, expected: Revision | None) -> Revision:
        self._expect(key, expected)
        if key not in self.entries:
            raise NotFound(key)
        del self.entries[key]
        self.history.append(Deleted(key, Revision(str(len(self.history) + 1))))
        return self.history[-1].revision

    def _expect(self, key: str, expected: Revision | None) -> None:
        there = self.entries.get(key)
        if expected == ABSENT and there:
            raise AlreadyExists(key)
        if expected and not there:
            raise NotFound(key)
        if expected and there and there.revision != expected:
            raise Conflict(key)

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        place = int(after)
        while not stop():
            if place == len(self.history):
                yield None
            else:
                event = self.history[place]
                place += 1
                if event.key.startswith(prefix):
                    yield event

    def compact(self) -> None:
        """Keeps everything."""

    def close(self) -> None:
        """Nothing to let go of."""


class Hooked(KubernetesStore):
    """A real API server's, looked at as the one in a dictionary is."""

    def __init__(self, real: KubernetesStore) -> None:
        super().__init__(real.api)
        self.history: list[Event | None] = []
        self.before_put: Callable[[str], None] = lambda _: None

    @property
    def entries(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.list("/").entries}

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        self.before_put(key)
        revision = super().put(key, value, expected)
        self.history.append(None)
        return revision


Stores = LocalStore | Hooked
STORES: dict[str, Callable[[], Stores]] = {"local": LocalStore, "kubernetes": lambda: Hooked(empty_store())}
holds_bytes = pytest.mark.parametrize("store", ["local"], indirect=True)
"""What it is about can only be stored where bytes are: an API server refuses objects that are broken."""


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Iterator[Stores]:
    made = STORES[request.param]()
    yield made
    made.close()


@pytest.fixture
def repo(store: Stores) -> Repo:
    numbers = count(1)
    checked: Store = store
    return Repo(checked, new_uid=lambda: f"uid-{next(numbers)}", now=lambda: NOW)


def resource(kind: str, name: str, spec: str, metadata: str = "") -> Resource:
    text = f"{{apiVersion: bgpnet.io/v1, kind: {kind}, metadata: {{name: {name}{metadata}}}, spec: {spec}}}"
    (decoded,) = codec.decode(text)
    return decoded


def pool(name: str = "blue", cidr: str = "10.0.0.0/16", rest: str = "", metadata: str = "") -> IPPool:
    decoded = resource("IPPool", name, f"{{cidr: {cidr}{rest}}}", metadata)
    assert isinstance(decoded, IPPool)
    return decoded


def block(cidr: str = "10.0.0.0/26", pods: int = 1) -> IPAMBlock:
    allocations = {i: Allocation(since="2026-01-01T00:00:00.000Z", sequence=i) for i in range(pods)}
    name = cidr.replace(".", "-").replace("/", "-")
    return IPAMBlock(metadata=Metadata(name=name), spec=IPAMBlockSpec(cidr=cidr, allocations=allocations))


def node(heartbeat: float) -> Node:
    status = NodeStatus(identity=Identity(uuid="u", heartbeat=instant.stamp(heartbeat)))
    return Node(metadata=Metadata(name="n1"), status=status)


def with_metadata(given: IPPool, **fields: str) -> IPPool:
    return structs.replace(given, metadata=structs.replace(given.metadata, **fields))


def disabled(given: IPPool) -> IPPool:
    return structs.replace(given, spec=structs.replace(given.spec, disabled=True))


def refused(call: Callable[[], object], error: type[BgpnetError]) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# --- create, get, list


def test_create_gives_uid_time_and_revision_and_returns_what_get_returns(repo: Repo, store: Stores) -> None:
    created = repo.create(pool(metadata=", uid: copied, creationTimestamp: '2020-01-01T00:00:00Z'"))
    assert created.metadata == Metadata(
        name="blue",
        uid="uid-1",
        creationTimestamp="2027-01-15T08:00:00.000Z",
        resourceVersion=store.entries[BLUE].revision,
    )
    assert repo.get(IPPOOL, "blue") == repo.find(IPPOOL, "blue") == created
    assert list(store.entries) == ["/bgpnet/v1/ippools/blue"]
    assert b"resourceVersion" not in store.entries["/bgpnet/v1/ippools/blue"].value


def test_create_normalises(repo: Repo) -> None:
    raw = IPPool(metadata=Metadata(name="blue"), spec=structs.replace(pool().spec, cidr="FD00:0::/64", blockSize=None))
    created = repo.create(raw)
    assert isinstance(created, IPPool)
    assert (created.spec.cidr, created.spec.blockSize) == ("fd00::/64", 122)


def test_create_twice(repo: Repo) -> None:
    peer = resource("BGPPeer", "rack", "{peerIP: 192.0.2.1}")
    repo.create(peer)
    said = refused(lambda: repo.create(peer), AlreadyExists)
    assert said == "resource already exists: BGPPeer(rack); change it with apply, or choose another name"


def test_what_is_not_there(repo: Repo) -> None:
    said = "resource does not exist: IPPool(blue); see `bgpnetctl get ippools` for those that do"
    assert repo.find(IPPOOL, "blue") is None
    assert refused(lambda: repo.get(IPPOOL, "blue"), NotFound) == said
    assert refused(lambda: repo.delete(IPPOOL, "blue"), NotFound) == said
    assert refused(lambda: repo.update(with_metadata(pool(), resourceVersion="1")), NotFound) == said
    assert refused(lambda: repo.write(with_metadata(pool(), resourceVersion="1")), NotFound) == said
    assert refused(lambda: repo.remove(with_metadata(pool(), resourceVersion="1")), NotFound) == said


def test_list_is_by_name_and_of_one_kind(repo: Repo) -> None:
    red = repo.create(pool("red", "10.1.0.0/16"))
    blue = repo.create(pool("blue", "10.2.0.0/16"))
    repo.write(block())
    resources, revision = repo.list(IPPOOL)
    assert [each.metadata.name for each in resources] == ["blue", "red"]
    assert [each.metadata for each in resources] == [blue.metadata, red.metadata]
    assert take(repo.watch(IPPOOL, revision, lambda: False)) == []
    assert repo.list(BGPPEER)[0] == []


# --- refusals leave nothing behind


def spoiled(cidr: str = "10.0.0.0/16", block_size: int = 26, name: str = "new") -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=structs.replace(pool().spec, cidr=cidr, blockSize=block_size))


REFUSED: dict[str, tuple[Resource, str]] = {
    "a rule": (
        spoiled(cidr="10.0.0.1/16"),
        "IPPool(new): spec.cidr = '10.0.0.1/16': 10.0.0.1/16 is not a network address",
    ),
    "two rules": (spoiled(cidr="10.0.0.1/16", block_size=40), "IPPool(new): spec.cidr = '10.0.0.1/16': "),
    "a name": (spoiled(name="New"), "IPPool(New): metadata.name = 'New': is not a lower-case DNS name"),
    "an overlap": (
        spoiled(cidr="172.16.1.0/24"),
        "IPPool(new): spec.cidr = '172.16.1.0/24': IPPool(new) CIDR 172.16.1.0/24 overlaps with IPPool(old) CIDR",
    ),
    "blocks of another size": (
        spoiled(cidr="192.168.0.0/16"),
        "IPPool(new): spec.blockSize = 26: does not fit the blocks",
    ),
    "a revision": (
        with_metadata(spoiled(), resourceVersion="3"),
        "IPPool(new): metadata.resourceVersion = '3': must be empty to create an object; remove it",
    ),
    "a kind of the agents'": (
        block("10.9.0.0/26"),
        "IPAMBlock(10-9-0-0-26): kind = 'IPAMBlock': is written by the agents alone",
    ),
}


@pytest.mark.parametrize(("given", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_creation_leaves_nothing(repo: Repo, store: Stores, given: Resource, expected: str) -> None:
    repo.create(pool("old", "172.16.0.0/16"))
    repo.write(block("192.168.0.0/28"))
    before = dict(store.entries)
    assert refused(lambda: repo.create(given), Invalid).startswith(expected)
    if not given.metadata.resourceVersion:
        assert refused(lambda: repo.apply(given), Invalid).startswith(expected)
    assert store.entries == before


# --- update


def test_update_replaces_at_the_revision_and_keeps_uid_and_time(repo: Repo) -> None:
    created = repo.create(pool(metadata=", labels: {a: b}"))
    updated = repo.update(with_metadata(disabled(pool()), resourceVersion=created.metadata.resourceVersion))
    assert updated.metadata.resourceVersion not in ("", created.metadata.resourceVersion)
    revision = updated.metadata.resourceVersion
    assert updated.metadata == structs.replace(created.metadata, labels={}, resourceVersion=revision)
    assert repo.get(IPPOOL, "blue") == updated


def test_update_needs_a_revision(repo: Repo) -> None:
    repo.create(pool())
    said = refused(lambda: repo.update(disabled(pool())), Invalid)
    assert said == "IPPool(blue): metadata.resourceVersion: is required to change an object; get it first, or use apply"


@pytest.mark.parametrize("stale", [{"resourceVersion": "7"}, {"uid": "of-another"}])
def test_update_of_something_else_is_a_conflict(repo: Repo, stale: dict[str, str]) -> None:
    created = repo.create(pool())
    given = {"resourceVersion": created.metadata.resourceVersion, **stale}
    said = refused(lambda: repo.update(with_metadata(disabled(pool()), **given)), Conflict)
    assert said == "update conflict: IPPool(blue): somebody changed it first; get it again and repeat the change"
    assert repo.get(IPPOOL, "blue") == created


def test_update_that_loses_the_race_is_a_conflict(repo: Repo, store: Stores) -> None:
    first = repo.create(pool()).metadata.resourceVersion
    store.before_put = rival(repo, store, 1)
    assert "update conflict: IPPool(blue)" in refused(
        lambda: repo.update(with_metadata(disabled(pool()), resourceVersion=first)), Conflict
    )


def test_immutable_fields_stay(repo: Repo) -> None:
    created = repo.create(pool())
    changed = with_metadata(pool(cidr="10.0.0.0/17"), resourceVersion=created.metadata.resourceVersion)
    assert "cannot be changed from 10.0.0.0/16 to 10.0.0.0/17" in refused(lambda: repo.update(changed), Invalid)
    assert "cannot be changed from 26 to 28" in refused(lambda: repo.apply(pool(rest=", blockSize: 28")), Invalid)
    assert repo.get(IPPOOL, "blue") == created


# --- apply


def rival(repo: Repo, store: Stores, times: int) -> Callable[[str], None]:
    """Before our next writes, somebody else writes the same pool, as often as said."""
    left = times

    def before_put(_: str) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            value = codec.encode(pool(metadata=f", uid: uid-1, labels: {{n: '{left}'}}"))
            store.before_put = lambda _: None
            store.put(key(IPPOOL, "blue"), value, None)
            store.before_put = before_put

    return before_put


def test_apply_creates_then_changes(repo: Repo) -> None:
    created = repo.apply(pool(metadata=", labels: {a: b}, annotations: {c: d}"))
    assert created.metadata.uid == "uid-1"
    changed = repo.apply(disabled(pool(metadata=", labels: {e: f}, uid: other, resourceVersion: '99'")))
    revision = changed.metadata.resourceVersion
    assert revision != created.metadata.resourceVersion
    expected = structs.replace(created.metadata, labels={"e": "f"}, annotations={}, resourceVersion=revision)
    assert changed.metadata == expected
    assert isinstance(changed, IPPool)
    assert changed.spec.disabled


def test_apply_of_an_exported_file_creates_it_anew(repo: Repo) -> None:
    exported = codec.to_yaml([repo.create(pool())])
    repo.delete(IPPOOL, "blue")
    (again,) = codec.decode(exported)
    assert repo.apply(again).metadata.uid == "uid-2"


def test_apply_of_the_same_writes_nothing(repo: Repo, store: Stores) -> None:
    created = repo.apply(pool())
    assert repo.apply(pool()) == created
    assert len(store.history) == 1


def test_apply_keeps_the_status_it_is_not_given(repo: Repo) -> None:
    repo.write(node(NOW))
    labelled = resource("Node", "n1", "{}", ", labels: {rack: a}")
    applied = repo.apply(labelled)
    assert isinstance(applied, Node)
    assert (applied.metadata.labels, applied.status) == ({"rack": "a"}, node(NOW).status)


def test_apply_gets_through_where_others_write_too(repo: Repo, store: Stores) -> None:
    repo.create(pool())
    store.before_put = rival(repo, store, 3)
    assert repo.apply(disabled(pool())) == repo.get(IPPOOL, "blue")
    assert len(store.history) == 5


def test_apply_gets_through_where_somebody_creates_it_first(repo: Repo, store: Stores) -> None:
    store.before_put = rival(repo, store, 1)
    assert repo.apply(disabled(pool())) == repo.get(IPPOOL, "blue")
    assert len(store.history) == 2


def test_apply_gives_up_in_the_end(repo: Repo, store: Stores) -> None:
    repo.create(pool())
    store.before_put = rival(repo, store, 1000)
    assert "update conflict: IPPool(blue)" in refused(lambda: repo.apply(disabled(pool())), Conflict)


# --- delete


def test_delete_and_create_again(repo: Repo) -> None:
    repo.create(pool())
    repo.delete(IPPOOL, "blue")
    assert repo.find(IPPOOL, "blue") is None
    assert repo.create(pool()).metadata.uid == "uid-2"


def test_a_pool_with_pods_stays(repo: Repo) -> None:
    repo.create(pool())
    written = repo.write(block(pods=2))
    said = refused(lambda: repo.delete(IPPOOL, "blue"), Invalid)
    assert said.startswith("IPPool(blue): spec.cidr = '10.0.0.0/16': still serves 2 addresses of workloads in 1 block")
    repo.write(structs.replace(written, spec=structs.replace(written.spec, allocations={})))
    repo.delete(IPPOOL, "blue")


@pytest.mark.parametrize(("age", "gone"), [(10.0, False), (61.0, True)])
def test_a_living_node_stays(repo: Repo, age: float, gone: bool) -> None:
    repo.write(node(NOW - age))
    if not gone:
        assert "the node's agent was alive 10 s ago" in refused(lambda: repo.delete(NODE, "n1"), Invalid)
    else:
        repo.delete(NODE, "n1")
    assert (repo.find(NODE, "n1") is None) == gone


def test_people_delete_no_blocks(repo: Repo) -> None:
    repo.write(block())
    assert "is written by the agents alone" in refused(lambda: repo.delete(IPAMBLOCK, "10-0-0-0-26"), Invalid)
    assert repo.find(IPAMBLOCK, "10-0-0-0-26") is not None


# --- filters that peers name


def peer(filters: str) -> Resource:
    return resource("BGPPeer", "rack", f"{{peerIP: 192.0.2.1, asNumber: 65001, filters: {filters}}}")


@holds_bytes
def test_a_peer_names_filters_that_exist(repo: Repo, store: Stores) -> None:
    said = refused(lambda: repo.create(peer("[a, b, a]")), Invalid)
    assert said.startswith("BGPPeer(rack): spec.filters = ['a', 'b', 'a']: BGPFilter(s) not found: a, b; create them")
    assert "BGPFilter(s) not found: b;" in refused(
        lambda: (repo.create(resource("BGPFilter", "a", "{}")), repo.apply(peer("[a, b]"))), Invalid
    )
    repo.create(peer("[a]"))
    assert "BGPFilter(s) not found: b;" in refused(lambda: repo.apply(peer("[a, b]")), Invalid)
    spoil(store, BGPFILTER, "b")
    repo.apply(peer("[a, b]"))


@holds_bytes
def test_a_filter_stays_while_a_peer_names_it(repo: Repo, store: Stores) -> None:
    repo.create(resource("BGPFilter", "a", "{}"))
    repo.create(peer("[a]"))
    said = refused(lambda: repo.delete(BGPFILTER, "a"), Invalid)
    assert said == (
        "BGPFilter(a): metadata.name = 'a': is named in spec.filters of BGPPeer(s) rack;"
        " take it out there, or delete those first"
    )
    spoil(store, BGPPEER, "odd")
    repo.apply(peer("[]"))
    assert "cannot be judged while /bgpnet/v1/bgppeers/odd" in refused(lambda: repo.delete(BGPFILTER, "a"), Invalid)
    repo.delete(BGPPEER, "odd")
    repo.delete(BGPFILTER, "a")


# --- the agents' own path


def test_write_is_compare_and_swap_without_admission(repo: Repo) -> None:
    first = repo.write(block())
    assert (first.metadata.resourceVersion != "", first.metadata.uid) == (True, "uid-1")
    second = repo.write(structs.replace(first, spec=block(pods=2).spec))
    assert (second.metadata.resourceVersion != first.metadata.resourceVersion, second.metadata.uid) == (True, "uid-1")
    assert "update conflict: IPAMBlock(10-0-0-0-26)" in refused(lambda: repo.write(first), Conflict)
    assert "resource already exists: IPAMBlock(10-0-0-0-26)" in refused(lambda: repo.write(block()), AlreadyExists)
    assert "update conflict" in refused(lambda: repo.remove(first), Conflict)
    assert "is required to change an object" in refused(lambda: repo.remove(block()), Invalid)
    repo.remove(second)
    assert repo.find(IPAMBLOCK, "10-0-0-0-26") is None


# --- broken objects


def spoil(store: Stores, kind: Kind, name: str, value: bytes = b"{") -> None:
    store.put(key(kind, name), value, None)


@holds_bytes
def test_a_broken_object_does_not_break_the_list(repo: Repo, store: Stores) -> None:
    repo.create(pool("red", "10.1.0.0/16"))
    spoil(store, IPPOOL, "blue")
    spoil(store, IPPOOL, "green", codec.encode(pool("other")))
    resources, _ = repo.list(IPPOOL)
    assert [each.metadata.name for each in resources] == ["red"]
    assert [broken.subject for broken in repo.broken] == ["/bgpnet/v1/ippools/blue", "/bgpnet/v1/ippools/green"]
    assert "must be green, as in its key" in str(repo.broken[1])
    assert refused(lambda: repo.get(IPPOOL, "blue"), Invalid).startswith(
        "/bgpnet/v1/ippools/blue: value: the stored object"
    )


@holds_bytes
def test_broken_is_about_now(repo: Repo, store: Stores) -> None:
    spoil(store, IPPOOL, "blue")
    spoil(store, NODE, "n1")
    repo.list(IPPOOL)
    repo.list(NODE)
    assert len(repo.broken) == 2
    spoil(store, IPPOOL, "blue", codec.encode(pool()))
    store.delete(key(NODE, "n1"), None)
    repo.list(IPPOOL)
    assert [broken.subject for broken in repo.broken] == ["/bgpnet/v1/nodes/n1"]
    repo.list(NODE)
    assert repo.broken == []


@holds_bytes
def test_a_broken_object_can_be_deleted(repo: Repo, store: Stores) -> None:
    spoil(store, NODE, "n1")
    repo.list(NODE)
    repo.delete(NODE, "n1")
    assert (repo.broken, repo.list(NODE)[0]) == ([], [])


@holds_bytes
def test_no_pool_is_judged_by_half_of_the_facts(repo: Repo, store: Stores) -> None:
    repo.create(pool())
    spoil(store, IPAMBLOCK, "10-0-0-0-26")
    wanted = "cannot be judged while /bgpnet/v1/ipamblocks/10-0-0-0-26 cannot be read; delete or repair that first"
    assert wanted in refused(lambda: repo.delete(IPPOOL, "blue"), Invalid)
    assert wanted in refused(lambda: repo.create(pool("red", "10.1.0.0/16")), Invalid)
    repo.apply(disabled(pool()))


# --- watch


def take(events: Iterator[Resource | Gone | None]) -> list[Resource | Gone]:
    """Everything up to the first pause."""
    taken: list[Resource | Gone] = []
    for event in events:
        if event is None:
            return taken
        taken.append(event)
    return taken


@holds_bytes
def test_watch_follows_from_the_list(repo: Repo, store: Stores) -> None:
    repo.create(pool("red", "10.1.0.0/16"))
    _, revision = repo.list(IPPOOL)
    events = repo.watch(IPPOOL, revision, lambda: False)
    assert take(events) == []
    created = repo.create(pool())
    repo.write(block())
    spoil(store, IPPOOL, "red")
    assert take(events) == [created]
    assert [broken.subject for broken in repo.broken] == ["/bgpnet/v1/ippools/red"]
    repo.delete(IPPOOL, "red")
    (gone,) = take(events)
    assert isinstance(gone, Gone)
    assert (gone.kind, gone.name, gone.revision != "") == (IPPOOL, "red", True)
    assert repo.broken == []


def test_watch_ends_when_told(repo: Repo) -> None:
    assert list(repo.watch(IPPOOL, repo.list(IPPOOL)[1], lambda: True)) == []
