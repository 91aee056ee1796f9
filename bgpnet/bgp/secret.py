"""BGP passwords as what they are referred to by: a secret's name and a key in it. Pure; who reads them is the agent.

A secret is a file `<directory>/<name>/<key>` (as Kubernetes mounts one), or else an environment variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bgpnet.bgp.conf import PASSWORD_LIMIT
from bgpnet.config import HIDDEN_PREFIX
from bgpnet.model.resource import Password, SecretKeyRef


@dataclass(frozen=True, slots=True)
class Secret:
    """What was found; problem: why that is no password, as the end of a sentence that begins with where it stands."""

    value: str = field(default="", repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """All that were found, by path below the directory (a Kubernetes Secret's name and key) or by variable.

    namespace: where Kubernetes' Secrets are; empty without it. heard: those of them that were looked for, by name, each
    with what kept us from reading it, a sentence, or nothing.
    """

    directory: str
    found: Mapping[str, Secret] = field(default_factory=dict)
    namespace: str = ""
    heard: Mapping[str, str] = field(default_factory=dict)


def variable(name: str, key: str) -> str:
    """The environment variable of a secret: `BGPNET_SECRET_BGP_TOR` for the key `tor` of `bgp`."""
    return HIDDEN_PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())


def secret(data: bytes) -> Secret:
    """What a file or a variable holds, without the line's end."""
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return Secret(problem="is no UTF-8 text; write the password in UTF-8")
    if not text:
        return Secret(problem="is empty; write the password in it")
    if "\0" in text or "\n" in text:
        return Secret(problem="has several lines, or a zero byte; write the password in one line")
    if (size := len(text.encode())) > PASSWORD_LIMIT:
        return Secret(problem=f"has {size} bytes; TCP MD5 takes 1 to {PASSWORD_LIMIT}")
    return Secret(text)


def is_local(ref: SecretKeyRef, secrets: Secrets) -> bool:
    """Whether the secret is in a file or a variable, or there is no Kubernetes that might have it."""
    names = (f"{ref.name}/{ref.key}", variable(ref.name, ref.key))
    heard = ref.name in secrets.heard
    return not secrets.namespace or (not heard and names[0] in secrets.found) or names[1] in secrets.found


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no password to use; why, as half a sentence."""

    reason: str


def resolve(password: Password | None, secrets: Secrets) -> str | Missing | None:
    """The password; None where none is asked for."""
    if password is None:
        return None
    ref = password.secretKeyRef
    path, name = f"{ref.name}/{ref.key}", variable(ref.name, ref.key)
    found = secrets.found.get(path)
    where = f"{secrets.directory}/{path}"
    if found is None:
        found, where = secrets.found.get(name), f"the environment variable {name}"
    if found is None and secrets.namespace:
        why = secrets.heard.get(ref.name) or f"Secret {secrets.namespace}/{ref.name} has no key {ref.key}"
        return Missing(f"its password is neither in a file nor in Kubernetes: {why}; create it there")
    if found is None:
        return Missing(f"its password is in neither {secrets.directory}/{path} nor {name}: write it there")
    return Missing(f"{where} {found.problem}") if found.problem else found.value
