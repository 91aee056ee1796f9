"""What `get` shows."""

from __future__ import annotations

from bgpnet.errors import NotFound
from bgpnet.model.kinds import Kind, Resource
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, render, sources
from bgpnet_ctl.session import Refused


def get(repo: Repo, words: tuple[str, ...], filenames: tuple[str, ...], output: str) -> str:
    """The output of `bgpnetctl get`; raises Refused for names that do not exist, all of them at once."""
    wanted = sources.named(filenames) if filenames else list(params.targets(words))
    if len(wanted) == 1 and not wanted[0][1]:
        return render.listing(wanted[0][0], list(repo.list(wanted[0][0])[0]), output, repo)
    return render.resources(_named(repo, wanted), output, repo)


def _named(repo: Repo, wanted: list[tuple[Kind, str]]) -> list[Resource]:
    found: list[Resource] = []
    missing: list[str] = []
    for kind, name in wanted:
        try:
            found.append(repo.get(kind, name))
        except NotFound as error:
            missing.append(f"failed to get resources: {error}")
    if missing:
        raise Refused("\n".join(missing))
    return found
