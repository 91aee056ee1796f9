"""Resources in the format that was asked for."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec

from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, text, views


def resources(items: list[Resource], output: str, repo: Repo, namespaces: bool = False) -> str:
    """The whole output; `repo` is asked only for what a cell needs beside its resource."""
    match output:
        case params.YAML:
            from bgpnet import codec  # late: with it comes YAML

            return codec.to_yaml(items)
        case params.JSON:
            from bgpnet import codec

            return codec.to_json(items)
        case params.NAME:
            return "".join(f"{kind_of(item).aliases[0]}/{item.metadata.name}\n" for item in items)
    around = views.Around(repo)
    tables = []
    for kind, group in groupby(items, kind_of):
        tables.append(_table(kind, list(group), around, output, namespaces))
    return "".join(tables)


def listing(kind: Kind, items: list[Resource], output: str, repo: Repo, namespaces: bool = False) -> str:
    """All of a kind; none is a header alone, or an empty list."""
    if not items and output not in (params.YAML, params.JSON, params.NAME):
        return _table(kind, [], views.Around(repo), output, namespaces)
    return resources(items, output, repo, namespaces)


def _table(kind: Kind, items: list[Resource], around: views.Around, output: str, namespaces: bool) -> str:
    view = views.OF_KIND[kind].chosen(output == params.WIDE, params.columns(output))
    return text.plain(*view.table(items, around, namespaces))


def tree(value: dict[str, Any] | list[Any], output: str) -> str:
    """Any plain value as YAML or JSON."""
    if output == params.JSON:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
