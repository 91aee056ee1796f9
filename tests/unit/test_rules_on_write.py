"""Every case of the rule tables once more, where it counts: what is valid is stored, what is not never is.

Cases that decoding refuses for their form (an unknown field, a wrong type) have no resource that could be written.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import test_model_bgpconfiguration
import test_model_bgpfilter
import test_model_bgppeer
import test_model_cluster
import test_model_ippool
import test_model_metadata
import test_model_node
from rule_table import rows, text

from bgpnet import codec
from bgpnet.errors import Invalid
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.kinds import BGPFILTER, Resource, kind_of
from bgpnet.rules import table
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

TABLES = (
    ("IPPool", "x", test_model_ippool.CASES),
    ("BGPPeer", "x", test_model_bgppeer.CASES),
    ("BGPFilter", "x", test_model_bgpfilter.CASES),
    ("Node", "n1", test_model_node.CASES),
    ("IPReservation", "x", test_model_cluster.RESERVATIONS),
    ("BGPConfiguration", None, test_model_bgpconfiguration.CASES),
    ("IPAMConfiguration", None, test_model_cluster.IPAM),
    ("ClusterInformation", None, test_model_cluster.CLUSTERS),
)
"""Kind, name (None: it begins the row), cases."""


def _cases() -> Iterator[tuple[str, bool]]:
    for kind, fixed, cases in TABLES:
        for written, expected in rows(cases):
            name, _, spec = (fixed, "", written) if fixed is not None else written.partition(" ")
            yield text(kind, spec, name), expected == "ok"
    for metadata, expected in rows(test_model_metadata.CASES):
        yield f"{{apiVersion: bgpnet.io/v1, kind: Node, metadata: {metadata}}}", expected == "ok"


CASES = list(_cases())


def test_there_are_at_least_300_different_cases_of_both_sorts() -> None:
    assert len({written for written, _ in CASES}) >= 300
    assert min(sum(good for _, good in CASES), sum(not good for _, good in CASES)) >= 100


def _repo(resource: Resource | None) -> Repo:
    """An empty datastore, but for the filters that a peer names."""
    repo = Repo(MemoryStore())
    if isinstance(resource, BGPPeer):
        for name in resource.spec.filters:
            if codec.examine(made := text("BGPFilter", "{}", name))[0].findings == []:
                repo.create(codec.decode(made)[0])
    return repo


@pytest.mark.parametrize(("written", "good"), CASES)
def test_what_is_valid_is_stored_and_what_is_not_never_is(written: str, good: bool) -> None:
    (examined,) = codec.examine(written)
    assert (examined.findings == []) == good
    resource = examined.resource
    if not good and (resource is None or not list(table.check(resource))):
        with pytest.raises(Invalid):
            codec.decode(written)
        return
    assert resource is not None
    repo = _repo(resource)
    kind, name = kind_of(resource), resource.metadata.name
    if good:
        _is_stored(repo, resource)
        return
    for write in (repo.create, repo.apply):
        with pytest.raises(Invalid) as refused:
            write(resource)
        rules = {(each.path, each.problem) for each in table.check(resource)}
        assert {(each.path, each.problem) for each in refused.value.findings} == rules
    assert [each for each in repo.list(kind)[0] if each.metadata.name == name] == []


def _is_stored(repo: Repo, resource: Resource) -> None:
    kind, name = kind_of(resource), resource.metadata.name
    created = repo.create(resource)
    assert repo.get(kind, name) == created
    assert codec.decode(codec.to_yaml([created])) == [created]
    assert repo.apply(resource).metadata.resourceVersion == created.metadata.resourceVersion, (
        "applying it again is a change"
    )
    assert repo.list(kind)[0] == [created]
    repo.delete(kind, name)
    assert repo.find(kind, name) is None


def test_every_kind_that_people_write_has_a_table() -> None:
    from bgpnet.model.kinds import KINDS

    assert {kind.name for kind in KINDS if not kind.derived} == {kind for kind, _, _ in TABLES}
    assert set(table.RULES) == set(KINDS)
    assert BGPFILTER in KINDS
