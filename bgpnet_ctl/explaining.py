"""What becomes of a route: asked of this machine's agent or worked out of the datastore's objects, and shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from bgpnet.agent import explain
from bgpnet.agent.explain import Question
from bgpnet.errors import AgentAway, BgpnetError, UsageError
from bgpnet.model import ip, kinds
from bgpnet.model.node import Node
from bgpnet_ctl import params
from bgpnet_ctl.render import tree
from bgpnet_ctl.session import Session

Answer = dict[str, Any]


def asked(prefix: str, peer: str, communities: tuple[str, ...], as_path: str | None, next_hop: str | None) -> Question:
    """The question; raises UsageError."""
    from bgpnet.rules.bgpconfiguration import is_community

    for one in communities:
        if not is_community(one):
            raise UsageError(f"--community {one} is not a community: write it like 65001:100 or 65001:1:100")
    try:
        numbers = None if as_path is None else tuple(map(int, as_path.replace(",", " ").split()))
    except ValueError:
        raise UsageError(f"--as-path '{as_path}' is not a path: write AS numbers, such as '65001 65002'") from None
    try:
        hop = None if next_hop is None else ip.address(next_hop)
    except ValueError:
        raise UsageError(f"--next-hop {next_hop} is not an address: write one such as 192.0.2.1") from None
    try:
        return Question(ip.network(prefix), peer, communities, numbers, hop)
    except ValueError as error:
        raise UsageError(f"{error}: write a prefix such as 10.244.0.0/26, or one address") from None


def answer(session: Session, question: Question, node: str | None) -> Answer:
    """The agent's word where it is the node's, else what the datastore's objects say; `from` tells which."""
    try:
        here = str(session.ask().get("node"))
    except AgentAway as away:
        if node is None:
            raise UsageError(f"name the node whose peer it is with --node: {away}") from away
        here = ""
    if node in (None, here):
        return {"from": "agent", **session.agent().ask("explain", **_packed(question))}
    repo = session.repo()
    found = cast("Node", repo.get(kinds.NODE, node or ""))
    resources = {kind: repo.list(kind)[0] for kind in explain.READ}
    return {"from": "datastore", **explain.explain(explain.imagined(found, resources), question)}


def _packed(question: Question) -> dict[str, object]:
    return {
        "prefix": str(question.prefix),
        "peer": question.peer,
        "communities": list(question.communities),
        "asPath": None if question.as_path is None else list(question.as_path),
        "nextHop": None if question.next_hop is None else str(question.next_hop),
    }


def shown(found: Answer, output: str) -> str:
    """As sentences, or as it is."""
    if output != params.TABLE:
        return tree(found, output)
    try:
        return "".join(f"{line}\n" for line in _lines(found))
    except (KeyError, TypeError) as error:
        raise BgpnetError(f"the agent's answer cannot be read ({error}): install one version of both") from error


def _lines(found: Answer) -> Iterator[str]:
    peer = found["peer"]
    who = "its agent" if found["from"] == "agent" else "the datastore's objects"
    filters = ", ".join(peer["filters"]) or "none"
    yield (
        f"Node {found['node']}, as {who} says:" if found["from"] == "agent" else f"Node {found['node']}, as {who} say:"
    )
    yield (
        f"peer {peer['address']} ({peer['name']}, {peer['type']}), AS {peer['asNumber']}, {peer['session']}, "
        f"{'a node' if peer['inCluster'] else 'outside the cluster'}, filters: {filters}"
    )
    for path in found["import"]["paths"]:
        yield ""
        yield from _import(found["prefix"], path, found["import"]["learned"])
    yield ""
    yield from _export(found["prefix"], found["export"])


def _import(prefix: str, path: Answer, learned: bool) -> Iterator[str]:
    verdict = "taken" if path["accepted"] else "not taken"
    if learned:
        yield f"Import: {prefix}, which the peer sends, is {verdict}"
    else:
        yield f"Import: {prefix} would be {verdict}, if the peer sent it"
    yield f"  because: {path['text']}"
    yield from _operations(path.get("rule"))
    yield f"  next hop {path['nextHop']}, AS path {_path(path['asPath'])}, communities {_list(path['communities'])}"
    if "route" in path:
        yield f"  route: {path['route']}"
    if path.get("used") is False:
        yield f"  not used: the path of {_list(path['with'])} is better"
    elif path.get("with"):
        yield f"  used together with the path of {_list(path['with'])}"


def _export(prefix: str, told: Answer) -> Iterator[str]:
    yield f"Export: the peer is {'told' if told['told'] else 'not told'} of {prefix}"
    yield f"  because: {told['text']}"
    yield from _operations(told["rule"])
    if (said := told["announcement"]) is not None:
        yield f"  next hop {said['nextHop']}, AS path {_path(said['asPath'])}, communities {_list(said['communities'])}"
        yield from (f"  {name}: {said[key]}" for key, name in _NUMBERS if said[key] is not None)
        if said.get("originatorID"):
            yield f"  reflected: originator {said['originatorID']}, cluster list {_path(said['clusterList'])}"


_NUMBERS = (("localPref", "local preference"), ("med", "MED"))


def _operations(rule: Answer | None) -> Iterator[str]:
    if rule is None:
        return
    if rule["addCommunity"]:
        yield f"  the rule adds communities {_list(rule['addCommunity'])}"
    if rule["prependASPath"]:
        yield f"  the rule prepends {_path(rule['prependASPath'])}"
    if rule["setPriority"] is not None:
        yield f"  the rule sets the priority {rule['setPriority']}"


def _path(path: list[Any]) -> str:
    """As BIRD and FRR write it, sets in braces."""
    words = [f"{{{' '.join(map(str, one))}}}" if isinstance(one, list) else str(one) for one in path]
    return " ".join(words) or "empty"


def _list(values: list[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
