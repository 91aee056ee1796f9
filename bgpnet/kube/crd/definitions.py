"""The CustomResourceDefinitions of all kinds that are stored, made from the model's types. Pure.

The files in manifests/crds are written by `make manifests`; a test says when they are behind.
"""

from __future__ import annotations

from typing import Any

import yaml

from bgpnet.kube.crd import schema
from bgpnet.kube.crd.columns import COLUMNS
from bgpnet.kube.crd.constraints import OF_KIND
from bgpnet.model.kinds import KINDS, Kind
from bgpnet.model.resource import API_VERSION

HEADER = "# Made by `make manifests` from the types in bgpnet/model: change those.\n"
GROUP, VERSION = API_VERSION.split("/")
KUBERNETES_OWN = frozenset({"no", "nos", "node", "nodes"})
"""Names that mean something else to kubectl; a Node of ours is asked for as `nodes.bgpnet.io`."""


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    status = "status" in kind.type.__struct_fields__
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema.of(kind.type, OF_KIND[kind])},
    }
    if status:
        version["subresources"] = {"status": {}}
    if COLUMNS[kind]:
        version["additionalPrinterColumns"] = [column.printed() for column in COLUMNS[kind]]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "bgpnet"}},
        "spec": {"group": GROUP, "scope": "Cluster", "names": _names(kind), "versions": [version]},
    }


def _names(kind: Kind) -> dict[str, Any]:
    singular = kind.name.lower()
    short = [alias for alias in kind.aliases if alias not in {singular, kind.plural} | KUBERNETES_OWN]
    names: dict[str, Any] = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": singular,
        "categories": ["bgpnet"],
    }
    return names | ({"shortNames": short} if short else {})


def files() -> dict[str, str]:
    """The text of each file, by its name."""
    stored = [kind for kind in KINDS if not kind.computed]
    found = {f"{kind.plural}.{GROUP}.yaml": HEADER + _yaml(definition(kind)) for kind in stored}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(found),
    }
    return {**found, "kustomization.yaml": HEADER + _yaml(kustomization)}


def _yaml(tree: dict[str, Any]) -> str:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes equal values out twice: the API server's reader takes no anchors in every place."""

    def ignore_aliases(self, data: object) -> bool:
        return True
