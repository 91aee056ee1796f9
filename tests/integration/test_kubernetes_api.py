"""The Kubernetes API as JSON and the reflector over it, before a real API server that is killed, stopped and frozen."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from agent_parts import eventually
from certificates import authority
from kube_server import ApiServer, api_server

from bgpnet.kube.client import Api, Json, connect
from bgpnet.kube.errors import Expired, KubeError, Refused, Unauthorised, Unreachable
from bgpnet.kube.reflector import Away, Gone, Listed, Put, Told, follow

MAPS = "/api/v1/namespaces/default/configmaps"
READS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as started:
        yield started


@pytest.fixture
def api(server: ApiServer) -> Iterator[Api]:
    """An administrator's, with no objects of former tests."""
    made = connect(str(server.kubeconfig))
    eventually(lambda: bool(made.get("/api/v1/namespaces/default")), "no namespace default")
    for item in made.list(MAPS)[0]:
        made.delete(f"{MAPS}/{item['metadata']['name']}")
    yield made
    made.close()


def config_map(name: str, text: object = "", **labels: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"text": str(text)},
    }


class Cache:
    """What a reflector's owner knows."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.told: list[Told] = []

    def tell(self, told: Told) -> None:
        self.told.append(told)
        match told:
            case Listed(objects):
                self.objects = {item["metadata"]["name"]: item for item in objects}
            case Put(item):
                self.objects[item["metadata"]["name"]] = item
            case Gone(item):
                del self.objects[item["metadata"]["name"]]

    def count(self, kind: type) -> int:
        return sum(isinstance(told, kind) for told in self.told)

    def is_server(self, api: Api) -> bool:
        """Whether all objects are there in the server's version, and no others."""
        with suppress(Unreachable):
            return versions(api.list(MAPS)[0]) == versions(self.objects.values())
        return False


def versions(items: Any) -> dict[str, str]:
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}


@contextmanager
def reflecting(api: Api, **selectors: str) -> Iterator[Cache]:
    """A cache that is kept by a reflector; it ends within moments when it is asked to."""
    cache, stop = Cache(), threading.Event()
    thread = threading.Thread(target=follow, args=(api, MAPS, cache.tell, stop.is_set), kwargs=selectors)
    thread.start()
    try:
        eventually(lambda: cache.count(Listed) > 0, "nothing was listed")
        yield cache
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_objects_are_made_read_changed_and_deleted(api: Api) -> None:
    made = api.create(MAPS, config_map("a", 1, k="v"))
    path, revision = f"{MAPS}/a", made["metadata"]["resourceVersion"]
    assert "managedFields" not in made["metadata"]
    assert api.get(path) == made
    # not the lists' revisions: the API server renews its own lease meanwhile
    assert api.list(MAPS, labels="k=v")[0] == api.list(MAPS, fields="metadata.name=a")[0] != []
    assert api.list(MAPS, labels="k=w")[0] == []
    replaced = api.replace(path, {**made, "data": {"text": "2"}})
    assert replaced["data"] == {"text": "2"}
    with pytest.raises(Refused) as conflict:
        api.replace(path, {**made, "data": {"text": "3"}})
    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
    assert api.patch(path, {"data": {"more": "x"}})["data"] == {"text": "2", "more": "x"}
    removed = api.patch(path, [{"op": "remove", "path": "/data/more"}], kind="json")
    assert removed["data"] == {"text": "2"}
    with pytest.raises(Refused) as exists:
        api.create(MAPS, config_map("a"))
    assert exists.value.reason == "AlreadyExists"
    with pytest.raises(Refused) as stale:
        api.delete(path, resource_version=revision)
    assert stale.value.reason == "Conflict"
    with pytest.raises(Refused):
        api.delete(path, uid="another")
    api.delete(path, uid=made["metadata"]["uid"])
    assert api.get(path) is None
    with pytest.raises(Refused) as gone:
        api.delete(path)
    assert gone.value.reason == "NotFound"


def test_a_field_that_is_unknown_or_wrong_is_refused_by_its_name(api: Api) -> None:
    with pytest.raises(Refused, match='unknown field "dta"'):
        api.create(MAPS, {**config_map("a"), "dta": {}})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}]}}
    with pytest.raises(Refused) as refused:
        api.create("/api/v1/namespaces/default/services", service)
    assert "spec.ports[0].port" in [cause.field for cause in refused.value.causes]


def test_a_long_list_comes_in_pages(api: Api) -> None:
    names = {f"m{number}" for number in range(510)}
    for name in names:
        api.create(MAPS, config_map(name))
    assert set(versions(api.list(MAPS)[0])) == names


def test_what_is_not_served_says_what_to_do(api: Api) -> None:
    for call in (lambda: api.get("/apis/bgpnet.io/v1/ippools/x"), lambda: api.list("/apis/bgpnet.io/v1/ippools")):
        with pytest.raises(Refused, match=r"has no ippools.bgpnet.io; install .* `kubectl apply -k manifests/`"):
            call()
    with pytest.raises(Refused, match=r"serves nothing at /apis/example.org/v1/x"):
        api.list("/apis/example.org/v1/x")


def test_a_missing_permission_is_named(server: ApiServer) -> None:
    mary = connect(str(server.user("mary")))
    calls: list[Callable[[], object]] = [
        lambda: mary.list("/api/v1/nodes"),
        lambda: next(mary.watch("/api/v1/nodes", "1", stop=lambda: False)),
    ]
    for call in calls:
        with pytest.raises(
            Unauthorised, match=r'User "mary" cannot list resource "nodes" .*; grant it in a ClusterRole'
        ):
            call()
    mary.close()


def test_a_watch_tells_each_change_once_and_in_order(api: Api) -> None:
    _, revision = api.list(MAPS)
    api.create(MAPS, config_map("a", 1, k="v"))
    api.create(MAPS, config_map("b"))
    api.patch(f"{MAPS}/a", {"data": {"text": "2"}})
    api.delete(f"{MAPS}/a")
    seen: list[tuple[str, str]] = []
    chosen: list[str] = []
    until = time.monotonic() + 60
    for found, count, selectors in ((seen, 4, {}), (chosen, 3, {"labels": "k=v"})):
        for event in api.watch(MAPS, revision, stop=lambda: time.monotonic() > until, **selectors):
            if event is not None:
                found.append((event[0], event[1]["metadata"]["name"]) if found is seen else event[0])  # type: ignore[arg-type]
            elif len(found) >= count:  # before, a busy API server is late
                break
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert chosen == ["ADDED", "MODIFIED", "DELETED"]


@pytest.mark.parametrize("after", ["", "0", "x", "999999999"])
def test_a_watch_from_a_revision_that_never_was_is_expired(api: Api, after: str) -> None:
    with pytest.raises(Expired, match="list again"):
        next(api.watch(MAPS, after, stop=lambda: False))


def test_a_watch_that_the_server_ends_goes_on_where_it_stopped(server: ApiServer) -> None:
    api = connect(str(server.kubeconfig), lasting=1)
    with reflecting(api) as cache:
        began = time.monotonic()
        for number in itertools.count():
            if time.monotonic() - began > 4:
                break
            api.patch(f"{MAPS}/m{number % 5}", config_map(f"m{number % 5}", number), kind="apply")
        eventually(lambda: cache.is_server(api), "the cache is not as the server")
        assert (cache.count(Listed), cache.count(Away)) == (1, 0)
        assert cache.count(Put) == number
    api.close()


def test_no_write_is_lost_with_the_connection_of_a_watch_that_has_ended(server: ApiServer) -> None:
    """Of 10,000 writes beside twelve such watches, 40 were, while writes could take over their connections."""
    api = connect(str(server.kubeconfig), lasting=1)
    until, over = time.monotonic() + 5, threading.Event()

    def follow() -> None:
        _, after = api.list(MAPS)
        for _ in api.watch(MAPS, after, stop=over.is_set):
            pass

    with ThreadPoolExecutor(12) as threads:
        following = [threads.submit(follow) for _ in range(12)]
        try:
            for number in itertools.count():
                if time.monotonic() > until and number > 100:  # however busy the machine is
                    break
                api.patch(f"{MAPS}/m{number % 5}", config_map(f"m{number % 5}", number), kind="apply")
        finally:
            over.set()
        for each in following:
            each.result(60)
    api.close()


def test_a_reflector_outlives_its_api_server(server: ApiServer, api: Api) -> None:
    done = threading.Event()

    def write() -> None:
        """On and on, over the restart: creates, changes and deletes."""
        number = 0
        while not done.wait(0.01):
            number += 1
            with suppress(KubeError):
                name = f"m{number % 11}"
                if number % 3 == 0:
                    api.delete(f"{MAPS}/{name}")
                else:
                    api.patch(f"{MAPS}/{name}", config_map(name, number), kind="apply")

    with reflecting(api) as cache:
        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: cache.count(Put) > 20, "nothing was told")
        server.kill()
        eventually(lambda: cache.count(Away) > 0, "the reflector did not notice")
        server.start()
        lists = cache.count(Listed)
        eventually(lambda: isinstance(cache.told[-1], Put) and lists >= 1, "nothing was told after the restart")
        done.set()
        writer.join(60)
        eventually(lambda: cache.is_server(api), "the cache is not as the server")
        assert cache.count(Listed) >= 2
        assert "had no answer" in next(told.reason for told in cache.told if isinstance(told, Away))


def test_what_was_deleted_while_history_was_compacted_is_gone_after_the_next_list(server: ApiServer, api: Api) -> None:
    for name in ("a", "b"):
        api.create(MAPS, config_map(name))
    _, revision = api.list(MAPS)
    with reflecting(api) as cache:
        server.pause()  # it does not hear of what follows
        server.resume()
        api.delete(f"{MAPS}/a")
        api.create(MAPS, config_map("c"))
        server.kill()
        eventually(lambda: isinstance(cache.told[-1], Away), "the reflector did not notice")
        server.compact()
        server.start()
        eventually(lambda: cache.is_server(api) and set(cache.objects) == {"b", "c"}, "the cache is not as the server")
    with pytest.raises(Expired):
        next(api.watch(MAPS, revision, stop=lambda: False))


def test_a_server_that_hangs_has_deadlines(server: ApiServer, api: Api) -> None:
    patient, api = api, connect(str(server.kubeconfig), quiet=3.0, deadline=3.0)
    with reflecting(api) as cache:
        patient.create(MAPS, config_map("before"))
        eventually(lambda: "before" in cache.objects, "nothing was told")
        server.pause()
        try:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="had no answer"):
                api.patch(f"{MAPS}/before", {"data": {"text": "x"}})
            assert time.monotonic() - began < 30
            eventually(lambda: isinstance(cache.told[-1], Away), "the reflector did not notice")
            assert "before" in cache.objects
        finally:
            server.resume()
        eventually(lambda: isinstance(cache.told[-1], Listed) and cache.is_server(api), "it did not come back")
    api.close()


def test_nobody_there_is_said_soon(tmp_path: Path, server: ApiServer) -> None:
    text = server.kubeconfig.read_text().replace(f":{server.port}", ":1")
    (tmp_path / "kubeconfig").write_text(text)
    api = connect(str(tmp_path / "kubeconfig"))
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"https://127.0.0.1:1: GET /api/v1/nodes had no answer .*refused"):
        api.list("/api/v1/nodes")
    assert time.monotonic() - began < 20
    api.close()


def test_who_closes_ends_what_is_under_way(server: ApiServer) -> None:
    api = connect(str(server.kubeconfig))
    watch = api.watch(MAPS, api.list(MAPS)[1], stop=lambda: False)
    assert next(watch) is None
    api.close()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        for _ in watch:
            pass
    with pytest.raises(Unreachable, match="the connection was closed; connect again"):
        api.list(MAPS)
    assert time.monotonic() - began < 10


def test_a_token_that_was_rotated_is_read_anew(server: ApiServer) -> None:
    account = server.client.account("default", "agent", [READS], seconds=6)  # to begin with it has to be good
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    api = connect(environ=environ, service_account=str(account.folder))
    with reflecting(api) as cache:
        eventually(lambda: _refused(api), "the token did not expire")
        with pytest.raises(Unauthorised, match=r"does not accept our credentials .*renew the token"):
            api.list(MAPS)
        account.renew()
        assert api.list(MAPS)[1] != ""
        server.kill()  # so that the watch has to begin anew
        eventually(lambda: isinstance(cache.told[-1], Away), "the reflector did not notice")
        server.start()
        eventually(lambda: isinstance(cache.told[-1], Listed), "it did not come back")
    api.close()


def _refused(api: Api) -> bool:
    try:
        api.list(MAPS)
    except Unauthorised:
        return True
    return False


def test_credentials_that_were_replaced_are_read_anew(server: ApiServer, tmp_path: Path) -> None:
    """Certificates and tokens in a kubeconfig, and authorities, are replaced in their files while we run."""
    path = tmp_path / "kubeconfig"
    good = yaml.safe_load(server.kubeconfig.read_text())
    path.write_text(yaml.dump(good | {"users": [{"name": "admin", "user": {"token": "old"}}]}))
    api = connect(str(path))
    with pytest.raises(Unauthorised):
        api.list("/api/v1/nodes")
    path.write_text(yaml.dump(good))
    eventually(lambda: _lists(api), "the new certificate was not read")
    api.close()
    another = str(authority(tmp_path, "another"))
    good["clusters"][0]["cluster"] |= {"certificate-authority": another}
    path.write_text(yaml.dump(good))
    api = connect(str(path))
    with pytest.raises(Unreachable, match="certificate verify failed"):
        api.list("/api/v1/nodes")
    path.write_text(server.kubeconfig.read_text())
    eventually(lambda: _lists(api), "the new authority was not read")
    api.close()


def _lists(api: Api) -> bool:
    with suppress(KubeError):
        return api.list("/api/v1/nodes") is not None
    return False
