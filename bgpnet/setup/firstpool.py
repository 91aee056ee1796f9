"""The cluster's first pool: made once, and never again.

An installation brings a pool, as Calico's does, but an upgrade, which applies the same manifests, must neither undo
what people made of it nor bring it back after they deleted it. So the pool is no object of the manifests: it is created
where there is none, and an annotation of ClusterInformation `default` says from then on that this has been decided.
"""

from __future__ import annotations

from msgspec import structs

from bgpnet.errors import AlreadyExists, Conflict
from bgpnet.model.clusterinformation import ClusterInformation
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import CLUSTERINFORMATION, IPPOOL
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

DECIDED = "bgpnet.io/first-pool"
"""The annotation; its value is for people."""
ATTEMPTS = 5


def ensure(repo: Repo, pool: IPPool | None) -> str:
    """What was done, in one sentence. pool: None where there is to be none.

    Killed between two steps, the next call ends the same way; so do two calls at once. Raises Invalid for a pool that
    breaks a rule, StoreUnreachable, and Conflict where others change ClusterInformation all the time.
    """
    info = repo.find(CLUSTERINFORMATION, "default")
    if info is not None and (said := info.metadata.annotations.get(DECIDED)):
        return f"the first pool was decided on before ({said}): nothing is changed"
    done = _create(repo, pool)
    _mark(repo, done)
    return done


def _create(repo: Repo, pool: IPPool | None) -> str:
    there = [one.metadata.name for one in repo.list(IPPOOL)[0]] + [one.subject for one in repo.broken]
    if there:
        return f"there are pools already: {', '.join(there)}"
    if pool is None:
        return "no first pool is wanted"
    try:
        repo.create(pool)
    except AlreadyExists:
        return f"somebody else created the first pool {pool.metadata.name}"
    return f"created the first pool {pool.metadata.name}, {pool.spec.cidr}"


def _mark(repo: Repo, said: str) -> None:
    """Write the annotation, beside whatever else ClusterInformation says."""
    for _ in range(ATTEMPTS):
        info = repo.find(CLUSTERINFORMATION, "default")
        try:
            if info is None:
                repo.create(ClusterInformation(metadata=Metadata(name="default", annotations={DECIDED: said})))
            elif DECIDED not in info.metadata.annotations:
                annotations = {**info.metadata.annotations, DECIDED: said}
                repo.update(structs.replace(info, metadata=structs.replace(info.metadata, annotations=annotations)))
        except (AlreadyExists, Conflict):
            continue
        return
    raise Conflict(f"ClusterInformation(default) was changed {ATTEMPTS} times while {DECIDED} was written: try again")
