"""The one door to lightkube and httpx: configuration, authentication, one HTTP exchange. Imported late, by `client`.

lightkube reads KUBECONFIG and the ServiceAccount, and makes certificates and users of them. Its watch ends with its
connection, and it waits for a kubeconfig's program without a deadline, so that both are ours.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit
from weakref import WeakSet

import httpx2 as httpx
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError

from bgpnet.errors import UsageError
from bgpnet.kube import bearer, proxy
from bgpnet.kube.access import Access
from bgpnet.version import VERSION

for _library in ("httpx2", "httpcore2"):  # they tell of every request, with a dozen lines: ours would not be found
    logging.getLogger(_library).setLevel(logging.WARNING)

CONNECT = 3.0
"""Seconds for a connection and its TLS handshake."""
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A watch without news hears within 25 s that its API server's machine, or a balancer's memory of it, is gone."""


class Lost(Exception):
    """No answer. unsent: the request never left, so that it may be repeated; untrusted: TLS did not come to an end."""

    def __init__(self, problem: str, unsent: bool = False, untrusted: bool = False) -> None:
        super().__init__(problem)
        self.unsent = unsent
        self.untrusted = untrusted


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and for how many seconds the server asks to be left alone."""

    status: int
    body: bytes
    retry_after: float | None = None


class Door:
    """Connections to one API server with the credentials as they were read; any thread may use it."""

    def __init__(self, access: Access) -> None:
        """Reads the files; raises UsageError when they say nothing usable. Nothing is sent yet."""
        problem = ""
        try:
            config, through = _configuration(access)
            _check(str(config.cluster.server))
            parameters = ConnectionParams().httpx_params(config)
            self._client = httpx.Client(
                base_url=config.cluster.server,
                auth=_changing(config) or parameters["auth"],
                transport=httpx.HTTPTransport(
                    verify=parameters["verify"], trust_env=False, proxy=through or None, socket_options=_KEEPALIVE
                ),
                trust_env=False,
                headers={"User-Agent": f"bgpnet/{VERSION}", "Accept": "application/json"},
            )
        except _UNUSABLE as error:
            problem = _words(error)
        if problem:  # not as the error's cause: that would keep lightkube's temporary files of secrets open with it
            raise UsageError(f"{access}: cannot be used ({problem}); {access.remedy}")
        self.server = str(config.cluster.server)
        self._streams: WeakSet[Stream] = WeakSet()

    def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes | None, kind: str, seconds: float
    ) -> Answer:
        """One request; its answer begins, and then comes to its end, within so many seconds each; raises Lost."""
        headers = {"Content-Type": kind} if body is not None else {}
        timeout = httpx.Timeout(seconds, connect=min(CONNECT, seconds))
        try:
            with self._client.stream(
                method, quote(path), params=dict(params), content=body, headers=headers, timeout=timeout
            ) as response:
                parts, deadline = [], monotonic() + seconds  # from here: before, somebody may have had to log in
                for part in response.iter_bytes():
                    parts.append(part)
                    if monotonic() > deadline:
                        raise Lost(f"the answer did not come to an end within {seconds:.0f} s")
                return Answer(response.status_code, b"".join(parts), _seconds(response.headers.get("Retry-After")))
        except _FAULTS as error:
            raise _lost(error) from error

    def open(self, path: str, params: Mapping[str, str], quiet: float, seconds: float) -> Stream:
        """A stream of lines that begins within `seconds` and is quiet for so long at most; raises Lost.

        Its connection is used for nothing else: the API server closes it soon after the end of a watch, and a write
        that had taken it meanwhile would be lost.
        """
        request = self._client.build_request(
            "GET",
            quote(path),
            params=dict(params),
            headers={"Accept-Encoding": "identity", "Connection": "close"},
            timeout=httpx.Timeout(seconds, connect=CONNECT),
        )
        try:
            response = self._client.send(request, stream=True)
            request.extensions["timeout"]["read"] = quiet  # from here on: it is looked up at each read
            stream = Stream(response)
            self._streams.add(stream)
            return stream
        except _FAULTS as error:
            raise _lost(error) from error

    def close(self) -> None:
        """Lets go of the connections; streams end."""
        for stream in list(self._streams):
            stream.close()
        self._client.close()


class Stream:
    """An answer that goes on: its lines, until the server ends it, or somebody closes it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._closed = threading.Event()
        self.status = response.status_code

    def lines(self) -> Iterator[bytes]:
        """Line after line; raises Lost when the connection breaks or stays quiet for too long."""
        rest = b""
        try:
            for part in self._response.iter_bytes():
                *whole, rest = (rest + part).split(b"\n")
                yield from whole
        except _FAULTS as error:
            if not self._closed.is_set():
                raise _lost(error) from error
        finally:
            self._response.close()
        if rest:
            yield rest

    def whole(self) -> bytes:
        """All of it, which is an error's text; raises Lost."""
        return b"\n".join(self.lines())

    def close(self) -> None:
        """Ends it, also while another thread waits for its next line."""
        self._closed.set()
        network = self._response.extensions.get("network_stream")
        wire = network.get_extra_info("socket") if network is not None else None
        if wire is not None:
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(wire, socket.SHUT_RDWR)  # beneath TLS: nobody is to answer any more


_UNUSABLE = (ConfigError, OSError, ssl.SSLError, KeyError, TypeError, ValueError, yaml.YAMLError, httpx.InvalidURL)
_FAULTS = (httpx.HTTPError, httpx.InvalidURL, OSError, bearer.NoToken, ValueError, RuntimeError)
"""ValueError, RuntimeError: another thread shut down the wire, or closed the client."""


def _lost(error: Exception) -> Lost:
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    return Lost(_words(error), unsent, "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper())


def _words(error: Exception) -> str:
    text = f"no {error.args[0]!r} in it" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    return text.rstrip(".") or type(error).__name__


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _check(server: str) -> None:
    """Raises ValueError for what is no URL: nobody is to wait for it to answer."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or not server.isprintable() or " " in server:
        raise ValueError(f"its server {server!r} is no URL; write one like https://10.0.0.1:6443")


def _changing(config: SingleConfig) -> bearer.TokenFile | bearer.Program | None:
    """What gives each request its token, where that is not always the same."""
    user = config.user
    if user.token_file is not None:
        return bearer.TokenFile(user.token_file)
    if user.token is not None or user.exec is None:
        return None
    command = user.exec.command
    program = str(config.abs_file(command)) if "/" in command else command
    environ = {each.name: each.value for each in user.exec.env or ()}
    return bearer.Program([program, *(user.exec.args or ())], environ, user.exec.apiVersion)


def _configuration(access: Access) -> tuple[SingleConfig, str]:
    """The one cluster and user that are meant, and the proxy on the way; raises what lightkube and the files raise."""
    if access.inline:
        return _chosen(access, yaml.safe_load(access.inline), None)
    if access.kubeconfig:
        path = Path(access.kubeconfig).expanduser()
        return _chosen(access, yaml.safe_load(path.read_text()), path)
    if access.service_account:
        folder = Path(access.service_account)
        authority, token = folder / "ca.crt", folder / "token"
        token.read_text()  # a pod without one is told so at once, not by its first request
        cluster = Cluster(server=access.server, certificate_auth=str(authority))
        user = User(token_file=str(token))
    elif access.server:
        cluster = Cluster(
            server=access.server,
            certificate_auth=access.ca_file or None,
            insecure=access.insecure,
        )
        user = User(
            token=access.token or None,
            client_cert=access.cert_file or None,
            client_key=access.key_file or None,
        )
    else:
        raise ValueError("nothing says where the API server is")
    return _only(KubeConfig.from_one(cluster=cluster, user=user), ""), proxy.of(access.server, os.environ)


_UNSUPPORTED = {"cluster": ("tls-server-name",), "user": ("auth-provider", "as", "as-groups", "as-uid")}


def _chosen(access: Access, tree: Any, path: Path | None) -> tuple[SingleConfig, str]:
    if not isinstance(tree, dict):
        raise ValueError("it is no kubeconfig: write clusters, users and contexts")
    config = _only(KubeConfig.from_dict(tree, fname=path.absolute() if path else None), access.context)
    through = ""
    for part, name in (("cluster", config.context.cluster), ("user", config.context.user)):
        given: dict[str, object] = next((each[part] for each in tree.get(f"{part}s") or () if each["name"] == name), {})
        for key in _UNSUPPORTED[part]:
            if key in given:
                raise ValueError(f"{part} {name!r} has {key}, which is not supported; take it out")
        if url := given.get("proxy-url"):
            through = proxy.checked(str(url), f"the proxy-url of cluster {name!r}")
    return config, through or proxy.of(str(config.cluster.server), os.environ)


def _only(config: KubeConfig, context: str) -> SingleConfig:
    single = config.get(context or None)
    if single is None:
        raise ValueError("no context is chosen in it")
    user = single.user or User()
    if user.token_file is not None:
        user = msgspec.structs.replace(user, token_file=str(single.abs_file(os.path.expanduser(user.token_file))))
    return single._replace(user=user)
