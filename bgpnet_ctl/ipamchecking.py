"""`ipam check`: two looks, and what both found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bgpnet.ipamcheck import check
from bgpnet.ipamcheck.picture import Picture, Problem
from bgpnet.model import kinds
from bgpnet.model.clusterinformation import ClusterInformation
from bgpnet_ctl import looks
from bgpnet_ctl.session import Session


@dataclass(frozen=True, slots=True)
class Checked:
    """The second look, and the problems that it confirmed. cluster: the GUID, empty where the cluster has none."""

    picture: Picture
    found: tuple[Problem, ...]
    cluster: str


def checked(session: Session, settle: float, pause: Callable[[float], None] = time.sleep) -> Checked:
    """Look, and where something seems wrong, look again after so many seconds; raises StoreUnreachable."""
    picture = looks.look(session)
    found = check.problems(picture)
    if found:
        pause(settle)
        picture = looks.look(session)
        found = check.confirmed(found, check.problems(picture))
    return Checked(picture, tuple(found), cluster_guid(session))


def cluster_guid(session: Session) -> str:
    """What tells one cluster's reports from another's: ClusterInformation's GUID."""
    stored = session.repo().find(kinds.CLUSTERINFORMATION, "default")
    return stored.spec.clusterGUID if isinstance(stored, ClusterInformation) else ""
