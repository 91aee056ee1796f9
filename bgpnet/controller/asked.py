"""What the controller asks the Kubernetes API for: a part of kube/client.py, as a protocol. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Json = dict[str, Any]


class Kubernetes(Protocol):
    """What is asked of the API (kube/client.py). Calls raise BgpnetError."""

    def get(self, path: str) -> Json | None:
        """The object at that path, or None."""

    def list(self, path: str, *, labels: str = "", fields: str = "") -> tuple[list[Json], str]:
        """The objects at that path which the selectors choose, and the resourceVersion of the list."""

    def patch(self, path: str, body: Mapping[str, Any], *, kind: str = "merge") -> Json:
        """The object as it is after the change."""
