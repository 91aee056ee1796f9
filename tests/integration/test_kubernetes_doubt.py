"""Writes to the Kubernetes datastore whose answer was lost: known to be done, or said to be in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import kubernetes_store
import pytest
from full_store import block
from msgspec import structs

from bgpnet.errors import StoreUnreachable
from bgpnet.kube.access import Access
from bgpnet.kube.client import Api
from bgpnet.kube.errors import Unreachable
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.kubernetes import KubernetesStore
from bgpnet.store.repo import Repo


class Losing(Api):
    """Loses the answer to its next write; `then` happens before anybody looks what became of it."""

    then: Callable[[], object] | None = None

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._lose(path, super().create(path, body))

    def patch(self, path: str, body: Mapping[str, Any] | Sequence[dict[str, Any]], *, kind: str = "merge") -> Any:
        return self._lose(path, super().patch(path, body, kind=kind))

    def delete(self, path: str, *, uid: str = "", resource_version: str = "") -> Any:
        return self._lose(path, super().delete(path, uid=uid, resource_version=resource_version))

    def _lose(self, path: str, answer: Any) -> Any:
        if self.then is None:
            return answer
        then, self.then = self.then, None
        then()
        raise Unreachable(f"{self}: {path} had no answer; try again")


class Doubt:
    """A datastore that loses answers, and one that does not."""

    def __init__(self) -> None:
        self.straight = Repo(kubernetes_store.empty_store())
        self.api = Losing(Access(kubeconfig=str(kubernetes_store.shared_server().kubeconfig)))
        self.repo = Repo(KubernetesStore(self.api))

    def lost(self, write: Callable[[], Any], then: Callable[[], object] = lambda: None) -> Any:
        """What a write comes to whose answer was lost."""
        self.api.then = then
        return write()

    def close(self) -> None:
        self.api.close()
        self.straight.store.close()


@pytest.fixture
def doubt() -> Iterator[Doubt]:
    made = Doubt()
    yield made
    made.close()


def beat(node: Node, mark: str) -> Node:
    return structs.replace(node, status=NodeStatus(identity=Identity(uuid=mark, heartbeat="2026-01-01T00:00:00Z")))


def test_what_was_carried_out_is_done(doubt: Doubt) -> None:
    made = doubt.lost(lambda: doubt.repo.write(block()))
    assert made == doubt.straight.get(kinds.IPAMBLOCK, block().metadata.name)
    assert isinstance(made, IPAMBlock)
    more = structs.replace(made.spec, sequence=made.spec.sequence + 1)
    changed = doubt.lost(lambda: doubt.repo.write(structs.replace(made, spec=more)))
    assert changed == doubt.straight.get(kinds.IPAMBLOCK, block().metadata.name)
    assert changed.spec == more
    doubt.lost(lambda: doubt.repo.remove(changed))
    assert doubt.straight.find(kinds.IPAMBLOCK, block().metadata.name) is None


def test_so_is_a_status(doubt: Doubt) -> None:
    node = doubt.repo.write(beat(Node(metadata=Metadata(name="n1")), "one"))
    assert isinstance(node, Node)
    changed = doubt.lost(lambda: doubt.repo.write(beat(node, "two")))
    assert changed == doubt.straight.get(kinds.NODE, "n1")


def test_what_others_wrote_over_meanwhile_is_in_doubt(doubt: Doubt) -> None:
    def rival() -> None:
        there = doubt.straight.get(kinds.NODE, "n1")
        doubt.straight.write(structs.replace(there, metadata=structs.replace(there.metadata, labels={"a": "b"})))

    with pytest.raises(StoreUnreachable, match="had no answer"):
        doubt.lost(lambda: doubt.repo.write(Node(metadata=Metadata(name="n1"))), rival)
    assert doubt.straight.get(kinds.NODE, "n1").metadata.labels == {"a": "b"}


def test_what_was_not_carried_out_is_said_to_be_in_doubt(doubt: Doubt) -> None:
    class Deaf(Losing):
        def create(self, path: str, body: Mapping[str, Any]) -> Any:
            raise Unreachable(f"{self}: {path} had no answer; try again")

    deaf = Deaf(Access(kubeconfig=str(kubernetes_store.shared_server().kubeconfig)))
    with pytest.raises(StoreUnreachable, match="had no answer"):
        Repo(KubernetesStore(deaf)).write(block())
    theirs = doubt.straight.write(block())
    with pytest.raises(StoreUnreachable, match="had no answer"):  # another's block of the same content has another uid
        Repo(KubernetesStore(deaf)).write(structs.replace(block(), metadata=Metadata(name=theirs.metadata.name)))
    deaf.close()
