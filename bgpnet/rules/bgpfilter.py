"""What a BGPFilter must obey by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import structs

from bgpnet.errors import Finding
from bgpnet.model.bgpfilter import Action, BGPFilter, FilterRule, Operation, PrefixLength
from bgpnet.rules import common
from bgpnet.rules.bgpconfiguration import PRIORITY_LIMIT, is_community

LISTS = (("exportV4", 4), ("importV4", 4), ("exportV6", 6), ("importV6", 6))
LONGEST = {4: 32, 6: 128}
OPERATIONS_LIMIT = 10
PREPEND_LIMIT = 10

_INTERFACE = re.compile(r"[A-Za-z0-9_.*-]{1,15}\Z")


def check(bgp_filter: BGPFilter) -> Iterator[Finding]:
    """Every rule of BGPFilter that needs no datastore."""
    for name, version in LISTS:
        rules: tuple[FilterRule, ...] = getattr(bgp_filter.spec, name)
        for index, rule in enumerate(rules):
            yield from _rule(f"spec.{name}[{index}]", rule, version)


def _rule(path: str, rule: FilterRule, version: int) -> Iterator[Finding]:
    yield from _prefix(path, rule, version)
    if rule.interface and not _INTERFACE.match(rule.interface):
        problem = "is not an interface or a pattern such as eth* (1 to 15 of A-Z, a-z, 0-9, '_', '.', '-', '*'); rename"
        yield Finding(f"{path}.interface", rule.interface, problem)
    if rule.communities is not None:
        yield from _one_community(f"{path}.communities.values", rule.communities.values)
    for index, number in enumerate(rule.asPathPrefix):
        yield from common.as_number(f"{path}.asPathPrefix[{index}]", number)
    yield from common.between(f"{path}.priority", rule.priority, 1, PRIORITY_LIMIT)
    if rule.operations and rule.action is not Action.ACCEPT:
        problem = "change routes that go on; write action: Accept, or remove the operations"
        yield Finding(f"{path}.operations", None, problem)
    if len(rule.operations) > OPERATIONS_LIMIT:
        problem = f"has {len(rule.operations)} entries, at most {OPERATIONS_LIMIT} are allowed; remove some"
        yield Finding(f"{path}.operations", None, problem)
    for index, operation in enumerate(rule.operations):
        yield from _operation(f"{path}.operations[{index}]", operation)


def _prefix(path: str, rule: FilterRule, version: int) -> Iterator[Finding]:
    if rule.cidr:
        net = common.network(f"{path}.cidr", rule.cidr)
        if isinstance(net, Finding):
            yield net
        elif net.version != version:
            problem = f"must be an IPv{version} network; move the rule to the list of its own family"
            yield Finding(f"{path}.cidr", rule.cidr, problem)
        if rule.matchOperator is None:
            problem = "is required with cidr; write Equal, NotEqual, In or NotIn"
            yield Finding(f"{path}.matchOperator", None, problem)
    elif rule.matchOperator is not None:
        problem = "has no cidr to compare with; write cidr, too, or remove matchOperator"
        yield Finding(f"{path}.matchOperator", str(rule.matchOperator), problem)
    if rule.prefixLength is not None:
        if not rule.cidr:
            yield Finding(f"{path}.prefixLength", None, "needs a cidr; write cidr and matchOperator, too, or remove it")
        yield from _lengths(f"{path}.prefixLength", rule.prefixLength, LONGEST[version])


def _lengths(path: str, length: PrefixLength, longest: int) -> Iterator[Finding]:
    yield from common.between(f"{path}.min", length.min, 0, longest)
    yield from common.between(f"{path}.max", length.max, 0, longest)
    if length.min is not None and length.max is not None and length.min > length.max:
        yield Finding(f"{path}.min", length.min, f"is more than max, {length.max}; swap the two")


def _one_community(path: str, values: tuple[str, ...]) -> Iterator[Finding]:
    if len(values) != 1:
        problem = f"has {len(values)} entries, but must have exactly one; write one rule for each community"
        yield Finding(path, None, problem)
    for index, value in enumerate(values):
        yield from _community(f"{path}[{index}]", value)


def _community(path: str, value: str) -> Iterator[Finding]:
    if not is_community(value):
        yield Finding(path, value, "is not a community; write it like 65001:100 or 65001:1:100")


def _operation(path: str, operation: Operation) -> Iterator[Finding]:
    said = [name for name in ("addCommunity", "prependASPath", "setPriority") if getattr(operation, name) is not None]
    if len(said) != 1:
        problem = "must be exactly one of addCommunity, prependASPath, setPriority; write one list entry for each"
        yield Finding(path, said or None, problem)
    if operation.addCommunity is not None:
        yield from _community(f"{path}.addCommunity.value", operation.addCommunity.value)
    if operation.prependASPath is not None:
        numbers = operation.prependASPath.prefix
        if not 1 <= len(numbers) <= PREPEND_LIMIT:
            problem = f"has {len(numbers)} entries, but must have 1 to {PREPEND_LIMIT}; list the AS numbers to prepend"
            yield Finding(f"{path}.prependASPath.prefix", None, problem)
        for index, number in enumerate(numbers):
            yield from common.as_number(f"{path}.prependASPath.prefix[{index}]", number)
    if operation.setPriority is not None:
        yield from common.between(f"{path}.setPriority.value", operation.setPriority.value, 1, PRIORITY_LIMIT)


def not_built(bgp_filter: BGPFilter) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each list that no session has routes for."""
    for name, version in LISTS:
        rules: tuple[FilterRule, ...] = getattr(bgp_filter.spec, name)
        if rules and version == 6:
            yield f"spec.{name}", [str(rule.action) for rule in rules], "no session carries IPv6 routes"


def normalise(bgp_filter: BGPFilter) -> BGPFilter:
    """Every CIDR in its usual spelling; what is wrong stays for `check`."""
    lists: dict[str, Any] = {
        name: tuple(
            structs.replace(rule, cidr=common.usual_network(rule.cidr)) if "/" in rule.cidr else rule
            for rule in getattr(bgp_filter.spec, name)
        )
        for name, _ in LISTS
    }
    return structs.replace(bgp_filter, spec=structs.replace(bgp_filter.spec, **lists))
