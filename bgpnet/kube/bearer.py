"""What shows who we are in each request, where it changes: the token in a file, or what a kubeconfig's program gives.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgpnet.errors import one_line
from bgpnet.model import instant

LOGIN = 60.0
"""Seconds for the program: somebody may have to log in."""
_AHEAD = 10.0  # seconds before a token's end that the program is asked for another


class NoToken(Exception):
    """The file or the program gives none; one sentence."""


class TokenFile:
    """The file's token, as it is at each request: the kubelet replaces a pod's long before it ends."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._last = ""

    def __call__(self, request: Any) -> Any:
        """The request with the token; raises NoToken."""
        try:
            self._last = self._path.read_text().strip() or self._last
        except (OSError, UnicodeDecodeError) as error:
            if not self._last:  # else it is being replaced, and the former one may do
                raise NoToken(f"token file {self._path}: {error}") from error
        if not self._last:
            raise NoToken(f"token file {self._path}: is empty")
        request.headers["Authorization"] = f"Bearer {self._last}"
        return request


class Program:
    """The token that a program prints, until it ends or the API server refuses it (then there is a new Program)."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], version: str, seconds: float = LOGIN
    ) -> None:
        """version: of client.authentication.k8s.io, as the kubeconfig says it."""
        self._command = list(command)
        self._environ = dict(environ)
        self._version = version
        self._seconds = seconds
        self._lock = threading.Lock()
        self._token = ""
        self._end = float("inf")

    def __call__(self, request: Any) -> Any:
        """The request with the token; raises NoToken."""
        with self._lock:
            if not self._token or time.time() > self._end - _AHEAD:
                self._token, self._end = self._asked()
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _asked(self) -> tuple[str, float]:
        name, person = self._command[0], sys.stdin is not None and sys.stdin.isatty()
        info = {"apiVersion": self._version, "kind": "ExecCredential", "spec": {"interactive": person}}
        try:
            done = subprocess.run(
                self._command,
                env={**os.environ, **self._environ, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                stdin=None if person else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if person else subprocess.PIPE,  # a person is told there where to log in
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise NoToken(f"{name}, which the kubeconfig names, gave no token within {self._seconds:.0f} s") from late
        except OSError as error:
            raise NoToken(f"{name}, which the kubeconfig names, cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            words = one_line((done.stderr or b"").decode(errors="replace").strip()[-300:])
            raise NoToken(f"{name}, which the kubeconfig names, failed with status {done.returncode}: {words}")
        return _credential(name, done.stdout)


def _credential(name: str, printed: bytes) -> tuple[str, float]:
    """Token, and when it ends; raises NoToken."""
    try:
        status = json.loads(printed)["status"]
        token, end = status.get("token"), status.get("expirationTimestamp")
        if not token and status.get("clientCertificateData"):
            raise NoToken(f"{name}, which the kubeconfig names, gave a certificate and no token: not supported")
        if not isinstance(token, str) or not token:
            raise NoToken(f"{name}, which the kubeconfig names, printed no token")
        return token, instant.seconds(end) if end else float("inf")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoToken(f"{name}, which the kubeconfig names, printed no ExecCredential") from error
