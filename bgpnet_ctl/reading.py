"""What `get` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import structs

from bgpnet.errors import AgentAway, NotFound
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Kind, Resource
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, render
from bgpnet_ctl.session import Misused, Refused


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which namespaces count: one, or all; `shown` puts them into a column of their own."""

    only: str | None = None
    shown: bool = False


Ask = Callable[[], dict[str, object]]


def _nobody() -> dict[str, object]:
    raise AgentAway("nobody was to be asked")


def get(
    repo: Repo,
    words: tuple[str, ...],
    filenames: tuple[str, ...],
    output: str,
    namespaces: Namespaces = Namespaces(),
    ask: Ask = _nobody,
    export: bool = False,
    recursive: bool = False,
) -> str:
    """The output of `bgpnetctl get`; raises Refused for names that do not exist, all of them at once.

    export: without what belongs to this cluster alone. recursive: for files.
    ask: what this machine's agent says of itself; raises AgentAway.
    """
    wanted = _wanted(words, filenames, recursive)
    for kind, _ in wanted:
        if namespaces.only is not None and not kind.namespaced:
            raise Misused(
                "namespace should not be specified for a non-namespaced resource."
                f" {kind.name} is not a namespaced resource: leave --namespace out"
            )
    if len(wanted) == 1 and not wanted[0][1]:
        found = [each for each in everything(repo, wanted[0][0], ask) if _counts(each, namespaces)]
        return render.listing(wanted[0][0], _exported(found, export), output, repo, namespaces.shown)
    found = _named(repo, wanted, namespaces, ask)
    return render.resources(_exported(found, export), output, repo, namespaces.shown)


def _exported(found: list[Resource], export: bool) -> list[Resource]:
    if not export:
        return found
    bare = {"uid": "", "resourceVersion": "", "creationTimestamp": ""}
    return [without_status(structs.replace(each, metadata=structs.replace(each.metadata, **bare))) for each in found]


def without_status(resource: Resource) -> Resource:
    """The same, as if no agent had said a word of it."""
    return structs.replace(resource, status=None) if hasattr(resource, "status") else resource


def _wanted(words: tuple[str, ...], filenames: tuple[str, ...], recursive: bool) -> list[tuple[Kind, str]]:
    if not filenames:
        return list(params.targets(words))
    from bgpnet_ctl import sources  # late: with it comes YAML

    return sources.named(filenames, recursive)


def _counts(resource: Resource, namespaces: Namespaces) -> bool:
    return namespaces.only in (None, resource.metadata.namespace)


def everything(repo: Repo, kind: Kind, ask: Ask = _nobody) -> Sequence[Resource]:
    """All objects of a kind; those of a computed kind are made from others, and from what the agent says."""
    if not kind.computed:
        return repo.list(kind)[0]
    if kind is kinds.NODESTATUS:
        from bgpnet_ctl import nodestatuses

        return nodestatuses.all_of(repo, ask)
    from bgpnet import derived

    blocks = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    return derived.endpoints(blocks) if kind is kinds.WORKLOADENDPOINT else derived.affinities(blocks)


def _named(repo: Repo, wanted: list[tuple[Kind, str]], namespaces: Namespaces, ask: Ask) -> list[Resource]:
    found: list[Resource] = []
    missing: list[str] = []
    for kind, name in wanted:
        try:
            found += _called(repo, kind, name, namespaces, ask)
        except NotFound as error:
            missing.append(f"failed to get resources: {error}")
    if missing:
        raise Refused("\n".join(missing))
    return found


def _called(repo: Repo, kind: Kind, name: str, namespaces: Namespaces, ask: Ask) -> Sequence[Resource]:
    """The object of that name; of a namespaced kind, one in each namespace that has it. Raises NotFound."""
    if not kind.computed:
        return [repo.get(kind, name)]
    found = [each for each in everything(repo, kind, ask) if each.metadata.name == name and _counts(each, namespaces)]
    if not found:
        raise NotFound(
            f"resource does not exist: {kind.name}({name}); see `bgpnetctl get {kind.plural}` for those that do"
        )
    return found
