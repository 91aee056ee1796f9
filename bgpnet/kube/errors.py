"""What a Kubernetes API server, or the way to it, can answer instead of what was asked for.

KubeError
  Unreachable     no answer, or none that counts (5xx, too many requests): nothing is known about the outcome; try again
  Refused         the API server said no (4xx): status, reason, message, causes as it gave them
    Unauthorised  it does not know us (401), or we may not (403): the message names the permission and where to give it
  Expired         the history that a watch or a list goes on from is gone (410): list again
"""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet.errors import BgpnetError


class KubeError(BgpnetError):
    """The Kubernetes API could not do it."""


class Unreachable(KubeError):
    """The API server did not answer within its deadline, or could not; nothing is known about the outcome."""


class Expired(KubeError):
    """The history that was asked for is gone: list again and compare."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object: the field (`spec.cidr`), and what the API server says of it."""

    field: str
    message: str


class Refused(KubeError):
    """The API server said no; `reason` is its word (`NotFound`, `Conflict`, `AlreadyExists`, `Invalid`), or empty."""

    def __init__(self, sentence: str, status: int, reason: str, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes


class Unauthorised(Refused):
    """401: it does not accept our credentials. 403: a permission is missing."""
