"""The API client, the reflector and the datastore before an API server that answers what a real one rarely does."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from agent_parts import eventually

from bgpnet.errors import Compacted
from bgpnet.kube.access import Access
from bgpnet.kube.client import Api, connect
from bgpnet.kube.errors import Expired, Unauthorised, Unreachable
from bgpnet.kube.reflector import Away, Listed, Put, Told, follow
from bgpnet.store.kubernetes import KubernetesStore

POOLS = "/apis/bgpnet.io/v1/ippools"
PREFIX = "/bgpnet/v1/ippools/"
Said = tuple[int, dict[str, str], bytes]


def page(*names: str, onward: str = "", revision: str = "7") -> Said:
    """A list, or a part of one."""
    items = [pool(name) for name in names]
    return 200, {}, json.dumps({"metadata": {"resourceVersion": revision, "continue": onward}, "items": items}).encode()


def pool(name: str, revision: str = "5") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": revision}, "spec": {"cidr": "10.0.0.0/16"}}


def failure(code: int, reason: str, **headers: str) -> Said:
    tree = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": f"said {reason}"}
    return code, headers, json.dumps(tree).encode()


def events(*told: tuple[str, Any]) -> Said:
    return 200, {}, b"".join(json.dumps({"type": kind, "object": item}).encode() + b"\n" for kind, item in told)


class Server:
    """Answers each request with what the test says of it; `None`: never."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str, dict[str, str], dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Said | None] = lambda path, params: page()
        self.over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(30)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                params = {name: values[0] for name, values in parse_qs(parts.query).items()}
                server.asked.append((time.monotonic(), parts.path, params, dict(self.headers)))
                said = server.answer(parts.path, params)
                if said is None:
                    server.over.wait(120)
                    return
                status, headers, body = said
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class calls it so
                """In silence."""

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    made = Api(Access(server=server.url))
    yield made
    made.close()


def test_a_server_that_puts_us_off_is_left_alone_for_as_long_as_it_says(server: Server, api: Api) -> None:
    for status in (429, 503):
        del server.asked[:]
        answers = iter([failure(status, "TooManyRequests", **{"Retry-After": "1"}), page("a")])
        server.answer = lambda path, params, answers=answers: next(answers)  # type: ignore[misc]
        assert len(api.list(POOLS)[0]) == 1
        first, second = (when for when, *_ in server.asked)
        assert second - first >= 1.0
    del server.asked[:]
    server.answer = lambda path, params: failure(429, "TooManyRequests", **{"Retry-After": "60"})
    began = time.monotonic()
    with pytest.raises(Unreachable, match="said TooManyRequests"):
        api.list(POOLS)
    assert (len(server.asked), time.monotonic() - began < 9) == (1, True)


@pytest.mark.parametrize("gone", [failure(410, "Expired"), failure(410, "Gone")])
def test_a_list_whose_history_goes_between_two_pages_is_begun_again(server: Server, api: Api, gone: Said) -> None:
    answers = iter([page("a", onward="1"), gone, page("a", onward="2"), page("b", revision="9")])
    server.answer = lambda path, params: next(answers)
    listing = KubernetesStore(api).list(PREFIX)
    assert ([entry.key for entry in listing.entries], listing.revision) == ([f"{PREFIX}a", f"{PREFIX}b"], "9")
    assert [params.get("continue") for _, _, params, _ in server.asked] == [None, "1", None, "2"]


def watching(*told: Said | None) -> Callable[[str, dict[str, str]], Said | None]:
    """Lists are empty; watches get these answers, one each, and then none."""
    answers = iter(told)
    return lambda path, params: next(answers, None) if "watch" in params else page()


@pytest.mark.parametrize(
    "gone", [failure(410, "Expired"), events(("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))]
)
def test_both_forms_of_gone_are_told(server: Server, api: Api, gone: Said) -> None:
    server.answer = watching(gone, gone)
    with pytest.raises(Expired, match="list again"):
        next(api.watch(POOLS, "5", stop=lambda: False))
    with pytest.raises(Compacted, match="list again"):
        next(event for event in KubernetesStore(api).watch(PREFIX, "5", lambda: False) if event)  # type: ignore[arg-type]


@pytest.mark.parametrize("junk", [events(("ADDED", {})), (200, {}, b"{\n"), (200, {}, b"[]\n"), (200, {}, b"\xff\n")])
def test_a_watch_that_says_junk_is_begun_anew_and_the_rest_is_told(server: Server, api: Api, junk: Said) -> None:
    server.answer = watching(junk, events(("ADDED", pool("a", "8"))))
    told: list[Told] = []
    follow(api, POOLS, told.append, lambda: any(isinstance(one, Put) for one in told))
    assert [type(one) for one in told] == [Listed, Away, Listed, Put]


@pytest.mark.parametrize("frozen", ["list", "newest", "watch"])
def test_who_follows_stops_within_a_second_while_the_server_answers_nothing(
    server: Server, api: Api, frozen: str
) -> None:
    def answer(path: str, params: dict[str, str]) -> Said | None:
        asked = "watch" if "watch" in params else "newest" if params["limit"] == "1" else "list"
        return None if asked == frozen else page()

    server.answer = answer
    stop = threading.Event()
    follower = threading.Thread(target=follow, args=(api, POOLS, lambda told: None, stop.is_set))
    watcher = threading.Thread(target=lambda: [*KubernetesStore(api).watch(PREFIX, "5", stop.is_set)])  # type: ignore[arg-type]
    threads = [follower] if frozen == "list" else [follower, watcher]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(1 for one in server.asked if _is(frozen, one[2])) >= len(threads), "nobody asked")
    stop.set()
    began = time.monotonic()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert time.monotonic() - began < 8  # half a second, on a machine that has nothing else to do


def _is(frozen: str, params: dict[str, str]) -> bool:
    return "watch" in params if frozen == "watch" else params.get("limit") == ("1" if frozen == "newest" else "500")


def test_a_watch_of_a_frozen_server_is_given_up(server: Server) -> None:
    api = Api(Access(server=server.url), deadline=1.0)
    server.answer = watching(None)
    with pytest.raises(Unreachable, match="had no answer"):
        list(api.watch(POOLS, "5", stop=lambda: False))
    api.close()


def test_a_watch_has_its_connection_looked_after(server: Server, api: Api) -> None:
    """So that a machine that vanished, or a balancer that forgot the connection, is noticed without news."""
    server.answer = watching(None)
    stop = threading.Event()
    watcher = threading.Thread(target=lambda: [*api.watch(POOLS, "5", stop=stop.is_set)])
    watcher.start()
    eventually(lambda: any("watch" in params for _, _, params, _ in server.asked), "nobody watches")
    port = server.url.rpartition(":")[2]
    shown: list[str] = []

    def is_looked_after() -> bool:
        """Another timer is shown until the server has acknowledged what it was asked."""
        argv = ["ss", "-tnoH", f"dport = :{port}"]
        shown.append(subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout)
        return "timer:(keepalive," in shown[-1]

    try:
        eventually(is_looked_after, lambda: shown[-1], 5)
    finally:
        stop.set()
        watcher.join(30)
    assert "min" not in shown[-1]  # Linux' own is two hours


def test_a_server_that_ends_each_watch_at_once_is_not_flooded(server: Server, api: Api) -> None:
    """As a gateway in between may: it would be asked hundreds of times a second."""
    server.answer = lambda path, params: events() if "watch" in params else page()
    began = time.monotonic()

    def enough() -> bool:
        return time.monotonic() > began + 2.0

    assert [one for one in api.watch(POOLS, "5", stop=enough) if one] == []
    watches = [params for _, _, params, _ in server.asked if "watch" in params]
    assert 1 <= len(watches) <= 6, len(watches)


def test_whatever_is_in_a_path_asks_for_that_object_alone(server: Server, api: Api) -> None:
    server.answer = lambda path, params: failure(404, "NotFound")
    for name in ("a?b", "a#b", "a b", "a%2fb", "ä"):
        del server.asked[:]
        with pytest.raises(Exception, match="has no ippools"):
            api.get(f"{POOLS}/{name}")
        assert (server.asked[0][1].count("/"), server.asked[0][2]) == (5, {})


def test_a_proxy_in_the_kubeconfig_is_gone_through(server: Server, tmp_path: Path) -> None:
    """An HTTP proxy is asked for the whole URL."""
    cluster = {"server": "http://api.example:8080", "proxy-url": server.url}
    api = connect(str(kubeconfig(tmp_path, cluster, {"token": "t"})))
    server.answer = lambda path, params: page("a")
    assert len(api.list(POOLS)[0]) == 1
    assert server.asked[0][3]["Host"] == "api.example:8080"
    api.close()


def kubeconfig(folder: Path, cluster: dict[str, str], user: dict[str, Any]) -> Path:
    tree = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.dump(tree))
    return path


def test_a_program_is_asked_again_when_its_token_is_refused(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "login"
    printed = f'{{\\"status\\": {{\\"token\\": \\"$(wc -l < {tmp_path}/asked)\\"}}}}'
    script.write_text(f'#!/bin/sh\necho x >> {tmp_path}/asked\necho "{printed}"')
    script.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"}}
    api = connect(str(kubeconfig(tmp_path, {"server": server.url}, user)))
    good = "Bearer 2"
    server.answer = lambda path, params: (
        page() if server.asked[-1][3]["Authorization"] == good else failure(401, "Unauthorized")
    )
    assert api.list(POOLS) == ([], "7")
    good = "Bearer never"
    with pytest.raises(Unauthorised):
        api.list(POOLS)
    api.close()
