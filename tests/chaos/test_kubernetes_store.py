"""The Kubernetes datastore while its API server is killed, frozen, and forgets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import kubernetes_store
import pytest
from agent_parts import eventually
from full_store import block
from kube_server import ApiServer, api_server
from msgspec import structs

from bgpnet.errors import Compacted, StoreError, StoreUnreachable
from bgpnet.kube.client import connect
from bgpnet.model import kinds
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.kubernetes import KubernetesStore
from bgpnet.store.repo import Gone, Repo


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as started:
        kubernetes_store.install(started.kubeconfig)
        yield started


@pytest.fixture
def store(server: ApiServer) -> Iterator[KubernetesStore]:
    made = KubernetesStore(connect(str(server.kubeconfig)))
    for entry in made.list("/").entries:
        made.delete(entry.key, None)
    yield made
    made.close()


def node(name: str, beat: int) -> Node:
    status = NodeStatus(identity=Identity(uuid="u", heartbeat=f"2026-01-01T00:{beat // 60 % 60:02}:{beat % 60:02}Z"))
    return Node(metadata=Metadata(name=name, labels={"n": str(beat)}), status=status)


class Follower:
    """What an agent does: list, watch, and on any trouble list again."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self.known: dict[str, Resource] = {}
        self.troubles: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                resources, revision = self.repo.list(kinds.NODE)
                self.known = {each.metadata.name: each for each in resources}
                for event in self.repo.watch(kinds.NODE, revision, self.stop.is_set):
                    if isinstance(event, Gone):
                        self.known.pop(event.name, None)
                    elif event is not None:
                        self.known[event.metadata.name] = event
            except StoreError as error:
                self.troubles.append(type(error).__name__)
                self.stop.wait(0.1)

    def is_true(self) -> bool:
        with suppress(StoreError):
            return self.known == {each.metadata.name: each for each in self.repo.list(kinds.NODE)[0]}
        return False

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def has_come_beyond(written: dict[str, int], beat: int) -> bool:
    """Whether each of five nodes was written after that."""
    return len(written) == 5 and min(written.values()) > beat


def test_followers_know_everything_after_kills(server: ApiServer, store: KubernetesStore) -> None:
    repo, done = Repo(store), threading.Event()
    written: dict[str, int] = {}

    def write() -> None:
        """Heartbeats of five nodes by compare-and-swap; what was acknowledged must never be older afterwards."""
        beat = 0
        while not done.wait(0.005):
            beat += 1
            name = f"n{beat % 5}"
            try:
                there = repo.find(kinds.NODE, name)
                revision = there.metadata.resourceVersion if there else ""
                made = node(name, beat)
                repo.write(structs.replace(made, metadata=structs.replace(made.metadata, resourceVersion=revision)))
                written[name] = beat
            except StoreError:
                continue  # in doubt, or a server that starts: looked up the next time, and all are to be written

    follower, writer = Follower(repo), threading.Thread(target=write)
    writer.start()
    for _ in range(20 if "BGPNET_SOAK" in os.environ else 2):
        last = max(written.values(), default=0)
        eventually(partial(has_come_beyond, written, last), "nothing was written")
        server.restart()
    last = max(written.values())  # a kill between an object and its status leaves half a write, for the next to mend
    eventually(partial(has_come_beyond, written, last), "nothing was written after the last restart")
    done.set()
    writer.join(60)
    eventually(follower.is_true, lambda: f"{follower.known} after {follower.troubles}")
    for name, beat in written.items():
        found = repo.get(kinds.NODE, name)
        assert int(found.metadata.labels["n"]) >= beat
        assert found == structs.replace(node(name, int(found.metadata.labels["n"])), metadata=found.metadata)
    follower.end()


def test_history_that_is_gone_is_compacted(server: ApiServer, store: KubernetesStore) -> None:
    repo = Repo(store)
    repo.write(node("n1", 1))
    _, revision = repo.list(kinds.NODE)
    second = repo.write(structs.replace(node("n2", 2)))
    repo.remove(repo.get(kinds.NODE, "n1"))
    watch = repo.watch(kinds.NODE, revision, lambda: False)
    assert next(event for event in watch if isinstance(event, Gone)).name == "n1"
    server.kill()
    server.compact()
    server.start()
    with pytest.raises(Compacted, match="list again"):
        for _ in repo.watch(kinds.NODE, revision, lambda: False):
            pass
    resources, revision = repo.list(kinds.NODE)
    assert resources == [repo.get(kinds.NODE, "n2")]
    assert resources[0].metadata.uid == second.metadata.uid
    assert next(repo.watch(kinds.NODE, revision, lambda: False)) is None


def test_a_frozen_server_has_deadlines(server: ApiServer) -> None:
    store, patient = (KubernetesStore(connect(str(server.kubeconfig), deadline=seconds)) for seconds in (2.0, 60.0))
    repo = Repo(store)
    written = Repo(patient).write(block())
    server.pause()
    try:
        for call in (lambda: repo.list(kinds.NODE), lambda: repo.write(written), lambda: repo.find(kinds.NODE, "n1")):
            began = time.monotonic()
            with pytest.raises(StoreUnreachable, match="had no answer"):
                call()
            assert time.monotonic() - began < 30
    finally:
        server.resume()
    eventually(lambda: _answers(store), "it did not come back")
    found = Repo(patient).get(kinds.IPAMBLOCK, written.metadata.name)
    revision = found.metadata.resourceVersion
    assert found == structs.replace(written, metadata=structs.replace(written.metadata, resourceVersion=revision))
    patient.close()
    store.close()


def _answers(store: KubernetesStore) -> bool:
    with suppress(StoreUnreachable):
        store.list("/bgpnet/v1/nodes/")
        return True
    return False
