"""What the API server's answers mean, in sentences that say what to do. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from bgpnet.errors import one_line
from bgpnet.kube.errors import Cause, Expired, KubeError, Refused, Unauthorised

_OURS = "/apis/bgpnet.io/"
_TOO_LARGE = ("request is too large", "message larger than max")
_UNCHECKED = "some validation rules were not checked"  # a remark beside the causes, which names no field


def unreachable(server: str, what: str, problem: str) -> str:
    """Nobody answers, or not in time."""
    return one_line(
        f"{server}: {what} had no answer ({problem}); see that it runs and can be reached from here, and try again"
    )


def refusal(server: str, method: str, path: str, status: int, body: bytes) -> KubeError:
    """The error that an answer of 4xx is."""
    given = _status(body)
    reason, message = str(given.get("reason") or ""), one_line(str(given.get("message") or said(body)))
    if status == 410:
        return Expired(f"{server}: {method} {path}: {message}; list again")
    if is_too_large(status, body):
        problem = f"the object is larger than the API server takes ({message}); write less into it, or split it"
        return Refused(f"{server}: {method} {path}: {problem}", status, reason, message)
    if status == 401:
        return Unauthorised(
            f"{server}: does not accept our credentials ({message or 'Unauthorized'}); renew the token or certificate "
            "of the kubeconfig, or delete the pod whose ServiceAccount was made anew, so that it gets another token",
            status,
            reason or "Unauthorized",
            message,
        )
    if status == 403:
        return Unauthorised(
            f"{server}: {message}; grant it in a ClusterRole, such as those in manifests/", status, reason, message
        )
    if status == 404 and reason != "NotFound":
        return Refused(_unknown(server, path), status, reason, message)
    causes = tuple(_causes(given))
    return Refused(f"{server}: {method} {path}: {message}; correct it and try again", status, reason, message, causes)


def is_too_large(status: int, body: bytes) -> bool:
    """Whether the object is larger than the API server (413), or its etcd (500, in etcd's words), takes."""
    return status == 413 or (status == 500 and any(each in said(body) for each in _TOO_LARGE))


def said(body: bytes) -> str:
    """The message in an answer, or its text."""
    return one_line(str(_status(body).get("message") or body[:300].decode(errors="replace").strip()))


def _unknown(server: str, path: str) -> str:
    if path.startswith(_OURS):
        kind = path.removeprefix(_OURS).split("/")[1]
        return f"{server}: has no {kind}.bgpnet.io; install bgpnet's kinds with `kubectl apply -k manifests/`"
    return f"{server}: serves nothing at {path}; see `kubectl api-resources` for what it has"


def _status(body: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    kind = tree.get("kind") if isinstance(tree, dict) else None
    if kind != "Status":
        return {}
    # An unknown path is answered with a Status, too, or with plain text, whichever of the servers inside answers.
    details = tree.get("details")
    if tree.get("reason") == "NotFound" and not (isinstance(details, dict) and details.get("name")):
        tree = {**tree, "reason": ""}
    return dict(tree)


def _causes(given: dict[str, Any]) -> list[Cause]:
    details = given.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [
        Cause(str(each.get("field") or ""), one_line(str(each.get("message") or "")))
        for each in causes or ()
        if isinstance(each, dict) and _UNCHECKED not in str(each.get("message"))
    ]
