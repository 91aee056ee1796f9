"""Who may ask a Kubernetes API server what: certificates, ServiceAccounts' tokens and kubeconfigs, made on the spot."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import certificates

ISSUER = "https://kubernetes.default.svc"
ADMIN, ADMINS = "admin", "system:masters"
LEEWAY = 60
"""Seconds that an API server gives a token beyond its expiry (go-jose's DefaultLeeway)."""


class Credentials:
    """An authority in a folder, and all that it vouches for.

    folder: is made; holds ca.pem, the servers' certificates, and the key that signs ServiceAccounts' tokens.
    """

    def __init__(self, folder: Path, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        """addresses: those of the API server."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = certificates.authority(folder, "ca")
        names = ["DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost"]
        names += [f"IP:{one}" for one in addresses[1:]]
        self.server = certificates.certificate(folder, self.ca, "server", address=addresses[0], names=names)
        self.accounts = folder / "accounts.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.accounts), "2048"], check=True, capture_output=True, timeout=60
        )

    def user(self, name: str, *groups: str) -> tuple[Path, Path]:
        """The certificate and the key of a user and its groups, made once."""
        cert = self.folder / f"user-{name.replace(':', '-')}.pem"
        if not cert.exists():
            subject = "".join(f"/O={group}" for group in groups) + f"/CN={name}"
            certificates.certificate(self.folder, self.ca, cert.stem, subject=subject)
        return cert, cert.with_suffix(".key")

    def token(self, namespace: str, account: str, uid: str, seconds: float) -> str:
        """A ServiceAccount's token that the API server refuses after so many seconds, at the earliest.

        The API makes none for less than ten minutes, so this one is signed here. The server takes it for LEEWAY longer
        than it says, which is taken off; what it has once seen, it believes for up to ten seconds more.
        """
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": [ISSUER],
            "iat": now - 3600,
            "nbf": now - 3600,
            "exp": int(now + seconds - LEEWAY),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }
        body = f"{_base64url(_json({'alg': 'RS256', 'typ': 'JWT'}))}.{_base64url(_json(claims))}"
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.accounts)],
            input=body.encode(), check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        return f"{body}.{_base64url(signed.stdout)}"

    def kubeconfig(self, url: str, name: str, **user: Any) -> Path:
        """A kubeconfig for that URL. user: its `user` object, keys with underscores for hyphens (token, tokenFile)."""
        who = {key.replace("_", "-"): str(value) for key, value in user.items()}
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": name, "user": who}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        path.write_text(json.dumps(text, indent=2))
        return path

    def user_kubeconfig(self, url: str, name: str, *groups: str) -> Path:
        """A kubeconfig of a user by its certificate."""
        cert, key = self.user(name, *groups)
        return self.kubeconfig(url, name, client_certificate=cert, client_key=key)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
