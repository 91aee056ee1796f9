"""What tests ask a Kubernetes API server themselves: requests as an administrator, and ServiceAccounts with rules."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube_credentials import ADMIN, ADMINS, Credentials

Json = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class Refused(Exception):
    """The API server's own words; `status` is HTTP's."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount, in what it needs to ask: as a pod does (folder), or by a kubeconfig."""

    client: Client
    namespace: str
    name: str
    uid: str

    @property
    def folder(self) -> Path:
        """As it is mounted into its pods: ca.crt, namespace and token."""
        return self.client.credentials.folder / f"account-{self.namespace}-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that names the token's file, so that a new token is seen."""
        name = f"{self.namespace}-{self.name}"
        return self.client.credentials.kubeconfig(self.client.url, name, tokenFile=self.folder / "token")

    def renew(self, seconds: float = 3600) -> str:
        """A new token in the file, which the server refuses after that (see Credentials.token); the token."""
        token = self.client.credentials.token(self.namespace, self.name, self.uid, seconds)
        fresh = self.folder / "token.new"
        fresh.write_text(token)
        fresh.rename(self.folder / "token")
        return token


class Client:
    """An administrator of the server at that port of the loopback; ServiceAccounts are made here, too."""

    def __init__(self, port: int, credentials: Credentials) -> None:
        self.port = port
        self.credentials = credentials

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"https://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: Json | None = None, *, token: str = "") -> Json:
        """One request, as an administrator or by a token; raises Refused, and OSError where it does not answer."""
        said = self.raw(method, path, body, token=token)
        found: Json = json.loads(said)
        return found

    def raw(self, method: str, path: str, body: Json | None = None, *, token: str = "") -> bytes:
        """What it answers, as it is; see `request`."""
        context = ssl.create_default_context(cafile=str(self.credentials.ca))
        headers = {"Accept": "application/json", "Content-Type": _content_type(method)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        else:
            context.load_cert_chain(*map(str, self.credentials.user(ADMIN, ADMINS)))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            said = answer.read()
        except http.client.HTTPException as problem:  # it went away in the middle
            raise ConnectionError(str(problem)) from problem
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(answer.status, said.decode(errors="replace"))
        return said

    def ensure(self, path: str, body: Json) -> Json:
        """POST, unless it is there."""
        try:
            return self.request("POST", path, body)
        except Refused as problem:
            if problem.status != 409:
                raise
            return self.request("GET", f"{path}/{body['metadata']['name']}")

    def namespace(self, name: str) -> None:
        """A namespace of that name."""
        self.ensure("/api/v1/namespaces", {"metadata": {"name": name}})

    def account(self, namespace: str, name: str, rules: Sequence[Json] = (), seconds: float = 3600) -> Account:
        """A ServiceAccount with a ClusterRole of these rules, its folder, and a token for so many seconds."""
        self.namespace(namespace)
        made = self.ensure(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        account = Account(self, namespace, name, made["metadata"]["uid"])
        self.allow(f"{namespace}-{name}", {"kind": "ServiceAccount", "namespace": namespace, "name": name}, rules)
        account.folder.mkdir(exist_ok=True)
        (account.folder / "namespace").write_text(namespace)
        (account.folder / "ca.crt").write_bytes(self.credentials.ca.read_bytes())
        account.renew(seconds)
        return account

    def allow(self, name: str, subject: Json, rules: Sequence[Json]) -> None:
        """Bind the subject to a ClusterRole of that name, with these rules in the place of former ones.

        subject: {"kind": "User", "name": …} or a ServiceAccount's, as in a ClusterRoleBinding.
        """
        if subject["kind"] != "ServiceAccount":
            subject = {"apiGroup": "rbac.authorization.k8s.io", **subject}
        role = {"metadata": {"name": name}, "rules": list(rules)}
        self.ensure(f"{RBAC}/clusterroles", role)
        self.request("PUT", f"{RBAC}/clusterroles/{name}", role)
        to = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": to, "subjects": [subject]}
        self.ensure(f"{RBAC}/clusterrolebindings", binding)


def _content_type(method: str) -> str:
    return "application/merge-patch+json" if method == "PATCH" else "application/json"
